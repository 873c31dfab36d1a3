"""Ray's dashboard and GCS: whoever reaches them runs code, so nobody from outside may."""

from collections.abc import Iterator

from platform_app.domain.doctor.finding import APPLY, Finding, error
from platform_app.domain.doctor.placing import selects
from platform_app.domain.doctor.snapshot import (
    Object,
    Snapshot,
    Wanted,
    name_of,
    namespaces_there,
    ray_cluster,
    ray_service,
    templates,
    variables,
)

_PORTS = {8265: "dashboard", 10001: "client", 6379: "gcs-server"}
_HEAD = {"ray.io/node-type": "head", "ray.io/is-ray-node": "yes"}
"""Labels that the operator gives every head."""


def doors(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that no Service and no Ingress leads to Ray from outside of the cluster."""
    ways = []
    for namespace in wanted.namespaces:
        for service in cluster.all("Service", namespace):
            kind, ports = service["spec"].get("type", "ClusterIP"), _ray_ports(service)
            if ports and (kind in ("LoadBalancer", "NodePort") or service["spec"].get("externalIPs")):
                ways.append(f"Service {name_of(service)}: {kind}, port {', '.join(ports)}")
        for ingress in cluster.all("Ingress", namespace):
            ways += [f"Ingress {name_of(ingress)} to {to}" for to in _backends(ingress) if _is_rays(to.split(":")[1])]
    if ways:
        what = "Ray's dashboard has a door to the outside: whoever comes in by it runs code on the cluster"
        mend = (
            "make the Service a ClusterIP (headGroupSpec.serviceType), delete the Ingress; for a look: "
            f"kubectl -n {wanted.namespace} port-forward svc/slipway-head-svc 8265"
        )
        yield error("dashboard-exposed", what, ways, mend)


def walls(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that NetworkPolicies keep every other pod from the heads of the platform and of the teams' jobs."""
    for namespace in namespaces_there(cluster, wanted):
        policies = [
            one
            for one in cluster.all("NetworkPolicy", namespace)
            if selects(one["spec"].get("podSelector"), _HEAD)
            and "Ingress" in (one["spec"].get("policyTypes") or ["Ingress"])
        ]
        open_ones = [
            f"NetworkPolicy {name_of(one)} lets everyone in to port 8265"
            for one in policies
            if any(_lets_all_in(rule) for rule in one["spec"].get("ingress") or ())
        ]
        if not policies:
            open_ones = [f"no NetworkPolicy in {namespace} selects pods with the label ray.io/node-type=head"]
        if open_ones:
            what = f"every pod of the cluster reaches Ray's dashboard in {namespace}, and runs code by it"
            yield error("network-open", what, open_ones, APPLY)


def authentication(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that token authentication is said: left out it is off, whatever the field's comment says.

    The operator asks for the very word (`ray-project/kuberay:ray-operator/controllers/ray/utils/util.go`); Ray's
    commands differ in what they take an unset mode for, so containers must not say otherwise.
    """
    service = ray_service(cluster, wanted)
    if service is None:
        return
    spec = ray_cluster(cluster, wanted)
    mode = (spec.get("authOptions") or {}).get("mode")
    wrong = [] if mode == "token" else [f"RayService {name_of(service)}: authOptions.mode is {mode or 'not set'}"]
    for about, template in templates(spec):
        for container in template.get("spec", {}).get("containers", ())[:1]:
            said = variables(container, cluster, wanted.namespace).get("RAY_AUTH_MODE")
            if said not in (None, "token"):
                wrong.append(f"{about}: RAY_AUTH_MODE is {said}")
    if wrong:
        what = "Ray asks for no token: whoever reaches a port of it runs code on the cluster"
        mend = f"authOptions: {{mode: token, secretName: slipway-ray-token}} in the RayService, then {APPLY}"
        yield error("auth-not-token", what, wrong, mend)


def _ray_ports(service: Object) -> list[str]:
    ports = service["spec"].get("ports") or ()
    return [str(one["port"]) for one in ports if _is_rays(one["port"]) or _is_rays(one.get("targetPort"))]


def _is_rays(port: object) -> bool:
    return str(port) in {*map(str, _PORTS), *_PORTS.values()}


def _backends(ingress: Object) -> Iterator[str]:
    spec = ingress["spec"]
    paths = [path for rule in spec.get("rules") or () for path in (rule.get("http") or {}).get("paths") or ()]
    for backend in (*(path.get("backend") or {} for path in paths), spec.get("defaultBackend") or {}):
        if service := backend.get("service"):
            port = service.get("port") or {}
            yield f"{service['name']}:{port.get('number') or port.get('name')}"


def _lets_all_in(rule: Object) -> bool:
    ports, sources = rule.get("ports") or (), rule.get("from") or ()
    meant = not ports or any(_is_dashboard(one) for one in ports)
    return meant and (not sources or any(_is_everyone(one) for one in sources))


def _is_dashboard(port: Object) -> bool:
    first = port.get("port")
    if isinstance(first, int):
        return first <= 8265 <= int(port.get("endPort", first))
    return first in (None, "dashboard")


def _is_everyone(source: Object) -> bool:
    if block := source.get("ipBlock"):
        return block.get("cidr") in ("0.0.0.0/0", "::/0")
    return source.get("namespaceSelector") == {} and not source.get("podSelector")
