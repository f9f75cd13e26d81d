"""Writing history: one short transaction for each commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, Update, and_, bindparam, insert, update

from tokenspace.context import apply_layer, difference, merge
from tokenspace.domain import Attempt, Drop, Edit, Entry, Op, Put, Revision, Scope, Verdict, new_id
from tokenspace.errors import StaleHead
from tokenspace.store import border, chain, codec
from tokenspace.store.attempts import COMMITTED, Attempts, put_attempt, sealed_body
from tokenspace.store.codec import BASES, KINDS, STATUSES, Effect, pack_id, pack_ids, pack_time
from tokenspace.store.contexts import Place, hex_id
from tokenspace.store.database import Cursor, Database
from tokenspace.store.history import VERDICT_COLUMNS, History
from tokenspace.store.schema import entry, head, provenance, revision, tomb, vector
from tokenspace.store.scoped import on_line
from tokenspace.store.states import EMPTY, State

ADD_ENTRY: Final = insert(entry)
ADD_TOMB: Final = insert(tomb)
ADD_VECTOR: Final = insert(vector)
ADD_SOURCE: Final = insert(provenance)
ADD_REVISION: Final = insert(revision)
MOVE_HEAD: Final = update(head).where(on_line(head), head.c.seq == bindparam("expected")).values(seq=bindparam("made"))


def _end(table: Table) -> Update:
    c = table.c
    row = and_(on_line(table), c.born == bindparam("was"), c.id == bindparam("what"))
    return update(table).where(row).values(died=bindparam("made"))


END_ENTRY: Final = _end(entry)
END_TOMB: Final = _end(tomb)


class Ledger(History, Attempts):
    """The part of `SqlStore` that commits."""

    def __init__(self, db: Database, *, clock: Callable[[], datetime]) -> None:
        super().__init__(db)
        self._clock = clock

    def commit(
        self,
        scope: Scope,
        edit: Edit,
        verdict: Verdict,
        *,
        expect: str | None,
        author: str,
        branch: str = "",
        vectors: Mapping[str, bytes] | None = None,
        attempt: Attempt | None = None,
    ) -> Revision:
        """Apply an accepted edit to the scope's own layer and move its head from `expect` (I1, I2).

        An attempt is claimed first: if its key has led to a revision already, nothing else is written.
        """
        border.check_commit(edit, verdict, author)
        draft = Revision(
            id=new_id(), scope=scope, branch=branch, seq=0, parent=expect, edit=edit, verdict=verdict, author=author,
            at=border.to_millisecond(self._clock()),
        )  # fmt: skip
        if attempt is not None:
            border.check_attempt(attempt, scope)
            attempt = replace(self._following(border.timed(attempt)), revision=draft.id)
        body = "" if attempt is None else sealed_body(self.db.seals, attempt)
        with self.db.writing(scope) as cursor:
            line = self._lock_line(cursor, scope, branch)
            keeper = self._open_line(cursor) if branch else line
            if attempt is None or put_attempt(cursor, keeper, attempt, body):
                return self._apply(cursor, line, draft, vectors or {})
            first = cursor.row(COMMITTED, try_key=pack_id(attempt.key))
        assert first is not None, "only an attempt with a revision refuses to be replaced"
        return self.revision(scope, first[0].hex())

    def _apply(self, cursor: Cursor, line: int, draft: Revision, vectors: Mapping[str, bytes]) -> Revision:
        """Check the head, apply the edit to the rows that stand, write what changes, move the head."""
        scope = draft.scope
        places = self._served(cursor, scope)
        if draft.branch:
            places[scope] = self._named(cursor, scope, draft.branch)
        at = places[scope]
        if hex_id(at) != draft.parent:
            raise StaleHead(f"the head of {scope} has moved", hint="read the context again and rebase the edit")
        states = [self._state(cursor.of(layer), places[layer]) if layer in places else EMPTY for layer in scope.layers]
        before = states[-1]
        inherited = merge([state.layer for state in states[:-1]])
        after = border.storable(before.layer, apply_layer(before.layer, draft.edit, inherited))
        ops = difference(before.layer, after, inherited)
        made = replace(draft, seq=at.seq + 1, edit=replace(draft.edit, ops=ops))
        puts, tombs = rows_of(ops, after.hidden)
        _end_rows(cursor, line, before, made)
        born = {"branch": line, "born": made.seq}
        cursor.many(ADD_ENTRY, [{**born, **put} for put in puts])
        cursor.many(ADD_TOMB, [{**born, **gone} for gone in tombs])
        ops_written = [*map(chain.op_of_entry, puts), *map(chain.op_of_tomb, tombs)]
        self._add_revision(cursor, line, at, made, ops_written)
        held = ((op.entry, _vector(op.entry, vectors, states)) for op in ops if isinstance(op, Put))
        cursor.many(ADD_VECTOR, [{**born, "id": pack_id(put.id), "data": data} for put, data in held if data])
        if cursor.run(MOVE_HEAD, line=line, expected=at.seq, made=made.seq) != 1:
            raise StaleHead(f"the head of {scope} has moved", hint="read the context again and rebase the edit")
        return made

    def _add_revision(self, cursor: Cursor, line: int, at: Place, made: Revision, ops: Sequence[Sequence[Any]]) -> None:
        """The revision with its commitment and its link in the chain, and the sources to find it by."""
        edit = made.edit
        verdict = made.verdict
        written = chain.Written(
            uid=pack_id(made.id),
            at=pack_time(made.at),
            author=made.author,
            gate=verdict.gate,
            basis=BASES.index(verdict.basis),
            reason=verdict.reason,
            numbers=codec.dumps(verdict, skip=VERDICT_COLUMNS),
            cases=pack_ids(verdict.cases),
            message=edit.rationale,
            evidence=pack_ids(edit.evidence),
            read=pack_ids(edit.read),
        )
        salt = chain.new_salt()
        sealed = chain.commitment(salt, ops, written)
        begin = at.chain if at.seq > at.fork else chain.genesis(made.scope, made.branch, at.chain)
        link = chain.link(begin or b"", at.uid, written, sealed)
        row = {
            **written._asdict(),
            "author": self._names.number(cursor, made.author),
            "gate": self._names.number(cursor, verdict.gate),
        }
        cursor.run(ADD_REVISION, branch=line, seq=made.seq, salt=salt, commitment=sealed, chain=link, **row)
        sources = {(pack_id(id), role) for role, ids in enumerate((edit.evidence, edit.read)) for id in ids}
        row = {"branch": line, "seq": made.seq}
        cursor.many(ADD_SOURCE, [{**row, "source": id, "role": role} for id, role in sorted(sources)])


def rows_of(ops: Iterable[Op], hidden: frozenset[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The entry rows and tomb rows that say what canonical operations say."""
    puts: list[dict[str, Any]] = []
    tombs: list[dict[str, Any]] = []
    for op in ops:
        if isinstance(op, Put):
            puts.append(_entry_row(op.entry))
        else:
            dropped = Effect.HIDDEN if op.id in hidden else Effect.DROPPED
            tombs.append({"id": pack_id(op.id), "effect": dropped if isinstance(op, Drop) else Effect.RESTORED})
    return puts, tombs


