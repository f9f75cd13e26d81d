"""The history in which something never happened: everything that was tried is tried again without it (I10).

What came from outside is kept as it came: episodes, feedback, and what persons decided. What was decided here is
decided again, in the order in which it was: each recorded attempt by its proposer, on what is left of its evidence, by
the gate. An entry that comes out with the same words keeps its id; another gets one that is as old. Remembered replays
are used where they are asked for again, so only what has changed is paid for. It happens in a store in memory; what
came of it takes the place of the history from the first revision that is another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol, runtime_checkable

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.config import Parts
from tokenspace.domain import (
    Attempt,
    Edit,
    Entry,
    Episode,
    Evidence,
    Feedback,
    Heads,
    Layer,
    Op,
    Outcome,
    Patch,
    Put,
    Revision,
    Scope,
    Usage,
    digest,
    new_id,
)  # fmt: skip
from tokenspace.domain.erasure import Cut, Lineage, Rebuilt
from tokenspace.errors import EditError, UsageError
from tokenspace.loop import Runtime
from tokenspace.protocols import Admin, Gate, Proposer, Reach, Store
from tokenspace.store import MemoryStore

_DAY: Final = re.compile(r"/\d{4}-\d\d-\d\d$")
_EARLY: Final = datetime(1970, 1, 1, tzinfo=UTC)


@runtime_checkable
class Movable(Protocol):
    """A gate that can judge in another world."""

    def on(self, run: Runtime) -> Gate:
        """The same gate for another runtime."""
        ...


async def without(
    parts: Parts, admin: Admin, cuts: Sequence[Cut], *, gone: frozenset[str], budget: Budget
) -> list[Rebuilt]:
    """The histories of all affected scopes, as they would be without what is cut; none is changed yet.

    `gone` are the ids of all evidence that is cut.

    Raises `UsageError` where that cannot be told: canaries and branches leave no record of when they were moved, and
    a proposer that is not here cannot be asked again.
    """
    scopes, rooms = _affected(admin, cuts)
    if not scopes:
        return []
    gate = parts.gate
    if not isinstance(gate, Movable):
        raise UsageError("this gate cannot judge another history", hint="forget without --exact")
    for scope in scopes:
        _check(parts, rooms[scope])
    world = _World(parts, gate, {cut.scope: cut for cut in cuts}, scopes=scopes, gone=gone)
    for event in sorted(world.events(), key=lambda one: one.order):
        await world.happen(event, budget=budget)
    return [world.rebuilt(scope) for scope in scopes]


def _affected(admin: Admin, cuts: Sequence[Cut]) -> tuple[list[Scope], dict[Scope, Lineage]]:
    """Scopes whose history may come out otherwise: those cut, all below them, those above that cite them."""
    cut = {one.scope for one in cuts if not one.whole}
    gone = {one.scope for one in cuts if one.whole}
    if not cut:
        return [], {}
    known = [one for one in admin.scopes(next(iter(cut)).agent) if one not in gone]
    found: set[Scope] = set()
    rooms: dict[Scope, Lineage] = {}
    grown = {scope for scope in known if not cut.isdisjoint(scope.layers)}
    while found != grown:
        found = set(grown)
        for scope in {layer for one in found for layer in one.layers if layer in known} - rooms.keys():
            rooms[scope] = admin.lineage(scope)
        made = {
            id
            for scope in found
            for one in (*rooms[scope].written, *rooms[scope].tried)
            for id in (one.id, *getattr(one, "puts", ()))
        }
        above = {layer for scope in found for layer in scope.layers if layer in known} - found
        citing = {
            scope
            for scope in above
            if any(not made.isdisjoint(one.sources) for one in (*rooms[scope].written, *rooms[scope].tried))
        }
        grown = {scope for scope in known if not (found | citing).isdisjoint(scope.layers)}
    return sorted(found), rooms


def _check(parts: Parts, room: Lineage) -> None:
    """Raises `UsageError` for a scope whose history cannot be told again."""
    hint = "leave out --exact: what was made of it goes all the same, and verdicts that rest on it are marked"
    if room.canaries or any(one.branch for one in (*room.written, *room.tried)):
        raise UsageError(f"{room.scope} has canaries or branches, whose history cannot be told again", hint=hint)
    unknown = {_undated(one.proposer) for one in room.tried} - {_undated(one.name) for one in parts.proposers}
    if unknown:
        raise UsageError(
            f"{room.scope} has attempts by {', '.join(sorted(unknown))}, which is not here",
            hint=f"name the model that it asks, if that is what is missing; or {hint}",
        )


def _undated(proposer: str) -> str:
    """The name of a proposer without the day that some have in it: at that day it was called so."""
    return _DAY.sub("", proposer)


class _Keeping:
    """A proposer whose new entries have the ids that they had, where they say what they said.

    Only an id that was drawn just now is changed: one that depends on what it names is what it should be.
    """

    def __init__(self, proposer: Proposer, tried: Attempt) -> None:
        self._proposer, self._tried = proposer, tried
        self.name: str = proposer.name
        self.reach: Reach = proposer.reach

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """See `protocols.Proposer`."""
        began = new_id()
        edit = await self._proposer.propose(evidence, budget=budget)
        if edit is None:
            return None
        had: dict[str, list[str]] = {}
        for op in self._tried.edit.ops if self._tried.edit else ():
            if isinstance(op, Put):
                had.setdefault(_says(op.entry), []).append(op.entry.id)
        made = [op.entry for op in edit.ops if isinstance(op, Put) and began < op.entry.id < new_id()]
        ids = dict[str, str]()
        for number, entry in enumerate(made):
            known = had.get(_says(entry))
            ids[entry.id] = known.pop(0) if known else _named_like(self._tried.id, number)
        return replace(edit, ops=tuple(_renamed(op, ids) for op in edit.ops))


def _says(entry: Entry) -> str:
    return digest([entry.kind, entry.doc, entry.key, entry.trigger, entry.text])


def _named_like(id: str, number: int) -> str:
    """An id as old as an attempt's, in the order of numbers; the same whenever this is told again."""
    return f"{id[:16]}{number:04x}{digest(['entry', id, number])[20:]}"


