"""What every keeper of teams, tokens and the audit log does, and how an older ledger comes to them."""

from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from sqlalchemy import text

from platform_app.adapters import database as database_module
from platform_app.adapters.database import Database, connect, migrate
from platform_app.domain.job import JobState
from platform_app.domain.team import DEFAULT_TEAM, AuditEntry, Team, Token
from platform_app.errors import Conflict, NotFound
from platform_app.specs import Quota, Role
from tests.contract.conftest import NOW, a_job
from tests.control_plane import train_spec


def a_token(token_id: str = "ci-000001", **fields) -> Token:
    values = {"name": "ci", "team": DEFAULT_TEAM, "role": Role.MEMBER, "digest": f"{token_id:0>64}", "created_at": NOW}
    return Token(**{"id": token_id, **values, **fields})


@pytest.fixture
def store(database):
    return database.teams


class TestTeams:
    def test_begin_with_the_default_one(self, store):
        assert [team.name for team in store.teams()] == [DEFAULT_TEAM]

    def test_are_given_back_as_stored_by_name(self, store):
        vision = Team("vision", NOW, Quota(gpus={"A10G/spot": 2.5}, cpus=3, jobs=1, borrow=True))
        for team in (vision, Team("audio", NOW)):
            store.add(team)
        assert list(store.teams())[0::2] == [Team("audio", NOW), vision]

    def test_one_that_is_there_is_left_as_it_is(self, store):
        store.add(Team("vision", NOW, Quota(jobs=1)))
        store.add(Team("vision", NOW, Quota(jobs=2)))
        assert store.teams()[-1].quota == Quota(jobs=1)

    def test_have_the_quota_that_was_set_last(self, store):
        store.set_quota("nobody", Quota(jobs=1))
        store.set_quota(DEFAULT_TEAM, Quota(jobs=2))
        assert [team.quota for team in store.teams()] == [Quota(jobs=2)]

    def test_a_job_of_a_team_that_is_not_there_is_refused(self, database):
        with pytest.raises(NotFound, match="no team 'vision'"):
            database.jobs.add(a_job(spec=train_spec(team="vision")), [])


class TestTokens:
    def test_are_found_by_their_digest(self, store):
        token = a_token(expires_at=NOW + timedelta(days=1))
        store.add_token(token)
        assert store.token_of(token.digest) == token
        assert store.token_of("0" * 64) is None

    def test_are_listed_oldest_first_of_all_or_of_a_team(self, store):
        store.add(Team("vision", NOW))
        mine, theirs = a_token("b-1"), a_token("a-1", team="vision", created_at=NOW + timedelta(seconds=1))
        for token in (theirs, mine):
            store.add_token(token)
        assert list(store.tokens()) == [mine, theirs]
        assert list(store.tokens("vision")) == [theirs]

    def test_refuse_a_taken_id_and_a_team_that_is_not_there(self, store):
        store.add_token(a_token())
        with pytest.raises(Conflict):
            store.add_token(a_token(digest="1" * 64))
        with pytest.raises(NotFound):
            store.add_token(a_token("x-1", team="vision"))

    def test_revoking_counts_the_first_time(self, store):
        store.add_token(a_token())
        first = store.revoke("ci-000001", NOW)
        again = store.revoke("ci-000001", NOW + timedelta(days=1))
        assert (first.revoked_at, again.revoked_at) == (NOW, NOW)
        assert store.revoke("nothing", NOW) is None


class TestAudit:
    def test_is_read_newest_first_in_parts_of_all_or_of_a_team(self, store):
        entries = [
            AuditEntry(NOW - timedelta(days=n), team, "t", "submit_job", "/v1/jobs", f"job {n}", 202)
            for n, team in enumerate(["a", "b", "a"])
        ]
        for entry in entries:
            store.audit(entry)
        newest, *rest = store.audited(None, 10)
        assert [newest[1], *(entry for _, entry in rest)] == entries[::-1]
        assert [entry for _, entry in store.audited("a", 10, before=newest[0])] == [entries[0]]
        assert [entry for _, entry in store.audited(None, 1)] == [entries[2]]


class TestLedgersFromBeforeThereWereTeams:
    def test_keep_their_jobs_and_get_the_teams_that_these_name(self, url):
        self._migrated_to(url, "0002")
        engine = connect(url)
        with engine.begin() as connection:
            for job_id, spec in (("j-1", train_spec(team="vision")), ("j-2", train_spec())):
                row = {"id": job_id, "spec": spec.model_dump_json(), "at": datetime.now(UTC).replace(tzinfo=None)}
                connection.execute(
                    text(
                        "INSERT INTO jobs (id, name, kind, spec, state, message, created_at, idempotency_key, version) "
                        "VALUES (:id, 'digits', 'train', :spec, 'RUNNING', '', :at, :id, 1)"
                    ),
                    row,
                )
                connection.execute(
                    text("INSERT INTO attempts (job_id, number, created_at, message) VALUES (:id, 1, :at, '')"), row
                )
                connection.execute(
                    text("INSERT INTO events (job_id, at, kind, message) VALUES (:id, :at, 'RUNNING', 'runs')"), row
                )
        engine.dispose()
        migrate(url)
        migrated = Database(url)
        read = [(job.id, job.team, job.state, len(job.attempts)) for job in migrated.jobs.live()]
        assert read == [("j-1", "vision", JobState.RUNNING, 1), ("j-2", DEFAULT_TEAM, JobState.RUNNING, 1)]
        assert [event.message for event in migrated.jobs.events("j-1")] == ["runs"]
        assert [team.name for team in migrated.teams.teams()] == [DEFAULT_TEAM, "vision"]
        migrated.close()

    @staticmethod
    def _migrated_to(url: str, revision: str) -> None:
        engine = connect(url)
        with engine.begin() as connection:
            config = database_module._alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        engine.dispose()
