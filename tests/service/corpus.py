"""The corpus: causes injected in every layer, and what a person must be told first."""
# ruff: noqa: E501  # messages of other programs are long

from platform_app.domain.explain import Sign, Source
from platform_app.domain.supply import GroupCount
from tests.service import explained as inject
from tests.service.explained import STOCK, Case

FULL = {"gpu_spot": GroupCount(4, 0), "gpu_ondemand": GroupCount(2, 0)}
FAILED_LAUNCH = Sign(Source.WORKERS, "LaunchFailed", "InsufficientInstanceCapacity", "gpu-spot")
QUOTA = "pods is forbidden: exceeded quota: compute, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4"
TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\n    main()\n{}\n'
PIP_FAILED = "runtime_env setup failed: Failed to set up runtime environment.\nERROR: Could not find a version that satisfies the requirement nosuchthing==9 (from versions: none)\nERROR: No matching distribution found for nosuchthing==9"


def pod(reason: str, message: str = "") -> Sign:
    return Sign(Source.POD, reason, message, "a worker of gpu-spot")


def container(reason: str, message: str = "") -> Sign:
    return Sign(Source.CONTAINER, reason, message, "the head")


def event(reason: str, message: str) -> Sign:
    return Sign(Source.EVENT, reason, message, "a worker of gpu-spot")


