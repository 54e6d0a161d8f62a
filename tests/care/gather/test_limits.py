"""Waiting as services ask for it, in the headers that each of them documents."""

from email.utils import formatdate

import pytest

from keensight.care.gather.limits import asked_to_wait

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"Retry-After": "120"}, 120),
        ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90),
        ({"Retry-After": formatdate(NOW - 90, usegmt=True)}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"X-Ratelimit-Limit": "50", "X-Ratelimit-Remaining": "1"}, 0),  # Unsplash
        ({"X-Ratelimit-Limit": "50", "X-Ratelimit-Remaining": "0"}, 3600),  # Unsplash: an hour's limit, untold
        ({"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": str(int(NOW) + 500)}, 500),  # Pexels: since 1970
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"}, 30),
        ({"X-RateLimit-Limit-anon_burst": "20/min", "X-RateLimit-Available-anon_burst": "3"}, 0),  # Openverse
        ({"X-RateLimit-Limit-anon_burst": "20/min", "X-RateLimit-Available-anon_burst": "0"}, 60),
        (
            {
                "X-RateLimit-Limit-anon_burst": "20/min",
                "X-RateLimit-Available-anon_burst": "0",
                "X-RateLimit-Limit-anon_sustained": "200/day",
                "X-RateLimit-Available-anon_sustained": "0",
            },
            86400,
        ),
        ({"RateLimit": "limit=100, remaining=0, reset=17"}, 17),  # the IETF's drafts
        ({"RateLimit": '"default";r=0;t=12'}, 12),
        ({"RateLimit": '"default";r=4;t=12'}, 0),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "5"}, 5),
    ],
)
def test_what_headers_ask_for(headers, seconds):
    assert asked_to_wait(headers, NOW) == seconds


@pytest.mark.parametrize("value", ["-1", "1e9", "9" * 400, "\x00", "0x10", "1,000"])
def test_odd_values_are_no_reason_to_wait_for_ever(value):
    headers = {"Retry-After": value, "X-RateLimit-Remaining": value, "X-RateLimit-Reset": value, "RateLimit": value}
    assert asked_to_wait(headers, NOW) <= 3600
