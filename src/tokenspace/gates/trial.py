"""One edit on trial: what every criterion shares, and what a criterion is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from tokenspace.budget import Budget
from tokenspace.domain import (
    Attempt,
    Basis,
    Canary,
    Case,
    Decision,
    Drop,
    Entry,
    Kind,
    Patch,
    Prompt,
    Proposal,
    Put,
    Usage,
    Verdict,
    digest,
)
from tokenspace.errors import BudgetExceeded
from tokenspace.gates.cases import fit_to_test
from tokenspace.gates.replay import Arms, Replayer
from tokenspace.gates.settings import BATCH, GateSettings
from tokenspace.protocols import Recall
from tokenspace.stats import Pair, Panel

Affected = tuple[Case, Prompt, Prompt]

_GRADED = frozenset({"function", "rubric"})

_MOST_CALLS = 8
"""What a pair may take of a budget, in calls at their dearest: two arms, tried twice, each with a grader that asks."""


class Criterion(Protocol):
    """One question about an edit. The pipeline asks them in order until one answers."""

    async def check(self, trial: Trial) -> Verdict | None:
        """A verdict that ends the trial, or None to let the next criterion decide."""
        ...


class Condition(Protocol):
    """One more thing that must hold for an edit that was found to help; asked of accepted edits only."""

    async def confirm(self, trial: Trial, verdict: Verdict) -> Verdict:
        """The verdict as it is, or a stricter one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A proposal with its tier and the means to replay it. What costs anything is computed when first asked for.

    `canary` is the live one of this very edit, which then asks for full traffic.
    """

    gate: str
    proposal: Proposal
    tier: int
    settings: GateSettings
    replayer: Replayer
    budget: Budget
    spent_before: Usage
    canary: Canary | None = None

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The cases that may test this edit, one for each cluster, in the edit's fixed order."""
        replayer = self.replayer
        return fit_to_test(self.proposal, replayer.cases, self.tried, settings=self.settings, now=replayer.now())

    @cached_property
    def tried(self) -> list[Attempt]:
        """Every edit that was tried in the scope, oldest first."""
        evidence = self.proposal.evidence
        return evidence.tried() if evidence.past is not None else self.replayer.attempts

    @cached_property
    def prompts(self) -> Callable[[Case], Arms | None]:
        """A case's prompt in both contexts, (incumbent, candidate); None if it does not fit."""
        return self.replayer.arms(self.proposal.incumbent, self.proposal.candidate, self.proposal.edit)

    @cached_property
    def _arms(self) -> list[Affected]:
        return [(case, *arms) for case in self.cases if (arms := self.prompts(case))]

    @cached_property
    def affected(self) -> list[Affected]:
        """The cases whose compiled bytes change; for all others the difference is 0, free and exact."""
        return [arms for arms in self._arms if arms[1].compiled_hash != arms[2].compiled_hash]

    @property
    def open_to_test(self) -> list[Affected]:
        """The affected cases that may speak for an edit: pinned ones can only speak against it."""
        return [arms for arms in self.affected if not arms[0].pinned]

    @cached_property
    def unaffected(self) -> list[Affected]:
        """The cases whose compiled bytes stay the same."""
        return [arms for arms in self._arms if arms[1].compiled_hash == arms[2].compiled_hash]

    def fingerprint(self, cases: Sequence[str]) -> str:
        """Names the pairs of prompts that a test of these cases compares, in their order."""
        arms = {case.id: (old.compiled_hash, new.compiled_hash) for case, old, new in self._arms}
        return digest([arms.get(id) for id in cases])

    @cached_property
    def e_before(self) -> float:
        """What earlier tests of the same operations came to, where their prompts have changed since; 1 without any.

        While the prompts stay as they were, a test goes on. Beginning anew would give an edit another chance of α with
        every move of the head, so the product over all of its tests must convince, too: it is a martingale under "it
        helps at none of these heads". That it once helped does not help it now.
        """
        last = self.proposal.previous.verdict if self.proposal.previous else None
        if last is None or (last.tested and last.model != self.replayer.profile.model):
            return 1.0
        if not last.tested:
            return last.e_before
        goes_on = last.tested == self.fingerprint(last.cases)
        return last.e_before * (1.0 if goes_on else last.e_benefit)

    def nearest_first(self, recall: Recall, affected: Sequence[Affected]) -> list[Affected]:
        """Affected cases by their likeness to what the edit is about; those that recall leaves out come last."""
        order = {case.id: place for place, case in enumerate(self.nearest_cases(recall, [arm[0] for arm in affected]))}
        return sorted(affected, key=lambda arm: order[arm[0].id])

    def nearest_cases(self, recall: Recall, cases: Sequence[Case]) -> list[Case]:
        """Cases by their likeness to what the edit is about; those that recall leaves out come last."""
        texts = [entry.trigger or entry.text for entry in self.written]
        old = self.proposal.incumbent.by_id
        texts += [old[op.id].trigger or "" for op in self.proposal.edit.ops if isinstance(op, Drop) and op.id in old]
        if not cases or not texts:
            return list(cases)
        queries = [Entry(id=case.id, kind=Kind.EXAMPLE, doc="", text=case.request.query) for case in cases]
        ranked = recall.rank(queries, recall.index(queries), texts[0])
        order = {one.id: place for place, one in enumerate(ranked)}
        return sorted(cases, key=lambda case: order.get(case.id, len(order)))

    @property
    def written(self) -> list[Entry]:
        """The entries that the edit puts or patches, as they would stand, in the order of its operations."""
        ids = [
            op.entry.id if isinstance(op, Put) else op.id
            for op in self.proposal.edit.ops
            if isinstance(op, Put | Patch)
        ]
        return [self.proposal.candidate.by_id[id] for id in ids if id in self.proposal.candidate.by_id]

    def panel(self) -> Panel:
        """An empty test of this edit, as strict as its tier. Which bets it makes is settled before any outcome."""
        return Panel(
            graded=any(case.grader.name in _GRADED for case, _, _ in self.affected),
            delta_min=self.settings.delta_min,
            drop=self.settings.principals.get(self.tier, 1) - 1,
            exempt=self.settings.operators,
        )

    async def pair(self, case: Case, old: Prompt, new: Prompt) -> Pair:
        """Scores of the incumbent and the candidate on fresh or remembered replays, never on live outcomes (I7)."""
        before = await self.replayer.score(case, old, budget=self.budget)
        after = None
        if case.id not in self.replayer.not_replayable:
            after = await self.replayer.score(case, new, budget=self.budget)
        return Pair(case=case.id, cluster=case.cluster, incumbent=(before,), candidate=(after,))

    async def pairs(self, arms: Sequence[Affected]) -> AsyncGenerator[tuple[Case, Pair]]:
        """The pairs of these cases in their order, while the replays of those that follow are under way already.

        The order is what a test sees, so it stops where it would have stopped, whatever the batch. Replays that were
        under way when it stops are awaited: they are paid for, so they are remembered and counted. Close it, with
        `contextlib.aclosing`, if you may leave it early.
        """
        coming, ahead = iter(arms), deque[tuple[Affected, asyncio.Task[Pair]]]()
        known = set(self.replayer.not_replayable)
        try:
            while True:
                self._send(coming, ahead, self._abreast(arms))
                if not ahead:
                    break
                arm, task = ahead.popleft()
                try:
                    pair = await task
                except BudgetExceeded:
                    # Perhaps only because of those ahead of it: alone, it may go on with what is left.
                    await asyncio.gather(*(one for _, one in ahead), return_exceptions=True)
                    pair = await self.pair(*arm)
                known.update(self.replayer.not_replayable & {arm[0].id})
                yield arm[0], pair
        except asyncio.CancelledError:
            for _, task in ahead:
                task.cancel()
            raise
        finally:
            await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)
            # What was found out beyond the stop is no part of this test; who asks for it finds it out again, for free.
            self.replayer.not_replayable.intersection_update(known)

    def _send(self, coming: Iterable[Affected], ahead: deque[tuple[Affected, asyncio.Task[Pair]]], most: int) -> None:
        """Start pairs until so many are under way."""
        if len(ahead) >= most:
            return
        for arm in coming:
            ahead.append((arm, asyncio.create_task(self.pair(*arm))))
            if len(ahead) >= most:
                return

    def _abreast(self, arms: Sequence[Affected]) -> int:
        """How many pairs to replay at once: one by one near the end of a budget, so that none takes another's share."""
        profile = self.replayer.profile
        batch = self.settings.batch or (1 if profile.deterministic else BATCH)
        calls = _MOST_CALLS * batch
        tokens = calls * max((one.tokens + one.max_output_tokens for _, *both in arms for one in both), default=0)
        usd = tokens * max(profile.usd_per_million_input, profile.usd_per_million_output) / 1_000_000
        roomy = all(
            self.budget.left(unit) >= most for unit, most in (("calls", calls), ("tokens", tokens), ("usd", usd))
        )
        return batch if roomy else 1

    def verdict(self, decision: Decision, basis: Basis, reason: str, **numbers: Any) -> Verdict:
        """A verdict of this trial, with what it cost. One without a test keeps what earlier tests came to."""
        last = self.proposal.previous.verdict if self.proposal.previous else None
        if last is not None and not numbers.get("tested"):
            numbers.setdefault("e_before", last.e_before * (last.e_benefit if last.tested else 1.0))
        return Verdict(
            decision=decision,
            basis=basis,
            reason=reason,
            gate=self.gate,
            tier=self.tier,
            usage=self.budget.usage - self.spent_before,
            model=self.replayer.profile.model if numbers.get("pairs") else "",
            **numbers,
        )
