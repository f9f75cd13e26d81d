"""Learning that goes on by itself: looks for new feedback in every scope of an agent, learns, and sleeps now and then.

It works through the store only, so it may run in any process and be killed at any moment: what was judged is kept and
never paid for twice (I3), and what an hour's budget was spent on is read from the attempts, not remembered.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.config import Parts
from tokenspace.context import Past
from tokenspace.domain import Attempt, Canary, Entry, Feedback, Put, Scope, Usage
from tokenspace.errors import (
    BudgetExceeded,
    CorruptLedger,
    SchemaMismatch,
    StaleHead,
    StoreUnavailable,
    TokenspaceError,
)  # fmt: skip
from tokenspace.gates import Release
from tokenspace.protocols import Admin, Proposer, Store
from tokenspace.sharing import sharing_of

HOUR_S: Final = 3_600.0
AGAIN_S: Final = 1.0
MAX_AGAIN_S: Final = 60.0
RESTS: Final = 4
"""Looking may take at most a fifth of the time: after a look, rest for four times as long as it took."""

NEAREST: Final = 3
"""So many of what waits are looked at again for each new lesson."""

_AWAY: Final = (StoreUnavailable, SchemaMismatch, CorruptLedger)

Learned = Attempt | Canary | Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often to look for feedback and to sleep (0: never), and what each scope may spend in an hour."""

    every_s: float = 2.0
    sleep_every_s: float = HOUR_S
    calls: float = math.inf
    tokens: float = math.inf
    usd: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something worth a line of a log. `what`, where it belongs to a verdict, is what was judged, moved or checked."""

    kind: Literal["began", "learned", "slept", "waiting", "back", "ended"]
    at: datetime
    scope: Scope | None = None
    what: Learned | None = None
    words: str = ""


def observed(parts: Parts, feedback: Feedback) -> None:
    """Keep feedback, and take back a canary that it shows to harm: that does not wait until somebody sleeps.

    Raises what `loop.observe` raises. Asks no model.
    """
    loop.observe(parts.runtime, feedback)
    if parts.runtime.store.canaries(feedback.scope):
        parts.watch.step(feedback.scope)


async def learned(parts: Parts, scope: Scope, *, budget: Budget) -> AsyncIterator[Learned]:
    """Learn from new feedback, and look again, for free, at what was held back and is most like it.

    A new neighbour changes a verdict without a replay; nothing else does, and sleep looks at all that waits. So what
    this costs does not grow with how much waits.
    """
    run, new = replace(parts.runtime, past=Past(parts.runtime.store, scope)), list[Attempt]()
    for proposer in _of_one(parts):
        for item in run.store.unseen(scope, proposer=proposer.name, branch=run.branch):
            new.append(await loop.learn(run, proposer, parts.gate, feedback=[item], budget=budget))
            if new[-1].verdict.decision != "abstain":
                yield new[-1]
    for held in _alike(parts, [one for one in new if one.edit], scope):
        again = await loop.judge(run, parts.gate, held, budget=Budget(calls=0))
        if again.verdict.decision != "defer":
            yield again


def _alike(parts: Parts, new: Sequence[Attempt], scope: Scope) -> list[Attempt]:
    """What waits and is among the `NEAREST` to something new, oldest first."""
    run, asked = parts.runtime, {one.id for one in new}
    held = [one for one in run.store.attempts(scope, decision="defer") if new and one.branch == run.branch]
    written = {entry.id: (one, entry) for one in held for entry in _written(one)}
    entries = [entry for _, entry in written.values()]
    vectors = run.recall.index(entries if len(entries) > NEAREST else [])
    near = set[str]()
    for entry in (entry for one in new for entry in _written(one) if vectors):
        others = [other for other in entries if other.id != entry.id]
        near |= {one.id for one in run.recall.rank(others, vectors, entry.trigger or entry.text)[:NEAREST]}
    chosen = {written[id][0].id for id in near or written}
    return [one for one in held if one.id in chosen and one.id not in asked]


def _written(attempt: Attempt) -> list[Entry]:
    return [op.entry for op in (attempt.edit.ops if attempt.edit else ()) if isinstance(op, Put)]


async def slept(parts: Parts, scope: Scope, *, budget: Budget) -> AsyncIterator[Learned]:
    """Move canaries on, learn over all evidence, promote what went well, check the release where one is due.

    In a layer that users share, lessons that have lost their support are taken back and, where the settings say so,
    new ones proposed: see `sharing`. On a branch it only learns: all else is of the served line.
    """
    served = not parts.runtime.branch
    for canary in parts.watch.step(scope) if served else ():
        yield canary
    async for attempt in _judged(parts, scope, parts.proposers, budget=budget, again=budget):
        yield attempt
    if not served:
        return
    async for attempt in parts.watch.promote(scope, budget=budget):
        yield attempt
    sharing = None if scope.user else sharing_of(parts)
    if sharing is not None:
        async for one in sharing.sleep(scope, budget=budget):
            yield one
    if parts.release.due(scope):
        yield await parts.release.check(scope, budget=budget)


async def _judged(
    parts: Parts, scope: Scope, proposers: Sequence[Proposer], *, budget: Budget, again: Budget
) -> AsyncIterator[Attempt]:
    """The attempts that say something new."""
    told = {one.id for one in parts.runtime.store.attempts(scope, decision="defer")}
    async for attempt in loop.sleep(parts.runtime, scope, proposers, parts.gate, budget=budget, again=again):
        decision = attempt.verdict.decision
        if decision != "abstain" and not (decision == "defer" and attempt.id in told):
            told.add(attempt.id)
            yield attempt


def _of_one(parts: Parts) -> list[Proposer]:
    return [one for one in parts.proposers if one.reach == "one"]


def fresh(parts: Parts, scope: Scope) -> bool:
    """Whether a scope has feedback that some proposer has not seen."""
    store = parts.runtime.store
    return any(store.unseen(scope, proposer=one.name) for one in _of_one(parts))


def spent(store: Store, scope: Scope, *, since: datetime) -> Usage:
    """What was paid in a scope at or after a time, for proposals and for verdicts."""
    return sum((one.usage + one.verdict.usage for one in store.attempts(scope) if one.at >= since), Usage())


class Watcher:
    """Looks, learns and sleeps until it is stopped. `agent` None: every agent of the store.

    `tell` is called with every happening. A database or a model that is away is waited for. `budget_of` gives what a
    scope may spend in place of the pace's own limits, which know nothing of other processes that learn.
    """

    def __init__(
        self,
        parts: Parts,
        admin: Admin,
        *,
        agent: str | None,
        pace: Pace | None = None,
        tell: Callable[[Happening], None] = lambda _: None,
        budget_of: Callable[[Scope], Budget] | None = None,
    ) -> None:
        self._parts, self._admin, self._agent = parts, admin, agent
        self._budget_of = budget_of or self._budget
        self._pace = pace or Pace()
        self._tell = tell
        self._stop = asyncio.Event()
        self._not_before: dict[Scope, float] = {}
        self._slept_at: float = time.monotonic()

    def stop(self) -> None:
        """End after the attempt that is being judged; from the event loop of `run`."""
        self._stop.set()

    async def run(self) -> None:
        """Until `stop`."""
        self._say("began", words=f"watching {self._agent or 'every agent'}")
        pause_s = AGAIN_S
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                await self.look()
            except _AWAY as error:
                self._say("waiting", words=f"{error}; trying again in {pause_s:g} s")
                await self._rest(pause_s)
                pause_s = min(2 * pause_s, MAX_AGAIN_S)
                continue
            if pause_s > AGAIN_S:
                self._say("back", words="the store answers again")
            pause_s = AGAIN_S
            await self._rest(max(self._pace.every_s, RESTS * (time.monotonic() - began)))
        self._say("ended", words="what was finished is kept")

    async def look(self) -> None:
        """Once through all scopes: learn where there is something new, or sleep where it is time."""
        asleep = self._pace.sleep_every_s > 0 and time.monotonic() - self._slept_at >= self._pace.sleep_every_s
        for scope in self._admin.scopes(self._agent):
            if self._stop.is_set():
                return
            await asyncio.sleep(0)  # a signal is heard between any two scopes
            if time.monotonic() < self._not_before.get(scope, 0.0):
                continue
            if asleep:
                await self._work(scope, slept, "slept")
            elif fresh(self._parts, scope):
                await self._work(scope, learned, "learned")
        if asleep:
            self._slept_at = time.monotonic()

    async def _work(
        self, scope: Scope, how: Callable[..., AsyncIterator[Learned]], kind: Literal["learned", "slept"]
    ) -> None:
        budget = self._budget_of(scope)
        work = how(self._parts, scope, budget=budget)
        try:
            async for one in work:
                self._say(kind, scope, what=one)
                if self._stop.is_set():
                    break
        except BudgetExceeded as error:
            self._hold_off(scope, HOUR_S / 12, error)
        except _AWAY:
            raise
        except TokenspaceError as error:  # what is wrong in one scope stops no other
            wait_s = getattr(error, "retry_after_s", None) or (AGAIN_S if isinstance(error, StaleHead) else MAX_AGAIN_S)
            self._hold_off(scope, wait_s, error)
        finally:
            await _closed(work)
            budget.close()

    def _budget(self, scope: Scope) -> Budget:
        run, pace = self._parts.runtime, self._pace
        if math.inf == pace.calls == pace.tokens == pace.usd:
            return Budget()
        used = spent(run.store, scope, since=run.clock() - timedelta(seconds=HOUR_S))
        tokens = used.input_tokens + used.output_tokens
        left = (pace.calls - used.calls, pace.tokens - tokens, pace.usd - used.usd)
        return Budget(calls=max(0.0, left[0]), tokens=max(0.0, left[1]), usd=max(0.0, left[2]))

    def _hold_off(self, scope: Scope, wait_s: float, error: TokenspaceError) -> None:
        self._not_before[scope] = time.monotonic() + wait_s
        self._say("waiting", scope, words=f"{error}; looking again in {wait_s:g} s")

    def _say(
        self,
        kind: Literal["began", "learned", "slept", "waiting", "back", "ended"],
        scope: Scope | None = None,
        *,
        what: Learned | None = None,
        words: str = "",
    ) -> None:
        self._tell(Happening(kind=kind, at=self._parts.runtime.clock(), scope=scope, what=what, words=words))

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)


async def _closed(work: AsyncIterator[Learned]) -> None:
    """End a generator that may not have come to its end."""
    close: Callable[[], Awaitable[None]] | None = getattr(work, "aclose", None)
    if close is not None:
        await close()
