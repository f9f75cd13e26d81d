"""Do the examples nearest to one contradict it? Free of model calls; shared by those who hold back and who retire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Final

from tokenspace.domain import Case, Edit, Entry, Episode, Evidence, Feedback, Kind, Put, Ranked, Signal, Status

Lesson = tuple[str, str]
"""What an example teaches: its trigger but for case and white space, and its answer."""

Sayers = Mapping[Lesson, frozenset[str]]
"""The principals who taught each lesson. One that is not in it was written by hand."""

MIN_VOTES: Final = 0.3
"""Below this sum of similarities the neighbours are too far away to contradict anything."""


MIN_RIVALS: Final = 2
"""One example alone contradicts nothing: it may be the wrong one. The same holds for one principal among several."""

SEATS: Final = 2
"""So many of the voting neighbours may be one principal's, where several have taught."""

SEVERAL: Final = 3
"""From so many principals on, one against the others can be told apart; two who disagree cannot."""

BY_HAND: Final = ""
"""Stands for whoever wrote an example by hand, which takes an operator's rights."""

_OUTPUT: Final = frozenset({Signal.CORRECTION, Signal.EDIT, Signal.DEMONSTRATION})
TEACHING_TIER: Final = 1
"""Up to this tier an example was judged as that of somebody who may teach here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """Neighbours that say `rival` instead. `margin` is by how many times they outvote; `words` is for people."""

    rival: str
    margin: float
    words: str


# ── who voted ───────────────────────────────────────────────────────────────────────────────


def lesson_of(entry: Entry) -> Lesson:
    """What an example teaches."""
    return _folded(entry.trigger or ""), entry.text.strip()


def sayers(edits: Iterable[Edit], cases: Sequence[Case], entries: Iterable[Entry] = ()) -> Sayers:
    """Who taught what, by the edits to add it, accepted or not, and the cases that the same feedback made.

    Of the visible `entries` those that were renamed still stand on the word of those who taught them.
    """
    principals = {source: case.principal for case in cases for source in case.sources[:1]}
    said = (
        (lesson_of(op.entry), principals[id])
        for edit in edits
        for op in edit.ops
        if isinstance(op, Put) and op.entry.kind is Kind.EXAMPLE
        for id in edit.evidence
        if id in principals
    )
    spoke = ((_folded(case.request.query), case.principal) for case in cases)
    return _gathered(chain(said, _renamed(entries, spoke)))


def sayers_in(evidence: Evidence) -> Sayers:
    """The same, by the feedback itself, for those who are given all of it."""
    about = [(item, evidence.episodes[item.episode]) for item in evidence.feedback]
    said = (
        ((_folded(episode.request.query), answer.strip()), item.principal)
        for item, episode in about
        if (answer := called_right(item, episode)) is not None
    )
    spoke = ((_folded(episode.request.query), item.principal) for item, episode in about)
    return _gathered(chain(said, _renamed(evidence.context.entries, spoke)))


def _renamed(entries: Iterable[Entry], spoke: Iterable[tuple[str, str]]) -> Iterable[tuple[Lesson, str]]:
    """Examples with a new name (see `renamed`), and whoever taught something about the same message."""
    changed = {lesson_of(one) for one in entries if one.kind is Kind.EXAMPLE and one.valid_from is not None}
    lessons = {lesson[0]: lesson for lesson in changed}
    return ((lessons[trigger], principal) for trigger, principal in spoke if trigger in lessons)


def called_right(item: Feedback, episode: Episode) -> str | None:
    """The output that a piece of feedback calls right, if it names or approves one."""
    if item.signal in _OUTPUT:
        return item.value if isinstance(item.value, str) else None
    liked = item.signal in (Signal.LABEL, Signal.SCORE) and not isinstance(item.value, str) and item.value >= 1
    return episode.output if liked else None


def _gathered(pairs: Iterable[tuple[Lesson, str]]) -> Sayers:
    found: dict[Lesson, set[str]] = {}
    for lesson, principal in pairs:
        found.setdefault(lesson, set()).add(principal)
    return {lesson: frozenset(principals) for lesson, principals in found.items()}


def taught(evidence: Evidence) -> list[Entry]:
    """Every example that was ever taught here and not rejected: those that are served, and those held back.

    The held ones vote too: where the first lesson of a kind was wrong, the right ones after it are held back, and
    would never come in if only served examples counted. Not so what waits because its teacher may not teach here: it
    has no vote, or anybody could keep right lessons out.
    """
    served = [one for one in evidence.context.entries if one.kind is Kind.EXAMPLE and one.status is Status.ACTIVE]
    waiting = [
        op.entry
        for attempt in evidence.tried("defer")
        if attempt.verdict.tier <= TEACHING_TIER
        for op in (attempt.edit.ops if attempt.edit else ())
        if isinstance(op, Put) and op.entry.kind is Kind.EXAMPLE
    ]
    return [*served, *(one for one in waiting if one.id not in evidence.context.by_id)]


def voters(entry: Entry, evidence: Evidence) -> list[Entry]:
    """Who may vote on an example: each thing that was taught once, however often it was said, and never itself."""
    lessons = {lesson_of(one): one for one in taught(evidence) if one.id != entry.id}
    return [one for lesson, one in sorted(lessons.items()) if lesson != lesson_of(entry)]


@lru_cache(maxsize=16_384)  # every vote asks again for every trigger
def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


# ── the vote ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Voting:
    """Who of the ranked neighbours votes on an example, and what comes of it.

    The `neighbours` nearest vote. Where `SEVERAL` principals teach, or one beside the `trusted` (the operators, and
    whoever wrote by hand), nobody has a vote for what they taught themselves, at most `SEATS` neighbours of one
    principal vote, and an example is contradicted by two of them at least. So one teacher who is careless, or lies,
    cannot support his own lessons by many more, and cannot keep out those of others. His own lessons still speak
    against him where the others' have nothing to say for him. `teachers` are those who may teach here now (None:
    everybody); what only others taught has no vote, nor what only the `discredited` did
    (each with the reason in words).
    """

    neighbours: int
    outvoted: float
    said_by: Sayers = field(default_factory=dict[Lesson, frozenset[str]])
    teachers: frozenset[str] | None = None
    trusted: frozenset[str] = frozenset()
    discredited: Mapping[str, str] = field(default_factory=dict[str, str])

    def against(self, entry: Entry, others: Sequence[Entry], ranked: Sequence[Ranked]) -> Contradiction | None:
        """Why those of `others` that are nearest to an example speak against it; None if they do not."""
        by = {other.id: who for other in others if (who := self.voices(lesson_of(other)) - self.discredited.keys())}
        answers = {other.id: other.text for other in others if other.id in by}
        ranked = [one for one in ranked if one.id in by]
        authors = self.authors(entry)
        if not self.several(self.voices(lesson_of(entry)).union(*by.values())):
            return contradiction(entry.text, ranked[: self.neighbours], answers, outvoted=self.outvoted)
        jury = self._jury(ranked, by, authors)
        found = contradiction(entry.text, jury, answers, outvoted=self.outvoted)
        if found:
            rivals = frozenset[str]().union(*(by[one.id] for one in jury if answers[one.id] == found.rival))
            return found if len(rivals) >= MIN_RIVALS or rivals & self._beyond_doubt else None
        if authors and not any(answers[one.id] == entry.text for one in jury):
            own = [one for one in ranked if by[one.id] <= authors]
            return contradiction(entry.text, own[: self.neighbours], answers, outvoted=self.outvoted)
        return None

    def authors(self, entry: Entry) -> frozenset[str]:
        """Which teachers taught an example, without the trusted: theirs are not doubted for being theirs."""
        return self.voices(lesson_of(entry)) - self._beyond_doubt

    def distrust(self, entry: Entry) -> str:
        """Why nothing is taken on the word of those who taught an example; empty if somebody's word counts."""
        authors = self.authors(entry)
        return "; ".join(self.discredited[one] for one in sorted(authors)) if authors <= self.discredited.keys() else ""

    def witnesses(self, case: Case) -> frozenset[str]:
        """Which teachers say what a case says."""
        expected = case.grader.expected
        lesson = (_folded(case.request.query), expected.strip() if isinstance(expected, str) else "")
        return self._teaching(self.said_by.get(lesson, frozenset[str]()) | {case.principal}) - self.discredited.keys()

    def may_teach(self, principal: str) -> bool:
        """Whether a principal has a vote here."""
        return bool(self._teaching(frozenset({principal})))

    def may_be_doubted(self, principals: frozenset[str]) -> bool:
        """Whether none of these principals is beyond doubt."""
        return bool(principals) and not principals & self._beyond_doubt

    def several(self, principals: frozenset[str]) -> bool:
        """Whether one of these principals can be told apart from the others."""
        doubted = principals - self._beyond_doubt
        return len(doubted) >= SEVERAL or bool(doubted and principals & self._beyond_doubt)

    @property
    def _beyond_doubt(self) -> frozenset[str]:
        return self.trusted | {BY_HAND}

    def voices(self, lesson: Lesson) -> frozenset[str]:
        """Which of those who may teach here taught a lesson."""
        return self._teaching(self.said_by.get(lesson, frozenset({BY_HAND})))

    def _teaching(self, principals: frozenset[str]) -> frozenset[str]:
        return principals if self.teachers is None else principals & (self.teachers | self._beyond_doubt)

    def _jury(
        self, ranked: Sequence[Ranked], by: Mapping[str, frozenset[str]], authors: frozenset[str]
    ) -> list[Ranked]:
        chosen, seats = list[Ranked](), Counter[str]()
        for one in ranked:
            others = by[one.id] - authors
            free = others & self._beyond_doubt or any(seats[name] < SEATS for name in others)
            if free and len(chosen) < self.neighbours:
                seats.update(others)
                chosen.append(one)
        return chosen


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
        f"{said.count(rival)} of its {len(said)} nearest examples agree on another answer, "
        f"{said.count(answer)} say {answer!r}"
    )
    return Contradiction(rival=rival, margin=votes[rival] / max(own, 1e-9), words=words)
