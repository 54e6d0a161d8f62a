"""The audit of whole bundles: as trained, and with their weights changed by a thief who knows the format."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load, save

import keensight
from keensight.bundle.network import network_of
from keensight.bundle.read import read_bundle
from keensight.bundle.sbom import SBOM
from keensight.bundle.write import write_files
from keensight.errors import UsageError
from keensight.models.onnx.write import to_onnx
from keensight.pages.findings import sentence

TINY = ["model=dense", "hidden=[8]", "epochs=4", "batch_size=16", "coverage=1"]


@pytest.fixture(scope="module")
def run(draw, tmp_path_factory):
    """A run on pictures of noise in two classes, which lie beside it."""
    root = tmp_path_factory.mktemp("audited")
    data = draw(root / "data", ["a", "b"], 60, 0)
    return keensight.train(data, out=root / "run", set=TINY), data


def tampered(bundle, out, answers_too):
    """The bundle with 30 added to the last bias of its weights, and of model.onnx if `answers_too`."""
    weights = load(bundle.files["model.safetensors"])
    name = max(name for name in weights if name.endswith("bias"))
    weights[name][0] += 30
    files = {name: content for name, content in bundle.files.items() if name not in ("bundle.json", SBOM)}
    files["model.safetensors"] = save(weights)
    if answers_too:
        model = network_of(replace(bundle, files={**bundle.files, **files}))
        files["model.onnx"] = to_onnx(model, bundle.preprocessing, 2, bundle.info.temperature, bundle.labels)
    write_files(out, bundle.info, files)
    return out


def test_a_run_as_trained_is_not_accused_and_what_was_looked_at_is_said(run, tmp_path):
    audited = keensight.audit(run[0].folder, tmp_path / "out", twins=4)
    assert audited.findings == () and audited.notes == ()
    facts = json.loads((tmp_path / "out/audit.json").read_text())
    assert (facts["pictures"], facts["twins"], facts["findings"]) == (120, 4, [])
    assert "the accuracy that it records for its test pictures" in facts["looked_at"]
    page = audited.page.read_text()
    assert "Nothing was found." in page and "beside 4 clean twins" in page


def test_a_changed_network_is_found_by_its_bias_and_by_its_accuracy(run, tmp_path):
    bundle = read_bundle(run[0].bundle)
    stolen = tampered(bundle, tmp_path / "stolen", answers_too=True)
    audited = keensight.audit(stolen, tmp_path / "out", against=run[1], twins=4)
    by = {each.evidence["by"]: each for each in audited.findings}
    assert {each.kind for each in audited.findings} <= {"tampering", "backdoor"}
    assert by["bias"].evidence["label"] == "a"
    assert by["accuracy"].score == 1 and by["accuracy"].evidence["value"] < by["accuracy"].evidence["usual"]
    assert "changed after it was measured" in sentence(by["accuracy"]) and "'a'" in sentence(by["bias"])
    assert "Not as trained" in audited.page.read_text()


def test_without_pictures_the_files_are_compared_and_the_rest_is_named(run, tmp_path):
    stolen = tampered(read_bundle(run[0].bundle), tmp_path / "stolen", answers_too=False)
    audited = keensight.audit(stolen, tmp_path / "out")
    assert [each.evidence["by"] for each in audited.findings] == ["files"]
    assert "--against" in audited.notes[0] and audited.num_pictures == 0
    assert "No pictures were given" in audited.page.read_text()


def test_too_little_time_is_said(run, tmp_path):
    audited = keensight.audit(run[0].bundle, tmp_path / "out", budget=0.001)
    assert audited.findings == () and "--budget" in audited.notes[-1]


@pytest.mark.parametrize("asked", [{"twins": 3}, {"budget": "soon"}])
def test_what_cannot_be_is_refused(run, tmp_path, asked):
    with pytest.raises(UsageError):
        keensight.audit(run[0].bundle, tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_against_is_for_bundles(run, tmp_path):
    with pytest.raises(UsageError, match=r"has no bundle\.json"):
        keensight.audit(run[1], tmp_path / "out", against=run[1])


def test_a_backdoor_is_shown_with_pictures(run, tmp_path, monkeypatch):
    """Twins that read far less of each pixel need larger triggers."""
    from keensight.pipeline import audited_bundle

    real = audited_bundle.signs_of
    calls = iter(range(9))

    def signs_of(*asked):
        found = real(*asked)
        larger = 0.0 if next(calls) == 0 else 6.0
        return replace(found, values={**found.values, "spot": found.values["spot"] + larger})

    monkeypatch.setattr(audited_bundle, "signs_of", signs_of)
    audited = keensight.audit(run[0].bundle, tmp_path / "out", twins=4)
    found = next(each for each in audited.findings if each.kind == "backdoor")
    assert found.evidence["by"] == "spot" and "A spot of" in sentence(found)
    assert audited.page.read_text().count('<img src="data:image/png') == 12
