"""What the services answer, and what they refuse."""

import asyncio

import pytest

from platform_app.domain.job import JobState
from platform_app.domain.supply import GroupCount
from platform_app.errors import Conflict, InvalidRequest, NotFound
from platform_app.ports import JobFilter, RayJobStatus
from platform_app.services.cluster import cluster_view
from platform_app.specs import DeploymentSpec
from tests.control_plane import sweep_spec, train_spec


def problems(refused) -> dict[str, str]:
    return {problem.field: problem.message for problem in refused.value.problems}


class TestSubmitting:
    def test_stores_the_job_and_returns_at_once(self, plane):
        job = plane.jobs.submit(train_spec())
        assert job.state is JobState.QUEUED
        assert job.id.startswith("digits-")
        assert plane.runner.requests == {}

    def test_the_same_key_and_spec_give_the_first_job(self, plane):
        first = plane.jobs.submit(train_spec(), "key")
        assert plane.jobs.submit(train_spec(), "key").id == first.id

    def test_the_same_key_with_another_spec_is_a_conflict(self, plane):
        plane.jobs.submit(train_spec(), "key")
        with pytest.raises(Conflict, match="take a new key"):
            plane.jobs.submit(train_spec(epochs=3), "key")

    def test_refuses_a_tier_that_is_not_there_and_names_the_nearest(self, plane):
        with pytest.raises(InvalidRequest) as refused:
            plane.jobs.submit(train_spec(tier="developmnt"))
        assert "did you mean 'development'?" in problems(refused)["tier"]

    def test_refuses_more_workers_than_can_exist(self, plane):
        with pytest.raises(InvalidRequest) as refused:
            plane.jobs.submit(train_spec(resources={"num_workers": 7}))
        assert "at most 6" in problems(refused)["resources.num_workers"]

    def test_refuses_a_working_directory_that_was_not_uploaded(self, plane):
        with pytest.raises(InvalidRequest) as refused:
            plane.jobs.submit(train_spec(working_dir=f"package:{'0' * 64}"))
        assert "upload it first" in problems(refused)["working_dir"]

    def test_refuses_a_spec_that_no_command_line_can_hold(self, plane):
        with pytest.raises(InvalidRequest) as refused:
            plane.jobs.submit(train_spec(config={"table": "x" * 200_000}))
        assert "put data in files" in problems(refused)["config"]

    def test_names_every_problem_at_once(self, plane):
        with pytest.raises(InvalidRequest) as refused:
            plane.jobs.submit(train_spec(tier="x", resources={"num_workers": 99}))
        assert set(problems(refused)) == {"tier", "resources.num_workers"}

    def test_a_plan_says_what_would_run_where_and_for_how_much_and_stores_nothing(self, plane):
        plan = plane.jobs.plan(train_spec(resources={"num_workers": 5}))
        assert [(share.group, share.training_workers) for share in plan.placement] == [
            ("gpu-spot", 4),
            ("gpu-ondemand", 1),
        ]
        assert plan.price_per_hour == pytest.approx(4 * 0.36 + 1.01)
        assert plan.submission_id.endswith("-1")
        assert "jobs.train" in plan.entrypoint
        assert plane.jobs.list(JobFilter(), 10).items == ()


class TestLooking:
    def test_shows_what_the_newest_report_says(self, plane):
        job_id = plane.running()
        progress = {"done": 3, "total": 9, "unit": "steps", "metrics": {"loss": float("nan")}}
        plane.report(job_id, 1, status="running", progress=progress, mlflow_run_id="r", model_version=4)
        view = plane.jobs.get(job_id)
        assert (view.progress.done, view.mlflow_run_id, view.model_version) == (3, "r", 4)

    def test_shows_the_report_before_while_a_new_attempt_has_none(self, plane):
        job_id = plane.running()
        plane.report(job_id, 1, status="running", mlflow_run_id="r")
        plane.runner.lose_all()
        plane.tick()
        plane.tick()
        assert len(plane.jobs.get(job_id).attempts) == 2
        assert plane.jobs.get(job_id).mlflow_run_id == "r"

    def test_shows_a_job_whose_report_cannot_be_read(self, plane, monkeypatch):
        job_id = plane.running()

        def unreadable(job_id, attempt):
            raise OSError("stale file handle")

        monkeypatch.setattr(plane.storage, "report", unreadable)
        assert plane.jobs.get(job_id).progress is None

    @pytest.mark.parametrize("use_case", ["get", "events", "trials", "stop"])
    def test_knows_no_other_jobs(self, plane, use_case):
        with pytest.raises(NotFound, match="there is no job 'nope-000000'"):
            getattr(plane.jobs, use_case)("nope-000000")

    def test_shows_the_trials_of_sweeps_only(self, plane):
        sweep = plane.jobs.submit(sweep_spec()).id
        plane.registry.add_trial("slipway", sweep, {"lr": "0.1"}, {"accuracy": 0.9})
        assert [trial.params for trial in plane.jobs.trials(sweep)] == [{"lr": "0.1"}]
        assert list(plane.jobs.trials(plane.submit())) == []


