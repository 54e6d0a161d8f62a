"""The benchmark's arithmetic, on answers made up here and commands that only echo."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import keensight
from keensight.values import Preprocessing

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def harness():
    """The harness's modules: scripts that stand beside each other, and so import each other by name."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    modules = {
        name: importlib.import_module(name) for name in ("measuring", "comparisons", "bench", "smoke", "capacity")
    }
    yield type("Harness", (), modules)
    patch.undo()
    for name in modules:
        sys.modules.pop(name, None)


@pytest.fixture
def row(harness):
    m = harness.measuring
    rate = (m.Measure("images/s", "images_per_s", "images_per_s"),)
    return m.Row("fast", "work", "them", ("ours",), ("theirs",), rate, 3.0, runs=3)


def runs(harness, rows):
    return [(" ".join(run.command), run.index) for run in harness.measuring.schedule(rows)]


def found(harness, row, ours, theirs):
    run = harness.measuring.Run
    return {run(row.ours, i): each for i, each in enumerate(ours)} | {
        run(row.theirs, i): each for i, each in enumerate(theirs)
    }


def told(harness, row, ours, theirs):
    return harness.measuring.summary(row, *harness.measuring.answers(row, found(harness, row, ours, theirs)))


def rates(*numbers, **others):
    return [{"images_per_s": number, **others} for number in numbers]


def test_the_sides_take_turns(harness, row):
    turns = [("ours", 0), ("theirs", 0), ("ours", 1), ("theirs", 1), ("ours", 2), ("theirs", 2)]
    assert runs(harness, [row]) == turns


def test_fewer_runs_of_the_slow_side_come_first(harness, row):
    assert runs(harness, [replace(row, their_runs=1)]) == [("ours", 0), ("theirs", 0), ("ours", 1), ("ours", 2)]


def test_rows_of_a_group_share_the_command_that_both_have(harness, row):
    one = replace(row, group="g", runs=2)
    other = replace(one, name="other", theirs=("others",))
    alone = replace(row, name="alone", runs=1)
    assert runs(harness, [one, alone, other]) == [
        ("ours", 0), ("theirs", 0), ("others", 0),
        ("ours", 1), ("theirs", 1), ("others", 1),
        ("ours", 0), ("theirs", 0),
    ]  # fmt: skip


def test_the_median_is_of_the_pairs_ratios_and_not_of_the_sides(harness, row):
    result = told(harness, row, rates(10, 90, 40), rates(10, 10, 20))
    measure = result["measures"]["images/s"]
    assert (measure["median"], measure["low"], measure["high"]) == (2, 1, 9)  # the sides' medians give 40 / 10 = 4
    assert result["met"] is False
    assert measure["ours"] == [10, 90, 40]
    assert result["n"] == {"ours": 3, "theirs": 3}


def test_seconds_are_better_the_fewer(harness, row):
    seconds = replace(row, measures=(harness.measuring.Measure("s", "process_s", "training_s"),))
    result = told(harness, seconds, [{"process_s": 2}] * 3, [{"training_s": 10}] * 3)
    assert result["measures"]["s"]["median"] == 5
    assert result["met"] is True


def test_the_slow_sides_few_runs_serve_in_turn(harness, row):
    few = replace(row, their_runs=2)
    assert told(harness, few, rates(6, 6, 6), rates(2, 3))["measures"]["images/s"]["ours"] == [6, 6, 6]
    (measure,) = few.measures
    assert harness.measuring.ratios(measure, rates(6, 6, 6), rates(2, 3)) == [3, 2, 3]


def test_a_limit_is_met_from_below(harness, row):
    limit = replace(row, theirs=None, goal=3)
    assert told(harness, limit, rates(1, 3, 9), [])["met"] is True
    assert told(harness, limit, rates(1, 4, 9), [])["met"] is False


