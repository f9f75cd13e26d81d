"""The gate: criteria in order, the cheap before the dear, until one of them answers; then conditions on a yes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

from tokenspace.budget import Budget
from tokenspace.context import edit_key
from tokenspace.domain import Canary, GraderSpec, Proposal, Usage, Verdict, digest
from tokenspace.errors import BudgetExceeded, BudgetTooSmall
from tokenspace.gates.audit import Audit
from tokenspace.gates.benefit import Benefit
from tokenspace.gates.contested import Contested
from tokenspace.gates.contract import Contract
from tokenspace.gates.guard import Guard
from tokenspace.gates.kept import NothingLost
from tokenspace.gates.pinned import Pinned
from tokenspace.gates.quarantine import Elevation, Quarantine
from tokenspace.gates.quota import Quota
from tokenspace.gates.recalled import Recalled
from tokenspace.gates.renewal import Renewal
from tokenspace.gates.replay import Replayer
from tokenspace.gates.settings import GateSettings
from tokenspace.gates.shorter import Shorter
from tokenspace.gates.stage import FullTraffic, Stage
from tokenspace.gates.static import StaticChecks
from tokenspace.gates.tier import tier
from tokenspace.gates.trial import Condition, Criterion, Trial
from tokenspace.gates.trigger import TriggerCheck
from tokenspace.loop import Runtime
from tokenspace.protocols import Grader


class ReplayGate:
    """The gate that is on by default: every criterion and condition of `tokenspace.gates`, composed."""

    def __init__(
        self,
        run: Runtime,
        graders: Callable[[GraderSpec], Grader],
        *,
        settings: GateSettings | None = None,
        criteria: Sequence[Criterion] | None = None,
        conditions: Sequence[Condition] | None = None,
    ) -> None:
        self._run = run
        self._graders = graders
        self.settings = settings or GateSettings()
        self._criteria = criteria or (
            StaticChecks(), Recalled(), Quota(), Quarantine(), Contract(), NothingLost(), Renewal(), FullTraffic(),
            Contested(run.recall), TriggerCheck(), Shorter(), Benefit(),
        )  # fmt: skip
        self._conditions = conditions if conditions is not None else (
            Pinned(), Guard(run.recall), Audit(), Elevation(), Stage()
        )  # fmt: skip

    @property
    def name(self) -> str:
        """replay@2, with a digest of the settings, the criteria, the conditions and the model."""
        steps = [type(one).__name__ for one in (*self._criteria, *self._conditions)]
        rules = {one.name: getattr(self.settings, one.name) for one in fields(self.settings) if one.name != "batch"}
        return f"replay@2/{digest([rules, steps, self._run.agent.profile.model])[:8]}"

    def on(self, run: Runtime) -> ReplayGate:
        """The same gate for another runtime, such as a history that is told again."""
        return ReplayGate(
            run, self._graders, settings=self.settings, criteria=self._criteria, conditions=self._conditions
        )

    async def judge(self, proposal: Proposal, *, budget: Budget) -> Verdict:
        """See `tokenspace.protocols.Gate`."""
        previous = proposal.previous.verdict if proposal.previous else None
        trial = self.trial(proposal, budget)
        try:
            verdict = await self._judged(trial)
        except BudgetTooSmall as error:
            return trial.verdict("reject", "policy", f"with it a prompt would not fit any more: {error}")
        except BudgetExceeded as error:
            if previous and previous.decision == "defer" and previous.pairs:
                return previous  # what was measured before stands until more can be paid for
            return trial.verdict("defer", "policy", f"the budget ran out during the test: {error}")
        return verdict

    def trial(self, proposal: Proposal, budget: Budget) -> Trial:
        """The proposal with its tier and the means to replay it, before anything was asked."""
        replayer = Replayer(self._run, self._graders, proposal.incumbent.scope)
        before = proposal.previous.verdict if proposal.previous else Verdict()
        # A deferred edit goes on: what it has cost already is a part of what it costs.
        spent = before.usage if before.decision == "defer" else Usage()
        return Trial(
            gate=self.name,
            proposal=proposal,
            tier=max(
                self.settings.least_tier,
                tier(proposal.edit, proposal.incumbent, proposal.evidence.feedback, self.settings),
            ),
            settings=self.settings,
            replayer=replayer,
            budget=budget,
            spent_before=budget.usage - spent,
            canary=self._asking(proposal, replayer.canaries()),
        )

    async def _judged(self, trial: Trial) -> Verdict:
        back = trial.replayer.taken_back(edit_key(trial.proposal.edit))
        if back:
            # Its replays said yes before, and are all remembered: they would say so again.
            return trial.verdict("defer", "policy", f"this very edit was served and {back}; a person decides")
        for criterion in self._criteria:
            verdict = await criterion.check(trial)
            if verdict is None:
                continue
            for condition in self._conditions if verdict.decision == "accept" else ():
                verdict = await condition.confirm(trial, verdict)
                if verdict.decision != "accept":
                    break
            return verdict
        return trial.verdict("defer", "policy", "no criterion came to a verdict")

    def _asking(self, proposal: Proposal, canaries: Sequence[Canary]) -> Canary | None:
        """The canary of this very edit, where it has gone through all its shares and asks for full traffic."""
        scope, key = proposal.incumbent.scope, edit_key(proposal.edit)
        for canary in canaries:
            ready = (
                canary.state == "trial" and canary.scope == scope and canary.share >= self.settings.canary_shares[-1]
            )
            if ready and edit_key(self._run.store.revision(scope, canary.revision).edit) == key:
                return canary
        return None
