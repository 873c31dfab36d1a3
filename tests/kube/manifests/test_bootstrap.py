"""What is installed once for a cluster: device plugin, monitoring, node pools, charts."""

import json
import re
from pathlib import Path

import pytest
import yaml

from platform_app.manifests.names import SPOT_LABELS
from platform_app.specs import load_catalog
from tests.kube.manifests import (
    K8S,
    built,
    kinds,
    objects,
    one,
    values,
)

CATALOG = load_catalog()


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
