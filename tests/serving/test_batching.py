import asyncio
import threading

import httpx2 as httpx
import numpy as np
import pytest

from keensight.serving.app import create_app
from keensight.serving.batching import Batcher
from keensight.serving.limits import Batching
from keensight.values import Prediction


def named(images):
    return [Prediction("", str(int(image.max())), 1.0, {}, False, ()) for image in images]


def image(value, n=1):
    return np.full((n, 2, 2, 1), value, np.uint8)


def run(size, *submissions, wait_s=0.0, model=named):
    """Submit all at once while the first is in the model; return the answers and the batches' sizes."""
    sizes = []

    async def main():
        batcher = Batcher(model, size, wait_s, sizes.append)
        return await asyncio.gather(*(batcher.submit(images) for images in submissions), return_exceptions=True)

    return asyncio.run(main()), sizes


def test_each_gets_its_own_answers_in_order():
    answers, sizes = run(8, image(1), image(2, n=3), image(3))
    assert [[p.label for p in answer.predictions] for answer in answers] == [["1"], ["2", "2", "2"], ["3"]]
    assert sizes == [5]


def test_a_batch_has_no_more_than_its_size():
    _, sizes = run(4, *(image(i) for i in range(10)))
    assert sizes == [4, 4, 2]


def test_a_size_of_one_is_no_batching():
    _, sizes = run(1, image(1), image(2, n=2))
    assert sizes == [1, 1, 1]


def test_many_images_of_one_request_are_cut():
    answers, sizes = run(4, image(7, n=9))
    assert [p.label for p in answers[0].predictions] == ["7"] * 9
    assert sizes == [4, 4, 1]


def test_a_failure_reaches_all_of_its_batch_and_the_next_batch_goes_on():
    def model(images):
        if images.max() == 13:
            raise RuntimeError("unlucky")
        return named(images)

    answers, _ = run(2, image(1), image(13), image(3), model=model)
    assert [type(answer) for answer in answers[:2]] == [RuntimeError, RuntimeError]
    assert [p.label for p in answers[2].predictions] == ["3"]


def test_what_comes_while_a_batch_runs_goes_together():
    sizes = []
    entered, go_on = threading.Event(), threading.Event()

    def model(images):
        entered.set()
        assert go_on.wait(30)
        return named(images)

    async def main():
        batcher = Batcher(model, 8, 0.0, sizes.append)
        first = asyncio.create_task(batcher.submit(image(1)))
        await asyncio.to_thread(entered.wait, 30)
        rest = [asyncio.create_task(batcher.submit(image(i))) for i in range(5)]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, *rest)

    asyncio.run(main())
    assert sizes == [1, 5]


