"""What becomes of a rollout, tick by tick: alias, traffic, revisions, and a control plane that dies in between."""

import pytest

from platform_app.domain.deployment import CHALLENGER, CHAMPION, PREVIOUS, DeploymentState, RevisionState
from platform_app.domain.rollout import Phase, Scores
from platform_app.errors import Conflict, NotFound
from platform_app.specs import ArmCounts, DeploymentSpec, Evaluation, Guards, RolloutSpec, SplitCounts, Step, Strategy
from tests.control_plane import ControlPlane
from tests.fakes import Crash

STEPS = (Step(weight=10, hold_seconds=5, min_requests=10), Step(weight=50, hold_seconds=5, min_requests=10))
CANARY = RolloutSpec(strategy=Strategy.CANARY, steps=STEPS)


def spec(**rollout):
    return DeploymentSpec(model="digits", rollout=CANARY.model_copy(update=rollout))


@pytest.fixture
def careful(plane):
    """Give a control plane whose deployment `digits` serves version 1 and takes others by canary; there is a second."""
    return serving(plane, spec())


def serving(plane, wanted):
    plane.registry.add_version("digits")
    plane.models.promote("digits")
    plane.deployments.put("digits", wanted)
    plane.tick()
    ready(plane)
    plane.registry.add_version("digits")
    return plane


def ready(plane):
    plane.serving.become_ready("digits")
    plane.tick()


def started(plane):
    """Promote version 2 and let its candidate start."""
    plane.models.promote("digits", 2)
    plane.tick(6)
    plane.tick()
    ready(plane)
    return plane


def seen(plane):
    return plane.deployments.get("digits")


def aliases(plane):
    return {name: plane.registry.resolve("digits", name) for name in (CHAMPION, CHALLENGER, PREVIOUS)}


def count(plane, step, requests=50, errors=0):
    arms = {"champion": ArmCounts(requests=20 * requests), "candidate": ArmCounts(requests=requests, errors=errors)}
    others = [one for one in plane.serving.counted.get("digits", []) if one.step != step]
    plane.serving.counted["digits"] = [*others, SplitCounts(replica="a", step=step, **arms)]


def through_steps(plane):
    for step in range(len(STEPS)):
        plane.tick()
        ready(plane)
        count(plane, step)
        plane.tick(6)


def breach(plane):
    for number in range(1, 9):
        count(plane, 0, requests=10 * number, errors=10 * number)
        plane.tick()
    return plane


def test_a_promotion_is_a_candidate_beside_the_champion_that_gets_nothing_before_it_is_ready(careful):
    careful.models.promote("digits", 2)
    assert aliases(careful) == {CHAMPION: 1, CHALLENGER: 2, PREVIOUS: None}
    careful.tick(6)
    model = careful.serving.applied["digits"]
    assert (model.version, model.candidate.version, model.candidate.revision, model.split) == (1, 2, 2, None)
    careful.tick()
    ready(careful)
    careful.tick()
    assert careful.serving.applied["digits"].split.weight == 10
    assert (seen(careful).state, seen(careful).served_version) == (DeploymentState.READY, 1)


def test_a_candidate_that_passes_all_steps_leads(careful):
    started(careful)
    through_steps(careful)
    assert seen(careful).rollout.phase is Phase.PROMOTING
    careful.tick()
    model = careful.serving.applied["digits"]
    assert (model.version, model.candidate.version, model.split.weight) == (2, 2, 100)
    assert aliases(careful) == {CHAMPION: 2, CHALLENGER: None, PREVIOUS: 1}
    ready(careful)
    careful.tick()
    model = careful.serving.applied["digits"]
    assert (model.candidate.version, model.split) == (2, None), "the candidate goes when nobody asks it any more"
    ready(careful)
    careful.tick()
    assert careful.serving.applied["digits"].candidate is None
    ready(careful)
    found = seen(careful)
    assert (found.state, found.served_version, found.revision) == (DeploymentState.READY, 2, 2)
    assert found.rollout.phase is Phase.SUCCEEDED
    assert [one.state for one in careful.deployments.revisions("digits")] == [RevisionState.SERVED] * 2
    careful.tick(30)
    assert seen(careful) == found, "and nothing follows"


