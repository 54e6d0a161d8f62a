"""The search, on objectives whose best is known."""

import logging
import math
import warnings
from dataclasses import replace

import pytest

from keensight.errors import TrainingError
from keensight.training.search_space import Dimension
from keensight.training.tune import Point, Trial, best_of, importances, propose, run, tenths

SPACE = (
    Dimension("learning_rate", 1e-4, 1e-1, log=True),
    Dimension("batch_size", choices=(32, 64, 128)),
    Dimension("epochs", 2, 12, log=True, whole=True),
    Dimension("dropout", 0.0, 0.5),
)
OWN = {"learning_rate": 0.09, "batch_size": 128, "epochs": 6, "dropout": 0.0}
BEST_RATE = 0.004


def quality(values):
    """Only the rate matters: a parabola in its logarithm, 1 at BEST_RATE and 0 two decades away."""
    return max(0.0, 1 - (math.log10(values["learning_rate"] / BEST_RATE) / 2) ** 2)


def objective(values):
    for epoch in range(1, values["epochs"] + 1):
        fraction = epoch / values["epochs"]
        yield Point(fraction, quality(values) * fraction**0.3, 1 - fraction)


def trials(number, seed=0, done=(), objective=objective, space=SPACE, own=OWN):
    found = list(done)
    for _ in range(number):
        found.append(run(objective, propose(space, own, seed, found), len(found), found))
    return found[len(done) :]


def without_clock(found):
    return [replace(trial, seconds=0) for trial in found]


@pytest.fixture(scope="module")
def forty():
    return trials(40)


def test_it_finds_the_known_best(forty):
    """Half a decade of three: chance alone puts one trial in six there, 3.3 of 20, and more than 7 only once in 70."""
    winner = best_of(forty)
    assert abs(math.log10(winner.values["learning_rate"] / BEST_RATE)) < 0.15
    assert winner.val_accuracy > forty[0].val_accuracy + 0.3
    close = [abs(math.log10(trial.values["learning_rate"] / BEST_RATE)) < 0.25 for trial in forty]
    assert sum(close[20:]) >= 8


def test_the_first_trial_is_the_recipe_as_it_is(forty):
    assert forty[0].values == OWN
    assert forty[0].val_accuracy == pytest.approx(quality(OWN))
    assert [trial.number for trial in forty] == list(range(40))


def test_values_are_in_range_and_readable(forty):
    for trial in forty:
        for dimension in SPACE:
            value = trial.values[dimension.key]
            assert value in dimension.choices if dimension.choices else dimension.low <= value <= dimension.high
        assert float(f"{trial.values['learning_rate']:.3g}") == trial.values["learning_rate"]


def test_same_seed_same_trials_and_another_seed_others():
    first, again, other = trials(12), trials(12), trials(12, seed=1)
    assert without_clock(first) == without_clock(again)
    assert [trial.values for trial in first] != [trial.values for trial in other]


def test_proposing_and_running_are_apart(forty):
    """Whoever runs a trial needs its values and the trials before it, and changes nothing of what is proposed."""
    done = forty[:20]
    assert propose(SPACE, OWN, 0, done) == propose(SPACE, OWN, 0, done) == forty[20].values
    late = run(objective, forty[20].values, 23, done)
    assert replace(late, seconds=0) == replace(forty[20], number=23, seconds=0)


@pytest.mark.parametrize("stop", [0, 1, 7, 13])
def test_going_on_gives_the_trials_that_there_would_have_been(forty, stop):
    assert without_clock(trials(16 - stop, done=forty[:stop])) == without_clock(forty[stop:16])


def test_the_hopeless_are_stopped_and_no_good_one(forty):
    pruned = [trial for trial in forty if trial.state == "pruned"]
    assert 5 < len(pruned) < 35
    middle = sorted(quality(trial.values) for trial in forty)[20]
    for trial in pruned:
        assert trial.number >= 5, "nothing to compare with yet"
        assert trial.epochs < trial.values["epochs"]
        assert max(trial.reached) >= 3, "not in its first three tenths"
        assert "below the median" in trial.reason
    assert best_of(forty).state == "finished"
    assert sum(quality(trial.values) for trial in pruned) / len(pruned) < middle


def test_long_runs_are_not_stopped_for_being_long():
    """All end equally well and rise evenly: at the same epoch the long ones lag, at the same fraction none does."""

    def even(values):
        for epoch in range(1, values["epochs"] + 1):
            yield Point(epoch / values["epochs"], epoch / values["epochs"], 1.0)

    space = (Dimension("epochs", 10, 40, whole=True),)
    found = trials(25, objective=even, space=space, own={"epochs": 10})
    assert {trial.state for trial in found} == {"finished"}
    assert len({trial.values["epochs"] for trial in found}) > 5


def test_tenths_are_on_the_line_between_two_epochs():
    assert tenths(None, Point(1 / 3, 0.6, 1.0)) == {}, "before the first epoch ends, nothing is known"
    assert tenths(None, Point(0.2, 0.6, 1.0)) == {2: 0.6}
    assert tenths(Point(1 / 3, 0.0, 1.0), Point(2 / 3, 1.0, 1.0)) == pytest.approx({4: 0.2, 5: 0.5, 6: 0.8})
    points = [Point(epoch / 7, epoch / 7, 1.0) for epoch in range(1, 8)]
    steps = {}
    for before, now in zip([None, *points], points, strict=False):
        steps |= tenths(before, now)
    assert steps == pytest.approx({step: step / 10 for step in range(2, 11)})


def test_failures_are_recorded_and_the_search_goes_on():
    def fails(values):
        yield Point(0.5, 0.5, 1.0)
        if values["learning_rate"] > 0.01:
            raise TrainingError("the loss is no longer a number")
        yield Point(1.0, 0.6 if values["batch_size"] == 64 else 0.5, math.nan if values["batch_size"] == 32 else 1.0)

    found = trials(25, objective=fails)
    assert found[0].state == "failed" and found[0].reason == "the loss is no longer a number"
    assert found[0].val_accuracy is None
    states = {(trial.values["learning_rate"] > 0.01, trial.values["batch_size"] == 32): trial.state for trial in found}
    assert states[True, False] == "failed"
    assert states[False, True] == "failed", "a loss that is no number is no result"
    assert states[False, False] == "finished"
    assert best_of(found).values["batch_size"] == 64
    assert best_of(found[:1]) is None


def test_a_tie_goes_to_the_lower_loss_then_to_the_earlier_trial():
    rows = [(0.9, 0.3), (0.9, 0.2), (0.9, 0.2), (0.8, 0.1)]
    found = [Trial(n, "finished", {}, accuracy, loss, 1, 1.0) for n, (accuracy, loss) in enumerate(rows)]
    assert best_of(found).number == 1
    assert best_of([*found, Trial(4, "pruned", {}, 1.0, 0.0, 1, 1.0)]).number == 1, "a stopped trial is no result"


def test_what_mattered_is_the_rate(forty):
    shares = importances(SPACE, forty)
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {dimension.key for dimension in SPACE}


def test_too_few_or_equal_trials_say_nothing_about_what_mattered(forty):
    assert importances(SPACE, forty[:3]) == {}
    assert importances(SPACE, [replace(trial, val_accuracy=0.5, state="finished") for trial in forty]) == {}


def test_it_is_silent(capfd, forty):
    import optuna

    logging.getLogger("optuna").handlers or optuna.logging.enable_default_handler()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trials(2, done=forty[:12])
    assert capfd.readouterr() == ("", "")
