"""The tables whose bodies are sealed: their texts for who looks for one, and the sealing of what was written before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.domain import Scope
from tokenspace.store.codec import unpack_id
from tokenspace.store.database import Database
from tokenspace.store.schema import attempt, case, episode, feedback, injection, keyring, outcome
from tokenspace.store.scoped import EVERYWHERE, own
from tokenspace.store.sealing import is_sealed

BATCH: Final = 200
"""Rows that are sealed in one transaction, so that nobody waits for long."""
SEALED: Final[dict[Table, str]] = {
    episode: "id", feedback: "id", case: "id", attempt: "key", outcome: "key", injection: "chain"
}  # fmt: skip
"""Each table with the column that, beside its line, names a row: what its bodies are bound to."""

_RING: Final = select(keyring.c.id)
_ADD_RING: Final = insert(keyring).on_conflict_do_nothing()


class _Bodies:
    """The statements of a table."""

    def __init__(self, table: Table, id: str) -> None:
        key = table.c[id]
        self.rows = select(key, table.c.body).where(own(table)).order_by(key)
        this = (own(table), key == bindparam("what"), table.c.body == bindparam("was"))
        self.rewrite = update(table).where(*this).values(body=bindparam("text"))


_TABLES: Final = {table.name: _Bodies(table, id) for table, id in SEALED.items()}


class Text(NamedTuple):
    """A body in the clear. `id` names the row beside its line: an episode's id, an attempt's key, a place's digest."""

    table: str
    id: str
    text: str


def texts(db: Database, scope: Scope) -> Iterator[Text]:
    """Every body of exactly this scope, table by table; those whose key was destroyed are left out.

    Raises as `Seals.unseal` does. A body is JSON as `codec.dumps` writes it: quotes, backslashes and control characters
    are escaped in it, letters are not.
    """
    for name, statements in _TABLES.items():
        rows: Any = db.rows(scope, statements.rows)
        for id, text in db.seals.opened(scope, name, rows, body=1):
            yield Text(name, unpack_id(bytes(id)), text)


def seal_older(db: Database, scope: Scope) -> int:
    """Seal what this scope holds unsealed; returns how many rows were. Others may read and write meanwhile.

    On PostgreSQL the rows as they were stay in the file until VACUUM FULL, and on both in older backups.
    """
    if not scope.user:
        return 0
    done = 0
    for name, statements in _TABLES.items():
        plain = [(id, body) for id, body in db.rows(scope, statements.rows) if not is_sealed(body)]
        for start in range(0, len(plain), BATCH):
            seals = db.seals
            made = [
                (id, body, seals.seal(scope, name, bytes(id), seals.unseal(scope, name, bytes(id), body)))
                for id, body in plain[start : start + BATCH]
            ]
            with db.writing(scope) as cursor:
                changed = [(id, was, now) for id, was, now in made if is_sealed(now)]
                done += sum(cursor.run(statements.rewrite, what=id, was=was, text=now) for id, was, now in changed)
    return done


def count_sealed(db: Database, scope: Scope) -> dict[str, tuple[int, int]]:
    """By table: how many rows of exactly this scope are sealed, and how many there are."""
    found: dict[str, tuple[int, int]] = {}
    for name, statements in _TABLES.items():
        bodies = [body for _, body in db.rows(scope, statements.rows)]
        found[name] = (sum(map(is_sealed, bodies)), len(bodies))
    return found


def name_keys(db: Database) -> None:
    """Give a store that has none the random bytes that name its keys."""
    if db.row(EVERYWHERE, _RING) is None:
        with db.writing(EVERYWHERE) as cursor:
            cursor.run(_ADD_RING, one=1, id=os.urandom(16))


def ring(db: Database) -> bytes:
    """The random bytes that name the store's keys."""
    row = db.row(EVERYWHERE, _RING)
    return b"" if row is None else bytes(row[0])
