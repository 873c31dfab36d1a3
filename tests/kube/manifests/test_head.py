"""The head: Serve and the control plane on it, and where it stands."""

import re

import yaml

from platform_app.manifests.names import SPOT_LABELS
from tests.kube.manifests import (
    K8S,
    env_of,
    kinds,
    one,
    pod_specs,
    ray_cluster,
)


def test_serve_reads_the_configuration_and_listens_outside_of_the_pod(overlay):
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(yaml.safe_load(one(overlay, "RayService")["spec"]["serveConfigV2"]))
    assert config.http_options.host == "0.0.0.0"
    assert [app.import_path for app in config.applications] == ["platform_app.app:build"]


def test_the_control_plane_is_built_and_runs_on_the_head_where_its_settings_are(overlay):
    from ray.serve._private.application_state import _get_shared_build_app_label_selector
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(yaml.safe_load(one(overlay, "RayService")["spec"]["serveConfigV2"]))
    selector = _get_shared_build_app_label_selector(config.applications[0])
    assert selector == {"ray.io/node-group": "head"}
    assert ray_cluster(overlay)["headGroupSpec"]["labels"] == selector, "the operator's own name of it is headgroup"
    source = (K8S.parent / "platform_app" / "app.py").read_text()
    assert set(re.findall(r'^    name="([\w-]+)"', source, re.MULTILINE)) == {
        deployment.name for deployment in config.applications[0].deployments
    }


def test_the_head_has_every_setting_that_the_control_plane_requires(overlay):
    from platform_app.settings import Settings

    container = ray_cluster(overlay)["headGroupSpec"]["template"]["spec"]["containers"][0]
    given = set(env_of(container)) | set(
        one(overlay, "ConfigMap", container["envFrom"][0]["configMapRef"]["name"])["data"]
    )
    known = {f"SLIPWAY_{name.upper()}": field for name, field in Settings.model_fields.items()}
    assert {name for name, field in known.items() if field.is_required()} <= given
    assert {name for name in given if name.startswith("SLIPWAY_")} <= set(known), "a misspelt one would be ignored"
    catalog = next(
        v for v in ray_cluster(overlay)["headGroupSpec"]["template"]["spec"]["volumes"] if v["name"] == "catalog"
    )
    data = one(overlay, "ConfigMap", catalog["configMap"]["name"])["data"]
    assert yaml.safe_load(data["catalog.yaml"]) == yaml.safe_load(
        (K8S.parent / "platform_app/catalog.yaml").read_text()
    )


def test_a_variable_is_put_together_only_of_variables_before_it_in_the_same_list(overlay):
    for pod in pod_specs(overlay).values():
        for container in pod["containers"]:
            known = set()
            for entry in container.get("env", []):
                assert set(re.findall(r"\$\((\w+)\)", entry.get("value", ""))) <= known, entry
                known.add(entry["name"])


def test_the_head_is_off_spot_on_every_cloud_and_not_evicted(overlay):
    template = ray_cluster(overlay)["headGroupSpec"]["template"]
    required = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    assert {e["key"]: e["values"] for e in term["matchExpressions"] if e["operator"] == "NotIn"} == {
        key: [value] for key, value in SPOT_LABELS.items()
    }
    assert template["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }
    budget = one(overlay, "PodDisruptionBudget")["spec"]
    assert budget["selector"] == {"matchLabels": {"ray.io/node-type": "head"}}
    assert budget["minAvailable"] == 1, "maxUnavailable is not reckoned for pods without a scale subresource"


def test_no_service_of_the_platform_stands_on_a_spot_node(overlay):
    for o in [*kinds(overlay, "Deployment"), *kinds(overlay, "StatefulSet")]:
        assert "nodeAffinity" in o["spec"]["template"]["spec"]["affinity"], o["metadata"]["name"]


def test_no_task_lands_on_the_head_and_it_sees_no_gpu(overlay):
    head = ray_cluster(overlay)["headGroupSpec"]
    assert (head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]) == ("0", "0")
    assert env_of(head["template"]["spec"]["containers"][0])["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_the_head_declares_the_ports_that_the_operator_does_not(overlay):
    ports = {
        p["name"]: p["containerPort"]
        for p in ray_cluster(overlay)["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert ports.items() >= {"metrics": 8080, "as-metrics": 44217, "dash-metrics": 44227, "serve": 8000}.items()
