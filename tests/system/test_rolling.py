"""A rolling update as Kubernetes does it, with nginx as the Service, under open-loop load: no request is lost.

Without retries, nginx is what kube-proxy is: it knows which servers there are, and nothing of what they answer. Then
all depends on the order that the manifests ask for: new ones ready first, old ones out of the Service, then a wait
(preStop), then SIGTERM. With retries it is what a Gateway can be, and even a server that is killed costs no answer.
"""

import signal
import time

import pytest

RATE = 100.0  # requests a second
PRE_STOP_S = 1.0  # 10 in the manifests, where an endpoint's end takes longer to get around
RETRIES = "error timeout http_502 http_503 http_504 non_idempotent"


@pytest.fixture
def begin(start, kinds, bundles):
    """Start two servers of the old version, nginx before them, and load."""
    server, nginx, load = kinds

    def run(retry):
        olds = [start(server, bundles[0]) for _ in range(2)]
        proxy = start(nginx, olds, retry=retry)
        return olds, proxy, start(load, proxy.port, RATE), lambda: start(server, bundles[1])

    return run


def finish(load, proxy, tell, what):
    time.sleep(1)
    done = load.stop()
    tell(
        f"{what}: {done['requests']} requests at {load.rate:g} a second, {len(done['failures'])} failed, "
        f"{proxy.retried()} retried by the proxy; 99 % within {done['p99_s']:.3f} s, all within "
        f"{done['slowest_s']:.3f} s"
    )
    assert done["failures"] == []
    return done


def retire(proxy, server, *others):
    """Out of the Service, a wait, then SIGTERM: what happens to a pod that goes."""
    proxy.route_to(*others)
    time.sleep(PRE_STOP_S)
    assert server.process.poll() is None
    assert server.end() == 0


def test_rolling_update(begin, tell):
    (first, second), proxy, load, new_version = begin(retry="off")
    time.sleep(2)
    third = new_version()  # maxSurge 1: ready before an old one goes
    retire(proxy, first, second, third)
    fourth = new_version()
    retire(proxy, second, third, fourth)
    time.sleep(1)
    done = finish(load, proxy, tell, "rolling update")
    assert proxy.retried() == 0
    assert len(done["versions"]) == 2
    assert all(count > RATE for count in done["versions"].values()), "both versions answered for a while"


def test_scale_down(begin, tell):
    (first, second), proxy, load, _ = begin(retry="off")
    time.sleep(2)
    retire(proxy, second, first)
    time.sleep(1)
    finish(load, proxy, tell, "scale down")
    assert proxy.retried() == 0


def test_a_server_that_is_killed(begin, tell):
    (first, second), proxy, load, new_version = begin(retry=RETRIES)
    time.sleep(2)
    first.process.send_signal(signal.SIGSTOP)  # requests come, and are not answered ...
    time.sleep(0.5)
    first.process.kill()  # ... and are in flight when it dies
    time.sleep(1)
    proxy.route_to(second, new_version())
    finish(load, proxy, tell, "kill -9 of one of two")
    assert proxy.retried() >= 0.5 * RATE / 2 / 2, "half of the requests of half a second, give or take half"


def test_a_server_that_ends_while_requests_are_still_sent_to_it(begin, tell):
    (first, _), proxy, load, _ = begin(retry=RETRIES)
    time.sleep(2)
    assert first.end() == 0
    time.sleep(1)
    finish(load, proxy, tell, "SIGTERM of one of two without a word to the proxy")
    assert proxy.retried() > 0
