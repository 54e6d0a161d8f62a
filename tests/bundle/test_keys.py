import hashlib
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import keensight
from keensight.bundle.keys import fingerprint, load_private, load_public, public_pem
from keensight.errors import SigningKeyError, UsageError

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
SPKI, OPEN = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.NoEncryption()


def written(folder, key):
    (folder / "key").write_bytes(key.private_bytes(PEM, PKCS8, OPEN))
    (folder / "key.pub").write_bytes(key.public_key().public_bytes(PEM, SPKI))
    return folder / "key", folder / "key.pub"


def test_a_new_key_is_a_pair_and_only_its_owner_reads_it(tmp_path):
    private, public = keensight.new_key(tmp_path / "keys" / "release.pem")
    assert (private.name, public.name) == ("release.pem", "release.pem.pub")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    key, password = load_private(private)
    assert key.curve.name == "secp256r1" and password is None
    assert public_pem(key.public_key()) == public.read_bytes() == public_pem(load_public(public))
    assert fingerprint(load_public(public)) == hashlib.sha256(public.read_bytes()).hexdigest()
    other, _ = keensight.new_key(tmp_path / "other.pem")
    assert other.read_bytes() != private.read_bytes()


@pytest.mark.parametrize("taken", ["release.pem", "release.pem.pub"])
def test_a_key_is_never_overwritten(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(UsageError, match=f"{taken} exists, and a key is never overwritten"):
        keensight.new_key(tmp_path / "release.pem")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(taken, "precious")]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_curves_that_model_signing_takes(tmp_path, curve):
    private, public = written(tmp_path, ec.generate_private_key(curve))
    assert load_private(private)[0].curve.name == load_public(public).curve.name == curve.name


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (ec.generate_private_key(ec.SECP256K1()), "is on the curve secp256k1. Keys on the elliptic curves P-256"),
        (rsa.generate_private_key(65537, 2048), "is of another kind (RSA"),
        (ed25519.Ed25519PrivateKey.generate(), "is of another kind (Ed25519"),
    ],
)
def test_other_keys_are_refused_by_kind(tmp_path, key, words):
    private, public = written(tmp_path, key)
    for load, file in ((load_private, private), (load_public, public)):
        with pytest.raises(SigningKeyError) as caught:
            load(file)
        assert words in str(caught.value)


def test_the_other_half_is_refused_by_name(tmp_path):
    private, public = keensight.new_key(tmp_path / "k")
    with pytest.raises(SigningKeyError, match="k is a private key. Verifying takes the public one"):
        load_public(private)
    with pytest.raises(SigningKeyError, match=r"k\.pub is a public key, which verifies bundles"):
        load_private(public)


@pytest.mark.parametrize("content", [b"", b"text", b"-----BEGIN PUBLIC KEY-----\nxxxx\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_says_how_to_make_one(tmp_path, content):
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(SigningKeyError, match="is not a public key in PEM form.*--new-key"):
        load_public(tmp_path / "k")
    (tmp_path / "k").write_bytes(content.replace(b"PUBLIC", b"PRIVATE"))
    with pytest.raises(SigningKeyError, match="is not a private key in PEM form.*--new-key"):
        load_private(tmp_path / "k")


def test_a_key_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(SigningKeyError, match=r"cannot be read \(no such file or directory\)"):
        load_public(tmp_path / "nowhere")
    with pytest.raises(SigningKeyError, match=r"cannot be read \(is a directory\)"):
        load_private(tmp_path)
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    with pytest.raises(SigningKeyError, match="larger than any key"):
        load_public(tmp_path / "large")


def test_an_encrypted_key_takes_its_password_from_the_environment_or_asks(tmp_path, monkeypatch):
    monkeypatch.setenv("KEENSIGHT_KEY_PASSWORD", "grün")
    private, _ = keensight.new_key(tmp_path / "k")
    assert "ENCRYPTED" in private.read_text()
    assert load_private(private)[1] == "grün".encode()
    monkeypatch.setenv("KEENSIGHT_KEY_PASSWORD", "red")
    with pytest.raises(SigningKeyError, match="cannot be opened with this password"):
        load_private(private)
    monkeypatch.delenv("KEENSIGHT_KEY_PASSWORD")
    with pytest.raises(SigningKeyError, match="is encrypted. Set KEENSIGHT_KEY_PASSWORD"):
        load_private(private)
    assert load_private(private, lambda: "grün")[1] == "grün".encode()


def test_openssls_own_format_is_read_encrypted_too(tmp_path, monkeypatch):
    """`openssl ecparam` and `openssl ec -aes256` write a form that is older than PKCS 8."""
    file = tmp_path / "ec.pem"
    made = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]
    file.write_bytes(subprocess.run(made, capture_output=True, check=True).stdout)
    assert load_private(file)[1] is None
    locked = ["openssl", "ec", "-in", str(file), "-aes256", "-passout", "pass:secret"]
    (tmp_path / "locked.pem").write_bytes(subprocess.run(locked, capture_output=True, check=True).stdout)
    monkeypatch.setenv("KEENSIGHT_KEY_PASSWORD", "secret")
    opened, password = load_private(tmp_path / "locked.pem")
    assert password == b"secret"
    assert fingerprint(opened.public_key()) == fingerprint(load_private(file)[0].public_key())
