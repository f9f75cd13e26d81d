"""Learning as jobs: any number of workers, in any number of processes, share the scopes of a store.

Every worker looks for new feedback and asks for jobs; their keys say what they are about, so that it is asked for once
however many look. A job is `learned` or `slept` of one scope, in the scope's own partition: two never work on one
scope at once. Whatever a job finished is in the store, so it may be killed at any moment and go on elsewhere.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from tokenspace.budget import Budget, Reservation, SharedBudget
from tokenspace.config import Parts
from tokenspace.domain import Job, Scope, digest
from tokenspace.domain.erasure import Subject
from tokenspace.errors import BudgetExceeded, NotFound, StaleHead, StoreUnavailable, TokenspaceError
from tokenspace.forget import Beside
from tokenspace.protocols import Admin, Jobs, Workroom
from tokenspace.watching import HOUR_S, MAX_AGAIN_S, RESTS, Happening, Learned, learned, slept

if TYPE_CHECKING:
    from tokenspace.store.sql import SqlStore

LEARN: Final = "learn"
SLEEP: Final = "sleep"
SLEEP_ALL: Final = "sleep-all"
SLOTS: Final = 12
"""An hour's limit is kept in slots of five minutes: what was charged is so for an hour, and for at most five more."""
TURNS: Final = 6
"""So often a job goes on after an error. Then it is over, and asked for again when something is new, or in an hour."""

