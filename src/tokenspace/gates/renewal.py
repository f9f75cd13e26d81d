"""What was to end goes on only if fresh replays show that it is still needed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from tokenspace.context import without
from tokenspace.domain import Case, Entry, Patch, Put, Verdict
from tokenspace.gates.settings import T2
from tokenspace.gates.trial import Trial

_DAY_S: Final = 86_400
_FRESH: Final = 1_000
"""Runs of a re-test are numbered from here on, by day: nothing that was remembered from before answers for today."""


class Renewal:
    """Judges an edit that moves the end of an entry: a belief is renewed for a time or not at all, and never for ever.

    The cases that it was made from, and the affected ones most like it, are replayed with and without it. It goes on
    where it fixes more than it breaks, and at least one. In a shared layer it must then show its benefit as well.
    """

    async def check(self, trial: Trial) -> Verdict | None:
        """Accept (in a user's own layer), reject or defer; None for an edit that prolongs nothing."""
        renewed = _renewed(trial)
        if not renewed:
            return None
        if any(one.valid_until is None for one in renewed):
            return trial.verdict("reject", "policy", "what was to end is renewed for a time, and never for ever")
        ids = [one.id for one in renewed]
        fixes = breaks = 0
        seen, found = list[str](), list[float]()
        now = trial.replayer.now()
        candidate = trial.proposal.candidate
        for case in self._cases(trial, ids):
            arms = [trial.replayer.trigger_prompt(one, case) for one in (without(candidate, ids), candidate)]
            if arms[0].compiled_hash == arms[1].compiled_hash:
                continue
            run = _FRESH + int((now - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // _DAY_S)
            scores = [await trial.replayer.score(case, arm, budget=trial.budget, run_index=run) for arm in arms]
            before, after = scores
            if before is None or after is None:
                continue
            seen.append(case.id)
            found.append(round(after - before, 6))
            fixes, breaks = fixes + (after > before), breaks + (after < before)
        counts = f"{fixes} fixed, {breaks} broken of {len(seen)} case(s) replayed without it and with it"
        numbers = {
            "fixes": fixes,
            "breaks": breaks,
            "pairs": len(seen),
            "cases": tuple(seen),
            "differences": tuple(found),
        }
        if not seen:
            return trial.verdict("defer", "policy", "no case can show whether it still holds: it ends")
        if fixes <= breaks:
            return trial.verdict("reject", "tested", f"not needed any more: {counts}", **numbers)
        if trial.tier > T2:
            return None
        return trial.verdict("accept", "tested", f"still needed: {counts}", **numbers)

    def _cases(self, trial: Trial, ids: list[str]) -> list[Case]:
        sources = trial.replayer.sources(trial.proposal.incumbent)
        made_from = frozenset[str]().union(*(sources.get(id, frozenset()) for id in ids))
        own = [case for case in trial.replayer.cases if made_from.intersection(case.sources)]
        known = {case.id for case in own}
        return [*own, *(case for case, _, _ in trial.affected if case.id not in known)][: trial.settings.cap[T2]]


def _renewed(trial: Trial) -> list[Entry]:
    """Entries with an end that the edit moves further away, or takes away, as they would be."""
    old, after = trial.proposal.incumbent.by_id, trial.proposal.candidate.by_id
    found: list[Entry] = []
    for op in trial.proposal.edit.ops:
        id = op.entry.id if isinstance(op, Put) else op.id
        if not isinstance(op, Put | Patch) or id not in old or id not in after:
            continue
        was, end = old[id].valid_until, after[id].valid_until
        if was is not None and (end is None or end > was):
            found.append(after[id])
    return found
