"""Signing and verifying, beside the stock client of OpenSSF model-signing."""

import base64
import json
import shutil
import socket
from pathlib import Path

import model_signing
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import keensight
from keensight.bundle.folder import FILES, read_folder
from keensight.bundle.keys import load_private, load_public
from keensight.bundle.read import read_bundle
from keensight.bundle.sbom import refreshed
from keensight.bundle.statement import PAYLOAD_TYPE, written
from keensight.bundle.verify import verify_files
from keensight.errors import BundleError, GateError, SigningKeyError


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return keensight.new_key(tmp_path_factory.mktemp("keys") / "release.pem")


@pytest.fixture(scope="module")
def signed(trained, keys, tmp_path_factory):
    folder = Path(shutil.copytree(trained.bundle, tmp_path_factory.mktemp("signed") / "bundle"))
    keensight.sign(folder, key=keys[0])
    return folder


@pytest.fixture
def copy(signed, tmp_path):
    return Path(shutil.copytree(signed, tmp_path / "bundle"))


def stock_verify(folder, public):
    verifying = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    ignored = model_signing.hashing.Config().set_ignored_paths(paths=["signature.json"], ignore_git_paths=True)
    verifying.set_hashing_config(ignored).verify(folder, folder / "signature.json")


def refusal(folder, public):
    with pytest.raises(GateError) as caught:
        keensight.verify(folder, key=public)
    return str(caught.value)


def test_what_keensight_signs_the_stock_client_accepts_and_so_does_keensight(signed, keys):
    stock_verify(signed, keys[1])
    verified = keensight.verify(signed, key=keys[1])
    assert set(verified.files) == set(FILES) - {"signature.json"}
    predictor = keensight.load(signed, key=keys[1])
    assert predictor.bundle.verified_by == verified.key
    assert predictor.onnx is predictor.bundle.files["model.onnx"]  # the very bytes that were verified
    unverified = keensight.load(signed).bundle
    assert unverified.verified_by is None and unverified.is_signed


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
@pytest.mark.parametrize("ignore_git_paths", [True, False])
def test_what_the_stock_client_signs_keensight_accepts(trained, tmp_path, curve, ignore_git_paths):
    folder = Path(shutil.copytree(trained.bundle, tmp_path / "bundle"))
    key = ec.generate_private_key(curve)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (tmp_path / "k").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain))
    (tmp_path / "k.pub").write_bytes(
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    hashing = model_signing.hashing.Config().set_ignored_paths(
        paths=["signature.json"], ignore_git_paths=ignore_git_paths
    )
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=tmp_path / "k")
    signing.set_hashing_config(hashing).sign(folder, folder / "signature.json")
    keensight.verify(folder, key=tmp_path / "k.pub")
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    assert "model.onnx was changed" in refusal(folder, tmp_path / "k.pub")


@pytest.mark.parametrize("name", sorted(set(FILES) - {"signature.json"}))
def test_a_changed_or_removed_file_is_named(copy, keys, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    assert f"{name} was changed" in refusal(copy, keys[1])
    (copy / name).unlink()
    assert f"{name} is missing" in refusal(copy, keys[1])
    with pytest.raises(ValueError):
        stock_verify(copy, keys[1])


def test_an_added_renamed_or_linked_file_is_named(copy, keys, tmp_path):
    (copy / "extra.txt").touch()
    assert "extra.txt is not a file of a bundle" in refusal(copy, keys[1])
    (copy / "extra.txt").unlink()
    (copy / "report.html").rename(copy / "report2.html")
    assert "report2.html is not a file of a bundle" in refusal(copy, keys[1])
    (copy / "report2.html").rename(tmp_path / "report.html")
    (copy / "report.html").symlink_to(tmp_path / "report.html")
    assert "report.html is a symbolic link" in refusal(copy, keys[1])
    (copy / "report.html").unlink()
    (copy / "report.html").hardlink_to(tmp_path / "report.html")
    assert "report.html is a hard link" in refusal(copy, keys[1])
    (copy / "report.html").unlink()
    shutil.copy(tmp_path / "report.html", copy)
    keensight.verify(copy, key=keys[1])


def test_two_files_exchanged_are_both_named(copy, keys):
    one, two = copy / "MODEL_CARD.md", copy / "report.html"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    said = refusal(copy, keys[1])
    assert "MODEL_CARD.md was changed" in said and "report.html was changed" in said


def test_where_keensight_is_stricter_than_the_stock_client(copy, keys, tmp_path):
    (copy / "empty").mkdir()
    stock_verify(copy, keys[1])
    assert "empty is a folder" in refusal(copy, keys[1])
    (copy / "empty").rmdir()
    (tmp_path / "other").hardlink_to(copy / "report.html")
    stock_verify(copy, keys[1])
    assert "report.html is a hard link" in refusal(copy, keys[1])
    (tmp_path / "other").unlink()
    content = (copy / "signature.json").read_bytes()
    (copy / "signature.json").write_bytes(content + b"\n")
    stock_verify(copy, keys[1])
    assert "not as that library writes them" in refusal(copy, keys[1])
    (copy / "signature.json").write_bytes(content)
    (tmp_path / "crlf").write_bytes(keys[1].read_bytes().replace(b"\n", b"\r\n"))
    stock_verify(copy, tmp_path / "crlf")
    keensight.verify(copy, key=tmp_path / "crlf")


def test_a_file_that_a_bundle_may_have_is_added_to_the_signed_ones(copy, keys):
    info = json.loads((copy / "bundle.json").read_text())
    info["files"].remove("report.html")
    (copy / "bundle.json").write_text(json.dumps(info))
    report = (copy / "report.html").read_bytes()
    (copy / "report.html").unlink()
    keensight.sign(copy, key=keys[0])
    stock_verify(copy, keys[1])
    (copy / "report.html").write_bytes(report)
    assert "report.html was added" in refusal(copy, keys[1])


def test_an_unsigned_bundle_and_another_key(trained, copy, keys, tmp_path):
    assert "is not signed: it has no signature.json" in refusal(trained.bundle, keys[1])
    with pytest.raises(GateError, match="is not signed"):
        keensight.predict(trained.bundle, [], key=keys[1])
    _, other = keensight.new_key(tmp_path / "other")
    assert f"{copy} was signed with another key" in refusal(copy, other)
    with pytest.raises(BundleError, match="does not exist"):
        keensight.verify(tmp_path / "nowhere", key=other)


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 13])
def test_every_single_byte_counts(frozen, frozen_key, step):
    """Flip each byte of a small bundle's signature, and each or some of its files: none gets through, each is named."""
    files, key = read_folder(frozen), load_public(frozen_key)
    verify_files(frozen, files, key)
    for name, content in files.items():
        for at in range(0, len(content), 1 if name == "signature.json" else step):
            for mask in (0x01, 0x20) if name == "signature.json" else (0x01,):  # 0x20: a letter's case
                flipped = bytearray(content)
                flipped[at] ^= mask
                with pytest.raises(GateError) as caught:
                    verify_files(frozen, {**files, name: bytes(flipped)}, key)
                assert name in str(caught.value) or "another key" in str(caught.value)


