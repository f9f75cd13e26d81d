"""The access log: who read, approved or erased something through a door. Rows are added and, later, dropped by age.

They hang on no line: looking into a scope must not begin one, and what says that somebody was erased must outlive
them. So this is an operator's room, and on PostgreSQL the application's role sees no row of it. The one change that a
row may see is that an erased person's name in it becomes a pseudonym.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, cast

from sqlalchemy import ColumnElement, Text, and_, bindparam, case, delete, insert, literal_column, or_, select, update

from tokenspace.domain import Access, Deed, Ended, Scope
from tokenspace.store import border
from tokenspace.store.codec import EPOCH, pack_id, pack_time, unpack_id, unpack_time
from tokenspace.store.database import Database, Row
from tokenspace.store.schema import access
from tokenspace.store.scoped import EVERYWHERE

_c = access.c


_here = _c.agent.in_([literal_column("''"), bindparam("of_agent")])
"""About an agent, or about none in particular."""


def _of(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Rows of that name; of every name where none is asked for."""
    asked = bindparam(name, type_=Text())
    return or_(asked == "", column == asked)


ADD: Final = insert(access)
NEWEST: Final = (
    select(
        _c.id, _c.at, _c.agent, _c.tenant, _c.user, _c.principal, _c.deed, _c.kind, _c.object, _c.count, _c.ended
    )
    .where(
        or_(bindparam("of_agent", type_=Text()) == "", _here),
        _of(_c.tenant, "of_tenant"),
        _of(_c.user, "of_user"),
        _c.at >= bindparam("since"),
    )
    .order_by(_c.at.desc(), _c.id.desc())
    .limit(bindparam("most"))
)  # fmt: skip
DROP: Final = delete(access).where(_c.at < bindparam("before"))
_whose = and_(_here, _c.tenant == bindparam("of_tenant"), _c.user == bindparam("of_user"))
DISOWN: Final = (
    update(access)
    .where(_whose)
    .values(
        user=bindparam("pseudonym"),
        principal=case(
            (_c.principal == bindparam("of_user"), bindparam("pseudonym", type_=Text())), else_=_c.principal
        ),
    )
)


class AccessRoom:
    """The part of `SqlAdmin` that keeps the access log."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def note_access(self, access: Access) -> None:
        """Keep who did what to what, for good; see `protocols.Admin`."""
        noted = border.access(access)
        row = {name: getattr(noted, name) for name in ("agent", "tenant", "user", "principal", "deed", "kind", "ended")}
        with self._db.writing(EVERYWHERE) as cursor:
            cursor.run(
                ADD, id=pack_id(noted.id), at=pack_time(noted.at), object=pack_id(noted.object), count=noted.count,
                **row,
            )  # fmt: skip

    def accesses(
        self, *, agent: str = "", tenant: str = "", user: str = "", since: datetime = EPOCH, limit: int | None = None
    ) -> list[Access]:
        """What was noted of an agent or of none, of a tenant, of one user of it, or of all, newest first."""
        rows = self._db.rows(
            EVERYWHERE, NEWEST, of_agent=agent, of_tenant=tenant, of_user=user, since=pack_time(since),
            most=border.check_limit(limit),
        )  # fmt: skip
        return [_access(row) for row in rows]

    def drop_accesses(self, before: datetime) -> int:
        """Drop what is older; returns how many rows that were."""
        with self._db.writing(EVERYWHERE) as cursor:
            return cursor.run(DROP, before=pack_time(before))

    def disown_accesses(self, scope: Scope, pseudonym: str) -> int:
        """Put a pseudonym in the place of an erased user's name, in the rows about their own scope; returns how many.

        Who looked into that scope under another name answers for it under that name.
        """
        border.check_pseudonym(scope, pseudonym)
        whose = {"of_agent": scope.agent, "of_tenant": scope.tenant, "of_user": scope.user}
        with self._db.writing(EVERYWHERE) as cursor:
            return cursor.run(DISOWN, **whose, pseudonym=pseudonym)


def _access(row: Row) -> Access:
    id, at, agent, tenant, user, principal, deed, kind, object, count, ended = row
    return Access(
        id=unpack_id(id), at=unpack_time(at), agent=agent, tenant=tenant, user=user, principal=principal,
        deed=cast("Deed", deed), kind=kind, object=unpack_id(object), count=count, ended=cast("Ended", ended),
    )  # fmt: skip
