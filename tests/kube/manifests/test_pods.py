"""Pods: containers, requests, priorities, and what they may do."""

import json

from platform_app.manifests import ray_environment
from platform_app.specs import load_catalog
from tests.kube.manifests import (
    built,
    kinds,
    objects,
    pod_specs,
    ray_cluster,
)

CATALOG = load_catalog()


def test_rays_container_is_the_first_of_its_pod(overlay):
    firsts = {pod["containers"][0]["name"] for name, pod in pod_specs(overlay).items() if name.startswith("ray ")}
    assert firsts == {"ray-head", "ray-worker"}


def test_requests_are_limits_for_ray_advertises_its_limits(overlay):
    everyone = [c for pod in pod_specs(overlay).values() for c in pod["containers"]]
    for holder in (*everyone, ray_cluster(overlay)["autoscalerOptions"]):
        assert holder["resources"]["requests"] == holder["resources"]["limits"]


def test_every_pod_has_a_priority_class_that_exists_and_the_platforms_have_the_highest(overlay):
    known = {o["metadata"]["name"] for o in objects(built("bootstrap")) if o["kind"] == "PriorityClass"}
    for name, pod in pod_specs(overlay).items():
        is_worker = name.removeprefix("ray ") in {group.name for group in CATALOG.worker_groups}
        assert pod["priorityClassName"] in known
        assert (pod["priorityClassName"] == "slipway-platform") == (not is_worker), name


def test_pods_run_without_root_and_without_a_way_to_it(overlay):
    for name, pod in pod_specs(overlay).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_grace_periods_are_longer_than_rays_drain(overlay):
    drain = int(ray_environment(CATALOG)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    for name, pod in pod_specs(overlay).items():
        if name.startswith("ray "):
            assert pod["terminationGracePeriodSeconds"] > drain, name


def test_only_the_head_and_mlflow_have_the_databases_password(overlay):
    holders = {name for name, pod in pod_specs(overlay).items() if "slipway-database" in json.dumps(pod)}
    assert holders == {"ray head", "Deployment/mlflow", "StatefulSet/postgres"}


def test_no_secret_is_committed(overlay):
    assert kinds(overlay, "Secret") == []


def test_objects_have_the_labels_that_kubernetes_recommends(overlay):
    for o in overlay:
        missing = {f"app.kubernetes.io/{key}" for key in ("name", "component", "part-of")} - set(
            o["metadata"]["labels"]
        )
        assert not missing, (o["kind"], o["metadata"]["name"])
