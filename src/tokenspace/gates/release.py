"""The release check: many small accepts, each of them fine, may not add up. So the whole is tested now and then.

The head is compared with the last release on cases of all kinds, sealed ones among them. If it is worse, the revision
that did it is found by bisection and taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tokenspace.budget import Budget
from tokenspace.context import edit_key
from tokenspace.domain import Attempt, Case, Context, Edit, GraderSpec, Revision, Scope, Verdict, digest
from tokenspace.errors import BudgetExceeded, EditConflict
from tokenspace.gates.cases import in_pool, one_of_each, sealed
from tokenspace.gates.replay import ROLLED_BACK, Replayer
from tokenspace.gates.rollback import roll_back
from tokenspace.gates.settings import GateSettings
from tokenspace.loop import Runtime
from tokenspace.protocols import Grader
from tokenspace.stats import SequentialTest

AUTHOR: Final = "release@1"
LINE: Final = "released"
"""A branch that nobody commits to: where it forks is the last release."""

_ALPHA: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a release check found. `culprit` is the revision that made it worse, `undone` the one that took it back."""

    revisions: int
    test: SequentialTest
    passed: bool
    culprit: Revision | None = None
    undone: Revision | None = None
    reason: str = ""


class ReleaseCheck:
    """Compares the head of a scope with its last release."""

    def __init__(
        self, run: Runtime, graders: Callable[[GraderSpec], Grader], *, settings: GateSettings, most_cases: int = 100
    ) -> None:
        self._run = run
        self._graders = graders
        self._settings = settings
        self._most_cases = most_cases

    def due(self, scope: Scope) -> bool:
        """Whether `release_every` revisions were committed since the last release."""
        return len(self.pending(scope)) >= self._settings.release_every

    def pending(self, scope: Scope) -> list[Revision]:
        """What was committed since the last release, oldest first."""
        last = self._run.store.branches(scope).get(LINE)
        found = list[Revision]()
        for one in self._run.store.log(scope):
            if one.id == last:
                break
            found.append(one)
        return found[::-1]

    async def check(self, scope: Scope, *, budget: Budget) -> Release:
        """Test what is pending; mark a release if it is no worse, else find the revision and roll it back.

        A loss is found where E⁺ of −D reaches 1/.05. When the budget ends nothing is marked, and all that was
        replayed is remembered for the next try.
        """
        pending = self.pending(scope)
        if not pending:
            return Release(revisions=0, test=SequentialTest(), passed=True, reason="nothing was committed since")
        replayer, heads = Replayer(self._run, self._graders, scope), self._run.store.heads(scope)
        old = self._at(scope, pending[0].parent)
        spent, test, broken = budget.usage, SequentialTest(), list[Case]()
        try:
            for case, found in await self._differences(replayer, old, self._at(scope, heads.of(scope)), budget):
                test = test.update(found)
                broken += [case] if found < 0 else []
            harmful = test.harmful(alpha=_ALPHA)
            culprit = await self._bisect(replayer, old, pending, broken, budget) if harmful else None
        except BudgetExceeded as error:
            return Release(revisions=len(pending), test=test, passed=False, reason=f"not finished: {error}")
        counts = f"{test.fixes} fixed, {test.breaks} broken of {test.pairs} cases since the last release"
        verdict = Verdict(
            decision="reject" if harmful else "abstain", basis="tested", reason=f"release check: {counts}",
            fixes=test.fixes, breaks=test.breaks, pairs=test.pairs, e_harm=test.e_harm, e_benefit=test.e_benefit,
            cases=tuple(case.id for case in broken), differences=(-1.0,) * len(broken),
            usage=budget.usage - spent, model=replayer.profile.model,
        )  # fmt: skip
        key = digest([AUTHOR, old.heads, heads])
        self._run.store.save_attempt(
            Attempt(scope=scope, key=key, proposer=AUTHOR, heads=heads, verdict=verdict, at=self._run.clock())
        )
        if culprit is not None:
            undone = self._undo(culprit, counts)
            return Release(
                revisions=len(pending), test=test, passed=False, culprit=culprit, undone=undone, reason=counts
            )
        if not harmful:
            self._mark(scope)
        return Release(revisions=len(pending), test=test, passed=not harmful, reason=counts)

    def _undo(self, culprit: Revision, counts: str) -> Revision | None:
        """Take a revision back and keep that it was; None for a person's own, and for what was changed again since."""
        if culprit.verdict.basis == "human" or culprit.author in (AUTHOR, "canary@1"):
            return None  # it is reported, and a person decides
        try:
            undone = roll_back(self._run, culprit, f"release check: {counts}", author=AUTHOR, gate=AUTHOR)
        except EditConflict:
            return None
        reason = f"{ROLLED_BACK} by the release check: {counts}"
        self._run.store.save_attempt(
            Attempt(
                scope=culprit.scope,
                key=digest([ROLLED_BACK, culprit.id]),
                edit_key=edit_key(culprit.edit),
                proposer=culprit.author,
                heads=self._run.store.heads(culprit.scope),
                edit=culprit.edit,
                verdict=replace(culprit.verdict, decision="reject", reason=reason),
                at=self._run.clock(),
            )
        )
        return undone

    def cases(self, replayer: Replayer, scope: Scope) -> list[Case]:
        """One case of each cluster, by turns of every expected answer; the sealed ones first while queries are left."""
        now, store = self._run.clock(), self._run.store
        mine = [one for one in store.attempts(scope) if one.proposer == AUTHOR]
        month = [one for one in mine if (one.at.year, one.at.month) == (now.year, now.month)]
        open_ = in_pool(replayer.cases, settings=self._settings, now=now)
        hidden = [case for case in replayer.cases if case not in open_ and sealed(case, self._settings)]
        allowed = hidden if len(month) < self._settings.sealed_queries else []
        strata: dict[str, list[Case]] = {}
        for case in one_of_each([*allowed, *sorted(open_, key=lambda case: digest([AUTHOR, case.id]))]):
            strata.setdefault(digest([case.grader.name, case.grader.expected]), []).append(case)
        rounds = max(map(len, strata.values()), default=0)
        turns = [stratum[turn] for turn in range(rounds) for stratum in strata.values() if turn < len(stratum)]
        return turns[: self._most_cases]

    async def _differences(
        self, replayer: Replayer, old: Context, new: Context, budget: Budget
    ) -> list[tuple[Case, float]]:
        arms, found = replayer.arms(old, new, Edit(ops=())), list[tuple[Case, float]]()
        for case in self.cases(replayer, old.scope):
            both = arms(case)
            if both is None:
                continue
            if both[0].compiled_hash == both[1].compiled_hash:
                found.append((case, 0.0))
                continue
            before = await replayer.score(case, both[0], budget=budget, run_index=1)
            after = await replayer.score(case, both[1], budget=budget, run_index=1)
            if before is not None:
                found.append((case, (after or 0.0) - before))
        return found

    async def _bisect(
        self, replayer: Replayer, old: Context, pending: Sequence[Revision], broken: Sequence[Case], budget: Budget
    ) -> Revision | None:
        """The first revision after which most of the broken cases stay broken: log₂(n) steps over these cases.

        None if they are not broken there in fresh runs either: then chance, or several revisions, did it.
        """
        low, high = 0, len(pending) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if await self._breaks(replayer, old, pending[middle], broken, budget) else (
                middle + 1, high
            )  # fmt: skip
        return pending[low] if await self._breaks(replayer, old, pending[low], broken, budget) else None

    async def _breaks(
        self, replayer: Replayer, old: Context, revision: Revision, broken: Sequence[Case], budget: Budget
    ) -> bool:
        """Whether most of the broken cases are worse at a revision than before all of them."""
        arms, worse = replayer.arms(old, self._at(old.scope, revision.id), Edit(ops=())), 0
        for case in broken:
            both = arms(case)
            if both is None or both[0].compiled_hash == both[1].compiled_hash:
                continue
            before = await replayer.score(case, both[0], budget=budget, run_index=2)
            after = await replayer.score(case, both[1], budget=budget, run_index=2)
            worse += (after or 0.0) < (before or 0.0)
        return 2 * worse > len(broken)

    def _at(self, scope: Scope, revision: str | None) -> Context:
        return self._run.store.context(scope, self._run.store.heads(scope).at(scope, revision))

    def _mark(self, scope: Scope) -> None:
        if LINE in self._run.store.branches(scope):
            self._run.store.drop_branch(scope, LINE)
        self._run.store.create_branch(scope, LINE)
