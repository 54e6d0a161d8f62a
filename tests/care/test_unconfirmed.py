"""From gathered to cleaned: labels are unconfirmed until somebody decides on them."""

from dataclasses import asdict, fields

import pytest

import keensight
from keensight.care.gather.manifest import Row, rows_as_text
from keensight.care.unconfirmed import unconfirmed_labels
from keensight.data.decided import decisions_jsonl
from keensight.pages.findings import sentence
from keensight.values import Decision


@pytest.fixture
def gathered(draw, tmp_path):
    """A folder as `gather` leaves it: twelve pictures, one of which was confirmed there already."""
    root = draw(tmp_path / "pets", ["cat", "dog"], 6, 0)
    empty = {each.name: 9 if each.name in ("width", "height") else "" for each in fields(Row)}
    dataset = keensight.open_dataset(root)
    rows = [
        Row(
            **empty
            | {"file": s.path, "label": dataset.class_names[s.label], "sha256": s.sha256, "state": "unconfirmed"}
        )
        for s in dataset.samples
    ]
    rows[0] = Row(**asdict(rows[0]) | {"state": "confirmed"})
    (root / "manifest.jsonl").write_text(rows_as_text(rows))
    return root, dataset


def test_labels_are_settled_by_decisions_and_told_until_then(gathered, tmp_path):
    root, dataset = gathered
    paths = [sample.path for sample in dataset.samples]
    assert unconfirmed_labels(dataset).samples == tuple(paths[1:])
    hashes = [sample.sha256 for sample in dataset.samples]
    file = tmp_path / "decisions.jsonl"
    given = [Decision(hashes[1], "confirm"), Decision(hashes[2], "drop"), Decision(hashes[3], "relabel", "dog")]
    file.write_text(decisions_jsonl(given))
    done = keensight.clean(root, file)
    assert (done.moved, done.unconfirmed) == (2, 8)
    left = unconfirmed_labels(keensight.open_dataset(root))
    assert set(left.samples) == set(paths[4:])
    assert sentence(left).startswith("8 of 11 labels are a search's guess, and nobody has looked at them.")
    found = keensight.audit(root, tmp_path / "audit")
    assert found.findings[-1].evidence["by"] == "search"
    page = found.page.read_text()
    assert "Unconfirmed labels" in page and page.count('class="card"') >= 8
    file.write_text(decisions_jsonl([Decision(value, "confirm") for value in hashes[4:]]))
    assert keensight.clean(root, file).unconfirmed == 0
    assert unconfirmed_labels(keensight.open_dataset(root)) is None


def test_training_says_that_nobody_has_looked(gathered, tmp_path, brief):
    root, _ = gathered
    run = keensight.train(root, recipe="logistic", out=tmp_path / "run", set=["epochs=1"])
    assert any("11 of 12 labels are a search's guess" in note for note in run.report.data["notes"])


def test_a_manifest_of_somebody_else_says_nothing(gathered):
    root, dataset = gathered
    (root / "manifest.jsonl").write_text('{"file": "cat/0-0.png", "label": "cat"}\n')
    assert unconfirmed_labels(dataset) is None
    (root / "manifest.jsonl").unlink()
    assert unconfirmed_labels(dataset) is None
