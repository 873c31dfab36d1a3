"""Who starts: by tier, then age, and never more than there is."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.admission import decide
from platform_app.domain.holdings import occupied
from platform_app.domain.job import Job
from platform_app.specs import TrainSpec, load_catalog

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CATALOG = load_catalog()
TIERS = [tier.name for tier in CATALOG.tiers]


def job(number, workers=1, tier="development", gpus=1.0, admitted=False):
    spec = TrainSpec(name="j", workload="a:b", tier=tier, resources={"num_workers": workers, "gpus_per_worker": gpus})
    queued = Job(id=f"j-{number:06}", spec=spec, created_at=NOW + timedelta(seconds=number))
    return queued.admitted(queued.created_at) if admitted else queued


def started(decisions):
    return [decision.job.id for decision in decisions if decision.placement]


def test_older_jobs_start_first_and_the_rest_is_told_who_holds_the_workers():
    decisions = decide([job(2, workers=4), job(1, workers=4)], [], CATALOG)
    assert started(decisions) == ["j-000001"]
    assert decisions[1].message == "waits for 4 free worker(s); held now by: jobs ahead of it"


def test_a_higher_tier_goes_before_an_older_job():
    decisions = decide([job(1, workers=6), job(2, workers=6, tier="training-critical")], [], CATALOG)
    assert started(decisions) == ["j-000002"]


def test_a_job_that_does_not_fit_does_not_hold_back_one_that_fits_elsewhere():
    running = job(0, workers=6, admitted=True)
    decisions = decide([job(1, workers=6), job(2, gpus=0)], [running], CATALOG)
    assert started(decisions) == ["j-000002"]
    assert "held now by: j-000000" in decisions[0].message


queues = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(TIERS), st.sampled_from([0.0, 0.5, 1.0])), max_size=12)


@given(queues)
def test_what_is_admitted_always_fits_together(queue):
    queued = [job(n, workers, tier, gpus) for n, (workers, tier, gpus) in enumerate(queue) if workers <= 2 or gpus]
    admitted = [d.job.admitted(NOW) for d in decide(queued, [], CATALOG) if d.placement]
    used = occupied(admitted, CATALOG, {})
    for group in CATALOG.worker_groups:
        assert used.get(group.name, 0) <= group.max_workers + 1e-6


@given(queues)
def test_every_queued_job_gets_exactly_one_answer(queue):
    queued = [job(n, *fields) for n, fields in enumerate(queue)]
    decisions = decide(queued, [], CATALOG)
    assert sorted(d.job.id for d in decisions) == sorted(j.id for j in queued)
    assert all(bool(d.placement) != bool(d.message) for d in decisions)
