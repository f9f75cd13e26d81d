"""One edit on trial: what every criterion shares, and what a criterion is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from tokenspace.budget import Budget
from tokenspace.domain import Basis, Case, Decision, Prompt, Proposal, Usage, Verdict
from tokenspace.gates.cases import fit_to_test
from tokenspace.gates.replay import Arms, Replayer
from tokenspace.gates.settings import GateSettings
from tokenspace.stats import Pair


class Criterion(Protocol):
    """One question about an edit. The pipeline asks them in order until one answers."""

    async def check(self, trial: Trial) -> Verdict | None:
        """A verdict that ends the trial, or None to let the next criterion decide."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A proposal with its tier and the means to replay it. What costs anything is computed when first asked for."""

    gate: str
    proposal: Proposal
    tier: int
    settings: GateSettings
    replayer: Replayer
    budget: Budget
    spent_before: Usage

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The cases that may test this edit, one for each cluster, in the edit's fixed order."""
        attempts = self.replayer.attempts()
        return fit_to_test(self.proposal, self.replayer.cases, attempts, seed=self.settings.seed)

    @cached_property
    def prompts(self) -> Callable[[Case], Arms | None]:
        """A case's prompt in both contexts, (incumbent, candidate); None if it does not fit."""
        return self.replayer.arms(self.proposal.incumbent, self.proposal.candidate, self.proposal.edit)

    @cached_property
    def affected(self) -> list[tuple[Case, Prompt, Prompt]]:
        """The cases whose compiled bytes change; for all others the difference is 0, free and exact."""
        arms = ((case, self.prompts(case)) for case in self.cases)
        return [(case, *both) for case, both in arms if both and both[0].compiled_hash != both[1].compiled_hash]

    async def pair(self, case: Case, old: Prompt, new: Prompt) -> Pair:
        """Scores of the incumbent and the candidate on fresh or remembered replays, never on live outcomes (I7)."""
        before = await self.replayer.score(case, old, budget=self.budget)
        after = await self.replayer.score(case, new, budget=self.budget)
        return Pair(case=case.id, cluster=case.cluster, incumbent=(before,), candidate=(after,))

    def verdict(self, decision: Decision, basis: Basis, reason: str, **numbers: Any) -> Verdict:
        """A verdict of this trial, with what it cost."""
        return Verdict(
            decision=decision,
            basis=basis,
            reason=reason,
            gate=self.gate,
            tier=self.tier,
            usage=self.budget.usage - self.spent_before,
            **numbers,
        )
