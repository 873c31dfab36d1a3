"""A small world for admission: jobs come, run, leave and end at random, and after each event everything is checked."""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from platform_app.domain import quota
from platform_app.domain.admission import Verdict, decide
from platform_app.domain.capacity import at_least, demand, is_elastic, place, size
from platform_app.domain.elastic import enlarged, grants, parted
from platform_app.domain.holdings import Taken, holdings, priority
from platform_app.domain.job import Job, JobState, Reason
from platform_app.domain.order import Standing, is_overdue
from platform_app.domain.preemption import ranks
from platform_app.specs import Catalog, Quota, TrainSpec, WorkerResources

START = datetime(2026, 1, 1, tzinfo=UTC)
CATALOG = Catalog.model_validate(
    {
        "overdue_seconds": 600,
        "worker_groups": [
            {"name": "spot", "market": "spot", "accelerator_type": "A10G", "cpus": 8, "gpus": 2, "memory_gib": 8,
             "max_workers": 3, "price_per_hour": 0.4, "priority": 9},
            {"name": "od", "market": "on-demand", "accelerator_type": "A10G", "cpus": 8, "gpus": 2, "memory_gib": 8,
             "max_workers": 2, "price_per_hour": 1.0},
            {"name": "big", "market": "on-demand", "accelerator_type": "H100", "cpus": 8, "gpus": 1, "memory_gib": 8,
             "max_workers": 2, "price_per_hour": 4.0},
        ],
        "tiers": [{"name": name, "priority": number} for name, number in (("serving", 9), ("critical", 5), ("dev", 1))],
    }
)  # fmt: skip
QUOTAS = {
    "plain": Quota(gpus={"A10G": 6, "A10G/on-demand": 2, "H100": 1}, cpus=20, jobs=6),
    "lender": Quota(gpus={"*": 5}, jobs=8),
    "borrower": Quota(gpus={"A10G": 2, "H100": 0}, borrow=True),
    "free": Quota(),
}
LONGEST = timedelta(minutes=20)
"""No job runs for longer without an end."""


