"""Pinned cases are regression tests: an edit that breaks one, confirmed, is rejected whatever else it does."""

from __future__ import annotations

from dataclasses import replace

from tokenspace.domain import Case, Prompt, Verdict
from tokenspace.gates.settings import T0
from tokenspace.gates.trial import Trial

_REROLLS = 3


class Pinned:
    """Replays the affected pinned cases under both contexts; T0 can change nobody else and is not asked.

    Asked of accepted edits only, and never evidence of benefit: a pinned case is one that the incumbent always gets
    right, so it can only tie or break, and a scope full of them would call every edit futile.
    """

    async def confirm(self, trial: Trial, verdict: Verdict) -> Verdict:
        """A rejection on a confirmed break, or the verdict as it is."""
        if trial.tier == T0:
            return verdict
        for case in (one for one in trial.cases if one.pinned):
            arms = trial.prompts(case)
            if arms is None or arms[0].compiled_hash == arms[1].compiled_hash:
                continue
            old, new = arms
            pair = await trial.pair(case, old, new)
            if pair.missing or pair.difference is None or pair.difference >= 0:
                continue
            if await self._confirmed(trial, case, old, new):
                reason = f"it breaks a pinned case: {case.id}"
                broken = {"fixes": 0, "breaks": 1, "pairs": 1, "cases": (case.id,), "differences": (pair.difference,)}
                return trial.verdict("reject", "tested", reason, **broken)
        return replace(verdict, usage=trial.budget.usage - trial.spent_before)

    async def _confirmed(self, trial: Trial, case: Case, old: Prompt, new: Prompt) -> bool:
        """Whether most re-rolls of both arms show the break again; one run says all of a deterministic model."""
        if trial.replayer.deterministic:
            return True
        shown = 0
        for index in range(1, _REROLLS + 1):
            before = await trial.replayer.score(case, old, budget=trial.budget, run_index=index)
            after = await trial.replayer.score(case, new, budget=trial.budget, run_index=index)
            shown += before is not None and after is not None and after < before
        return 2 * shown > _REROLLS
