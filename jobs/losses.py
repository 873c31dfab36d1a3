"""A trial's budget of failures is for its own errors: the workers that it lost do not eat it.

Tune spares a trial the workers whose nodes were drained, and charges it for those that were killed without a notice. It
offers no way to say otherwise, so the method that charges is replaced.
"""

from typing import Any

from ray.tune.experiment import Trial

from jobs.failure import MAX_LOSSES_WITHOUT_PROGRESS


class Losses:
    """The workers that each trial has lost since it last got further."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, int]] = {}

    def take(self, trial: Trial, _error: Any) -> None:
        """Take a loss; what comes too often without an epoch in between is the trial's own doing."""
        done = int((trial.last_result or {}).get("epoch", 0))
        epoch, losses = self._of.get(trial.trial_id, (done, 0))
        losses = losses + 1 if epoch == done else 1
        self._of[trial.trial_id] = done, losses
        if losses > MAX_LOSSES_WITHOUT_PROGRESS:
            trial.run_metadata.num_failures = max(trial.run_metadata.num_failures, trial.max_failures) + 1


def spare_lost_workers() -> None:
    """Have Tune, in this process, charge trials for their own errors alone."""
    Trial._handle_ray_actor_error = lambda trial, error, losses=Losses(): losses.take(trial, error)
