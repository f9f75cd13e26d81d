"""The gate: criteria in order, the cheap before the dear, until one of them answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokenspace.budget import Budget
from tokenspace.domain import GraderSpec, Proposal, Verdict, digest
from tokenspace.errors import BudgetExceeded, BudgetTooSmall
from tokenspace.gates.benefit import Benefit
from tokenspace.gates.contested import Contested
from tokenspace.gates.pinned import Pinned
from tokenspace.gates.replay import Replayer
from tokenspace.gates.settings import GateSettings
from tokenspace.gates.static import StaticChecks
from tokenspace.gates.tier import tier
from tokenspace.gates.trial import Criterion, Trial
from tokenspace.gates.trigger import TriggerCheck
from tokenspace.loop import Runtime
from tokenspace.protocols import Grader


class ReplayGate:
    """The gate that is on by default: every criterion of `tokenspace.gates`, composed."""

    def __init__(
        self,
        run: Runtime,
        graders: Callable[[GraderSpec], Grader],
        *,
        settings: GateSettings | None = None,
        criteria: Sequence[Criterion] | None = None,
    ) -> None:
        self._run = run
        self._graders = graders
        self._settings = settings or GateSettings()
        self._criteria = criteria or (StaticChecks(), Pinned(), Contested(run.recall), TriggerCheck(), Benefit())

    @property
    def name(self) -> str:
        """replay@1, with a digest of the settings, the criteria and the model."""
        parts = [self._settings, [type(one).__name__ for one in self._criteria], self._run.agent.profile.model]
        return f"replay@1/{digest(parts)[:8]}"

    async def judge(self, proposal: Proposal, *, budget: Budget) -> Verdict:
        """See `tokenspace.protocols.Gate`."""
        scope = proposal.incumbent.scope
        replayer = Replayer(self._run, self._graders, scope)
        previous = proposal.previous.verdict if proposal.previous else None
        trial = Trial(
            gate=self.name,
            proposal=proposal,
            tier=tier(proposal.edit, proposal.incumbent, proposal.evidence.feedback, self._settings),
            settings=self._settings,
            replayer=replayer,
            budget=budget,
            spent_before=budget.usage,
        )
        try:
            for criterion in self._criteria:
                verdict = await criterion.check(trial)
                if verdict is not None:
                    return verdict
        except BudgetTooSmall as error:
            return trial.verdict("reject", "policy", f"with it a prompt would not fit any more: {error}")
        except BudgetExceeded as error:
            if previous and previous.decision == "defer" and previous.pairs:
                return previous  # what was measured before stands until more can be paid for
            return trial.verdict("defer", "policy", f"the budget ran out during the test: {error}")
        return trial.verdict("defer", "policy", "no criterion came to a verdict")
