"""Does the edit mend the very episode that caused it?"""

from __future__ import annotations

from tokenspace.domain import Verdict
from tokenspace.gates.kept import replaced
from tokenspace.gates.trial import Trial
from tokenspace.stats import MAX_MISSING_SHARE


class TriggerCheck:
    """Re-runs the causing episodes under the candidate; without a success in most runs the edit is rejected.

    Necessary and never sufficient: these runs are no evidence of benefit, because the case exists only since the
    incumbent failed on it (I7).
    """

    async def check(self, trial: Trial) -> Verdict | None:
        """A rejection, or None. An edit whose evidence made no case has nothing to re-run.

        What a consolidation cites made its sources, and did not cause it: see `NothingLost`.
        """
        if replaced(trial.proposal):
            return None
        cited = set(trial.proposal.edit.evidence)
        caused = [case for case in trial.replayer.cases if cited.intersection(case.sources)]
        runs = 1 if trial.replayer.deterministic else trial.settings.trigger_runs
        for case in caused:
            prompt = trial.replayer.trigger_prompt(trial.proposal.candidate, case)
            scores = [
                await trial.replayer.score(case, prompt, budget=trial.budget, run_index=index) for index in range(runs)
            ]
            if scores.count(None) > MAX_MISSING_SHARE * runs:
                return trial.verdict("defer", "policy", "the episode that caused it could not be run again")
            good = sum(score is not None and score >= 0.5 for score in scores)
            if 3 * good < 2 * runs:
                reason = f"the episode that caused it still fails: {good} of {runs} runs succeeded with the edit"
                return trial.verdict("reject", "tested", reason, cases=(case.id,))
        return None
