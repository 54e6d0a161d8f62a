"""Shards hold what they were made from, are read in an order of their own, and harm nobody who reads them."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import keensight
from keensight.data.cache import choose_preprocessing, decode, fingerprint
from keensight.data.shard_files import Shards, open_shards
from keensight.data.shard_images import Streamed
from keensight.data.shard_index import ROW_GROUP, read_index
from keensight.data.sources import open_dataset
from keensight.data.splits import split
from keensight.data.stores import is_url, open_store
from keensight.errors import DataError, KeensightError, UsageError
from keensight.pipeline.prepare import prepare
from keensight.pipeline.watch import Watcher
from keensight.training.loop import State, fit, start
from keensight.values import Recipe, Split

NUM = 1500


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Three classes in an .npz, with splits."""
    file, rng = tmp_path_factory.mktemp("npz") / "three.npz", np.random.default_rng(0)
    labels = rng.integers(0, 3, NUM)
    images = (rng.integers(0, 120, (NUM, 9, 8, 3)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(file, train_images=images[:1100], train_labels=labels[:1100], val_images=images[1100:],
             val_labels=labels[1100:])  # fmt: skip
    return file


@pytest.fixture(scope="module")
def shards(arrays, tmp_path_factory):
    place = tmp_path_factory.mktemp("shards") / "three"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEENSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("keensight.data.shard_writing.FILE_BYTES", 600 * 9 * 8 * 3)  # several files
        keensight.shard(arrays, str(place))
    return place


@pytest.fixture
def copied(shards, tmp_path):
    """A copy of the shards to spoil, and the file of one of them."""
    place = tmp_path / "copied"
    place.mkdir()
    for file in shards.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    return place


def pixels_of(place):
    dataset = open_dataset(place)
    return decode(dataset, choose_preprocessing(dataset, Recipe()))


def by_hash(pixels):
    """Each picture's label, split and pixels by its hash."""
    return {
        sample.sha256: (pixels.dataset.class_names[sample.label], sample.split, pixels.images[row].tobytes())
        for sample, row in zip(pixels.dataset.samples, pixels.rows, strict=True)
    }


def test_shards_hold_what_they_were_made_from(arrays, shards):
    ours, theirs = pixels_of(shards), pixels_of(arrays)
    assert isinstance(ours.images, Streamed) and isinstance(theirs.images, np.ndarray)
    assert by_hash(ours) == by_hash(theirs)
    assert fingerprint(ours.dataset) == fingerprint(theirs.dataset)
    assert len(list(shards.glob("*.parquet"))) == 3
    for each in read_index(open_store(shards)).files:
        content = (shards / each.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (each.bytes, each.sha256)


def test_they_are_indexed_as_an_array_is(shards):
    found = open_shards(shards)
    whole = np.concatenate([found.pixels(group) for group in found.index.groups])
    streamed, rows = Streamed(found), np.array([1400, 3, 3, 700, 256])
    for key in (7, slice(250, 520), rows, (5, slice(None, None, 2)), (rows, slice(2, 4), 1), slice(0, 0)):
        np.testing.assert_array_equal(streamed[key], whole[key])
    assert streamed.shape == whole.shape and len(streamed) == len(whole)


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_an_epoch_takes_each_picture_once_and_reads_each_row_group_once(shards, pieces):
    streamed, reads = Streamed(open_shards(shards)), []
    read = streamed._kept._read
    streamed._kept._read = lambda group: reads.append(group.first) or read(group)
    rows = np.sort(np.random.default_rng(1).permutation(NUM)[:1100])
    train = Split(streamed, rows, np.zeros(1100, int), ("",) * 1100)
    batches = train.shuffled(64, np.random.default_rng([0, 1]), pieces)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1100))
    assert {len(batch) for batch in batches} <= {61, 62}
    again, other = (train.shuffled(64, np.random.default_rng([0, n]), pieces) for n in (1, 2))
    assert all(map(np.array_equal, batches, again)) and not all(map(np.array_equal, batches, other))
    for batch in batches:
        train.gather(batch)
    streamed._pool.shutdown()
    num_groups = len({group.first for group in streamed._index.groups})
    assert len(set(reads)) == num_groups and len(reads) <= num_groups + 2 * pieces
    groups = [
        {row // ROW_GROUP for batch in batches for row in rows[np.array_split(batch, pieces)[p]]} for p in range(pieces)
    ]
    assert all(len(mine) <= -(-num_groups // pieces) + 2 for mine in groups)  # two are shared with neighbours


def test_an_interrupted_run_on_shards_ends_with_the_same_bits(shards):
    splits = split(pixels_of(shards))
    recipe = keensight.load_recipe("default", ["epochs=2", "batch_size=100", "precision=float32"])

    def begun():
        return start(keensight.build("cnn", {"filters": 4}, splits.preprocessing, 3, 0), splits, recipe)

    whole, halted = begun(), begun()
    list(fit(whole, splits, recipe))
    next(iter(fit(halted, splits, recipe)))
    afresh = replace(splits, train=split(pixels_of(shards)).train)  # as another process would open them
    list(fit(State(halted.model, halted.optimizer, halted.history), afresh, recipe))
    for ours, theirs in zip(whole.model.state_dict().values(), halted.model.state_dict().values(), strict=True):
        assert ours.equal(theirs)
    assert whole.history[-1].val_accuracy > 0.5  # of three classes


def test_encoded_pictures_stay_as_they_are(draw, tmp_path):
    folder = draw(tmp_path / "pets", ["cat", "dog"], 20, 0)
    written = keensight.shard(folder, str(tmp_path / "shards"))
    assert written.shape is None and written.pictures == 40
    assert by_hash(pixels_of(tmp_path / "shards")) == by_hash(pixels_of(folder))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    for taken in (folder, tmp_path / "mine"):
        with pytest.raises(UsageError, match="is not empty, and what is in it would be hidden"):
            keensight.shard(folder, str(taken))
    with pytest.raises(UsageError, match="holds shards already"):
        keensight.shard(folder, str(tmp_path / "shards"))


# --- damage ----------------------------------------------------------------------------------------------------------


def flip(place, column, group=1, name="shard-000001.parquet"):
    """Flip one bit in the middle of a column of a row group."""
    chunk = pq.ParquetFile(place / name).metadata.row_group(group).column(column)
    content = bytearray((place / name).read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 4
    (place / name).write_bytes(content)


@pytest.mark.parametrize("column", [0, 1, 3])  # the pictures, their labels, their hashes
def test_a_flipped_bit_is_named_and_costs_one_row_group(copied, column):
    whole = by_hash(pixels_of(copied))
    flip(copied, column)
    found = pixels_of(copied)
    (skipped,) = found.dataset.skipped
    assert skipped.path == "row group 1 of shard-000001.parquet" and "damaged" in skipped.reason
    lost = next(group.rows for group in open_shards(copied).index.groups if group.title == skipped.path)
    assert len(found.rows) == NUM - lost and by_hash(found).items() <= whole.items()


def test_damage_stops_the_run_where_that_is_asked(copied):
    flip(copied, 0)
    recipe = keensight.load_recipe("dense", ["damaged=stop"])
    with pytest.raises(DataError, match="row group 1 of shard-000001.parquet"):
        prepare(open_dataset(copied), recipe, Watcher())


def test_a_missing_file_is_named(copied):
    (copied / "shard-000000.parquet").unlink()
    assert "missing" in pixels_of(copied).dataset.skipped[0].reason


def test_a_lack_of_memory_is_not_called_damage(copied, monkeypatch):
    def no_memory(*_):
        raise MemoryError("malloc of size 3145728 failed")

    monkeypatch.setattr(Shards, "_opened", no_memory)
    with pytest.raises(DataError) as refused:
        pixels_of(copied)
    reason = str(refused.value)
    assert "needs more memory than there is, or claims to" in reason and "damaged" not in reason


# --- hostile ---------------------------------------------------------------------------------------------------------


def test_a_link_is_followed_only_inside_the_folder(copied, tmp_path):
    file, aside = copied / "shard-000000.parquet", copied / "aside.parquet"
    file.rename(aside)
    file.symlink_to(aside)
    assert not pixels_of(copied).dataset.skipped
    aside.rename(tmp_path / "elsewhere.parquet")
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere.parquet")
    assert "a link that leads out of the folder" in pixels_of(copied).dataset.skipped[0].reason


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"}, {"version": 2}, {"row_group": 10**9}, {"class_names": ["a"]}, {"class_names": ["a", "a"]},
        {"class_names": ["a", "\x1b[2J"]}, {"class_names": 7}, {"name": "\x00"}, {"files": []}, {"files": {"a": 1}},
        {"pixels": {"height": 10**6, "width": 1, "channels": 1, "fit": "squash"}},
        {"pixels": {"height": 4096, "width": 4096, "channels": 3, "fit": "squash"}}, {"made_from": [1]},
    ],
)  # fmt: skip
def test_an_index_of_anything_else_is_refused(copied, change):
    file = copied / "_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(KeensightError):
        open_shards(copied)


@pytest.mark.parametrize("name", ["../three.npz", "/etc/passwd", "shard-000000.parquet/../x", "shard-1.parquet", "", 7])
def test_no_file_elsewhere_is_opened(copied, name):
    file = copied / "_index.json"
    index = json.loads(file.read_text())
    index["files"][0]["name"] = name
    file.write_text(json.dumps(index))
    with pytest.raises(DataError, match="no name of a shard"):
        open_shards(copied)


def test_junk_is_no_index(tmp_path):
    (tmp_path / "_index.json").write_bytes(b'{"format": "keensight-shards", ' + b"[" * 10**5)
    with pytest.raises(DataError, match="not an index of shards"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"compression": "zstd"}, {"use_dictionary": True}, {"row_group_size": 100}, {"label": 99}, {"split": 7},
        {"path": "../../etc/passwd"}, {"path": "\x1b[2J"}, {"path": "x" * 10**4}, {"columns": 5}, {"size": 7},
    ],
)  # fmt: skip
def test_files_of_another_make_are_refused(copied, spoilt):
    """Each is a sound Parquet file, whose index has the right size and digest."""
    name = "shard-000000.parquet"
    table = pq.read_table(copied / name)
    for column, value in spoilt.items():
        if column in table.column_names:
            kind = table.schema.field(column)
            table = table.set_column(table.column_names.index(column), kind, pa.array([value] * len(table), kind.type))
    if "size" in spoilt:
        other = pa.array([b"1234567"] * len(table), pa.binary(7))
        table = table.set_column(0, pa.field("picture", pa.binary(7), nullable=False), other)
    table = table.select(table.column_names[: spoilt.get("columns", 6)])
    options = {"compression": "none", "use_dictionary": False, "row_group_size": ROW_GROUP, "store_schema": False}
    pq.write_table(table, copied / name, **{k: spoilt.get(k, v) for k, v in options.items()}, write_page_checksum=True)
    content, index = (copied / name).read_bytes(), json.loads((copied / "_index.json").read_text())
    index["files"][0] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (copied / "_index.json").write_text(json.dumps(index))
    dataset = open_dataset(copied)
    assert dataset.skipped and all(each.path.endswith(name) for each in dataset.skipped)
    assert not any(sample.path.startswith("shard-000000") for sample in dataset.samples)


def test_junk_instead_of_a_file_is_named(copied):
    for name, content in (("shard-000000.parquet", b"PAR1" * 5), ("shard-000001.parquet", b"")):
        (copied / name).write_bytes(content)
    assert {each.path.rpartition(" ")[2] for each in open_dataset(copied).skipped} >= {"shard-000000.parquet"}
    for file in copied.glob("*.parquet"):
        file.write_bytes(b"\0" * 100)
    with pytest.raises(DataError, match="Nothing can be read"):
        open_dataset(copied)


def test_addresses():
    assert is_url("s3://bucket/x") and not is_url("s3/bucket") and not is_url("")
    for address, says in {
        "s3://KEY:SECRET@bucket/x": "credentials by the environment",
        "nothing://bucket/x": "cannot be opened|needs a package",
        "file:///does/not/exist": "does not exist",
    }.items():
        with pytest.raises(KeensightError, match=says) as raised:
            open_dataset(address)
        assert "KEY:SECRET" not in str(raised.value)
