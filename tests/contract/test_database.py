"""What every database is to the platform: its lease, its schema, and whether it is there."""

import multiprocessing
import threading
from datetime import timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from platform_app.adapters.database import Database, connect, migrate
from platform_app.adapters.tables import metadata
from platform_app.errors import TemporaryError
from tests.contract.conftest import NOW, POSTGRES, a_job


@pytest.mark.skipif(not POSTGRES, reason="SLIPWAY_TEST_POSTGRES_URL is not set: the ledger is tried on SQLite alone")
def test_postgres_is_asked_too():
    assert connect(POSTGRES).dialect.name == "postgresql"


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

    def test_from_before_the_clock_was_set_back_counts_for_nothing(self, database):
        database.lease.acquire("a", NOW, self.MINUTE)
        earlier = NOW - timedelta(hours=1)
        assert database.lease.acquire("b", earlier, self.MINUTE)
        assert not database.lease.acquire("a", earlier, self.MINUTE)

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