def _renamed(op: Op, ids: Mapping[str, str]) -> Op:
    if not isinstance(op, Put):
        return op
    entry, old = op.entry, op.entry.supersedes or ""
    return Put(entry=replace(entry, id=ids.get(entry.id, entry.id), supersedes=ids.get(old, entry.supersedes)))


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happened: an episode, feedback, an attempt, or a revision without one."""

    at: datetime
    rank: int
    what: Episode | Feedback | Attempt | Revision
    number: int = 0
    how: str = ""

    @property
    def order(self) -> tuple[datetime, int, str, int]:
        return self.at, self.rank, self.what.id, self.number


class _Scratch(MemoryStore):
    """A store in which attempts and revisions get the ids that they had, and replays are remembered from outside."""

    def __init__(self, real: Store, gone: dict[Scope, Cut]) -> None:
        super().__init__(clock=lambda: self.now, ids=self._id)
        self.now = _EARLY
        self.real = real
        self.known: Attempt | None = None
        self.id: str | None = None
        self.touched: dict[Scope, set[str]] = {}
        self.added: dict[Scope, list[Outcome]] = {}
        self._gone = gone

    def _id(self) -> str:
        id, self.id = self.id or new_id(), None
        return id

    def _named(self, attempt: Attempt) -> Attempt:
        """A new attempt gets the id that it had; one that continues another keeps that one's."""
        if self.known is None:
            return attempt
        if attempt.proposed:
            return replace(attempt, proposed=self.known.id, earlier=())
        return replace(attempt, id=self.known.id, earlier=())

    def save_attempt(self, attempt: Attempt) -> None:
        """See `MemoryStore`."""
        super().save_attempt(self._named(attempt))

    def commit(self, scope: Scope, edit: Edit, verdict: Any, **more: Any) -> Revision:
        """See `MemoryStore`."""
        if more.get("attempt") is not None:
            more["attempt"] = self._named(more["attempt"])
        return super().commit(scope, edit, verdict, **more)

    def outcome(self, scope: Scope, key: str) -> Outcome | None:
        """One that was made here, or one of the real store that may stay."""
        found = super().outcome(scope, key)
        if found is None:
            kept = self.real.outcome(scope, key)
            cut = self._gone.get(scope)
            if kept is None or (cut is not None and kept.case in cut.gone.get("case", ())):
                return None
            self.touched.setdefault(scope, set()).add(key)
            found = kept
        return found

    def save_outcome(self, scope: Scope, outcome: Outcome) -> None:
        """See `MemoryStore`."""
        if super().outcome(scope, outcome.key) is None:
            self.added.setdefault(scope, []).append(outcome)
        super().save_outcome(scope, outcome)


