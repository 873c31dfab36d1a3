"""Jobs with their attempts and events, in SQL."""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from sqlalchemy import ColumnElement, Connection, Engine, and_, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from platform_app.adapters.tables import (
    attempt_row,
    attempts,
    event_of,
    event_row,
    events,
    job_of,
    job_row,
    jobs,
)
from platform_app.adapters.transactions import transaction
from platform_app.domain.job import TERMINAL, Event, Job, JobState
from platform_app.errors import Conflict, FieldProblem, InvalidRequest, NotFound, StaleWrite
from platform_app.ports import JobFilter

_LIVE = [state for state in JobState if state not in TERMINAL]
_IDS_PER_QUERY = 500
"""A statement takes a limited number of parameters: 32,766 in SQLite."""


class SqlJobStore:
    """`JobStore` in SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._live: Mapping[str, Job] = {}
        """Live jobs as last read. A version counts every write, so a row of the same version is the same job."""

    def add(self, job: Job, happened: Iterable[Event]) -> Job:
        """Store a new job, or give its team's stored one with the same idempotency key.

        Raises:
            Conflict: the id is used.
            NotFound: there is no such team.
        """
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(jobs).values(job_row(job)))
                _append(connection, job.id, happened)
        except IntegrityError as error:
            stored = self._with_key(job.team, job.idempotency_key) if job.idempotency_key else None
            if stored is not None:
                return stored
            if job.door_id and self.at_door(job.door_id, job.team):
                raise Conflict(f"there is a job {job.door_id} already") from error
            if self.get(job.id):
                raise Conflict(f"there is a job {job.id} already") from error
            raise NotFound(f"there is no team {job.team!r}") from error
        return job

    def get(self, job_id: str) -> Job | None:
        """Read one job."""
        with transaction(self._engine) as connection:
            return _read(connection, [job_id]).get(job_id)

    def at_door(self, door_id: str, team: str | None = None) -> Job | None:
        """Read the job that Ray's clients know by an id: a team's, or the newest of any."""
        whose = jobs.c.team == team if team else true()
        newest = select(jobs.c.id).where(jobs.c.door_id == door_id, whose).order_by(jobs.c.created_at.desc())
        with transaction(self._engine) as connection:
            found = connection.scalar(newest.limit(1))
            return _read(connection, [found]).get(found) if found else None

    def list(self, wanted: JobFilter, limit: int, cursor: str | None = None) -> tuple[Sequence[Job], str | None]:
        """Read a page, newest first. Each state is a range of its own index, merged: no page sorts the table."""
        filters = [column == value for column, value in _equalities(wanted) if value is not None]
        if cursor is not None:
            filters.append(_after(*_decode(cursor)))
        newest_first = (jobs.c.created_at.desc(), jobs.c.id.desc())
        ranges = [jobs.c.state == state for state in sorted(wanted.states)] or [true()]
        with transaction(self._engine) as connection:
            found = [
                (row.created_at, row.id)
                for one in ranges
                for row in connection.execute(
                    select(jobs.c.created_at, jobs.c.id).where(one, *filters).order_by(*newest_first).limit(limit + 1)
                )
            ]
            keys = sorted(found, reverse=True)[: limit + 1]
            page = keys[:limit]
            read = _read(connection, [job_id for _, job_id in page])
        following = _encode(*page[-1]) if len(keys) > limit else None
        return [read[job_id] for _, job_id in page], following

    def live(self) -> Sequence[Job]:
        """Read every job that is not terminal, oldest first; only those that changed since the last call are parsed."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(jobs.c.id, jobs.c.version).where(jobs.c.state.in_(_LIVE)))
            versions = {row.id: row.version for row in rows}
            kept = {job_id: job for job_id, job in self._live.items() if versions.get(job_id) == job.version}
            changed = _read(connection, [job_id for job_id in versions if job_id not in kept])
        # A job can end between the two statements.
        self._live = kept | {job_id: job for job_id, job in changed.items() if not job.state.is_terminal}
        return sorted(self._live.values(), key=lambda job: (job.created_at, job.id))

    def save(self, job: Job, happened: Iterable[Event] = ()) -> Job:
        """Write a changed job and what happened to it. Raises StaleWrite where someone else wrote it since."""
        saved = replace(job, version=job.version + 1)
        with transaction(self._engine) as connection:
            guard = and_(jobs.c.id == job.id, jobs.c.version == job.version)
            if connection.execute(update(jobs).where(guard).values(job_row(saved))).rowcount != 1:
                raise StaleWrite(f"{job.id} is no longer at version {job.version}")
            _write_attempts(connection, saved)
            _append(connection, job.id, happened)
        return saved

    def events(self, job_id: str) -> Sequence[Event]:
        """Read what happened to a job, oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(events).where(events.c.job_id == job_id).order_by(events.c.id))
            return [event_of(row) for row in rows.mappings()]

    def _with_key(self, team: str, key: str) -> Job | None:
        with transaction(self._engine) as connection:
            its = and_(jobs.c.team == team, jobs.c.idempotency_key == key)
            found = connection.scalar(select(jobs.c.id).where(its))
            return _read(connection, [found]).get(found) if found else None


def _read(connection: Connection, job_ids: Sequence[str]) -> dict[str, Job]:
    found: dict[str, Job] = {}
    for start in range(0, len(job_ids), _IDS_PER_QUERY):
        some = job_ids[start : start + _IDS_PER_QUERY]
        tries = connection.execute(
            select(attempts).where(attempts.c.job_id.in_(some)).order_by(attempts.c.job_id, attempts.c.number)
        ).mappings()
        of_job = {job_id: [*rows] for job_id, rows in groupby(tries, key=lambda row: row["job_id"])}
        for row in connection.execute(select(jobs).where(jobs.c.id.in_(some))).mappings():
            found[row["id"]] = job_of(row, of_job.get(row["id"], ()))
    return found


def _write_attempts(connection: Connection, job: Job) -> None:
    stored = select(attempts.c.number, attempts.c.ended_at).where(attempts.c.job_id == job.id)
    ended = {row.number: row.ended_at is not None for row in connection.execute(stored)}
    for attempt in job.attempts:
        row = attempt_row(job.id, attempt)
        if attempt.number not in ended:
            connection.execute(insert(attempts).values(row))
        elif not ended[attempt.number]:
            one = and_(attempts.c.job_id == job.id, attempts.c.number == attempt.number)
            connection.execute(update(attempts).where(one).values(row))


def _append(connection: Connection, job_id: str, happened: Iterable[Event]) -> None:
    if rows := [event_row(job_id, event) for event in happened]:
        connection.execute(insert(events), rows)


def _equalities(wanted: JobFilter) -> tuple[tuple[ColumnElement[str], str | None], ...]:
    return (jobs.c.kind, wanted.kind), (jobs.c.name, wanted.name), (jobs.c.team, wanted.team)


def _after(created_at: datetime, job_id: str) -> ColumnElement[bool]:
    older = jobs.c.created_at < created_at
    return or_(older, and_(jobs.c.created_at == created_at, jobs.c.id < job_id))


def _encode(created_at: datetime, job_id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {job_id}".encode()).decode()


def _decode(cursor: str) -> tuple[datetime, str]:
    try:
        created_at, job_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().split(" ")
        moment = datetime.fromisoformat(created_at)
        if moment.tzinfo is None:
            raise ValueError("no zone")
    except (ValueError, binascii.Error) as error:
        problem = FieldProblem("cursor", "not a cursor of this list: pass `next_cursor` of the page before")
        raise InvalidRequest(problem) from error
    return moment, job_id
