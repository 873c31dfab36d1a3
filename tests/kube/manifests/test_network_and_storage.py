"""Who reaches whom, and who sees which files."""

import json

import pytest

from platform_app.manifests.names import TRACKING_URI
from platform_app.specs import load_catalog
from tests.kube.manifests import (
    built_with,
    env_of,
    kinds,
    objects,
    one,
    pod_specs,
    ray_cluster,
)

CATALOG = load_catalog()


def test_rays_dashboard_and_gcs_are_reached_by_ray_and_the_operator_alone(overlay):
    """Whoever reaches them with the one token runs code as the platform."""
    open_ports = {}
    for policy in kinds(overlay, "NetworkPolicy"):
        if policy["metadata"]["namespace"] == "slipway" and "ray.io" in json.dumps(policy["spec"]["podSelector"]):
            for rule in policy["spec"].get("ingress", []):
                who = json.dumps(rule.get("from", "everyone"))
                open_ports.setdefault(who, set()).update(port["port"] for port in rule.get("ports", [{"port": "all"}]))
    assert open_ports['"everyone"'] == {8000}
    everywhere = {who for who, ports in open_ports.items() if ports & {"all", 6379, 8265, 10001}}
    assert len(everywhere) == 2
    assert all("kuberay-system" in who or "is-ray-node" in who for who in everywhere)


def test_what_no_policy_names_is_closed(overlay):
    for namespace in ("slipway", *(f"team-{team.name}" for team in CATALOG.teams)):
        assert any(
            policy["spec"]["podSelector"] == {} and policy["spec"]["policyTypes"] == ["Ingress"]
            for policy in kinds(overlay, "NetworkPolicy")
            if policy["metadata"]["namespace"] == namespace
        )


def test_nothing_is_published_outside_of_the_cluster(overlay):
    assert kinds(overlay, "Ingress") == []
    assert all(o["spec"].get("type", "ClusterIP") == "ClusterIP" for o in kinds(overlay, "Service"))
    assert ray_cluster(overlay)["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_users_code_does_not_get_the_nodes_credentials(overlay):
    policies = [p for p in kinds(overlay, "NetworkPolicy") if p["metadata"]["name"] == "no-metadata"]
    selected = {p["metadata"]["namespace"]: p["spec"]["podSelector"] for p in policies}
    assert selected.pop("slipway") == {"matchLabels": {"ray.io/node-type": "worker"}}
    assert selected == {f"team-{team.name}": {} for team in CATALOG.teams}
    for policy in policies:
        pods, outside = policy["spec"]["egress"]
        assert pods == {"to": [{"namespaceSelector": {}}]}, "DNS, the head and the API stay within reach"
        assert "169.254.169.254/32" in outside["to"][0]["ipBlock"]["except"]


def test_mlflow_answers_to_the_name_by_which_it_is_called(overlay):
    env = env_of(one(overlay, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0])
    assert TRACKING_URI.removeprefix("http://") in env["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


def test_every_namespace_sees_the_same_files(overlay):
    claims = kinds(overlay, "PersistentVolumeClaim")
    assert {c["metadata"]["namespace"] for c in claims} == {"slipway", *(f"team-{team.name}" for team in CATALOG.teams)}
    assert {c["spec"]["storageClassName"] for c in claims} == {"slipway-shared"}
    assert all(c["spec"]["accessModes"] == ["ReadWriteMany"] for c in claims)


@pytest.mark.parametrize("component", ["storage-nfs", "storage-efs", "storage-filestore"])
def test_all_claims_of_the_class_lead_to_one_folder_which_outlives_them(tmp_path, component):
    storage = one(objects(built_with(tmp_path, "base", component)), "StorageClass", "slipway-shared")
    folder = storage["parameters"].get("subDir") or storage["parameters"].get("subPathPattern")
    assert folder
    assert "${" not in folder, "a template gives each claim a folder of its own"
    assert storage["reclaimPolicy"] == "Retain"


def test_volumes_of_one_machine_are_one_folder(dev):
    volumes = kinds(dev, "PersistentVolume")
    assert len({volume["spec"]["hostPath"]["path"] for volume in volumes}) == 1
    assert len(volumes) == 1 + len(CATALOG.teams)


def test_neither_home_nor_rays_own_folder_nor_a_database_is_on_the_shared_filesystem(overlay):
    for name, pod in pod_specs(overlay).items():
        shared = {v["name"] for v in pod.get("volumes", []) if "persistentVolumeClaim" in v}
        for container in pod["containers"]:
            paths = [m["mountPath"] for m in container.get("volumeMounts", []) if m["name"] in shared]
            assert all(path == "/mnt/slipway" for path in paths), name
    assert {"data"} == {
        c["metadata"]["name"] for o in kinds(overlay, "StatefulSet") for c in o["spec"]["volumeClaimTemplates"]
    }
