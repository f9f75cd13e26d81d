"""Reading history: a revision's edit is read back from the rows that it wrote, in canonical form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, select

from tokenspace.domain import Drop, Edit, Op, Put, Restore, Revision, Scope, Verdict
from tokenspace.errors import NotFound
from tokenspace.store import border, chain, codec
from tokenspace.store.codec import BASES, Effect, pack_id, unpack_id, unpack_ids, unpack_time
from tokenspace.store.contexts import AT, ENTRY_COLUMNS, ONE_LINE, Place
from tokenspace.store.database import Cursor, Row
from tokenspace.store.lines import Lines
from tokenspace.store.schema import branch, entry, provenance, revision, tomb
from tokenspace.store.scoped import HERE, on_line
from tokenspace.store.states import make_entry

VERDICT_COLUMNS: Final = frozenset({"decision", "basis", "gate", "reason", "cases"})

_AUTHOR: Final = 1 + chain.Written._fields.index("author")
_GATE: Final = 1 + chain.Written._fields.index("gate")


def _range(table: Table, column: ColumnElement[int]) -> ColumnElement[bool]:
    return and_(on_line(table), column >= bindparam("low"), column <= bindparam("high"))


def _born(table: Table, *columns: Any) -> Select[*tuple[Any, ...]]:
    return select(table.c.born, *columns).where(_range(table, table.c.born))


ENTRIES: Final = _born(entry, *ENTRY_COLUMNS)
TOMBS: Final = _born(tomb, tomb.c.id, tomb.c.effect)
REVISIONS: Final = (
    select(*(revision.c[name] for name in ("seq", *chain.Written._fields, "mark")))
    .where(_range(revision, revision.c.seq))
    .order_by(revision.c.seq.desc())
)  # fmt: skip
DERIVED: Final = (
    select(branch.c.id, provenance.c.seq, branch.c.parent, branch.c.fork, branch.c.name)
    .distinct()
    .join_from(branch, provenance, provenance.c.branch == branch.c.id)
    .where(HERE, provenance.c.source == bindparam("source"))
)


class History(Lines):
    """The part of `SqlStore` that reads revisions."""

    def revision(self, scope: Scope, id: str) -> Revision:
        """A revision of any layer that is visible in this scope."""
        with self.db.reading(scope) as cursor:
            for layer in reversed(scope.layers):
                try:
                    place = self._find(cursor, layer, id)
                except NotFound:
                    continue
                return self._revisions(cursor, layer, place, low=place.seq)[0]
        raise NotFound(f"{scope} has no revision {id}", hint="list its revisions with log")

    def log(self, scope: Scope, *, branch: str = "", limit: int | None = None) -> list[Revision]:
        """Revisions of the scope's own layer, newest first; on a branch, down through its fork point."""
        most = border.check_limit(limit)
        with self.db.reading(scope) as cursor:
            row = cursor.row(ONE_LINE, name=branch)
            if row is None and branch:
                raise NotFound(f"{scope} has no branch {branch!r}", hint="list the branches")
            place = Place(*row) if row else None
            found: list[Revision] = []
            while place is not None and len(found) < most:
                low = max(place.fork + 1, place.seq - (most - len(found)) + 1)
                found += self._revisions(cursor, scope, place, low=low)
                place = None if place.parent is None else Place(place.parent, place.fork, None, None, None, 0, "")
        return found

    def derived(self, scope: Scope, source: str) -> list[Revision]:
        """Revisions of the scope's own layer that cite or read a source, on any line of it, newest first."""
        found: list[Revision] = []
        with self.db.reading(scope) as cursor:
            for id, seq, parent, fork, name in cursor.rows(DERIVED, source=pack_id(source)):
                place = Place(id, seq, None, None, parent, fork, name)
                found += self._revisions(cursor, scope, place, low=seq)
        return sorted(found, key=lambda made: made.id, reverse=True)

    def _revisions(self, cursor: Cursor, layer: Scope, place: Place, *, low: int) -> list[Revision]:
        """Revisions `low` to `place.seq` of a line, newest first."""
        cursor = cursor.of(layer)
        span = {"line": place.branch, "low": low, "high": place.seq}
        rows = cursor.rows(REVISIONS, **span)
        if not rows:
            return []
        ops: defaultdict[int, list[tuple[str, Op]]] = defaultdict(list)
        for born, *row in cursor.rows(ENTRIES, **span):
            put = Put(entry=make_entry(tuple(row)))
            ops[born].append((put.entry.id, put))
        for born, id, effect in cursor.rows(TOMBS, **span):
            ops[born].append((unpack_id(id), _op_of_tomb(unpack_id(id), effect)))
        parents = [*(row[1] for row in rows[1:]), self._uid_before(cursor, place, low)]
        return [
            self._revision(
                cursor, layer, place.name, row, parent=parent, ops=[op for _, op in sorted(ops[row[0]], key=_first)]
            )
            for row, parent in zip(rows, parents, strict=True)
        ]

    def _uid_before(self, cursor: Cursor, place: Place, seq: int) -> bytes | None:
        forked = place.parent is not None and seq == place.fork + 1
        row = cursor.row(AT, line=place.parent if forked else place.branch, seq=seq - 1)
        return None if row is None else row[0]

    def _revision(
        self, cursor: Cursor, layer: Scope, name: str, row: Row, *, parent: bytes | None, ops: Sequence[Op]
    ) -> Revision:
        seq, written, mark = row[0], chain.Written(*row[1:-1]), row[-1]
        verdict = codec.loads(
            Verdict,
            written.numbers,
            decision="accept",
            basis=BASES[written.basis],
            gate=self._names.text(cursor, row[_GATE]),
            reason=written.reason,
            cases=unpack_ids(written.cases),
            **({} if mark is None else {"withdrawn": True}),
        )
        evidence, read = unpack_ids(written.evidence), unpack_ids(written.read)
        return Revision(
            id=written.uid.hex(),
            scope=layer,
            branch=name,
            seq=seq,
            parent=None if parent is None else parent.hex(),
            edit=Edit(ops=tuple(ops), rationale=written.message, evidence=evidence, read=read),
            verdict=verdict,
            author=self._names.text(cursor, row[_AUTHOR]),
            at=unpack_time(written.at),
        )


def _first(pair: tuple[str, Op]) -> str:
    return pair[0]


def _op_of_tomb(id: str, effect: int) -> Op:
    return Restore(id=id) if effect == Effect.RESTORED else Drop(id=id)
