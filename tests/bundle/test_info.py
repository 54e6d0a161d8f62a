import json
from dataclasses import replace

import pytest

from keensight.bundle.info import FORMAT, BundleInfo, Rejector
from keensight.data.pixels import DECODER_VERSION
from keensight.data.polarity import Borders
from keensight.values import Preprocessing
from keensight.version import __version__

INFO = BundleInfo(
    labels=("a", "b"),
    preprocessing=Preprocessing(8, 9, 3, "crop"),
    borders=Borders(0.25, 0.5),
    temperature=1.5,
    abstain_below=0.6,
    recipe={"options": {}},
    data={"sha256": "ab", "val_fraction": 0.1, "test_fraction": 0.2, "seed": 3},
)


def test_it_is_written_in_the_order_of_the_specification_without_what_is_not_known():
    assert json.dumps(INFO.to_json()) == json.dumps(
        {
            "format": FORMAT,
            "keensight": __version__,
            "labels": ["a", "b"],
            "preprocessing": {
                "height": 8, "width": 9, "channels": 3, "fit": "crop",
                "resample": "bilinear", "decoder": DECODER_VERSION,
            },
            "borders": {"low": 0.25, "high": 0.5, "inverts": False},
            "temperature": 1.5,
            "abstain_below": 0.6,
            "recipe": {"options": {}},
            "data": {"sha256": "ab", "val_fraction": 0.1, "test_fraction": 0.2, "seed": 3},
        }
    )  # fmt: skip


def test_what_was_written_is_read():
    full = replace(INFO, rejector=Rejector(0.3, 0.95), created="2026", warnings=["one"], model={"parameters": 7})
    again = BundleInfo.from_json(full.to_json())
    assert again.to_json() == full.to_json()
    assert replace(again, besides={}) == replace(full, besides={})
    assert (again.num_parameters, again.rejector) == (7, Rejector(0.3, 0.95))


def test_a_frozen_bundles_words_are_kept(frozen):
    said = json.loads((frozen / "bundle.json").read_text())
    assert BundleInfo.from_json(said).to_json() == said
    assert said["format"] == 1


def test_keys_of_a_newer_release_are_kept_when_it_is_written_again():
    said = INFO.to_json() | {"later": {"a": [1, None]}, "parity": {"n": 3}, "rejector": {"threshold": 1, "coverage": 1}}
    for table in ("preprocessing", "borders", "rejector"):
        said[table] = said[table] | {"later": True}
    read = BundleInfo.from_json(said)
    assert read.to_json() == said
    changed = replace(read, parity=None, temperature=2.0, preprocessing=Preprocessing(4, 4, 1)).to_json()
    assert changed["later"] == {"a": [1, None]} and "parity" not in changed
    assert changed["preprocessing"] == said["preprocessing"] | {"height": 4, "width": 4, "channels": 1, "fit": "squash"}


def test_format_1_knows_no_rejector():
    odd = {"rejector": "as it likes"}
    assert BundleInfo.from_json(INFO.to_json() | odd | {"format": 1}).rejector is None
    with pytest.raises(TypeError):
        BundleInfo.from_json(INFO.to_json() | odd)


@pytest.mark.parametrize(
    ("rejector", "words"),
    [
        ({"threshold": 1e999, "coverage": 0.9}, "the threshold inf and the coverage 0.9; a finite"),
        ({"threshold": 1, "coverage": 0}, "coverage above 0 and at most 1 are accepted"),
        ({"threshold": 1, "coverage": 1.5}, "coverage 1.5"),
        ({"threshold": "x", "coverage": 1}, "could not convert"),
    ],
)
def test_a_rejector_that_cannot_be_is_refused(rejector, words):
    with pytest.raises(ValueError, match=words):
        BundleInfo.from_json(INFO.to_json() | {"rejector": rejector})


def test_a_bundle_needs_recipe_and_data_or_an_origin_and_a_network():
    said = INFO.to_json()
    for part in ("recipe", "data"):
        with pytest.raises(KeyError, match=part):
            BundleInfo.from_json({key: value for key, value in said.items() if key != part})
    imported = {key: value for key, value in said.items() if key not in ("recipe", "data")}
    imported |= {"origin": {"kind": "keras", "file": "a.h5", "sha256": "cd"}, "network": [{"layer": "Flatten"}]}
    assert BundleInfo.from_json(imported).to_json() == imported
    with pytest.raises(IndexError):
        BundleInfo.from_json(imported | {"network": []})


@pytest.mark.parametrize(("channels", "inverts"), [(1, True), (3, False)])
def test_a_bundle_that_says_nothing_of_inverting_does_so_for_grey_pictures_alone(channels, inverts):
    said = INFO.to_json()
    said["preprocessing"]["channels"] = channels
    del said["borders"]["inverts"]
    read = BundleInfo.from_json(said)
    assert read.borders.inverts is inverts
    assert "inverts" not in read.to_json()["borders"]


def test_whether_it_inverts_is_true_or_false():
    said = INFO.to_json()
    said["borders"]["inverts"] = "yes"
    with pytest.raises(ValueError, match="true or false"):
        BundleInfo.from_json(said)
