"""Erasure in memory: the reference for `store.erase`. There are no files to scrub."""

# ruff: noqa: D102 - `protocols.Admin` says what each method means

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tokenspace.domain import Canary, Drop, Edit, Layer, Put, Revision, Scope, Verdict, new_id
from tokenspace.domain.erasure import ERASED, Cut, Lineage, Pending, Rebuilt, Subject, Tried, Written, reason_left
from tokenspace.store import codec, steady
from tokenspace.store.texts import strings

if TYPE_CHECKING:
    from tokenspace.store.memory import Room

_KINDS = {
    "episode": "episodes", "feedback": "feedback", "case": "cases", "attempt": "attempts", "outcome": "outcomes",
    "answer": "answers", "session": "sessions",
}  # fmt: skip
_TABLES = {"case": "replay_case", "answer": "answer_id"}


class MemoryEraser:
    """The part of `MemoryStore` that forgets."""

    _rooms: dict[Scope, Room]
    _lock: Any
    _erasures: Counter[Scope]

    def __init__(self) -> None:
        self._pending: dict[str, Pending] = {}

    def lineage(self, scope: Scope, *, contains: Callable[[str], bool] | None = None) -> Lineage:
        room = self._rooms.get(scope)
        if room is None:
            return Lineage(scope=scope)
        return Lineage(
            scope=scope,
            written=tuple(sorted(map(_written, room.made.values()), key=lambda one: (one.at, one.id))),
            tried=tuple(map(_tried, sorted(room.attempts.values(), key=lambda one: (one.at, one.id)))),
            episodes={one.id: one.session for one in room.episodes.values()},
            shown={one.id: frozenset(one.shown) for one in room.episodes.values()},
            feedback={one.id: (one.episode, one.principal) for one in room.feedback.values()},
            cases={one.id: frozenset(one.sources) for one in room.cases.values()},
            outcomes={one.key: one.case for one in room.outcomes.values()},
            canaries={
                one.id: frozenset(id for id in (one.revision, one.promoted) if id) for one in room.canaries.values()
            },
            readings={id: frozenset(heard) for id, heard in room.readings.items()},
            answers=dict(room.answers),
            sessions=frozenset(room.sessions),
            hits={} if contains is None else _hits(room, contains),
        )

    def erase(
        self,
        cuts: Sequence[Cut],
        *,
        rebuilt: Sequence[Rebuilt] = (),
        journal: str = "",
        ids: Mapping[str, Iterable[str]] | None = None,
        seen: Mapping[Scope, Lineage] | None = None,
        dry_run: bool = False,
    ) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        with self._lock:
            steady.overtaken(cuts, rebuilt, seen or {}, self.lineage)
            rooms = {scope: _copy(room) for scope, room in self._rooms.items()}
            for cut in cuts:
                _cut(rooms, cut, counts)
            for one in rebuilt:
                _rebuild(rooms[one.scope], one, counts)
            if not dry_run:
                self._erasures.update(one.scope for one in (*cuts, *rebuilt))
                self._rooms.clear()
                self._rooms.update(rooms)
                if journal:
                    self._pending[journal] = replace(
                        self._pending[journal], erased=True, rows=dict(counts),
                        ids={table: frozenset(some) for table, some in (ids or {}).items()},
                    )  # fmt: skip
        return {table: count for table, count in counts.items() if count}

    def begin_erasure(self, subject: Subject, *, exact: bool, at: datetime) -> str:
        del at
        id = new_id()
        self._pending[id] = Pending(id=id, subject=subject, exact=exact, erased=False)
        return id

    def pending_erasures(self) -> list[Pending]:
        return list(self._pending.values())

    def end_erasure(self, id: str, *, at: datetime, receipt: str = "") -> None:
        del at, receipt
        self._pending.pop(id, None)

    def destroy_key(self, scope: Scope, *, only: str = "") -> str | None:
        del scope, only
        return None

    def erased(self) -> list[tuple[str, str]]:
        made = [one for room in self._rooms.values() for one in room.made.values() if is_erased(one)]
        return [(str(one.scope), one.id) for one in sorted(made, key=lambda one: (one.at, one.id))]

    def scrub(self) -> str:
        return "a store in memory has no files"


