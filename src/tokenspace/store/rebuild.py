"""Putting a history in the place of another: the revisions of a served line from some point on, and what hangs on it.

The chain is made anew from that point, as if the new revisions had been committed then; so nothing of the old ones,
not even that they were there, is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update

from tokenspace.domain import Episode, Put, Revision
from tokenspace.domain.erasure import Rebuilt
from tokenspace.store import chain, codec
from tokenspace.store.attempts import sealed_body
from tokenspace.store.codec import BASES, pack_id, pack_ids, pack_time, unpack_id
from tokenspace.store.history import VERDICT_COLUMNS
from tokenspace.store.ledger import rows_of
from tokenspace.store.lineage import lines_of, served_line
from tokenspace.store.schema import (
    attempt,
    entry,
    episode,
    head,
    injection,
    name,
    outcome,
    provenance,
    revision,
    session,
    tomb,
    vector,
)  # fmt: skip
from tokenspace.store.sealing import Seals


def rebuild(connection: Connection, seals: Seals, wanted: Rebuilt, counts: Counter[str]) -> None:
    """Carry it out, and count the rows that went."""
    _Builder(connection, seals, wanted, counts).build()


def count_erasure(connection: Connection, lines: Iterable[int]) -> None:
    """Every process that remembers what it read of these lines must read again."""
    more = func.coalesce(head.c.erasures, 0) + 1
    connection.execute(update(head).where(head.c.branch.in_([*lines])).values(erasures=more))


class _Builder:
    def __init__(self, connection: Connection, seals: Seals, wanted: Rebuilt, counts: Counter[str]) -> None:
        self._connection, self._seals, self._wanted, self._counts = connection, seals, wanted, counts
        self._line = served_line(lines_of(connection, wanted.scope))

    def build(self) -> None:
        """The revisions, then what remembers them."""
        count_erasure(self._connection, [self._line])
        self._cut()
        for made in self._wanted.revisions:
            self._write(made)
        self._memory()
        self._heads()

    def _cut(self) -> None:
        keep, line = self._wanted.keep, self._line
        for table in (vector, provenance, tomb, entry, revision):
            seq = table.c.seq if "seq" in table.c else table.c.born
            self._delete(table, seq > keep)
        for table in (entry, tomb):
            again = (table.c.branch == line, table.c.died > keep)
            self._connection.execute(update(table).where(*again).values(died=None))
        self._connection.execute(update(head).where(head.c.branch == line).values(seq=keep))

    def _write(self, made: Revision) -> None:
        """One revision with its rows, its commitment and its link in the chain."""
        line, seq, edit, verdict = self._line, made.seq, made.edit, made.verdict
        before = self._connection.execute(
            select(revision.c.uid, revision.c.chain).where(revision.c.branch == line, revision.c.seq == seq - 1)
        ).first()
        touched = [{"its_id": pack_id(op.entry.id if isinstance(op, Put) else op.id)} for op in edit.ops]
        for table in (entry, tomb):
            live = (table.c.branch == line, table.c.id == bindparam("its_id"), table.c.died.is_(None))
            self._many(update(table).where(*live).values(died=seq), touched)
        hidden = frozenset(op.id for op in edit.ops if not isinstance(op, Put) and op.id in self._inherited(made))
        puts, tombs = rows_of(edit.ops, hidden)
        born = {"branch": line, "born": seq}
        self._many(insert(entry), [{**born, **put} for put in puts])
        self._many(insert(tomb), [{**born, **gone} for gone in tombs])
        vectors = self._wanted.vectors.get(made.id, {})
        put_ids = {op.entry.id for op in edit.ops if isinstance(op, Put)}
        held = [{**born, "id": pack_id(id), "data": data} for id, data in vectors.items() if id in put_ids]
        self._many(insert(vector), held)
        written = chain.Written(
            uid=pack_id(made.id), at=pack_time(made.at), author=made.author, gate=verdict.gate,
            basis=BASES.index(verdict.basis), reason=verdict.reason,
            numbers=codec.dumps(verdict, skip=VERDICT_COLUMNS), cases=pack_ids(verdict.cases),
            message=edit.rationale, evidence=pack_ids(edit.evidence), read=pack_ids(edit.read),
        )  # fmt: skip
        salt = chain.new_salt()
        sealed = chain.commitment(salt, [*map(chain.op_of_entry, puts), *map(chain.op_of_tomb, tombs)], written)
        begin = before.chain if before else chain.genesis(made.scope, made.branch, None)
        link = chain.link(begin, before.uid if before else None, written, sealed)
        row = {**written._asdict(), "author": self._name(made.author), "gate": self._name(verdict.gate)}
        self._connection.execute(
            insert(revision), {"branch": line, "seq": seq, "salt": salt, "commitment": sealed, "chain": link, **row}
        )
        cited = {(pack_id(id), role) for role, ids in enumerate((edit.evidence, edit.read)) for id in ids}
        sources = [{"branch": line, "seq": seq, "source": id, "role": role} for id, role in sorted(cited)]
        self._many(insert(provenance), sources)
        self._connection.execute(update(head).where(head.c.branch == line).values(seq=seq))

    def _inherited(self, made: Revision) -> frozenset[str]:
        return self._wanted.hidden.get(made.id, frozenset())

    def _memory(self) -> None:
        """Attempts and remembered replays."""
        self._delete(attempt)
        self._many(insert(attempt), [
            {
                "branch": self._line, "key": pack_id(one.key), "id": pack_id(one.id),
                "edit_key": pack_id(one.edit_key), "decision": one.verdict.decision,
                "revision": None if one.revision is None else pack_id(one.revision), "at": pack_time(one.at),
                "body": sealed_body(self._seals, one),
            }
            for one in self._wanted.attempts
        ])  # fmt: skip
        here = outcome.c.branch == self._line
        known = {unpack_id(key) for (key,) in self._connection.execute(select(outcome.c.key).where(here))}
        row = delete(outcome).where(here, outcome.c.key == bindparam("what"))
        self._many(row, [{"what": pack_id(key)} for key in sorted(known - self._wanted.kept)])
        self._counts["outcome"] += len(known - self._wanted.kept)
        self._many(insert(outcome), [
            {"branch": self._line, "key": pack_id(one.key), "body": self._sealed(outcome, pack_id(one.key), one, "key")}
            for one in self._wanted.outcomes
        ])  # fmt: skip
        self._delete(injection)

    def _heads(self) -> None:
        """Episodes and conversations name the heads of the new history."""
        for id, heads in self._wanted.heads.items():
            row = (episode.c.branch == self._line, episode.c.id == pack_id(id))
            text = self._connection.execute(select(episode.c.body).where(*row)).scalar_one()
            text = self._seals.unseal(self._wanted.scope, episode.name, pack_id(id), text)
            kept = replace(codec.loads(Episode, text, scope=self._wanted.scope, id=id, at=None), heads=heads)
            sealed = self._sealed(episode, pack_id(id), kept, "scope", "id", "at")
            self._connection.execute(update(episode).where(*row).values(body=sealed))
        for id, heads in self._wanted.sessions.items():
            row = (session.c.branch == self._line, session.c.id == pack_id(id))
            self._connection.execute(update(session).where(*row).values(heads=codec.dumps(heads)))

    def _sealed(self, table: Table, id: bytes, value: Any, *skip: str) -> Any:
        return self._seals.seal(self._wanted.scope, table.name, id, codec.dumps(value, skip=frozenset(skip)))

    def _name(self, word: str) -> int:
        query = select(name.c.id).where(name.c.text == word)
        known = self._connection.execute(query).scalar()
        if known is None:
            self._connection.execute(insert(name).values(text=word))
            known = self._connection.execute(query).scalar_one()
        return known

    def _delete(self, table: Table, *where: Any) -> None:
        gone = self._connection.execute(delete(table).where(table.c.branch == self._line, *where))
        self._counts[table.name] += gone.rowcount

    def _many(self, statement: Any, rows: list[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, rows)