def test_the_time_to_an_accuracy_is_that_of_the_first_epoch_there(harness, row):
    m = harness.measuring
    answer = {"seconds": [10, 20, 30, 40], "accuracies": [0.5, 0.9, 0.8, 0.95]}
    assert m.with_reached(answer, 0.9)["reached_s"] == 30
    assert "reached_s" not in m.with_reached(answer, 0.99)
    reach = replace(row, measures=(m.Measure("s", "process_s", "reached_s"),), target=0.99)
    result = told(harness, reach, [{"process_s": 2}] * 3, [answer] * 3)
    assert result["measures"]["s"] == {
        "median": None, "low": None, "high": None, "ours": [2, 2, 2], "theirs": [None, None, None]
    }  # fmt: skip
    assert result["met"] is None
    assert harness.bench.line(result) == "s: they never got there"


@pytest.mark.parametrize(
    ("bounds", "ours", "theirs", "complaint"),
    [
        ({"least": 0.9}, 0.89, 0.5, "ours has accuracy 0.8900, less than 0.9"),
        ({"least": 0.9}, 0.9, 0.95, ""),
        ({"within": 0.02}, 0.9, 0.93, "accuracy 0.9000 and 0.9300 are more than 0.02 apart"),
        ({"within": 0.02}, 0.93, 0.9, "accuracy 0.9300 and 0.9000 are more than 0.02 apart"),
        ({"within": 0.02}, 0.9, 0.91, ""),
        ({"behind": 0.01}, 0.9, 0.92, "ours has accuracy 0.9000, theirs 0.9200"),
        ({"behind": 0.01}, 0.99, 0.92, ""),
    ],
)
def test_without_the_same_quality_there_is_no_comparison(harness, row, bounds, ours, theirs, complaint):
    quality = harness.measuring.Quality("accuracy", "metrics.accuracy", "accuracy", **bounds)
    mine = rates(30, 30, 30, metrics={"accuracy": ours})
    result = told(harness, replace(row, quality=quality), mine, rates(1, 1, 1, accuracy=theirs))
    assert result["complaints"] == [complaint] * bool(complaint)
    assert result["met"] is (None if complaint else True)


def test_new_results_replace_old_ones_in_the_tables_order(harness):
    before = {"b": 1, "a": 1, "gone": 1}
    assert list(harness.measuring.merged(before, {"a": 2, "c": 2}, ["a", "b", "c"]).items()) == [
        ("a", 2), ("b", 1), ("c", 2),
    ]  # fmt: skip


def test_the_last_object_that_was_printed_is_the_answer(harness):
    last = harness.measuring.last_object
    assert last('{\n "a": 1\n}\n') == {"a": 1}
    assert last('noise\n{"a": 1}\n{"a": 2}\n7\n') == {"a": 2}
    assert last("usage: none") == {}


def test_a_command_runs_in_a_fresh_cache_if_it_asks_for_one(harness, tmp_path):
    code = "import os, json; print(json.dumps([os.environ['KEENSIGHT_CACHE'], os.environ['OMP_NUM_THREADS']]))"
    code = f"{code.replace('print(', 'x = (')}; print(json.dumps({{{{'x': x}}}}))"
    machine = harness.measuring.Machine(1, {"python": sys.executable}, tmp_path)
    run = harness.measuring.Run
    warm = machine.run(run(("{python}", "-c", code), 0))
    cold = machine.run(run(("{python}", "-c", code, "{fresh}"), 0))
    assert json.loads(warm["x"]) == [str(tmp_path), "1"]
    folder = Path(json.loads(cold["x"])[0])
    assert folder != tmp_path
    assert not folder.parent.exists()
    assert warm["process_s"] > 0


def test_the_table_has_every_row_measured_or_not(harness, row):
    dated = {"date": "2026-11-22", "hardware": "a chip", "threads": 2, "versions": {"theirs": {"keras": "3"}}}
    limit = replace(row, name="limit", theirs=None, goal=0.2)
    results = {
        "fast": told(harness, row, rates(40, 50, 60), rates(10, 10, 10)) | dated,
        "limit": told(harness, limit, rates(0.3, 0.3, 0.3), []) | dated,
    }
    text = harness.bench.table([row, replace(row, name="later"), limit], results)
    assert "| `fast` | work | them | 5× (4 to 6) | ≥ 3× | yes | – | 3, 3 |" in text
    assert "| `later` | work | them | not measured yet | ≥ 3× | – | – | – |" in text
    assert "| `limit` | work | them | images/s: 0.300 | ≤ 0.2 | **no** | – | 3 |" in text
    assert "- 2026-11-22, a chip, 2 threads: `fast`, `limit`" in text
    assert "keras 3" in text


