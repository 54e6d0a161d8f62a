import json

import pytest

from keensight.serving.guard import CSP
from keensight.serving.service import log


def test_security_headers_are_on_every_answer(client, digit):
    answers = [
        client.get("/v1/models"),
        client.get("/nothing"),
        client.get("/healthz"),
        client.post("/v1/predict", content=digit),
        client.post("/v1/predict", content=b"x"),
    ]
    for answer in answers:
        assert answer.headers["Content-Security-Policy"] == CSP
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in answer.headers
    given = CSP.split("; ")
    for directive in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"):
        assert directive in given
    assert "img-src 'self' blob: data:" in given


def test_a_sane_request_id_is_kept_and_another_is_replaced(client):
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1.2_3"}).headers["X-Request-Id"] == "abc-1.2_3"
    for bad in ("", "a b", "x" * 65, "a\tb", "<script>"):
        made = client.get("/healthz", headers={"X-Request-Id": bad}).headers["X-Request-Id"]
        assert made != bad
        assert len(made) == 16


def test_one_line_in_the_log_for_a_request(make_service, make_client, logged, digit):
    service = make_service(trusted_proxies=())
    client = make_client(service=service)
    client.post("/v1/predict?model=frozen", content=digit, headers={"X-Request-Id": "me"})
    client.get("/healthz")
    (line,) = [line for line in logged(service) if line["event"] == "request"]
    assert line.pop("ms") > 0
    assert line.pop("bytes") > 100
    assert line == {
        "event": "request", "id": "me", "method": "POST", "path": "/v1/predict", "status": 200, "client": "testclient"
    }  # fmt: skip


def test_a_line_of_the_log_is_json(capsys):
    log("request", path="/\n\x1b[2J", level="warning")
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line
    found = json.loads(line)
    assert (found["event"], found["level"], found["path"]) == ("request", "warning", "/\n\x1b[2J")


def test_what_fails_is_a_500_without_its_reason_and_a_line_in_the_log(
    make_service, make_client, logged, digit, monkeypatch
):
    service = make_service()

    def broken(images):
        raise RuntimeError("secret detail")

    (model,) = service.registry
    monkeypatch.setattr(model.batcher, "_run", broken)
    answer = make_client(service=service).post("/v1/predict", content=digit)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in answer.text
    (line,) = [line for line in logged(service) if line["event"] == "failed"]
    assert "secret detail" in line["traceback"]
    assert line["id"] == answer.json()["request_id"]
    assert service.in_flight == 0
    assert service.places.taken == 0


def test_a_request_that_takes_too_long_is_a_504(make_service, make_client, digit, monkeypatch):
    import threading

    service = make_service(limits={"request_s": 0.05})
    (model,) = service.registry
    over = threading.Event()
    monkeypatch.setattr(model.batcher, "is_quick", False)  # as a model is that may take long
    monkeypatch.setattr(model.batcher, "_run", lambda images: over.wait(30) and [])
    answer = make_client(service=service).post("/v1/predict", content=digit)
    over.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert service.places.taken == 0


def test_rate_is_by_client(make_client, digit):
    client = make_client(limits={"rate": 0.001})
    assert client.get("/v1/models").status_code == 200
    answer = client.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) > 1
    assert client.get("/healthz").status_code == 200


def test_another_site_may_not_send_our_pages_header(client):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/predict", headers=asked | {"Access-Control-Request-Headers": "x-requested-with"})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_guesses_of_a_key_are_slowed(make_client):
    for path in ("/v1/models", "/metrics", "/v2"):
        client = make_client(limits={"rate": 0.001}, api_keys=("0" * 64,))
        assert [client.get(path).status_code for _ in range(3)] == [401, 429, 429]


def test_draining_refuses_what_is_new(make_service, make_client, digit):
    service = make_service()
    client = make_client(service=service)
    assert client.get("/readyz").status_code == 200
    service.is_draining = True
    assert client.get("/readyz").status_code == 503
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/healthz").status_code == 200
    answer = client.post("/v1/predict", content=digit)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-origin", 200), ("none", 200)])
def test_a_page_of_another_site_cannot_post(client, digit, site, status):
    assert client.post("/v1/predict", content=digit, headers={"Sec-Fetch-Site": site}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://testserver"}, 200),
        ({"Origin": "https://cats.example", "X-Forwarded-Host": "cats.example"}, 200),
        ({"Origin": "https://cats.example", "X-Forwarded-Host": "cats.example, inner.example"}, 200),
        ({"Origin": "https://cats.example", "X-Forwarded-Host": "inner.example, cats.example"}, 403),
        ({"Origin": "https://cats.example", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://cats.example:81", "Host": "127.0.0.1:8000", "X-Requested-With": "keensight"}, 200),
        ({"Origin": "http://a.example", "X-Requested-With": "keensight", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_nor_where_the_browser_tells_only_its_origin(client, digit, headers, status):
    assert client.post("/v1/predict", content=digit, headers=headers).status_code == status


def test_a_client_cannot_name_itself_before_the_proxy_does(make_service, logged):
    import asyncio

    import httpx2 as httpx

    from keensight.serving.access import networks
    from keensight.serving.app import create_app

    service = make_service(trusted_proxies=networks(["10.0.0.0/8"]))

    async def main():
        transport = httpx.ASGITransport(create_app(service), client=("10.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get("/v1/models", headers=[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "1.2.3.4")])

    asyncio.run(main())
    assert [line["client"] for line in logged(service) if line["event"] == "request"] == ["1.2.3.4"]
