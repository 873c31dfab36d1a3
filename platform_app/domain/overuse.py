"""Whether a command takes more GPUs than it declared: those are what its team is charged for, and others wait for.

CPUs are not looked at: of an actor Ray tells what it needed to be placed, which by default is a CPU that it then does
not hold.
"""

from platform_app.specs import CommandSpec

_EPSILON = 1e-6
"""Of a GPU; fractions of one are summed."""


def declared(spec: CommandSpec) -> float:
    """Count the GPUs that a command has declared, for itself and for what it asks of Ray."""
    inside = spec.workers.max_workers * spec.workers.gpus_per_worker if spec.workers else 0.0
    return spec.driver.gpus_per_worker + inside


def overuse(spec: CommandSpec, held: float) -> str | None:
    """Say what a command holds beyond what it declared; None where it keeps to it.

    Args:
        spec: the command.
        held: GPUs that its tasks, actors and placement groups hold now.
    """
    excess = spec.driver.gpus_per_worker + held - declared(spec)
    if excess <= _EPSILON:
        return None
    inside = declared(spec) - spec.driver.gpus_per_worker
    return (
        f"it holds {held:g} GPUs by tasks, actors and placement groups, and has declared {inside:g} for them: "
        f"declare them as `workers`, or by the metadata slipway.gpus ({held:g})"
    )
