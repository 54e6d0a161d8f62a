"""The client waits when it is asked to, is bounded in size and time, and follows no redirect into a private network."""

import gzip
import threading
import time
import zlib

import pytest

from keensight.care.gather import client as client_module
from keensight.care.gather.client import LaterError, Request, StoppedError
from keensight.care.gather.network import Network, RefusedError, UnreachableError

A = "https://a.example/1.jpg"


def in_turn(*answers):
    """A route that gives one answer after the other, the last one for ever."""
    left = list(answers)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def test_it_says_who_asks(world):
    world.on("https://a.example/", b"picture")
    assert world.client(contact="me@example.org").picture(A, 100) == b"picture"
    assert {each.headers["User-Agent"] for each in world.asked} == {
        "keensight/0.1.0 (me@example.org; gathers pictures for a classifier)"
    }


def test_retry_after_is_waited_for(world):
    world.on(
        "https://a.example/", in_turn(world.says(status=429, headers={"Retry-After": "17"}), world.says(b"picture"))
    )
    assert world.client().call(Request(A)).body == b"picture"
    assert world.waits == [17]


def test_a_busy_host_without_a_word_gets_more_and_more_time(world):
    world.on("https://a.example/", in_turn(*[world.says(status=503)] * 3, world.says(b"picture")))
    assert world.client().call(Request(A)).body == b"picture"
    assert world.waits == [1, 2, 4]


def test_a_longer_wait_than_there_is_patience_for_is_told_and_nothing_more_is_asked(world):
    world.on("https://a.example/", world.says(status=429, headers={"Retry-After": "600"}))
    client = world.client(patience_s=60)
    for _ in range(3):
        with pytest.raises(LaterError) as told:
            client.call(Request(A))
        assert (told.value.host, told.value.seconds) == ("a.example", 600)
    assert len(world.asked) == 1
    assert world.waits == []


def test_a_limit_that_is_used_up_is_waited_for_before_the_next_request(world):
    used_up = {"X-RateLimit-Limit-anon_burst": "20/min", "X-RateLimit-Available-anon_burst": "0"}
    world.on("https://a.example/", in_turn(world.says(b"1", headers=used_up), world.says(b"2")))
    client = world.client()
    assert [client.call(Request(A)).body, client.call(Request(A)).body] == [b"1", b"2"]
    assert world.waits == [60]


def test_unsplashs_403_at_its_limit_is_a_limit_and_not_a_refusal(world):
    limit = world.says("Rate Limit Exceeded", 403, {"X-Ratelimit-Limit": "50", "X-Ratelimit-Remaining": "0"})
    world.on("https://a.example/", limit)
    with pytest.raises(LaterError):
        world.client().call(Request(A))


def test_a_hosts_pace_is_kept(world):
    world.on("https://a.example/", b"1")
    client = world.client()
    client.pace("a.example", 3.0)
    for _ in range(4):
        client.call(Request(A))
    assert world.waits == [3, 3, 3]