class TestStopping:
    def test_a_queued_job_stops_at_once(self, plane):
        job_id = plane.submit()
        assert plane.jobs.stop(job_id).state is JobState.STOPPED

    def test_a_second_stop_gives_the_same_answer(self, plane):
        job_id = plane.running()
        assert plane.jobs.stop(job_id) == plane.jobs.stop(job_id)
        assert [event.kind for event in plane.jobs.events(job_id)].count("STOPPING") == 1

    def test_a_stop_of_an_ended_job_gives_it_as_it_is(self, plane):
        job_id = plane.running()
        plane.end(job_id)
        assert plane.jobs.stop(job_id).state is JobState.SUCCEEDED

    def test_a_stop_between_attempts_leaves_the_ended_ones_as_they_ended(self, plane):
        job_id = plane.running()
        plane.runner.lose_all()
        plane.tick()
        stopped = plane.jobs.stop(job_id)
        assert stopped.state is JobState.STOPPED
        assert [attempt.reason for attempt in stopped.attempts] == ["cluster-lost"]


class TestLogs:
    def follow(self, plane, job_id: str, attempt: int = 1, offset: int = 0, steps=()) -> bytes:
        """Read a followed log to its end, doing one of the steps after each piece that arrives."""
        todo = iter(steps)

        async def read() -> bytes:
            whole = b""
            async for piece in plane.logs.follow(job_id, attempt, offset):
                whole += piece
                next(todo, lambda: None)()
            return whole

        return asyncio.run(asyncio.wait_for(read(), timeout=20))

    def test_of_a_job_without_attempts_is_empty(self, plane):
        job_id = plane.submit()
        assert plane.logs.attempt(job_id) == 1
        assert plane.logs.read(job_id, 1) == b""

    def test_are_those_of_the_newest_attempt_when_none_is_asked_for(self, plane):
        job_id = plane.running()
        plane.runner.lose_all()
        plane.tick()
        plane.tick()
        assert plane.logs.attempt(job_id) == 2
        assert plane.logs.attempt(job_id, 1) == 1
        with pytest.raises(NotFound, match="no attempt 3; the newest is 2"):
            plane.logs.attempt(job_id, 3)

    def test_are_read_from_what_was_kept_once_the_attempt_has_ended(self, plane):
        job_id = plane.running()
        plane.runner.write(f"{job_id}-1", "hello\n")
        assert plane.logs.read(job_id, 1) == b"hello\n"
        plane.end(job_id)
        plane.runner.lose_all()
        assert plane.logs.read(job_id, 1) == b"hello\n"

    def test_an_offset_counts_bytes_even_inside_a_character(self, plane):
        job_id = plane.running()
        plane.runner.write(f"{job_id}-1", "näh\n")
        assert [plane.logs.read(job_id, 1, offset) for offset in (0, 1, 2, 3)] == [
            b"n\xc3\xa4h\n",
            b"\xc3\xa4h\n",
            b"\xa4h\n",
            b"h\n",
        ]
        assert plane.logs.read(job_id, 1, 99) == b""

    def test_following_ends_when_the_attempt_does(self, plane):
        job_id = plane.running()
        name = f"{job_id}-1"
        plane.runner.write(name, "one\n")
        steps = [lambda: plane.runner.write(name, "two\n"), lambda: plane.runner.finish(name)]
        assert self.follow(plane, job_id, steps=steps) == b"one\ntwo\n"

    def test_following_a_queued_job_waits_for_its_attempt(self, plane):
        job_id = plane.submit()
        name = f"{job_id}-1"
        plane.runner.write(name, "begun\n")
        assert self.follow(plane, job_id, steps=[lambda: plane.runner.finish(name)]) == b"begun\n"

    def test_following_a_job_that_is_stopped_in_the_queue_ends(self, plane):
        job_id = plane.submit()
        plane.jobs.stop(job_id)
        assert self.follow(plane, job_id) == b""

    def test_a_stream_that_breaks_off_is_taken_up_where_it_was(self, plane):
        job_id = plane.running()
        name = f"{job_id}-1"
        plane.runner.write(name, "one\n")
        plane.runner.broken_tails = 2

        def then():
            plane.runner.write(name, "two\n")
            plane.runner.finish(name)

        assert self.follow(plane, job_id, steps=[then]) == b"one\ntwo\n"

    @pytest.mark.parametrize("offset", range(9))
    def test_a_reader_that_was_cut_off_misses_and_repeats_nothing(self, plane, offset):
        job_id = plane.running()
        name = f"{job_id}-1"
        plane.runner.write(name, "né\nzwö\n")
        whole = "né\nzwö\n".encode()
        plane.runner.finish(name, RayJobStatus.FAILED)
        assert self.follow(plane, job_id, offset=offset) == whole[offset:]


