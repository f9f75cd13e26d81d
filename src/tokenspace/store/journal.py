"""The receipts in the journal of what was erased."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import select

from tokenspace.store.codec import unpack_id, unpack_time
from tokenspace.store.database import Database
from tokenspace.store.schema import erasure
from tokenspace.store.scoped import EVERYWHERE

_c = erasure.c
_ALL: Final = select(_c.id, _c.at, _c.finished, _c.receipt).order_by(_c.at, _c.id)


class Kept(NamedTuple):
    """An erasure: when it was begun, when it was finished (None: not yet), and its receipt ("" for none)."""

    id: str
    at: datetime
    finished: datetime | None
    receipt: str


def erasures(db: Database) -> list[Kept]:
    """Every erasure of the store, oldest first."""
    return [
        Kept(unpack_id(bytes(id)), unpack_time(at), None if done is None else unpack_time(done), receipt)
        for id, at, done, receipt in db.rows(EVERYWHERE, _ALL)
    ]
