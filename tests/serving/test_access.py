import hashlib

import pytest

from keensight.errors import KeensightError, UsageError
from keensight.serving.access import client_of, networks, new_api_key, read_api_keys


def test_a_key_opens_and_others_do_not(make_client, digit, tmp_path):
    key, line = new_api_key()
    assert line == hashlib.sha256(key.encode()).hexdigest()
    file = tmp_path / "keys"
    file.write_text(f"# keys of the lab\n{'0' * 64}  # an older one\n\n{line.upper()}\n")
    client = make_client(api_keys=read_api_keys(file))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": line}, {"Authorization": f"Basic {key}"}):
        answer = client.post("/v1/predict", content=digit, headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        assert client.post("/v1/predict", content=digit, headers=headers).status_code == 200
    assert client.get("/v2/models/frozen").status_code == 401
    assert client.get("/v2").status_code == 401
    assert client.get("/metrics").status_code == 401
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/openapi.json", "/docs"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no key in it"),
        (b"# nothing\n", "has no key in it"),
        (b"secret\n", "Line 1 of .* is not a SHA-256 hash"),
        (b"\xff\xfe", "it is not text"),
    ],
)
def test_a_file_that_is_none_of_keys(tmp_path, content, message):
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(KeensightError, match=message):
        read_api_keys(file)


def test_a_missing_file_of_keys(tmp_path):
    with pytest.raises(KeensightError, match="no such file"):
        read_api_keys(tmp_path / "keys")


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "client"),
    [
        ("1.2.3.4", "", [], "1.2.3.4"),
        ("1.2.3.4", "6.6.6.6", [], "1.2.3.4"),
        ("1.2.3.4", "6.6.6.6", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6", ["10.0.0.0/8"], "6.6.6.6"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "1.2.3.4, 10.9.9.9", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "not an address", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "", ["10.0.0.0/8"], "10.0.0.1"),
        ("::1", "2001:db8::7", ["::1/128"], "2001:db8::7"),
        ("::ffff:10.0.0.1", "1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
        ("", "1.2.3.4", ["0.0.0.0/0"], ""),
        ("testclient", "1.2.3.4", ["0.0.0.0/0"], "testclient"),
    ],
)
def test_the_client_behind_proxies(peer, forwarded, trusted, client):
    assert client_of(peer, forwarded, networks(trusted)) == client


def test_a_network_that_is_none():
    with pytest.raises(UsageError, match="10.0.0.0/33"):
        networks(["10.0.0.0/33"])
