"""`keensight serve`: what is refused before anything is served."""

import hashlib
from pathlib import Path

import pytest

FROZEN = Path(__file__).parents[1] / "bundle" / "frozen" / "bundle"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "There is nothing to serve"),
        ([FROZEN, "--port", "65536"], "65536 is not a port"),
        ([FROZEN, "--batch-size", "0"], "--batch-size is 0"),
        ([FROZEN, "--rate", "-1"], "--rate is -1"),
        ([FROZEN, "--timeout", "nan"], "--timeout is nan"),
        ([FROZEN, "--queue", "8"], "the queue has only 8 places"),
        ([FROZEN, "--trusted-proxy", "proxy"], "A trusted proxy is not a network"),
        ([FROZEN, "--keep-db", "sqlite://"], "Give --keep DIR with it"),
    ],
)
def test_wrong_usage(warm, words, message):
    done = warm("serve", "--port", "0", *words) if "--port" not in words else warm("serve", *words)
    assert done.status == 2
    assert message in done.paragraph()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/such/bundle"], "no/such/bundle does not exist"),
        (["--watch", "no/such/folder"], "no/such/folder cannot be listed"),
        ([FROZEN, "--key", "no/such/key"], "no/such/key"),
        ([FROZEN, "--api-keys", "no/such/file"], "no/such/file cannot be read"),
        ([FROZEN, "--host", "no.such.host.invalid"], "There is no host"),
        (["--export-kept", "no/such/folder"], "was not written by `keensight serve --keep`"),
    ],
)
def test_what_cannot_be_had(warm, words, message):
    assert message in warm("serve", "--port", "0", *words).refusal()


def test_a_new_api_key(warm):
    done = warm("serve", "--new-api-key")
    assert done.status == 0
    _, key, _, line = done.out.splitlines()  # each alone in its line, to be copied
    assert line == hashlib.sha256(key.encode()).hexdigest()
