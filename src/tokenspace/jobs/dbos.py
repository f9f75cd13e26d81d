"""Jobs of many workers, with DBOS as the queue: a SQLite file for one machine, PostgreSQL for any number.

DBOS keeps who runs what, and takes up a dead worker's jobs only when it is told to. So every worker counts up a row of
ours; whose count stands still is dead, and whoever notices first puts its jobs back. Two who notice do no harm.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from tokenspace.domain import Job, new_id
from tokenspace.errors import StoreUnavailable, UsageError
from tokenspace.jobs.queue import APP, DUE, QUEUE, SCHEMA, VERSION, WORK, DbosQueue, engine_of, queue_url
from tokenspace.jobs.steps import Handler, Steps, next_turn
from tokenspace.protocols import Workroom

LOG: Final = logging.getLogger("tokenspace.jobs")
BEAT_S: Final = 5.0
DEAD_S: Final = 20.0
POLL_S: Final = 0.5
TIDY_S: Final = 3_600.0
ATTEMPTS: Final = 1_000
"""A job that went down with so many workers is given up: it is most likely what kills them."""
_LAST_S: Final = 3_600
"""To finish what is in hand when a worker is left; whoever is less patient kills it."""


class JobFailed(Exception):
    """What DBOS keeps of an error: its class and nothing that was said in it."""


class DbosJobs(DbosQueue):
    """Implements `protocols.Jobs`; works on jobs while it is entered, at most `concurrency` at once.

    One to a process, for DBOS is a singleton; the number of the worker that started last holds for all. Handlers run
    on the event loop that entered it. `lost` is called when others took this worker for dead: its jobs are theirs
    by then, and it had better end. `poll_s` is how often it looks for jobs, `beat_s` how often it shows that it lives,
    `dead_s` the silence after which others take over.
    """

    def __init__(
        self,
        store: str,
        workroom: Workroom,
        handlers: Mapping[str, Handler],
        *,
        concurrency: int = 1,
        poll_s: float = POLL_S,
        beat_s: float = BEAT_S,
        dead_s: float = DEAD_S,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        Steps.__init__(self, workroom)
        self.url = queue_url(store)
        self.worker = new_id()
        self._handlers = handlers
        self._concurrency = concurrency
        self._poll_s, self._beat_s, self._dead_s = poll_s, beat_s, dead_s
        self._lost = lost
        self._running: dict[str, asyncio.Task[float | None]] = {}
        self._seen: dict[str, tuple[int, float]] = {}

    async def __aenter__(self) -> Self:
        """Make the queue's tables where there are none, and begin to work."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._launch)
        self._beating = asyncio.create_task(self._beat_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Take no further job, finish those in hand, and release everything."""
        from dbos import DBOS

        patience_s = _LAST_S if self._running and error is None else 0
        try:
            if patience_s == 0:
                for task in self._running.values():
                    task.cancel()
            await asyncio.to_thread(DBOS.destroy, destroy_registry=True, workflow_completion_timeout_sec=patience_s)
        finally:
            # Its row stays: if a job was claimed in the last moment, somebody will miss this worker and take it over.
            self._beating.cancel()
            await asyncio.to_thread(self.close)

    def _launch(self) -> None:
        try:
            from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer
        except ImportError as error:
            raise UsageError(
                "workers are not installed", hint='install them: pip install "tokenspace[jobs]"'
            ) from error

        engine = engine_of(self.url)
        config = DBOSConfig(
            name=APP, system_database_url=self.url, system_database_engine=engine, dbos_system_schema=SCHEMA,
            executor_id=self.worker, application_version=VERSION, serializer=DBOSPortableJSONSerializer(),
            use_listen_notify=False, log_level="ERROR",
        )  # fmt: skip
        DBOS(config=config)
        DBOS.workflow(name=WORK, max_recovery_attempts=ATTEMPTS)(_function(self._work))
        DBOS.workflow(name=DUE)(_function(self._due))
        self._workroom.enter(self.worker)
        DBOS.launch()
        DBOS.register_queue(
            QUEUE, worker_concurrency=self._concurrency, partition_concurrency=1, polling_interval_sec=self._poll_s,
            on_conflict="always_update",
        )  # fmt: skip
        self._open(engine)

    # ── doing jobs ──────────────────────────────────────────────────────────────────────────

    def _work(self, kind: str, ids: list[str], partition: str, turn: int) -> None:
        """One job, in a thread of DBOS, which waits here for the event loop of the handlers."""
        from dbos import DBOS

        job = Job(id=str(DBOS.workflow_id), kind=kind, ids=tuple(ids), partition=partition, turn=turn)
        try:
            again_s = asyncio.run_coroutine_threadsafe(self._done(job), self._loop).result()
        except concurrent.futures.CancelledError:
            return
        if again_s is not None:
            self._put(next_turn(job), again_s)

    async def _done(self, job: Job) -> float | None:
        handler = self._handlers.get(job.kind)
        if handler is None:
            raise JobFailed(f"no handler for {job.kind}")
        task = self._running[job.id] = asyncio.ensure_future(_failing_in_silence(handler, job))
        try:
            return await task
        finally:
            self._running.pop(job.id, None)

    def _due(self, at: datetime, context: Any) -> None:
        """A schedule's time has come: DBOS asks once, and the job itself waits in its partition."""
        self.enqueue(context["kind"], context["ids"], key=f"{context['cron']}@{at}", partition=context["partition"])

    # ── who lives ───────────────────────────────────────────────────────────────────────────

    async def _beat_on(self) -> None:
        tidied = -math.inf
        while True:
            await asyncio.sleep(self._beat_s)
            try:
                if not await asyncio.to_thread(self._workroom.beat, self.worker):
                    self._give_up()
                    return
                await asyncio.to_thread(self._rescue)
                await self._drop_cancelled()
                if time.monotonic() - tidied >= TIDY_S:
                    tidied = time.monotonic()
                    await asyncio.to_thread(self.tidy)
            except StoreUnavailable as error:
                LOG.warning("the store is away: %s", error)

    def _give_up(self) -> None:
        LOG.warning("this worker was silent for so long that others have its jobs")
        for task in self._running.values():
            task.cancel()
        self._lost()

    def _rescue(self) -> None:
        """Put back the jobs of workers whose count stands still. Their row goes last: a rescuer may die, too."""
        from dbos import DBOS

        now, beats = time.monotonic(), self._workroom.beats()
        self._seen = {one: self._seen.get(one, (count, now)) for one, count in beats.items() if one != self.worker}
        for one, (count, since) in list(self._seen.items()):
            if beats[one] != count:
                self._seen[one] = (beats[one], now)
            elif now - since >= self._dead_s:
                # DBOS has no public name for this, so its version is pinned, and tests kill workers.
                DBOS._recover_pending_workflows([one])  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                self._workroom.leave(one)

    async def _drop_cancelled(self) -> None:
        """Stop what somebody cancelled or erased elsewhere."""
        mine = list(self._running)
        if not mine:
            return
        found = await asyncio.to_thread(
            lambda: self._client.list_workflows(workflow_ids=mine, load_input=False, load_output=False)
        )
        live = {one.workflow_id for one in found if one.status != "CANCELLED"}
        for id in mine:
            if id not in live and id in self._running:
                self._running[id].cancel()


def _function(method: Callable[..., None]) -> Callable[..., None]:
    """DBOS writes attributes on what it registers, which a bound method does not take."""

    def call(*args: Any) -> None:
        method(*args)

    return call


async def _failing_in_silence(handler: Handler, job: Job) -> float | None:
    try:
        return await handler(job)
    except Exception as error:
        LOG.exception("job %s (%s) failed", job.id, job.kind)
        raise JobFailed(type(error).__name__) from None
