from prometheus_client.parser import text_string_to_metric_families


def samples(client):
    text = client.get("/metrics").text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(client, name, /, **labels):
    return samples(client).get((name, tuple(sorted(labels.items()))))


def test_requests_are_counted_by_route_and_status(client, digit):
    client.post("/v1/predict", content=digit)
    client.post("/v1/predict", content=b"x")
    client.get("/v1/models/frozen/card")
    client.get("/v1/models/frozen/card?x=1")
    client.get("/wp-login.php")
    client.request("BREW", "/coffee")
    found = samples(client)

    def count(**labels):
        return found["keensight_requests_total", tuple(sorted(labels.items()))]

    assert count(method="POST", route="/v1/predict", status="200") == 1
    assert count(method="POST", route="/v1/predict", status="415") == 1
    assert count(method="GET", route="/v1/models/{name}/card", status="200") == 1
    assert count(method="GET", route="other", status="400") == 1  # x is not a parameter
    assert count(method="GET", route="other", status="404") == 1
    assert count(method="other", route="other", status="404") == 1
    assert found["keensight_request_seconds_count", (("route", "/v1/predict"),)] == 2


def test_batches_queue_and_abstentions(client, digit, make_png):
    client.post("/v1/predict", files=[("f", ("0.png", digit)), ("f", ("black.png", make_png()))])
    version = client.get("/v1/models").json()["models"][0]["version"]
    assert value(client, "keensight_batch_size_sum", model="frozen") == 2
    assert value(client, "keensight_batch_size_count", model="frozen") == 1
    assert value(client, "keensight_queue_length") == 0
    assert value(client, "keensight_predictions_total", model="frozen", version=version) == 2
    assert value(client, "keensight_abstentions_total", model="frozen", version=version) == 1
    for stage in ("decode", "queue", "model"):
        assert value(client, "keensight_stage_seconds_count", model="frozen", stage=stage) == 1


def test_models_are_told(client):
    version = client.get("/v1/models").json()["models"][0]["version"]
    assert value(client, "keensight_model_info", name="frozen", version=version, signed="true", verified="false") == 1
    assert samples(client)["process_resident_memory_bytes", ()] > 0
