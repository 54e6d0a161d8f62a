"""The fast path answers as the regular path does, in the same order, counted and logged the same; or steps aside."""

import asyncio
import hashlib
import json
import re

import pytest

from keensight.serving.limits import Limits, RefusalError
from keensight.serving.quick import Quick
from keensight.serving.uploads import Upload, simple_upload, uploads

LENGTH = re.compile(rb"content-length: (\d+)")
FORM = "multipart/form-data; boundary=B"


def request(body, *headers, kind="application/octet-stream", path="/v1/predict", method="POST"):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def form(content, name="a.png", end=b"\r\n--B--\r\n"):
    head = f'--B\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    return head.encode() + content + end


async def answer_of(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(int(LENGTH.search(head)[1]))
    first, *lines = head.decode().strip().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), json.loads(body)


@pytest.fixture
def served(listening):
    """Let a function use a connection to a server in this loop, and return what it returns."""

    def run(service, talk, **options):
        async def main():
            async with listening(service, **options) as address:
                reader, writer = await asyncio.open_connection(*address)
                try:
                    return await asyncio.wait_for(talk(reader, writer), 60)
                finally:
                    writer.close()

        return asyncio.run(main())

    return run


@pytest.fixture
def ask(served):
    """Send pieces over one connection, and return so many answers."""

    def run(service, *pieces, answers=1, pause=0.0):
        async def talk(reader, writer):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            return [await answer_of(reader) for _ in range(answers)]

        return served(service, talk)

    return run


@pytest.fixture
def took(monkeypatch):
    """How many requests have taken the fast path."""
    found = []
    original = Quick.ask

    def counted(self, *given):
        waiting = original(self, *given)
        if waiting is not None:
            found.append(waiting)
        return waiting

    monkeypatch.setattr(Quick, "ask", counted)
    return found


def without_chance(status, headers, body):
    """An answer, but for what differs each time."""
    body.pop("request_id")
    headers = {name: value for name, value in headers.items() if name not in ("date", "x-request-id", "content-length")}
    timing = set(body.pop("timing_ms", ()))
    for prediction in body.get("predictions", ()):
        assert prediction.pop("error", None) or re.fullmatch("[0-9a-f]{32}", prediction.pop("id"))
    return status, headers, body, timing


@pytest.fixture
def both_ways(make_service, logged, monkeypatch, ask):
    """Answers, log lines and counts of the fast path, and of the regular one."""

    def run(sent, **options):
        found = []
        for takes in (Quick.takes, lambda *_: False):
            monkeypatch.setattr(Quick, "takes", takes)
            service = make_service(**options)
            answers = [without_chance(*answer) for answer in ask(service, sent)]
            lines = [{**line, "id": 0, "ms": 0, "bytes": 0} for line in logged(service) if line["event"] == "request"]
            text = service.metrics.text().decode()
            counts = [line for line in text.splitlines() if re.match("keensight_(.*_total|.*_count)", line)]
            assert (service.in_flight, service.places.taken, service.memory.taken) == (0, 0, 0)
            found.append((answers, lines, counts))
        return found

    return run


@pytest.mark.parametrize(
    "make",
    [
        request,
        lambda digit: request(digit, kind="image/png"),
        lambda digit: request(digit, "X-Request-Id: <odd>", "X-Forwarded-For: 1.2.3.4"),
        lambda digit: request(form(digit), kind=FORM),
    ],
)
def test_the_answer_is_that_of_the_long_way(both_ways, took, digit, make):
    short, long = both_ways(make(digit))
    assert short == long
    assert short[0][0][0] == 200
    assert len(took) == 1


def test_a_blank_or_inverted_picture_has_its_notes(both_ways, took, make_png):
    short, long = both_ways(request(make_png()))
    assert short == long
    assert short[0][0][2]["predictions"][0]["notes"]
    assert len(took) == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (lambda digit: request(b"nothing"), 415),
        (lambda digit: request(digit[:60]), 400),
        (lambda digit: request(b"\x89PNG\r\n\x1a\n"), 400),
        (lambda digit: request(form(digit, end=b""), kind=FORM), 400),
        (lambda digit: request(form(digit, name='x"; filename="y'), kind=FORM), 200),
        (lambda digit: request(digit, kind="text/html"), 415),
        (lambda digit: request(digit, "Content-Encoding: gzip"), 415),
        (lambda digit: request(digit, "Sec-Fetch-Site: cross-site"), 403),
        (lambda digit: request(digit, path="/v1/predict?model=none"), 404),
        (lambda digit: request(digit, path="/v1/predict?"), 200),
        (lambda digit: request(digit, method="PUT"), 405),
        (lambda digit: request(digit, "Connection: close"), 200),
        (lambda digit: request(digit, "X-A: 1", "X-A: 2"), 200),
        (lambda digit: request(digit).replace(b"HTTP/1.1", b"HTTP/1.0"), 200),
        (lambda digit: request(digit, "Expect: 0-continue"), 200),
        (lambda digit: b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
         + b"%x\r\n" % len(digit) + digit + b"\r\n0\r\n\r\n", 200),
    ],
)  # fmt: skip
def test_what_is_unusual_or_refused_goes_the_long_way(both_ways, took, digit, sent, status):
    short, long = both_ways(sent(digit))
    assert short == long
    assert short[0][0][0] == status
    assert took == []


