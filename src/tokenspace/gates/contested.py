"""T0 and T1: examples. They are served without a test, unless the verified examples nearest to them disagree.

A colleague who corrects one message in ten wrongly is not found by asking a model about every correction, but by
their neighbours: messages that are alike mostly have the same answer. So an outvoted example is held back, at no
cost. It is judged again as neighbours arrive, and in sleep by replaying the verified cases that it would affect
most. A confirmed break there is a contradiction, and support has already decided against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from tokenspace.context import Voting, discredited, sayers, voters
from tokenspace.domain import Case, Drop, Entry, Evidence, Kind, Put, Verdict
from tokenspace.gates.settings import T1
from tokenspace.gates.trial import Affected, Trial
from tokenspace.protocols import Recall
from tokenspace.stats import PairedOutcomes

SEARCHED: Final = 100
"""Compiling the prompts of all cases, for each lesson that waits, takes minutes where there are thousands."""


class Contested:
    """Settles edits of tiers 0 and 1; lets stricter ones pass on to the tests by replay."""

    def __init__(self, recall: Recall) -> None:
        self._recall = recall

    async def check(self, trial: Trial) -> Verdict | None:
        """Accept by policy, hold back (defer), or settle by replay; None above T1."""
        if trial.tier > T1:
            return None
        if trial.tier < T1:
            return trial.verdict("accept", "policy", "it changes nobody else's context; unverified by replay")
        voting = _voting(trial)
        outvoted = [
            reason
            for entry in _examples(trial)
            if (reason := self._outvoted(entry, trial, voting) or voting.distrust(entry))
        ]
        if not outvoted and not any(isinstance(op, Drop) for op in trial.proposal.edit.ops):
            return trial.verdict("accept", "policy", "no example near it disagrees; unverified by replay")
        previous = trial.proposal.previous
        # No replay is spent on what a discredited teacher says: only a person lets that in.
        free = trial.budget.left("calls") < 1 or any(voting.distrust(entry) for entry in _examples(trial))
        if outvoted and free and previous and previous.verdict.decision == "defer":
            return previous.verdict  # nothing new can be learned for free
        if outvoted and (free or previous is None):
            return trial.verdict("defer", "policy", f"held back: {outvoted[0]}")
        return await self._settle(trial, outvoted[0] if outvoted else "", voting)

    def _outvoted(self, entry: Entry, trial: Trial, voting: Voting) -> str:
        """Why the examples nearest to it speak against it; empty if they do not."""
        evidence = trial.proposal.evidence
        closed = closed_answers(evidence)
        if entry.text not in closed:
            return ""  # free answers differ in words without contradicting each other
        others = [other for other in voters(entry, evidence) if other.text in closed]
        held = [other for other in others if other.id not in evidence.context.vectors]
        vectors = {**evidence.context.vectors, **self._recall.index(held)}
        ranked = self._recall.rank(others, vectors, entry.trigger or entry.text)
        found = voting.against(entry, others, ranked)
        return found.words if found else ""

    def _nearest(self, trial: Trial, voting: Voting) -> Iterator[Affected]:
        """The affected cases that are most like the edit, as many as are replayed; no other prompt is compiled.

        They are looked for among the `SEARCHED` cases that are most like it: what it is not like, it hardly affects.
        """
        found = 0
        for case in islice(trial.nearest_cases(self._recall, _of_others(trial, voting)), SEARCHED):
            arms = trial.prompts(case)
            if arms is None or arms[0].compiled_hash == arms[1].compiled_hash:
                continue
            yield (case, *arms)
            found += 1
            if found == trial.settings.guard_cases:
                return

    async def _settle(self, trial: Trial, contested: str, voting: Voting) -> Verdict:
        gone = _dropped(trial)
        doubted = bool(gone) and all(voting.distrust(entry) for entry in gone)
        # What stands on the word of a discredited teacher must show to stay what a contested lesson shows to come in.
        tolerated = trial.settings.needed_fixes - 1 if doubted else 0
        outcomes = PairedOutcomes()
        for case, old, new in self._nearest(trial, voting):
            outcomes = PairedOutcomes(pairs=(*outcomes.pairs, await trial.pair(case, old, new)))
            if outcomes.breaks > outcomes.fixes + tolerated:
                break
        fixes, breaks, seen = outcomes.fixes, outcomes.breaks, tuple(pair.case for pair in outcomes.pairs)
        found = f"{fixes} fixed, {breaks} broken of {len(seen)} affected case(s) replayed"
        numbers: dict[str, Any] = {"fixes": fixes, "breaks": breaks, "pairs": len(seen), "cases": seen}
        if outcomes.must_defer:
            return trial.verdict("defer", "policy", "too many replays could not be measured", **numbers)
        if breaks > fixes + tolerated:
            return trial.verdict(
                "reject", "tested", _joined(f"it contradicts what is verified: {found}", contested), **numbers
            )
        if not contested:
            words = "taught by somebody discredited" if doubted else "no worse without it"
            return trial.verdict("accept", "tested" if seen else "policy", f"{words}: {found}", **numbers)
        if fixes - breaks >= trial.settings.needed_fixes:
            return trial.verdict("accept", "tested", f"it helps where it matters: {found}", **numbers)
        return trial.verdict("defer", "policy", _joined("held back", contested, found), **numbers)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def closed_answers(evidence: Evidence) -> frozenset[str]:
    """The fixed set that the answers come from, so that two different ones contradict each other; empty if free."""
    return frozenset(choice for episode in evidence.episodes.values() for choice in episode.request.choices or ())


def _voting(trial: Trial) -> Voting:
    settings, tried = trial.settings, trial.tried
    edits = [*(one.edit for one in tried if one.edit), trial.proposal.edit]
    voting = Voting(
        neighbours=settings.neighbours,
        outvoted=settings.outvoted,
        said_by=sayers(edits, trial.replayer.cases, trial.proposal.incumbent.entries),
        teachers=settings.teachers,
        trusted=settings.operators,
    )
    return replace(voting, discredited=discredited(tried, trial.proposal.incumbent, voting))


def _of_others(trial: Trial, voting: Voting) -> Sequence[Case]:
    """The cases, without those of the lesson's own teachers where several teach: no one is his own witness."""
    authors = frozenset[str]().union(*map(voting.authors, [*_examples(trial), *_dropped(trial)]))
    told = {case.id: voting.witnesses(case) for case in trial.cases}
    if not voting.several(authors.union(*told.values())):
        return trial.cases
    return [case for case in trial.cases if told[case.id] - authors]


def _examples(trial: Trial) -> list[Entry]:
    return [op.entry for op in trial.proposal.edit.ops if isinstance(op, Put) and op.entry.kind is Kind.EXAMPLE]


def _dropped(trial: Trial) -> list[Entry]:
    old = trial.proposal.incumbent.by_id
    return [old[op.id] for op in trial.proposal.edit.ops if isinstance(op, Drop) and op.id in old]
