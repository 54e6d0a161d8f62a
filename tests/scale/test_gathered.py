"""Workers in processes of their own, over gloo: the bits of one process.

All of it runs in three processes that are started once, as importing torch takes seconds.
"""

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import keensight
from keensight.data.shard_images import Streamed
from keensight.data.sources import open_dataset
from keensight.models.zoo import build
from keensight.pipeline.prepare import prepare
from keensight.pipeline.watch import Watcher
from keensight.scale.gathered import _interface_towards
from keensight.training.checkpoint import bytes_of, load_state_bytes
from keensight.training.loop import Pauses, start
from keensight.training.team import ALONE, add_up, share, whole_nodes
from keensight.training.trainers import fit_any
from keensight.values import Preprocessing, Recipe, Split, Splits

SIZE = Preprocessing(12, 12, 1)
RECIPES = {
    "batch norm": ("cnn", {"rotate": 10.0, "crop": 1, "pieces": 3}),
    "dropout": ("planes", {"flip": True, "zoom": 0.2, "pieces": 5, "precision": "bfloat16"}),
    "shards": ("planes", {"pieces": 4}),
    "transfer": ("transfer", {"pieces": 3}),
}
OPTIONS = {"dropout": 0.3}
QUICK = ("batch norm", "dropout", "shards")
STOPPED = ("batch norm", "shards")
TRANSFER = {"backbone": "efficientnet-lite0", "backbone_rate": 0.1}


class Stopped(Exception):  # noqa: N818
    pass


def splits(name, folder):
    """Pictures in memory, or streamed from the shards in `folder`."""
    if name == "shards":
        os.environ["KEENSIGHT_CACHE"] = str(folder / "cache")
        recipe = Recipe().having(size=12)
        return prepare(open_dataset(str(folder / "shards")), recipe, Watcher(), choosing=True).splits
    if name == "transfer":
        rng = np.random.default_rng(0)
        images, labels = rng.integers(0, 256, (48, 32, 32, 3), np.uint8), np.arange(48) % 3
        part = Split(images, np.arange(48), labels, ("",) * 48)
        return Splits(("a", "b", "c"), Preprocessing(32, 32, 3), part, part, None)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (96, 12, 12, 1), np.uint8), rng.integers(0, 3, 96)
    part = Split(images, np.arange(96), labels, ("",) * 96)
    return Splits(("a", "b", "c"), SIZE, part, part, None)


def train(name, folder, team=ALONE, begin=b"", stop=False):
    """Return a digest of weights, buffers and losses, or a checkpoint of the middle of the second epoch."""
    (model, changes), given = RECIPES[name], splits(name, folder)
    recipe = Recipe().having(**{"epochs": 2, "batch_size": 48, "precision": "float32", **changes})
    options = TRANSFER if name == "transfer" else OPTIONS
    state = start(build(model, options, given.preprocessing, len(given.class_names), 0), given, recipe)
    if begin:
        load_state_bytes(begin, state)

    def keep():
        if stop and len(state.history) == 1:
            raise Stopped

    try:
        list(fit_any(state, given, recipe, team=team, pauses=Pauses(0.0, keep)))
    except Stopped:
        return bytes_of(state)
    digest = hashlib.sha256(repr([(e.train_loss, e.val_loss) for e in state.history]).encode())
    for tensor in state.model.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def sums(count, own):
    """Numbers whose sum depends on the order in which they are added."""
    torch.manual_seed(0)
    leaves = [[torch.randn(5, 7) * 1e3, torch.randn(11)] for _ in range(count)]
    add = lambda one, other: [a + b for a, b in zip(one, other, strict=True)]  # noqa: E731
    known = {(i, i + 1): leaf for i, leaf in enumerate(leaves)}
    return [add_up(node, known, add) for node in whole_nodes(own, count)]


def worker(rank, address, folder, names):
    import torch.distributed as dist

    from keensight.scale.gathered import Gathered, joined

    torch.set_num_threads(1 + rank % 2)
    with joined(rank, 3, address, timeout_s=900):
        three = Gathered()
        pair = dist.new_group([0, 1])
        teams = {"3": three, **({"2": Gathered(group=pair)} if rank < 2 else {})}
        told = three.tell(b"what the first says" if rank == 0 else b"something else")
        assert told == b"what the first says" and three.tell(b"") == b""
        rows = three.gather(torch.full((rank, 2), float(rank)))  # of the first, none
        assert rows.tolist() == [[1, 1], [2, 2], [2, 2]]
        for count in (3, 4, 7):
            (expected,) = sums(count, range(count))
            for team in teams.values():
                own = sums(count, share(count, team.rank, team.size))
                assert all(map(torch.equal, team.total(own, count), expected)), (count, team.size)
                near = Gathered(fast=True, group=team._group).total(own, count)
                assert all(map(torch.allclose, near, expected))
        for size, team in teams.items():
            for name in names:
                (folder / f"{name}-{size}-{rank}").write_text(train(name, folder, team))
        for name in [name for name in STOPPED if name in names]:
            (folder / f"{name}-stopped-{rank}").write_bytes(train(name, folder, three, stop=True))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("team"), np.random.default_rng(0)
    labels = np.arange(1500) % 3
    np.savez(folder / "three.npz", images=rng.integers(0, 256, (1500, 12, 12, 1), np.uint8), labels=labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEENSIGHT_CACHE", str(folder / "cache"))
        keensight.shard(folder / "three.npz", str(folder / "shards"))
        assert isinstance(splits("shards", folder).train.images, Streamed)  # it is read once, before all need it
    run(folder, QUICK)
    return folder


@pytest.fixture(scope="module")
def transferred(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    run(folder, ["transfer"])
    return folder


def run(folder, names):
    """Let three processes train."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), f"127.0.0.1:{port}", str(folder), *names],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(3)
    ]  # fmt: skip
    for each in running:
        _, said = each.communicate(timeout=900)
        assert each.returncode == 0, said


@pytest.mark.parametrize("name", QUICK)
def test_two_and_three_workers_have_the_bits_of_one(found, name):
    alone = train(name, found)
    others = {(found / f"{name}-{size}-{rank}").read_text() for size in (2, 3) for rank in range(size)}
    assert others == {alone}


@pytest.mark.thorough
def test_a_backbone_learns_the_same_from_two_and_three_workers(transferred):
    test_two_and_three_workers_have_the_bits_of_one(transferred, "transfer")


@pytest.mark.parametrize("name", STOPPED)
def test_what_three_began_one_ends_with_the_same_bits(found, name):
    begun = {(found / f"{name}-stopped-{rank}").read_bytes()[-1000:] for rank in range(3)}
    assert len(begun) == 1
    assert train(name, found, begin=(found / f"{name}-stopped-2").read_bytes()) == train(name, found)


def test_the_interface_towards_a_host_is_found():
    assert _interface_towards("127.0.0.1") == "lo"
    assert _interface_towards("no such host.invalid") == ""


if __name__ == "__main__":
    worker(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