class _World:
    """Scopes whose history is told again, below layers whose history is as it was."""

    def __init__(
        self, parts: Parts, gate: Movable, cuts: dict[Scope, Cut], *, scopes: Sequence[Scope], gone: frozenset[str]
    ) -> None:
        self._store = parts.runtime.store
        self._scopes = frozenset(scopes)
        self._cuts = cuts
        self._gone = gone
        self._scratch = _Scratch(self._store, cuts)
        self._run = replace(parts.runtime, store=self._scratch, clock=lambda: self._scratch.now, branch="")
        self._gate = gate.on(self._run)
        self._proposers = parts.proposers_on(self._run) if parts.proposers_on else parts.proposers
        self._real: dict[Scope, str | None] = {}
        self._moved: dict[str, str | None] = {}
        self._heads: dict[Scope, dict[str, Heads]] = {}
        self._logs = {scope: self._store.log(scope)[::-1] for scope in scopes}
        self._made = {made.id: made for log in self._logs.values() for made in log}

    def events(self) -> list[_Event]:
        """Everything that happened, but for what is gone."""
        found: list[_Event] = []
        for scope in sorted(self._scopes):
            found += self._of(scope)
        fixed = {layer for scope in self._scopes for layer in scope.layers} - self._scopes
        found += [_Event(made.at, 2, made) for scope in sorted(fixed) for made in self._store.log(scope)]
        return found

    def _of(self, scope: Scope) -> list[_Event]:
        store, gone = self._store, self._cuts.get(scope, Cut(scope=scope)).gone
        episodes, said = gone.get("episode", frozenset()), gone.get("feedback", frozenset())
        attempts = store.attempts(scope)
        by_attempt = {one.revision for one in attempts if one.revision}
        return [
            *(_Event(one.at, 0, one) for one in store.episodes(scope) if one.id not in episodes),
            *(_Event(one.at, 1, one) for one in store.feedback(scope) if one.id not in said),
            *(event for one in attempts for event in _judgements(one, self._made)),
            *(_Event(made.at, 3, made) for made in self._logs[scope] if made.id not in by_attempt),
        ]

    async def happen(self, event: _Event, *, budget: Budget) -> None:
        """Let it happen again, at its time."""
        self._scratch.now = event.at
        match event.what:
            case Episode() as episode:
                self._record(episode)
            case Feedback() as feedback:
                cases = {one.id: one for one in self._store.cases(feedback.scope)}
                case = next((one for one in cases.values() if feedback.id in one.sources), None)
                self._scratch.add_feedback(feedback, case)
            case Revision() as made if made.scope not in self._scopes:
                self._scratch.id = made.id
                head = self._scratch.heads(made.scope).of(made.scope)
                vectors = self._vectors(made)
                self._scratch.commit(
                    made.scope, made.edit, made.verdict, expect=head, author=made.author, vectors=vectors
                )
            case Revision() as made:
                self._by_hand(made)
            case Attempt() as tried:
                await self._try(tried, event.how, budget)

    # ── what is decided again ───────────────────────────────────────────────────────────────

    async def _try(self, tried: Attempt, how: str, budget: Budget) -> None:
        scratch, scope = self._scratch, tried.scope
        held = [one for one in scratch.attempts(scope, decision="defer") if tried.id in (one.id, one.proposed)]
        left = scratch.feedback(scope, ids=tried.evidence)
        scratch.known, scratch.id = (tried if how == "learn" else None), tried.revision or _id_like(tried.id)
        if how == "learn" and left:
            asked = _undated(tried.proposer)
            proposer = next(one for one in self._proposers if _undated(one.name) == asked)
            await loop.learn(self._run, _Keeping(proposer, tried), self._gate, feedback=left, budget=budget)
        elif how == "judge" and held:
            await loop.judge(self._run, self._gate, held[0], budget=budget)
        elif how == "decide" and held and held[0].edit is not None and held[0].edit_key == tried.edit_key:
            self._decide(held[0], tried)
        scratch.known = scratch.id = None
        self._passed(scope, tried.revision)

    def _decide(self, held: Attempt, tried: Attempt) -> None:
        """What a person said of a draft, said again of the same draft."""
        decided = replace(held, verdict=tried.verdict)
        if tried.revision is None:
            self._scratch.save_attempt(decided)
            return
        head, edit = self._scratch.heads(tried.scope).of(tried.scope), held.edit or Edit(ops=())
        try:
            self._scratch.commit(tried.scope, edit, tried.verdict, expect=head, author=tried.proposer, attempt=decided)
        except EditError:
            return

    def _by_hand(self, made: Revision) -> None:
        """What a person changed, changed again where it can be; what they made of what is gone is gone."""
        scratch, scope = self._scratch, made.scope
        cut = self._cuts.get(scope, Cut(scope=scope))
        before = self._store.context(scope, self._store.heads(scope).at(scope, made.parent))
        sources, lost = {*made.edit.evidence, *made.edit.read}, made.id in cut.blank
        past = {one.id for one in scratch.log(scope)}
        missing = {id for id in sources if id in self._gone or (id in self._made and id not in past)}
        ops = [_change(op, before.layers[-1], lost=lost) for op in made.edit.ops]
        if not missing and all(op is not None for op in ops):
            scratch.id = made.id
            edit = replace(made.edit, ops=tuple(op for op in ops if op is not None))
            head = scratch.heads(scope).of(scope)
            try:
                scratch.commit(scope, edit, made.verdict, expect=head, author=made.author, vectors=self._vectors(made))
            except EditError:
                scratch.id = None
        self._passed(scope, made.id)

    def _vectors(self, made: Revision) -> dict[str, bytes]:
        """The vectors that the entries of a revision had."""
        kept = self._store.context(made.scope, self._store.heads(made.scope).at(made.scope, made.id)).vectors
        return {op.entry.id: kept[op.entry.id] for op in made.edit.ops if isinstance(op, Put) and op.entry.id in kept}

    # ── heads ───────────────────────────────────────────────────────────────────────────────

    def _passed(self, scope: Scope, revision: str | None) -> None:
        if revision is not None:
            self._real[scope] = revision
            self._moved[revision] = self._scratch.heads(scope).of(scope)

    def _record(self, episode: Episode) -> None:
        heads = episode.heads
        for layer in episode.scope.layers:
            if layer not in self._scopes:
                continue
            was = heads.of(layer)
            served = self._scratch.heads(layer).of(layer)
            heads = heads.at(layer, served if was == self._real.get(layer) else self._moved.get(was or "", was))
        self._heads.setdefault(episode.scope, {})[episode.id] = heads
        self._scratch.record(replace(episode, heads=heads))

    # ── what came of it ─────────────────────────────────────────────────────────────────────

    def rebuilt(self, scope: Scope) -> Rebuilt:
        """What takes the place of a scope's history."""
        scratch, old = self._scratch, self._logs[scope]
        new = scratch.log(scope)[::-1]
        keep = 0
        while keep < min(len(old), len(new)) and _same(old[keep], new[keep]):
            keep += 1
        was = {one.id: one for one in self._store.attempts(scope)}
        attempts = [
            old_one if (old_one := was.get(one.id)) and _same(old_one, one) else one for one in scratch.attempts(scope)
        ]
        vectors, hidden = dict[str, Any](), dict[str, frozenset[str]]()
        for made in new[keep:]:
            context = scratch.context(scope, scratch.heads(scope).at(scope, made.id))
            vectors[made.id] = {id: context.vectors[id] for id in context.layers[-1].own if id in context.vectors}
            hidden[made.id] = context.layers[-1].hidden
        kept = self._store.episodes(scope)
        heads = {one.id: self._heads[scope][one.id] for one in kept if one.id in self._heads.get(scope, ())}
        return Rebuilt(
            scope=scope,
            keep=keep,
            revisions=tuple(new[keep:]),
            vectors=vectors,
            hidden=hidden,
            attempts=tuple(attempts),
            kept=frozenset(scratch.touched.get(scope, ())),
            outcomes=tuple(scratch.added.get(scope, ())),
            heads={one.id: heads[one.id] for one in kept if one.id in heads and one.heads != heads[one.id]},
            sessions=self._sessions(scope, kept[::-1], heads),
        )

    def _sessions(self, scope: Scope, episodes: Sequence[Episode], heads: dict[str, Heads]) -> dict[str, Heads]:
        """A conversation begins with the first of its episodes that is left, or where its revision has moved to."""
        first = {one.session or "": one for one in episodes[::-1]}
        left = {one.session or "": one for one in episodes[::-1] if one.id in heads}
        found: dict[str, Heads] = {}
        for id, episode in left.items():
            began = self._store.session(scope, id) if id else None
            if id and began is not None:
                plain = began.heads == first[id].heads
                found[id] = heads[episode.id] if plain else self._moved_to(scope, began.heads)
        return found

    def _moved_to(self, scope: Scope, heads: Heads) -> Heads:
        for layer in scope.layers:
            was = heads.of(layer)
            heads = heads.at(layer, self._moved.get(was or "", was))
        return heads


