"""The loop around the workers, with workers that are threads here; tests/scale/test_two_nodes.py has Ray's own."""

import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from keensight.errors import RunError, UsageError
from keensight.models.zoo import build
from keensight.scale import on_ray
from keensight.scale.on_ray import LostError, fit_on_ray
from keensight.training.checkpoint import bytes_of, load_state_bytes
from keensight.training.loop import Pauses, fit, start
from keensight.values import Preprocessing, Recipe, Split, Splits
from keensight.verbs.train import train

SIZE = Preprocessing(12, 12, 1)
RECIPE = Recipe().having(epochs=3, batch_size=32, pieces=2, flip=True, precision="float32")


def splits():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (96, 12, 12, 1), np.uint8), rng.integers(0, 3, 96)
    part = Split(images, np.arange(96), labels, ("",) * 96)
    return Splits(("a", "b", "c"), SIZE, part, part.take(np.arange(40)), None)


def begin():
    return start(build("planes", {"dropout": 0.3}, SIZE, 3, 0), splits(), RECIPE)


def bits(state):
    return torch.cat([each.flatten().double() for each in state.model.state_dict().values()])


class Cluster:
    """What is needed of Ray here: the processors that there are, and how many others use."""

    def __init__(self, processors):
        self.processors, self.taken, self.others = processors, 0, 0

    def put(self, work):
        return work

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": self.processors}}, {"Alive": False, "Resources": {"CPU": 9}}]

    def available_resources(self):
        free = self.processors - self.taken - self.others
        return {"CPU": float(free)} if free else {}  # Ray leaves out what is used up


@pytest.fixture
def crews(monkeypatch):
    """Let crews train in this process; the first of `ends` says after how many checkpoints one is lost, or None."""
    ends, made, cluster = [], [], Cluster(1)

    class Crew:
        kind = "CPU"

        def __init__(self, ray, most, note):
            ray.taken = self.size = min(most, ray.processors - ray.others)
            self.is_lost_after = ends.pop(0) if ends else None
            made.append(self.size)
            if self.is_lost_after == "start":
                raise LostError("no worker started")

        def train(self, work, content):
            state = begin()
            load_state_bytes(content, state)
            told = []
            pauses = Pauses(work.every_s, lambda: told.append(("kept", bytes_of(state)))) if work.every_s else None
            for count, _ in enumerate(fit(state, work.splits, work.recipe, pauses=pauses)):
                if count == self.is_lost_after:
                    raise LostError("its machine is gone")
                yield from told
                told.clear()
                yield "step", 1, 1
                yield "epoch", bytes_of(state)

        def dismiss(self):
            made.append("dismissed")

    @contextmanager
    def connected(address, workers):
        yield cluster

    monkeypatch.setattr(on_ray, "Crew", Crew)
    monkeypatch.setattr(on_ray, "connected", connected)
    monkeypatch.setattr(on_ray, "SETTLE_S", 0.0)
    return ends, made, cluster


def run(state, notes, pauses=None, workers=2):
    return fit_on_ray(
        state, splits(), RECIPE, lambda *_: None, lambda *_: None, pauses=pauses, workers=workers, note=notes.append
    )


@pytest.mark.parametrize("every_s", [None, 1e-9])
def test_workers_that_are_lost_go_on_from_the_last_checkpoint(crews, every_s):
    ends, made, _ = crews
    ends += [1, 0, None]
    whole, torn, notes, kept = begin(), begin(), [], []
    list(fit(whole, splits(), RECIPE))
    pauses = every_s and Pauses(every_s, lambda: kept.append(torn.partial.steps))
    epochs = [epoch.number for epoch in run(torn, notes, pauses)]
    assert epochs == [1, 2, 3] and torch.equal(bits(whole), bits(torn))
    assert made == [1, "dismissed"] * 3 and bool(kept) == bool(every_s)
    assert notes[0] == "Of the 2 workers asked for, 1 can train now."
    assert notes[1] == "A worker is lost (its machine is gone). Going on from the last checkpoint."


def test_workers_that_do_not_start_are_started_again(crews):
    ends, made, _ = crews
    ends += ["start", None]
    notes = []
    assert [epoch.number for epoch in run(begin(), notes)] == [1, 2, 3] and made == [1, 1, "dismissed"]
    assert notes[0] == "A worker is lost (no worker started). Going on from the last checkpoint."


def test_workers_of_a_machine_that_is_gone_are_not_waited_for(monkeypatch):
    monkeypatch.setattr(on_ray, "START_S", float("inf"))
    about = {"address": "a:1", "host": "a", "versions": on_ray.about_here.__globals__["versions"]()}

    class Ray(Cluster):
        """A cluster that still counts two processors at first, and starts one worker."""

        def options(self, **_):
            return type("Actors", (), {"remote": lambda _: type("Actor", (), {"about": self})()})()

        def wait(self, refs, num_returns, timeout):
            self.processors = 1
            return refs[:1], refs[1:]

        def get(self, ref):
            return about

        def kill(self, actor):
            killed.append(actor)

    killed, ray = [], Ray(2)
    ray.remote = lambda kind=None: ray if kind else object()
    ray.exceptions = type("Errors", (), {"RayTaskError": KeyError, "RayError": KeyError})
    assert on_ray.Crew(ray, 2, print).size == 1 and len(killed) == 1


def test_more_workers_take_over_when_there_are_more_processors(crews):
    _, made, cluster = crews
    whole, grown, notes = begin(), begin(), []
    list(fit(whole, splits(), RECIPE))
    for _ in run(grown, notes):
        cluster.processors = 2
    assert made == [1, "dismissed", 2, "dismissed"] and torch.equal(bits(whole), bits(grown))
    assert notes[1] == "Of the 2 workers asked for, 2 can train now."


def test_processors_that_others_use_are_not_waited_for(crews):
    _, made, cluster = crews
    cluster.processors, cluster.others = 3, 2
    notes = []
    assert [epoch.number for epoch in run(begin(), notes)] == [1, 2, 3] and made == [1, "dismissed"]
    assert notes == ["Of the 2 workers asked for, 1 can train now."]


def test_it_gives_up_where_nothing_is_ever_reached(crews):
    ends, made, _ = crews
    ends += [0] * 99
    with pytest.raises(RunError, match=r"lost 8 times in a row .* its machine is gone. Mend the cluster, .* --resume"):
        list(run(begin(), []))
    assert len(made) == 16


def test_what_cannot_work_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    out = tmp_path / "run"
    for options, message in (
        ({"cluster": "10.0.0.1:6379"}, "--workers 2"),
        ({"workers": 2, "reduce": "quick"}, "exact and fast"),
        ({"workers": 0}, "whole numbers from 1"),
    ):
        with pytest.raises(UsageError, match=message):
            train("digits", out=out, **options)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs Ray, which is not installed.*keensight\[scale\]"):
        train("digits", out=out, workers=2, set=["model=logistic", "epochs=1"])
    assert not out.exists()


def test_workers_are_sent_no_test_pictures_and_no_files(tmp_path):
    given = splits()
    file = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=given.train.images.shape)
    file[:] = given.train.images
    mapped = Split(file, np.arange(95, -1, -1), given.train.labels, ("a.png",) * 96)
    sent = on_ray._without_test(Splits(given.class_names, SIZE, mapped, mapped.take(np.arange(9)), mapped))
    assert sent.test is None and type(sent.train.images) is np.ndarray
    assert np.array_equal(sent.train.gather(), file[::-1]) and np.array_equal(sent.val.gather(), file[::-1][:9])
