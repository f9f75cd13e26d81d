"""What an operator does beside the loop: watch canaries, check releases, measure the noise, pin what must stay right.

desk.gate.canaries()            # what is on trial, and how it fares
desk.gate.release()             # is the whole still as good as the last release?
desk.gate.noise(pairs=50)       # how often do equal prompts score differently?
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from tokenspace import loop
from tokenspace.auditing import note
from tokenspace.budget import Budget
from tokenspace.config import Parts
from tokenspace.context import edit_key, new_texts
from tokenspace.domain import Access, Attempt, Canary, Case, Edit, Revision, Scope, Verdict
from tokenspace.errors import UsageError
from tokenspace.gates import (
    Beside,
    Explanation,
    GateSettings,
    Look,
    Noise,
    Release,
    Replayer,
    TierReport,
    beside,
    explain,
    noise_floor,
    promotion,
    report,
)
from tokenspace.proposers import Renderer

PIN_RUNS = 5


class Oversight:
    """The gate of one scope, in the hands of a person. `principal` is who that is; `wait` runs a coroutine."""

    def __init__(
        self, parts: Parts, scope: Scope, *, principal: str, wait: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self._parts = parts
        self._scope = scope
        self._principal = principal
        self._wait = wait

    # ── verdicts ────────────────────────────────────────────────────────────────────────────
    def report(self) -> list[TierReport]:
        """What came of everything that was tried in this scope, by tier, and of all tiers in the last row."""
        return report(self._parts.runtime.store.attempts(self._scope), self._settings)

    def explain(self, attempt: Attempt) -> Explanation:
        """An attempt's verdict in words, and in numbers that can be checked by hand."""
        store = self._parts.runtime.store
        return explain(
            attempt,
            context=store.context(self._scope, attempt.heads),
            feedback=store.feedback(self._scope),
            cases={case.id: case for case in store.cases(self._scope)},
            settings=self._settings,
        )

    def evidence(self, attempt: Attempt) -> list[Beside]:
        """The cases that an attempt was tested on, with the answers before and after; asks no model."""
        return self._wait(beside(self._parts.runtime, self._parts.graders, attempt))

    @property
    def _settings(self) -> GateSettings:
        return self._parts.watch.settings

    # ── canaries ────────────────────────────────────────────────────────────────────────────
    def canaries(self, *, ended: bool = False) -> list[tuple[Canary, Look]]:
        """The canaries that sessions of this scope may meet, with what their monitors say; oldest first."""
        found = self._parts.runtime.store.canaries(self._scope, ended=ended)
        return [(canary, self._parts.watch.look(canary)) for canary in found]

    def step(self) -> list[Canary]:
        """Take back, widen or let go of canaries by what was observed; returns those that moved. No model call."""
        return self._parts.watch.step(self._scope)

    def stop(self, canary: Canary, *, reason: str = "") -> Canary:
        """Take a canary back on a person's authority."""
        words = f"stopped by {self._principal}{': ' + reason if reason else ''}"
        stopped = self._parts.watch.stop(self._own(canary), words)
        self._note("canary", canary.id)
        return stopped

    def promote(self, canary: Canary) -> Revision:
        """Let a canary onto the served line on a person's authority; it is watched there like any other."""
        run, made = self._parts.runtime, self._made(self._own(canary))
        context = run.store.context(self._scope, run.store.heads(self._scope))
        reason = f"promoted by {self._principal}"
        verdict = Verdict(decision="accept", basis="human", reason=reason, tier=made.verdict.tier)
        edit = Edit(ops=made.edit.ops, rationale=made.edit.rationale, evidence=made.edit.evidence, read=(made.id,))
        attempt = Attempt(
            scope=self._scope, key=promotion(canary), edit_key=edit_key(edit), proposer=made.author,
            heads=context.heads, edit=edit, verdict=verdict, at=run.clock(),
        )  # fmt: skip
        revision = run.store.commit(
            self._scope, edit, verdict, expect=context.heads.of(self._scope), author=made.author,
            vectors=run.recall.index(new_texts(context, edit)), attempt=attempt,
        )  # fmt: skip
        self._parts.watch.served(canary, revision.id)
        return revision

    def _own(self, canary: Canary) -> Canary:
        if canary.scope != self._scope:
            raise UsageError(
                f"this canary is of {canary.scope}, not of {self._scope}", hint=f"open {canary.scope} and do it there"
            )
        if canary.state != "trial":
            raise UsageError(f"this canary is {canary.state} already", hint="`tokenspace gate canaries` lists them")
        return canary

    def _made(self, canary: Canary) -> Revision:
        return self._parts.runtime.store.revision(canary.scope, canary.revision)

    # ── the whole ───────────────────────────────────────────────────────────────────────────
    def release(self, *, budget: Budget | None = None) -> Release:
        """Compare what is served with the last release; mark a new one, or find and take back what made it worse."""
        return self._wait(self._parts.release.check(self._scope, budget=budget or Budget()))

    def noise(self, *, pairs: int = 50, budget: Budget | None = None) -> Noise:
        """Gate an edit that does nothing: two fresh runs of the same prompt on up to `pairs` cases."""
        parts = self._parts
        work = noise_floor(parts.runtime, parts.graders, self._scope, pairs=pairs, budget=budget or Budget())
        return self._wait(work)

    def measure_renderers(self, *, budget: Budget | None = None) -> list[Attempt]:
        """Try other ways of showing entries, each judged by replay like any edit; what was tried, with its verdict."""
        parts = self._parts

        async def tried() -> list[Attempt]:
            work = loop.sleep(
                parts.runtime, self._scope, [Renderer(parts.runtime.agent.profile)], parts.gate,
                budget=budget or Budget(), again=Budget(calls=0),
            )  # fmt: skip
            found = {one.id: one async for one in work if one.edit is not None and one.proposer == Renderer.name}
            return list(found.values())

        return self._wait(tried())

    # ── regression tests ────────────────────────────────────────────────────────────────────
    def cases(self) -> list[Case]:
        """What can be replayed in this scope, oldest first."""
        return self._parts.runtime.store.cases(self._scope)

    def pin(self, case: Case, *, budget: Budget | None = None) -> Case:
        """Make a case a regression test that every edit of the scope must pass.

        It must be deterministic: five fresh runs on what is served now have to score the same. Raises `UsageError`
        otherwise.
        """
        scores = self._wait(self._pin_runs(case, budget or Budget()))
        if None in scores or len(set(scores)) > 1:
            said = ", ".join("none" if score is None else f"{score:g}" for score in scores)
            raise UsageError(
                f"{PIN_RUNS} runs of case {case.id} scored {said}: it is no regression test",
                hint="pin a case that the agent answers the same way every time",
            )
        pinned = self._parts.runtime.store.pin(self._scope, case.id)
        self._note("case", case.id)
        return pinned

    def _note(self, kind: str, id: str) -> None:
        """What a person decides and no revision says is kept for the audit."""
        run, scope = self._parts.runtime, self._scope
        note(run.store, Access(
            at=run.clock(), agent=scope.agent, tenant=scope.tenant, user=scope.user, principal=self._principal,
            deed="approved", kind=kind, object=id,
        ))  # fmt: skip

    async def _pin_runs(self, case: Case, budget: Budget) -> list[float | None]:
        run = self._parts.runtime
        replayer = Replayer(run, self._parts.graders, self._scope)
        context = run.store.context(self._scope, run.store.heads(self._scope))
        arms = replayer.arms(context, context, Edit(ops=()))(case)
        if arms is None:
            return [None]
        return [await replayer.fresh(case, arms[0], budget=budget, run_index=index) for index in range(PIN_RUNS)]
