"""Evidence: episodes, feedback with the cases made from it, and conversations. Kept whole, never rewritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.domain import Case, Episode, Feedback, Heads, Scope, Session
from tokenspace.errors import NotFound
from tokenspace.store import border, codec
from tokenspace.store.codec import pack_id, pack_time, unpack_id, unpack_time
from tokenspace.store.database import Cursor, Row
from tokenspace.store.gateway import NOTE
from tokenspace.store.lines import Lines
from tokenspace.store.schema import attempt, case, episode, feedback, session

T = TypeVar("T", Episode, Feedback, Case)

_COLUMNS: Final = frozenset({"scope", "id", "at"})


class _Kept:
    """The statements of a table of things that are written once: episodes, feedback, cases."""

    def __init__(self, table: Table) -> None:
        c = table.c
        here = c.branch == bindparam("line")
        rows = select(c.id, c.at, c.body)
        self.add = insert(table).on_conflict_do_nothing()
        self.one = rows.where(here, c.id == bindparam("what"))
        self.oldest = rows.where(here).order_by(c.at, c.id)
        self.newest = rows.where(here).order_by(c.at.desc(), c.id.desc()).limit(bindparam("most"))


_EPISODES: Final = _Kept(episode)
_FEEDBACK: Final = _Kept(feedback)
_CASES: Final = _Kept(case)

_THIS_CASE: Final = (case.c.branch == bindparam("line"), case.c.id == bindparam("what"))
REWRITE_CASE: Final = update(case).where(*_THIS_CASE).values(body=bindparam("text"))

TRIED: Final = select(attempt.c.body).where(attempt.c.branch == bindparam("line"))

SESSION: Final = select(session.c.heads, session.c.last_seen).where(
    session.c.branch == bindparam("line"), session.c.id == bindparam("what")
)
_add_session = insert(session)
SAVE_SESSION: Final = _add_session.on_conflict_do_update(
    index_elements=[session.c.branch, session.c.id], set_={"last_seen": _add_session.excluded.last_seen}
)


class EvidenceRoom(Lines):
    """The part of `SqlStore` that keeps evidence."""

    def record(self, episode: Episode) -> None:
        """Keep an episode; raw evidence is never rewritten. Recording the same id again changes nothing."""
        row = _row(border.timed(episode))
        with self.db.writing() as cursor:
            cursor.run(_EPISODES.add, branch=self._open_line(cursor, episode.scope), **row)

    def record_all(self, episodes: Sequence[Episode], *, answers: Mapping[str, str]) -> None:
        """Keep several episodes, of any scopes, in one transaction, as `record` and `note_answer` do one by one.

        `answers` are providers' response ids by the id of their episode.
        """
        rows = [(one.scope, _row(border.timed(one)), answers.get(one.id)) for one in episodes]
        for one in episodes:
            if one.id in answers:
                border.check_answer(one.scope, answers[one.id], one.id)
        with self.db.writing() as cursor:
            for scope, row, answer in rows:
                line = self._open_line(cursor, scope)
                cursor.run(_EPISODES.add, branch=line, **row)
                if answer is not None:
                    cursor.run(NOTE, branch=line, id=pack_id(answer), episode=row["id"])

    def episode(self, scope: Scope, id: str) -> Episode:
        """One episode of exactly this scope."""
        with self.db.reading() as cursor:
            row = cursor.row(_EPISODES.one, line=self._line(cursor, scope), what=pack_id(id))
        if row is None:
            raise NotFound(f"{scope} has no episode {id}", hint="look in the scope that it was recorded in")
        return _read(Episode, scope, row)

    def episodes(self, scope: Scope, *, limit: int | None = None) -> list[Episode]:
        """Episodes of exactly this scope, newest first."""
        most = border.check_limit(limit)
        with self.db.reading() as cursor:
            rows = cursor.rows(_EPISODES.newest, line=self._line(cursor, scope), most=most)
        return [_read(Episode, scope, row) for row in rows]

    def add_feedback(self, feedback: Feedback, case: Case | None) -> None:
        """Keep feedback with the case made from it, in one transaction; the same id again changes nothing."""
        border.check_case(feedback, case)
        said = _row(border.timed(feedback))
        made = None if case is None else _row(border.timed(case))
        with self.db.writing() as cursor:
            line = self._open_line(cursor, feedback.scope)
            if cursor.run(_FEEDBACK.add, branch=line, **said) and made is not None:
                cursor.run(_CASES.add, branch=line, **made)

    def feedback(self, scope: Scope, *, ids: Sequence[str] | None = None) -> list[Feedback]:
        """Feedback of exactly this scope, oldest first."""
        with self.db.reading() as cursor:
            line = self._line(cursor, scope)
            rows = cursor.rows(_FEEDBACK.oldest, line=line) if ids is None else _chosen(cursor, line, ids)
        return [_read(Feedback, scope, row) for row in rows]

    def unseen(self, scope: Scope, *, proposer: str, branch: str = "") -> list[Feedback]:
        """Feedback of exactly this scope, oldest first, that no attempt of a proposer was about.

        Attempts on the served line count, and those on `branch`; those on other branches do not.
        """
        with self.db.reading() as cursor:
            line = self._line(cursor, scope)
            rows = cursor.rows(_FEEDBACK.oldest, line=line)
            # Read after the feedback: so what somebody else tries meanwhile counts.
            tried = [json.loads(body) for (body,) in cursor.rows(TRIED, line=line)] if rows else []
        mine = (one for one in tried if one["proposer"] == proposer and one.get("branch", "") in {"", branch})
        seen = {pack_id(id) for one in mine for id in one.get("evidence", ())}
        return [_read(Feedback, scope, row) for row in rows if row[0] not in seen]

    def cases(self, scope: Scope) -> list[Case]:
        """Cases of exactly this scope, oldest first."""
        with self.db.reading() as cursor:
            rows = cursor.rows(_CASES.oldest, line=self._line(cursor, scope))
        return [_read(Case, scope, row) for row in rows]

    def pin(self, scope: Scope, case: str, *, pinned: bool = True) -> Case:
        """Make a case a regression test that every edit must pass, or no longer; returns it. Raises `NotFound`."""
        with self.db.writing() as cursor:
            line = self._open_line(cursor, scope)
            row = cursor.row(_CASES.one, line=line, what=pack_id(case))
            if row is None:
                raise border.no_case(scope, case)
            changed = replace(_read(Case, scope, row), pinned=pinned)
            cursor.run(REWRITE_CASE, line=line, what=pack_id(case), text=codec.dumps(changed, skip=_COLUMNS))
        return changed

    # ── sessions ────────────────────────────────────────────────────────────────────────────

    def session(self, scope: Scope, id: str) -> Session | None:
        """A conversation of this scope, if it is known."""
        border.check("session", id)
        with self.db.reading() as cursor:
            row = cursor.row(SESSION, line=self._line(cursor, scope), what=pack_id(id))
        if row is None:
            return None
        return Session(id=id, scope=scope, heads=codec.loads(Heads, row[0]), last_seen=unpack_time(row[1]))

    def save_session(self, session: Session) -> None:
        """Keep or update a conversation; its heads are those of the first save."""
        border.check("session", session)
        key, seen = pack_id(session.id), pack_time(session.last_seen)
        with self.db.writing() as cursor:
            line = self._open_line(cursor, session.scope)
            cursor.run(SAVE_SESSION, branch=line, id=key, last_seen=seen, heads=codec.dumps(session.heads))


def _row(value: Episode | Feedback | Case) -> dict[str, Any]:
    return {"id": pack_id(value.id), "at": pack_time(value.at), "body": codec.dumps(value, skip=_COLUMNS)}


def _read(kind: type[T], scope: Scope, row: Row) -> T:
    return codec.loads(kind, row[2], scope=scope, id=unpack_id(row[0]), at=unpack_time(row[1]))


def _chosen(cursor: Cursor, line: int, ids: Sequence[str]) -> list[Row]:
    found = [cursor.row(_FEEDBACK.one, line=line, what=pack_id(id)) for id in dict.fromkeys(ids)]
    return sorted((row for row in found if row is not None), key=lambda row: (row[1], row[0]))
