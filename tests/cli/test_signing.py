"""`keensight sign` and `verify`, and `--key` of the others, as a user meets them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def bundle(digits, tmp_path):
    return Path(shutil.copytree(digits / "bundle", tmp_path / "bundle"))


@pytest.fixture
def keys(warm, tmp_path):
    done = warm("sign", "--new-key", tmp_path / "release.pem", "--json")
    said = done.json()
    return Path(said["private_key"]), Path(said["public_key"])


@pytest.fixture
def picture(tmp_path):
    levels = np.zeros((8, 8), np.uint8)
    levels[1:7, 3:5] = 250
    Image.fromarray(levels).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def refused_by_a_gate(done):
    assert done.status == 3, done.err
    assert done.out == ""
    return done.paragraph()


def test_from_a_new_key_to_a_tampered_bundle(warm, bundle, keys, picture):
    private, public = keys
    signed = warm("sign", bundle, "--key", private, "--json").json()
    assert signed["signature"] == str(bundle / "signature.json") and "model.onnx" in signed["files"]
    verified = warm("verify", bundle, "--key", public, "--json").json()
    assert verified["verified"] is True and verified["key"] == signed["key"]
    assert sorted(verified["files"]) == sorted(signed["files"])
    assert "verified" in warm("verify", bundle, "--key", public).out
    assert json.loads(warm("predict", bundle, picture, "--key", public, "--json").out)["label"]
    assert warm("evaluate", bundle, "digits", "--split", "test", "--key", public, "--json").json()
    with open(bundle / "model.onnx", "r+b") as file:
        file.seek(100)
        file.write(b"\x01")
    for words in (("verify", bundle), ("predict", bundle, picture), ("evaluate", bundle, "digits")):
        assert "model.onnx was changed" in refused_by_a_gate(warm(*words, "--key", public))


@pytest.mark.thorough
def test_without_a_key_a_signed_bundle_is_taken_with_a_note_and_a_changed_one_refused(
    warm, digits, bundle, keys, picture, tmp_path
):
    unsigned = f"note: {bundle} carries no signature: anyone could have changed it. "
    assert warm("predict", bundle, picture).err.count(unsigned) == 1
    assert warm("sign", bundle, "--key", keys[0]).status == 0
    note = f"note: {bundle} is signed, but not checked: give --key, its signer's public key.\n"
    verbs = {
        "predict": ("predict", bundle, picture),
        "evaluate": ("evaluate", bundle, "digits", "--split", "test"),
        "explain": ("explain", bundle, picture, "--out", tmp_path / "why"),
        "compare": ("compare", digits, bundle, "digits", "--out", tmp_path / "beside"),
        "export": ("export", bundle, "--out", tmp_path / "alone.onnx"),
    }
    for verb, words in verbs.items():
        done = warm(*words)
        assert done.status == 0 and done.err.count(note) == 1, (verb, done.err)
    for verb, words in verbs.items():
        out = ("--out", tmp_path / f"again-{verb}") if "--out" in words else ()
        plain = words[: words.index("--out")] if out else words
        done = warm(*plain, *out, "--key", keys[1])
        if verb == "compare":
            assert "is not signed" in refused_by_a_gate(done)
        else:
            assert done.status == 0 and "not checked" not in done.err, done.err
    (bundle / "MODEL_CARD.md").write_text("Another card.")
    for verb in ("predict", "evaluate", "explain", "compare"):
        said = refused_by_a_gate(warm(*verbs[verb]))
        assert "was changed after it was signed: MODEL_CARD.md was changed" in said and "sign it again" in said
    done = warm("export", bundle, "--out", tmp_path / "edited.onnx")
    assert done.status == 0 and "MODEL_CARD.md was changed" in done.err
    assert warm("sign", bundle, "--key", keys[0]).status == 0
    assert warm("predict", bundle, picture).status == 0
    (bundle / "signature.json").unlink()
    for verb, words in verbs.items():
        out = ("--out", tmp_path / f"unsigned-{verb}") if "--out" in words else ()
        done = warm(*(words[: words.index("--out")] if out else words), *out)
        assert done.status == 0 and done.err.count(unsigned) == 1, (verb, done.err)


def test_sign_and_verify_list_files_in_the_same_order(warm, bundle, keys):
    signed = warm("sign", bundle, "--key", keys[0]).out.splitlines()[0].split(": ")[1]
    assert warm("verify", bundle, "--key", keys[1]).out.splitlines()[0].split(": ")[1] == signed


def test_the_stock_client_agrees(warm, bundle, keys):
    private, public = keys
    assert warm("sign", bundle, "--key", private).status == 0
    words = ["verify", "key", bundle, "--signature", bundle / "signature.json", "--public_key", public]
    stock = [sys.executable, "-m", "model_signing", *map(str, words)]
    done = subprocess.run(stock, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout + done.stderr
    (bundle / "report.html").write_text("changed")
    assert subprocess.run(stock, capture_output=True, text=True, check=False).returncode != 0


def test_one_command_makes_a_key_and_signs(warm, bundle, tmp_path):
    done = warm("sign", bundle, "--new-key", tmp_path / "k.pem")
    assert done.status == 0, done.err
    assert "private key" in done.out and "signed" in done.out and "PRIVATE KEY" not in done.out
    assert warm("verify", bundle, "--key", tmp_path / "k.pem.pub").status == 0
    again = warm("sign", bundle, "--new-key", tmp_path / "k.pem")
    assert again.status == 2 and "never overwritten" in again.paragraph()


def test_an_unsigned_bundle_is_refused_where_a_key_is_given(warm, bundle, keys, picture):
    assert "is not signed" in refused_by_a_gate(warm("verify", bundle, "--key", keys[1]))
    assert "is not signed" in refused_by_a_gate(warm("predict", bundle, picture, "--key", keys[1]))
    assert warm("predict", bundle, picture).status == 0


def test_keys_that_are_mixed_up_or_missing(warm, bundle, keys, tmp_path):
    private, public = keys
    assert "is a private key" in warm("verify", bundle, "--key", private).refusal()
    assert "is a public key" in warm("sign", bundle, "--key", public).refusal()
    assert "no such file" in warm("verify", bundle, "--key", tmp_path / "nowhere").refusal()
    for words in (("sign",), ("sign", bundle), ("sign", "--key", private)):
        done = warm(*words)
        assert done.status == 2 and "keensight sign BUNDLE --key FILE" in done.paragraph()
    done = warm("sign", bundle, "--key", private, "--new-key", tmp_path / "other")
    assert done.status == 2 and "--key and --new-key were given; only one is accepted" in done.paragraph()
    assert not (tmp_path / "other").exists()
    done = warm("verify", bundle)
    assert done.status == 2 and done.paragraph() == (
        "`keensight verify` needs --key, the signer's public key: EC, in a PEM file. See `keensight verify --help`."
    )
    done = warm("verify", bundle, "--key")
    assert done.status == 2 and done.paragraph().startswith("--key was given without its value.")


def test_an_encrypted_key(warm, bundle, tmp_path):
    password = {"KEENSIGHT_KEY_PASSWORD": "secret"}
    assert warm("sign", "--new-key", tmp_path / "k", **password).status == 0
    assert "is encrypted. Set KEENSIGHT_KEY_PASSWORD" in warm("sign", bundle, "--key", tmp_path / "k").refusal()
    assert warm("sign", bundle, "--key", tmp_path / "k", **password).status == 0


def test_a_bundle_that_cannot_be_written_says_so(warm, bundle, keys):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    bundle.chmod(0o500)
    assert "may not write there" in warm("sign", bundle, "--key", keys[0]).refusal()


def test_verifying_and_predicting_need_no_signing_library(bundle, keys, warm, lean, picture):
    assert warm("sign", bundle, "--key", keys[0]).status == 0
    missing = {"model_signing", "sigstore", "onnx", "torch", "safetensors"}
    for words in (("verify", bundle), ("predict", bundle, picture)):
        done = lean(*words, "--key", keys[1], missing=missing)
        assert done.status == 0, done.err
    said = lean("sign", bundle, "--key", keys[0], missing=missing).refusal()
    assert "needs the package 'model_signing'" in said and "pip install" in said
