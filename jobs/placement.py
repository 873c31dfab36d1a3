"""Where workers run: the cluster, and what is asked of it for each worker."""

import os

import ray

from platform_app.specs import ON_NO_GPU_NODE, MarketPolicy, SweepSpec, TrainSpec, WorkerResources


def connect(spec: TrainSpec | SweepSpec) -> TrainSpec | SweepSpec:
    """Connect to the cluster that `RAY_ADDRESS` names; without one, start a cluster of this machine alone.

    Returns:
        The spec, as it can run there: on a cluster of our own it asks for no labels, and for no GPUs that this
        machine lacks.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        # Ray Train's helpers ask the cluster for its state, and would take any other that runs on the same machine.
        ray.init(runtime_env={"env_vars": {"RAY_ADDRESS": address}})
        return spec
    workers = spec.resources.max_workers * (spec.search.max_concurrent if isinstance(spec, SweepSpec) else 1)
    cpus = max(os.cpu_count() or 1, int(workers * spec.resources.cpus_per_worker) + 1)
    # Nobody looks at it, and it takes a twentieth of a core.
    ray.init(address="local", num_cpus=cpus, include_dashboard=False)
    wanted = spec.resources.gpus_per_worker * spec.resources.max_workers
    lacking = wanted > ray.cluster_resources().get("GPU", 0)
    if lacking:
        print(f"This machine lacks the {wanted:g} GPUs that the spec asks for: the workers run on CPUs.")  # noqa: T201
    here = {"accelerator_type": None, "market": MarketPolicy.PREFER_SPOT}
    resources = spec.resources.model_copy(update=here | ({"gpus_per_worker": 0} if lacking else {}))
    return spec.model_copy(update={"resources": resources})


def bundle(resources: WorkerResources) -> dict[str, float]:
    """Give one worker's resources in Ray's words."""
    gpus = {"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}
    return {"CPU": resources.cpus_per_worker, **gpus}


def labels(resources: WorkerResources) -> dict[str, str]:
    """Give the label selector of nodes that will do; empty when any node will."""
    market = {} if resources.market is MarketPolicy.PREFER_SPOT else {"ray.io/market-type": resources.market.value}
    accelerator = {"ray.io/accelerator-type": resources.accelerator_type} if resources.accelerator_type else {}
    return market | accelerator | ({} if resources.gpus_per_worker else ON_NO_GPU_NODE)