def _id_like(id: str) -> str:
    """A new id that is as old as another: revisions are sorted by their ids."""
    return id[:16] + new_id()[16:]


def _judgements(tried: Attempt, made: Mapping[str, Revision]) -> Iterable[_Event]:
    """The moments at which an attempt was made, judged again, and decided by a person."""
    before, last = "", len(tried.earlier)
    for number, (at, id, evidence) in enumerate(tried.earlier):
        draft = replace(tried, id=id, at=at, evidence=evidence, revision=None, earlier=())
        yield _Event(at, 3, draft, number, "judge" if id == before else "learn")
        before = id
    final = replace(tried, id=tried.proposed or tried.id)
    if tried.verdict.basis == "human" and before:
        led = made.get(tried.revision or "")
        yield _Event(led.at if led else tried.at, 3, final, last, "decide")
    else:
        yield _Event(tried.at, 3, final, last, "judge" if final.id == before else "learn")


def _change(op: Op, before: Layer, *, lost: bool) -> Op | None:
    """What a person did, as the fields that they changed; None if they put the words of what is gone otherwise."""
    if not isinstance(op, Put):
        return op
    old = before.own.get(op.entry.id)
    if old is None:
        return None if lost else op
    changes = {one.name: new for one in fields(Entry) if (new := getattr(op.entry, one.name)) != getattr(old, one.name)}
    if lost and {"text", "trigger"} & changes.keys():
        return None
    return Patch(id=op.entry.id, changes=changes)


def _same(old: Any, new: Any) -> bool:
    """Whether two revisions or attempts say the same."""
    return _timeless(old) == _timeless(new)


def _timeless(one: Any) -> Any:
    clean = replace(one, verdict=replace(one.verdict, usage=Usage()), at=_EARLY)
    return replace(clean, usage=Usage(), earlier=(), proposed="") if isinstance(one, Attempt) else clean
