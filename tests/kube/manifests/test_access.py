"""What the control plane may do on the API server."""

import re
from pathlib import Path

from platform_app.adapters.kubernetes import api
from tests.kube.manifests import (
    kinds,
)


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
