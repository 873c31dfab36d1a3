"""What the cluster says of a job that waits, and what a person is told."""
# ruff: noqa: E501  # Kubernetes' own messages are long

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.causes import CAUSES
from platform_app.domain.explain import Sign, Source, explain
from tests.service.corpus import CASES as INJECTED

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
QUOTA = "exceeded quota: compute, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4"
WORKER = "a worker of gpu-spot"


def event(reason: str, message: str, about: str = WORKER, at: datetime = NOW) -> Sign:
    return Sign(Source.EVENT, reason, message, about, at)


def container(reason: str, message: str = "", about: str = WORKER) -> Sign:
    return Sign(Source.CONTAINER, reason, message, about)


def unschedulable(message: str) -> Sign:
    return Sign(Source.POD, "Unschedulable", message, WORKER)


def queue(reason: str, message: str = "") -> Sign:
    return Sign(Source.QUEUE, reason, message)


CASES = [
    ("quota-exceeded", event("FailedToCreateHeadPod", f'pods "x-head" is forbidden: {QUOTA}', "its cluster"), "used is"),
    ("quota-exceeded", Sign(Source.API, "Forbidden", f'rayjobs.ray.io "x-1" is forbidden: {QUOTA}'), "compute"),
    ("quota-needs-requests", event("FailedToCreateWorkerPod", "pods is forbidden: failed quota: compute: must specify limits.cpu for: ray-worker"), "limits.cpu"),
    ("limit-range", event("FailedToCreateWorkerPod", 'pods "x" is forbidden: maximum cpu usage per Container is 4, but limit is 8'), "a maximum of 4 cpu; asked for is 8"),
    ("no-priority-class", event("FailedToCreateHeadPod", 'pods "x" is forbidden: no PriorityClass with name development was found'), "development"),
    ("pod-security", event("FailedToCreateWorkerPod", 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'), "restricted"),
    ("no-service-account", event("FailedCreate", 'pods "x-" is forbidden: error looking up service account team-a/ray: serviceaccount "ray" not found'), "ray"),
    ("namespace-terminating", Sign(Source.API, "Forbidden", 'rayjobs.ray.io "x" is forbidden: unable to create new content in namespace team-a because it is being terminated'), "team-a"),
    ("webhook-away", event("FailedToCreateHeadPod", 'Internal error occurred: failed calling webhook "mpod.kb.io": connection refused'), "mpod.kb.io"),
    ("webhook-refused", event("FailedToCreateHeadPod", 'admission webhook "policy.io" denied the request: no latest tag'), "no latest tag"),
    ("no-permission", event("FailedToCreateHeadPod", 'pods is forbidden: User "system:serviceaccount:k:op" cannot create resource "pods" in API group "" in the namespace "team-a"'), "create pods"),
    ("refused-by-operator", Sign(Source.RAY_JOB, "ValidationFailed", "backoffLimit is negative"), "backoffLimit"),
    ("refused-by-operator", event("InvalidRayClusterSpec", "container is missing", "its cluster"), "container is missing"),
    ("image-name", container("InvalidImageName", 'couldn\'t parse image name "A:B:C"'), "A:B:C"),
    ("image-access", container("ImagePullBackOff", 'Back-off pulling image "x": pull access denied'), "denied"),
    ("image-absent", container("ErrImagePull", "manifest for slipway:9 not found: manifest unknown"), "slipway:9"),
    ("image-registry-away", container("ErrImagePull", "dial tcp: i/o timeout"), "i/o timeout"),
    ("config-absent", container("CreateContainerConfigError", 'secret "ray-token" not found'), "the secret ray-token"),
    ("container-config", container("CreateContainerError", "no command specified"), "no command"),
    ("out-of-memory", container("OOMKilled", "exit code 137", "the head"), "the head used more memory"),
    ("crash-loop", container("CrashLoopBackOff", "exit code 1", "the head"), "exit code 1"),
    ("volume-absent", unschedulable('0/3 nodes are available: persistentvolumeclaim "slipway-storage" not found.'), "slipway-storage"),
    ("volume-unbound", unschedulable("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."), WORKER),
    ("volume-mount", event("FailedMount", "MountVolume.SetUp failed: mount.nfs: access denied"), "access denied"),
    ("pod-network", event("FailedCreatePodSandBox", "failed to assign an IP address"), "IP address"),
    ("no-room", unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available."), "nvidia.com/gpu"),
    ("nodes-tainted", unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint {nvidia.com/gpu: present}."), "{nvidia.com/gpu: present}"),
    ("nodes-unsuited", unschedulable("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."), "labels"),
    ("too-many-pods", unschedulable("0/1 nodes are available: 1 Too many pods."), "Too many"),
    ("unschedulable", unschedulable("0/1 nodes are available: 1 node(s) were unschedulable."), WORKER),
    ("gated", Sign(Source.POD, "SchedulingGated", "", WORKER), "gate"),
    ("going-away", Sign(Source.POD, "Terminating", "", WORKER), "replaced"),
    ("nodes-limit", event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"), "maximum"),
    ("nodes-unsuited", event("NotTriggerScaleUp", "pod didn't trigger scale-up: 2 node(s) didn't match Pod's node affinity/selector"), "node group"),
    ("nodes-out-of-stock", event("FailedScaleUp", "GCE_STOCKOUT"), "GCE_STOCKOUT"),
    ("nodepool-limit", event("FailedScheduling", 'all available instance types exceed limits for nodepool: "gpu-spot"'), "raise its limits"),
    ("nodepool-unsuited", event("FailedScheduling", 'incompatible with nodepool "gpu", label "slipway/pool" does not have known values'), "NodePool"),
    ("node-coming", event("TriggeredScaleUp", "pod triggered scale-up: [{gpu-spot 0->1 (max: 4)}]"), "being added"),
    ("node-coming", event("Nominated", "Pod should schedule on: nodeclaim/gpu-spot-x"), "being added"),
    ("queue-too-small", queue("ExceedsMaxQuota", "insufficient quota for nvidia.com/gpu"), "may ever have"),
    ("queue-misconfigured", queue("Misconfigured", "LocalQueue default doesn't exist"), "LocalQueue default"),
    ("queue-no-flavor", queue("NoMatchingFlavor", "no flavor"), "suits"),
    ("queue-stopped", queue("Suspended", "ClusterQueue team-a is stopped"), "stopPolicy"),
    ("queue-preempting", queue("WaitingForPreemptedWorkloads"), "room"),
    ("queue-full", queue("WaitingForQuota", "1 more needed"), "1 more needed"),
    ("queue-pods-not-ready", queue("WaitingForPodsReady"), "start up"),
    ("queue-evicted", queue("Preempted", "to accommodate a workload"), "evicted"),
    ("queue-not-seen", queue("PendingEvaluation"), "not looked"),
    ("api-away", Sign(Source.API, "Unreadable", "pods of team-a cannot be read"), "cannot be read"),
    ("quota-used-up", Sign(Source.QUOTA, "requests.cpu", "compute: 8 of 8 requests.cpu"), "8 of 8"),
    ("head-not-ready", container("PodInitializing"), WORKER),
    ("image-pulling", event("Pulling", 'Pulling image "slipway"'), "fetches"),
    ("container-starting", container("ContainerCreating"), "being started"),
    ("operator-away", Sign(Source.RAY_JOB, ""), "operator"),
    ("suspended", Sign(Source.RAY_JOB, "Suspended"), "suspended"),
    ("cluster-starting", Sign(Source.RAY_JOB, "Initializing"), "being started"),
    ("not-submitted", Sign(Source.API, "NotSubmitted", "Ray did not take the job"), "did not take"),
    ("preempted", Sign(Source.END, "preempted", "a job of a higher tier came"), "higher tier"),
    ("cluster-lost", Sign(Source.END, "cluster-lost", "the cluster was lost"), "started again"),
    ("driver-lost", Sign(Source.END, "driver-lost", "the driver was killed"), "memory"),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "sign", "told"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_a_sign_is_told_as_its_cause(cause, sign, told):
    found = explain([sign], CAUSES)
    assert [one.cause for one in found] == [cause]
    assert told in found[0].sentence


def test_every_cause_has_a_case_here_or_is_injected_into_a_control_plane():
    injected = {case.cause for case in INJECTED}
    assert {cause.name for cause in CAUSES} == {case[0] for case in CASES} | injected


def test_what_a_person_must_mend_comes_before_what_mends_itself():
    signs = [
        Sign(Source.RAY_JOB, "Initializing"),
        container("ContainerCreating"),
        event("Pulling", "Pulling image"),
        container("ImagePullBackOff", "not found"),
    ]
    assert explain(signs, CAUSES)[0].cause == "image-absent"


@pytest.mark.parametrize(("minutes", "first"), [(1, "node-coming"), (-1, "nodes-limit")])
def test_of_what_node_autoscalers_say_the_newest_is_believed(minutes, first):
    signs = [
        event("NotTriggerScaleUp", "1 max node group size reached"),
        event("TriggeredScaleUp", "gpu-spot 0->1", at=NOW + timedelta(minutes=minutes)),
        unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
    ]
    assert [one.cause for one in explain(signs, CAUSES)] == [first, "no-room"]


def test_many_pods_with_one_trouble_are_told_once():
    signs = [unschedulable("0/3 nodes are available: 3 Insufficient cpu.")] * 3
    found = explain(signs, CAUSES)
    assert len(found) == 1
    assert "a worker of gpu-spot (and 2 more)" in found[0].why


def test_what_nobody_knows_is_not_made_up():
    assert explain([event("Scheduled", "assigned to node-1")], CAUSES) == ()


@given(
    st.lists(
        st.builds(
            Sign,
            st.sampled_from(Source),
            st.one_of(st.text(), st.sampled_from([case[1].reason for case in CASES])),
            st.one_of(st.text(), st.sampled_from([case[1].message for case in CASES])),
            st.text(),
            st.one_of(st.none(), st.just(NOW)),
        ),
        max_size=8,
    )
)
def test_whatever_is_said_an_explanation_is_made_of_sentences(signs):
    for one in explain(signs, CAUSES):
        assert one.why
        assert one.sentence.startswith(one.why)
