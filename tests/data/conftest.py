"""Small archives and arrays of pictures, written where a test wants them."""

import gzip
import hashlib
import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from keensight.data.sources import reader


@pytest.fixture(scope="session")
def png():
    """Return the bytes of a grey picture of 4x4, all of one level."""

    def encoded(level):
        file = io.BytesIO()
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(file, "png")
        return file.getvalue()

    return encoded


@pytest.fixture(scope="session")
def pets(png):
    """Twelve pictures in two splits of two classes: the bytes of each by its path."""
    return {f"pets/{s}/{name}/{i}.png": png(i) for s in ("train", "val") for name in ("cat", "dog") for i in range(3)}


@pytest.fixture(scope="session")
def check_pets(pets):
    """Check that a dataset holds the pets: with their splits, labels, hashes and bytes."""

    def check(dataset, name, kind):
        assert (dataset.name, dataset.kind, dataset.class_names) == (name, kind, ("cat", "dog"))
        hashes = {where: hashlib.sha256(content).hexdigest() for where, content in pets.items()}
        assert {s.path: s.sha256 for s in dataset.samples} == hashes
        for sample in dataset.samples:
            _, split, label, _ = sample.path.split("/")
            assert (sample.split, dataset.class_names[sample.label]) == (split, label)
        with reader(dataset) as read:
            assert {s.path: read(s) for s in dataset.samples} == pets

    return check


@pytest.fixture(scope="session")
def make_zip():
    """Write a zip of the given members."""

    def make(path, members, compression=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    return make


@pytest.fixture(scope="session")
def make_tar():
    """Write a tar of the given members, and of extra ones that have no content."""

    def make(path, members, mode="w", extra=()):
        with tarfile.open(path, mode) as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            for info in extra:
                archive.addfile(info)
        return path

    return make


@pytest.fixture
def images():
    """Six pictures of noise, 5x4."""
    return np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)


@pytest.fixture
def labels():
    """A label for each of the six pictures; as text they would be in another order."""
    return np.array([0, 1, 2, 10, 1, 0], np.uint8)


@pytest.fixture
def write_idx(images, labels):
    """Write the six pictures as a folder of IDX files."""

    def write(folder, names=("train", "t10k"), dot="-", packed=True, *, labels=labels):
        folder.mkdir(exist_ok=True, parents=True)
        for name in names:
            for kind, array in ((f"images{dot}idx3", images), (f"labels{dot}idx1", labels)):
                content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
                path = folder / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
                path.write_bytes(gzip.compress(content) if packed else content)
        return folder

    return write


@pytest.fixture(scope="session")
def everything():
    """Read all pictures of a dataset, in order."""

    def read_all(dataset):
        with reader(dataset) as read:
            return [read(sample) for sample in dataset.samples]

    return read_all


@pytest.fixture
def folder(tmp_path):
    """Two classes of 150 pictures: more than two chunks."""
    rng = np.random.default_rng(1)
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(150):
            pixels = rng.integers(0, 256, (10, 14, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{i:03}.png")
    return tmp_path / "pets"
