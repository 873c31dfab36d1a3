"""The stand-in lets callers do what Roles and Bindings allow, and names the verb and the resource of all else."""

import json

import pytest
from kubernetes import client

from tests.kube.objects import pod


def _role(kube, *rules, where="team-a", kind="Role", account="slipway") -> None:
    group = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "default"}
    metadata = {"name": f"{account}-{kind.lower()}"} | ({"namespace": where} if kind == "Role" else {})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata["name"]}
    kube.apply(
        [
            {**group, "kind": kind, "metadata": metadata, "rules": list(rules)},
            {**group, "kind": f"{kind}Binding", "metadata": metadata, "subjects": [subject], "roleRef": reference},
        ]
    )


@pytest.fixture
def api(kube, connect):
    """Give the client of a service account that has no rights yet."""
    return connect(kube.service_account("default", "slipway"))


def test_without_a_role_the_verb_and_the_resource_are_said(api):
    with pytest.raises(client.ApiException) as refused:
        client.CoreV1Api(api).read_namespaced_pod_log("w", "team-a")
    assert json.loads(refused.value.body)["message"] == (
        'pods "w" is forbidden: User "system:serviceaccount:default:slipway" cannot get resource "pods/log" in API'
        ' group "" in the namespace "team-a"'
    )
    with pytest.raises(client.ApiException) as refused:
        client.CoreV1Api(api).list_node()
    assert (
        'cannot list resource "nodes" in API group "" at the cluster scope' in json.loads(refused.value.body)["message"]
    )


def test_a_role_holds_in_its_namespace_alone(kube, api):
    _role(kube, {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})
    assert client.CoreV1Api(api).list_namespaced_pod("team-a").items == []
    with pytest.raises(client.ApiException):
        client.CoreV1Api(api).list_namespaced_pod("default")


def test_a_cluster_role_holds_everywhere(kube, api):
    _role(kube, {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}, kind="ClusterRole")
    kube.apply(pod("w"))
    assert len(client.CoreV1Api(api).list_pod_for_all_namespaces().items) == 1


def test_a_right_to_one_object_is_none_to_another(kube, api):
    kube.apply([pod("mine"), pod("yours")])
    _role(kube, {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["mine"], "verbs": ["get"]})
    assert client.CoreV1Api(api).read_namespaced_pod("mine", "team-a").metadata.name == "mine"
    with pytest.raises(client.ApiException):
        client.CoreV1Api(api).read_namespaced_pod("yours", "team-a")


def test_a_caller_can_ask_what_it_may(kube, api):
    _role(kube, {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]})

    def may(verb: str) -> bool:
        attributes = {"verb": verb, "group": "ray.io", "resource": "rayjobs", "namespace": "team-a"}
        review = client.AuthorizationV1Api(api).create_self_subject_access_review(
            {"spec": {"resourceAttributes": attributes}}
        )
        return review.status.allowed

    assert may("create")
    assert not may("delete")


def test_a_caller_without_credentials_is_nobody(kube, connect):
    stranger = kube.home / "stranger"
    known = kube.kubeconfig.read_text()
    stranger.write_text(known.replace('"token": "', '"token": "not-'))
    with pytest.raises(client.ApiException) as refused:
        client.CoreV1Api(connect(stranger)).list_node()
    assert refused.value.status == 401
