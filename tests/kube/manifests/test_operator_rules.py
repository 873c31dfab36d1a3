"""What the operator would refuse after the API server took it."""

from platform_app.domain.preflight import preflight
from platform_app.manifests import ray_environment
from platform_app.specs import load_catalog
from tests.kube.manifests import (
    env_of,
    one,
    pod_specs,
    ray_cluster,
)

CATALOG = load_catalog()


def test_start_parameters_are_strings_and_say_nothing_that_has_a_field_of_its_own(overlay):
    cluster = ray_cluster(overlay)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert "labels" not in group["rayStartParams"]
        if "resources" in group:
            assert not {"num-cpus", "num-gpus", "memory", "resources"} & set(group["rayStartParams"])


def test_pods_of_ray_are_never_restarted_in_place_under_autoscaler_v2(overlay):
    assert {pod["restartPolicy"] for name, pod in pod_specs(overlay).items() if name.startswith("ray ")} == {"Never"}


def test_no_field_needs_a_feature_gate_that_is_off(overlay):
    gated = {"networkPolicy", "tlsOptions", "historyServerOptions", "idleTerminationOptions"}
    cluster = ray_cluster(overlay)
    assert not gated & set(cluster)
    assert cluster.get("gcsFaultToleranceOptions", {}).get("backend", "redis") == "redis", "RocksDB is behind a gate"
    assert "upgradeStrategy" not in cluster, "only on a RayCluster that a person made"


def test_the_operators_own_rules_accept_it(overlay):
    assert preflight(one(overlay, "RayService")) == ()


def test_names_leave_room_for_what_the_operator_appends(overlay):
    assert len(one(overlay, "RayService")["metadata"]["name"]) <= 47


def test_token_authentication_is_said_literally_with_the_secret_that_holds_it(overlay):
    cluster = ray_cluster(overlay)
    assert cluster["authOptions"] == {"mode": "token", "secretName": "slipway-ray-token"}
    assert ray_environment(CATALOG)["RAY_AUTH_MODE"] == "token"


def test_what_the_head_knows_survives_it_in_production_by_the_field_and_not_by_the_variable(prod):
    cluster = ray_cluster(prod)
    options = cluster["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "redis.slipway.svc:6379"
    container = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert not {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"} & set(env_of(container))
    assert "--appendonly" in one(prod, "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"][0]["args"]