def test_every_flip_on_disk_is_refused_too(copy, keys):
    for name in sorted(FILES):
        content = (copy / name).read_bytes()
        for at in (0, len(content) // 2, len(content) - 1):
            (copy / name).write_bytes(content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :])
            refusal(copy, keys[1])
        (copy / name).write_bytes(content)
    keensight.verify(copy, key=keys[1])


# --- without a key ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(FILES) - {"signature.json"}))
def test_what_was_changed_after_it_was_signed_is_refused_without_a_key_too(copy, keys, name):
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    with pytest.raises(
        GateError, match=f"was changed after it was signed: {name} was changed.*or delete its signature"
    ):
        keensight.load(copy)
    (copy / "signature.json").unlink()
    if not name.startswith("model."):  # which the bill of materials lists
        keensight.load(copy)


def test_a_signature_that_cannot_be_read_is_refused_and_may_be_replaced(copy, keys):
    content = (copy / "signature.json").read_bytes()
    for broken in (b"", b"[]", b"{}", content[:-1], content + b"\n", content.replace(b'"hint":"', b'"hint":"x')):
        (copy / "signature.json").write_bytes(broken)
        with pytest.raises(GateError, match=r"signature\.json is not a signature by model_signing 1\.1"):
            keensight.load(copy)
    keensight.sign(copy, key=keys[0])
    keensight.verify(copy, key=keys[1])


def test_a_bundle_says_which_key_it_names_be_it_checked_or_not(copy, keys):
    unchecked, checked = keensight.load(copy).bundle, keensight.load(copy, key=keys[1]).bundle
    assert unchecked.signed_by == checked.signed_by == checked.verified_by and unchecked.verified_by is None
    (copy / "MODEL_CARD.md").write_text("Another card.")
    changed = keensight.load(copy, though_changed=True).bundle
    assert changed.changes == ("MODEL_CARD.md was changed",) and changed.signed_by == checked.verified_by


# --- signatures that are sound, around a statement that is not ------------------------------------------------------


def forged(copy, keys, change, text=None):
    """Let the right key sign what `change` makes of the statement."""
    key, _ = load_private(keys[0])
    found = json.loads((copy / "signature.json").read_bytes())
    statement = json.loads(base64.b64decode(found["dsseEnvelope"]["payload"]))
    change(statement)
    payload = (text or json.dumps)(statement).encode()
    signature = key.sign(f"DSSEv1 28 {PAYLOAD_TYPE} {len(payload)} ".encode() + payload, ec.ECDSA(_sha256()))
    hint = found["verificationMaterial"]["publicKey"]["hint"]
    content = written(hint, base64.b64encode(payload).decode(), base64.b64encode(signature).decode())
    (copy / "signature.json").write_bytes(content)
    return refusal(copy, keys[1])


def _sha256():
    from cryptography.hazmat.primitives.hashes import SHA256

    return SHA256()


def resources(statement):
    return statement["predicate"]["resources"]


def put(where, key, value):
    return lambda statement: where(statement).__setitem__(key, value)


