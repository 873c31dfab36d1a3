"""Models that are served hold workers: jobs are admitted beside them, and are told so."""

import pytest

from platform_app.domain.job import JobState
from platform_app.specs import AttemptStatus, DeploymentSpec, RolloutSpec, Strategy

ON_DEMAND = {"market": "on-demand"}
"""A group of two workers with a GPU each."""


@pytest.fixture
def deploy(plane):
    """Give what deploys a model with a GPU for each replica."""
    plane.registry.add_version("digits")
    plane.models.promote("digits", 1)

    def deploy(**fields):
        plane.deployments.put("digits", DeploymentSpec(**{"model": "digits", "gpus_per_replica": 1, **fields}))

    return deploy


def on_demand(num_workers):
    return {"num_workers": num_workers, **ON_DEMAND}


def test_a_job_starts_only_on_what_a_deployment_leaves(plane, deploy):
    deploy()
    wide, narrow = plane.submit(resources=on_demand(2)), plane.submit(resources=on_demand(1))
    plane.tick()
    assert plane.job(wide).state is JobState.QUEUED
    assert "models that are served" in plane.job(wide).message
    assert plane.job(narrow).state is JobState.PENDING


def test_why_it_waits_names_the_deployment(plane, deploy):
    deploy()
    wide = plane.submit(resources=on_demand(2))
    plane.tick()
    found = plane.explain.explain(wide)
    assert found.cause == "groups-full"
    assert "1 of 2 of gpu-ondemand are taken by deployment digits (1)" in found.why


def test_a_plan_leaves_room_for_it_too(plane, deploy):
    deploy()
    assert plane.jobs.plan(plane.job(plane.submit(resources=on_demand(2))).spec).blocked


def test_a_higher_tier_moves_no_model(plane, deploy):
    deploy()
    wide = plane.submit(resources=on_demand(2), tier="production-serving")
    plane.tick()
    assert plane.job(wide).state is JobState.QUEUED


def test_a_deployment_that_scales_to_zero_holds_nothing(plane, deploy):
    deploy(min_replicas=0)
    job = plane.submit(resources=on_demand(2))
    plane.tick()
    assert plane.job(job).state is JobState.PENDING


def test_a_deployment_holds_all_its_replicas_until_it_is_gone(plane, deploy):
    deploy(min_replicas=2, max_replicas=2)
    waits = plane.submit(resources=on_demand(1))
    plane.tick()
    plane.deployments.delete("digits")
    plane.tick()
    assert plane.job(waits).state is JobState.QUEUED
    plane.tick()
    plane.tick()
    assert plane.job(waits).state is JobState.PENDING


def test_a_candidate_holds_workers_of_its_own(plane, deploy):
    deploy(rollout=RolloutSpec(strategy=Strategy.CANARY))
    plane.tick()
    plane.serving.become_ready("digits")
    plane.tick()
    plane.registry.add_version("digits")
    plane.models.promote("digits")
    plane.tick(5)
    waits = plane.submit(resources=on_demand(1))
    plane.tick()
    assert plane.database.deployments.get("digits").active_rollout
    assert plane.job(waits).state is JobState.QUEUED


def test_a_deployment_that_asks_for_what_nobody_has_holds_up_nothing(plane, deploy):
    deploy(gpus_per_replica=1.5)
    job = plane.submit(resources=on_demand(2))
    plane.tick()
    assert plane.job(job).state is JobState.PENDING


def test_an_elastic_run_shrinks_for_a_deployment(plane, deploy):
    job = plane.running(resources=on_demand([1, 2]))
    plane.report(job, 1, status=AttemptStatus.RUNNING, num_workers=2)
    assert plane.job(job).attempt.granted_workers == 2
    deploy()
    plane.tick()
    assert plane.job(job).attempt.granted_workers == 1


def test_a_deployment_has_the_worker_that_comes_free_before_a_job_that_waits(plane, deploy):
    first, second = (plane.running(resources=on_demand(1)) for _ in range(2))
    deploy()
    waits = plane.submit(resources=on_demand(1))
    plane.end(first)
    plane.tick()
    assert plane.job(waits).state is JobState.QUEUED
    plane.end(second)
    plane.tick()
    assert plane.job(waits).state is JobState.PENDING


def test_jobs_with_a_cluster_of_their_own_do_not_mind(plane, deploy):
    deploy()
    job = plane.submit(resources=on_demand(2), cluster="dedicated", team="research")
    plane.tick()
    assert plane.job(job).state is JobState.PENDING
