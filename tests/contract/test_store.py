"""What every ledger does, asked of SQLite always and of PostgreSQL where `SLIPWAY_TEST_POSTGRES_URL` names one."""

import multiprocessing
import os
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, text

from platform_app.adapters.database import Database, connect, migrate
from platform_app.adapters.tables import job_row, jobs, metadata
from platform_app.domain.deployment import Deployment, DeploymentState, Revision, RevisionState
from platform_app.domain.guards import weigh
from platform_app.domain.job import Event, Job, JobState, Reason
from platform_app.domain.rollout import begin
from platform_app.domain.team import Team
from platform_app.errors import Conflict, InvalidRequest, StaleWrite, TemporaryError
from platform_app.ports import JobFilter
from platform_app.specs import ArmCounts, DeploymentSpec, RolloutSpec, SplitCounts
from tests.control_plane import sweep_spec, train_spec

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ALL = JobFilter()
POSTGRES = os.environ.get("SLIPWAY_TEST_POSTGRES_URL")


@pytest.mark.skipif(not POSTGRES, reason="SLIPWAY_TEST_POSTGRES_URL is not set: the ledger is tried on SQLite alone")
def test_postgres_is_asked_too():
    assert connect(POSTGRES).dialect.name == "postgresql"


@pytest.fixture(params=["sqlite", "postgres"] if POSTGRES else ["sqlite"])
def url(request, tmp_path):
    """Give the URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    schema = f"test_{uuid.uuid4().hex}"
    engine = connect(POSTGRES)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield f"{POSTGRES}?options=-csearch_path%3D{schema}"
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def database(url):
    migrate(url)
    database = Database(url)
    yield database
    database.close()


def a_job(number: int = 0, **fields) -> Job:
    values = {"id": f"digits-{number:06}", "spec": train_spec(), "created_at": NOW + timedelta(seconds=number)}
    return Job(**{**values, **fields})


def a_deployment(**fields) -> Deployment:
    values = {"name": "digits", "spec": DeploymentSpec(model="digits"), "created_at": NOW, "updated_at": NOW}
    return Deployment(**{**values, "version": 0, **fields})


class TestJobs:
    def test_gives_back_what_was_stored(self, database):
        job = a_job(spec=sweep_spec(config={"depth": 2, "rate": 0.5, "name": "x", "on": True}), idempotency_key="k")
        database.jobs.add(job, [])
        assert database.jobs.get(job.id) == job

    def test_a_job_is_known_at_rays_door_by_one_id_within_its_team(self, database):
        for team in ("default", "research"):
            database.teams.add(Team(team, NOW))
        mine = database.jobs.add(a_job(1, door_id="x"), [])
        theirs = database.jobs.add(a_job(2, door_id="x", spec=train_spec(team="research")), [])
        assert database.jobs.at_door("x", "default") == mine
        assert database.jobs.at_door("x", "research") == theirs
        assert database.jobs.at_door("x") == theirs
        assert database.jobs.at_door("y") is None
        with pytest.raises(Conflict):
            database.jobs.add(a_job(3, door_id="x"), [])

    def test_an_id_at_rays_door_is_free_again_when_its_job_was_deleted_there(self, database):
        for number in (1, 2):
            job = database.jobs.add(a_job(number, door_id="x"), [])
            assert database.jobs.at_door("x") == job
            database.jobs.save(replace(job, door_id=None))
            assert database.jobs.at_door("x") is None

    def test_gives_back_a_job_with_its_whole_history(self, database):
        job = database.jobs.add(a_job(), []).admitted(NOW)
        job = database.jobs.save(job).running(NOW + timedelta(seconds=1))
        job = database.jobs.save(job).ended(Reason.CLUSTER_LOST, NOW + timedelta(seconds=2), "lost")
        job = database.jobs.save(database.jobs.save(job).admitted(NOW + timedelta(seconds=3)))
        assert database.jobs.get(job.id) == job
        assert [attempt.reason for attempt in job.attempts] == [Reason.CLUSTER_LOST, None]

    def test_a_job_that_is_not_there_is_none(self, database):
        assert database.jobs.get("digits-000000") is None

    def test_moments_come_back_in_utc_whatever_zone_they_had(self, database):
        there = NOW.astimezone(timezone(timedelta(hours=5)))
        database.jobs.add(a_job(created_at=there), [])
        stored = database.jobs.get(a_job().id)
        assert (stored.created_at, stored.created_at.tzinfo) == (NOW, UTC)

    def test_the_same_idempotency_key_gives_the_stored_job(self, database):
        first = database.jobs.add(a_job(1, idempotency_key="k"), [Event(NOW, "QUEUED", "first")])
        second = database.jobs.add(a_job(2, idempotency_key="k"), [Event(NOW, "QUEUED", "second")])
        assert second == first
        assert database.jobs.get(a_job(2).id) is None
        assert [event.message for event in database.jobs.events(first.id)] == ["first"]

    def test_one_of_many_submissions_with_one_key_at_one_time_is_stored(self, database):
        stored = []

        def submit(number: int) -> None:
            stored.append(database.jobs.add(a_job(number, idempotency_key="k"), []).id)

        threads = [threading.Thread(target=submit, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(stored) == 8
        assert len(set(stored)) == 1

    def test_jobs_without_a_key_are_never_the_same(self, database):
        database.jobs.add(a_job(1), [])
        database.jobs.add(a_job(2), [])
        assert len(database.jobs.list(ALL, 10)[0]) == 2

    def test_refuses_an_id_that_is_taken(self, database):
        database.jobs.add(a_job(), [])
        with pytest.raises(Conflict, match="already"):
            database.jobs.add(a_job(), [])

    def test_a_save_counts_the_version(self, database):
        job = database.jobs.save(database.jobs.add(a_job(), []).admitted(NOW))
        assert job.version == 2
        assert database.jobs.get(job.id) == job

    def test_a_write_of_what_was_changed_meanwhile_changes_nothing(self, database):
        job = database.jobs.add(a_job(), [])
        winner = database.jobs.save(job.admitted(NOW), [Event(NOW, "PENDING", "won")])
        with pytest.raises(StaleWrite):
            database.jobs.save(job.moved(JobState.STOPPED, NOW), [Event(NOW, "STOPPED", "lost")])
        assert database.jobs.get(job.id) == winner
        assert [event.message for event in database.jobs.events(job.id)] == ["won"]

    def test_a_write_of_what_was_never_stored_is_stale(self, database):
        with pytest.raises(StaleWrite):
            database.jobs.save(a_job())

    def test_of_many_writers_at_one_time_one_wins(self, database):
        job = database.jobs.add(a_job(), [])
        results = []

        def write(number: int) -> None:
            try:
                results.append(database.jobs.save(replace(job, message=f"writer {number}")).message)
            except StaleWrite:
                results.append(None)

        threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result for result in results if result] == [database.jobs.get(job.id).message]

    def test_events_are_kept_in_their_order(self, database):
        job = database.jobs.add(a_job(), [Event(NOW, "QUEUED", "1"), Event(NOW, "QUEUED", "2")])
        database.jobs.save(job, [Event(NOW - timedelta(hours=1), "QUEUED", "3")])
        assert [event.message for event in database.jobs.events(job.id)] == ["1", "2", "3"]


class TestPages:
    def test_come_newest_first_and_tell_the_next(self, database):
        for number in range(5):
            database.jobs.add(a_job(number), [])
        first, cursor = database.jobs.list(ALL, 3)
        second, end = database.jobs.list(ALL, 3, cursor)
        assert [job.id[-1] for job in (*first, *second)] == ["4", "3", "2", "1", "0"]
        assert end is None

    def test_have_no_next_when_they_end_with_the_list(self, database):
        for number in range(4):
            database.jobs.add(a_job(number), [])
        _, cursor = database.jobs.list(ALL, 2)
        assert database.jobs.list(ALL, 2, cursor)[1] is None

    def test_neither_repeat_nor_miss_a_job_while_others_are_added(self, database):
        for number in range(4):
            database.jobs.add(a_job(number), [])
        first, cursor = database.jobs.list(ALL, 2)
        database.jobs.add(a_job(9), [])
        second, _ = database.jobs.list(ALL, 2, cursor)
        assert [job.id[-1] for job in (*first, *second)] == ["3", "2", "1", "0"]

    def test_tell_jobs_of_one_moment_apart(self, database):
        for number in range(5):
            database.jobs.add(a_job(number, created_at=NOW), [])
        seen, cursor = [], None
        while True:
            page, cursor = database.jobs.list(ALL, 2, cursor)
            seen += [job.id for job in page]
            if cursor is None:
                break
        assert seen == [a_job(number).id for number in reversed(range(5))]

    def test_filter_by_state_kind_and_name_together(self, database):
        for number in range(4):
            job = database.jobs.add(a_job(number), [])
            if number % 2:
                database.jobs.save(job.admitted(NOW))
        database.jobs.add(a_job(10, id="sweep-000001", spec=sweep_spec()), [])
        database.jobs.add(a_job(11, id="other-000001", spec=train_spec(name="other")), [])

        def found(**wanted) -> list[str]:
            return [job.id for job in database.jobs.list(JobFilter(**wanted), 10)[0]]

        assert found(states=frozenset({JobState.PENDING})) == ["digits-000003", "digits-000001"]
        assert len(found(states=frozenset({JobState.PENDING, JobState.QUEUED}))) == 6
        assert found(kind="sweep") == ["sweep-000001"]
        assert found(name="other") == ["other-000001"]
        assert found(name="digits", states=frozenset({JobState.QUEUED})) == ["digits-000002", "digits-000000"]
        assert found(name="digits", kind="sweep") == []

    def test_go_on_under_a_filter_of_several_states(self, database):
        for number in range(6):
            job = database.jobs.add(a_job(number), [])
            if number % 2:
                database.jobs.save(job.admitted(NOW))
        wanted = JobFilter(states=frozenset({JobState.QUEUED, JobState.PENDING}))
        first, cursor = database.jobs.list(wanted, 4)
        second, _ = database.jobs.list(wanted, 4, cursor)
        assert [job.id[-1] for job in (*first, *second)] == ["5", "4", "3", "2", "1", "0"]

    @pytest.mark.parametrize("cursor", ["", "x", "!", "e30=", "MjAyNg==", "MjAyNi0wNS0wNFQxMjowMDowMCBh", "ü"])
    def test_refuse_a_cursor_that_is_not_theirs(self, database, cursor):
        with pytest.raises(InvalidRequest, match="next_cursor"):
            database.jobs.list(ALL, 2, cursor)

    def test_are_ranges_of_an_index(self, database):
        """A page of ten thousand jobs costs what one of a hundred costs: nothing is sorted, nothing scanned."""
        statement = "SELECT created_at, id FROM jobs {} ORDER BY created_at DESC, id DESC LIMIT 50"
        with database._engine.connect() as connection:
            if connection.dialect.name != "sqlite":
                pytest.skip("plans of an empty table say nothing in PostgreSQL")
            for where in ("", "WHERE state = 'QUEUED'", "WHERE kind = 'train'", "WHERE name = 'digits'"):
                plan = " ".join(
                    row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.format(where)}")
                )
                assert "USING COVERING INDEX" in plan
                assert "TEMP B-TREE" not in plan


class TestLiveJobs:
    def test_are_those_that_have_not_ended_oldest_first(self, database):
        for number in (2, 0, 1):
            database.jobs.add(a_job(number), [])
        database.jobs.save(database.jobs.get(a_job(1).id).moved(JobState.STOPPED, NOW))
        assert [job.id[-1] for job in database.jobs.live()] == ["0", "2"]

    def test_are_as_others_have_written_them_since(self, database, url):
        job = database.jobs.add(a_job(), [])
        assert list(database.jobs.live()) == [job]
        other = Database(url)
        changed = other.jobs.save(job.admitted(NOW))
        assert list(database.jobs.live()) == [changed]
        other.jobs.save(changed.ended(Reason.COMPLETED, NOW))
        assert list(database.jobs.live()) == []
        other.close()

    def test_are_all_read_however_many_there_are(self, database):
        with database._engine.begin() as connection:
            connection.execute(insert(jobs), [job_row(a_job(number)) for number in range(1201)])
        assert len(database.jobs.live()) == 1201


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


class TestLease:
    MINUTE = timedelta(minutes=1)

    def test_belongs_to_one_at_a_time(self, database):
        assert database.lease.acquire("a", NOW, self.MINUTE)
        assert not database.lease.acquire("b", NOW, self.MINUTE)

    def test_is_renewed_by_its_holder(self, database):
        database.lease.acquire("a", NOW, self.MINUTE)
        assert database.lease.acquire("a", NOW + self.MINUTE / 2, self.MINUTE)
        assert not database.lease.acquire("b", NOW + self.MINUTE, self.MINUTE)

    def test_is_taken_over_once_it_has_run_out(self, database):
        database.lease.acquire("a", NOW, self.MINUTE)
        assert database.lease.acquire("b", NOW + self.MINUTE, self.MINUTE)
        assert not database.lease.acquire("a", NOW + self.MINUTE, self.MINUTE)

    def test_of_many_who_ask_at_one_time_one_gets_it(self, database):
        answers = []
        threads = [
            threading.Thread(target=lambda me=str(number): answers.append(database.lease.acquire(me, NOW, self.MINUTE)))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [False] * 7 + [True]


class TestSchema:
    def test_is_what_the_tables_say(self, url):
        migrate(url)
        engine = connect(url)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()

    def test_migrating_again_changes_nothing(self, database, url):
        job = database.jobs.add(a_job(), [])
        migrate(url)
        assert database.jobs.get(job.id) == job

    def test_processes_that_migrate_at_one_time_wait_for_each_other(self, url):
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.map(migrate, [url, url])
        database = Database(url)
        assert list(database.jobs.live()) == []
        database.close()


class TestReadiness:
    def test_needs_a_migrated_database_and_a_reconciler(self, url):
        database = Database(url)
        assert "revision None" in database.missing(NOW)[0]
        migrate(url)
        assert "no reconciler" in database.missing(NOW)[0]
        database.lease.acquire("a", NOW, timedelta(minutes=1))
        assert list(database.missing(NOW)) == []
        assert "no reconciler" in database.missing(NOW + timedelta(hours=1))[0]
        database.close()

    def test_a_database_that_is_away_is_a_temporary_error(self):
        database = Database("sqlite:////nowhere/at/all.db")
        with pytest.raises(TemporaryError, match="does not answer"):
            database.jobs.get("digits-000000")
        assert "does not answer" in database.missing(NOW)[0]
