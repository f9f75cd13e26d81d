"""The store in memory: the readable reference that the others are compared with, and quick for tests.

Nothing survives the process, and there is no chain to verify. Everything is written under one lock.
"""

# ruff: noqa: D102 - `protocols.Store` says what each method means

from __future__ import annotations

import threading
from collections import Counter, UserDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from tokenspace.context import apply_layer, difference, merge
from tokenspace.domain import (
    ApiKey,
    Attempt,
    Blame,
    Canary,
    Case,
    Context,
    Decision,
    Edit,
    Episode,
    Feedback,
    Heads,
    Layer,
    Outcome,
    Put,
    Reading,
    Revision,
    Scope,
    Session,
    Verdict,
    new_id,
)  # fmt: skip
from tokenspace.errors import NotFound, StaleHead, StoreUnavailable, UsageError
from tokenspace.store import border, steady
from tokenspace.store.codec import pack_id
from tokenspace.store.memory_access import MemoryAccess
from tokenspace.store.memory_erase import MemoryEraser
from tokenspace.store.memory_workroom import MemoryWorkroom

T = TypeVar("T", Episode, Feedback, Case, Attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A layer at a revision, with the revision that wrote each entry and the vectors of those that have one."""

    layer: Layer = field(default_factory=Layer)
    wrote: Mapping[str, Revision] = field(default_factory=dict[str, Revision])
    vectors: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


class Shelf(UserDict[str, T]):
    """Things by their keys, and in the order of their time: sorted when that is asked for after a change."""

    def __init__(self) -> None:
        self._changes = 0
        self._sorted: tuple[int, list[T]] = (0, [])
        super().__init__()

    def __setitem__(self, key: str, item: T) -> None:
        super().__setitem__(key, item)
        self._changes += 1

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._changes += 1

    @property
    def oldest(self) -> list[T]:
        """Oldest first; not to be changed."""
        changes, (known, found) = self._changes, self._sorted  # a change that comes now is seen at the next look
        if known != changes:
            found = _oldest(list(self.data.values()))
            self._sorted = (changes, found)
        return found


@dataclass(slots=True, kw_only=True)
class Room:
    """All that one scope holds. A branch's history begins with that of the served line, named ""."""

    lines: dict[str, list[Revision]] = field(default_factory=lambda: {"": []})
    made: dict[str, Revision] = field(default_factory=dict[str, Revision])
    states: dict[str | None, State] = field(default_factory=lambda: {None: State()})
    episodes: dict[str, Episode] = field(default_factory=dict[str, Episode])
    feedback: Shelf[Feedback] = field(default_factory=Shelf[Feedback])
    cases: Shelf[Case] = field(default_factory=Shelf[Case])
    attempts: Shelf[Attempt] = field(default_factory=Shelf[Attempt])
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    sessions: dict[str, Session] = field(default_factory=dict[str, Session])
    canaries: dict[str, Canary] = field(default_factory=dict[str, Canary])
    readings: dict[str, dict[str, Reading]] = field(default_factory=dict[str, dict[str, Reading]])
    answers: dict[str, str] = field(default_factory=dict[str, str])
    anchors: dict[str, tuple[datetime, str]] = field(default_factory=dict[str, tuple[datetime, str]])


class MemoryStore(MemoryAccess, MemoryEraser):
    """Implements `protocols.Store`, and `protocols.Admin` as its own `admin`."""

    def __init__(
        self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC), ids: Callable[[], str] = new_id
    ) -> None:
        """`ids` makes the ids of revisions."""
        MemoryAccess.__init__(self)
        MemoryEraser.__init__(self)
        self._ids = ids
        self._clock = clock
        self._rooms: dict[Scope, Room] = {}
        self._keys: dict[str, ApiKey] = {}
        self.workroom = MemoryWorkroom()
        self._lock = threading.RLock()
        self._closed = False
        self._erasures: Counter[Scope] = Counter()

    def together(self) -> AbstractContextManager[None]:
        """See `protocols.Store`; here every write stands at once."""
        return nullcontext()

    @contextmanager
    def steady(self, scope: Scope) -> Generator[steady.Mark]:
        self._room(scope)
        with steady.held(self, scope, (0, self._erasures[scope])) as since:
            yield since

    # ── contexts and history ────────────────────────────────────────────────────────────────

    def heads(self, scope: Scope, *, branch: str = "") -> Heads:
        names = ("base", "tenant", "user")
        uids = {name: _head(self._peek(layer).lines[""]) for name, layer in zip(names, scope.layers, strict=False)}
        if branch:
            uids[names[len(scope.layers) - 1]] = _head(self._line(scope, branch))
        return Heads(**uids)

    def context(self, scope: Scope, heads: Heads) -> Context:
        states = self._states(scope, heads)
        vectors: dict[str, bytes] = {}
        for state in states:
            said = {*state.layer.own, *state.layer.hidden}
            vectors = {id: data for id, data in vectors.items() if id not in said} | dict(state.vectors)
        layers = tuple(state.layer for state in states)
        return Context(scope=scope, heads=heads, layers=layers, vectors=MappingProxyType(vectors))

    def commit(
        self, scope: Scope, edit: Edit, verdict: Verdict, *, expect: str | None, author: str, branch: str = "",
        vectors: Mapping[str, bytes] | None = None, attempt: Attempt | None = None,
    ) -> Revision:  # fmt: skip
        border.check_commit(edit, verdict, author)
        if attempt is not None:
            border.check_attempt(attempt, scope)
            attempt = border.timed(attempt)
        with self._lock:
            line = self._line(scope, branch)
            first = attempt and self._peek(scope).attempts.get(attempt.key)
            if first and first.revision:
                return self._peek(scope).made[first.revision]
            if _head(line) != expect:
                raise StaleHead(f"the head of {scope} has moved", hint="read the context again and rebase the edit")
            states = self._states(scope, self.heads(scope, branch=branch))
            inherited = merge([state.layer for state in states[:-1]])
            before = states[-1].layer
            after = border.storable(before, apply_layer(before, edit, inherited))
            made = Revision(
                id=self._ids(), scope=scope, branch=branch, seq=len(line) + 1, parent=expect,
                edit=replace(edit, ops=difference(before, after, inherited)),
                verdict=verdict, author=author, at=border.to_millisecond(self._clock()),
            )  # fmt: skip
            room = self._room(scope)
            room.states[made.id] = next_state(after, made, states, vectors or {})
            room.made[made.id] = made
            room.lines.setdefault(branch, line).append(made)
            if attempt is not None:
                self._keep(room, replace(attempt, revision=made.id))
            return made

    def revision(self, scope: Scope, id: str) -> Revision:
        for layer in scope.layers:
            if id in self._peek(layer).made:
                return self._peek(layer).made[id]
        raise NotFound(f"{scope} has no revision {id}", hint="list its revisions with log")

    def log(self, scope: Scope, *, branch: str = "", limit: int | None = None) -> list[Revision]:
        return self._line(scope, branch)[::-1][: border.check_limit(limit)]

    def blame(self, scope: Scope, heads: Heads) -> Mapping[str, Blame]:
        blames: dict[str, Blame] = {}
        for state in self._states(scope, heads):
            for hidden in state.layer.hidden:
                blames.pop(hidden, None)
            for id, made in state.wrote.items():
                blames[id] = Blame(
                    entry=id, scope=made.scope, revision=made.id, author=made.author, at=made.at,
                    decision_basis=made.verdict.basis, sources=made.edit.evidence,
                )  # fmt: skip
        return blames

    def derived(self, scope: Scope, source: str) -> list[Revision]:
        made = sorted(self._peek(scope).made.values(), key=lambda made: made.id, reverse=True)
        return [each for each in made if source in (*each.edit.evidence, *each.edit.read)]

    def branches(self, scope: Scope) -> Mapping[str, str | None]:
        return {name: _head(line) for name, line in sorted(self._peek(scope).lines.items()) if name}

    def create_branch(self, scope: Scope, name: str) -> str | None:
        border.check_branch(name)
        with self._lock:
            room = self._room(scope)
            if name in room.lines:
                raise UsageError(f"{scope} has a branch {name!r} already", hint="drop it first, or choose another name")
            room.lines[name] = list(room.lines[""])
            return _head(room.lines[name])

    def drop_branch(self, scope: Scope, name: str) -> None:
        border.check_branch(name)
        self._line(scope, name)
        del self._room(scope).lines[name]

    # ── evidence ────────────────────────────────────────────────────────────────────────────

    def record(self, episode: Episode) -> None:
        episode = border.timed(episode)
        self._room(episode.scope).episodes.setdefault(episode.id, episode)

    def record_all(self, episodes: Sequence[Episode], *, answers: Mapping[str, str]) -> None:
        for episode in [border.timed(one) for one in episodes]:
            if episode.id in answers:
                border.check_answer(episode.scope, answers[episode.id], episode.id)
        for episode in episodes:
            self.record(episode)
            if episode.id in answers:
                self.note_answer(episode.scope, answers[episode.id], episode.id)

    def episode(self, scope: Scope, id: str) -> Episode:
        found = self._peek(scope).episodes.get(id)
        if found is None:
            raise NotFound(f"{scope} has no episode {id}", hint="look in the scope that it was recorded in")
        return found

    def episodes(self, scope: Scope, *, limit: int | None = None) -> list[Episode]:
        return _oldest(self._peek(scope).episodes.values())[::-1][: border.check_limit(limit)]

    def add_feedback(self, feedback: Feedback, case: Case | None) -> None:
        border.check_case(feedback, case)
        feedback, case = border.timed(feedback), case and border.timed(case)
        with self._lock:
            room = self._room(feedback.scope)
            if feedback.id not in room.feedback and case is not None:
                room.cases.setdefault(case.id, case)
            room.feedback.setdefault(feedback.id, feedback)

    def feedback(self, scope: Scope, *, ids: Sequence[str] | None = None) -> list[Feedback]:
        kept = self._peek(scope).feedback
        return [*kept.oldest] if ids is None else _oldest([kept[id] for id in set(ids) if id in kept])

    def cases(self, scope: Scope) -> list[Case]:
        return [*self._peek(scope).cases.oldest]

    def pin(self, scope: Scope, case: str, *, pinned: bool = True) -> Case:
        with self._lock:
            cases = self._peek(scope).cases
            if case not in cases:
                raise border.no_case(scope, case)
            cases[case] = replace(cases[case], pinned=pinned)
            return cases[case]

    # ── the memory of the gate ──────────────────────────────────────────────────────────────

    def save_attempt(self, attempt: Attempt) -> None:
        attempt = border.timed(attempt)
        with self._lock:
            room = self._room(attempt.scope)
            known = room.attempts.get(attempt.key)
            if known is not None and known.revision is not None:
                return
            if attempt.revision is not None:
                raise UsageError("an attempt gets its revision from commit", hint="pass the attempt to commit")
            self._keep(room, attempt)

    @staticmethod
    def _keep(room: Room, attempt: Attempt) -> None:
        held = room.attempts.get(attempt.key)
        follows = held is not None and held.verdict.decision == "defer"
        room.attempts[attempt.key] = border.following(held, attempt) if held and follows else attempt

    def attempts(
        self, scope: Scope, *, key: str | None = None, edit_key: str | None = None,
        decision: Decision | None = None, limit: int | None = None,
    ) -> list[Attempt]:  # fmt: skip
        kept = self._peek(scope).attempts
        found = [
            each for each in (kept.oldest if key is None else [kept[key]] if key in kept else [])
            if (edit_key is None or each.edit_key == edit_key)
            and (decision is None or each.verdict.decision == decision)
        ]  # fmt: skip
        return found[max(0, len(found) - border.check_limit(limit)) :]

    def unseen(self, scope: Scope, *, proposer: str, branch: str = "") -> list[Feedback]:
        feedback = self.feedback(scope)
        mine = [each for each in self.attempts(scope) if each.proposer == proposer and each.branch in {"", branch}]
        seen = {id for each in mine for id in each.evidence}
        return [each for each in feedback if each.id not in seen]

    def outcome(self, scope: Scope, key: str) -> Outcome | None:
        return self._peek(scope).outcomes.get(key)

    def save_outcome(self, scope: Scope, outcome: Outcome) -> None:
        border.check("outcome", outcome)
        self._room(scope).outcomes.setdefault(outcome.key, outcome)

    # ── canaries ────────────────────────────────────────────────────────────────────────────

    def canaries(self, scope: Scope, *, ended: bool = False) -> list[Canary]:
        found = [each for layer in scope.layers for each in self._peek(layer).canaries.values()]
        return _oldest(each for each in found if ended or each.live)

    def save_canary(self, canary: Canary) -> None:
        canary = border.timed(canary)
        with self._lock:
            canaries = self._room(canary.scope).canaries
            known = canaries.get(canary.id)
            if known is None or known.live:
                canaries[canary.id] = canary

    def add_reading(self, canary: Canary, reading: Reading) -> None:
        reading = border.scored(reading)
        with self._lock:
            room = self._peek(canary.scope)
            if canary.id not in room.canaries:
                raise border.no_canary(canary)
            room.readings.setdefault(canary.id, {}).setdefault(reading.episode, reading)

    def readings(self, canary: Canary) -> list[Reading]:
        return list(self._peek(canary.scope).readings.get(canary.id, {}).values())

    # ── what the gateway keeps ──────────────────────────────────────────────────────────────

    def note_answer(self, scope: Scope, answer: str, episode: str) -> None:
        border.check_answer(scope, answer, episode)
        self._room(scope).answers.setdefault(answer, episode)

    def episode_of(self, scope: Scope, answer: str) -> str | None:
        return self._peek(scope).answers.get(answer)

    def anchors(self, scope: Scope, chains: Sequence[str]) -> Mapping[str, str]:
        kept = self._peek(scope).anchors
        return {chain: kept[chain][1] for chain in chains if chain in kept}

    def save_anchor(self, scope: Scope, chain: str, body: str) -> None:
        border.check("anchor", [chain, body])
        with self._lock:
            kept = self._room(scope).anchors
            _, first = kept.get(chain, (None, body))
            kept[chain] = (border.to_millisecond(self._clock()), first)

    def drop_anchors(self, scope: Scope, before: datetime) -> int:
        border.check("time", before)
        with self._lock:
            kept = self._peek(scope).anchors
            old = [chain for chain, (at, _) in kept.items() if at < border.to_millisecond(before)]
            for chain in old:
                del kept[chain]
            return len(old)

    # ── sessions, upkeep ────────────────────────────────────────────────────────────────────

    def session(self, scope: Scope, id: str) -> Session | None:
        return self._peek(scope).sessions.get(id)

    def save_session(self, session: Session) -> None:
        border.check("session", session)
        sessions = self._room(session.scope).sessions
        known = sessions.get(session.id, session)
        sessions[session.id] = replace(known, last_seen=border.to_millisecond(session.last_seen))

    def close(self) -> None:
        self._closed = True

    @property
    def admin(self) -> MemoryStore:
        """What an operator may do across scopes."""
        return self

    def scopes(self, agent: str | None = None) -> list[Scope]:
        return sorted(scope for scope in list(self._rooms) if agent in {None, scope.agent})

    def verify(self) -> list[str]:
        """Nothing is stored, so nothing can have been altered."""
        return []

    def keys(self) -> list[ApiKey]:
        return _oldest(self._keys.values())

    def save_key(self, key: ApiKey) -> None:
        key = border.key(key)
        with self._lock:
            holder = self.key_by_hash(key.hash)
            if holder is not None and holder.id != key.id:
                raise border.taken(key)
            old = self._keys.get(key.id, key)
            revoked = key.revoked if old.revoked is None else old.revoked
            self._keys[key.id] = replace(old, label=key.label, rights=key.rights, expires=key.expires, revoked=revoked)

    def key_by_hash(self, hash: str) -> ApiKey | None:
        return next((key for key in list(self._keys.values()) if key.hash == hash), None)

    # ── inside ──────────────────────────────────────────────────────────────────────────────

    def _peek(self, scope: Scope) -> Room:
        """What a scope holds, for reading."""
        border.check_scope(scope)
        if self._closed:
            raise StoreUnavailable("the store is closed", hint="open it again with open_store")
        return self._rooms.get(scope) or Room()

    def _room(self, scope: Scope) -> Room:
        """What a scope holds, for writing."""
        self._peek(scope)
        room = self._rooms.setdefault(scope, Room())
        steady.check(self, scope, lambda: (0, self._erasures[scope]))  # an erasure counts, and then puts another there
        return room

    def _line(self, scope: Scope, name: str) -> list[Revision]:
        line = self._peek(scope).lines.get(name)
        if line is None:
            raise NotFound(f"{scope} has no branch {name!r}", hint="list the branches, or create this one first")
        return line

    def _states(self, scope: Scope, heads: Heads) -> list[State]:
        ids = heads.ids
        if any(ids[len(scope.layers) :]):
            raise NotFound(f"these heads are not of {scope}", hint="use the heads of this scope")
        for layer, id in zip(scope.layers, ids, strict=False):
            if id not in self._peek(layer).states:
                raise NotFound(f"{layer} has no revision {id}", hint="list its revisions with log")
        return [self._peek(layer).states[id] for layer, id in zip(scope.layers, ids, strict=False)]


