"""Worker groups as the autoscaler reads them: from zero, spot first."""

import re
import tomllib

from platform_app.manifests import ray_environment, worker_group
from platform_app.specs import load_catalog
from tests.kube.manifests import (
    K8S,
    env_of,
    one,
    pod_specs,
    ray_cluster,
)

CATALOG = load_catalog()


def test_without_the_autoscaler_enabled_zero_workers_stay_zero(overlay):
    cluster = ray_cluster(overlay)
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2", "unset is not v2 to the operator"
    env = env_of(cluster["headGroupSpec"]["template"]["spec"]["containers"][0])
    assert "RAY_enable_autoscaler_v2" not in env, "refused beside `version`"


def test_patches_of_the_overlays_leave_every_worker_group_whole(overlay):
    groups = ray_cluster(overlay)["workerGroupSpecs"]
    (environment,) = {g["template"]["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"] for g in groups}
    assert groups == [worker_group(group, CATALOG, environment) for group in CATALOG.worker_groups]


def test_rays_autoscaler_reads_the_cluster_as_it_is_meant(overlay):
    from ray.autoscaler._private.kuberay.autoscaling_config import _generate_available_node_types_from_ray_cr_spec

    types = _generate_available_node_types_from_ray_cr_spec(ray_cluster(overlay))
    head = types.pop("headgroup")
    assert (head["resources"]["CPU"], head["max_workers"]) == (0, 0)
    assert "GPU" not in head["resources"] or head["resources"]["GPU"] == 0
    for group in CATALOG.worker_groups:
        found = types.pop(group.name)
        assert (found["resources"]["CPU"], found["resources"].get("GPU", 0)) == (group.cpus, group.gpus)
        assert (found["min_workers"], found["max_workers"]) == (group.min_workers, group.max_workers)
        assert found["labels"]["ray.io/market-type"] == group.market
    assert types == {}


def test_all_groups_start_at_zero_and_name_both_bounds(overlay):
    for group in ray_cluster(overlay)["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]


def test_spot_is_asked_first_and_on_demand_when_it_does_not_come(overlay):
    priorities = {group["groupName"]: group["priority"] for group in ray_cluster(overlay)["workerGroupSpecs"]}
    assert priorities["gpu-spot"] > priorities["gpu-ondemand"]


def test_a_group_without_stock_is_set_aside_by_the_autoscaler_in_minutes_and_not_in_an_hour(overlay):
    reference = ray_cluster(overlay)["autoscalerOptions"]["envFrom"][0]["configMapRef"]["name"]
    data = one(overlay, "ConfigMap", reference)["data"]
    assert int(data["RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"]) <= 600
    assert data == ray_environment(CATALOG)


def test_the_version_that_is_said_is_the_images_and_the_installed_one(overlay):
    project = tomllib.loads((K8S.parent / "pyproject.toml").read_text())["project"]
    (pin,) = (d.partition("==")[2] for d in project["dependencies"] if d.startswith("ray["))
    assert ray_cluster(overlay)["rayVersion"] == pin
    dockerfile = (K8S / "image" / "Dockerfile").read_text()
    assert set(re.findall(r"BASE=([\d.]+)-", dockerfile)) == {pin}
    tags = {
        c["image"].partition(":")[2]
        for pod in pod_specs(overlay).values()
        for c in pod["containers"]
        if "slipway" in c["image"]
    }
    assert tags == {project["version"]}


def test_images_that_ray_no_longer_publishes_are_nowhere():
    dockerfile = (K8S / "image" / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)[0] == "rayproject/ray:${BASE}"
