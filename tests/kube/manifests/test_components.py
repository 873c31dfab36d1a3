"""Components that an overlay may take or leave."""

from platform_app.launch import INGRESS_ENV
from platform_app.manifests.names import TRACKING_URI
from tests.kube.manifests import (
    K8S,
    built,
    built_with,
    env_of,
    kinds,
    objects,
    ray_cluster,
    values,
)


def test_the_images_of_an_overlay_are_those_of_dedicated_jobs_too(overlay):
    groups = {g["groupName"]: g["template"]["spec"]["containers"][0] for g in ray_cluster(overlay)["workerGroupSpecs"]}
    head = ray_cluster(overlay)["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert env_of(head)["SLIPWAY_RAY_IMAGE"] == head["image"] == groups["cpu"]["image"]
    assert env_of(head)["SLIPWAY_RAY_CUDA_IMAGE"] == groups["gpu-spot"]["image"]


def test_kueue_takes_the_place_of_the_teams_compute_quota(tmp_path):
    found = objects(built_with(tmp_path, "overlays/prod", "kueue"))
    quotas = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in kinds(found, "ResourceQuota")}
    assert {name for _, name in quotas} == {"jobs", "no-platform-priority"}
    assert {o["apiVersion"] for o in found if "kueue" in o["apiVersion"]} == {"kueue.x-k8s.io/v1beta2"}
    head = ray_cluster(found)["headGroupSpec"]["template"]["spec"]["containers"][0]
    queues = kinds(found, "LocalQueue")
    assert {queue["metadata"]["name"] for queue in queues} == {env_of(head)["SLIPWAY_KUEUE_QUEUE"]}


def test_haproxy_is_the_proxy_of_all_rays_containers_where_an_overlay_asks_for_it(tmp_path):
    for found, has_it in (
        (objects(built("overlays/prod")), False),
        (objects(built_with(tmp_path, "overlays/prod", "haproxy")), True),
    ):
        (environment,) = (o for o in kinds(found, "ConfigMap") if o["metadata"]["name"].startswith("ray-environment"))
        assert (INGRESS_ENV.items() <= environment["data"].items()) is has_it
        assert environment["data"]["RAY_AUTH_MODE"] == "token"
        head = ray_cluster(found)["headGroupSpec"]["template"]["spec"]["containers"][0]
        assert head["envFrom"] == [{"configMapRef": {"name": environment["metadata"]["name"]}}]


def test_notebooks_have_the_client_set_up_the_platforms_own_image_and_no_token_of_rays():
    user = values("jupyterhub")["singleuser"]
    assert user["image"]["name"] == "slipway-notebook"
    assert user["extraEnv"]["SLIPWAY_URL"] == "http://slipway-serve-svc.slipway.svc:8000"
    assert user["extraEnv"]["MLFLOW_TRACKING_URI"] == TRACKING_URI
    assert "RAY_AUTH_TOKEN" not in user["extraEnv"]
    assert {port["port"] for rule in user["networkPolicy"]["egress"] for port in rule["ports"]} == {8000, 5000}


def test_cuda_devices_are_chosen_by_nobody_but_ray():
    assert not any("CUDA_VISIBLE_DEVICES" in path.read_text() for path in K8S.rglob("*.yaml"))
