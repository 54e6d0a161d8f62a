import pytest

from keensight.errors import UsageError
from keensight.serving.cors import origins

FRIEND, STRANGER = "https://friend.example", "https://evil.example"
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


@pytest.fixture
def client(make_client):
    return make_client(origins=origins([f"{FRIEND}:443/"]), api_keys=("0" * 64,))


def test_a_page_that_is_named_may_ask_and_no_other(make_client, digit):
    client = make_client(origins=origins([FRIEND]))
    for site, status in ((FRIEND, 200), (STRANGER, 403), ("null", 403)):
        headers = {"Origin": site, "Sec-Fetch-Site": "cross-site"}
        answer = client.post("/v1/predict", content=digit, headers=headers)
        assert answer.status_code == status
        assert answer.headers.get("Access-Control-Allow-Origin") == (site if status == 200 else None)
        assert "Origin" in answer.headers["Vary"]


def test_the_browser_may_ask_first_without_a_key_which_the_page_still_needs(client, digit):
    first = client.options("/v1/predict", headers={"Origin": FRIEND, **ASKS})
    assert (first.status_code, first.headers["Access-Control-Allow-Origin"]) == (204, FRIEND)
    assert "Authorization" in first.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in first.headers
    refused = client.options("/v1/predict", headers={"Origin": STRANGER, **ASKS})
    assert refused.status_code != 204 and "Access-Control-Allow-Origin" not in refused.headers
    answer = client.post("/v1/predict", content=digit, headers={"Origin": FRIEND})
    assert (
        answer.status_code == 401 and answer.headers["Access-Control-Allow-Origin"] == FRIEND
    )  # so that it can be read


@pytest.mark.parametrize(
    "text", ["*", "friend.example", "https://friend.example/page", "ftp://a.example", "https://", "http://a:b"]
)
def test_what_is_no_origin_is_refused(text):
    with pytest.raises(UsageError, match="is not an origin"):
        origins([text])
