"""Lines: the served one of each layer, and the branches beside it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from sqlalchemy import bindparam, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.domain import Scope
from tokenspace.errors import NotFound, UsageError
from tokenspace.store import border, steady
from tokenspace.store.contexts import LINE, Place, Reading, at_head, hex_id
from tokenspace.store.database import Cursor
from tokenspace.store.schema import branch, head
from tokenspace.store.scoped import HERE, NAMED

LINE_ID: Final = select(branch.c.id).where(NAMED)
LOCK: Final = (
    select(branch.c.id).join_from(branch, head, head.c.branch == branch.c.id).where(NAMED).with_for_update(of=head)
)
ADD_LINE: Final = (
    insert(branch)
    .values(
        agent=bindparam("agent"),
        tenant=bindparam("tenant"),
        user=bindparam("user"),
        name=bindparam("name"),
        dropped=0,
        parent=bindparam("parent"),
        fork=bindparam("fork"),
    )
    .on_conflict_do_nothing()
)
ADD_HEAD: Final = insert(head).on_conflict_do_nothing()
DROP: Final = update(branch).where(NAMED).values(dropped=branch.c.id)
BRANCHES: Final = at_head(select(branch.c.name, *LINE)).where(
    HERE, branch.c.name != literal_column("''"), branch.c.dropped == literal_column("0")
)


class Lines(Reading):
    """The part of `SqlStore` that knows its lines. A scope's evidence hangs on the id of its served line."""

    def branches(self, scope: Scope) -> Mapping[str, str | None]:
        """Branches of the scope's own layer beside the served one, with their heads."""
        with self.db.reading(scope) as cursor:
            rows = cursor.rows(BRANCHES)
            places = {name: self._begun(cursor, Place(*place)) for name, *place in sorted(rows, key=lambda row: row[0])}
        return {name: hex_id(place) for name, place in places.items()}

    def create_branch(self, scope: Scope, name: str) -> str | None:
        """Fork the served line of the scope's own layer; returns the fork point. `UsageError` if it exists."""
        border.check_branch(name)
        with self.db.writing(scope) as cursor:
            self._open_line(cursor)
            served = self._served(cursor, scope)[scope]
            if self._line_id(cursor, name) is not None:
                raise UsageError(f"{scope} has a branch {name!r} already", hint="drop it first, or choose another name")
            self._open_line(cursor, name=name, parent=served.branch, fork=served.seq)
        return hex_id(served)

    def drop_branch(self, scope: Scope, name: str) -> None:
        """Stop offering a branch; its revisions stay in the history."""
        border.check_branch(name)
        with self.db.writing(scope) as cursor:
            if not cursor.run(DROP, name=name):
                raise NotFound(f"{scope} has no branch {name!r}", hint="list the branches")

    @contextmanager
    def steady(self, scope: Scope) -> Generator[steady.Mark]:
        """See `protocols.Store`."""
        with self.db.writing(scope) as cursor:
            self._open_line(cursor)
            mark = steady.mark_of(cursor)
        assert mark is not None, "the line is open"
        with steady.held(self.db, scope, mark) as since:
            yield since

    # ── inside ──────────────────────────────────────────────────────────────────────────────

    def _line_id(self, cursor: Cursor, name: str = "") -> int | None:
        row = cursor.row(LINE_ID, name=name)
        return None if row is None else row[0]

    def _open_line(self, cursor: Cursor, *, name: str = "", parent: int | None = None, fork: int = 0) -> int:
        """The id of a line of the cursor's scope, which is begun if there is none."""
        known = self._line_id(cursor, name)
        if known is None:
            cursor.run(ADD_LINE, name=name, parent=parent, fork=fork)
            known = self._line_id(cursor, name)
            assert known is not None, "the line was inserted just now, or by somebody who committed"
            cursor.run(ADD_HEAD, branch=known, seq=fork)
        return known

    def _lock_line(self, cursor: Cursor, scope: Scope, name: str) -> int:
        """The id of a line, whose head nobody else can move until the transaction ends. Raises `NotFound`."""
        row = cursor.row(LOCK, name=name)
        if row is None and not name:
            self._open_line(cursor)
            row = cursor.row(LOCK, name=name)
        if row is None:
            raise NotFound(f"{scope} has no branch {name!r}", hint="create it first")
        return row[0]