def test_the_table_in_the_docs_is_that_of_the_results(harness):
    bench = harness.bench
    assert bench.TABLE.read_text() == bench.table(harness.comparisons.ROWS, bench.results()), (
        "bench.py --table mends it"
    )


def test_the_capacity_on_paper_is_that_of_the_results(harness):
    capacity = harness.capacity
    text = capacity.PAGE.read_text()
    assert text == capacity.page(text, capacity.results()), "benchmarks/capacity.py mends it"


def test_a_step_of_many_workers_is_the_formula_of_the_page(harness):
    capacity = harness.capacity
    weights = keensight.build("husky", {}, Preprocessing(128, 128, 3), 2, 0).network.parameters()
    assert sum(4 * each.numel() for each in weights) == capacity.WEIGHTS_BYTES
    expected = 0.006 * 32 + 2 * (1 - 1 / 10) * capacity.WEIGHTS_BYTES / 1.25e9 + 2 * 10 * 20e-6 + 2 * 0.2e-3
    assert capacity.step_s(10, 0.006) == pytest.approx(expected)
    assert capacity.step_s(1, 0.006) == pytest.approx(0.006 * 32)


def test_the_capacity_uses_rows_once_they_are_measured(harness):
    dated = {"hardware": "a chip", "date": "2026-11-29", "n": {"ours": 3}}
    seconds = {"worker": 5, "node": 7, "link": 6, "driver": 9}
    found = {
        "scale-husky-32": {"measures": {"by processor time": {"theirs": [100, 300, 200]}}, **dated},
        **{f"scale-{what}-lost": {"measures": {"s": {"ours": [each, 1, 99]}}, **dated}
           for what, each in seconds.items()},
    }  # fmt: skip
    known = harness.capacity.measured(found)
    assert (known.picture_s, known.lost_s) == (0.005, seconds)
    text = harness.capacity.page(harness.capacity.PAGE.read_text(), found)
    assert "| a machine | 7 s |" in text and "The median of 3 runs, a chip, 2026-11-29." in text
    assert "Measured: 5.0 ms" in text and "| 1 | 32 | 160 ms | 200 | 100 % | 0.0 % |" in text
    del found["scale-link-lost"]
    assert harness.capacity.measured(found) is harness.capacity.BY_HAND


def test_every_row_names_scripts_that_exist_and_takes_known_words(harness):
    rows = harness.comparisons.ROWS
    assert len({row.name for row in rows}) == len(rows)
    words = dict.fromkeys(
        ("python", "keensight", "peer", "data", "fashion", "work", "picture", "digit", "fresh", "seed", "threads"), "x"
    )
    for row in rows:
        for command in filter(None, (row.ours, row.theirs)):
            for word in command:
                assert word.format_map(words)
                assert not word.startswith("benchmarks/") or (ROOT / word).is_file(), word


def test_rows_of_a_group_stand_together(harness):
    groups = [row.group or row.name for row in harness.comparisons.ROWS]
    changes = [group for group, before in zip(groups, ["", *groups], strict=False) if group != before]
    assert len(changes) == len(set(changes))


def test_a_recipe_that_is_still_to_come_is_named(harness, row):
    later = replace(row, ours=("keensight", "train", "mnist", "--recipe", "no-such-recipe"))
    assert harness.bench.missing_recipe(later) == "no-such-recipe"
    assert harness.bench.missing_recipe(replace(later, ours=(*later.ours[:-1], "default"))) == ""
    assert harness.bench.missing_recipe(row) == ""


def test_an_unknown_row_is_refused_with_the_nearest_name(harness):
    with pytest.raises(SystemExit, match="There is no row 'husky-thruput'. Did you mean 'husky-throughput'"):
        harness.bench.named(["husky-thruput"])


def test_a_guard_runs_both_ways_by_turns_after_a_warm_up(harness):
    order, times = [], iter([0, 1, 10, 14, 20, 21, 30, 32])
    ratios = harness.smoke.ratios(lambda: order.append("f"), lambda: order.append("s"), 2, lambda: next(times))
    assert order == list("fsfsfs")
    assert ratios == [4, 2]
