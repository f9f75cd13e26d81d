"""Running a case again under another context, and remembering what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Final

from tokenspace.budget import Budget
from tokenspace.context import without
from tokenspace.domain import (
    Attempt,
    Canary,
    Case,
    Context,
    Edit,
    Feedback,
    GraderSpec,
    Outcome,
    Profile,
    Prompt,
    Put,
    Run,
    Scope,
    digest,
)
from tokenspace.errors import AuthFailed, BudgetTooSmall, ModelError, TokenspaceError, UsageError
from tokenspace.loop import Runtime, render
from tokenspace.protocols import Grader

Arms = tuple[Prompt, Prompt]

ROLLED_BACK: Final = "rolled back"
"""How the reason of a rejection begins that took back what was served."""

_PAID: Final = frozenset({"rubric"})
"""Graders that ask a model: their scores are remembered, too."""


class Replayer:
    """Replays cases for one scope's gate.

    A case never sees an entry that was made from itself or from a near copy of it: both arms are rendered without
    such entries. Every finished call is kept as an outcome, keyed by the bytes that the model conditioned on, so
    that it is never paid for twice and is shared between candidates.
    """

    def __init__(self, run: Runtime, graders: Callable[[GraderSpec], Grader], scope: Scope) -> None:
        self._run = run
        self._graders = graders
        self._scope = scope
        self._model = f"{run.agent.profile.model}/{run.recall.name}"
        self.not_replayable = set[str]()
        self._under_way = 0

    @cached_property
    def cases(self) -> list[Case]:
        """All cases of the scope."""
        return self._run.store.cases(self._scope)

    @cached_property
    def _kin(self) -> dict[str, set[str]]:
        kin: dict[str, set[str]] = {}
        for case in self.cases:
            kin.setdefault(case.cluster, set()).update((case.id, *case.sources))
        return kin

    @cached_property
    def attempts(self) -> list[Attempt]:
        """Everything that was tried in the scope."""
        return self._run.store.attempts(self._scope)

    def feedback(self) -> Mapping[str, Feedback]:
        """All feedback of the scope, by id."""
        return {item.id: item for item in self._run.store.feedback(self._scope)}

    def canaries(self) -> list[Canary]:
        """The live canaries of every layer that is visible in the scope."""
        return self._run.store.canaries(self._scope)

    def taken_back(self, key: str) -> str:
        """Why an edit of these operations was rolled back in this scope; empty if none was."""
        rejected = self._run.store.attempts(self._scope, edit_key=key, decision="reject")
        return next((one.verdict.reason for one in rejected if one.verdict.reason.startswith(ROLLED_BACK)), "")

    def now(self) -> datetime:
        """The time by the runtime's clock."""
        return self._run.clock()

    def sources(self, context: Context) -> Mapping[str, frozenset[str]]:
        """The feedback and episodes that each visible entry was made from, by entry id."""
        blame = self._run.store.blame(context.scope, context.heads)
        return {id: frozenset(one.sources) for id, one in blame.items()}

    def arms(self, incumbent: Context, candidate: Context, edit: Edit) -> Callable[[Case], Arms | None]:
        """A function from a case to its two prompts, (incumbent, candidate), each without the case's own entries.

        None for a case that does not fit this model's prompt any more; `BudgetTooSmall` where only the edit makes
        it too long.
        """
        blame = {**self._run.store.blame(incumbent.scope, incumbent.heads)}
        if candidate.heads != incumbent.heads:
            blame |= self._run.store.blame(candidate.scope, candidate.heads)
        sources: dict[str, set[str]] = {id: set(one.sources) for id, one in blame.items()}
        for op in edit.ops:
            if isinstance(op, Put):
                sources[op.entry.id] = set(edit.evidence)

        def prompts(case: Case) -> tuple[Prompt, Prompt] | None:
            kin = self._kin.get(case.cluster, set())
            own = frozenset(id for id, made_from in sources.items() if made_from & kin)
            try:
                old = self._prompt(incumbent, own, case)
            except BudgetTooSmall:
                return None
            return old, old if candidate is incumbent else self._prompt(candidate, own, case)

        return prompts

    def _prompt(self, context: Context, own: frozenset[str], case: Case) -> Prompt:
        return render(
            self._run.recall,
            without(context, own),
            case.request,
            profile=self._run.agent.profile,
            now=self._run.clock(),
        )

    def trigger_prompt(self, candidate: Context, case: Case) -> Prompt:
        """The prompt of the episode that caused an edit, under the candidate with the edit's own entries in it."""
        return self._prompt(candidate, frozenset(), case)

    @property
    def profile(self) -> Profile:
        """The profile of the model that replays run on."""
        return self._run.agent.profile

    @property
    def deterministic(self) -> bool:
        """Whether one run of a prompt says all: then re-rolls are skipped."""
        return self._run.agent.profile.deterministic

    async def score(self, case: Case, prompt: Prompt, *, budget: Budget, run_index: int = 0) -> float | None:
        """The case's score under a prompt in [0, 1], or None if it could not be measured after one retry.

        A grader that this installation does not have, or cannot use, measures nothing. A case that the agent cannot
        run again without effects is put into `not_replayable`.

        Raises BudgetExceeded before a call that does not fit, and AuthFailed, which no retry will mend.
        """
        index = 0 if self.deterministic else run_index
        key = digest([case.id, prompt.compiled_hash, self._model, index])
        return await self._measured(
            case, lambda: self._outcome(case, prompt, key, budget=budget, seed=index), budget, key
        )

    async def fresh(self, case: Case, prompt: Prompt, *, budget: Budget, run_index: int = 0) -> float | None:
        """The same without remembering anything: the outcome of a run made now."""

        async def replay() -> Run | None:
            return await self._replayed(case, prompt, budget=budget, seed=run_index)

        return await self._measured(case, replay, budget)

    async def _measured(
        self, case: Case, replay: Callable[[], Awaitable[Run | None]], budget: Budget, key: str = ""
    ) -> float | None:
        try:
            grader = self._graders(case.grader)
        except UsageError:
            return None
        for _ in range(2):
            try:
                done = await replay()
            except AuthFailed:
                raise
            except ModelError as error:
                if not error.retryable:
                    return None
                continue
            if done is None:
                self.not_replayable.add(case.id)
                return None
            score = await self._graded(case, done, grader, budget, key)
            if score is not None:
                return score
        return None

    async def _graded(self, case: Case, done: Run, grader: Grader, budget: Budget, key: str) -> float | None:
        """The grade, remembered where a model was paid for it. What is no number in [0, 1] measures nothing."""
        if case.grader.name not in _PAID or not key:
            return await _grade(grader, case, done.output, budget)
        memo = digest([key, "score", case.grader])
        known = self._run.store.outcome(self._scope, memo)
        if known is not None:
            return float(known.run.output)
        score = await _grade(grader, case, done.output, budget)
        if score is not None:
            await self._keep(Outcome(key=memo, case=case.id, run=Run(output=repr(score))))
        return score

    def remembered(self, case: Case, prompt: Prompt, *, run_index: int = 0) -> Run | None:
        """What came of an earlier replay of this case under this prompt; None if there was none."""
        index = 0 if self.deterministic else run_index
        known = self._run.store.outcome(self._scope, digest([case.id, prompt.compiled_hash, self._model, index]))
        return known.run if known is not None and known.replayable else None

    async def _outcome(self, case: Case, prompt: Prompt, key: str, *, budget: Budget, seed: int) -> Run | None:
        known = self._run.store.outcome(self._scope, key)
        if known is not None:
            return known.run if known.replayable else None
        self._under_way += 1
        try:
            done = await self._replayed(case, prompt, budget=budget, seed=seed)
        finally:
            self._under_way -= 1
        await self._keep(Outcome(key=key, case=case.id, run=done or Run(output=""), replayable=done is not None))
        return done

    async def _keep(self, outcome: Outcome) -> None:
        """Save; while other replays are under way their answers need the event loop, and another thread waits."""
        if self._under_way:
            await asyncio.to_thread(self._run.store.save_outcome, self._scope, outcome)
        else:
            self._run.store.save_outcome(self._scope, outcome)

    async def _replayed(self, case: Case, prompt: Prompt, *, budget: Budget, seed: int) -> Run | None:
        return await self._run.agent.replay(prompt, recorded=case.recorded, budget=budget, seed=seed)


async def _grade(grader: Grader, case: Case, output: str, budget: Budget) -> float | None:
    """What a grader says, which may be foreign code: if it raises, nothing was measured."""
    try:
        return _score(await grader.grade(case, output, budget=budget))
    except (TokenspaceError, AssertionError):
        raise  # a budget or a key is for the caller, a broken promise of ours for the developer
    except Exception:  # noqa: BLE001 (the top of foreign code: its failure is a failed measurement)
        return None


def _score(said: float | None) -> float | None:
    """A score, or None for what a foreign grader should not have said; NaN lies between no two numbers."""
    return said if said is not None and 0 <= said <= 1 else None
