"""An edit that only takes tokens away need not help: it must do no harm."""

from __future__ import annotations

from tokenspace.domain import Context, Status, Verdict
from tokenspace.gates.benefit import numbers_of
from tokenspace.gates.settings import T2
from tokenspace.gates.trial import Trial
from tokenspace.stats import Pair, PairedOutcomes


class Shorter:
    """Retirement: an edit that writes nothing is accepted if non-inferior **and** fewer tokens, at T2 and above.

    Cases whose prompt does not change are ties that cost nothing. Where the edit is affected at all it may not break
    more than it mends: a rare loss does not hide behind the many cases that it does not touch.
    """

    async def check(self, trial: Trial) -> Verdict | None:
        """Accept or reject an edit that only drops; None where that is undecided, and for any other."""
        if trial.tier < T2 or trial.written or not self._shortens(trial):
            return None
        alpha, margin = trial.settings.alpha[trial.tier], trial.settings.margin[trial.tier]
        panel, pairs = trial.panel(), list[Pair]()
        for case, _, _ in trial.unaffected:
            panel = panel.update(case.principal, 0.0)
        for case, old, new in trial.affected[: trial.settings.cap[trial.tier]]:
            pairs.append(await trial.pair(case, old, new))
            if (found := pairs[-1].difference) is not None:
                panel = panel.update(case.principal, found)
            if panel.pooled.harmful(alpha=alpha):
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
        return None  # too few cases to rule out a loss: then it has to help

    def _shortens(self, trial: Trial) -> bool:
        count = trial.replayer.profile.count_tokens

        def tokens(context: Context) -> int:
            active = (one for one in context.entries if one.status is Status.ACTIVE)
            return sum(count(f"{one.trigger or ''}{one.text}") for one in active)

        return tokens(trial.proposal.candidate) < tokens(trial.proposal.incumbent)