@pytest.mark.parametrize(
    ("options", "headers", "status", "is_short"),
    [
        ({"api_keys": (hashlib.sha256(b"k").hexdigest(),)}, (), 401, False),
        ({"api_keys": (hashlib.sha256(b"k").hexdigest(),)}, ("X-API-Key: k",), 200, True),
        ({"api_keys": (hashlib.sha256(b"k").hexdigest(),)}, ("Authorization: Bearer k",), 200, True),
        ({"limits": {"max_pixels": 60}}, (), 413, False),
        ({"limits": {"max_bytes": 100}}, (), 413, False),
        ({"limits": {"memory": 100}}, (), 503, False),
        ({"limits": {"rate": 1000.0}}, (), 200, False),
    ],
)
def test_limits_and_keys(both_ways, took, digit, options, headers, status, is_short):
    short, long = both_ways(request(digit, *headers), **options)
    assert short == long
    assert short[0][0][0] == status
    assert len(took) == is_short


def test_a_full_house_and_draining_are_refused(ask, make_service, took, digit):
    for places in ("places", "memory"):
        service = make_service(limits={"queue": 32, "memory": 100})
        with getattr(service, places).take(32 if places == "places" else 100):
            ((status, _, body),) = ask(service, request(digit))
        assert (status, body["error"]["code"]) == (503, "busy")
    service = make_service()
    service.is_draining = True
    ((status, headers, body),) = ask(service, request(digit))
    assert (status, body["error"]["code"], headers["connection"]) == (503, "draining", "close")
    assert took == []


def test_pictures_that_come_together_go_through_the_model_together(served, ask, make_service, took, frozen):
    pictures = [file.read_bytes() for file in sorted((frozen.parent / "pictures").iterdir())]
    service = make_service()
    expected = [ask(service, request(picture))[0][2]["predictions"][0]["label"] for picture in pictures]
    sizes = []
    (model,) = service.registry
    model.batcher._observe = sizes.append

    async def talk(reader, writer):
        host, port = writer.get_extra_info("peername")
        lines = [await asyncio.open_connection(host, port) for _ in pictures]
        for answers, each in lines:  # whoever is answered has been accepted
            each.write(request(b"", path="/v1/models", method="GET"))
            assert (await answer_of(answers))[0] == 200
        for (_, each), picture in zip(lines, pictures, strict=True):
            each.write(request(picture))
        answers = [await answer_of(each) for each, _ in lines]
        for _, each in lines:
            each.close()
        return answers

    answers = served(service, talk)
    assert [body["predictions"][0]["label"] for _, _, body in answers] == expected
    assert sum(sizes) == len(pictures)
    assert max(sizes) > 1


def test_answers_keep_the_order_of_requests_that_come_in_one_piece(ask, make_service, took, digit):
    sent = [request(digit, f"X-Request-Id: {i}", path="/v1/predict" + "?" * (i == 2)) for i in range(5)]
    answers = ask(make_service(), b"".join(sent), answers=5)
    assert [body["request_id"] for _, _, body in answers] == list("01234")
    assert len(took) >= 2


def test_a_thousand_requests_in_one_piece_do_not_all_go_the_short_way(ask, make_service, took, digit):
    answers = ask(make_service(), b"".join(request(digit, f"X-Request-Id: {i}") for i in range(20)), answers=20)
    assert [body["request_id"] for _, _, body in answers] == [str(i) for i in range(20)]
    assert 1 <= len(took) <= 16  # 8 for each read, of which there is one, or two where TCP cut the piece


def test_a_request_right_behind_another_has_more_time_than_silence_has(served, make_service, took, digit):
    async def talk(reader, writer):
        writer.write(request(digit) + request(digit)[:-1])
        await asyncio.sleep(0.4)
        writer.write(digit[-1:])
        return [(await answer_of(reader))[0] for _ in range(2)]

    assert served(make_service(), talk, timeout_keep_alive=0.2) == [200, 200]
    assert len(took) == 1


