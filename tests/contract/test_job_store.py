"""What every ledger does with jobs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest
from sqlalchemy import insert

from platform_app.adapters.database import Database
from platform_app.adapters.tables import job_row, jobs
from platform_app.domain.job import Event, JobState, Reason
from platform_app.domain.team import Team
from platform_app.errors import Conflict, InvalidRequest, StaleWrite
from platform_app.ports import JobFilter
from tests.contract.conftest import NOW, a_job
from tests.control_plane import sweep_spec, train_spec

ALL = JobFilter()


def at_one_time(act: Callable[[int], str | None]) -> list[str | None]:
    """Have eight threads do something together, each with its number."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(act, range(8)))


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
        stored = at_one_time(lambda number: database.jobs.add(a_job(number, idempotency_key="k"), []).id)
        assert len(stored) == 8
        assert len(set(stored)) == 1

    def test_one_of_many_submissions_with_one_id_at_rays_door_is_stored_and_the_others_refused(self, database):
        def submit(number: int) -> str | None:
            try:
                return database.jobs.add(a_job(number, door_id="x"), []).id
            except Conflict:
                return None

        [stored] = filter(None, at_one_time(submit))
        assert database.jobs.at_door("x").id == stored
        assert [job.id for job in database.jobs.live()] == [stored]

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

        def write(number: int) -> str | None:
            try:
                return database.jobs.save(replace(job, message=f"writer {number}")).message
            except StaleWrite:
                return None

        assert [*filter(None, at_one_time(write))] == [database.jobs.get(job.id).message]

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