def _entry_row(entry: Entry) -> dict[str, Any]:
    return {
        "id": pack_id(entry.id),
        "kind": KINDS.index(entry.kind),
        "doc": entry.doc,
        "text": entry.text,
        "trigger": entry.trigger,
        "origin": int(entry.origin),
        "status": STATUSES.index(entry.status),
        "pos": entry.pos,
        "valid_until": None if entry.valid_until is None else pack_time(entry.valid_until),
        "supersedes": None if entry.supersedes is None else pack_id(entry.supersedes),
        "key": entry.key or None,
        "valid_from": None if entry.valid_from is None else pack_time(entry.valid_from),
        "died": None,
    }


def _end_rows(cursor: Cursor, line: int, before: State, made: Revision) -> None:
    """The rows of this line that said something about an entry, which is now said anew, end here."""
    for op in made.edit.ops:
        id = op.entry.id if isinstance(op, Put) else op.id
        wrote, mark = before.wrote.get(id), before.marks.get(id)
        if wrote is not None and wrote.branch == line:
            cursor.run(END_ENTRY, line=line, was=wrote.born, what=pack_id(id), made=made.seq)
        elif mark is not None and mark[0] == line:
            cursor.run(END_TOMB, line=line, was=mark[1], what=pack_id(id), made=made.seq)


def _vector(entry: Entry, given: Mapping[str, bytes], states: Sequence[State]) -> bytes | None:
    """The vector given, or that of the entry that it replaces if it is recalled by the same words."""
    if entry.id in given:
        return given[entry.id]
    for state in reversed(states):
        old = state.layer.own.get(entry.id)
        if old is not None:
            same = (old.text, old.trigger) == (entry.text, entry.trigger)
            return state.vectors.get(entry.id) if same else None
        if entry.id in state.layer.hidden:
            return None
    return None
