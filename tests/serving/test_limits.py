import pytest

from keensight.serving.limits import Places, RefusalError, TokenBuckets


def test_a_body_that_says_it_is_too_large_is_refused(make_client, make_png):
    client = make_client(limits={"max_bytes": 1000})
    answer = client.post("/v1/predict", content=bytes(1001))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert "1,000 bytes" in answer.json()["error"]["message"]


def test_a_body_of_unknown_length_is_refused_as_soon_as_it_is_too_large(make_service, make_client):
    service = make_service(limits={"max_bytes": 1000})
    client = make_client(service=service)

    def chunks():
        for _ in range(8):
            yield bytes(200)

    answer = client.post("/v1/predict", content=chunks())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert service.memory.taken == 0


def test_bodies_together_have_a_limit(make_service, make_client, digit):
    service = make_service(limits={"memory": 200})
    client = make_client(service=service)
    with service.memory.take(100):
        assert client.post("/v1/predict", content=digit).json()["error"]["code"] == "busy"
    assert client.post("/v1/predict", content=digit).status_code == 200
    assert service.memory.taken == 0


def test_a_full_queue_is_a_503_at_once(make_service, make_client, digit):
    service = make_service(limits={"queue": 2})
    client = make_client(service=service)
    with service.places.take(2):
        answer = client.post("/v1/predict", content=digit)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["error"]["code"] == "busy"
    assert client.post("/v1/predict", content=digit).status_code == 200
    assert service.places.taken == 0


def test_too_many_pictures(make_client, digit):
    client = make_client(limits={"max_pictures": 2})
    files = [("file", (f"{i}.png", digit)) for i in range(3)]
    assert client.post("/v1/predict", files=files[:2]).status_code == 200
    answer = client.post("/v1/predict", files=files)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_pictures")


def test_compressed_bodies_are_refused(client, digit):
    answer = client.post("/v1/predict", content=digit, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_encoding")


def test_places_are_given_back_after_a_failure():
    places = Places(2, "Full.")
    with pytest.raises(ZeroDivisionError), places.take(2):
        _ = 1 / 0
    assert places.taken == 0
    with places.take(5), pytest.raises(RefusalError, match="Full."):  # the first may hold more than there are
        places.check()


def test_a_token_bucket_refills():
    buckets = TokenBuckets(rate=2)
    for _ in range(4):
        buckets.take("1.2.3.4", now=0.0)
    with pytest.raises(RefusalError) as refused:
        buckets.take("1.2.3.4", now=0.0)
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    buckets.take("5.6.7.8", now=0.0)
    buckets.take("1.2.3.4", now=0.5)
    with pytest.raises(RefusalError):
        buckets.take("1.2.3.4", now=0.6)


def test_one_ipv6_network_is_one_client():
    buckets = TokenBuckets(rate=1)
    buckets.take("2001:db8::1", now=0.0)
    buckets.take("2001:db8::2", now=0.0)
    with pytest.raises(RefusalError):
        buckets.take("2001:db8::3", now=0.0)
    buckets.take("2001:db8:0:1::1", now=0.0)


def test_clients_are_forgotten_so_that_memory_stays_flat():
    buckets = TokenBuckets(rate=1, most_clients=10)
    for i in range(100):
        buckets.take(f"10.0.0.{i}", now=0.0)
    assert len(buckets._buckets) == 10


def test_no_rate_is_no_limit():
    buckets = TokenBuckets(rate=0)
    for _ in range(1000):
        buckets.take("1.2.3.4", now=0.0)
