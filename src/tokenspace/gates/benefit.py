"""Does the edit help where it changes anything? Sequential pairs of fresh replays, stopped as soon as it is clear."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, Final

from tokenspace.domain import Signal, Verdict
from tokenspace.gates.settings import T2
from tokenspace.gates.trial import Trial
from tokenspace.stats import Finding, Pair, PairedOutcomes, Panel

LEAST_ALPHA: Final = 1e-9
"""A level is above 0. An edit that failed so often has to convince as nothing ever did."""


class Benefit:
    """The sequential test of gate.md over the affected cases; the last criterion, so it always answers.

    Evidence is kept for each principal who taught a case, and combined so that a few who lie together cannot carry
    an edit (see `stats.Panel`). A user's explicit instruction for themselves (T2) is not asked to prove a benefit,
    only to do no harm.
    """

    async def check(self, trial: Trial) -> Verdict:
        """Accept, reject or defer, with fixes, breaks and e-values."""
        panel, pairs, finding = await _test(trial)
        numbers, test = numbers_of(panel, pairs), panel.pooled
        numbers |= {"tested": trial.fingerprint(numbers["cases"]), "e_before": trial.e_before} if pairs else {}
        counts = f"{test.fixes} fixed, {test.breaks} broken in {test.pairs} pair(s)"
        measured = [pair for pair in pairs if pair.case not in trial.replayer.not_replayable]
        if PairedOutcomes(pairs=measured).must_defer:
            return trial.verdict("defer", "policy", "too many replays could not be measured", **numbers)
        if finding == "accept":
            reason = f"helps by replay: {counts}, e-value {panel.e_benefit:.3g}"
            return trial.verdict("accept", "tested", reason, **numbers)
        if finding != "continue" and not _convincing(trial, panel):
            effect = "harmful" if test.breaks > test.fixes else "of no benefit"
            shown = test.pairs >= trial.settings.cap.get(trial.tier, 200) and finding == "futile"
            late = f" within the {test.pairs} pairs that it may take" if shown else ""
            if not (trial.tier == T2 and instructed(trial) and test.breaks <= test.fixes):
                return trial.verdict("reject", "tested", f"{effect} by replay{late}: {counts}", **numbers)
        if trial.tier == T2 and instructed(trial) and test.breaks <= test.fixes:
            reason = f"the user's own instruction, and no harm found: {counts}"
            return trial.verdict("accept", "policy", reason, **numbers)
        return trial.verdict("defer", "policy", _unverified(trial, panel, counts), **numbers)


async def _test(trial: Trial) -> tuple[Panel, list[Pair], Finding]:
    settings, panel, pairs = trial.settings, trial.panel(), list[Pair]()
    alpha, cap = settings.alpha.get(trial.tier, 0.05), settings.cap.get(trial.tier, 200)
    alpha *= max(min(1.0, trial.e_before), LEAST_ALPHA)
    finding: Finding = "continue"
    async with aclosing(trial.pairs(trial.open_to_test)) as coming:
        async for case, pair in coming:
            pairs.append(pair)
            if pair.difference is None or case.id in trial.replayer.not_replayable:
                continue
            panel = panel.update(case.principal, pair.difference)
            finding = panel.decide(alpha=alpha, beta=settings.beta, cap=cap)
            if finding != "continue":
                break
    return panel, pairs, finding


def numbers_of(panel: Panel, pairs: list[Pair]) -> dict[str, Any]:
    """What a verdict keeps of a test, so that a person can check it and a later test can go on from it."""
    test = panel.pooled
    tested = [(pair.case, pair.difference) for pair in pairs if pair.difference is not None]
    return {
        "fixes": test.fixes, "breaks": test.breaks, "pairs": test.pairs, "support": panel.support,
        "e_benefit": panel.e_benefit, "e_harm": test.e_harm, "e_futility": test.e_futility,
        "cases": tuple(case for case, _ in tested), "differences": tuple(round(found, 6) for _, found in tested),
    }  # fmt: skip


def instructed(trial: Trial) -> bool:
    """Whether the users themselves said this, in these words, about their own context.

    What a model made of their words is a proposal like any other, and has to show that it helps.
    """
    user = trial.proposal.incumbent.scope.user
    cited = [item for item in trial.proposal.evidence.feedback if item.id in trial.proposal.edit.evidence]
    said = " ".join(str(item.value) for item in cited)
    own = bool(cited) and all(item.signal is Signal.TEXT and item.principal == user for item in cited)
    return own and all(entry.text in said for entry in trial.written)


def _convincing(trial: Trial, panel: Panel) -> bool:
    """Whether the evidence would do, if it did not hang on too few principals."""
    return panel.drop > 0 and panel.pooled.e_benefit >= 1 / trial.settings.alpha.get(trial.tier, 0.05)


def _unverified(trial: Trial, panel: Panel, counts: str) -> str:
    """Why neither benefit nor the lack of it could be shown."""
    skipped = len(trial.replayer.not_replayable)
    if skipped:
        return f"on probation: {skipped} affected case(s) cannot be replayed; {counts}"
    if _convincing(trial, panel):
        wanted = panel.drop + 1
        return f"unverified: it needs the evidence of {wanted} distinct principals, each dispensable; {counts}"
    if trial.e_before < 1 and panel.pooled.e_benefit >= 1 / trial.settings.alpha.get(trial.tier, 0.05):
        return f"unverified: it helps now, but earlier tests of it failed (e-value {trial.e_before:.2g}); {counts}"
    return f"unverified: only {len(trial.open_to_test)} verified case(s) would show a difference; {counts}"