class TestModels:
    @pytest.fixture
    def models(self, plane):
        for _ in range(3):
            plane.registry.add_version("digits")
        return plane.models

    def test_the_newest_version_is_promoted_when_none_is_named(self, models):
        assert models.promote("digits").aliases == {"champion": 3}

    def test_promotion_keeps_the_old_champion_for_the_way_back(self, models):
        models.promote("digits", 1)
        assert models.promote("digits", 2).aliases == {"champion": 2, "previous": 1}

    def test_promoting_the_champion_again_changes_nothing(self, models):
        models.promote("digits", 1)
        models.promote("digits", 2)
        assert models.promote("digits", 2).aliases == {"champion": 2, "previous": 1}

    def test_rollback_makes_the_previous_champion_champion_once(self, models):
        models.promote("digits", 1)
        models.promote("digits", 2)
        assert models.rollback("digits").aliases == {"champion": 1}
        with pytest.raises(Conflict, match="no previous champion"):
            models.rollback("digits")

    def test_a_version_that_is_not_there_is_refused_with_those_that_are(self, models):
        with pytest.raises(InvalidRequest) as refused:
            models.promote("digits", 9)
        assert "versions 1, 2, 3; got 9" in problems(refused)["version"]

    @pytest.mark.parametrize("use_case", ["versions", "promote", "rollback"])
    def test_a_model_that_is_not_there_is_not_found_and_the_nearest_named(self, models, use_case):
        with pytest.raises(NotFound, match="did you mean 'digits'"):
            getattr(models, use_case)("digit")


class TestDeployments:
    def test_a_model_that_does_not_exist_is_refused_and_the_nearest_named(self, plane):
        plane.registry.add_version("digits")
        with pytest.raises(InvalidRequest) as refused:
            plane.deployments.put("digits", DeploymentSpec(model="digit"))
        assert "did you mean 'digits'?" in problems(refused)["model"]

    def test_an_alias_that_does_not_exist_is_refused_with_what_to_do(self, plane):
        plane.registry.add_version("digits")
        with pytest.raises(InvalidRequest) as refused:
            plane.deployments.put("digits", DeploymentSpec(model="digits"))
        assert "/v1/models/digits/promote" in problems(refused)["alias"]

    @pytest.mark.parametrize("version", [1, 7])
    def test_a_multiplexed_model_must_have_its_version(self, plane, version):
        plane.registry.add_version("digits")
        plane.registry.add_version("north")
        plane.registry.set_alias("digits", "champion", 1)
        spec = DeploymentSpec(model="digits", multiplexed={"models": [{"model": "north", "version": version}]})
        if version == 1:
            assert plane.deployments.put("digits", spec).spec.multiplexed == spec.multiplexed
            return
        with pytest.raises(InvalidRequest) as refused:
            plane.deployments.put("digits", spec)
        assert problems(refused)["multiplexed"] == "model 'north' has versions 1; got version 7"

    def test_a_graph_with_a_version_that_does_not_exist_is_refused(self, plane):
        plane.registry.add_version("digits")
        plane.models.promote("digits")
        graph = {"ensemble": ["model", {"model": "digits", "version": 7}]}
        with pytest.raises(InvalidRequest) as refused:
            plane.deployments.put("digits", DeploymentSpec(model="digits", graph=graph))
        assert "versions 1; got version 7" in problems(refused)["graph"]

    def test_the_same_spec_again_changes_nothing(self, plane):
        plane.registry.add_version("digits")
        plane.models.promote("digits")
        first = plane.deployments.put("digits", DeploymentSpec(model="digits"))
        plane.clock.advance(1)
        assert plane.deployments.put("digits", DeploymentSpec(model="digits")) == first

    def test_deleting_what_is_gone_is_the_same_as_deleting(self, plane):
        plane.deployments.delete("digits")
        plane.deployments.delete("digits")

    def test_another_model_begins_without_versions_of_the_old_one(self, plane):
        for model in ("digits", "letters"):
            plane.registry.add_version(model)
            plane.models.promote(model)
        plane.deployments.put("reader", DeploymentSpec(model="digits"))
        plane.tick()
        assert plane.deployments.get("reader").target_version == 1
        assert plane.deployments.put("reader", DeploymentSpec(model="letters")).target_version is None


def test_the_cluster_is_the_catalog_with_what_is_there(plane):
    plane.cluster.counts = {"gpu-spot": GroupCount(running=2, pending=1)}
    view = cluster_view(plane.catalog, plane.cluster)
    assert [(group.name, group.workers, group.pending, group.max_workers) for group in view.worker_groups] == [
        ("gpu-spot", 2, 1, 4),
        ("gpu-ondemand", 0, 0, 2),
        ("cpu", 0, 0, 2),
    ]
    assert view.price_per_hour == pytest.approx(0.72)
