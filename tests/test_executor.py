import threading

import pytest

from keensight.executor import Threads


def test_answers_come_in_the_order_of_the_items():
    later = threading.Event()

    def answer(n):
        if n == 0:
            assert later.wait(60)  # the first answer is ready last
        else:
            later.set()
        return n * n

    with Threads(2) as threads:
        assert list(threads.map(answer, range(50))) == [n * n for n in range(50)]
        assert list(threads.map(str, iter("ab"))) == ["a", "b"]  # it can be asked again
        assert list(threads.map(str, [])) == []


def test_as_many_are_at_work_as_there_are_threads():
    together = threading.Barrier(3)  # which opens when three wait at it
    with Threads(3) as threads:
        assert len(list(threads.map(lambda _: together.wait(60), range(9)))) == 9


def test_items_are_taken_as_they_are_needed():
    taken = []
    with Threads(2) as threads:
        answers = threads.map(str, (taken.append(n) or n for n in range(1000)))
        assert taken == []
        for asked in range(1, 100):
            next(answers)
            assert len(taken) <= asked + 3  # two for each thread are under way, this one among them
        answers.close()
    assert len(taken) < 103


@pytest.fixture
def held():
    """A function over numbers that stops at 1 until it may go on, and what it has done."""

    def answer(n):
        if n == 1:
            answer.at_work.set()
            assert answer.may_go_on.wait(60)
        answer.done.append(n)
        return n

    answer.at_work, answer.may_go_on, answer.done = threading.Event(), threading.Event(), []
    return answer


def test_what_is_queued_is_left_out_when_nobody_asks_any_more(held):
    with Threads(1) as threads:
        answers = threads.map(held, range(10))
        assert next(answers) == 0 and held.at_work.wait(60)
        answers.close()
        held.may_go_on.set()
    assert held.done == [0, 1]  # 1 was at work already, and 2 in the queue


def test_what_is_queued_is_left_out_on_an_interruption(held, monkeypatch):
    threads = Threads(1)
    end = threads._pool.shutdown

    def shutdown(**options):
        end(**options, wait=False)
        held.may_go_on.set()
        end()

    monkeypatch.setattr(threads._pool, "shutdown", shutdown)
    with pytest.raises(KeyboardInterrupt), threads:
        for _ in threads.map(held, range(10)):
            assert held.at_work.wait(60)
            raise KeyboardInterrupt
    assert held.done == [0, 1]


def test_an_error_comes_where_the_answer_would():
    def divide(n):
        return 6 / n

    seen = []
    with Threads(2) as threads, pytest.raises(ZeroDivisionError):
        for answer in threads.map(divide, [3, 2, 0, 1]):
            seen.append(answer)
    assert seen == [2, 3]


def test_each_thread_prepares_itself():
    own = threading.local()

    def prepare():
        own.ready = True

    with Threads(2, prepare) as threads:
        assert all(threads.map(lambda _: own.ready, range(8)))
