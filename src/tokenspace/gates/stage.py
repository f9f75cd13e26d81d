"""How far an accepted edit may go: at once, through a canary, to full traffic, or to a person first."""

from __future__ import annotations

from dataclasses import replace

from tokenspace.context.skills import is_open, skills_in
from tokenspace.domain import Verdict
from tokenspace.gates.settings import T3
from tokenspace.gates.trial import Trial


class FullTraffic:
    """Asked for an edit whose canary went well: its benefit is known, and a loss must be ruled out.

    G on the pinned cases at the tier's margin (gate.md): unchanged prompts are ties for free. It is the first
    criterion for such an edit after the static ones and the pinned cases themselves, and always answers.
    """

    async def check(self, trial: Trial) -> Verdict | None:
        """Accept or defer; None where there is no canary of this edit."""
        if trial.canary is None:
            return None
        alpha, margin = trial.settings.alpha[trial.tier], trial.settings.margin[trial.tier]
        panel, pinned = trial.panel(), [case for case in trial.cases if case.pinned]
        for case in pinned:
            arms = trial.prompts(case)
            if arms is None:
                continue
            pair = await trial.pair(case, *arms)
            if pair.difference is not None:
                panel = panel.update(case.principal, pair.difference)
        test = panel.pooled
        counts = f"{test.fixes} fixed, {test.breaks} broken of {test.pairs} pinned case(s)"
        if test.noninferior(margin, alpha=alpha):
            reason = f"its canary went well, and a loss of {margin:.0%} is ruled out: {counts}"
            return trial.verdict("accept", "tested", reason, fixes=test.fixes, breaks=test.breaks, pairs=test.pairs)
        reason = f"its canary went well, but full traffic needs more pinned cases or a person: {counts}"
        return trial.verdict("defer", "policy", reason)


class Stage:
    """T3 and T4 begin as canaries, one at a time in a layer; a person may have to agree first."""

    async def confirm(self, trial: Trial, verdict: Verdict) -> Verdict:
        """The verdict with the share of sessions that it is for, or a defer."""
        if trial.tier < T3 or trial.canary is not None:
            return verdict
        if trial.tier >= trial.settings.human_from:
            return _wait(verdict, "a change for everybody in this scope waits for a person")
        if not self._activated(trial):
            return _wait(verdict, "the skill was not shown in any of the tested cases")
        if any(one.scope == trial.proposal.incumbent.scope for one in trial.replayer.canaries()):
            return _wait(verdict, "another canary of this layer must end first")
        return replace(verdict, share=trial.settings.canary_shares[0])

    def _activated(self, trial: Trial) -> bool:
        skills = skills_in(trial.written)
        return not skills or any(is_open(one, new.included) for _, _, new in trial.affected for one in skills)


def _wait(verdict: Verdict, why: str) -> Verdict:
    return replace(verdict, decision="defer", basis="policy", reason=f"{verdict.reason}; {why}")
