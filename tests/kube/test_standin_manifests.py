"""The committed manifests run on the stand-in unchanged: they are admitted, and a head and groups come of them."""

import shutil

import pytest

from tests.kube.manifests import OVERLAYS, built, objects, one
from tests.kube.objects import namespace
from tests.kube.standin.events import Recorder
from tests.kube.standin.operator.clusters import Clusters

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")


@pytest.fixture(params=OVERLAYS)
def installed(request, kube):
    """Give the objects of an overlay that was applied after the bootstrap, as the cluster page says."""
    kube.apply(namespace("monitoring"))
    kube.apply(objects(built("bootstrap")))
    found = objects(built(request.param))
    kube.apply(found)
    return found


def test_an_overlay_is_admitted_whole(kube, installed):
    stored = {(kind.name, obj["metadata"]["name"]) for kind in kube.api.kinds for obj in kube.list(kind.resource)}
    assert {(obj["kind"], obj["metadata"]["name"]) for obj in installed} <= stored


def test_the_platforms_own_cluster_becomes_a_head_and_groups_at_zero(kube, installed):
    service = one(installed, "RayService")
    where, spec = service["metadata"]["namespace"], service["spec"]["rayClusterConfig"]
    kube.apply(
        {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "p", "namespace": where}, "spec": spec}
    )
    kube.call(Clusters(kube.api, Recorder(kube.api, "kuberay-operator")).step)
    assert [said for said in kube.events(where) if said[0].startswith(("Failed", "Invalid"))] == []
    assert [pod["metadata"]["name"] for pod in kube.list("pods", where, "ray.io/cluster=p")] == ["p-head"]
