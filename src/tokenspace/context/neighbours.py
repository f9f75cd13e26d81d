"""Do the examples nearest to one contradict it? Free of model calls; shared by those who hold back and who retire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tokenspace.domain import Entry, Evidence, Kind, Put, Ranked, Status

MIN_VOTES: Final = 0.3
"""Below this sum of similarities the neighbours are too far away to contradict anything."""


MIN_RIVALS: Final = 2
"""One example alone contradicts nothing: it may be the wrong one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """Neighbours that say something else. `margin` is by how many times they outvote; `words` is for people."""

    margin: float
    words: str


def taught(evidence: Evidence) -> list[Entry]:
    """Every example that was ever taught here and not rejected: those that are served, and those held back.

    The held ones vote too: where the first lesson of a kind was wrong, the right ones after it are held back, and
    would never come in if only served examples counted.
    """
    served = [one for one in evidence.context.entries if one.kind is Kind.EXAMPLE and one.status is Status.ACTIVE]
    waiting = [
        op.entry
        for attempt in evidence.held
        for op in (attempt.edit.ops if attempt.edit else ())
        if isinstance(op, Put) and op.entry.kind is Kind.EXAMPLE
    ]
    return [*served, *(one for one in waiting if one.id not in evidence.context.by_id)]


def voters(entry: Entry, evidence: Evidence) -> list[Entry]:
    """Who may vote on an example: each thing that was taught once, however often it was said, and never itself."""
    own = (_folded(entry), entry.text)
    lessons = {(_folded(one), one.text): one for one in taught(evidence) if one.id != entry.id}
    return [one for lesson, one in sorted(lessons.items()) if lesson != own]


def _folded(entry: Entry) -> str:
    return " ".join((entry.trigger or "").casefold().split())


def contradiction(
    answer: str, neighbours: Sequence[Ranked], answers: Mapping[str, str], *, outvoted: float
) -> Contradiction | None:
    """Whether the neighbours speak for another answer with more than `outvoted` times the votes of this one.

    Each neighbour votes for its own answer, `answers[id]`, with its similarity. Sensible only where answers come
    from a fixed set: free answers differ in words without contradicting each other.
    """
    votes: dict[str, float] = {}
    for one in neighbours:
        votes[answers[one.id]] = votes.get(answers[one.id], 0.0) + max(0.0, one.score)
    said = [answers[one.id] for one in neighbours]
    own = votes.pop(answer, 0.0)
    rival = max(votes, key=lambda text: (votes[text], text), default=None)
    if rival is None or said.count(rival) < MIN_RIVALS or votes[rival] <= own * outvoted or votes[rival] < MIN_VOTES:
        return None
    words = (
        f"{said.count(rival)} of its {len(said)} nearest examples say {rival!r}, {said.count(answer)} say {answer!r}"
    )
    return Contradiction(margin=votes[rival] / max(own, 1e-9), words=words)
