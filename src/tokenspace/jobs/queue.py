"""The queue that workers share: DBOS's own tables, beside ours and never in the same file.

On SQLite it is a second file, opened with the same SQLite library as the store: two libraries on one file in one
process drop each other's locks. On PostgreSQL it is a schema of its own in the same database.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tokenspace.domain import Job, digest
from tokenspace.errors import StoreUnavailable, UsageError
from tokenspace.jobs.steps import Steps, check_cron, job_id, prefix_of
from tokenspace.protocols import Workroom

if TYPE_CHECKING:
    from dbos import WorkflowStatus
    from sqlalchemy import Engine

APP: Final = "tokenspace"
SCHEMA: Final = "tokenspace_jobs"
QUEUE: Final = "tokenspace"
WORK: Final = "tokenspace_job"
DUE: Final = "tokenspace_due"
VERSION: Final = "1"
"""What a job's arguments look like. Not the code's version: a new one goes on with the jobs of the old one."""

_BUSY_S: Final = 30.0
_STATES: Final = {
    "ENQUEUED": "waiting", "DELAYED": "later", "PENDING": "running", "SUCCESS": "done", "CANCELLED": "cancelled",
    "ERROR": "failed", "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "given up",
}  # fmt: skip
OPEN: Final = ["ENQUEUED", "DELAYED", "PENDING"]
KEPT_S: Final = 7 * 86_400.0
MANY: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A job as a person sees it: waiting, later, running, done, failed, cancelled or given up."""

    id: str
    kind: str
    ids: tuple[str, ...]
    turn: int
    state: str
    at: datetime
    worker: str


def queue_url(store: str) -> str:
    """Where the queue of a store is. Raises `UsageError` for a store in memory, which no other process can see."""
    scheme, _, rest = store.partition("://")
    if scheme == "sqlite" and rest.startswith("/"):
        path = Path(rest[1:])
        return f"sqlite:///{path.with_name(path.stem + '.jobs' + (path.suffix or '.db'))}"
    if scheme in {"postgresql", "postgres"}:
        return f"postgresql://{rest}"
    raise UsageError("a store in memory has no workers", hint="use sqlite:///path/to/file.db or postgresql://…")


def has_queue(store: str) -> bool:
    """Whether a worker has ever made a queue for a store. Raises `StoreUnavailable` where that cannot be seen."""
    from sqlalchemy import inspect
    from sqlalchemy.exc import SQLAlchemyError

    if store == "memory:":
        return False
    url = queue_url(store)
    if url.startswith("sqlite"):
        return Path(url.removeprefix("sqlite:///")).is_file()
    engine = engine_of(url)
    try:
        return SCHEMA in inspect(engine).get_schema_names()
    except SQLAlchemyError as error:
        raise StoreUnavailable("the queue cannot be reached", hint="is PostgreSQL running?") from error
    finally:
        engine.dispose()


