"""One small bundle for all tests of this folder."""

import pytest

import keensight


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run on the digits, with everything that `keensight.train` writes."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KEENSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
    run = keensight.train("digits", out=tmp_path_factory.mktemp("runs") / "digits", set=["epochs=8"])
    patch.undo()
    return run
