"""The options of `deploy kubernetes` that depend on a cluster, checked before any manifest is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from keensight.deploy.names import check_hostname, check_namespace, gateway_of, image_of, labels_of
from keensight.deploy.resources import Resources
from keensight.errors import UsageError

MOST_REPLICAS = 1000


@dataclass(frozen=True, slots=True)
class Cluster:
    """The options that depend on a cluster, as typed. Raises UsageError for those that make no sense there."""

    image: str | None = field(
        default=None,
        metadata={
            "help": "The image, as [REGISTRY/]NAME[:TAG][@sha256:DIGEST]; NAME:VERSION of the model if left out."
        },
    )
    namespace: str | None = field(
        default=None, metadata={"help": "The namespace, which has to exist; kubectl's if left out."}
    )
    replicas: int = field(default=2, metadata={"help": "The fewest pods."})
    max_replicas: int = field(default=10, metadata={"help": "The most pods."})
    hostname: str | None = field(
        default=None, metadata={"help": "With --gateway: the host name of a route to the model."}
    )
    gateway: str | None = field(
        default=None, metadata={"help": "With --hostname: the Gateway of that route, as [NAMESPACE/]NAME."}
    )
    labels: Sequence[str] = field(
        default=(), metadata={"option": "label", "help": "A label for everything, as KEY=VALUE. Can be repeated."}
    )
    serve: str | None = field(
        default=None,
        metadata={"help": "With ray: write a RayService and its image's folder instead, for a cluster with KubeRay."},
    )
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        """Check everything that can be checked without a bundle."""
        if not 1 <= self.replicas <= self.max_replicas <= MOST_REPLICAS:
            raise UsageError(
                f"--replicas is {self.replicas} and --max-replicas {self.max_replicas}. Both must be from 1 to "
                f"{MOST_REPLICAS:,}, and --max-replicas not below --replicas; 2 and 10 are usual."
            )
        if self.serve not in (None, "ray"):
            raise UsageError(f"--serve is {self.serve[:40]!a}. Only ray is accepted; without it, no Ray is needed.")
        if (self.hostname is None) != (self.gateway is None):
            raise UsageError(
                "Only one of --hostname and --gateway was given. A route needs the host name that clients use and the "
                "Gateway that lets them in. Give both, or neither."
            )
        if self.hostname is not None and self.gateway is not None:
            check_hostname(self.hostname)
            gateway_of(self.gateway)
        if self.namespace is not None:
            check_namespace(self.namespace)
        labels_of(self.labels)
        image = image_of(self.image if self.image is not None else "model", "tag")
        if image.tag == "latest" and not image.digest:
            raise UsageError(
                f"--image is {self.image!a}. A node that has a `latest` never pulls a newer one, so pods would differ. "
                "Leave the tag out to use the bundle's version, or give another tag, or a digest."
            )
