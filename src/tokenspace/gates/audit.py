"""Is it true that an unchanged prompt means an unchanged answer? A few cases are run all the same."""

from __future__ import annotations

from dataclasses import replace

from tokenspace.canary import chance
from tokenspace.context import edit_key
from tokenspace.domain import Verdict
from tokenspace.gates.settings import T2
from tokenspace.gates.trial import Trial


class Audit:
    """Runs a share of the unaffected cases once more, both arms, with nothing remembered.

    A deterministic model that answers the same bytes in two ways has something else in its prompt than we know of:
    then "unaffected" means nothing, and the edit waits. From others it is noise, and `gates.noise` measures it.
    """

    async def confirm(self, trial: Trial, verdict: Verdict) -> Verdict:
        """A defer if the bytes do not tell all; else the verdict as it is."""
        if trial.tier < T2 or verdict.basis != "tested" or not trial.replayer.deterministic:
            return verdict
        key, settings = edit_key(trial.proposal.edit), trial.settings
        drawn = [one for one in trial.unaffected if chance("audit", key, one[0].id) < settings.audit_share]
        for case, old, new in drawn[: settings.audit_most]:
            before = await trial.replayer.fresh(case, old, budget=trial.budget)
            after = await trial.replayer.fresh(case, new, budget=trial.budget)
            if before is not None and after is not None and before != after:
                reason = f"equal prompts had unequal answers on case {case.id}: the model sees more than its prompt"
                return replace(verdict, decision="defer", basis="policy", reason=reason)
        return replace(verdict, usage=trial.budget.usage - trial.spent_before)
