import hashlib

import pytest

from keensight.errors import KeensightError, UsageError
from keensight.serving.access import client_of, forwarded_for, networks, new_api_key, read_api_keys


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
        ("10.0.0.1", "1.2.3.4:49152", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6:1, 1.2.3.4:2, 10.0.0.2:3", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "[2001:db8::7]:443", ["10.0.0.0/8"], "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]", ["10.0.0.0/8"], "2001:db8::7"),
        ("10.0.0.1", "::ffff:1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "[::ffff:1.2.3.4]:5", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "1.2.3.4:x", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "unknown", ["10.0.0.0/8"], "10.0.0.1"),
        ("fd00::5", "1.2.3.4", ["fd00::/8"], "1.2.3.4"),
        ("", "1.2.3.4", ["0.0.0.0/0"], ""),
        ("testclient", "1.2.3.4", ["0.0.0.0/0"], "testclient"),
    ],
)
def test_the_client_behind_proxies(peer, forwarded, trusted, client):
    assert client_of(peer, forwarded, networks(trusted)) == client


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({"forwarded": "for=1.2.3.4"}, "1.2.3.4"),
        ({"forwarded": 'For="[2001:db8:cafe::17]:4711"'}, "2001:db8:cafe::17"),  # the examples of RFC 7239
        ({"forwarded": "for=192.0.2.60;proto=http;by=203.0.113.43"}, "192.0.2.60"),
        ({"forwarded": "for=192.0.2.43, for=198.51.100.17"}, "198.51.100.17"),
        ({"forwarded": 'proto=https;for="1.2.3.4:5", for=10.0.0.2'}, "1.2.3.4"),
        ({"forwarded": 'for="6.6.6.6, for=1.2.3.4'}, "1.2.3.4"),  # a quote that is left open
        ({"forwarded": "for=_hidden"}, "10.0.0.1"),
        ({"forwarded": "by=1.2.3.4"}, "10.0.0.1"),
        ({"forwarded": "for=6.6.6.6", "x-forwarded-for": "1.2.3.4"}, "1.2.3.4"),
        ({"x-forwarded-for": ""}, "10.0.0.1"),
        ({}, "10.0.0.1"),
    ],
)
def test_the_client_by_the_headers_of_proxies(headers, client):
    assert client_of("10.0.0.1", forwarded_for(headers.items()), networks(["10.0.0.0/8"])) == client


def test_a_network_that_is_none():
    with pytest.raises(UsageError, match="10.0.0.0/33"):
        networks(["10.0.0.0/33"])
