"""A pod's priority class becomes a number."""

from tests.kube.standin.api.objects import Api, Writing

_BUILTIN = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


class Priorities:
    """Looks up the class that a pod names, or the default one."""

    def admit(self, api: Api, writing: Writing) -> None:
        """See `Admission`."""
        if writing.verb != "create" or writing.kind.resource != "pods":
            return
        spec = writing.obj["spec"]
        name = spec.get("priorityClassName")
        known = api.store.all("priorityclasses.scheduling.k8s.io")
        if not name:
            found = next((one for one in known if one.get("globalDefault")), None)
            spec["priority"] = found["value"] if found else 0
            return
        found = next((one for one in known if one["metadata"]["name"] == name), None)
        if found is None and name not in _BUILTIN:
            raise writing.refuse(f"no PriorityClass with name {name} was found")
        spec["priority"] = found["value"] if found else _BUILTIN[name]
        spec["preemptionPolicy"] = (found or {}).get("preemptionPolicy", "PreemptLowerPriority")