def test_a_batch_waits_for_images_that_are_coming():
    sizes = []

    async def main():
        batcher = Batcher(named, 8, 30.0, sizes.append)
        decoded = asyncio.Event()

        async def late():
            with batcher.expecting():
                await decoded.wait()
            return await batcher.submit(image(2))

        slow = asyncio.create_task(late())
        await asyncio.sleep(0)
        fast = asyncio.create_task(batcher.submit(image(1)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert sizes == []
        decoded.set()
        await asyncio.gather(slow, fast)

    asyncio.run(main())
    assert sizes == [2]


def test_a_lone_request_does_not_wait():
    answers, sizes = run(8, image(1), wait_s=3600.0)
    assert sizes == [1]
    assert answers[0].queue_s < 3600


def test_whom_no_one_waits_for_is_left_out():
    sizes = []
    entered, go_on = threading.Event(), threading.Event()

    def model(images):
        entered.set()
        assert go_on.wait(30)
        return named(images)

    async def main():
        batcher = Batcher(model, 8, 0.0, sizes.append)
        first = asyncio.create_task(batcher.submit(image(1)))
        await asyncio.to_thread(entered.wait, 30)
        gone = asyncio.create_task(batcher.submit(image(2)))
        stays = asyncio.create_task(batcher.submit(image(3)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert [p.label for p in (await stays).predictions] == ["3"]
        await first

    asyncio.run(main())
    assert sizes == [1, 1]


@pytest.mark.parametrize("size", [1, 4])
def test_requests_at_once_get_their_own_answers(make_service, frozen, size):
    service = make_service(batching=Batching(size, 500))
    pictures = sorted((frozen.parent / "pictures").iterdir())

    async def main():
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.gather(
                *(client.post("/v1/predict", content=file.read_bytes()) for file in pictures * 5)
            )

    answers = [answer.json()["predictions"][0]["label"] for answer in asyncio.run(main())]
    assert answers == [file.name[0] for file in pictures] * 5


def lanes(*submissions, size=8, num_lanes=2, until=1):
    """Submit all at once to several lanes, none of which ends before `until` batches have begun; return the batches."""
    begun, go_on, lock = [], threading.Event(), threading.Lock()

    def model(images, where="lane"):
        with lock:
            begun.append((where, len(images)))
            if len(begun) >= until:
                go_on.set()
        assert go_on.wait(30)
        return named(images)

    async def main():
        batcher = Batcher(model, size, 0.0, lanes=num_lanes, run_alone=lambda images: model(images, "alone"))
        return await asyncio.gather(*(batcher.submit(images) for images in submissions))

    answers = asyncio.run(main())
    assert [p.label for answer in answers for p in answer.predictions] == [
        str(images.max()) for images in submissions for _ in images
    ]
    return begun


def test_what_waits_is_shared_among_lanes_that_run_at_once():
    begun = lanes(*(image(i) for i in range(6)), until=2)
    assert begun == [("lane", 3), ("lane", 3)]


def test_lanes_take_no_more_than_a_batch_each():
    begun = lanes(*(image(i) for i in range(10)), size=4, until=2)
    assert [num for _, num in begun[:2]] == [4, 4]
    assert sum(num for _, num in begun) == 10


def test_who_is_alone_has_all_cores():
    assert lanes(image(1)) == [("alone", 1)]
    assert lanes(image(1, n=3)) == [("alone", 3)]


def test_a_quick_model_runs_in_the_event_loop_and_takes_all_that_came():
    threads, sizes = [], []

    def model(images):
        threads.append(threading.current_thread())
        return named(images)

    async def main():
        batcher = Batcher(model, 4, 3600.0, sizes.append, is_quick=True)
        return await asyncio.gather(*(batcher.submit(image(i)) for i in range(6)))

    answers = asyncio.run(main())
    assert [p.label for answer in answers for p in answer.predictions] == list("012345")
    assert set(threads) == {threading.main_thread()}
    assert sizes == [4, 2]


def test_a_quick_model_that_fails_tells_all_of_its_batch():
    def model(images):
        raise RuntimeError("unlucky")

    async def main():
        batcher = Batcher(model, 4, 0.0, is_quick=True)
        return await asyncio.gather(*(batcher.submit(image(i)) for i in range(2)), return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(main())] == [RuntimeError, RuntimeError]


def test_a_large_request_to_a_quick_model_lets_others_have_their_turn():
    async def main():
        batcher = Batcher(named, 2, 0.0, is_quick=True)
        large = asyncio.create_task(batcher.submit(image(7, n=19)))
        await asyncio.sleep(0)
        small = await batcher.submit(image(1))
        return small, large.done(), await large

    small, came_first, large = asyncio.run(main())
    assert [p.label for p in small.predictions] == ["1"]
    assert not came_first
    assert [p.label for p in large.predictions] == ["7"] * 19


def test_who_comes_just_as_the_last_batch_ends_is_answered():
    async def main():
        batcher = Batcher(named, 4, 0.0)
        first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
        first.add_done_callback(lambda _: batcher.put(image(2), second))  # after the worker's last step, before its end
        batcher.put(image(1), first)
        return await asyncio.wait_for(second, 10)

    assert [p.label for p in asyncio.run(main()).predictions] == ["2"]


def test_one_whose_answer_cannot_be_delivered_keeps_nobody_waiting(caplog):
    class Broken:
        def done(self):
            return False

        def set_result(self, answered):
            raise OSError("its log is full")

        def set_exception(self, error):
            raise error

    async def main():
        batcher = Batcher(named, 8, 0.0)
        first = asyncio.ensure_future(batcher.submit(image(1)))
        await asyncio.sleep(0)
        batcher.put(image(2), Broken())
        last = asyncio.ensure_future(batcher.submit(image(3)))
        return await asyncio.wait_for(asyncio.gather(first, last), 10)

    first, last = asyncio.run(main())
    assert [first.predictions[0].label, last.predictions[0].label] == ["1", "3"]
    assert "could not be delivered" in caplog.text and "its log is full" in caplog.text
