"""Names as Kubernetes and registries take them; the refusals say what came and what is accepted."""

import pytest

from keensight.deploy.names import (
    check_hostname,
    check_name,
    check_namespace,
    gateway_of,
    image_of,
    labels_of,
    made_valid,
)
from keensight.errors import UsageError

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize("name", ["digits", "a", "my-model-2", "x" * 53])
def test_names_are_accepted(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "Digits", "my_model", "-a", "a-", "a.b", "2nd", "x" * 54, "a b", "a\n", "ä", "$x"]
)
def test_names_are_refused_with_one_that_is_accepted(name):
    with pytest.raises(UsageError, match="RFC 1123") as refused:
        check_name(name)
    assert check_name(str(refused.value).rsplit("Try ", 1)[1].rstrip("."))


@pytest.mark.parametrize("name", ["My Digits_2", "...", "", "日本", "-", "x" * 100, "a-" * 40, "2", "true"])
def test_every_name_can_be_made_valid(name):
    assert check_name(made_valid(name))


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a" * 64, "", "kube.system"])
def test_namespaces_are_refused(name):
    assert check_namespace("1a") == "1a"
    with pytest.raises(UsageError, match="--namespace"):
        check_namespace(name)


@pytest.mark.parametrize("name", ["*.example.org", "localhost", "a.b-c.example"])
def test_host_names_are_accepted(name):
    assert check_hostname(name) == name


@pytest.mark.parametrize(
    "name", ["https://a.example", "a.example:80", "a..b", "A.example", "a.*.b", "", "a." * 130 + "b"]
)
def test_host_names_are_refused(name):
    with pytest.raises(UsageError, match="--hostname"):
        check_hostname(name)


def test_gateways():
    assert gateway_of("public") == ("", "public")
    assert gateway_of("infra/public") == ("infra", "public")
    for text in ("", "/", "a/", "/a", "a/b/c", "A", "a b"):
        with pytest.raises(UsageError, match="--gateway"):
            gateway_of(text)


@pytest.mark.parametrize(
    ("text", "is_it"),
    [
        ("digits", "digits:v"),
        ("digits:1.0", "digits:1.0"),
        ("team/digits", "team/digits:v"),
        ("localhost/digits", "localhost/digits:v"),
        ("registry.example.org:5000/team/my_digits:A-1", "registry.example.org:5000/team/my_digits:A-1"),
        (f"registry.example.org/digits@{DIGEST}", f"registry.example.org/digits@{DIGEST}"),
        (f"digits:1@{DIGEST}", f"digits@{DIGEST}"),
    ],
)
def test_images_are_accepted(text, is_it):
    assert str(image_of(text, "v")) == is_it


@pytest.mark.parametrize(
    "text",
    ["", "my digits", "Digits", "a//b", "/a", "a/", "a:", "a: b", "a:b c", "a@sha256:0", "a@", "a__b_", "http://a/b",
     "registry.example.org:port/a", "-a", "a:" + "x" * 129, "a" * 256, "a\n"],
)  # fmt: skip
def test_images_are_refused(text):
    with pytest.raises(UsageError, match="--image is") as refused:
        image_of(text, "v")
    assert "registry.example.org/team/digits" in str(refused.value)


def test_whether_a_registry_is_named():
    for text in ("localhost/a", "example.org/a", "r:5000/a"):
        assert image_of(text, "v").has_registry
    for text in ("a", "team/a", "a.b", "a:1.0"):
        assert not image_of(text, "v").has_registry


def test_labels():
    assert labels_of(["team=vision", "example.org/cost-centre=42", "empty="]) == {
        "team": "vision",
        "example.org/cost-centre": "42",
        "empty": "",
    }
    for pair in ("team", "=x", "a b=c", "a=b c", "a=-b", "A_/b=c", "a/b/c=d", "a=" + "x" * 64, "a=\n", "x" * 64 + "=a"):
        with pytest.raises(UsageError, match="not a Kubernetes label"):
            labels_of([pair])
    with pytest.raises(UsageError, match="sets itself"):
        labels_of(["app.kubernetes.io/name=x"])
    with pytest.raises(UsageError, match="twice"):
        labels_of(["a=1", "a=2"])
