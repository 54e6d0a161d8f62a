"""What `keensight.train` writes, read back: write.py, read.py and card.py together."""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from keensight.bundle.card import model_card
from keensight.bundle.read import read_bundle
from keensight.errors import BundleError
from keensight.evaluation.report import from_dict
from keensight.inference.predictor import load
from keensight.pipeline.watch import Watcher


def test_the_bundle_is_whole(trained):
    assert sorted(file.name for file in trained.bundle.iterdir()) == [
        "MODEL_CARD.md",
        "bundle.json",
        "model.onnx",
        "model.safetensors",
        "report.html",
        "sbom.cdx.json",
    ]
    info = json.loads((trained.bundle / "bundle.json").read_text())
    assert info["format"] == 2 and info["labels"] == [str(i) for i in range(10)]
    assert info["metrics"]["test"]["accuracy"] == trained.report.test.accuracy
    weights = load_file(trained.bundle / "model.safetensors")
    learnt = sum(w.size for name, w in weights.items() if "running" not in name and "num_batches" not in name)
    assert learnt - 2 == info["model"]["parameters"]  # mean and std of one channel


def test_the_report_comes_back_as_it_was(trained):
    assert from_dict(json.loads((trained.folder / "report.json").read_text())) == trained.report


def damaged(trained, tmp_path, **changes):
    info = json.loads((trained.bundle / "bundle.json").read_text()) | changes
    shutil.copytree(trained.bundle, tmp_path, dirs_exist_ok=True)
    (tmp_path / "bundle.json").write_text(json.dumps({k: v for k, v in info.items() if v is not None}))
    return tmp_path


def test_a_rejector_or_threshold_that_was_taken_out_is_remarked_on(trained, tmp_path):
    heard = []
    watcher = Watcher()
    watcher.note = heard.append
    for name, changes in (("whole", {}), ("without", {"rejector": None}), ("lower", {"abstain_below": 0.0})):
        folder = Path(shutil.copytree(trained.bundle, tmp_path / name))
        bundle = read_bundle(damaged(trained, folder, **changes) if changes else folder)
        assert bundle.edited == (("bundle.json",) if changes else ())
        watcher.opened(bundle)
        assert ("Its bundle.json was changed since it was made." in heard[-1]) == bool(changes)
        assert "carries no signature" in heard[-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "format 99; this keensight reads formats 1 and 2"),
        ({"labels": None}, "has no key 'labels'"),
        ({"labels": ["a", "b"]}, "its metrics on 'val' are those of other labels"),
        (
            {"labels": ["a", "b"], "metrics": None},
            "gives 'probabilities' 10, 'oddness' 1, which is not what its bundle.json says",
        ),
        ({"labels": ["0"] * 10}, "its labels have a name twice"),
        ({"preprocessing": {"height": 9, "width": 8, "channels": 1, "fit": "squash"}}, "not what its bundle.json says"),
        ({"preprocessing": 3}, "cannot be read"),
        (
            {"preprocessing": {"height": 0, "width": 8, "channels": 1, "fit": "squash"}},
            "pictures are 0x8x1 with.* accepted",
        ),
        ({"borders": {"low": "x", "high": 1}}, "cannot be read"),
        ({"recipe": ["filters", 8]}, "cannot be read .*not a table"),
    ],
)
def test_a_bundle_that_contradicts_itself_is_refused(trained, tmp_path, changes, words):
    with pytest.raises(BundleError, match=words):
        load(damaged(trained, tmp_path, **changes))


def test_a_bundle_has_its_runs_name_wherever_one_stands(trained, tmp_path, monkeypatch):
    assert read_bundle(trained.folder).name == read_bundle(trained.bundle).name == trained.report.run == "digits"
    monkeypatch.chdir(trained.folder)
    assert [read_bundle(path).name for path in (".", "bundle", "bundle/../bundle")] == ["digits"] * 3
    assert read_bundle(damaged(trained, tmp_path)).name == tmp_path.name


def test_what_is_no_bundle_says_so(trained, tmp_path):
    with pytest.raises(BundleError, match="does not exist"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="is not a bundle: it has no bundle.json"):
        read_bundle(tmp_path)
    (damaged(trained, tmp_path, format=1, files=None) / "model.onnx").write_bytes(b"not onnx")
    (tmp_path / "sbom.cdx.json").unlink()
    with pytest.raises(BundleError, match=r"model.onnx cannot be read \(the file is not a protocol buffer"):
        load(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(BundleError, match="has no model.onnx"):
        load(tmp_path)


def test_weights_that_are_none_are_refused_before_anything_is_predicted(trained, tmp_path):
    (damaged(trained, tmp_path) / "model.safetensors").write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(BundleError, match="model.safetensors cannot be read .*begins like a pickle"):
        load(tmp_path)


def test_json_that_says_two_things_is_refused(trained, tmp_path):
    text = (damaged(trained, tmp_path) / "bundle.json").read_text()
    (tmp_path / "bundle.json").write_text(text[:-1] + ', "abstain_below": 0}')
    with pytest.raises(BundleError, match="the key 'abstain_below' comes twice"):
        load(tmp_path)


def test_the_card_tells_what_a_reviewer_asks(trained):
    card = (trained.bundle / "MODEL_CARD.md").read_text()
    assert re.findall("^## (.*)$", card, re.MULTILINE) == [
        "How good it is", "Known weaknesses", "Data", "Intended use",
    ]  # fmt: skip
    for part in card.split("\n## ")[1:]:
        assert len(part.splitlines()) > 2, f"nothing under {part}"


def test_the_card_escapes_what_the_data_names(trained):
    from dataclasses import replace

    hostile = replace(trained.report, run="<script>alert(1)</script>[x](y)|`#")
    first = model_card(hostile).splitlines()[0]
    assert first == r"# Model card: &lt;script&gt;alert(1)&lt;/script&gt;\[x\](y)\|\`\#"
    assert f"{trained.report.test.accuracy:.4f}" in model_card(trained.report)


def test_an_unfinished_run_says_how_to_go_on(trained, tmp_path):
    for name in ("recipe.toml", "splits.jsonl"):
        (tmp_path / name).write_bytes((trained.folder / name).read_bytes())
    with pytest.raises(BundleError, match="not finished.*--resume"):
        load(tmp_path)


def test_a_file_that_belongs_to_a_bundle_by_its_own_list_cannot_be_missing(trained, tmp_path):
    files = sorted(each.name for each in trained.bundle.iterdir())
    assert json.loads((trained.bundle / "bundle.json").read_text())["files"] == files
    assert list(load(trained.bundle).bundle.info.files) == files
    for name in set(files) - {"bundle.json"}:
        copy = tmp_path / name
        shutil.copytree(trained.bundle, copy)
        (copy / name).unlink()
        with pytest.raises(BundleError, match=f"has no {re.escape(name)}, so it is not whole: its bundle.json lists"):
            load(copy)


def test_a_bundle_of_format_2_from_before_its_list_of_files_needs_its_bill_of_materials(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained.bundle, copy)
    info = json.loads((copy / "bundle.json").read_text())
    del info["files"]
    (copy / "bundle.json").write_text(json.dumps(info))
    (copy / "report.html").unlink()
    assert load(copy).bundle.info.files is None
    (copy / "sbom.cdx.json").unlink()
    with pytest.raises(BundleError, match=r"has no sbom\.cdx\.json"):
        load(copy)
