"""An edit that only takes tokens away need not help: it must do no harm.

It drops what is there, or puts one text in the place of several (see `kept`).
"""

from __future__ import annotations

from typing import Any

from tokenspace.context import outlived
from tokenspace.domain import Context, Drop, Status, Verdict
from tokenspace.gates.benefit import numbers_of
from tokenspace.gates.kept import replaced
from tokenspace.gates.settings import T2, T3
from tokenspace.gates.trial import Trial
from tokenspace.stats import Pair, PairedOutcomes


class Shorter:
    """Retirement and consolidation are accepted if non-inferior **and** fewer tokens, at T2 and above.

    What no prompt can show any more (retired, expired, or superseded by a fact that lasts) need not be tested so long:
    that it goes can at most move the scale of recall a little.

    Cases whose prompt does not change are ties that cost nothing. Where the edit is affected at all it may not break
    more than it mends: a rare loss does not hide behind the many cases that it does not touch.
    """

    async def check(self, trial: Trial) -> Verdict | None:
        """Accept or reject an edit that drops or consolidates; None where that is undecided, and for any other."""
        if trial.tier < T2 or (trial.written and not replaced(trial.proposal)):
            return None
        if not trial.written and _inert(trial):
            return await self._unshown(trial)
        return await self._tested(trial) if self._shortens(trial) else None

    async def _unshown(self, trial: Trial) -> Verdict:
        pairs = [await trial.pair(*arms) for arms in trial.affected[: trial.settings.guard_pairs]]
        outcomes = PairedOutcomes(pairs=pairs)
        counts = f"{outcomes.fixes} fixed, {outcomes.breaks} broken of {len(pairs)} affected case(s)"
        numbers: dict[str, Any] = {"fixes": outcomes.fixes, "breaks": outcomes.breaks, "pairs": len(pairs)}
        numbers["cases"] = tuple(pair.case for pair in pairs)
        if outcomes.breaks > outcomes.fixes:
            return trial.verdict("reject", "tested", f"worse without what no prompt can show: {counts}", **numbers)
        basis = "tested" if pairs else "policy"
        return trial.verdict("accept", basis, f"no prompt can show what it drops: {counts}", **numbers)

    async def _tested(self, trial: Trial) -> Verdict | None:
        alpha, margin = trial.settings.alpha[trial.tier], trial.settings.margin[trial.tier]
        joins = bool(replaced(trial.proposal))
        # To rule out a loss takes more pairs than to show a gain, and a consolidation has no gain to show.
        cap = trial.settings.cap[max(trial.tier, T3) if joins else trial.tier]
        panel, pairs = trial.panel(), list[Pair]()
        for case, _, _ in trial.unaffected:
            panel = panel.update(case.principal, 0.0)
        for case, old, new in trial.affected[:cap]:
            pairs.append(await trial.pair(case, old, new))
            if (found := pairs[-1].difference) is not None:
                panel = panel.update(case.principal, found)
            if panel.pooled.harmful(alpha=alpha) or (joins and panel.pooled.noninferior(margin, alpha=alpha)):
                break
        numbers, test = numbers_of(panel, pairs), panel.pooled
        numbers["pairs"] = len(numbers["cases"])
        counts = f"{test.fixes} fixed, {test.breaks} broken of {len(pairs)} affected and {test.pairs} cases in all"
        if PairedOutcomes(pairs=pairs).must_defer:
            return trial.verdict("defer", "policy", "too many replays could not be measured", **numbers)
        if test.breaks > test.fixes:
            return trial.verdict("reject", "tested", f"shorter, but worse: {counts}", **numbers)
        if test.noninferior(margin, alpha=alpha):
            return trial.verdict("accept", "tested", f"shorter, and no worse by {margin:.0%}: {counts}", **numbers)
        if joins:
            return trial.verdict("defer", "policy", f"too few cases to rule out a loss: {counts}", **numbers)
        return None  # then it has to help

    def _shortens(self, trial: Trial) -> bool:
        count = trial.replayer.profile.count_tokens

        def tokens(context: Context) -> int:
            active = (one for one in context.entries if one.status is Status.ACTIVE)
            return sum(count(f"{one.trigger or ''}{one.text}") for one in active)

        return tokens(trial.proposal.candidate) < tokens(trial.proposal.incumbent)


def _inert(trial: Trial) -> bool:
    """Whether the edit drops only what can never be shown again, whatever is asked."""
    gone = outlived(trial.proposal.incumbent, trial.replayer.now())
    return bool(trial.proposal.edit.ops) and all(
        isinstance(op, Drop) and op.id in gone for op in trial.proposal.edit.ops
    )