FORGED = {
    "another statement": (put(lambda s: s, "_type", "x"), "statement is of another type"),
    "another predicate": (put(lambda s: s, "predicateType", "https://model_signing/Digests/v0.1"), "another type"),
    "more keys": (put(lambda s: s, "more", 1), "does not have the keys"),
    "two subjects": (lambda s: s["subject"].append(s["subject"][0]), "not a signature"),
    "shards": (put(lambda s: s["predicate"]["serialization"], "method", "shards"), "not listed whole"),
    "another hash": (put(lambda s: s["predicate"]["serialization"], "hash_type", "blake3"), "not listed whole"),
    "links": (put(lambda s: s["predicate"]["serialization"], "allow_symlinks", True), "without links"),
    "a file left out": (
        put(lambda s: s["predicate"]["serialization"], "ignore_paths", ["signature.json", "model.onnx"]),
        "leaves out other files",
    ),
    "another hash of one": (lambda s: resources(s)[0].update(algorithm="md5"), "another hash than SHA-256"),
    "another root": (put(lambda s: s["subject"][0]["digest"], "sha256", "00" * 32), "digest of its list"),
    "out of order": (lambda s: resources(s).reverse(), "in order"),
    "a file twice": (lambda s: resources(s).insert(0, resources(s)[0]), "in order"),
    "an escape": (lambda s: resources(s)[0].update(name="../../etc/passwd"), "../../etc/passwd is missing"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_even_the_right_key_cannot_sign_something_else(copy, keys, kind):
    change, words = FORGED[kind]
    assert words in forged(copy, keys, change)


def test_a_key_twice_in_the_statement_is_refused(copy, keys):
    twice = lambda statement: json.dumps(statement)[:-1] + ', "_type": "x"}'  # noqa: E731
    assert "the key '_type' comes twice" in forged(copy, keys, lambda s: None, twice)


# --- signing --------------------------------------------------------------------------------------------------------


def test_what_would_not_load_is_not_signed(copy, keys):
    (copy / "model.onnx").write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(BundleError, match="model.onnx is not the file that sbom.cdx.json lists"):
        keensight.sign(copy, key=keys[0])
    refreshed_bill = refreshed({name: (copy / name).read_bytes() for name in FILES})
    (copy / "sbom.cdx.json").write_bytes(refreshed_bill)
    before = (copy / "signature.json").read_bytes()
    with pytest.raises(BundleError, match="begins like a pickle"):
        keensight.sign(copy, key=keys[0])
    assert (copy / "signature.json").read_bytes() == before


def test_a_card_may_be_completed_before_signing_and_the_bill_of_materials_follows(copy, keys):
    from keensight.bundle.sbom import _hashes

    with open(copy / "MODEL_CARD.md", "a") as card:
        card.write("\nNot for driving.\n")
    assert "MODEL_CARD.md was changed" in refusal(copy, keys[1])
    keensight.sign(copy, key=keys[0])
    stock_verify(copy, keys[1])
    files = keensight.verify(copy, key=keys[1]).files
    listed = _hashes(json.loads((copy / "sbom.cdx.json").read_bytes()))
    assert listed == {name: digest for name, digest in files.items() if name != "sbom.cdx.json"}
    assert not [file for file in copy.iterdir() if file.name not in FILES]


def test_an_encrypted_key_signs(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("KEENSIGHT_KEY_PASSWORD", "secret")
    private, public = keensight.new_key(tmp_path / "locked")
    monkeypatch.delenv("KEENSIGHT_KEY_PASSWORD")
    with pytest.raises(SigningKeyError, match="is encrypted"):
        keensight.sign(copy, key=private)
    keensight.sign(copy, key=private, ask=lambda: "secret")
    stock_verify(copy, public)
    keensight.verify(copy, key=public)


def test_signing_through_a_link_to_the_bundle_and_from_inside(copy, keys, tmp_path, monkeypatch):
    (tmp_path / "latest").symlink_to(copy)
    keensight.sign(tmp_path / "latest", key=keys[0])
    monkeypatch.chdir(copy)
    keensight.sign(".", key=keys[0])
    stock_verify(copy, keys[1])


def test_neither_signing_nor_verifying_asks_the_network(copy, keys, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    keensight.sign(copy, key=keys[0])
    keensight.verify(copy, key=keys[1])


def test_the_bytes_that_were_verified_are_those_that_are_loaded(copy, keys, monkeypatch):
    """An attacker who can write there exchanges the model once it is verified: nothing is opened a second time."""
    from keensight.bundle import verify as under_test

    good = (copy / "model.onnx").read_bytes()
    verify = under_test.verify_files

    def then_exchange(*args):
        verify(*args)
        for file in copy.iterdir():
            file.write_bytes(b"exchanged")

    monkeypatch.setattr(under_test, "verify_files", then_exchange)
    predictor = keensight.load(copy, key=keys[1])
    assert predictor.onnx == good and read_folder(copy)["model.onnx"] == b"exchanged"
    from keensight.bundle.network import network_of

    network_of(predictor.bundle)


def test_a_bundle_that_is_verified_says_by_which_key(signed, keys):
    assert read_bundle(signed, keys[1]).verified_by == keensight.verify(signed, key=keys[1]).key