def test_a_decoder_that_fails_is_left_to_the_long_way(ask, make_service, took, digit, monkeypatch):
    def broken(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("keensight.serving.quick.decode_now", broken)
    assert ask(make_service(), request(digit))[0][0] == 200
    assert took == []


def test_a_request_in_pieces_is_not_held_back(ask, make_service, took, digit):
    sent = request(digit)
    for cut in (10, len(sent) - len(digit) - 2, len(sent) - len(digit), len(sent) - 1):
        ((status, _, _),) = ask(make_service(), sent[:cut], sent[cut:], pause=0.05)
        assert status == 200
    assert len(took) == 2  # those whose headers and body came together at last


def test_trash_after_a_request_does_not_cost_its_answer(served, make_service, took, digit):
    async def talk(reader, writer):
        writer.write(request(digit) + b"\x00\x01 trash\r\n\r\n")
        return await answer_of(reader), await reader.read()

    (status, _, _), rest = served(make_service(), talk)
    assert status == 200
    assert rest.startswith(b"HTTP/1.1 400 ")


def test_who_leaves_is_answered_all_the_same(served, make_service, logged, took, digit):
    service = make_service()

    async def talk(reader, writer):
        writer.write(request(digit))
        writer.transport.abort()
        while not logged(service)[1:] and len(took) == 0:
            await asyncio.sleep(0.01)
            if service.in_flight == 0:
                return

    served(service, talk)
    assert (service.in_flight, service.places.taken, service.memory.taken) == (0, 0, 0)


def test_what_fails_fails_the_long_way(ask, make_service, logged, took, digit, monkeypatch):
    service = make_service()

    def broken(images):
        raise RuntimeError("secret detail")

    (model,) = service.registry
    monkeypatch.setattr(model.batcher, "_run", broken)
    ((status, _, body),) = ask(service, request(digit))
    assert (status, body["error"]["code"]) == (500, "internal")
    assert [line["event"] for line in logged(service)[1:]] == ["failed", "request"]
    assert len(took) == 1
    assert (service.in_flight, service.places.taken, service.memory.taken) == (0, 0, 0)


def test_a_slow_model_is_left_to_its_thread(ask, make_service, took, digit):
    service = make_service()
    (model,) = service.registry
    assert model.batcher.is_quick
    model.batcher.is_quick = False
    assert ask(service, request(digit))[0][0] == 200
    assert took == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, form(b"one")),
        ("multipart/form-data;boundary=B", form(b"")),
        (FORM, form(b"\r\n\r\n--\r\n--C", name="a b(1)-+.png")),
        ("", b"x"),
        ("image/webp", b"x"),
        ("application/x-www-form-urlencoded", b"x"),
    ],
)
def test_a_simple_upload_is_what_the_parser_finds(kind, body):
    assert [simple_upload(kind.encode(), body)] == uploads(kind, body, Limits()).pictures


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, form(b"one", end=b"\r\n--B--")),
        (FORM, form(b"one", end=b"\r\n--B--\r\nepilogue\r\n--B--\r\n")),
        (FORM, form(b"one\r\n--B\r\n\r\ntwo")),
        (FORM, form(b"one\r\n--Bx")),
        (FORM, form(b"one", end=b"--B--\r\n")),
        (FORM, b"preamble\r\n" + form(b"one")),
        (FORM, form(b"one", name="../a")),
        (FORM, form(b"one", name="")),
        (FORM, form(b"one", name="é")),
        (FORM, form(b"one").replace(b'"file"', b'"%b"' % (b"f" * 9000))),
        (FORM, form(b"one").replace(b"image/png", b"image/" + b"p" * 9000)),
        (FORM, form(b"one").replace(b"; filename", b"; filename*=utf-8''x; filename")),
        (FORM, form(b"one").replace(b"Content-Type", b"Content-Disposition: form-data\r\nContent-Type")),
        (FORM, form(b"one").replace(b"\r\n", b"\n")),
        ("multipart/form-data; boundary=C", form(b"one")),
        ('multipart/form-data; boundary="B"', form(b"one")),
        ("multipart/form-data", form(b"one")),
        ("multipart/form-data; boundary=B; charset=x", form(b"one")),
        ("text/plain", b"x"),
        ("", b""),
        (FORM, b""),
        (FORM, b"--B--\r\n"),
        (FORM, b'--B\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n--B--\r\n'),
    ],
)
def test_an_upload_that_is_not_simple_is_left_to_the_parser(kind, body):
    assert simple_upload(kind.encode(), body) is None


def test_a_simple_upload_of_any_content_is_what_the_parser_finds():
    """Every short content out of the letters that forms are made of."""
    letters, contents = (b"\r", b"\n", b"-", b"B", b"x"), [b""]
    for _ in range(5):
        contents += [content + letter for content in contents[-5000:] for letter in letters]
    for content in {*contents}:
        body = form(content)
        found = simple_upload(FORM.encode(), body)
        try:
            expected = uploads(FORM, body, Limits()).pictures
        except RefusalError:
            expected = None
        assert found is None or [found] == expected, content
        assert isinstance(found, Upload) or b"\r\n--B" in body[60:-9]
