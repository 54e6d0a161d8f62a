"""A team of processes, on one machine or on many, over torch.distributed: gloo between processors, NCCL between GPUs.

torch's own wrapper for data-parallel training is not used. It sums gradients in an order that depends on the number of
processes, and those of batch normalisation's statistics not at all; here the bits are those of one process.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from keensight.training.team import add_up, share, whole_nodes

SIOCGIFADDR = 0x8915  # asks Linux for an interface's address
TIMEOUT_S = 600.0  # without an answer, after which a worker gives up


class Gathered:
    """A `Team` over the processes of torch.distributed, or over one of its groups.

    With `fast`, sums are torch's: two to four times as fast for large networks on more than two workers, but their
    order, and so the last bits, depend on the number of workers.
    """

    def __init__(self, fast: bool = False, group: dist.ProcessGroup | None = None) -> None:
        self._group, self._fast = group, fast
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    def total(self, sums: Sequence[Sequence[torch.Tensor]], count: int) -> Sequence[torch.Tensor]:
        """Return the sum over all pieces; see `Team.total`.

        Every worker adds up one stretch of the numbers, along the tree, and sends it to all others.
        """
        nodes = [whole_nodes(share(count, rank, self.size), count) for rank in range(self.size)]
        flat = [torch.cat([tensor.reshape(-1) for tensor in map(_in_memory, each)]) for each in sums]
        if self._fast or (self.size == 2 and all(len(each) == 1 for each in nodes)):  # a + b is b + a
            whole = flat[0] if len(flat) == 1 else torch.stack(flat).sum(dim=0)
            dist.all_reduce(whole, group=self._group)
        else:
            whole = self._along_the_tree(flat, nodes, count)
        found, first = [], 0
        for tensor in sums[0]:
            part = whole[first : first + tensor.numel()].to(tensor.dtype)
            found.append(part.as_strided(tensor.shape, tensor.stride()))
            first += tensor.numel()
        return found

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """Return what all workers give, joined; see `Team.gather`."""
        rows = torch.tensor([len(own)], device=own.device)
        counts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(counts, rows, group=self._group)
        most = max(int(count) for count in counts)
        padded = own.new_zeros((most, *own.shape[1:]))
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(found, padded, group=self._group)
        return torch.cat([each[: int(count)] for each, count in zip(found, counts, strict=True)])

    def tell(self, content: bytes) -> bytes:
        """Return the first worker's `content` to all."""
        own = np.frombuffer(content if self.rank == 0 else b"", np.uint8).copy()
        return self.gather(torch.from_numpy(own)).numpy().tobytes()

    def _along_the_tree(
        self, flat: Sequence[torch.Tensor], nodes: Sequence[Sequence[tuple[int, int]]], count: int
    ) -> torch.Tensor:
        length = flat[0].numel()
        stretch = -(-length // self.size)
        own = flat[0].new_zeros((len(flat), self.size * stretch))
        for row, each in zip(own, flat, strict=True):
            row[:length] = each
        sent = own.view(len(flat), self.size, stretch).transpose(0, 1).contiguous()  # for each worker, its stretch
        received = own.new_empty((sum(map(len, nodes)), stretch))
        dist.all_to_all_single(
            received.view(-1), sent.view(-1), [len(each) * stretch for each in nodes],
            [len(flat) * stretch] * self.size, group=self._group,
        )  # fmt: skip
        known = dict(zip([node for each in nodes for node in each], received, strict=True))
        total = add_up((0, count), known, torch.add)
        whole = own.new_empty(self.size * stretch)
        dist.all_gather_into_tensor(whole, total, group=self._group)
        return whole[:length]


def _in_memory(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's numbers in the order in which they lie in memory, without a copy: it is dense."""
    return tensor.as_strided((tensor.numel(),), (1,))


@contextmanager
def joined(rank: int = -1, size: int = -1, address: str = "", timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Join a team of `size` processes for the length of the ``with`` block: `address` is HOST:PORT of the first.

    Without these, the environment says who joins whom, as torchrun has it.
    """
    host = address.rpartition(":")[0] or os.environ.get("MASTER_ADDR", "")
    if "GLOO_SOCKET_IFNAME" not in os.environ and (name := _interface_towards(host)):
        os.environ["GLOO_SOCKET_IFNAME"] = name  # by the host's name alone, gloo may take 127.0.0.1
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        f"tcp://{address}" if address else "env://",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=timeout_s),
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def _interface_towards(host: str) -> str:
    """Return the network interface by which this machine reaches a host, or "" where that is not known."""
    try:
        import fcntl
    except ImportError:  # on Windows
        return ""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing: the system only looks for the way
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                try:
                    found = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                except OSError:  # it has no address
                    continue
                if socket.inet_ntoa(found[20:24]) == own:
                    return name
    except OSError:
        pass
    return ""
