"""Jobs in this process: for tests, for the command line, and as the reference of what others must do."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from tokenspace.domain import Job
from tokenspace.jobs.steps import Handler, Steps, check_cron, job_id, next_turn, prefix_of
from tokenspace.protocols import Workroom


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedule:
    times: Any  # an iterator of croniter's
    kind: str
    ids: tuple[str, ...]
    partition: str


class InlineJobs(Steps):
    """Implements `protocols.Jobs`; jobs are done while it is entered, `concurrency` at once. Nothing outlives it.

    Leaving it lets the jobs in hand finish. What a handler raises is raised when it is left.
    """

    def __init__(self, workroom: Workroom, handlers: Mapping[str, Handler], *, concurrency: int = 1) -> None:
        super().__init__(workroom)
        self._handlers = handlers
        self._concurrency = concurrency
        self._waiting: dict[str, tuple[float, Job]] = {}
        self._known: set[str] = set()
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        self._schedules: dict[str, _Schedule] = {}
        self._due: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stirred = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None
        self._failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        """Begin to work."""
        self._loop = asyncio.get_running_loop()
        self._dispatcher = asyncio.create_task(self._dispatch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Take no further job, and finish those in hand."""
        if self._dispatcher is not None:
            self._dispatcher.cancel()
        await asyncio.gather(*(task for _, task in self._running.values()), return_exceptions=True)
        if self._failures and error is None:
            raise self._failures[0]

    # ── the port ────────────────────────────────────────────────────────────────────────────

    def enqueue(self, kind: str, ids: Sequence[str], *, key: str, partition: str, after_s: float = 0.0) -> str:
        """See `protocols.Jobs`."""
        job = Job(id=job_id(kind, key, partition=partition), kind=kind, ids=tuple(ids), partition=partition)
        self._wait(job, after_s)
        return job.id

    def schedule(self, name: str, cron: str, kind: str, *, ids: Sequence[str], partition: str) -> None:
        """See `protocols.Jobs`."""
        self._schedules.pop(name, None)
        self._due.pop(name, None)
        if cron:
            check_cron(cron)
            from croniter import croniter

            times: Any = croniter(cron, datetime.now(UTC))
            self._schedules[name] = _Schedule(times=times, kind=kind, ids=tuple(ids), partition=partition)
            self._due[name] = times.get_next(datetime)
        self._stir()

    def cancel(self, id: str) -> bool:
        """See `protocols.Jobs`."""
        with self._lock:
            if self._waiting.pop(id, None):
                return True
        running = self._running.get(id)
        if running is None or self._loop is None:
            return False
        self._loop.call_soon_threadsafe(running[1].cancel)
        return True

    def erase(self, partition: str) -> int:
        """See `protocols.Jobs`."""
        for name in [name for name, one in self._schedules.items() if one.partition == partition]:
            self.schedule(name, "", "", ids=(), partition="")
        prefix = prefix_of(partition)
        gone = [id for id in self._known if id.startswith(prefix)]
        for id in gone:
            self.cancel(id)
            self._known.discard(id)
        self._workroom.drop_steps(prefix)
        return len(gone)

    # ── doing them ──────────────────────────────────────────────────────────────────────────

    def _wait(self, job: Job, after_s: float) -> None:
        with self._lock:
            if job.id not in self._known:
                self._known.add(job.id)
                self._waiting[job.id] = (time.monotonic() + after_s, job)
        self._stir()

    def _stir(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stirred.set)

    async def _dispatch(self) -> None:
        while True:
            self._stirred.clear()
            self._plan()
            while len(self._running) < self._concurrency and (job := self._next()):
                self._running[job.id] = (job, asyncio.create_task(self._do(job)))
            try:
                await asyncio.wait_for(self._stirred.wait(), self._pause_s())
            except TimeoutError:
                continue

    def _plan(self) -> None:
        now = datetime.now(UTC)
        for name, at in list(self._due.items()):
            one = self._schedules[name]
            if at <= now:
                self.enqueue(one.kind, one.ids, key=f"{name}@{at.isoformat()}", partition=one.partition)
                self._due[name] = one.times.get_next(datetime)

    def _next(self) -> Job | None:
        busy = {job.partition for job, _ in self._running.values()}
        with self._lock:
            for id, (due, job) in self._waiting.items():
                if due <= time.monotonic() and job.partition not in busy:
                    del self._waiting[id]
                    return job
        return None

    def _pause_s(self) -> float | None:
        with self._lock:
            due = [due - time.monotonic() for due, _ in self._waiting.values() if due > time.monotonic()]
        due += [(at - datetime.now(UTC)).total_seconds() for at in self._due.values()]
        return max(0.001, min(due)) if due else None

    async def _do(self, job: Job) -> None:
        try:
            again_s = await self._handlers[job.kind](job)
            if again_s is not None:
                self._wait(next_turn(job), again_s)
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - the top of a job: it is raised where the work is left
            self._failures.append(error)
        finally:
            self._running.pop(job.id, None)
            self._stir()
