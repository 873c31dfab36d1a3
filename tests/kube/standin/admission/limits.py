"""LimitRanges: what containers get that ask for nothing, and how much they may ask for."""

from typing import Any

from tests.kube.standin.api.objects import Api, Writing
from tests.kube.standin.api.quantity import parse, show


class LimitRanges:
    """Completes and checks the containers of new pods."""

    def admit(self, api: Api, writing: Writing) -> None:
        """See `Admission`."""
        if writing.verb != "create" or writing.kind.resource != "pods":
            return
        spec = writing.obj["spec"]
        problems: list[str] = []
        for limit_range in api.store.all("limitranges", writing.obj["metadata"]["namespace"]):
            for limit in limit_range["spec"]["limits"]:
                if limit["type"] != "Container":
                    continue
                for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
                    complete(container, limit)
                    problems += _problems(container, limit)
        if problems:
            raise writing.refuse(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")


def complete(container: dict[str, Any], limit: dict[str, Any]) -> None:
    """Fill in a container's requests and limits from one item of a LimitRange."""
    default = {**(limit.get("max") or {}), **(limit.get("default") or {})}
    default_request = {**default, **(limit.get("defaultRequest") or {})}
    resources = container.get("resources") or {}
    limits = {**default, **(resources.get("limits") or {})}
    requests = {**default_request, **(resources.get("requests") or {})}
    container["resources"] = {**resources, "limits": limits, "requests": requests}


def _problems(container: dict[str, Any], limit: dict[str, Any]) -> list[str]:
    found = []
    for name, most in (limit.get("max") or {}).items():
        actual = container["resources"]["limits"].get(name)
        if actual is not None and parse(actual) > parse(most):
            shown = show(parse(most), name), show(parse(actual), name)
            found.append(f"maximum {name} usage per Container is {shown[0]}, but limit is {shown[1]}")
    for name, least in (limit.get("min") or {}).items():
        actual = container["resources"]["requests"].get(name)
        if actual is not None and parse(actual) < parse(least):
            shown = show(parse(least), name), show(parse(actual), name)
            found.append(f"minimum {name} usage per Container is {shown[0]}, but request is {shown[1]}")
    return found
