import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keensight.data.splits import assign, read_splits, split, splits_jsonl
from keensight.errors import DataError, RecipeError, RunError
from keensight.pages.findings import sentence
from keensight.values import Dataset, Pixels, Preprocessing, Sample, Skipped


def dataset(samples, names=("cat", "dog")):
    return Dataset("pets", Path("pets"), "folder", names, tuple(samples))


def pictures(n, label, start=0, **more):
    return [Sample(f"{label}/{start + i}", label, f"hash-{label}-{start + i}", **more) for i in range(n)]


def pixels(samples, **more):
    images = np.random.default_rng(0).integers(0, 256, (len(samples), 8, 8, 1), np.uint8)
    return Pixels(dataset(samples, **more), Preprocessing(8, 8, 1), images, np.arange(len(samples)))


def test_a_drawn_split_is_stratified():
    splits = split(pixels(pictures(400, 0) + pictures(100, 1)))
    assert splits.test is not None
    assert np.bincount(splits.val.labels).tolist() == np.bincount(splits.test.labels).tolist() == [60, 15]
    assert np.bincount(splits.train.labels).tolist() == [280, 70]
    rows = np.concatenate([splits.train.rows, splits.val.rows, splits.test.rows])
    assert sorted(rows.tolist()) == list(range(500))


def test_the_seed_decides():
    made = pixels(pictures(50, 0) + pictures(50, 1))
    assert split(made, seed=1).val.paths == split(made, seed=1).val.paths
    assert split(made, seed=1).val.paths != split(made, seed=2).val.paths


