"""Manifests as kustomize builds them: each test is a trap that they must not fall into."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from platform_app.adapters.kubernetes import api
from platform_app.domain.preflight import preflight
from platform_app.manifests import ray_environment, worker_group
from platform_app.manifests.names import SPOT_LABELS, TRACKING_URI
from platform_app.specs import load_catalog
from tests.kube.manifests import (
    BOOTSTRAP,
    CHECKER,
    K8S,
    OVERLAYS,
    built,
    built_with,
    kinds,
    objects,
    one,
    pod_specs,
    ray_cluster,
    values,
)

CATALOG = load_catalog()
EVERYTHING = "overlays/prod with kueue and jupyterhub"
BUILTIN_GROUPS = (
    "",
    "apps",
    "policy",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
)


@pytest.fixture(params=OVERLAYS)
def overlay(request):
    return objects(built(request.param))


@pytest.fixture
def prod():
    return objects(built("overlays/prod"))


@pytest.fixture
def dev():
    return objects(built("overlays/dev"))


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """What the checker of the schemas says of every build, by the name of the build."""
    if not CHECKER.exists():
        pytest.skip(f"no CRD schemas here: {CHECKER} is missing")
    folder = tmp_path_factory.mktemp("builds")
    texts = {name: built(name) for name in (*OVERLAYS, *BOOTSTRAP)}
    texts[EVERYTHING] = built_with(tmp_path_factory.mktemp("overlay"), "overlays/prod", "kueue", "jupyterhub")
    files = {name: folder / f"{number}.yaml" for number, name in enumerate(texts)}
    for name, file in files.items():
        file.write_text(texts[name])
    command = [sys.executable, CHECKER, *files.values()]
    *lines, summary = subprocess.run(command, capture_output=True, text=True, timeout=110).stdout.splitlines()
    assert f"objects checked in {len(files)} files" in summary
    return {name: [line for line in lines if line.startswith(f"{file}:")] for name, file in files.items()}


def env_of(container):
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


# ---- schemas


@pytest.mark.parametrize("build", [*OVERLAYS, *BOOTSTRAP, EVERYTHING])
def test_every_object_is_what_the_crds_and_the_strict_schemas_allow(build, problems):
    assert problems[build] == []


def plain_files():
    """Files of whole objects: neither kustomize's own, nor patches, nor values of charts."""
    for path in sorted(K8S.rglob("*.yaml")):
        documents = list(yaml.safe_load_all(path.read_text()))
        if path.name != "kustomization.yaml" and all(isinstance(d, dict) and "kind" in d for d in documents):
            yield pytest.param(documents, id=str(path.relative_to(K8S)))


@pytest.mark.parametrize("documents", list(plain_files()))
def test_built_in_kinds_pass_the_strict_schemas_also_without_kubectl(documents):
    for document in documents:
        if document["apiVersion"].rpartition("/")[0] in BUILTIN_GROUPS:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


# ---- scaling from zero


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


# ---- what the operator would refuse after the API server took it


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


# ---- Serve


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


# ---- the head


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


# ---- pods


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


# ---- network


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


# ---- storage


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


# ---- access


def test_the_control_plane_has_no_verb_and_no_resource_by_wildcard_and_writes_only_what_is_its_own(overlay):
    writing = {}
    for role in [*kinds(overlay, "Role"), *kinds(overlay, "ClusterRole")]:
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            if written := set(rule["verbs"]) - {"get", "list", "watch"}:
                writing.setdefault(role["metadata"]["name"], set()).update(
                    (r, verb) for r in rule["resources"] for verb in written
                )
    assert {resource for _, found in writing.items() for resource, _ in found} <= {
        "rayjobs",
        "rayservices",
        "rayclusters",
    }
    assert "slipway-cluster" not in writing, "cluster-wide, it only reads"
    assert {o["roleRef"]["name"] for o in kinds(overlay, "ClusterRoleBinding")} == {"slipway-cluster"}


