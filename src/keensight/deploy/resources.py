"""A pod's requests and limits: quantities as Kubernetes writes them, checked before the cluster does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

from keensight.errors import UsageError

MiB = 2**20
CPU_UNITS = {"": Decimal(1), "m": Decimal("0.001")}
MEMORY_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": MiB,
    "Gi": 2**30,
    "Ti": 2**40,
}
LEAST_MEMORY = 128 * MiB  # for NumPy, ONNX Runtime and the server, without a model


@dataclass(frozen=True, slots=True)
class Resources:
    """What a pod asks for (requests) and what it may take at most (limits), as Kubernetes writes quantities.

    There must be a limit of processors, as it sets the number of threads. What memory the bundle takes is measured
    where it is None.
    Raises UsageError for an invalid quantity, for zero, and for a request above its limit.
    """

    cpu: str = field(
        default="500m",
        metadata={"help": "The processors that a pod asks for; pods are added when they use 70 % of it."},
    )
    cpu_limit: str = field(default="2", metadata={"help": "The most processors for a pod, and so its threads."})
    memory: str | None = field(
        default=None,
        metadata={"help": "The memory that a pod asks for; what the bundle was measured to take if left out."},
    )
    memory_limit: str | None = field(
        default=None, metadata={"help": "The most memory for a pod; measured, with room for requests, if left out."}
    )

    def __post_init__(self) -> None:
        """Check the quantities."""
        cpu, cpu_limit = cores_of(self.cpu, "--cpu"), cores_of(self.cpu_limit, "--cpu-limit")
        memory = None if self.memory is None else bytes_of(self.memory, "--memory")
        memory_limit = None if self.memory_limit is None else bytes_of(self.memory_limit, "--memory-limit")
        if cpu > cpu_limit:
            raise _above("--cpu", self.cpu, self.cpu_limit)
        if memory is not None and memory_limit is not None and memory > memory_limit:
            raise _above("--memory", str(self.memory), str(self.memory_limit))
        if memory_limit is not None and memory_limit < LEAST_MEMORY:
            raise UsageError(
                f"--memory-limit is {self.memory_limit}. The server takes {LEAST_MEMORY // MiB}Mi without a model, so "
                "it would be killed before it answers. Give more, such as 1Gi."
            )


def cores_of(text: str, option: str) -> Decimal:
    """Return the processors that a quantity means.

    >>> cores_of("500m", "--cpu")
    Decimal('0.500')
    """
    number, unit = _split(text)
    if number is None or unit not in CPU_UNITS:
        raise UsageError(
            f"{option} is {text[:40]!a}, which is not a quantity of processors. Give a number, such as 2 or 0.5, or "
            "thousandths with m, such as 500m."
        )
    cores = number * CPU_UNITS[unit]
    if cores < Decimal("0.001"):
        raise UsageError(f"{option} is {text}, and it must be above zero. Give at least 1m; 500m is usual.")
    return cores


def bytes_of(text: str, option: str) -> int:
    """Return the bytes that a quantity means.

    >>> bytes_of("384Mi", "--memory")
    402653184
    """
    number, unit = _split(text)
    if number is None or unit not in MEMORY_UNITS:
        hint = " (m would be thousandths of a byte)" if unit == "m" else ""
        raise UsageError(
            f"{option} is {text[:40]!a}, which is not a quantity of memory{hint}. Give bytes, or a number with one of "
            f"{', '.join(unit for unit in MEMORY_UNITS if unit)}: 512Mi and 1Gi are usual."
        )
    size = int(number * MEMORY_UNITS[unit])
    if size < 1:
        raise UsageError(f"{option} is {text}, and it must be above zero. 512Mi and 1Gi are usual.")
    return size


def _split(text: str) -> tuple[Decimal | None, str]:
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([A-Za-z]{0,2})", text)
    return (Decimal(found[1]), found[2]) if found else (None, "")


def _above(option: str, request: str, limit: str) -> UsageError:
    return UsageError(
        f"{option} is {request} and its limit {limit}, but a request cannot be above its limit. Lower {option}, "
        f"or raise {option}-limit."
    )
