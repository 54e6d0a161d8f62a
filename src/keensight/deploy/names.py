"""Names that Kubernetes and container registries accept. Everything that comes from outside is checked here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from keensight.errors import UsageError

MOST = 53  # of 63: KServe adds "-predictor"
LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"  # RFC 1123
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
REPOSITORY = re.compile(
    r"((?=[^/]*[.:]|localhost/)[a-zA-Z0-9]([-.a-zA-Z0-9]*[a-zA-Z0-9])?(:[0-9]{1,5})?/)?"  # a registry
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
)
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
OURS = ("app.kubernetes.io/name", "app.kubernetes.io/version", "keensight/track")


@dataclass(frozen=True, slots=True)
class Image:
    """Where an image is: its repository, and a tag or a digest."""

    repository: str
    tag: str
    digest: str = ""

    @property
    def has_registry(self) -> bool:
        """Whether a registry is named; without one, it is docker.io."""
        registry, slash, _ = self.repository.partition("/")
        return bool(slash) and (registry == "localhost" or "." in registry or ":" in registry)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


def made_valid(name: str) -> str:
    """Return the name nearest to `name` that `check_name` accepts; "model" if no character of it is accepted.

    >>> made_valid("My Run_2"), made_valid("2nd"), made_valid("...")
    ('my-run-2', 'model-2nd', 'model')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"model-{plain}"
    return plain[:MOST].strip("-")


def check_name(name: str, option: str = "--name") -> str:
    """Return a name for Deployments and Services, or raise UsageError: an RFC 1123 label that begins with a letter."""
    if not re.fullmatch(LABEL, name) or not name[0].isalpha() or len(name) > MOST:
        raise UsageError(
            f"{option} is {name[:80]!a}, which Kubernetes does not accept as a name. A name has at most {MOST} "
            "lower-case letters, digits and hyphens, begins with a letter, and does not end with a hyphen (an RFC 1123 "
            f"label; a Service's name begins with a letter). Try {made_valid(name)}."
        )
    return name


def check_namespace(name: str) -> str:
    """Return a namespace's name, or raise UsageError: an RFC 1123 label."""
    if not re.fullmatch(LABEL, name) or len(name) > 63:
        raise UsageError(
            f"--namespace is {name[:80]!a}, which is not a valid namespace. At most 63 lower-case letters, digits and "
            "hyphens are accepted, with a letter or digit at both ends (RFC 1123)."
        )
    return name


def check_hostname(name: str) -> str:
    """Return a host name, perhaps beginning with ``*.``, or raise UsageError: an RFC 1123 subdomain."""
    plain = name.removeprefix("*.")
    if not re.fullmatch(SUBDOMAIN, plain) or len(plain) > 253 or max(map(len, plain.split("."))) > 63:
        raise UsageError(
            f"--hostname is {name[:80]!a}, which is not a host name. Give one such as digits.example.org: labels of "
            "lower-case letters, digits and hyphens with points between them (RFC 1123), and no scheme, port or path."
        )
    return name


def gateway_of(text: str) -> tuple[str, str]:
    """Return the namespace, which may be empty, and the name of a Gateway given as ``[NAMESPACE/]NAME``."""
    namespace, _, name = text.rpartition("/")
    if not re.fullmatch(SUBDOMAIN, name) or len(name) > 253 or ("/" in text and not re.fullmatch(LABEL, namespace)):
        raise UsageError(
            f"--gateway is {text[:80]!a}, which is not a Gateway's name. Give NAME, or NAMESPACE/NAME if it is in "
            "another namespace; `kubectl get gateways --all-namespaces` lists them."
        )
    return namespace, name


def image_of(text: str, default_tag: str) -> Image:
    """Return the image that ``[REGISTRY/]NAME[:TAG][@DIGEST]`` means. Raises UsageError for an invalid name.

    >>> str(image_of("registry.example.org:5000/team/digits", "0e80d139e671"))
    'registry.example.org:5000/team/digits:0e80d139e671'
    """
    rest, has_digest, digest = text.partition("@")
    repository, has_tag, tag = rest.rpartition(":")
    if not has_tag or "/" in tag:  # a colon before a slash is a registry's port
        repository, has_tag, tag = rest, "", default_tag
    problem = None
    if not REPOSITORY.fullmatch(repository) or len(repository) > 255:
        problem = f"{repository[:80]!a} is not an image's name"
    elif not TAG.fullmatch(tag):
        problem = f"{tag[:80]!a} is not a tag"
    elif has_digest and not DIGEST.fullmatch(digest):
        problem = f"{digest[:80]!a} is not a digest"
    if problem:
        raise UsageError(
            f"--image is {text[:120]!a}, and {problem}. Give [REGISTRY/]NAME[:TAG][@sha256:DIGEST], such as "
            "registry.example.org/team/digits: lower-case letters and digits, with single '.', '_' or '-' between "
            "them, and no spaces. Without a tag, it is the bundle's version."
        )
    return Image(repository, tag, digest)


def labels_of(pairs: Sequence[str]) -> dict[str, str]:
    """Return labels given as ``KEY=VALUE``. Raises UsageError for labels that Kubernetes does not accept."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        prefix, slash, name = key.rpartition("/")
        valid = equals and LABEL_NAME.fullmatch(name) and LABEL_VALUE.fullmatch(value)
        if not valid or (slash and (not re.fullmatch(SUBDOMAIN, prefix) or len(prefix) > 253)):
            raise UsageError(
                f"--label is {pair[:120]!a}, which is not a Kubernetes label. Give KEY=VALUE, such as team=vision: "
                "both of at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends; a key may "
                "have a domain and '/' before it."
            )
        if key in OURS:
            raise UsageError(f"--label gives {key}, which keensight sets itself. Choose another key.")
        if key in found:
            raise UsageError(f"--label gives {key} twice. Give it once.")
        found[key] = value
    return found