CASES = (
    # The queue.
    Case("all groups are full", "groups-full", "4 of 4 of gpu-spot are taken", inject.behind),
    Case("others stand before it", "queue-behind", "number 2 of 2 in the queue", inject.second_in_line),
    Case("its team's quota is used up", "team-quota", "GPUs *: asks for 1, 2 of 2 used", inject.quota_full),
    Case(
        "lower tiers make room", "making-room", "room is made for it by digits-", inject.of_a_higher_tier, blocked=False
    ),
    Case("its tier is gone", "no-tier", "'training-critical'", inject.no_tier),
    Case("the catalog has shrunk", "never-fits", "at most 2 such workers", inject.smaller_catalog),
    Case("elastic runs make room", "making-room", "elastic runs, or jobs", inject.making_room, blocked=False),
    Case("there is room", "queue-next", "next pass", lambda plane: (plane.tick(), plane.submit())[1], blocked=False),
    Case("nobody admits", "reconciler-away", "no reconciler is at work", inject.no_reconciler),
    Case("Ray is away", "ray-away", "Ray does not answer", inject.ray_away),
    Case("no Kubernetes any more", "ray-away", "need Kubernetes", inject.no_kubernetes),
    # The driver's start.
    Case("pip installs", "runtime-env", "torchmetrics==1.4", inject.with_pip, blocked=False),
    Case("pip takes long", "runtime-env-slow", "for 3 min now", inject.with_slow_pip),
    Case("the driver starts", "driver-starting", "driver is being started", inject.pending, blocked=False),
    Case("the driver does not start", "driver-slow", "handed over 3 min ago", lambda plane: inject.pending(plane, 200)),
    Case("it is not taken", "quota-exceeded", "cpu=60", inject.unsubmitted),
    # The workers.
    Case(
        "spot is out of stock",
        "out-of-stock",
        "gpu-ondemand is asked next",
        inject.waits_for_workers(gpu_spot=GroupCount(0, 2, None, (STOCK,))),
    ),
    Case("only spot would do", "out-of-stock", "the market gives 0", inject.spot_only),
    Case(
        "launches fail",
        "launch-failed",
        "InsufficientInstanceCapacity",
        inject.waits_for_workers(gpu_spot=GroupCount(0, 1, None, (FAILED_LAUNCH,))),
    ),
    Case(
        "worker groups are at their maximum",
        "worker-group-full",
        "gpu-spot has 4 of at most 4",
        inject.waits_for_workers(**FULL),
    ),
    Case("workers are started", "workers-launching", "2 of gpu-spot", inject.launching, blocked=False),
    Case(
        "spot set aside, on-demand comes",
        "workers-launching",
        "2 of gpu-ondemand",
        inject.waits_for_workers(gpu_spot=GroupCount(0, 0, None, (STOCK,)), gpu_ondemand=GroupCount(0, 2)),
        blocked=False,
    ),
    Case(
        "nothing was asked for yet",
        "workers-not-asked",
        "not asked",
        inject.waits_for_workers(gpu_spot=GroupCount(0, 0)),
        blocked=False,
    ),
    # Kubernetes and Kueue.
    Case(
        "quota of its namespace",
        "quota-exceeded",
        "used is requests.nvidia.com/gpu=4",
        inject.dedicated(event("FailedToCreateWorkerPod", QUOTA)),
    ),
    Case(
        "no node has room",
        "no-room",
        "nvidia.com/gpu",
        inject.dedicated(pod("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")),
    ),
    Case(
        "no image", "image-absent", "no such image", inject.dedicated(container("ImagePullBackOff", "manifest unknown"))
    ),
    Case(
        "image is pulled",
        "image-pulling",
        "fetches its image",
        inject.dedicated(event("Pulling", 'Pulling image "slipway"')),
        blocked=False,
    ),
    Case(
        "cloud has no nodes",
        "nodes-out-of-stock",
        "GCE_STOCKOUT",
        inject.dedicated(
            event("FailedScaleUp", "GCE_STOCKOUT"), pod("Unschedulable", "3 Insufficient nvidia.com/gpu.")
        ),
    ),
    Case(
        "node groups at their limit",
        "nodes-limit",
        "max node group size",
        inject.dedicated(event("NotTriggerScaleUp", "1 max node group size reached")),
    ),
    Case(
        "a node comes",
        "node-coming",
        "being added",
        inject.dedicated(
            event("TriggeredScaleUp", "gpu-spot 0->1"), pod("Unschedulable", "1 Insufficient nvidia.com/gpu.")
        ),
        blocked=False,
    ),
    Case(
        "Kueue has no quota left",
        "queue-full",
        "1 more needed",
        inject.dedicated(Sign(Source.QUEUE, "WaitingForQuota", "1 more needed", "its queue")),
    ),
    Case(
        "a taint",
        "nodes-tainted",
        "taint",
        inject.dedicated(pod("Unschedulable", "1 node(s) had untolerated taint {nvidia.com/gpu: present}.")),
    ),
    Case(
        "no volume",
        "volume-absent",
        "slipway-storage",
        inject.dedicated(pod("Unschedulable", 'persistentvolumeclaim "slipway-storage" not found.')),
    ),
    Case("head out of memory", "out-of-memory", "the head used more memory", inject.dedicated(container("OOMKilled"))),
    Case("operator away", "operator-away", "operator", inject.dedicated(Sign(Source.RAY_JOB, ""))),
    # What runs.
    Case("it trains", "training", "40 of 100 steps", inject.running(40, 1), blocked=False),
    Case("it starts up", "no-step-yet", "no step is done", inject.running(None, 1), blocked=False),
    Case(
        "MLflow is away",
        "tracking-away",
        "Connection refused",
        inject.running(None, 1, "starting the run of x: waiting for MLflow (Connection refused)\n"),
    ),
    Case("it hangs", "silent", "the last of them 33 min ago", inject.running(40, 2000)),
    Case("no first step", "silent", "no step is done", inject.running(None, 3000)),
    Case(
        "it failed and goes on",
        "trying-again",
        "ValueError: bad luck",
        inject.running(None, 1, "digits-000001 goes on after a failure: worker 0: ValueError: bad luck\n"),
    ),
    Case("it ends on request", "stopping", "asked to stop", inject.stopping, blocked=False),
    # What ended.
    Case("pip cannot install", "runtime-env-requirement", "nosuchthing==9", inject.ended(PIP_FAILED)),
    Case(
        "working directory cannot be fetched",
        "runtime-env-failed",
        "could not be made",
        inject.ended("runtime_env setup failed: Failed to download runtime_env file package"),
    ),
    Case(
        "module missing",
        "module-missing",
        "no module nowhere",
        inject.ended(
            reported="import-failed",
            says="workload nowhere:to cannot be imported: ModuleNotFoundError: No module named 'nowhere'",
        ),
    ),
    Case(
        "attribute missing",
        "import-failed",
        "has no attribute",
        inject.ended(
            reported="import-failed",
            says="workload mine:to cannot be imported: AttributeError: module 'mine' has no attribute 'to'",
        ),
    ),
    Case(
        "metric missing",
        "metric-missing",
        "f1",
        inject.ended(
            reported="metric-missing", says="objective.metric f1 is never reported; reported are accuracy, loss"
        ),
    ),
    Case(
        "user's exception",
        "user-code-failed",
        "ValueError: too big (train.py:12 in make)",
        inject.ended(reported="user-code-failed", says="worker 0: ValueError: too big (train.py:12 in make)"),
    ),
    Case(
        "exception of a script",
        "user-code-failed",
        "KeyError: 'image'",
        inject.ended("Job entrypoint command failed with exit code 1", TRACEBACK.format("KeyError: 'image'")),
    ),
    Case(
        "worker killed for memory",
        "out-of-memory",
        "more memory",
        inject.ended(
            reported="workers-lost",
            says="lost worker 1: A worker died",
            output="(raylet) 1 Workers (tasks / actors) killed due to memory pressure (OOM), node low on memory\n",
        ),
    ),
    Case(
        "MemoryError",
        "out-of-memory",
        "MemoryError",
        inject.ended(reported="user-code-failed", says="worker 0: MemoryError (data.py:3 in read)"),
    ),
    Case(
        "GPU out of memory",
        "gpu-memory",
        "CUDA out of memory",
        inject.ended(
            reported="user-code-failed",
            says="worker 1: OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (net.py:9 in forward)",
        ),
    ),
    Case(
        "/dev/shm",
        "shared-memory",
        "/dev/shm",
        inject.ended(
            reported="user-code-failed",
            says="worker 0: RuntimeError: DataLoader worker (pid 77) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory",
        ),
    ),
    Case(
        "NCCL",
        "nccl",
        "NCCL",
        inject.ended(
            reported="workers-lost",
            says="workers were lost 11 times",
            output="[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(OpType=ALLREDUCE)\n",
        ),
    ),
    Case(
        "NCCL after a memory kill",
        "out-of-memory",
        "more memory",
        inject.ended(
            reported="workers-lost",
            says="workers were lost",
            output="[rank0] ProcessGroupNCCL error\nkilled due to the node running low on memory\n",
        ),
    ),
    Case(
        "GPU's driver too old",
        "gpu-driver",
        "driver version",
        inject.ended(
            reported="user-code-failed",
            says="worker 0: RuntimeError: CUDA driver version is insufficient for CUDA runtime version",
        ),
    ),
    Case(
        "nodes lost",
        "workers-lost",
        "lost 11 times",
        inject.ended(
            reported="workers-lost",
            says="workers were lost 11 times without a checkpoint in between; the last: node died",
        ),
    ),
    Case(
        "disk full",
        "disk-full",
        "a disk is full",
        inject.ended(
            reported="checkpoint-failed",
            says="4 checkpoints in a row could not be written: OSError: No space left on device",
        ),
    ),
    Case(
        "checkpoints fail",
        "checkpoint-failed",
        "read-only",
        inject.ended(
            reported="checkpoint-failed", says="4 checkpoints in a row could not be written: read-only file system"
        ),
    ),
    Case(
        "MLflow away for good",
        "tracking-unavailable",
        "too long",
        inject.ended(reported="tracking-unavailable", says="starting the run: MLflow: connection refused"),
    ),
    Case("Ray refuses it", "submission-refused", "invalid runtime_env", inject.refused),
    Case("no reason given", "driver-failed", "without giving a reason", inject.ended("it just ended")),
    Case("it ran for too long", "deadline-exceeded", "its deadline_seconds of 60", inject.past_its_deadline),
    Case("it took too much", "more-than-declared", "it holds 2 GPUs", inject.taking_more_than_declared),
    Case("someone stopped it", "stopped-by-user", "stopped before it began", inject.stopped),
    Case("it is done", "completed", "it is done", inject.succeeded, blocked=False),
    Case("the cluster was lost, and no room now", "groups-full", "free worker(s)", inject.lost_again("cluster")),
    Case("the driver was lost, and no room now", "groups-full", "free worker(s)", inject.lost_again("driver")),
)
