"""Shards and answers in object storage: moto's S3 server, by pyarrow's client."""

import json
import shutil
import socket
import subprocess
import time

import pyarrow.parquet as pq
import pytest

import keensight
from keensight.data.stores import open_store
from keensight.errors import DataError

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The URL of a bucket, less its end: its options."""
    if not (program := shutil.which("moto_server")):
        pytest.skip("moto's server is not installed: pip install 'moto[server]', in an environment of its own")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "us-east-1"}.items():
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        options = f"?endpoint_override=http://127.0.0.1:{port}&allow_bucket_creation=true"
        store = open_store(f"s3://pictures/any{options}")
        for _ in range(300):
            try:
                store.files.create_dir("pictures")
                break
            except OSError:
                time.sleep(0.1)
        yield lambda name: f"s3://pictures/{name}{options}"
    server.kill()
    server.wait()


def test_shards_are_written_trained_on_and_answered_for(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("keensight.data.shard_writing.FILE_BYTES", 30_000)  # several files
    address = bucket("digits")
    written = keensight.shard("digits", address)
    assert written.out == "s3://pictures/digits" and written.files > 3
    said = keensight.info(address)
    assert said["pictures"] == 1797 and said["shards"]["form"] == "pixels"
    ours = keensight.train(address, recipe="dense", set=["epochs=2"], out=tmp_path / "run")
    assert ours.report.test.accuracy > 0.7
    assert json.loads((tmp_path / "run" / "data.json").read_text())["data"] == [address]
    again = keensight.train(address, recipe=None, out=tmp_path / "run", resume=True)
    assert again.report.test == ours.report.test
    assert keensight.evaluate(ours.bundle, address, split="test").metrics.accuracy == ours.report.test.accuracy
    done = keensight.predict_in_parts(ours.bundle, [address], out=bucket("answers"), workers=2)
    assert (done.answers, done.parts, done.kept) == (1797, 8, 0)
    answers = open_store(bucket("answers"))
    rows = [
        row
        for name in sorted(answers.found())
        if name.endswith("parquet")
        for row in pq.read_table(answers.open(name)).column("row").to_pylist()
    ]
    assert rows == list(range(1797))
    assert keensight.predict_in_parts(ours.bundle, [address], out=bucket("answers")).kept == 8


def test_what_is_not_there_is_said(bucket):
    with pytest.raises(DataError, match="does not exist"):
        keensight.open_dataset(bucket("nothing"))
    with pytest.raises(DataError, match="cannot be|does not exist"):
        keensight.open_dataset("s3://pictures/x?endpoint_override=http://127.0.0.1:1")
