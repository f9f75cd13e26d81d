"""What hangs on something that is to be forgotten: its closure over provenance, scope by scope. No text is read."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from tokenspace.domain import Scope
from tokenspace.domain.erasure import Cut, Lineage, Subject, Tried, Written
from tokenspace.protocols import Admin

Rooms = dict[Scope, Lineage]


def closure(admin: Admin, subject: Subject) -> tuple[list[Cut], Rooms]:
    """What hangs on a subject, scope by scope, and the lineages that say so; also where the subject does not reach.

    Shared layers above are always looked at; what is below a shared layer that loses something, then, too.
    """
    known = frozenset(admin.scopes(subject.scope.agent))
    wanted = {layer for one in (subject.scope, *subject.roots) for layer in one.layers if layer in known}
    rooms: Rooms = {}
    spread = _Spread(rooms, subject)
    while wanted - rooms.keys():
        rooms |= {scope: admin.lineage(scope) for scope in sorted(wanted - rooms.keys())}
        spread = _Spread(rooms, subject)
        shared = [scope for scope in spread.tainted if not scope.user]
        wanted |= {one for one in known for scope in shared if scope in one.layers}
    return [cut for cut in map(spread.cut, sorted(rooms)) if not cut.empty], rooms


class _Place(NamedTuple):
    """Where a revision stands: machines' clocks differ, so only its place in its line says what came before it."""

    scope: Scope
    branch: str
    seq: int


