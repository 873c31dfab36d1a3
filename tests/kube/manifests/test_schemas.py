"""Every object is what the API server and the operators of the CRDs allow."""

import kubernetes_validate
import pytest
import yaml

from tests.kube.manifests import (
    BOOTSTRAP,
    EVERYTHING,
    K8S,
    OVERLAYS,
)

BUILTIN_GROUPS = (
    "",
    "apps",
    "policy",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
)


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
