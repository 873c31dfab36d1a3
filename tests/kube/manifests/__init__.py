"""Builds the kustomizations of `k8s/` and finds objects in what comes out."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[3] / "k8s"
CHECKER = K8S.parents[1] / "shared" / "tools" / "check_manifests.py"
"""Checks objects by the CRDs of KubeRay, Kueue, Karpenter and the Prometheus operator; not part of this repository."""

OVERLAYS = ("overlays/dev", "overlays/prod")
BOOTSTRAP = ("bootstrap", "bootstrap/monitoring", "bootstrap/karpenter/dev", "bootstrap/karpenter/prod")

EVERYTHING = "overlays/prod with kueue and jupyterhub"

Object = dict[str, Any]


@cache
def built(kustomization: str) -> str:
    """Build a kustomization by its path below `k8s/`."""
    return _kustomize(K8S / kustomization)


def built_with(folder: Path, overlay: str, *components: str) -> str:
    """Build an overlay with more components, as a user's own overlay would have it."""
    below = os.path.relpath(K8S, folder.resolve())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{below}/{overlay}"],
        "components": [f"{below}/components/{component}" for component in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return _kustomize(folder)


@cache
def objects(text: str) -> list[Object]:
    """Read what was built. Read once: a test changes nothing of it."""
    return [document for document in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]


def one(found: list[Object], kind: str, name: str | None = None, namespace: str | None = None) -> Object:
    """Give the one object of a kind and name."""
    (match,) = (
        o
        for o in found
        if o["kind"] == kind
        and name in (None, o["metadata"]["name"])
        and namespace in (None, o["metadata"].get("namespace"))
    )
    return match


def kinds(found: list[Object], kind: str) -> list[Object]:
    """Give all objects of a kind."""
    return [o for o in found if o["kind"] == kind]


def ray_cluster(found: list[Object]) -> Object:
    """Give the cluster inside the platform's RayService."""
    spec: Object = one(found, "RayService")["spec"]["rayClusterConfig"]
    return spec


def pod_specs(found: list[Object]) -> dict[str, Object]:
    """Give every pod that the objects lead to, by a name that says where it is from."""
    pods = {f"{o['kind']}/{o['metadata']['name']}": o for o in found if o["kind"] in ("Deployment", "StatefulSet")}
    specs = {name: o["spec"]["template"]["spec"] for name, o in pods.items()}
    cluster = ray_cluster(found)
    specs["ray head"] = cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        specs[f"ray {group['groupName']}"] = group["template"]["spec"]
    return specs


def values(chart: str) -> Object:
    """Read the values of a chart."""
    read: Object = yaml.safe_load((K8S / "bootstrap" / f"{chart}.yaml").read_text())
    return read


def _kustomize(folder: Path) -> str:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: kustomizations are not built here")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def env_of(container: Object) -> dict[str, Any]:
    """Read a container's environment: values, and where those that are not said here come from."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}
