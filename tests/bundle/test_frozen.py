"""The promise that later releases read what earlier ones wrote (docs/bundle.md). Never write these files again."""

import json

import model_signing
import pytest

import keensight
from keensight.bundle.network import network_of
from keensight.bundle.read import read_bundle


def test_an_old_bundle_is_read_verified_and_answers_as_ever(frozen, frozen_key):
    expected = json.loads((frozen.parent / "answers.json").read_text())
    answers = keensight.predict(frozen, frozen.parent / "pictures", key=frozen_key)
    assert sorted(expected) == [answer.file.rpartition("/")[2] for answer in answers]
    for answer in answers:
        assert answer.probabilities == pytest.approx(expected[answer.file.rpartition("/")[2]], abs=1e-6)
    assert [answer.label for answer in answers] == ["0", "1", "2", "3", "4"]


def test_an_old_bundles_network_opens_and_the_stock_client_still_verifies_it(frozen, frozen_key):
    bundle = read_bundle(frozen, frozen_key)
    model = network_of(bundle)
    assert sum(parameter.numel() for parameter in model.parameters()) == bundle.info.num_parameters
    verifying = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=frozen_key)
    ignored = model_signing.hashing.Config().set_ignored_paths(paths=["signature.json"])
    verifying.set_hashing_config(ignored).verify(frozen, frozen / "signature.json")


def test_a_bundle_from_before_the_bill_of_materials_is_read(frozen, tmp_path):
    for name in ("bundle.json", "model.onnx", "model.safetensors", "MODEL_CARD.md", "report.html"):
        (tmp_path / name).write_bytes((frozen / name).read_bytes())
    assert keensight.load(tmp_path).bundle.labels == keensight.load(frozen).bundle.labels


def test_keys_that_are_not_known_yet_are_ignored(frozen, tmp_path):
    info = json.loads((frozen / "bundle.json").read_text())
    info |= {"later": {"a": [1, None]}}
    info["preprocessing"]["later"] = True
    (tmp_path / "bundle.json").write_text(json.dumps(info))
    (tmp_path / "model.onnx").write_bytes((frozen / "model.onnx").read_bytes())
    assert keensight.load(tmp_path).bundle.info.to_json() == info  # and kept where it is written again
