"""What becomes of a deployment, tick by tick."""

import threading

import pytest

from platform_app.domain.deployment import DeploymentState
from platform_app.specs import DeploymentSpec
from tests.fakes import Crash

SPEC = DeploymentSpec(model="digits")


@pytest.fixture
def deployed(plane):
    """Give a control plane whose deployment `digits` serves version 1."""
    plane.registry.add_version("digits")
    plane.models.promote("digits")
    plane.deployments.put("digits", SPEC)
    plane.tick()
    plane.serving.become_ready("digits")
    plane.tick()
    return plane


def seen(plane):
    return plane.deployments.get("digits")


def test_a_deployment_serves_the_version_that_its_alias_names(deployed):
    assert (seen(deployed).state, seen(deployed).served_version) == (DeploymentState.READY, 1)
    assert deployed.serving.applied["digits"].version == 1


def test_a_deployment_that_serves_is_not_written_again(deployed):
    before = deployed.database.deployments.get("digits")
    for _ in range(10):
        deployed.tick()
    assert deployed.database.deployments.get("digits") == before
    assert deployed.serving.num_applied == 1


def test_promotion_rolls_the_deployment_and_keeps_the_old_version_until_the_new_one_answers(deployed):
    deployed.registry.add_version("digits")
    deployed.models.promote("digits")
    deployed.tick(5)
    during = seen(deployed)
    assert (during.state, during.target_version, during.served_version) == (DeploymentState.DEPLOYING, 2, 1)
    deployed.serving.become_ready("digits")
    deployed.tick()
    assert (seen(deployed).state, seen(deployed).served_version) == (DeploymentState.READY, 2)


def test_the_alias_is_not_looked_up_with_every_tick(deployed):
    deployed.tick(5)
    asked = deployed.registry.asked
    for _ in range(4):
        deployed.tick()
    assert deployed.registry.asked == asked
    deployed.tick()
    assert deployed.registry.asked == asked + 1


def test_a_changed_spec_is_applied(deployed):
    deployed.deployments.put("digits", DeploymentSpec(model="digits", max_replicas=3))
    deployed.tick()
    assert deployed.serving.applied["digits"].spec.max_replicas == 3


def test_a_version_that_does_not_start_is_told_while_the_old_one_serves(deployed):
    deployed.registry.add_version("digits")
    deployed.models.promote("digits")
    deployed.tick(5)
    deployed.serving.become_failed("digits", "no module named torchvision")
    deployed.tick()
    failed = seen(deployed)
    assert (failed.state, failed.served_version) == (DeploymentState.FAILED, 1)
    assert "torchvision" in failed.message


def test_an_alias_that_vanished_is_told_and_the_version_keeps_serving(deployed):
    deployed.registry.set_alias("digits", "champion", None)
    deployed.tick(5)
    assert seen(deployed).state is DeploymentState.FAILED
    assert "no alias 'champion' any more; version 1 keeps serving" in seen(deployed).message
    assert deployed.serving.applied["digits"].version == 1
    deployed.registry.set_alias("digits", "champion", 1)
    deployed.tick(5)
    assert seen(deployed).state is DeploymentState.READY


def test_a_registry_that_is_away_changes_nothing(deployed):
    deployed.registry.power.away = True
    deployed.tick(10)
    assert (seen(deployed).state, seen(deployed).message) == (DeploymentState.READY, "")


def test_serving_that_was_lost_is_applied_again_even_while_the_registry_is_away(deployed):
    deployed.registry.power.away = True
    deployed.serving.forget_all()
    deployed.tick(10)
    assert deployed.serving.applied["digits"].version == 1
    assert seen(deployed).state is DeploymentState.DEPLOYING


def test_a_crash_before_the_new_version_is_applied_does_not_pass_the_old_one_off_as_it(deployed):
    deployed.registry.add_version("digits")
    deployed.models.promote("digits")
    deployed.serving.crash = "before"
    with pytest.raises(Crash):
        deployed.tick(5)
    deployed.restart()
    deployed.tick()
    assert deployed.serving.applied["digits"].version == 2
    assert seen(deployed).served_version == 1


def test_a_restart_leaves_what_serves_as_it_is(deployed):
    deployed.restart()
    deployed.tick()
    deployed.tick()
    assert seen(deployed).state is DeploymentState.READY


@pytest.fixture
def refused(deployed):
    deployed.serving.refusal = "not enough GPUs"
    deployed.deployments.put("digits", DeploymentSpec(model="digits", gpus_per_replica=8))
    deployed.tick()
    assert "version 1 was refused: not enough GPUs" in seen(deployed).message
    deployed.serving.refusal = None
    deployed.tick()
    assert seen(deployed).state is DeploymentState.FAILED
    return deployed


def test_what_serve_refuses_is_told_and_something_else_asked_at_once(refused):
    refused.deployments.put("digits", SPEC)
    refused.tick()
    refused.serving.become_ready("digits")
    refused.tick()
    assert seen(refused).state is DeploymentState.READY


def test_what_serve_refuses_is_asked_again_after_a_minute_for_the_reason_may_be_gone(refused):
    refused.tick(60)
    refused.serving.become_ready("digits")
    refused.tick()
    assert seen(refused).state is DeploymentState.READY


def test_a_deleted_deployment_is_forgotten_once_serve_has_let_go(deployed):
    deployed.deployments.delete("digits")
    assert seen(deployed).state is DeploymentState.DELETING
    deployed.tick()
    assert deployed.serving.applied == {}
    deployed.tick()
    assert deployed.deployments.list() == []


def test_a_deployment_that_is_wanted_again_while_it_goes_is_deployed_again(deployed):
    deployed.deployments.delete("digits")
    deployed.tick()
    deployed.deployments.put("digits", SPEC)
    deployed.tick()
    assert deployed.serving.applied["digits"].version == 1


def test_what_serves_without_being_wanted_is_deleted(deployed):
    deployed.database.deployments.save(deployed.database.deployments.get("digits"))
    model = deployed.serving.applied["digits"].model_copy(update={"deployment": "orphan"})
    deployed.serving.apply(model)
    deployed.tick()
    assert list(deployed.serving.applied) == ["digits"]


def test_serve_being_away_does_not_hold_back_jobs(deployed):
    deployed.serving.power.away = True
    job_id = deployed.running()
    deployed.end(job_id)
    assert deployed.job(job_id).state.is_terminal


def test_ray_jobs_being_away_does_not_hold_back_deployments(deployed):
    deployed.runner.power.away = True
    deployed.serving.forget_all()
    deployed.tick()
    assert "digits" in deployed.serving.applied


def test_only_the_holder_of_the_lease_acts(deployed):
    second = deployed.new_reconciler("second")
    job_id = deployed.submit()
    second.tick()
    assert deployed.runner.requests == {}
    deployed.tick()
    assert f"{job_id}-1" in deployed.runner.requests


def test_the_lease_of_a_dead_control_plane_is_taken_over(deployed):
    second = deployed.new_reconciler("second")
    deployed.clock.advance(60)
    deployed.submit()
    second.tick()
    assert len(deployed.runner.requests) == 1
    deployed.submit()
    deployed.reconciler.tick()
    assert len(deployed.runner.requests) == 1


def test_a_reconciler_that_is_told_to_stop_hands_the_lease_over_at_once(deployed):
    stop = threading.Event()
    thread = threading.Thread(target=deployed.reconciler.run_forever, args=(stop, 0.01))
    thread.start()
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    deployed.submit()
    deployed.new_reconciler("second").tick()
    assert len(deployed.runner.requests) == 1