def test_a_breach_takes_back_alias_and_traffic_in_one_pass(careful):
    started(careful)
    careful.tick()
    ready(careful)
    breach(careful)
    model = careful.serving.applied["digits"]
    assert (model.version, model.candidate.version, model.split) == (1, 2, None)
    assert aliases(careful) == {CHAMPION: 1, CHALLENGER: None, PREVIOUS: None}
    ready(careful)
    careful.tick()
    assert careful.serving.applied["digits"].candidate is None
    ready(careful)
    found = seen(careful)
    assert (found.state, found.served_version, found.rollout.phase) == (DeploymentState.READY, 1, Phase.ROLLED_BACK)
    assert found.rollout.guard == "error-rate"
    assert "candidate 30 of 30, champion 0 of 600" in found.message
    assert careful.deployments.revisions("digits")[0].state is RevisionState.ROLLED_BACK
    kinds = [event.kind for event in careful.deployments.events("digits")]
    assert kinds == ["revision", "READY", "rollout", "running", "rolling-back", "rolled-back"]


def test_a_version_that_was_rolled_back_is_tried_again_only_when_it_is_promoted_again(careful):
    test_a_breach_takes_back_alias_and_traffic_in_one_pass(careful)
    careful.serving.counted.clear()
    careful.tick(30)
    assert seen(careful).rollout.phase is Phase.ROLLED_BACK
    started(careful)
    assert (seen(careful).rollout.phase, seen(careful).rollout.revision) == (Phase.RUNNING, 3)


def test_a_champion_that_was_moved_by_hand_is_tried_all_the_same_and_moved_back(careful):
    careful.registry.set_alias("digits", CHAMPION, 2)
    careful.tick(6)
    assert (careful.serving.applied["digits"].version, careful.serving.applied["digits"].candidate.version) == (1, 2)
    careful.tick()
    ready(careful)
    careful.tick()
    ready(careful)
    breach(careful)
    assert aliases(careful)[CHAMPION] == 1


def test_a_candidate_that_does_not_start_gets_no_traffic_and_the_deployment_says_why(careful):
    careful.models.promote("digits", 2)
    careful.tick(6)
    careful.tick()
    careful.serving.candidate_becomes_failed("digits", "no module named torchvision")
    careful.tick()
    assert careful.serving.applied["digits"].split is None
    careful.tick()
    assert seen(careful).rollout.phase is Phase.ROLLED_BACK
    assert "rolled back by start: no module named torchvision" in seen(careful).message
    assert aliases(careful)[CHALLENGER] is None


@pytest.mark.parametrize(("score", "phase"), [(0.90, Phase.RUNNING), (0.80, Phase.ROLLING_BACK)])
def test_an_examination_comes_before_any_traffic(plane, score, phase):
    serving(plane, spec(guards=Guards(evaluation=Evaluation(dataset="digits-test"))))
    started(plane)
    plane.tick(5)
    assert seen(plane).rollout.phase is Phase.EVALUATING
    assert plane.serving.applied["digits"].split is None
    plane.serving.scores = Scores(candidate=score, champion=0.9)
    plane.tick()
    assert seen(plane).rollout.phase is phase
    assert f"candidate {score:.4g}, champion 0.9" in seen(plane).message


def test_a_person_ends_a_rollout_with_one_word(careful):
    started(careful)
    careful.tick()
    view = careful.deployments.rollback("digits")
    assert (view.rollout.phase, view.rollout.guard) == (Phase.ROLLING_BACK, "operator")
    assert careful.deployments.rollback("digits").rollout == view.rollout, "a second time is the same as once"
    careful.tick()
    assert careful.serving.applied["digits"].split is None
    assert aliases(careful)[CHALLENGER] is None


def promoted(plane):
    test_a_candidate_that_passes_all_steps_leads(plane)
    return plane


