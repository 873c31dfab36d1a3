"""Custom objects as their CRD has them: unknown fields dropped, defaults filled in, wrong values refused.

The schemas are those of the CustomResourceDefinition in the store where it has any, else of the CRD files in
`../shared/schemas`. Where there are none, KubeRay's few defaults that Ray's autoscaler needs are filled in, no more.
"""

import copy
import functools
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError

from tests.kube.standin.api.errors import bad_request, invalid
from tests.kube.standin.api.kinds import Kind
from tests.kube.standin.api.objects import Api, Writing

Schema = dict[str, Any]

FOLDER = Path(__file__).resolve().parents[4].parent / "shared" / "schemas"
"""Where CRD files may be, as `<project>-<version>/<group>_<plural>.yaml`."""

_WORKER_GROUP = {"replicas": 0, "minReplicas": 0, "maxReplicas": 2147483647, "numOfHosts": 1}


class Schemas:
    """Prunes, completes and checks custom objects."""

    def admit(self, api: Api, writing: Writing) -> None:
        """See `Admission`."""
        if not writing.kind.custom:
            return
        found = _stored(api, writing.kind) or schema_of(writing.kind.group, writing.kind.plural, writing.kind.version)
        if found is None:
            _least(writing.obj)
            return
        dropped = prune(found, writing.obj, top=True)
        if dropped and writing.strict:
            named = ", ".join(f'unknown field "{path}"' for path in dropped)
            about = f"{writing.kind.name} in version {writing.kind.version!r} cannot be handled"
            raise bad_request(f"{about}: strict decoding error: {named}")
        complete(found, writing.obj)
        problems = [_say(problem) for problem in _validator(writing.kind, found).iter_errors(writing.obj)]
        if problems:
            raise invalid(writing.kind.group_kind, writing.obj["metadata"]["name"], _join(problems))


def _stored(api: Api, kind: Kind) -> Schema | None:
    definition = api.store.find(api.kinds.named("customresourcedefinitions"), None, kind.resource)
    for version in definition["spec"]["versions"] if definition else ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        if version["name"] == kind.version and schema.get("properties"):
            return schema
    return None


@functools.cache
def schema_of(group: str, plural: str, version: str) -> Schema | None:
    """Read a CRD file's schema of one version; None when there is no such file."""
    file = next(FOLDER.glob(f"*/{group}_{plural}.yaml"), None)
    if file is None:
        return None
    definition = yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    schemas = {one["name"]: one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"]}
    return schemas.get(version)


def prune(schema: Schema, value: Any, path: str = "", *, top: bool = False) -> list[str]:
    """Drop the fields that a schema does not know, in place, and name them."""
    if isinstance(value, list):
        items = schema.get("items")
        return [
            name
            for index, item in enumerate(value)
            if isinstance(items, dict)
            for name in prune(items, item, f"{path}[{index}]")
        ]
    if not isinstance(value, dict):
        return []
    known, others = schema.get("properties") or {}, schema.get("additionalProperties")
    kept = {"apiVersion", "kind", "metadata"} if top or schema.get("x-kubernetes-embedded-resource") else set()
    dropped = []
    for name in list(value):
        inside = f"{path}.{name}" if path else name
        if name in kept:
            continue
        if name in known:
            dropped += prune(known[name], value[name], inside)
        elif isinstance(others, dict):
            dropped += prune(others, value[name], inside)
        elif not others and not schema.get("x-kubernetes-preserve-unknown-fields"):
            del value[name]
            dropped.append(inside)
    return dropped


def complete(schema: Schema, value: Any) -> None:
    """Drop nulls that mean "not given" and fill in defaults, in place."""
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            complete(schema["items"], item)
    if not isinstance(value, dict):
        return
    known = schema.get("properties") or {}
    for name, child in known.items():
        if value.get(name) is None and not child.get("nullable"):
            value.pop(name, None)
        if name not in value and "default" in child:
            value[name] = copy.deepcopy(child["default"])
    for name, item in value.items():
        child = known.get(name, schema.get("additionalProperties"))
        if isinstance(child, dict):
            complete(child, item)


def _least(obj: dict[str, Any]) -> None:
    spec = obj.get("spec") or {}
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    for group in cluster.get("workerGroupSpecs") or ():
        for name, value in _WORKER_GROUP.items():
            group.setdefault(name, value)


_validators: dict[tuple[str, str, int], Draft4Validator] = {}


def _validator(kind: Kind, schema: Schema) -> Draft4Validator:
    # CRD schemas are OpenAPI 3.0, which speaks draft 4.
    key = kind.resource, kind.version, id(schema)
    if key not in _validators:
        _validators[key] = Draft4Validator(_standard(schema))
    return _validators[key]


def _standard(schema: Schema) -> Schema:
    """Write Kubernetes' own keywords in JSON Schema's."""
    out = dict(schema)
    if out.get("x-kubernetes-int-or-string"):
        out.pop("anyOf", None)
        out["type"] = ["integer", "string"]
    if "(?i)" in out.get("pattern", ""):
        out["pattern"] = "(?i)" + out["pattern"].replace("(?i)", "")
    if "properties" in out:
        out["properties"] = {name: _standard(value) for name, value in out["properties"].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(out.get(keyword), dict):
            out[keyword] = _standard(out[keyword])
    if out.get("nullable") and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    return out


def _say(problem: ValidationError) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.absolute_path).lstrip(".")
    if problem.validator == "required":
        missing = next(name for name in problem.validator_value if name not in problem.instance)
        return f"{path}.{missing}: Required value".lstrip(".")
    if problem.validator == "enum":
        supported = ", ".join(f'"{value}"' for value in problem.validator_value)
        return f'{path}: Unsupported value: "{problem.instance}": supported values: {supported}'
    if problem.validator == "type":
        given = _type(problem.instance)
        return f'{path}: Invalid value: "{given}": {path} in body must be of type {_wanted(problem)}: "{given}"'
    return f"{path}: Invalid value: {problem.instance!r}: {problem.message}"


def _wanted(problem: ValidationError) -> str:
    wanted = problem.validator_value
    return wanted if isinstance(wanted, str) else ",".join(wanted)


def _type(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
    return names.get(type(value), "null")


def _join(problems: list[str]) -> str:
    return problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
