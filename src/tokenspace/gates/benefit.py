"""Does the edit help where it changes anything? Sequential pairs of fresh replays, stopped as soon as it is clear."""

from __future__ import annotations

from typing import Any

from tokenspace.domain import Signal, Verdict
from tokenspace.gates.settings import T2
from tokenspace.gates.trial import Trial
from tokenspace.stats import Pair, PairedOutcomes, SequentialTest

_GRADED = frozenset({"function", "rubric"})


class Benefit:
    """The sequential test of gate.md over the affected cases; the last criterion, so it always answers.

    A user's explicit instruction for themselves (T2) is not asked to prove a benefit, only to do no harm.
    """

    async def check(self, trial: Trial) -> Verdict:
        """Accept, reject or defer, with fixes, breaks and e-values."""
        affected = trial.affected
        alpha, cap = trial.settings.alpha.get(trial.tier, 0.05), trial.settings.cap.get(trial.tier, 200)
        graded = any(case.grader.name in _GRADED for case, _, _ in affected)
        test, pairs, finding = (
            SequentialTest(graded=graded, delta_min=trial.settings.delta_min),
            list[Pair](),
            "continue",
        )
        for case, old, new in affected:
            pair = await trial.pair(case, old, new)
            pairs.append(pair)
            if pair.difference is None:
                continue
            test = test.update(pair.difference)
            finding = test.decide(alpha=alpha, beta=trial.settings.beta, cap=cap)
            if finding != "continue":
                break
        numbers: dict[str, Any] = {"fixes": test.fixes, "breaks": test.breaks, "pairs": test.pairs}
        numbers |= {"e_benefit": test.e_benefit, "e_harm": test.e_harm, "e_futility": test.e_futility}
        numbers["cases"] = tuple(pair.case for pair in pairs if pair.difference is not None)
        counts = f"{test.fixes} fixed, {test.breaks} broken in {test.pairs} pair(s)"
        if PairedOutcomes(pairs=pairs).must_defer:
            return trial.verdict("defer", "policy", "too many replays could not be measured", **numbers)
        if finding == "accept":
            return _helpful(trial, f"helps by replay: {counts}, e-value {test.e_benefit:.3g}", numbers)
        if trial.tier == T2 and instructed(trial) and test.breaks <= test.fixes:
            return trial.verdict(
                "accept", "policy", f"the user's own instruction, and no harm found: {counts}", **numbers
            )
        if finding != "continue":
            effect = "harmful" if test.breaks > test.fixes else "of no benefit"
            return trial.verdict("reject", "tested", f"{effect} by replay: {counts}", **numbers)
        return trial.verdict("defer", "policy", f"unverified: only {len(affected)} verified case(s) would show a "
                             f"difference; {counts}", **numbers)  # fmt: skip


def instructed(trial: Trial) -> bool:
    """Whether the users themselves said this, in words, about their own context."""
    user = trial.proposal.incumbent.scope.user
    cited = [item for item in trial.proposal.evidence.feedback if item.id in trial.proposal.edit.evidence]
    return bool(cited) and all(item.signal is Signal.TEXT and item.principal == user for item in cited)


def _helpful(trial: Trial, reason: str, numbers: dict[str, Any]) -> Verdict:
    if trial.tier <= T2:
        return trial.verdict("accept", "tested", reason, **numbers)
    return trial.verdict(
        "defer", "policy", f"{reason}; a change for everybody in this scope waits for a person", **numbers
    )
