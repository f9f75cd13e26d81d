"""Does an edit that helps do harm beside where it helps? Looked for where harm is most likely."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

from tokenspace.domain import Verdict
from tokenspace.gates.settings import T2
from tokenspace.gates.trial import Affected, Trial
from tokenspace.protocols import Recall
from tokenspace.stats import Panel


class Guard:
    """The regression guard of gate.md, by E⁺ of −D on first draws: past roll-backs, then the most similar cases.

    It takes up to `guard_pairs` affected cases that the test of benefit has left. Pinned cases came before.
    """

    def __init__(self, recall: Recall) -> None:
        self._recall = recall

    async def confirm(self, trial: Trial, verdict: Verdict) -> Verdict:
        """A rejection if harm is found, or if these cases lose more than they gain; else the verdict as it is."""
        if trial.tier < T2 or verdict.basis != "tested":
            return verdict
        panel = Panel(graded=trial.panel().graded)
        async with aclosing(trial.pairs(self._left(trial, verdict))) as coming:
            async for case, pair in coming:
                if pair.difference is not None and not pair.missing:
                    panel = panel.update(case.principal, pair.difference)
        test = panel.pooled
        spent = trial.budget.usage - trial.spent_before
        alpha = trial.settings.alpha[trial.tier]
        if test.harmful(alpha=alpha) or (trial.replayer.deterministic and test.breaks > test.fixes + 1):
            found = f"{test.fixes} fixed, {test.breaks} broken of {test.pairs} cases like it"
            reason = f"it harms beside where it helps: {found}"
            return replace(verdict, decision="reject", reason=reason, e_harm=test.e_harm, usage=spent)
        return replace(verdict, usage=spent)

    def _left(self, trial: Trial, verdict: Verdict) -> list[Affected]:
        tested, burnt = set(verdict.cases), broken_before(trial)
        left = [arms for arms in trial.open_to_test if arms[0].id not in tested]
        nearest = trial.nearest_first(self._recall, left)
        return sorted(nearest, key=lambda arms: arms[0].id not in burnt)[: trial.settings.guard_pairs]


def broken_before(trial: Trial) -> frozenset[str]:
    """Cases that an edit of this scope broke once: where it was rejected or rolled back for harm."""
    return frozenset(
        case
        for attempt in trial.proposal.evidence.tried("reject")
        for case, found in zip(attempt.verdict.cases, attempt.verdict.differences, strict=False)
        if found < 0
    )