class _Spread:
    """How what is forgotten spreads along provenance, until nothing is added.

    `ids` are gone wherever they are named. What a line held of an entry before it was lost there stays; whatever else
    cites or replaces that entry, in a layer that sees it, goes, too.
    """

    def __init__(self, rooms: Rooms, subject: Subject) -> None:
        self._rooms = rooms
        self._subject = subject
        self._roots = subject.roots
        self._whole = frozenset({subject.scope} if subject.kind == "user" else ())
        self.ids: set[str] = {id for kinds in subject.roots.values() for ids in kinds.values() for id in ids}
        self.blank: dict[Scope, set[str]] = defaultdict(set)
        self._entries: dict[str, list[_Place]] = defaultdict(list)
        self._homes: dict[str, set[Scope]] = defaultdict(set)
        self._forks: dict[tuple[Scope, str], int] = {}
        self._places: dict[str, _Place] = {}
        for room in rooms.values():
            self._survey(room)
        self._lost_attempts: dict[Scope, set[str]] = defaultdict(set)
        for scope in self._whole & rooms.keys():
            self._all_of(rooms[scope])
        before = -1
        while before != (before := self._size()):
            for room in rooms.values():
                if room.scope not in self._whole:
                    self._round(room)

    @property
    def tainted(self) -> frozenset[Scope]:
        """Scopes some of whose own entries or drafts are gone."""
        return frozenset({scope for scope, lost in self.blank.items() if lost} | self._whole)

    def _size(self) -> int:
        return len(self.ids) + sum(map(len, self.blank.values())) + sum(map(len, self._entries.values()))

    def _survey(self, room: Lineage) -> None:
        """Where each revision stands, where each line begins, and which scopes have written an entry."""
        for one in room.written:
            self._places[one.id] = _Place(room.scope, one.branch, one.seq)
            begun = self._forks.get((room.scope, one.branch), one.seq - 1)
            self._forks[room.scope, one.branch] = min(begun, one.seq - 1)
            for id in one.puts:
                self._homes[id].add(room.scope)

    def _all_of(self, room: Lineage) -> None:
        self.ids.update(room.episodes, room.feedback, room.cases, room.canaries)
        self.ids.update(id for one in room.tried for id in (one.id, one.key))
        for one in room.written:
            self._lose(room.scope, one)
        for other in self._rooms.values():
            self.ids.update(id for id, (_, who) in other.feedback.items() if self._subject.said(other.scope, who))

    def _round(self, room: Lineage) -> None:
        ids = self.ids
        ids.update(id for id, (about, _) in room.feedback.items() if about in ids)
        ids.update(id for id, sources in room.cases.items() if not ids.isdisjoint(sources))
        lost = self._lost_attempts[room.scope]
        for one in room.tried:
            if one.key not in lost and (one.id in ids or self._hit(room.scope, one)):
                lost.add(one.key)
                ids.update((one.id, one.key))
        led = {one.revision for one in room.tried if one.key in lost}
        for one in room.written:
            if one.id in self.blank[room.scope]:
                continue
            if one.id in ids or one.id in led or self._hit(room.scope, one) or self._replaces(room.scope, one):
                self._lose(room.scope, one)
        blank = self.blank[room.scope]
        for one in room.tried:
            if one.revision in blank and one.key not in lost:
                lost.add(one.key)
                ids.update((one.id, one.key))

    def _lose(self, scope: Scope, made: Written) -> None:
        self.ids.add(made.id)
        self.blank[scope].add(made.id)
        for id in made.puts:
            self._entries[id].append(self._places[made.id])

    def _hit(self, scope: Scope, one: Written | Tried) -> bool:
        if not self.ids.isdisjoint(one.sources):
            return True
        place = self._places.get(one.id if isinstance(one, Written) else one.revision or "")
        cited = [id for id in one.sources if id in self._entries]
        return any(
            self._meant(scope, id, lost) and self._after(place, lost) for id in cited for lost in self._entries[id]
        )

    def _meant(self, scope: Scope, entry: str, lost: _Place) -> bool:
        """Whether who cites an entry in a scope can mean what was lost there: their own layers hide what is below."""
        visible = not self._homes[entry].isdisjoint(scope.layers)
        return lost.scope in scope.layers if visible else scope in lost.scope.layers

    def _replaces(self, scope: Scope, made: Written) -> bool:
        place = self._places[made.id]
        over = (lost for id in made.puts if id in self._entries for lost in self._entries[id])
        return any(lost.scope in scope.layers and self._after(place, lost) for lost in over)

    def _after(self, place: _Place | None, lost: _Place) -> bool:
        """Whether what stands at a place can come from what was lost; what stands nowhere in a line always can."""
        if place is None or place.scope != lost.scope:
            return True
        if place.branch == lost.branch:
            return place.seq > lost.seq
        return place.seq > self._forks[lost.scope, lost.branch]

    def cut(self, scope: Scope) -> Cut:
        """What goes in one scope."""
        room, ids = self._rooms[scope], self.ids
        if scope in self._whole:
            return Cut(scope=scope, whole=True)
        lost, blank = self._lost_attempts[scope], self.blank[scope]
        tainted = bool(lost) or any(self.blank[layer] for layer in scope.layers)
        episodes = ids & room.episodes.keys()
        gone_sessions = {room.episodes[id] for id in episodes} - {None}
        kept_sessions = {about for id, about in room.episodes.items() if id not in episodes}
        gone = {
            "episode": frozenset(episodes),
            "feedback": frozenset(ids & room.feedback.keys()),
            "case": frozenset(ids & room.cases.keys()),
            "attempt": frozenset(lost),
            "outcome": frozenset(key for key, about in room.outcomes.items() if about in ids or key in ids),
            "answer": frozenset(id for id, about in room.answers.items() if about in ids),
            "session": frozenset(id for id in gone_sessions - kept_sessions if id in room.sessions),
            "canary": frozenset(
                id
                for id in self._roots.get(scope, {}).get("canary", frozenset()) & room.canaries.keys()
                if blank.isdisjoint(room.canaries[id])
            ),
            "reading": frozenset(about for heard in room.readings.values() for about in heard if about in ids),
        }
        return Cut(
            scope=scope,
            gone={kind: some for kind, some in gone.items() if some},
            blank=frozenset(blank),
            withdrawn=frozenset(
                one.id for one in room.written if one.id not in blank and not ids.isdisjoint(one.cases)
            ),
            withdrawn_attempts=frozenset(
                one.key for one in room.tried if one.key not in lost and not ids.isdisjoint(one.cases)
            ),
            tainted=tainted or "anchor" in self._roots.get(scope, {}),
        )
