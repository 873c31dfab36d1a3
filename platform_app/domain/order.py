"""Whose turn it is: those overdue, then tier by tier, and within a tier the team that has had least lately.

The order is of the queue alone: what comes first and does not fit holds back nobody who fits elsewhere.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from platform_app.domain.holdings import priority
from platform_app.domain.job import Job
from platform_app.domain.team import Team
from platform_app.specs import Catalog, Quota

HALF_LIFE = timedelta(hours=6)
"""How long it takes until half of what a team has used is forgotten."""
_AHEAD_HOURS = 1.0
"""What a team holds counts as if it had been used for so long: who starts much at once has had much."""


@dataclass(frozen=True)
class Standing:
    """What admission knows of a team."""

    quota: Quota
    used: float = 0.0
    """What its jobs have used lately, in US dollars of the catalog's prices; half is forgotten in `HALF_LIFE`."""


def decayed(used: float, since: timedelta) -> float:
    """Give what is left of a use after some time; a clock that went back forgets nothing."""
    return used * math.exp2(-max(timedelta(), since) / HALF_LIFE)


def standings(teams: Iterable[Team], now: datetime) -> dict[str, Standing]:
    """Say what admission knows of each team, by name."""
    return {
        team.name: Standing(team.quota, decayed(team.used, now - team.used_at) if team.used_at else team.used)
        for team in teams
    }


def in_order(queue: Iterable[Job], catalog: Catalog) -> list[Job]:
    """Give queued jobs by tier, then age."""
    return sorted(queue, key=lambda job: (-priority(job, catalog), job.created_at, job.id))


def is_overdue(job: Job, catalog: Catalog, at: datetime | None) -> bool:
    """Say whether a job had waited for longer than a job should, at a moment; None where time is not looked at."""
    return at is not None and at - job.queued_since >= timedelta(seconds=catalog.overdue_seconds)


class Turns:
    """Gives queued jobs one at a time, and learns which of them start."""

    def __init__(self, catalog: Catalog, teams: Mapping[str, Standing], now: datetime | None) -> None:
        self._catalog = catalog
        self._now = now
        self._share = {name: team.used for name, team in teams.items()}

    def holds(self, team: str, price_per_hour: float) -> None:
        """Learn that a team holds workers of such a price, in US dollars."""
        self._share[team] = self._share.get(team, 0.0) + price_per_hour * _AHEAD_HOURS

    def of(self, queue: Iterable[Job]) -> Iterator[Job]:
        """Give each job when its turn has come."""
        waiting = in_order(queue, self._catalog)
        overdue = [job for job in waiting if is_overdue(job, self._catalog, self._now)]
        yield from sorted(overdue, key=lambda job: (job.queued_since, job.id))
        tiers: dict[int, dict[str, list[Job]]] = {}
        for job in waiting:
            if not is_overdue(job, self._catalog, self._now):
                tiers.setdefault(priority(job, self._catalog), {}).setdefault(job.team, []).append(job)
        for teams in tiers.values():
            oldest_last = {team: jobs[::-1] for team, jobs in teams.items()}
            while oldest_last:
                team = min(oldest_last, key=lambda name: self._turn(name, oldest_last[name][-1]))
                yield oldest_last[team].pop()
                if not oldest_last[team]:
                    del oldest_last[team]

    def _turn(self, team: str, oldest: Job) -> tuple[float, datetime, str]:
        return self._share.get(team, 0.0), oldest.created_at, oldest.id
