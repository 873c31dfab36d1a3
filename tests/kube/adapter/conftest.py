"""An API server without nodes, and the adapter over it."""

import pytest

from platform_app.adapters.kubernetes import KubeRayJobs, KubernetesApi
from tests.kube.adapter.objects import NAMESPACE, a_request
from tests.kube.standin import kube_api


@pytest.fixture(scope="module", autouse=True)
def _schemas():
    # The first object of a kind waits for its schema to be read, a megabyte of YAML: longer than the adapter waits.
    with kube_api(groups=("ray.io",)) as kube:
        kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, a_request().manifest])


@pytest.fixture
def kube():
    with kube_api(groups=("ray.io", "kueue.x-k8s.io")) as kube:
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield kube


@pytest.fixture
def api(kube):
    return KubernetesApi.from_kubeconfig(kube.kubeconfig)


@pytest.fixture
def runner(api):
    return KubeRayJobs(api)