def is_erased(made: Revision) -> bool:
    """Whether a revision's texts were erased."""
    return made.verdict.withdrawn and made.edit.rationale == ERASED and not made.edit.evidence


def _copy(room: Room) -> Room:
    """So that what goes wrong half-way, or is only tried, changes nothing."""
    made = copy(room)
    for field in fields(room):
        setattr(made, field.name, getattr(room, field.name).copy())
    made.lines = {name: list(line) for name, line in room.lines.items()}
    made.readings = {id: dict(heard) for id, heard in room.readings.items()}
    return made


def _written(made: Revision) -> Written:
    return Written(
        id=made.id, branch=made.branch, seq=made.seq, at=made.at,
        sources=frozenset((*made.edit.evidence, *made.edit.read)),
        cases=frozenset(made.verdict.cases),
        puts=frozenset(op.entry.id for op in made.edit.ops if isinstance(op, Put)),
    )  # fmt: skip


def _tried(one: Any) -> Tried:
    edit = one.edit or Edit(ops=())
    return Tried(
        key=one.key, id=one.id, at=one.at, proposer=one.proposer, branch=one.branch, evidence=one.evidence,
        sources=frozenset((*one.evidence, *edit.evidence, *edit.read)), cases=frozenset(one.verdict.cases),
        revision=one.revision,
    )  # fmt: skip


def _hits(room: Room, contains: Callable[[str], bool]) -> dict[str, frozenset[str]]:
    def said(value: Any) -> bool:
        return any(map(contains, strings(json.loads(codec.dumps(value)))))

    found = {
        kind: frozenset(one.id for one in getattr(room, name).values() if said(one))
        for kind, name in (
            ("episode", "episodes"),
            ("feedback", "feedback"),
            ("case", "cases"),
            ("attempt", "attempts"),
        )
    }
    found["outcome"] = frozenset(one.key for one in room.outcomes.values() if said(one))
    found["anchor"] = frozenset(chain for chain, (_, body) in room.anchors.items() if any(map(contains, strings(body))))
    found["canary"] = frozenset(one.id for one in room.canaries.values() if said(one))
    found["line"] = frozenset(f"line {number}" for number, name in enumerate(room.lines) if contains(name))
    found["revision"] = frozenset(
        one.id for one in room.made.values()
        if any(map(contains, strings([one.edit.rationale, one.verdict.reason])))
        or any(said(op) for op in one.edit.ops if isinstance(op, Put))
    )  # fmt: skip
    return {kind: ids for kind, ids in found.items() if ids}


# ── cutting ─────────────────────────────────────────────────────────────────────────────────


def _cut(rooms: dict[Scope, Room], cut: Cut, counts: Counter[str]) -> None:
    room = rooms.get(cut.scope)
    if room is None:
        return
    if cut.whole:
        for kind, name in _KINDS.items():
            counts[_TABLES.get(kind, kind)] += len(getattr(room, name))
        counts["revision"] += len(room.made)
        counts["branch"] += len(room.lines)
        counts["entry"] += sum(isinstance(op, Put) for one in room.made.values() for op in one.edit.ops)
        del rooms[cut.scope]
        return
    for kind, name in _KINDS.items():
        kept = getattr(room, name)
        for id in cut.gone.get(kind, ()):
            counts[_TABLES.get(kind, kind)] += kept.pop(id, None) is not None
    heard = cut.gone.get("reading", frozenset())
    for id, readings in room.readings.items():
        counts["reading"] += sum(about in heard for about in readings)
        room.readings[id] = {about: one for about, one in readings.items() if about not in heard}
    _blank(room, cut.blank, counts)
    if cut.tainted:
        counts["outcome"] += len(room.outcomes)
        counts["injection"] += len(room.anchors)
        room.outcomes, room.anchors = {}, {}
    _mark(room, cut, counts)


def _mark(room: Room, cut: Cut, counts: Counter[str]) -> None:
    """What stays loses the words that may quote what goes."""
    for id in cut.withdrawn - cut.blank:
        made = room.made[id]
        _put(room, replace(made, verdict=_withdrawn(made.verdict)))
    for key in cut.withdrawn_attempts:
        one = room.attempts[key]
        room.attempts[key] = replace(one, verdict=_withdrawn(one.verdict))
    for id in cut.gone.get("canary", ()):
        room.canaries[id] = replace(room.canaries[id], reason=ERASED)
        counts["canary"] += 1


