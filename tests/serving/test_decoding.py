"""The order of pictures that wait, and that none is waited for in vain. What decodes is a stand-in here."""

import threading
import time
from concurrent.futures import CancelledError
from typing import ClassVar

import numpy as np
import pytest

from keensight.data.apart import ApartError
from keensight.errors import TooMuchWorkError
from keensight.serving import decoding
from keensight.serving.decoding import LARGE_WORK, Decoders, Job
from keensight.values import Preprocessing

SIZE = Preprocessing(1, 1, 1)
PIXEL = np.zeros((1, 1, 1), np.uint8)


class Stand:
    """Decodes when it is told to, and says what it was asked for; `b"slow"` until it is closed."""

    begun: ClassVar[list[bytes]] = []
    may = threading.Semaphore(0)

    def __init__(self):
        self.closed = threading.Event()

    def decode(self, picture, preprocessing, seconds):
        self.begun.append(picture)
        if picture == b"slow":
            assert self.closed.wait(60)
            raise TooMuchWorkError("it was ended")
        assert self.may.acquire(timeout=60)
        return PIXEL

    def close(self):
        self.closed.set()


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setattr(decoding, "Apart", Stand)
    Stand.begun, Stand.may = [], threading.Semaphore(0)
    made = []

    def decoders(count):
        made.append(Decoders(count))
        return made[-1]

    yield decoders
    for _ in range(100):
        Stand.may.release()
    for each in made:
        each.close()


def until(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError


def test_the_quick_ones_go_first_and_nobody_waits_for_ever(make):
    decoders = make(1)
    jobs = [decoders.submit(b"first", SIZE, 1)]
    until(lambda: Stand.begun)
    jobs += [decoders.submit(b"much", SIZE, 9_000_000), decoders.submit(b"little", SIZE, 1)]
    for _ in jobs:
        Stand.may.release()
    for job in jobs:
        assert job.result.result(60) is PIXEL
    assert Stand.begun == [b"first", b"little", b"much"]
    old, new = Job(b"", SIZE, 9_000_000, 0), Job(b"", SIZE, 1, 0)
    old.came = new.came - 10
    assert old.turn < new.turn


def test_large_ones_are_decoded_one_at_a_time(make):
    decoders = make(2)
    large = [decoders.submit(b"large %d" % i, SIZE, LARGE_WORK + 1) for i in range(2)]
    until(lambda: Stand.begun)
    small = decoders.submit(b"small", SIZE, LARGE_WORK)
    until(lambda: len(Stand.begun) == 2)
    assert Stand.begun == [b"large 0", b"small"]
    for _ in range(3):
        Stand.may.release()
    assert [job.result.result(60) is PIXEL for job in (*large, small)] == [True] * 3


def test_a_picture_that_is_given_up_ends_its_process_and_no_other(make):
    decoders = make(2)
    slow, other = decoders.submit(b"slow", SIZE, 1), decoders.submit(b"other", SIZE, 1)
    until(lambda: len(Stand.begun) == 2)
    decoders.give_up(slow)
    with pytest.raises(TooMuchWorkError):
        slow.result.result(60)
    Stand.may.release()
    assert other.result.result(60) is PIXEL
    decoders.give_up(other)  # which has its pixels already


def test_closing_ends_what_runs_and_what_waits(make):
    decoders = make(1)
    running, waiting = decoders.submit(b"slow", SIZE, 1), decoders.submit(b"never", SIZE, 1)
    until(lambda: Stand.begun)
    decoders.close()
    with pytest.raises(TooMuchWorkError):
        running.result.result(60)
    with pytest.raises(CancelledError):
        waiting.result.result(60)
    with pytest.raises(CancelledError):
        decoders.submit(b"late", SIZE, 1).result.result(60)
    until(lambda: not any(thread.is_alive() for thread in decoders._threads))


def test_what_is_too_late_is_not_begun(make):
    job = make(1).submit(b"late", SIZE, 1, until=time.monotonic())
    with pytest.raises(TooMuchWorkError, match="in time"):
        job.result.result(60)
    assert Stand.begun == []


def test_where_no_process_can_start_the_server_decodes_itself(make, monkeypatch):
    def none(*_):
        raise ApartError("no")

    monkeypatch.setattr(Stand, "decode", none)
    monkeypatch.setattr(decoding, "decode_picture", lambda picture, size: PIXEL)
    assert make(1).submit(b"any", SIZE, 1).result.result(60) is PIXEL