def test_few_requests_at_a_time_reach_one_host(world):
    together = threading.Barrier(2)

    def slow(asked):
        together.wait(30)  # it passes only if two are here at once
        return world.says(b"1")

    world.on("https://a.example/", slow)
    client = world.client()
    threads = [threading.Thread(target=client.call, args=(Request(A),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.most_at_once == {"a.example": 2}


def test_a_robots_txt_is_kept_to_and_asked_for_once(world):
    world.on("https://a.example/", b"picture")
    world.on("https://a.example/robots.txt", b"User-agent: *\nDisallow: /private/\nCrawl-delay: 4\n")
    client = world.client()
    assert client.picture(A, 100) == b"picture"
    with pytest.raises(RefusedError, match=r"robots\.txt of a\.example does not allow it"):
        client.picture("https://a.example/private/2.jpg", 100)
    assert client.picture(A, 100) == b"picture"
    assert world.paths("a.example", robots=True) == ["/robots.txt", "/1.jpg", "/1.jpg"]
    assert world.waits == [client_module.PICTURE_S, 4]


def test_pictures_of_one_host_are_not_fetched_as_fast_as_it_could_send_them(world):
    world.on("https://a.example/", b"picture")
    client = world.client()
    for _ in range(3):
        client.picture(A, 100)
    assert world.waits == [0.25] * 3  # robots.txt is the first of the four


def test_a_robots_txt_that_cannot_be_had_now_forbids_and_a_missing_one_allows(world):
    world.on("https://a.example/", b"picture")
    world.on("https://a.example/robots.txt", world.says(status=500))
    world.on("https://b.example/", b"picture")
    world.on("https://b.example/robots.txt", world.says(status=403))
    with pytest.raises(UnreachableError):
        world.client().picture(A, 100)
    assert world.paths("a.example") == []
    assert world.client().picture("https://b.example/1.jpg", 100) == b"picture"


def test_robots_txt_is_asked_also_where_a_redirect_leads(world):
    world.on("https://a.example/", world.says(status=302, headers={"Location": "https://b.example/x/1.jpg"}))
    world.on("https://a.example/robots.txt", world.says(status=404))
    world.on("https://b.example/", b"picture")
    world.on("https://b.example/robots.txt", b"User-agent: keensight\nDisallow: /x")
    with pytest.raises(RefusedError, match=r"robots\.txt of b\.example"):
        world.client().picture(A, 100)
    assert world.paths("b.example") == []


@pytest.mark.parametrize(
    "headers",
    [{"X-Robots-Tag": "noindex, noai"}, {"X-Robots-Tag": "keensight: noimageai"}, {"TDM-Reservation": "1"}],
)
def test_what_its_owner_reserves_from_training_is_left_alone(world, headers):
    world.on("https://a.example/", world.says(b"picture", headers=headers))
    with pytest.raises(RefusedError, match="its owner does not want it"):
        world.client().picture(A, 100)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://127.0.0.1/admin", "not a public one"),
        ("http://169.254.169.254/latest/meta-data/", "not a public one"),
        ("http://[::1]/", "not a public one"),
        ("http://2130706433/", "not a public one"),
        ("file:///etc/passwd", "does not begin with http"),
        ("ftp://a.example/1.jpg", "does not begin with http"),
        ("https://a.example:22/", None),
        ("/again.jpg", "more than 5 redirects"),
        ("https://[bad", "not a URL"),
    ],
)
def test_redirects_are_checked_as_addresses_are(world, location, why):
    world.on("https://a.example/", world.says(status=302, headers={"Location": location}))
    if why is None:  # a stand-in may have any port; of all others, the port is checked
        with pytest.raises(RefusedError, match="has the port 22"):
            client_module.checked_url(location, Network())
        return
    with pytest.raises(RefusedError, match=why):
        world.client().call(Request(A))


def test_a_key_stays_with_its_host(world):
    world.on("https://a.example/", world.says(status=307, headers={"Location": "https://b.example/"}))
    world.on("https://b.example/", b"fine")
    request = Request("https://a.example/?key={key}", {"Authorization": "Client-ID {key}"}, {"secret": "{key}"})
    assert world.client().call(request, "s3cret&").body == b"fine"
    first, second = world.asked
    assert first.query == {"key": "s3cret&"}
    assert first.headers["Authorization"] == "Client-ID s3cret&"
    assert (first.method, first.form) == ("POST", {"secret": "s3cret&"})
    assert "s3cret" not in str(second)
    assert second.method == "GET"


def test_redirects_within_a_host_are_followed(world):
    world.on("https://a.example/", world.says(status=301, headers={"Location": "../b.jpg?x=1"}))
    world.on("https://a.example/b.jpg", b"picture")
    assert world.client().call(Request(A)).body == b"picture"


@pytest.mark.parametrize(
    "told",
    [
        {"body": b"x" * 1001},
        {"raw": [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 100] * 11]},  # no length is told
        {"raw": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 11]},
        {"raw": [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"]},
        {"body": gzip.compress(bytes(10**6)), "headers": {"Content-Encoding": "gzip"}},
        {"body": zlib.compress(bytes(10**6)), "headers": {"Content-Encoding": "deflate"}},
    ],
    ids=["length", "endless", "chunks", "promised", "gzip", "deflate"],
)
def test_size_is_bounded_however_it_is_sent(world, told):
    world.on("https://a.example/", world.says(**told))
    with pytest.raises(RefusedError, match="bytes"):
        world.client()._answer(Request(A), "", 1000, is_picture=False)


def test_what_is_packed_in_spite_of_us_is_unpacked(world):
    world.on("https://a.example/", world.says(gzip.compress(b"picture"), headers={"Content-Encoding": "gzip"}))
    assert world.client().call(Request(A)).body == b"picture"
    assert world.asked[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"], "cut short"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort"], "did not answer"),
        ([b"nonsense\r\n\r\n"], "did not answer"),
        ([b""], "did not answer"),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"], "did not answer"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n"], "did not answer"),
    ],
)
def test_broken_answers_are_tried_again_and_then_given_up(world, raw, why):
    world.on("https://a.example/", world.says(raw=raw))
    with pytest.raises(UnreachableError, match=why):
        world.client().call(Request(A))
    assert len(world.asked) == 4


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_trickle_of_bytes_ends_with_the_time_for_the_whole_request(world, monkeypatch, begin):
    """The server would go on for ever; a limit on each read would never be met."""
    monkeypatch.setattr(client_module, "WHOLE_S", 0.3)
    monkeypatch.setattr(client_module, "MOST_ATTEMPTS", 1)
    gone = threading.Event()

    class Trickle(list):
        def __iter__(self):
            yield begin
            try:
                while True:
                    time.sleep(0.01)
                    yield b"x"
            finally:
                gone.set()

    world.on("https://a.example/", world.says(raw=Trickle()))
    with pytest.raises((UnreachableError, RefusedError)):
        world.client().call(Request(A))
    assert gone.wait(30)