def _withdrawn(verdict: Verdict) -> Verdict:
    return replace(verdict, withdrawn=True, reason=reason_left(verdict.reason, basis=verdict.basis))


def _blank(room: Room, ids: frozenset[str], counts: Counter[str]) -> None:
    for id in sorted(ids):
        made = room.made[id]
        ops = tuple(Drop(id=op.entry.id) if isinstance(op, Put) else op for op in made.edit.ops)
        verdict = type(made.verdict)(
            decision="accept", basis=made.verdict.basis, gate=made.verdict.gate, withdrawn=True
        )  # fmt: skip
        author = ERASED if made.verdict.basis == "human" else made.author
        _put(room, replace(made, edit=Edit(ops=ops, rationale=ERASED), verdict=verdict, author=author))
        counts["revision"] += 1
        counts["entry"] += sum(isinstance(op, Put) for op in made.edit.ops)
    for at, state in room.states.items():
        lost = {entry for entry, made in state.wrote.items() if made.id in ids}
        left = {entry: room.made[made.id] for entry, made in state.wrote.items() if entry not in lost}
        own = {entry: one for entry, one in state.layer.own.items() if entry not in lost}
        vectors = {entry: one for entry, one in state.vectors.items() if entry not in lost}
        layer = Layer(own=own, hidden=state.layer.hidden)
        room.states[at] = replace(state, layer=layer, wrote=left, vectors=vectors)
    for id, canary in room.canaries.items():
        if {canary.revision, canary.promoted} & ids:
            room.canaries[id] = _stopped(room, canary)
            counts["canary"] += 1


def _put(room: Room, made: Revision) -> None:
    room.made[made.id] = made
    for line in room.lines.values():
        line[:] = [made if one.id == made.id else one for one in line]
    for at, state in room.states.items():
        if any(one.id == made.id for one in state.wrote.values()):
            wrote = {entry: made if one.id == made.id else one for entry, one in state.wrote.items()}
            room.states[at] = replace(state, wrote=wrote)


def _stopped(room: Room, canary: Canary) -> Canary:
    if not canary.live:
        return replace(canary, reason=ERASED)
    room.lines.pop(canary.branch, None)
    return replace(canary, state="stopped", share=0.0, reason=ERASED)


# ── another history ─────────────────────────────────────────────────────────────────────────


def _rebuild(room: Room, wanted: Rebuilt, counts: Counter[str]) -> None:
    from tokenspace.context import apply_layer
    from tokenspace.store.memory import State, next_state

    line = room.lines[""]
    for made in line[wanted.keep :]:
        room.states.pop(made.id)
        room.made.pop(made.id)
        counts["revision"] += 1
        counts["entry"] += sum(isinstance(op, Put) for op in made.edit.ops)
    del line[wanted.keep :]
    for made in wanted.revisions:
        before: State = room.states[line[-1].id if line else None]
        layer = apply_layer(before.layer, _without_restores(made.edit, before.layer), {})
        layer = Layer(own=layer.own, hidden=wanted.hidden.get(made.id, frozenset()))
        given = wanted.vectors.get(made.id, {})
        room.states[made.id] = next_state(layer, made, [before], given)
        room.made[made.id] = made
        line.append(made)
    counts["attempt"] += len(room.attempts)
    room.attempts.clear()
    room.attempts.update({one.key: one for one in wanted.attempts})
    counts["outcome"] += len(room.outcomes.keys() - wanted.kept)
    room.outcomes = {key: one for key, one in room.outcomes.items() if key in wanted.kept}
    room.outcomes |= {one.key: one for one in wanted.outcomes}
    room.anchors = {}
    for id, heads in wanted.heads.items():
        room.episodes[id] = replace(room.episodes[id], heads=heads)
    for id, heads in wanted.sessions.items():
        room.sessions[id] = replace(room.sessions[id], heads=heads)


def _without_restores(edit: Edit, before: Layer) -> Edit:
    """Only what is put and what is gone: what was hidden is known."""
    gone = tuple(Drop(id=op.id) for op in edit.ops if not isinstance(op, Put) and op.id in before.own)
    return Edit(ops=(*(op for op in edit.ops if isinstance(op, Put)), *gone))