def test_the_control_plane_has_exactly_the_verbs_that_its_adapter_uses(overlay):
    uses = {"list": {"list"}, "_read": {"list"}, "get": {"get"}, "create": {"create"}, "delete": {"delete"}}
    uses |= {"json_patch": {"patch"}}
    needed = set()
    for module in Path(api.__file__).parent.glob("*.py"):
        text = module.read_text()
        for verb, resource in re.findall(r"(?:api\.|self\.)(\w+)\(\s*([A-Z_]+)\b", text):
            needed |= {(getattr(api, resource).plural, used) for used in uses.get(verb, ())}
        needed |= {("pods/log", "get")} if "api.log(" in text else set()
    granted = {
        (resource, verb)
        for role in [*kinds(overlay, "Role"), *kinds(overlay, "ClusterRole")]
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == needed


# ---- bootstrap


def test_time_slicing_is_loaded_by_the_chart_renamed_and_refused_above_one():
    plugin = values("nvidia-device-plugin")
    assert plugin["config"]["default"] in plugin["config"]["map"]
    sharing = yaml.safe_load(plugin["config"]["map"]["shared-4"])["sharing"]["timeSlicing"]
    assert sharing["renameByDefault"] is True
    assert sharing["failRequestsGreaterThanOne"] is True
    assert yaml.safe_load(plugin["config"]["map"]["mig-mixed"])["flags"]["migStrategy"] == "mixed"
    assert plugin["gfd"]["enabled"] is True
    assert "nvidia.com/gpu.present" not in json.dumps(plugin.get("nodeSelector", {})), (
        "GFD would wait for its own label"
    )


@pytest.mark.parametrize("chart", ["nvidia-device-plugin", "dcgm-exporter"])
def test_what_watches_gpus_stands_on_tainted_nodes_of_every_cloud(chart):
    keys = {toleration["key"] for toleration in values(chart)["tolerations"]}
    assert keys == {"nvidia.com/gpu", "spot", *SPOT_LABELS}


def test_the_exporter_stays_off_nodes_without_gpus_and_its_labels_are_those_of_the_rules():
    exporter = values("dcgm-exporter")
    assert exporter["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert exporter["serviceMonitor"]["honorLabels"] is False
    assert exporter["image"]["tag"].startswith("4.5.3-4.8.2"), "the next one renamed Hostname"


def test_an_idle_gpu_is_seen_under_mig_and_an_xid_is_not_counted_as_a_number():
    rule = one(objects(built("bootstrap/monitoring")), "PrometheusRule")
    rules = {r["alert"]: r["expr"] for group in rule["spec"]["groups"] for r in group["rules"]}
    assert "DCGM_FI_PROF_GR_ENGINE_ACTIVE" in rules["GpuAllocatedButIdle"]
    assert "exported_pod" in rules["GpuAllocatedButIdle"]
    assert "increase(" not in rules["GpuXid"]
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_every_port_of_every_ray_pod_in_every_namespace_is_read(prod):
    ports = {}
    for monitor in kinds(prod, "PodMonitor"):
        assert monitor["spec"]["namespaceSelector"] == {"any": True}
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        ports[monitor["spec"]["selector"]["matchLabels"]["ray.io/node-type"]] = [
            endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]
        ]
    assert ports == {"head": ["metrics", "as-metrics", "dash-metrics"], "worker": ["metrics"]}


def test_grafana_finds_the_dashboard(prod):
    dashboards = one(prod, "ConfigMap", "slipway-dashboards")
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboards["data"]["slipway.json"])["panels"]


@pytest.mark.parametrize(("environment", "minutes"), [("dev", 2), ("prod", 5)])
def test_a_machine_goes_the_promised_minutes_after_its_last_work(environment, minutes):
    idle = CATALOG.kubernetes.idle_timeout_seconds
    pools = kinds(objects(built(f"bootstrap/karpenter/{environment}")), "NodePool")
    assert len(pools) == len(CATALOG.worker_groups) + 1
    for pool in (p for p in pools if p["metadata"]["name"] != "platform"):
        assert idle + 60 * int(pool["spec"]["disruption"]["consolidateAfter"].removesuffix("m")) == 60 * minutes
    if environment == "dev":
        flags = values("cluster-autoscaler")["extraArgs"]
        # Either of the two, left at its default, holds every node for 10 minutes.
        assert flags["scale-down-unneeded-time"] == flags["scale-down-delay-after-add"] == "1m"
    else:
        text = (K8S / "bootstrap" / "cluster-autoscaler.yaml").read_text()
        assert "scale-down-unneeded-time=4m" in text and "scale-down-delay-after-add=4m" in text  # noqa: PT018


def test_the_storage_driver_runs_wherever_workers_do():
    assert values("csi-driver-nfs")["node"]["tolerations"] == [{"operator": "Exists"}]


def test_charts_have_their_version_in_their_install_line():
    for chart, version in {
        "kuberay-operator": "1.7.0",
        "nvidia-device-plugin": "0.20.0",
        "dcgm-exporter": "4.8.2",
        "csi-driver-nfs": "4.13.4",
        "jupyterhub": "4.4.0",
        "prometheus": "88.3.0",
        "cluster-autoscaler": "9.51.0",
    }.items():
        assert f"--version {version}" in (K8S / "bootstrap" / f"{chart}.yaml").read_text()


def test_crds_larger_than_an_annotation_are_applied_by_the_server():
    for path in (
        Path(K8S / "bootstrap" / "kuberay-operator.yaml"),
        K8S / "components" / "kueue" / "kustomization.yaml",
    ):
        assert re.search(r"kubectl apply --server-side", path.read_text())


# ---- optional components


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


def test_notebooks_have_the_client_set_up_the_platforms_own_image_and_no_token_of_rays():
    user = values("jupyterhub")["singleuser"]
    assert user["image"]["name"] == "slipway-notebook"
    assert user["extraEnv"]["SLIPWAY_URL"] == "http://slipway-serve-svc.slipway.svc:8000"
    assert user["extraEnv"]["MLFLOW_TRACKING_URI"] == TRACKING_URI
    assert "RAY_AUTH_TOKEN" not in user["extraEnv"]
    assert {port["port"] for rule in user["networkPolicy"]["egress"] for port in rule["ports"]} == {8000, 5000}


def test_cuda_devices_are_chosen_by_nobody_but_ray():
    assert not any("CUDA_VISIBLE_DEVICES" in path.read_text() for path in K8S.rglob("*.yaml"))
