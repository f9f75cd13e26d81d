"""The memory of the gate: what was tried, and the replays that were paid for."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import Select, bindparam, select
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.domain import Attempt, Decision, Outcome, Scope
from tokenspace.errors import UsageError
from tokenspace.store import border, codec
from tokenspace.store.codec import pack_id, pack_time, unpack_id, unpack_time
from tokenspace.store.database import Cursor, Row
from tokenspace.store.lines import Lines
from tokenspace.store.schema import attempt as attempt_table
from tokenspace.store.schema import outcome as outcome_table
from tokenspace.store.scoped import own
from tokenspace.store.sealing import Body, Seals

_COLUMNS: Final = frozenset({"scope", "id", "key", "edit_key", "revision", "at"})

_c = attempt_table.c
_put = insert(attempt_table)
PUT: Final = _put.on_conflict_do_update(
    index_elements=[_c.branch, _c.key],
    set_={name: _put.excluded[name] for name in ("id", "edit_key", "decision", "revision", "at", "body")},
    where=_c.revision.is_(None),
)


@cache
def _attempts(*filters: str) -> Select[*tuple[Any, ...]]:
    """Attempts of a line, newest first, by the columns that are given."""
    return (
        select(_c.id, _c.key, _c.edit_key, _c.revision, _c.at, _c.body)
        .where(own(attempt_table), *(_c[name] == bindparam(f"its_{name}") for name in filters))
        .order_by(_c.at.desc(), _c.id.desc())
        .limit(bindparam("most"))
    )


COMMITTED: Final = select(_c.revision).where(own(attempt_table), _c.key == bindparam("try_key"))

OUTCOME: Final = select(outcome_table.c.body).where(own(outcome_table), outcome_table.c.key == bindparam("replay"))
ADD_OUTCOME: Final = insert(outcome_table).on_conflict_do_nothing()


class Attempts(Lines):
    """The part of `SqlStore` that remembers for the gate."""

    def save_attempt(self, attempt: Attempt) -> None:
        """Record or update (same key) what was tried; never touches one that has led to a revision."""
        attempt = self._following(border.timed(attempt))
        body = sealed_body(self.db.seals, attempt)
        with self.db.writing(attempt.scope) as cursor:
            line = self._open_line(cursor)
            if attempt.revision is not None:
                row = cursor.row(COMMITTED, try_key=pack_id(attempt.key))
                if row is None or row[0] is None:
                    raise UsageError("an attempt gets its revision from commit", hint="pass the attempt to commit")
                return
            put_attempt(cursor, line, attempt, body)

    def _following(self, attempt: Attempt) -> Attempt:
        """The attempt with the moments at which it was judged before; read before a transaction begins."""
        held = self.attempts(attempt.scope, key=attempt.key, decision="defer")
        return border.following(held[0], attempt) if held else attempt

    def attempts(
        self,
        scope: Scope,
        *,
        key: str | None = None,
        edit_key: str | None = None,
        decision: Decision | None = None,
        limit: int | None = None,
    ) -> list[Attempt]:
        """Attempts of exactly this scope, oldest first, narrowed by what is given; at most the newest `limit`."""
        wanted = {
            "key": None if key is None else pack_id(key),
            "edit_key": None if edit_key is None else pack_id(edit_key),
            "decision": decision,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        values = {f"its_{name}": value for name, value in given.items()}
        most = border.check_limit(limit)
        with self.db.reading(scope) as cursor:
            rows = cursor.rows(_attempts(*given), most=most, **values)
        read = self.db.seals.opened(scope, attempt_table.name, reversed(rows), id=1, body=5)
        return [_attempt(scope, row) for row in read]

    def outcome(self, scope: Scope, key: str) -> Outcome | None:
        """A finished replay, if this scope has one of that key."""
        with self.db.reading(scope) as cursor:
            row = cursor.row(OUTCOME, replay=pack_id(key))
        # One whose key was destroyed is none: the replay is paid for again.
        read = self.db.seals.opened(scope, outcome_table.name, [] if row is None else [(pack_id(key), *row)], body=1)
        return codec.loads(Outcome, read[0][1], key=key) if read else None

    def save_outcome(self, scope: Scope, outcome: Outcome) -> None:
        """Keep a finished replay; the first of a key stays."""
        border.check("outcome", outcome)
        key, text = pack_id(outcome.key), codec.dumps(outcome, skip=frozenset({"key"}))
        body = self.db.seals.seal(scope, outcome_table.name, key, text)
        with self.db.writing(scope) as cursor:
            line = self._open_line(cursor)
            cursor.run(ADD_OUTCOME, branch=line, key=key, body=body)


def sealed_body(seals: Seals, attempt: Attempt) -> Body:
    """What is kept of an attempt beside its columns; made before a transaction begins."""
    text = codec.dumps(attempt, skip=_COLUMNS)
    return seals.seal(attempt.scope, attempt_table.name, pack_id(attempt.key), text)


def put_attempt(cursor: Cursor, line: int, attempt: Attempt, body: Body) -> bool:
    """Insert or replace; False, and nothing done, if an attempt of that key has led to a revision."""
    return bool(
        cursor.run(
            PUT,
            branch=line,
            key=pack_id(attempt.key),
            id=pack_id(attempt.id),
            edit_key=pack_id(attempt.edit_key),
            decision=attempt.verdict.decision,
            revision=None if attempt.revision is None else pack_id(attempt.revision),
            at=pack_time(attempt.at),
            body=body,
        )
    )


def _attempt(scope: Scope, row: Row) -> Attempt:
    id, key, edit_key, revision, at, body = row
    return codec.loads(
        Attempt,
        body,
        scope=scope,
        id=unpack_id(id),
        key=unpack_id(key),
        edit_key=unpack_id(edit_key),
        revision=None if revision is None else unpack_id(revision),
        at=unpack_time(at),
    )
