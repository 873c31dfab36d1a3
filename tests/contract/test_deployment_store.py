"""What every ledger does with deployments, their rollouts, revisions and events."""

from dataclasses import replace
from datetime import timedelta

import pytest

from platform_app.domain.deployment import Deployment, DeploymentState, Revision, RevisionState
from platform_app.domain.guards import weigh
from platform_app.domain.job import Event
from platform_app.domain.rollout import begin
from platform_app.errors import StaleWrite
from platform_app.specs import ArmCounts, DeploymentSpec, RolloutSpec, SplitCounts
from tests.contract.conftest import NOW


def a_deployment(**fields) -> Deployment:
    values = {"name": "digits", "spec": DeploymentSpec(model="digits"), "created_at": NOW, "updated_at": NOW}
    return Deployment(**{**values, "version": 0, **fields})


class TestDeployments:
    def test_are_given_back_as_stored(self, database):
        stored = database.deployments.save(a_deployment(target_version=3, revision=4, served_version=2))
        assert stored.version == 1
        assert database.deployments.get("digits") == stored
        assert list(database.deployments.list()) == [stored]

    def test_are_listed_by_name(self, database):
        for name in ("b", "a"):
            database.deployments.save(a_deployment(name=name))
        assert [one.name for one in database.deployments.list()] == ["a", "b"]

    def test_one_that_is_not_there_is_none(self, database):
        assert database.deployments.get("digits") is None

    def test_adding_what_is_there_is_stale(self, database):
        database.deployments.save(a_deployment())
        with pytest.raises(StaleWrite):
            database.deployments.save(a_deployment())

    def test_a_write_of_what_was_changed_meanwhile_changes_nothing(self, database):
        read = database.deployments.save(a_deployment())
        winner = database.deployments.save(replace(read, message="won"))
        with pytest.raises(StaleWrite):
            database.deployments.save(replace(read, message="lost"))
        assert database.deployments.get("digits") == winner

    def test_forgetting_twice_is_the_same_as_once(self, database):
        database.deployments.save(a_deployment(state=DeploymentState.DELETING))
        for _ in range(2):
            database.deployments.delete("digits")
            assert database.deployments.get("digits") is None

    def test_one_that_was_wanted_again_is_not_forgotten(self, database):
        going = database.deployments.save(a_deployment(state=DeploymentState.DELETING))
        database.deployments.save(replace(going, state=DeploymentState.DEPLOYING))
        database.deployments.delete("digits")
        assert database.deployments.get("digits") is not None

    def test_a_rollout_with_its_evidence_is_given_back_as_stored(self, database):
        rollout = begin(2, 7, (3, 1), RolloutSpec(), NOW)
        counts = SplitCounts(
            replica="a", step=0, candidate=ArmCounts(requests=5, errors=1), champion=ArmCounts(requests=9)
        )
        rollout = replace(rollout, seen={"a/0": counts}, evidence=weigh(rollout.evidence, {}, [counts]))
        stored = database.deployments.save(a_deployment(rollout=rollout))
        assert database.deployments.get("digits") == stored

    def test_revisions_and_events_are_kept_with_the_write_and_outlive_the_deployment(self, database):
        store, spec = database.deployments, DeploymentSpec(model="mlp")
        first = Revision("digits", 1, 3, spec, NOW)
        saved = store.save(a_deployment(), [Event(NOW, "revision", "one")], first)
        second = Revision("digits", 2, 4, spec, NOW + timedelta(seconds=1))
        saved = store.save(saved, [Event(NOW, "revision", "two")], second)
        store.save(replace(saved, state=DeploymentState.DELETING), (), replace(first, state=RevisionState.SERVED))
        store.delete("digits")
        assert list(store.revisions("digits")) == [second, replace(first, state=RevisionState.SERVED)]
        assert [event.message for event in store.events("digits")] == ["one", "two"]
        assert list(store.revisions_of("mlp", [4, 9])) == [second]
        assert (
            list(store.revisions_of("other", [4]))
            == list(store.revisions("other"))
            == list(store.events("other"))
            == []
        )

    def test_a_write_that_is_stale_leaves_no_event_and_no_revision(self, database):
        store = database.deployments
        read = store.save(a_deployment())
        store.save(read)
        with pytest.raises(StaleWrite):
            store.save(read, [Event(NOW, "revision", "lost")], Revision("digits", 1, 3, read.spec, NOW))
        assert list(store.events("digits")) == list(store.revisions("digits")) == []