@dataclass
class World:
    """The queue, what runs, and the clock."""

    chance: random.Random
    now: datetime = START
    jobs: dict[str, Job] = field(default_factory=dict)
    ends: dict[str, datetime] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    number: int = 0

    def queue(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state is JobState.QUEUED]

    def active(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state.holds_capacity]

    def happen(self) -> None:
        """Let one thing happen, then let the platform act, and check what it does."""
        self.now += timedelta(seconds=self.chance.choice([1, 5, 20, 60]))
        active = self.active()
        kind = self.chance.random()
        if kind < 0.45 and len(self.queue()) < 12:
            self._submit()
        elif kind < 0.75 and active:
            self._let_end(self.chance.choice(active))
        for job in self.active():
            late = self.ends[job.id] <= self.now
            if late or (job.is_leaving and self.chance.random() < 0.5):
                self._let_end(job)
        self._act()

    def _submit(self) -> None:
        low = self.chance.choice([1, 1, 1, 2, 3, 4])
        workers = (low, low + self.chance.randint(1, 4)) if self.chance.random() < 0.2 else low
        self.number += 1
        chosen = {
            "team": self.chance.choice(list(QUOTAS)),
            "tier": self.chance.choices(["serving", "critical", "dev"], [1, 4, 8])[0],
            "resources": _resources(workers, *self.chance.choice(SHAPES)),
        }
        spec = BASE.model_copy(update=chosen)
        if place(demand(spec), CATALOG, {}, None if QUOTAS[spec.team].borrow else quota.limits(QUOTAS[spec.team])):
            job = Job(f"j-{self.number:06}", spec, self.now)
            self.jobs[job.id] = job

    def _let_end(self, job: Job) -> None:
        self.ends.pop(job.id)
        if job.is_leaving:
            self.seen["preempted"] += 1
            self.jobs[job.id] = job.ended(Reason.PREEMPTED, self.now)
        else:
            self.seen["completed"] += 1
            del self.jobs[job.id]

    def _act(self) -> None:
        standings = {name: Standing(its) for name, its in QUOTAS.items()}
        queue, active = self.queue(), self.active()
        decisions = decide(queue, active, CATALOG, {}, standings, self.now)
        assert sorted(one.job.id for one in decisions) == sorted(job.id for job in queue)
        self._check_victims(decisions, active)
        for one in decisions:
            self.seen[one.verdict] += 1
            for victim in one.victims:
                self.jobs[victim.id] = victim.preempted(one.job.id)
            if one.placement:
                self._start(one.job, one.placement)
        self._check_nothing_idles_and_no_tier_is_passed_over(decisions)
        self._resize()
        self._check_quotas()
        self._check_nothing_starves()

    def _start(self, job: Job, placement) -> None:
        granted = size(placement) if is_elastic(job.spec) else None
        self.jobs[job.id] = job.admitted(self.now, granted, placement)
        self.ends[job.id] = self.now + LONGEST * self.chance.random()

    def _resize(self) -> None:
        active = self.active()
        staying = [job for job in active if not job.is_leaving]
        held = holdings(active, CATALOG, {})
        targets = grants(staying, self.queue(), CATALOG, {}, QUOTAS)
        for job in (one for one in staying if one.id in targets):
            keeps, rest = parted(held[job.id], targets[job.id])
            if rest:
                self.jobs[job.id] = job.granted(size(keeps), (*keeps, *rest))
            elif size(targets[job.id]) > size(held[job.id]) and len(staying) == len(active):
                taken = Taken(CATALOG)
                for other_id, placement in holdings(self.active(), CATALOG, {}).items():
                    taken.add(self.jobs[other_id], placement)
                placement = enlarged(job, held[job.id], targets[job.id], taken, QUOTAS[job.team])
                self.jobs[job.id] = job.granted(size(placement), placement)

    def _overdue(self) -> list[Job]:
        return [job for job in self.queue() if is_overdue(job, CATALOG, self.now)]

    # What must hold.

    def _check_quotas(self) -> None:
        """Neither a group nor a quota is ever exceeded."""
        active, taken = self.active(), Taken(CATALOG)
        held = holdings(active, CATALOG, {})
        for job in active:
            assert held[job.id], f"{job.id} runs nowhere"
            taken.add(job, held[job.id])
        for groups in taken.workers.values():
            for group in CATALOG.worker_groups:
                assert groups.get(group.name, 0) <= group.max_workers + 1e-6
        for team, its in QUOTAS.items():
            if not its.borrow:
                for meter, left in quota.remaining(quota.limits(its), taken.by_team(team)).items():
                    assert left >= -1e-6, f"{team} has {-left} {meter} too many"

    def _check_victims(self, decisions, active) -> None:
        """Who makes room is of a lower rank, and every one of them is needed."""
        held = holdings(active, CATALOG, {})
        standings = {name: Standing(its) for name, its in QUOTAS.items()}
        ranked = ranks(active, held, CATALOG, standings)
        going = {job.id for job in active if job.is_leaving}
        others, is_alone = [], not self._overdue()
        wanted = grants([job for job in active if not job.is_leaving], self.queue(), CATALOG, {}, QUOTAS)
        for one in decisions:
            self.seen["victims"] += len(one.victims)
            for victim in one.victims:
                within, higher = ranked[victim.id][0], priority(one.job, CATALOG) > priority(victim, CATALOG)
                assert victim.spec.tier != "serving"
                assert victim.id not in going
                assert higher or (not within and victim.team != one.job.team)
            gone = going | {victim.id for victim in one.victims}
            if one.victims and is_alone and not QUOTAS[one.job.team].borrow:
                # When all of them have gone there is room for it; were one of them left, there would not be.
                staying = [*(job for job in active if job.id not in gone), *others]
                assert self._has_room(one.job, staying, wanted)
                for victim in one.victims:
                    for_nothing = self._has_room(one.job, [*staying, victim], wanted)
                    assert not for_nothing, f"{victim.id} need not go for {one.job.id}"
            going = gone
            if one.placement:
                granted = size(one.placement) if is_elastic(one.job.spec) else None
                others.append(one.job.admitted(self.now, granted, one.placement))
            is_alone = is_alone and one.verdict is not Verdict.ROOM_IS_MADE

    def _has_room(self, job: Job, active, wanted) -> bool:
        """Say whether a job would fit once elastic runs have given up what they are to."""
        shrunk, held = [], holdings(active, CATALOG, {})
        for one in active:
            if one.id in wanted:
                keeps, _ = parted(held[one.id], wanted[one.id])
                one = one.granted(size(keeps), keeps)
            shrunk.append(one)
        return self._placement(job, shrunk) is not None

    def _placement(self, job: Job, active):
        taken, held = Taken(CATALOG), holdings(active, CATALOG, {})
        for one in active:
            taken.add(one, held[one.id])
        its = QUOTAS[job.team]
        left = {} if its.borrow else quota.remaining(quota.limits(its), taken.by_team(job.team))
        return place(at_least(demand(job.spec)), CATALOG, taken.workers.get(job.place, {}), left)

    def _check_nothing_idles_and_no_tier_is_passed_over(self, decisions) -> None:
        """Nothing stands idle that a waiting job could have, or would have had, had no lower tier started.

        Unless it is kept for one that is promised it, or who has waited too long comes first.
        """
        if self._overdue() or any(one.verdict is Verdict.ROOM_IS_MADE for one in decisions):
            return
        self.seen["nothing kept"] += 1
        started = [one.job for one in decisions if one.placement and not is_overdue(one.job, CATALOG, self.now)]
        for job in self.queue():
            assert self._placement(job, self.active()) is None, f"{job.id} could run"
            lower = {one.id for one in started if priority(one, CATALOG) < priority(job, CATALOG)}
            if lower and not QUOTAS[job.team].borrow:
                self.seen["lower start"] += 1
                others = [one for one in self.active() if one.id not in lower]
                assert self._placement(job, others) is None, f"{lower} started before {job.id}"

    def _check_nothing_starves(self) -> None:
        """A job within its quota starts within the bound that `admission` states."""
        for job in self.queue():
            waited = self.now - job.queued_since
            self.seen["longest wait"] = max(self.seen["longest wait"], int(waited.total_seconds()))
            ahead = sum(other.queued_since < job.queued_since for other in self.queue())
            assert QUOTAS[job.team].borrow or waited <= timedelta(seconds=600) + 2 * (ahead + 1) * LONGEST


@cache
def _resources(workers, gpus: float, market: str, accelerator: str | None) -> WorkerResources:
    return WorkerResources(num_workers=workers, gpus_per_worker=gpus, market=market, accelerator_type=accelerator)


BASE = TrainSpec(name="j", workload="a:b")
SHAPES = [(1, "prefer-spot", None), (1, "prefer-spot", "A10G"), (0.5, "prefer-spot", "A10G"), (2, "on-demand", "A10G"),
          (1, "spot", None), (1, "on-demand", "H100"), (1, "on-demand", None)]  # fmt: skip
