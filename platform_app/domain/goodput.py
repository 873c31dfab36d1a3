"""Goodput: how much of a training run's time went into the weights that it has."""

from collections.abc import Iterable, Sequence

from platform_app.specs import AttemptReport, Interruption


def goodput(reports: Sequence[AttemptReport], out_of_stock_seconds: float = 0.0) -> float | None:
    """Give useful time over wall time of a training run, from 0 to 1.

    *Wall time* is that from the run's first step to its newest one, over all of its attempts. *Useful time* is what is
    left of it without what interruptions cost: the waits, each from the last step before to the first step after, and
    the time of steps that were lost, which were taken twice. Evaluation and the writing of checkpoints are useful:
    they were asked for. Waiting in the queue and starting up, before the first step, are not part of it.

    Args:
        reports: of the attempts, oldest first.
        out_of_stock_seconds: time, of the wall time, in which fewer workers than the run's min were to be had. It is
            taken off the wall time, so that the share is of the time in which the run could have trained; 0 gives the
            share of all wall time.

    Returns:
        The share; None before the second step, and where there is no step of which to tell the time.
    """
    told = [report.progress for report in reports if report.progress]
    began_at = next((progress.began_at for progress in told if progress.began_at), None)
    newest_at = next((progress.at for progress in reversed(told) if progress.at), None)
    if began_at is None or newest_at is None or newest_at <= began_at:
        return None
    interruptions = (one for report in reports for one in report.interruptions)
    return share((newest_at - began_at).total_seconds(), interruptions, out_of_stock_seconds)


def share(wall_seconds: float, interruptions: Iterable[Interruption], out_of_stock_seconds: float = 0.0) -> float:
    """Give useful time over wall time, as `goodput` defines both, from 0 to 1.

    Args:
        wall_seconds: more than 0.
        interruptions: in that time.
        out_of_stock_seconds: as for `goodput`.
    """
    lost_seconds = sum(one.seconds + one.lost_seconds for one in interruptions)
    # A run trains on through a notice, when its workers are out of stock already: the useful may be more than this.
    possible_seconds = max(wall_seconds - out_of_stock_seconds, 0.0)
    useful_seconds = max(wall_seconds - lost_seconds, 0.0)
    return min(useful_seconds / possible_seconds, 1.0) if possible_seconds else 1.0