def test_closing_ends_what_waits_and_what_reads(world, monkeypatch):
    reached = threading.Event()
    ends = threading.Event()

    def silent(asked):
        reached.set()
        ends.wait(60)
        return world.says(b"late")

    world.on("https://a.example/", silent)
    client, errors = world.client(), []

    def call():
        try:
            client.call(Request(A))
        except StoppedError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert reached.wait(30)
    client.close()
    thread.join(30)
    ends.set()
    assert len(errors) == 1
    with pytest.raises(StoppedError):
        client.call(Request(A))


def test_a_host_that_never_answers_is_not_asked_for_ever(world):
    world.on("https://a.example/", world.says(raw=[b""]))
    client = world.client()
    for _ in range(6):
        with pytest.raises(UnreachableError):
            client.call(Request(A))
    assert len(world.asked) == 3 * 4


def test_a_certificate_is_checked(world, tmp_path):
    """A server that speaks TLS with a certificate of its own making is not believed."""
    import datetime
    import socket
    import ssl

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "own.pem").write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        for _ in range(2):
            sock, _ = listening.accept()
            try:
                with context.wrap_socket(sock, server_side=True) as secure:
                    secure.recv(2**16)
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
            except (ssl.SSLError, OSError):
                sock.close()

    thread = threading.Thread(target=serve)
    thread.start()

    class Direct(Network):
        def connect(self, host, port):
            return socket.create_connection(listening.getsockname())

    client_with = lambda: client_module.Client(network=Direct())  # noqa: E731
    try:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(UnreachableError, match="certificate"):
            patch.setattr(client_module, "MOST_ATTEMPTS", 1)
            client_with().call(Request(A))
        trusting = client_with()
        trusting._tls = ssl.create_default_context(cafile=str(tmp_path / "own.pem"))
        assert trusting.call(Request(A)).body == b"fine"
    finally:
        thread.join(30)
        listening.close()