class DbosQueue(Steps):
    """The part of `protocols.Jobs` that any process may use; it works on no job itself.

    Raises `StoreUnavailable` where no worker has ever made the queue's tables.
    """

    def __init__(self, store: str, workroom: Workroom) -> None:
        super().__init__(workroom)
        self.url = queue_url(store)
        if self.url.startswith("sqlite") and not Path(self.url.removeprefix("sqlite:///")).is_file():
            raise StoreUnavailable("this store has no queue yet", hint="start a worker: tokenspace worker")
        self._open(engine_of(self.url))

    def _open(self, engine: Engine) -> None:
        from dbos import DBOSClient, DBOSPortableJSONSerializer

        self._engine = engine
        self._client = DBOSClient(
            system_database_engine=engine, dbos_system_schema=SCHEMA, serializer=DBOSPortableJSONSerializer(),
            application_name=APP,
        )  # fmt: skip

    def close(self) -> None:
        """Release connections."""
        self._client.destroy()
        self._engine.dispose()

    # ── the port ────────────────────────────────────────────────────────────────────────────

    def enqueue(self, kind: str, ids: Sequence[str], *, key: str, partition: str, after_s: float = 0.0) -> str:
        """See `protocols.Jobs`."""
        job = Job(id=job_id(kind, key, partition=partition), kind=kind, ids=tuple(ids), partition=partition)
        self._put(job, after_s)
        return job.id

    def schedule(self, name: str, cron: str, kind: str, *, ids: Sequence[str], partition: str) -> None:
        """See `protocols.Jobs`. Workers see a change within half a minute."""
        if not cron:
            self._client.delete_schedule(name)
            return
        check_cron(cron)
        context = {"kind": kind, "ids": list(ids), "partition": partition, "cron": cron}
        known = self._client.get_schedule(name)
        if known is None or known["context"] != context:
            self._client.apply_schedules(
                [{"schedule_name": name, "workflow_name": DUE, "schedule": cron, "context": context}]
            )

    def cancel(self, id: str) -> bool:
        """See `protocols.Jobs`. A job that runs elsewhere is stopped at its worker's next heartbeat."""
        found = self._client.list_workflows(workflow_ids=[id], load_input=False, load_output=False)
        if not found or found[0].status not in OPEN:
            return False
        self._client.cancel_workflow(id)
        return True

    def erase(self, partition: str) -> int:
        """See `protocols.Jobs`."""
        mine = [
            one["schedule_name"] for one in self._client.list_schedules() if one["context"]["partition"] == partition
        ]
        for name in mine:
            self._client.delete_schedule(name)
        prefix = prefix_of(partition)
        found = [one.workflow_id for one in self._client.list_workflows(
            workflow_id_prefix=prefix, load_input=False, load_output=False
        )]  # fmt: skip
        due = self._client.list_workflows(schedule_name=mine, load_input=False, load_output=False) if mine else []
        gone = [*found, *(one.workflow_id for one in due)]
        if gone:
            self._client.cancel_workflows(gone)
            self._client.delete_workflows(gone)
        self._workroom.drop_steps(prefix)
        if self.url.startswith("sqlite"):
            with self._engine.connect() as connection:  # what was overwritten is still in the log beside the file
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(found)

    # ── beside the port ─────────────────────────────────────────────────────────────────────

    def jobs(self, *, limit: int = 50, running: bool = False) -> list[Listed]:
        """The newest jobs, newest first; with `running`, only those that are not over."""
        found = self._client.list_workflows(
            name=WORK, limit=limit, sort_desc=True, load_output=False, status=OPEN if running else None
        )
        return [_listed(one) for one in found]

    def tidy(self, *, older_s: float = KEPT_S) -> int:
        """Forget jobs that have been over for so long, at most `MANY` at once; returns how many.

        Their keys are free again, which does no harm: whoever asks for them finds the work done.
        """
        before = (datetime.now(UTC) - timedelta(seconds=older_s)).isoformat()
        over = [status for status in _STATES if status not in OPEN]
        found = self._client.list_workflows(
            status=over, completed_before=before, limit=MANY, load_input=False, load_output=False
        )
        gone = [one.workflow_id for one in found]
        if gone:
            self._client.delete_workflows(gone)
        for id in gone:
            self._workroom.drop_steps(id)
        return len(gone)

    def _put(self, job: Job, after_s: float = 0.0) -> None:
        from dbos import EnqueueOptions

        options = EnqueueOptions(
            workflow_name=WORK, queue_name=QUEUE, workflow_id=job.id, app_version=VERSION,
            queue_partition_key=digest(job.partition), application_name=APP,
        )  # fmt: skip
        if after_s > 0:
            options["delay_seconds"] = after_s
        self._client.enqueue(options, job.kind, list(job.ids), job.partition, job.turn)


def _listed(one: WorkflowStatus) -> Listed:
    given: Any = one.input
    args: Any = given["args"] if given else ("?", (), "", 1)
    return Listed(
        id=one.workflow_id, kind=args[0], ids=tuple(args[1]), turn=args[3],
        state=_STATES.get(one.status, one.status), worker=one.executor_id or "",
        at=datetime.fromtimestamp((one.created_at or 0) / 1000, UTC),
    )  # fmt: skip


def engine_of(url: str) -> Engine:
    """Connections for DBOS: to a SQLite file in WAL mode, made where there is none, or to PostgreSQL."""
    from sqlalchemy import create_engine, event, make_url

    if not url.startswith("sqlite"):
        target = make_url(url).set(drivername="postgresql+psycopg")
        # A worker's threads poll now and then; they need few connections.
        return create_engine(target, pool_size=3, max_overflow=4, pool_pre_ping=True)
    import pysqlite3.dbapi2 as module  # pyright: ignore[reportMissingTypeStubs]  # it has none

    os.close(os.open(url.removeprefix("sqlite:///"), os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_engine(url, module=module, connect_args={"timeout": _BUSY_S})

    def configure(connection: Any, _record: object) -> None:
        # What DBOS sets on connections of its own making, and WAL, which it does not.
        connection.isolation_level = "IMMEDIATE"
        busy = f"busy_timeout = {_BUSY_S * 1000:.0f}"
        for pragma in (busy, "journal_mode = WAL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    event.listen(engine, "connect", configure)
    return engine