Make = Callable[[Mapping[str, Callable[[Job], Awaitable[float | None]]]], AbstractAsyncContextManager[Jobs]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When to work, and what may be spent in an hour by all workers together.

    Feedback is looked for every `every_s`. Every scope sleeps when `sleep_cron` (in UTC) says so, and one scope after
    each `sleep_after` pieces of feedback (0: never). The limits are for each scope, or with `whole_agent` for all
    scopes of an agent together.
    """

    every_s: float = 2.0
    sleep_cron: str = ""
    sleep_after: int = 0
    calls: float = math.inf
    tokens: float = math.inf
    usd: float = math.inf
    whole_agent: bool = False

    @property
    def limits(self) -> dict[str, float]:
        """By unit; infinite where there is none."""
        return {"calls": self.calls, "tokens": self.tokens, "usd": self.usd}


class HourlyAccount:
    """Implements `budget.Account` in the store: a limit for every hour that ends now, whenever that is."""

    def __init__(
        self, workroom: Workroom, name: str, limits: Mapping[str, float], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._workroom, self._name, self._limits, self._clock = workroom, name, limits, clock

    def slot(self) -> int:
        """See `Account`."""
        return int(self._clock() * SLOTS // HOUR_S)

    def take(self, slot: int, asked: Reservation) -> None:
        """See `Account`."""
        self._workroom.take(self._name, asked, slot=slot, since=slot - SLOTS, limits=self._limits)

    def give(self, slot: int, unused: Reservation) -> None:
        """See `Account`."""
        self._workroom.give(self._name, unused, slot=slot)


def hourly(workroom: Workroom, scope: Scope, limits: Mapping[str, float], *, whole_agent: bool = False) -> Budget:
    """What a scope, or its whole agent, may still spend in this hour, shared with all other workers."""
    if all(math.isinf(limit) for limit in limits.values()):
        return Budget()
    name = scope.agent if whole_agent else str(scope)
    return SharedBudget(HourlyAccount(workroom, f"hour/{name}", limits))


class Worker:
    """Asks for jobs and does them until it is stopped. `agent` None: for every agent of the store.

    `tell` is called with every happening, from the event loop of `run`.
    """

    def __init__(
        self,
        parts: Parts,
        admin: Admin,
        workroom: Workroom,
        *,
        agent: str | None,
        plan: Plan | None = None,
        tell: Callable[[Happening], None] = lambda _: None,
    ) -> None:
        self._parts, self._admin, self._workroom, self._agent = parts, admin, workroom, agent
        self._plan = plan or Plan()
        self._tell = tell
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._jobs: Jobs | None = None
        self._asked: dict[Scope, str] = {}

    def stop(self) -> None:
        """End after the attempts in hand; what is left of their jobs goes to other workers."""
        self._stop.set()

    async def run(self, make: Make) -> None:
        """Until `stop`; `make` gives a queue that works on jobs, by these handlers, while it is entered."""
        handlers = {LEARN: self._learn, SLEEP: self._sleep, SLEEP_ALL: self._sleep_all}
        async with make(handlers) as jobs:
            self._jobs = jobs
            self._ready.set()
            self._say("began", words=f"working for {self._agent or 'every agent'}")
            await asyncio.to_thread(self._keep_schedule, jobs)
            while not self._stop.is_set():
                began = time.monotonic()
                await self.look(jobs)
                with suppress(TimeoutError):
                    rest_s = max(self._plan.every_s, RESTS * (time.monotonic() - began))
                    await asyncio.wait_for(self._stop.wait(), rest_s)
        self._say("ended", words="what was finished is kept")

    # ── asking for jobs ─────────────────────────────────────────────────────────────────────

    async def look(self, jobs: Jobs) -> None:
        """Once through all scopes: ask for a job where there is something new. Threads wait for the store, not we."""
        try:
            for scope in await asyncio.to_thread(self._admin.scopes, self._agent):
                if self._stop.is_set():
                    return
                await asyncio.to_thread(self._ask, jobs, scope)
        except TokenspaceError as error:
            self._say("waiting", words=f"{error}; trying again in {MAX_AGAIN_S:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), MAX_AGAIN_S)

    def _ask(self, jobs: Jobs, scope: Scope) -> None:
        store = self._parts.runtime.store
        new = {
            item.id
            for one in self._parts.proposers
            if one.reach == "one"
            for item in store.unseen(scope, proposer=one.name)
        }
        hour = int(time.time() // HOUR_S)  # what failed is tried again, by and by
        key = digest([sorted(new), hour])
        if not new or self._asked.get(scope) == key:
            return
        _enqueue(jobs, LEARN, scope, key=key)
        if self._plan.sleep_after and (count := len(store.feedback(scope)) // self._plan.sleep_after):
            _enqueue(jobs, SLEEP, scope, key=f"after {count * self._plan.sleep_after}")
        self._asked[scope] = key

    def _keep_schedule(self, jobs: Jobs) -> None:
        name = f"sleep/{self._agent or '*'}"
        agents = (self._agent,) if self._agent else ()
        jobs.schedule(name, self._plan.sleep_cron, SLEEP_ALL, ids=agents, partition=name)

    # ── doing them ──────────────────────────────────────────────────────────────────────────

    async def _learn(self, job: Job) -> float | None:
        return await self._once(job, lambda: self._work(job, learned, "learned"))

    async def _sleep(self, job: Job) -> float | None:
        return await self._once(job, lambda: self._work(job, slept, "slept"))

    async def _sleep_all(self, job: Job) -> float | None:
        return await self._once(job, lambda: self._spread(job))

    async def _once(self, job: Job, work: Callable[[], Awaitable[float | None]]) -> float | None:
        """The job as one step: one that was finished, but not yet noted as done by its queue, is not begun again."""
        await self._ready.wait()
        assert self._jobs is not None, "it is ready"
        said: Any = await self._jobs.step(job, "all", work)
        return said

    async def _spread(self, job: Job) -> float | None:
        """Ask for sleep in every scope; the schedule's own job names the occasion."""
        jobs = self._jobs
        assert jobs is not None, "it is ready"
        for scope in await asyncio.to_thread(self._admin.scopes, job.ids[0] if job.ids else None):
            await asyncio.to_thread(_enqueue, jobs, SLEEP, scope, key=job.id)
        return None

    async def _work(
        self, job: Job, how: Callable[..., AsyncIterator[Learned]], kind: Literal["learned", "slept"]
    ) -> float | None:
        scope = Scope(agent=job.ids[0], tenant=job.ids[1], user=job.ids[2])
        budget = hourly(self._workroom, scope, self._plan.limits, whole_agent=self._plan.whole_agent)
        work: Any = how(self._parts, scope, budget=budget)
        try:
            async with aclosing(work):
                async for one in work:
                    self._say(kind, scope, what=one)
                    if self._stop.is_set():
                        return 0.0
        except TokenspaceError as error:  # what is wrong in one scope stops no other
            return self._again(job, scope, error)
        finally:
            await asyncio.to_thread(budget.close)
        return None

    def _again(self, job: Job, scope: Scope, error: TokenspaceError) -> float | None:
        """When to go on after an error, if at all: an erased scope is not coming back."""
        if isinstance(error, NotFound) or job.turn >= TURNS:
            self._say("waiting", scope, words=f"{error}; given up until something is new")
            return None
        wait_s = getattr(error, "retry_after_s", None) or MAX_AGAIN_S * job.turn
        if isinstance(error, BudgetExceeded):
            wait_s = HOUR_S / SLOTS
        elif isinstance(error, StaleHead):
            wait_s = 1.0
        self._say("waiting", scope, words=f"{error}; going on in {wait_s:g} s")
        return float(wait_s)

    def _say(
        self,
        kind: Literal["began", "learned", "slept", "waiting", "back", "ended"],
        scope: Scope | None = None,
        *,
        what: Learned | None = None,
        words: str = "",
    ) -> None:
        self._tell(Happening(kind=kind, at=self._parts.runtime.clock(), scope=scope, what=what, words=words))


# ── forgetting them ─────────────────────────────────────────────────────────────────────────


def queue_eraser(store: SqlStore) -> Beside:
    """Erases a user's jobs from the queue of a store, as `forget.forget` wants it: they carry the user's name."""
    hooks: Any = store.db.hooks
    path: Path | None = getattr(hooks, "path", None)
    url = f"sqlite:///{path}" if path else str(hooks.url.set(drivername="postgresql").render_as_string(False))

    def erase(subject: Subject, what: str, dry_run: bool) -> Mapping[str, int]:
        from tokenspace.jobs.queue import DbosQueue, has_queue

        del what
        if subject.kind != "user" or not has_queue(url):
            return {}
        try:
            queue = DbosQueue(url, store.workroom)
        except ImportError as error:
            hint = 'pip install "tokenspace[jobs]", then forget again'
            raise StoreUnavailable("the queue of workers cannot be read here", hint=hint) from error
        try:
            scope = subject.scope
            ids = (scope.agent, scope.tenant, scope.user)
            waits = sum(one.ids == ids for one in queue.jobs(limit=_ALL_JOBS)) if dry_run else 0
            return {"job": waits if dry_run else queue.erase(str(scope))}
        finally:
            queue.close()

    return erase


_ALL_JOBS: Final = 1_000_000


def _enqueue(jobs: Jobs, kind: str, scope: Scope, *, key: str) -> None:
    jobs.enqueue(kind, (scope.agent, scope.tenant, scope.user), key=key, partition=str(scope))