def test_identical_pictures_stay_together():
    copies = [Sample(f"copy/{i}", i % 2, f"same-{i // 10}") for i in range(200)]
    samples = pictures(100, 0) + pictures(100, 1) + copies
    assigned, findings = assign(dataset(samples), 0.15, 0.15, 0)
    homes = {}
    for sample, name in zip(samples, assigned, strict=True):
        assert homes.setdefault(sample.sha256, name) == name
    identical, label = findings
    assert "180 pictures are copies of others, byte for byte" in sentence(identical)
    assert "appear twice with different labels" in sentence(label)
    assert identical.kind == "identical" and identical.samples == tuple(f"copy/{i}" for i in range(200) if i % 10)
    odd = [i for i in range(200) if i % 2]  # the first of every ten has label 0
    assert label.kind == "label" and set(label.samples) == {f"copy/{i}" for i in odd + [i // 10 * 10 for i in odd]}
    assert label.evidence["pairs"][0] == [("copy/0", "cat"), ("copy/1", "dog")]


def test_groups_stay_together_also_through_a_shared_picture():
    samples = [Sample(f"{i}", i % 2, f"hash-{i}", group=f"scene-{i // 12}") for i in range(240)]
    samples.append(Sample("bridge", 0, "hash-0", group="scene-5"))  # the picture of scene-0, filed under scene-5
    assigned, _ = assign(dataset(samples), 0.2, 0.2, 3)
    homes = {}
    for sample, name in zip(samples, assigned, strict=True):
        assert homes.setdefault(sample.group, name) == name
    assert homes["scene-0"] == homes["scene-5"]
    counts = Counter(assigned.tolist())
    assert 30 <= counts["val"] <= 70 and 30 <= counts["test"] <= 70


def test_a_split_knows_what_belongs_together():
    samples = pictures(60, 0) + pictures(60, 1, group="burst") + [Sample("again", 0, "hash-0-7")] + pictures(60, 1, 99)
    found = pixels(samples)
    found.images[3] = found.images[5]  # the same pixels in files of other bytes
    for part in (splits := split(found)).train, splits.val, splits.test:
        unit = dict(zip(part.paths, part.units.tolist(), strict=True))
        kinds = {path: "burst" if path in {f"1/{i}" for i in range(60)} else
                 {"again": "0/7", "0/5": "0/3"}.get(path, path) for path in unit}  # fmt: skip
        numbers = {}
        for path in part.paths:
            assert numbers.setdefault(kinds[path], unit[path]) == unit[path]
        assert len(set(numbers.values())) == len(numbers)


def test_one_huge_group_does_not_swamp_a_small_split():
    samples = pictures(60, 0) + pictures(40, 1) + pictures(300, 0, start=1000, group="burst")
    assigned, _ = assign(dataset(samples), 0.1, 0.1, 0)
    burst = {str(name) for s, name in zip(samples, assigned, strict=True) if s.group}
    assert burst == {"train"}


def test_given_splits_are_kept():
    samples = [
        *pictures(10, 0, split="train"),
        *pictures(10, 1, split="train"),
        *pictures(4, 0, start=50, split="val"),
        *pictures(4, 1, start=50, split="val"),
        *pictures(3, 0, start=80, split="test"),
        *pictures(3, 1, start=80, split="test"),
    ]
    splits = split(pixels(samples))
    assert (len(splits.train), len(splits.val), len(splits.test or ())) == (20, 8, 6)
    assert splits.findings == ()


def test_a_missing_split_is_held_out_of_training():
    samples = [
        *pictures(100, 0, split="train"),
        *pictures(100, 1, split="train"),
        *pictures(20, 0, start=500, split="val"),
        *pictures(20, 1, start=500, split="val"),
    ]
    splits = split(pixels(samples))
    assert (len(splits.train), len(splits.val), len(splits.test or ())) == (170, 40, 30)
    (found,) = splits.findings
    assert "brings no test split: of its training pictures, 15% for test are held out instead." in sentence(found)
    assert found.kind == "held-out" and found.evidence == {"shares": {"test": 0.15}}
    whole = split(pixels(samples), test_fraction=0)
    assert (len(whole.train), whole.test) == (200, None)


def test_a_picture_in_two_given_splits_is_named():
    samples = [
        *pictures(5, 0, split="train"),
        *pictures(5, 1, split="train"),
        Sample("validation/again.png", 0, "hash-0-3", "val"),
        *pictures(2, 1, start=50, split="val"),
        *pictures(2, 0, start=50, split="test"),
        *pictures(2, 1, start=70, split="test"),
    ]
    found = split(pixels(samples)).findings[0]
    assert found.kind == "leak" and found.samples == ("0/3", "validation/again.png")
    note = sentence(found)
    assert "1 picture is in two of the given splits, which" in note and "0/3 = validation/again.png" in note


@pytest.mark.parametrize("few", [1, 2])
def test_a_class_that_is_too_small_is_named(few):
    with pytest.raises(DataError, match=rf"no picture of class 'dog' \({few}\).*at least three"):
        split(pixels(pictures(50, 0) + pictures(few, 1)))


def test_three_pictures_are_enough():
    splits = split(pixels(pictures(50, 0) + pictures(3, 1)))
    assert splits.test is not None
    assert [int((part.labels == 1).sum()) for part in (splits.train, splits.val, splits.test)] == [1, 1, 1]


def test_three_large_groups_are_enough():
    bursts = [s for g in range(3) for s in pictures(10, 1, start=100 * g, group=f"burst-{g}")]
    splits = split(pixels(pictures(50, 0) + bursts))
    assert splits.test is not None
    assert [int((part.labels == 1).sum()) for part in (splits.train, splits.val, splits.test)] == [10, 10, 10]


def test_two_groups_cannot_be_divided():
    samples = [*pictures(20, 0, group="a"), *pictures(20, 1, group="b", start=50)]
    with pytest.raises(DataError, match="cannot be divided into train, val and test: .* too few groups"):
        split(pixels(samples))


def test_groups_are_mentioned():
    samples = [s for g in range(10) for s in pictures(10, g % 2, start=100 * g, group=f"scene-{g}")]
    (found,) = split(pixels(samples)).findings
    assert sentence(found) == "The pictures are of 10 groups; a split that was drawn has whole groups."


def test_a_group_in_two_given_splits_is_named():
    samples = [
        *pictures(5, 0, split="train", group="scene-1"),
        *pictures(5, 1, split="train"),
        *pictures(2, 1, start=50, split="val"),
        *pictures(2, 0, start=50, split="val", group="scene-1"),
    ]
    leak, *_ = split(pixels(samples), test_fraction=0).findings
    assert leak.kind == "leak" and leak.evidence == {"groups": ["scene-1"]}
    assert set(leak.samples) == {sample.path for sample in samples if sample.group}
    assert sentence(leak) == "1 group is in two of the given splits: scene-1."


def saved_again(made, *copies):
    """Give pictures the pixels of others: (copy, original), by their numbers."""
    for copy, original in copies:
        made.images[copy] = made.images[original]
    return made


def test_the_same_pixels_in_other_files_stay_together():
    for seed in range(10):
        made = saved_again(pixels(pictures(20, 0) + pictures(20, 1)), *((i, i - 10) for i in range(10, 20)))
        splits = split(made, seed=seed)
        homes = {path: name for name in ("train", "val", "test") for path in getattr(splits, name).paths}
        assert all(homes[f"0/{i}"] == homes[f"0/{i - 10}"] for i in range(10, 20))
        (found,) = splits.findings
        assert found.kind == "identical" and set(found.samples) == {f"0/{i}" for i in range(20)}
        assert "10 pictures are others pixel for pixel" in sentence(found) and "0/0 = 0/10" in sentence(found)


def test_the_same_pixels_in_two_given_splits_are_named():
    samples = [
        *pictures(5, 0, split="train"), *pictures(5, 1, split="train"),
        *pictures(3, 0, start=50, split="val"), *pictures(3, 1, start=50, split="val"),
    ]  # fmt: skip
    leak, label = split(saved_again(pixels(samples), (10, 2), (13, 3)), test_fraction=0).findings
    assert leak.kind == "leak" and leak.evidence["pairs"] == [["0/2", "0/50"], ["0/3", "1/50"]]
    assert "2 pictures are in two of the given splits, with the same pixels" in sentence(leak)
    assert label.kind == "label" and label.samples == ("0/3", "1/50")


def test_pictures_without_pixel_copies_are_divided_as_before_there_was_such_a_rule():
    """Bundles of older releases draw their splits again; ungrouped data gets the same from both."""
    samples = pictures(100, 0) + pictures(60, 1) + [Sample(f"copy/{i}", 0, "same") for i in range(4)]
    now, _ = assign(dataset(samples), 0.15, 0.15, 3, [""] * len(samples))
    then, _ = assign(dataset(samples), 0.15, 0.15, 3, draw=1)
    assert (now == then).all()
    copies = ["a"] * 80 + [""] * 84
    assert (assign(dataset(samples), 0.15, 0.15, 3, copies, draw=1)[0] == then).all()
    assert (assign(dataset(samples), 0.15, 0.15, 3, copies)[0] != then).any()


def test_blank_pictures_are_named_and_are_no_copies_of_each_other():
    made = pixels(pictures(20, 0) + pictures(20, 1))
    made.images[[3, 4, 25]] = 255
    made.images[26] = 7
    made.images[26, 0, 0] = 14
    (found,) = split(made).findings
    assert found.kind == "blank" and found.samples == ("0/3", "0/4", "1/5", "1/6")
    assert "4 pictures are blank" in sentence(found)


def test_class_names_that_may_be_one_are_told():
    found = split(pixels(pictures(10, 0) + pictures(10, 1), names=("Cat", "cat"))).findings[0]
    assert found.kind == "label" and "'Cat' and 'cat'" in sentence(found)


def test_what_could_not_be_read_is_named_where_a_class_lacks_it():
    made = pixels(pictures(50, 0) + pictures(1, 1))
    with_reasons = replace(made.dataset, skipped=(Skipped("1/away.png", "permission denied"),))
    with pytest.raises(DataError, match=r"1 file was left out: 1/away\.png \(permission denied\)"):
        split(replace(made, dataset=with_reasons))


def patients(count, rare_in):
    """Groups with nine pictures of class 0; every so many of them has one of class 1 besides, and fewer of class 0."""
    samples = []
    for g in range(count):
        has = g % rare_in == 0
        samples += pictures(4 if has else 9, 0, start=100 * g, group=f"patient-{g}")
        samples += pictures(int(has), 1, start=100 * g, group=f"patient-{g}")
    return samples


@pytest.mark.parametrize(("count", "rare_in"), [(24, 4), (24, 8), (40, 10)])
def test_groups_of_several_classes_are_stratified_by_all_of_them(count, rare_in):
    """Three groups with a class are enough, whatever the seed."""
    samples = patients(count, rare_in)
    groups = {sample.path: sample.group for sample in samples}
    for seed in range(20):
        splits = split(pixels(samples), seed=seed)
        parts = [splits.train, splits.val, splits.test]
        homes = [{groups[path] for path in part.paths} for part in parts]
        assert sum(map(len, homes)) == len(set().union(*homes))
        assert all((part.labels == 1).any() for part in parts)
        shares = [len(part) / len(samples) for part in parts]
        assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.08)


def test_a_given_split_that_lacks_a_class_of_training_is_noted():
    samples = [*pictures(5, 0, split="train"), *pictures(5, 1, split="train"), *pictures(3, 0, start=50, split="val")]
    (found,) = split(pixels(samples), test_fraction=0).findings
    assert found.kind == "rare" and found.evidence == {"split": "val", "lacks": ["dog"]}
    assert "The val split that the data brings has no picture of dog" in sentence(found)


def test_data_without_training_pictures_is_refused():
    samples = [*pictures(5, 0, split="test"), *pictures(5, 1, split="test")]
    with pytest.raises(DataError, match="has no train and no val split: it has only test"):
        split(pixels(samples))


@pytest.mark.parametrize(("val", "test"), [(0, 0.1), (0.5, 0.5), (1, 0), (0.1, -0.1)])
def test_fractions_that_make_no_sense(val, test):
    with pytest.raises(RecipeError, match="leave pictures to train on"):
        split(pixels(pictures(50, 0) + pictures(50, 1)), val_fraction=val, test_fraction=test)


def test_splits_are_written_down(tmp_path):
    made = pixels(pictures(20, 0) + pictures(20, 1))
    splits = split(made)
    lines = [json.loads(line) for line in splits_jsonl(made, splits).splitlines()]
    assert Counter(line["split"] for line in lines) == {"train": 28, "val": 6, "test": 6}
    assert {line["file"] for line in lines if line["split"] == "val"} == set(splits.val.paths)
    assert lines[0].keys() == {"split", "file", "label", "sha256"}
    (tmp_path / "splits.jsonl").write_text(splits_jsonl(made, splits))
    assert [each._asdict() for each in read_splits(tmp_path / "splits.jsonl")] == lines


@pytest.mark.parametrize("damage", ["{", "[1]", "1", '{"split": "train"}', "\x00"])
def test_a_list_that_is_damaged_is_refused(tmp_path, damage):
    (tmp_path / "splits.jsonl").write_text(damage)
    with pytest.raises(RunError, match=r"splits\.jsonl is not the list of pictures .* Repair or remove"):
        read_splits(tmp_path / "splits.jsonl")
