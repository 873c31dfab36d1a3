"""What is missing or wrong in a cluster, and what mends each: `slipway doctor`, without the cluster.

A check is a function from what a cluster has (`Snapshot`) and what it should have (`Wanted`) to findings. A new one is
a row of `CHECKS`. The order is that of an installation: what comes first carries what comes later, and is mended first.
"""

from collections.abc import Callable, Iterator

from platform_app.domain.doctor import exposure, gpus, health, kuberay, pools, service, storage, teams
from platform_app.domain.doctor.finding import Finding, Severity
from platform_app.domain.doctor.snapshot import NotRead, Snapshot, Unread, Wanted

__all__ = ["CHECKS", "Finding", "Severity", "Snapshot", "Unread", "Wanted", "examine"]

Check = Callable[[Snapshot, Wanted], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    kuberay.operator_runs,
    kuberay.operator_version,
    kuberay.definitions,
    teams.priority_classes,
    gpus.device_plugin,
    gpus.gpus_offered,
    gpus.gpu_numbers,
    pools.pools,
    pools.pools_ready,
    pools.node_labels,
    pools.tolerations,
    pools.gpu_taints,
    pools.karpenter,
    pools.markets,
    teams.namespaces,
    storage.claims,
    storage.same_files,
    storage.one_node,
    health.installed,
    health.secrets,
    exposure.authentication,
    exposure.doors,
    exposure.walls,
    service.refused,
    service.autoscaler,
    service.versions,
    service.dedicated_images,
    service.head,
    service.head_node,
    service.grace,
    service.groups,
    teams.team_objects,
    teams.quota_lines,
    teams.quota_defaults,
    teams.queues,
    health.services,
    health.serving,
)


def examine(cluster: Snapshot, wanted: Wanted) -> tuple[Finding, ...]:
    """Say what is wrong with a cluster; nothing where nothing is.

    What could not be read is a finding as well, with the checks that it kept from looking: silence would be a lie.
    """
    found: list[Finding] = []
    blind: dict[str, list[str]] = {}
    for check in CHECKS:
        try:
            found.extend(check(cluster, wanted))
        except NotRead as missing:
            blind.setdefault(str(missing), []).append(check.__name__.replace("_", " "))
    return (*found, *_unread(cluster, blind))


def _unread(cluster: Snapshot, blind: dict[str, list[str]]) -> Iterator[Finding]:
    for kind in dict.fromkeys(one.kind for one in cluster.unread):
        refusals = [one for one in cluster.unread if one.kind == kind]
        checks = dict.fromkeys(check for one in refusals for check in blind.get(one.why, ()))
        where = ", ".join(one.namespace for one in refusals if one.namespace)
        what = f"{kind}{f' of {where}' if where else ''} could not be read"
        unseen = f"not looked at: {', '.join(checks)}" if checks else "no check has missed it"
        severity = Severity.ERROR if checks else Severity.WARNING
        yield Finding("cannot-read", severity, what, (*(one.why for one in refusals), unseen), refusals[0].mend)