def _head(line: Sequence[Revision]) -> str | None:
    return line[-1].id if line else None


def _oldest(things: Any) -> list[Any]:
    return sorted(things, key=lambda each: (each.at, _packed(each.id)))


_packed = lru_cache(maxsize=65_536)(pack_id)  # all of them are sorted again at every look


def next_state(layer: Layer, made: Revision, states: Sequence[State], given: Mapping[str, bytes]) -> State:
    """The state after a commit: a vector stays with an entry while its words do."""
    before = states[-1]
    put = [op.entry for op in made.edit.ops if isinstance(op, Put)]
    wrote = {id: each for id, each in before.wrote.items() if id in layer.own} | {entry.id: made for entry in put}
    vectors = {id: data for id, data in before.vectors.items() if id in layer.own}
    for entry in put:
        vectors.pop(entry.id, None)
        said = [state for state in states if entry.id in state.layer.own or entry.id in state.layer.hidden]
        old = said[-1].layer.own.get(entry.id) if said else None
        same = old is not None and (old.text, old.trigger) == (entry.text, entry.trigger)
        data = given.get(entry.id) or (said[-1].vectors.get(entry.id) if same else None)
        if data:
            vectors[entry.id] = data
    return State(layer=layer, wrote=wrote, vectors=vectors)
