"""Has a thing got another name? Told from what was said, in the order in which it was said; free of model calls.

A vote among neighbours takes the old for the truth: where a team is called otherwise from today on, the first right
lesson is outvoted by all the old ones. Time tells such a change from carelessness. Mistakes are scattered among what
is said rightly; after a change the old name is not said any more, by anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Final

from tokenspace.context.neighbours import MIN_RIVALS, Voting, called_right, contradiction, lesson_of
from tokenspace.domain import Entry, Evidence, Kind, Ranked

NEWEST: Final = 96
"""So many of the newest lessons are held against those before them."""

MIN_SAID: Final = 3
"""A new name is believed when it was said so often, and since then more than twice as often as all else together and
more than four times as often as the old one."""

AS_NEAR: Final = 0.88
"""Of the likeness that lessons of one kind have to the nearest of their own, so much is asked of those with a new name.
Measured: renamed kinds of banking77 have .91 and more, the nearest kinds of messages about new things .82 and less."""

Nearest = Callable[[Entry, Sequence[Entry]], Sequence[Ranked]]
"""Lessons by their likeness to one, nearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One lesson as it was said: what for what, by whom, when, in which feedback."""

    entry: Entry
    by: str
    at: datetime
    feedback: str
    episode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """What was said to be `said`, and is served as `old`, is `new` since a time; `told` are the lessons for that."""

    said: str
    old: str
    new: str
    since: datetime
    told: tuple[Told, ...]


def lessons(evidence: Evidence, voting: Voting) -> list[Told]:
    """Every answer from a fixed set that somebody who may teach called right, oldest first."""
    found = list[Told]()
    for item in evidence.feedback:
        episode = evidence.episodes[item.episode]
        answer = (called_right(item, episode) or "").strip()
        if answer not in (episode.request.choices or ()) or not voting.may_teach(item.principal):
            continue
        entry = Entry(id=item.id, kind=Kind.EXAMPLE, doc="", trigger=episode.request.query, text=answer)
        found.append(Told(entry=entry, by=item.principal, at=item.at, feedback=item.id, episode=item.episode))
    return sorted(found, key=lambda one: (one.at, one.feedback))


def renamings(told: Sequence[Told], own: Iterable[Entry], nearest: Nearest, voting: Voting) -> list[Renaming]:
    """What got another name among the newest lessons, the most often said first.

    The older lessons fall into kinds by what they said and by the name that they have now, if `own` has renamed them.
    A new lesson is of the kind that most of the older ones nearest to it are of. Of the new lessons of a kind those
    from some moment on must say another name: `MIN_SAID` of them, more than twice as many as say anything else and
    more than four times as many as say the old one, by two principals where several teach. And they must be as near
    to the kind as its own lessons are to one another: where messages about new things come in, the nearest of the old
    things is not what has a new name.
    """
    first = max(len(told) - NEWEST, len(told) // 2)
    now = {lesson_of(one)[0]: one for one in own if one.kind is Kind.EXAMPLE and one.valid_from is not None}
    kind_of = {one.entry.id: (one.entry.text, now.get(lesson_of(one.entry)[0], one.entry).text) for one in told[:first]}
    elders = [one.entry for one in told[:first]]
    began = {kind_of[one.id]: entry.valid_from for one in elders if (entry := now.get(lesson_of(one)[0]))}
    kinds: dict[tuple[str, str], list[Told]] = {}
    for one in told[first:] if elders else ():
        kind = _kind(nearest(one.entry, elders)[: voting.neighbours], kind_of)
        # What was said before a kind got its present name says nothing about the next one.
        if kind is not None and one.at >= (began.get(kind) or one.at):
            kinds.setdefault(kind, []).append(one)
    everybody, found = frozenset(one.by for one in told), list[Renaming]()
    for kind, of_it in kinds.items():
        change = _change(kind, of_it, voting, everybody)
        if change and _as_near(change, [one for one in elders if kind_of[one.id] == kind], elders, nearest):
            found.append(change)
    return sorted(found, key=lambda one: (-len(one.told), one.said, one.old))


def _kind(ranked: Sequence[Ranked], kind_of: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    """The kind of more than half of the nearest; None if there is no such kind, or they are too far away."""
    names = {one.id: "\0".join(kind_of[one.id]) for one in ranked}
    found = contradiction("", ranked, names, outvoted=0.0)
    if found is None or 2 * list(names.values()).count(found.rival) <= len(ranked):
        return None
    said, now = found.rival.split("\0")
    return said, now


def _change(kind: tuple[str, str], of_it: Sequence[Told], voting: Voting, everybody: frozenset[str]) -> Renaming | None:
    said, old = kind
    for place, first in enumerate(of_it):
        new, since = first.entry.text, of_it[place:]
        same = [one for one in since if one.entry.text == new]
        others, still_old = len(since) - len(same), sum(one.entry.text == old for one in since)
        clear = len(same) >= MIN_SAID and len(same) > 2 * others and len(same) > 4 * still_old
        by = frozenset(one.by for one in same)
        enough = len(by) >= MIN_RIVALS or bool(by & voting.trusted) or not voting.several(everybody)
        still = sum(one.entry.text == new for one in of_it[-MIN_SAID:]) > MIN_SAID // 2
        if new != old and clear and enough and still:
            return Renaming(said=said, old=old, new=new, since=first.at, told=tuple(same))
    return None


def _as_near(change: Renaming, kind: Sequence[Entry], elders: Sequence[Entry], nearest: Nearest) -> bool:
    if len(kind) < MIN_SAID:
        return False
    own = [nearest(one, [other for other in elders if other.id != one.id])[0].score for one in kind[-NEWEST // 3 :]]
    new = [nearest(one.entry, elders)[0].score for one in change.told]
    return median(new) >= AS_NEAR * median(own)


def outdated(change: Renaming, told: Sequence[Told], own: Iterable[Entry]) -> list[Entry]:
    """The examples of `own` that are of a kind from before it changed, and still have its old name."""
    before = {lesson_of(one.entry)[0]: one.entry.text for one in told if one.at < change.since}
    after = {lesson_of(one.entry)[0] for one in told if one.at >= change.since}
    return [
        one
        for one in own
        if one.kind is Kind.EXAMPLE
        and one.text == change.old
        and before.get(lesson_of(one)[0]) == change.said
        and lesson_of(one)[0] not in after
    ]
