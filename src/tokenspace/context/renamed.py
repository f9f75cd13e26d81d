"""Has a thing got another name? Told from what was said, in the order in which it was said; free of model calls.

A vote among neighbours takes the old for the truth: where a team is called otherwise from today on, the first right
lesson is outvoted by all the old ones. Time tells such a change from carelessness. Mistakes are scattered among what
is said rightly; after a change the old name is not said any more, by anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import comb
from statistics import median
from typing import Final

from tokenspace.context.neighbours import MIN_RIVALS, Voting, called_right, contradiction, lesson_of
from tokenspace.domain import Entry, Evidence, Kind, Origin, Ranked

NEWEST: Final = 96
"""So many of the newest lessons are held against those before them."""

LOOKED_AT: Final = 1_000
"""So many of the newest lessons are looked at in all, so that a look costs no more however long a scope lives."""

MIN_SAID: Final = 3
"""A new name is believed when it was said so often, and since then more than twice as often as all else together and
more than four times as often as the old one."""

AS_NEAR: Final = 0.88
"""Of the likeness that lessons of one kind have to the nearest of their own, so much is asked of those with a new name.
Measured: renamed kinds of banking77 have .91 and more, the nearest kinds of messages about new things .82 and less."""

COMMON: Final = 2
"""Where so many kinds have changed, a change is about, and another kind needs less of its own to be believed."""

MIN_SAID_THEN: Final = 2
"""A new name is believed then when it was said so often, and by two principals where several teach."""

APART: Final = 0.05
"""A new name is that of a new thing if lessons with it lie by themselves: so seldom would they by chance."""

AS_MANY: Final = NEWEST // 3
"""So many of the newest lessons of a kind say how like to one another they are."""

_Sort = tuple[str, str]
"""A kind of lessons: what they said, and the name that it has now."""

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
    """Every answer from a fixed set that somebody who may teach called right, oldest first.

    What an agent or a tool says under a teacher's name is not what that teacher said.
    """
    found = list[Told]()
    for item in evidence.feedback:
        episode = evidence.episodes[item.episode]
        answer = (called_right(item, episode) or "").strip()
        heard = item.source >= Origin.USER and voting.may_teach(item.principal)
        if not heard or answer not in (episode.request.choices or ()):
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
    to the kind as its own lessons are to one another, and most of what has that name since then must be of the kind:
    where messages about new things come in, the nearest of the old things is not what has a new name.

    Names seldom change one by one. Since the first of `COMMON` changes of that sort, another kind is believed to have
    changed when most of all that was said about it names one thing, `MIN_SAID_THEN` times by two principals where
    several teach, and no other name, the old one included, is said by two. Only a name that was never said before is
    asked for nearness then: one that was known is not that of a new thing.
    """
    told = told[-LOOKED_AT:]
    first = max(len(told) - NEWEST, len(told) // 2)
    if not first:
        return []
    elders, everybody = _Elders.of(told[:first], own, nearest), frozenset(one.by for one in told)
    kinds = elders.sorted_out(told[first:], voting.neighbours)
    changes = [found for kind, of_it in kinds.items() if (found := _change(kind, of_it, voting, everybody))]
    found = {(one.said, one.old): one for one in changes if elders.knew(one, told[first:], kinds)}
    done = [at for kind, of_it in kinds.items() if (at := elders.began.get(kind)) and _often(kind[1], of_it)]
    when = sorted([*(one.since for one in found.values()), *(at for at in done if at >= told[first].at)])
    for kind in kinds.keys() - found.keys() if len(when) >= COMMON else ():
        since = [one for one in kinds[kind] if one.at >= when[0]]
        change = _change_then(kind, since, voting, everybody)
        if change and (change.new in elders.names or elders.knew(change, told[first:], kinds)):
            found[kind] = change
    return sorted(found.values(), key=lambda one: (-len(one.told), one.said, one.old))


# ── the older lessons ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Elders:
    """The older lessons, what kind each is of, and since when a kind has its present name, if it was renamed."""

    entries: Sequence[Entry]
    kind_of: Mapping[str, _Sort]
    began: Mapping[_Sort, datetime]
    nearest: Nearest

    @classmethod
    def of(cls, told: Sequence[Told], own: Iterable[Entry], nearest: Nearest) -> _Elders:
        now = {lesson_of(one)[0]: one for one in own if one.kind is Kind.EXAMPLE and one.valid_from is not None}
        entries = [one.entry for one in told]
        kind_of = {one.id: (one.text, now.get(lesson_of(one)[0], one).text) for one in entries}
        renamed = [(kind_of[one.id], now[lesson_of(one)[0]].valid_from) for one in entries if lesson_of(one)[0] in now]
        began = {kind: at for kind, at in renamed if at is not None}
        return cls(entries=entries, kind_of=kind_of, began=began, nearest=nearest)

    @property
    def names(self) -> frozenset[str]:
        """Every name that they say or have now."""
        return frozenset(name for kind in self.kind_of.values() for name in kind)

    def sorted_out(self, told: Sequence[Told], neighbours: int) -> dict[_Sort, list[Told]]:
        """New lessons by the kind that they are of; those of no kind are left out."""
        kinds: dict[_Sort, list[Told]] = {}
        for one in told:
            kind = self._kind(self.nearest(one.entry, self.entries)[:neighbours])
            # What was said before a kind got its present name says nothing about the next one.
            if kind is not None and one.at >= self.began.get(kind, one.at):
                kinds.setdefault(kind, []).append(one)
        return kinds

    def _kind(self, ranked: Sequence[Ranked]) -> _Sort | None:
        """The kind of more than half of the nearest; None if there is no such kind, or they are too far away."""
        names = {one.id: "\0".join(self.kind_of[one.id]) for one in ranked}
        found = contradiction("", ranked, names, outvoted=0.0)
        if found is None or 2 * list(names.values()).count(found.rival) <= len(ranked):
            return None
        said, now = found.rival.split("\0")
        return said, now

    def knew(self, change: Renaming, told: Sequence[Told], kinds: Mapping[_Sort, Sequence[Told]]) -> bool:
        """Whether what has another name is what they know, and not a new thing that is only nearest to it."""
        return _its_own(change, told, kinds) and self._as_near(change) and not self._apart(change, told)

    def _as_near(self, change: Renaming) -> bool:
        kind = [one for one in self.entries if self.kind_of[one.id] == (change.said, change.old)]
        if len(kind) < MIN_SAID:
            return False
        near = [self.nearest(one, [other for other in self.entries if other.id != one.id]) for one in kind[-AS_MANY:]]
        new = [self.nearest(one.entry, self.entries)[0].score for one in change.told]
        return median(new) >= AS_NEAR * median(ranked[0].score for ranked in near)

    def _apart(self, change: Renaming, told: Sequence[Told]) -> bool:
        """Whether lessons with the new name lie by themselves: nearest to one another more often than a kind's own are.

        The two-sample test of nearest neighbours (Schilling 1986), with the binomial distribution for its statistic.
        A renamed thing is spoken of as before; its twin, of which nobody spoke before, in words of its own.
        """
        old = [one for one in self.entries if self.kind_of[one.id] == (change.said, change.old)]
        new = [one.entry for one in told if one.at >= change.since and one.entry.text == change.new]
        ids = {one.id for one in new}
        pairs = [self.nearest(one, [*old, *(other for other in new if other.id != one.id)])[:1] for one in new]
        own = sum(ranked[0].id in ids for ranked in pairs if ranked)
        chance = (len(new) - 1) / max(1, len(new) + len(old) - 1)
        return _at_least(own, len(new), chance) < APART


def _at_least(found: int, of: int, chance: float) -> float:
    """The probability of so many or more of independent events."""
    return sum(comb(of, n) * chance**n * (1 - chance) ** (of - n) for n in range(found, of + 1))


# ── what is said of a kind ──────────────────────────────────────────────────────────────────


def _change(kind: _Sort, of_it: Sequence[Told], voting: Voting, everybody: frozenset[str]) -> Renaming | None:
    said, old = kind
    for place, first in enumerate(of_it):
        new, since = first.entry.text, of_it[place:]
        same = [one for one in since if one.entry.text == new]
        still_old = sum(one.entry.text == old for one in since)
        still = sum(one.entry.text == new for one in of_it[-MIN_SAID:]) > MIN_SAID // 2
        clear = _often(new, since) and len(same) > 4 * still_old and still
        if new != old and clear and _enough(same, voting, everybody):
            return Renaming(said=said, old=old, new=new, since=first.at, told=tuple(same))
    return None


def _change_then(kind: _Sort, since: Sequence[Told], voting: Voting, everybody: frozenset[str]) -> Renaming | None:
    """The same for a kind of which all lessons `since` a change is about are given."""
    said, old = kind
    by_name = dict[str, list[Told]]()
    for one in since:
        by_name.setdefault(one.entry.text, []).append(one)
    new = max(by_name, key=lambda name: len(by_name[name]), default=old)
    same = by_name.pop(new, [])
    agreed = any(len({one.by for one in others}) >= MIN_RIVALS for others in by_name.values())
    clear = len(same) >= MIN_SAID_THEN and 2 * len(same) > len(since) and not agreed
    if new == old or not clear or not _enough(same, voting, everybody):
        return None
    return Renaming(said=said, old=old, new=new, since=same[0].at, told=tuple(same))


def _its_own(change: Renaming, told: Sequence[Told], kinds: Mapping[_Sort, Sequence[Told]]) -> bool:
    """Whether most of what has a new name since a change is of the kind that changed, and not of many or of none.

    What is of another kind that has this name already does not count.
    """
    kind_of = {one.entry.id: kind for kind, of_it in kinds.items() for one in of_it}
    named = [kind_of.get(one.entry.id) for one in told if one.at >= change.since and one.entry.text == change.new]
    others = [kind for kind in named if kind is None or kind[1] != change.new]
    return 2 * others.count((change.said, change.old)) > len(others)


def _often(new: str, since: Sequence[Told]) -> bool:
    same = sum(one.entry.text == new for one in since)
    return same >= MIN_SAID and same > 2 * (len(since) - same)


def _enough(same: Sequence[Told], voting: Voting, everybody: frozenset[str]) -> bool:
    """Whether those who say one thing are two, or one who is trusted, or all who teach."""
    by = frozenset(one.by for one in same)
    return len(by) >= MIN_RIVALS or bool(by & voting.trusted) or not voting.several(everybody)


# ── what has the old name ───────────────────────────────────────────────────────────────────


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