def test_rollback_goes_to_what_served_before_with_alias_and_traffic(careful):
    promoted(careful)
    view = careful.deployments.rollback("digits")
    assert (view.target_version, view.revision) == (1, 3)
    careful.tick()
    model = careful.serving.applied["digits"]
    assert (model.version, model.revision, model.candidate) == (1, 3, None)
    assert aliases(careful)[CHAMPION] == 1
    for _ in range(3):
        ready(careful)
    careful.tick(6)
    assert (seen(careful).state, seen(careful).rollout.phase) == (DeploymentState.READY, Phase.SUCCEEDED)
    assert seen(careful).served_version == 1
    assert [one.model_version for one in careful.deployments.revisions("digits")] == [1, 2, 1]


def test_rollback_to_a_revision_brings_back_its_spec(careful):
    careful.deployments.put("digits", spec().model_copy(update={"max_replicas": 3}))
    careful.tick()
    ready(careful)
    assert seen(careful).revision == 2
    careful.deployments.rollback("digits", to=1)
    careful.tick()
    assert careful.serving.applied["digits"].spec.max_replicas == 1


def test_a_revision_that_is_not_there_is_no_way_back(careful):
    with pytest.raises(NotFound, match="no revision 9"):
        careful.deployments.rollback("digits", to=9)


def test_there_is_nothing_before_the_first(careful):
    with pytest.raises(Conflict, match="nothing to go back to"):
        careful.deployments.rollback("digits")


def test_while_a_rollout_is_under_way_nothing_else_is_promoted_or_changed(careful):
    started(careful)
    careful.registry.add_version("digits")
    with pytest.raises(Conflict, match="version 2 is being rolled out"):
        careful.models.promote("digits", 3)
    with pytest.raises(Conflict, match="slipway rollback digits"):
        careful.deployments.put("digits", DeploymentSpec(model="digits", max_replicas=3))
    with pytest.raises(Conflict, match="is served with rollouts"):
        careful.models.rollback("digits")
    careful.models.promote("digits", 2)


def test_a_registry_that_is_away_holds_back_no_traffic_on_its_way_back(careful):
    started(careful)
    careful.tick()
    ready(careful)
    careful.registry.power.away = True
    breach(careful)
    assert careful.serving.applied["digits"].split is None
    ready(careful)
    careful.tick()
    assert seen(careful).rollout.phase is Phase.ROLLING_BACK
    careful.registry.power.away = False
    careful.tick()
    careful.tick()
    assert seen(careful).rollout.phase is Phase.ROLLED_BACK
    assert aliases(careful)[CHALLENGER] is None


@pytest.mark.parametrize("crash", ["before", "after"])
@pytest.mark.parametrize("fate", ["breach", "pass"])
def test_a_control_plane_that_dies_in_any_act_leaves_what_the_next_one_finishes(tmp_path, migrated, crash, fate):
    acts = 0
    for at in range(1, 15):
        folder = tmp_path / str(at)
        folder.mkdir()
        plane = serving(ControlPlane(folder, migrated), spec())
        plane.models.promote("digits", 2)
        acts += lived_through(plane, crash, fate, at)
        plane.database.close()
        found = seen(plane)
        leads = 1 if fate == "breach" else 2
        assert found.rollout.phase is (Phase.ROLLED_BACK if fate == "breach" else Phase.SUCCEEDED)
        assert (found.state, found.served_version) == (DeploymentState.READY, leads)
        model = plane.serving.applied["digits"]
        assert (model.version, model.candidate) == (leads, None)
        assert (aliases(plane)[CHAMPION], aliases(plane)[CHALLENGER]) == (leads, None)
    assert acts >= 5, "each act of the rollout was once the last of a control plane"


def lived_through(plane, crash, fate, at):
    """Live through a rollout in which the control plane dies in its `at`-th pass; say whether it did."""
    died = False
    for number in range(1, 20):
        plane.serving.crash = plane.registry.crash = crash if number == at else None
        try:
            plane.tick(3)
        except Crash:
            died = True
            plane.restart()
        model = plane.serving.applied["digits"]
        if model.split and model.split.step < len(STEPS):
            count(plane, model.split.step, 20 * number, errors=20 * number if fate == "breach" else 0)
        plane.serving.become_ready("digits")
    return died
