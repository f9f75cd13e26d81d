"""How much one principal may write into a scope in a day, whatever the replays say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from tokenspace.domain import Attempt, Feedback, Origin, Verdict
from tokenspace.gates.trial import Trial
from tokenspace.loop import SHOWN

DAY = timedelta(days=1)


class Quota:
    """Defers what a principal writes beyond the quota of a day: it waits, and nothing is lost. Operators have none.

    A principal and an agent that speaks in its name are counted apart. What nobody said, such as an entry that sleep
    retires, belongs to no quota.
    """

    async def check(self, trial: Trial) -> Verdict | None:
        """A defer that says who has written how much, or None."""
        settings, evidence = trial.settings, trial.proposal.evidence
        cited = [item for item in evidence.feedback if item.id in trial.proposal.edit.evidence]
        writers = {_writer(item) for item in cited if item.principal not in settings.operators}
        least = min(settings.writes_per_day, settings.agent_writes_per_day)
        since = trial.replayer.now() - DAY
        recent = [one for one in evidence.accepted if one.at >= since]
        if len(recent) >= SHOWN:  # the evidence has the newest only
            recent = [one for one in trial.tried if one.at >= since and one.verdict.decision == "accept"]
        if not writers or len(recent) < least:
            return None  # so few in a day that nobody can be beyond it
        counts = _counts(recent, trial.replayer.feedback())
        for principal, alone in sorted(writers):
            limit = settings.agent_writes_per_day if alone else settings.writes_per_day
            written = counts.get((principal, alone), 0)
            if written >= limit:
                who = f"the agent of {principal}" if alone else principal
                reason = f"over the quota: {who} has written {written} times in a day, and {limit} are allowed"
                return trial.verdict("defer", "policy", reason)
        return None


def _writer(item: Feedback) -> tuple[str, bool]:
    """Who speaks, and whether it is an agent or a tool for itself."""
    return item.principal, item.source < Origin.USER


def _counts(attempts: Sequence[Attempt], feedback: Mapping[str, Feedback]) -> dict[tuple[str, bool], int]:
    counts: dict[tuple[str, bool], int] = {}
    for attempt in attempts:
        for writer in {_writer(feedback[id]) for id in attempt.evidence if id in feedback}:
            counts[writer] = counts.get(writer, 0) + 1
    return counts
