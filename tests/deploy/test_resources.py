"""Quantities of Kubernetes: what they mean, and which make no sense."""

import pytest

from keensight.deploy.resources import Resources, bytes_of, cores_of
from keensight.errors import UsageError


def test_quantities_mean_what_kubernetes_says():
    # https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    assert [float(cores_of(text, "--cpu")) for text in ("2", "0.5", "500m", "1.5")] == [2, 0.5, 0.5, 1.5]
    assert bytes_of("512Mi", "--memory") == 512 * 1024**2
    assert bytes_of("0.5G", "--memory") == 500_000_000
    assert bytes_of("1000000000", "--memory") == 10**9


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cpu": "2", "cpu_limit": "1"}, "--cpu is 2 and its limit 1"),
        ({"cpu": "0"}, "it must be above zero"),
        ({"cpu": "0.0001"}, "it must be above zero"),
        ({"cpu": "-1"}, "not a quantity of processors"),
        ({"cpu": "half"}, "not a quantity of processors"),
        ({"cpu": "2 cores"}, "not a quantity of processors"),
        ({"cpu": "1Gi"}, "not a quantity of processors"),
        ({"cpu_limit": ""}, "--cpu-limit is ''"),
        ({"cpu": "1e3"}, "not a quantity"),
        ({"memory": "2Gi", "memory_limit": "1Gi"}, "--memory is 2Gi and its limit 1Gi"),
        ({"memory": "0"}, "it must be above zero"),
        ({"memory": "512m"}, "thousandths of a byte"),
        ({"memory": "512MB"}, "not a quantity of memory"),
        ({"memory": "1gi"}, "not a quantity of memory"),
        ({"memory": "10Mi", "memory_limit": "64Mi"}, "killed before it answers"),
        ({"memory": '1Gi"\n'}, "not a quantity of memory"),
    ],
)
def test_nonsense_is_refused(given, says):
    with pytest.raises(UsageError, match=says):
        Resources(**given)
