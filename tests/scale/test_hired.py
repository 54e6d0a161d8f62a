"""Actors that answer orders, with a Ray of threads; tests/scale/test_two_nodes.py has Ray's own."""

import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

import keensight
from keensight.errors import KeensightError, RunError
from keensight.machine import versions
from keensight.pipeline.in_parts import predict_in_parts
from keensight.pipeline.watch import Watcher
from keensight.pipeline.workers import Recipe
from keensight.scale import hired
from keensight.scale.hired import hire_on


class Lost(Exception):  # noqa: N818 - Ray's word for it would be RayError
    pass


class Failed(Exception):  # noqa: N818
    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class Cluster:
    """As much of Ray as is needed, with a thread for each actor; `losses` are orders at which an actor is lost."""

    exceptions = SimpleNamespace(RayError=Lost, RayTaskError=Failed)

    def __init__(self, processors=2):
        self.processors, self.losses, self.actors, self.about = processors, [], [], None
        self.most = self.now = 0
        self.lock = threading.Lock()

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": self.processors}}]

    def remote(self, kind):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *given: Actor(self, kind(*given))))

    def wait(self, refs, num_returns, timeout):
        done, others = wait(refs, timeout=60, return_when=FIRST_COMPLETED)
        return list(done)[:num_returns], list(others)

    def get(self, ref):
        return ref.result()

    def kill(self, actor):
        actor.is_alive = False
        actor.thread.shutdown()


class Actor:
    def __init__(self, cluster, worker):
        self.cluster, self.worker, self.is_alive = cluster, worker, True
        self.thread = ThreadPoolExecutor(1)
        self.about = SimpleNamespace(remote=lambda: self.thread.submit(cluster.about or worker.about))
        self.ask = SimpleNamespace(remote=lambda order: self.thread.submit(self.answer, order))
        cluster.actors.append(self)

    def answer(self, order):
        with self.cluster.lock:
            self.cluster.now += 1
            self.cluster.most = max(self.cluster.most, self.cluster.now)
            is_lost = order in self.cluster.losses
            if is_lost:
                self.cluster.losses.remove(order)
        try:
            if is_lost:
                raise Lost("its machine is gone")
            return self.worker.ask(order)
        except KeensightError as error:
            raise Failed(error) from error
        finally:
            with self.cluster.lock:
                self.cluster.now -= 1


@pytest.fixture
def cluster(monkeypatch):
    found = Cluster()

    @contextmanager
    def joined(address, workers, asked):
        yield found
        assert not any(actor.is_alive for actor in found.actors)

    monkeypatch.setattr(hired, "connected", joined)
    monkeypatch.setattr(hired, "about_here", lambda: {"host": "here", "versions": versions()})
    return found


def doubled(settings):
    if settings == "no bundle":
        raise RunError("There is no bundle.")
    return lambda order: order * 2


def answers(orders, count=2, settings=None, notes=None, same=()):
    hire = hire_on("10.0.0.1:6379", same, (notes if notes is not None else []).append)
    with hire(count, Recipe(__name__, "doubled", settings)) as crew:
        return sorted(crew.map(orders))


def test_each_order_has_one_answer_and_no_more_are_under_way_than_there_are_actors(cluster):
    taken = []
    orders = (taken.append(i) or i for i in range(40))
    assert answers(orders, count=5) == [2 * i for i in range(40)]
    assert len(cluster.actors) == 2 and cluster.most <= 2 and taken == list(range(40))


def test_a_lost_actor_is_replaced_and_its_order_done(cluster):
    cluster.losses += [3, 3, 39]
    notes = []
    assert answers(range(40), notes=notes) == [2 * i for i in range(40)]
    assert len(cluster.actors) == 5
    assert notes == ["A worker is lost (its machine is gone); another one does its work."] * 3


def test_an_order_that_kills_each_of_its_workers_ends_it(cluster):
    cluster.losses += [3] * 3
    with pytest.raises(RunError, match=r"lost 3 times at 3, .*its machine is gone.*the same command goes on"):
        answers(range(40))


def test_a_machine_that_cannot_begin_is_named(cluster):
    with pytest.raises(KeensightError, match=r"The machine .+ cannot begin. There is no bundle."):
        answers(range(4), settings="no bundle")


def test_a_machine_with_other_versions_is_refused(cluster):
    cluster.about = lambda: {"host": "b", "versions": versions() | {"onnxruntime": "0.1"}}
    with pytest.raises(RunError, match=r"The machine b has onnxruntime 0.1"):
        answers(range(4), same=["python", "onnxruntime"])
    assert answers(range(4), same=["python"]) == [0, 2, 4, 6]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """300 of the digits as arrays: two parts."""
    found, file = load_digits(), tmp_path_factory.mktemp("some") / "some.npz"
    np.savez(file, images=(found.images[:300] * 15).astype(np.uint8), labels=found.target[:300])
    return file


@pytest.mark.thorough
def test_actors_write_the_parts_that_processes_write(cluster, trained, digits, tmp_path):
    keensight.predict_in_parts(trained.bundle, digits, out=tmp_path / "here", workers=1)
    cluster.losses += [1]
    done = keensight.predict_in_parts(trained.bundle, digits, out=tmp_path / "there", workers=2, cluster="a:1")
    files = {file.name: file.read_bytes() for file in (tmp_path / "here").iterdir()}
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "there").iterdir()}
    assert (done.parts, done.answers, len(files)) == (2, 300, 3)


def test_a_machine_with_a_disk_of_its_own_is_found_out(cluster, trained, digits, tmp_path):
    def elsewhere(count, recipe):
        settings = {**recipe.settings, "out": str(tmp_path / "another disk")}
        return hire_on("a:1", (), print)(count, recipe._replace(settings=settings))

    (tmp_path / "another disk").mkdir()
    with pytest.raises(KeensightError, match=r"cannot begin. There is no .*another disk.*a folder that all machines"):
        predict_in_parts(trained.bundle, [digits], tmp_path / "out", 2, None, Watcher(), elsewhere)
    assert [file.name for file in (tmp_path / "another disk").iterdir()] == []


def test_where_nobody_answers_nothing_is_written(trained, digits, tmp_path):
    with pytest.raises(RunError, match="Nobody answers at 127.0.0.1:9"):
        keensight.predict_in_parts(trained.bundle, digits, out=tmp_path / "out", workers=2, cluster="127.0.0.1:9")
    assert not list(tmp_path.iterdir())
