"""Every layout of folders, every other form, links and odd names."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import keensight


@pytest.mark.parametrize(
    "layout",
    [
        "{label}/{split}-{i}.png",
        "all/{label}/more/{split}-{i}.png",
        "{split}/{label}/{i}.png",
        "{label}/{split}/{i}.png",
        "seg_{split}/seg_{split}/{label}/{i}.png",
        "set/{split}/{label}/deep/er/{i}.png",
    ],
)
def test_labels_and_splits_are_changed_in_any_layout_of_folders(draw, tmp_path, layout, tree, decide):
    root = tmp_path / "home" / "pets"
    for k, split in enumerate(("train", "test")):
        for file in draw(tmp_path / split, ["cat", "dog"], 3, k).rglob("*.png"):
            name = layout.format(split=split, label=file.parent.name, i=file.stem)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            file.rename(root / name)
    before, dataset = tree(root), keensight.open_dataset(root)
    has_splits = dataset.samples[0].split is not None
    assert has_splits == ("{split}/" in layout)
    cat, dog = (next(s for s in dataset.samples if dataset.class_names[s.label] == name) for name in ("cat", "dog"))
    other = "test" if dog.split == "train" else "train"
    rows = [
        {"file": cat.path, "action": "relabel", "label": "dog"},
        {"file": dog.path, "action": "move", "split": other},
    ]
    done = keensight.clean(root, decide(root, rows))
    assert done.moved == 1 + has_splits  # without folders for splits, the record says it
    after = keensight.open_dataset(root)
    now = {s.sha256: (after.class_names[s.label], s.split) for s in after.samples}
    assert len(now) == 12
    assert now[cat.sha256] == ("dog", cat.split)
    assert now[dog.sha256] == ("dog", other)
    others = [s for s in dataset.samples if s.sha256 not in (cat.sha256, dog.sha256)]
    assert all(now[s.sha256] == (dataset.class_names[s.label], s.split) for s in others)
    keensight.clean(root, undo=True)
    assert tree(root) == before


def test_links_stay_where_they_are_and_their_labels_are_followed(pets, decide):
    target = pets / "train/dog/0-0.png"
    (pets / "train/cat/link.png").symlink_to(os.path.relpath(target, pets / "train/cat"))
    done = keensight.clean(pets, decide(pets, [{"file": "train/cat/link.png", "action": "relabel", "label": "dog"}]))
    assert done.moved == 0
    dataset = keensight.open_dataset(pets)
    assert {dataset.class_names[s.label] for s in dataset.samples if s.path == "train/cat/link.png"} == {"dog"}
    assert keensight.clean(pets, undo=True).moved == 0


def test_names_that_are_not_utf8_move_with_their_bytes(pets, decide):
    odd = os.fsencode(pets / "train/cat") + b"/k\xe4tzchen.png"
    (pets / "train/cat/0-1.png").rename(os.fsdecode(odd))
    before = sorted(os.listdir(os.fsencode(pets / "train/cat")))
    keensight.clean(pets, decide(pets, [{"file": "train/cat/kätzchen.png", "action": "relabel", "label": "dog"}]))
    assert b"k\xe4tzchen.png" in os.listdir(os.fsencode(pets / "train/dog"))
    keensight.clean(pets, undo=True)
    assert sorted(os.listdir(os.fsencode(pets / "train/cat"))) == before


@pytest.mark.parametrize("form", ["zip", "csv", "idx", "npz", "pattern"])
def test_other_forms_stay_and_are_read_as_decided(draw, tmp_path, form, tree):
    home = tmp_path / "home"
    home.mkdir()
    pattern, folder = None, draw(home / "pets", ["cat", "dog"], 4, 0)
    if form == "zip":
        data = Path(shutil.make_archive(str(home / "pets"), "zip", folder))
    elif form == "csv":
        data = home / "pets.csv"
        names = [file.relative_to(home) for file in sorted(folder.rglob("*.png"))]
        data.write_text("file,label\n" + "".join(f"{name},{name.parts[1]}\n" for name in names))
    elif form == "pattern":
        data, pattern = home / "flat", "{label}_*"
        data.mkdir()
        for file in folder.rglob("*.png"):
            file.rename(data / f"{file.parent.name}_{file.name}")
    else:
        images = np.random.default_rng(0).integers(0, 255, (8, 9, 9), np.uint8)
        labels = np.arange(8, dtype=np.uint8) % 2
        data = home / ("idx" if form == "idx" else "pets.npz")
        if form == "npz":
            np.savez(data, images=images, labels=labels)
        else:
            data.mkdir()
            sizes = np.array([2051, 8, 9, 9], ">u4").tobytes()
            (data / "train-images-idx3-ubyte").write_bytes(sizes + images.tobytes())
            (data / "train-labels-idx1-ubyte").write_bytes(np.array([2049, 8], ">u4").tobytes() + labels.tobytes())
    before, dataset = tree(home), keensight.open_dataset(data, label_pattern=pattern)
    one, other = dataset.samples[0], dataset.samples[-1]
    label = next(name for name in dataset.class_names if name != dataset.class_names[one.label])
    file = tmp_path / "decisions.jsonl"
    rows = [{"sha256": one.sha256, "action": "relabel", "label": label}, {"sha256": other.sha256, "action": "drop"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = keensight.clean(data, file, label_pattern=pattern)
    assert done.moved == (form == "pattern")
    kept = {name: content for name, content in tree(home).items() if name in before}
    if form != "pattern":
        assert kept == before
    after = keensight.open_dataset(data, label_pattern=pattern)
    assert after.class_names[after.samples[0].label] == label
    assert other.path not in {sample.path for sample in after.samples}
    assert keensight.info(data, label_pattern=pattern)["decisions"] == {"relabel": 1, "drop": 1}
    keensight.clean(data, undo=True)
    assert tree(home) == before
