"""Evidence: episodes, feedback with the cases made from it, and conversations. Kept whole, never rewritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.domain import Attempt, Case, Episode, Feedback, Heads, Scope, Session
from tokenspace.errors import NotFound
from tokenspace.store import border, codec
from tokenspace.store.codec import pack_id, pack_time, unpack_id, unpack_time
from tokenspace.store.database import Cursor, Row
from tokenspace.store.gateway import NOTE
from tokenspace.store.lines import Lines
from tokenspace.store.schema import attempt, case, episode, feedback, session
from tokenspace.store.scoped import own
from tokenspace.store.sealing import Body, Seals

T = TypeVar("T", Episode, Feedback, Case)

_COLUMNS: Final = frozenset({"scope", "id", "at"})
FEW: Final = 30
"""More pieces of feedback than these are found quicker among all than one by one."""


class _Kept:
    """The statements of a table of things that are written once: episodes, feedback, cases."""

    def __init__(self, table: Table) -> None:
        c = table.c
        here = own(table)
        rows = select(c.id, c.at, c.body)
        self.add = insert(table).on_conflict_do_nothing()
        self.one = rows.where(here, c.id == bindparam("what"))
        self.oldest = rows.where(here).order_by(c.at, c.id)
        self.newest = rows.where(here).order_by(c.at.desc(), c.id.desc()).limit(bindparam("most"))


_EPISODES: Final = _Kept(episode)
_FEEDBACK: Final = _Kept(feedback)
_CASES: Final = _Kept(case)

_THIS_CASE: Final = (own(case), case.c.id == bindparam("what"))
REWRITE_CASE: Final = update(case).where(*_THIS_CASE).values(body=bindparam("text"))

TRIED: Final = select(attempt.c.key, attempt.c.body).where(own(attempt))

SESSION: Final = select(session.c.heads, session.c.last_seen).where(own(session), session.c.id == bindparam("what"))
_add_session = insert(session)
SAVE_SESSION: Final = _add_session.on_conflict_do_update(
    index_elements=[session.c.branch, session.c.id], set_={"last_seen": _add_session.excluded.last_seen}
)


class EvidenceRoom(Lines):
    """The part of `SqlStore` that keeps evidence."""

    def record(self, episode: Episode) -> None:
        """Keep an episode; raw evidence is never rewritten. Recording the same id again changes nothing."""
        row = _episode_row(self.db.seals.sealer(episode.scope, _NAMES[Episode]), episode)
        with self.db.writing(episode.scope) as cursor:
            cursor.run(_EPISODES.add, branch=self._open_line(cursor), **row)

    def record_all(self, episodes: Sequence[Episode], *, answers: Mapping[str, str]) -> None:
        """Keep several episodes, of any scopes, in one transaction, as `record` and `note_answer` do one by one.

        `answers` are providers' response ids by the id of their episode.
        """
        seal = {scope: self.db.seals.sealer(scope, episode.name) for scope in {one.scope for one in episodes}}
        rows = [(one.scope, _episode_row(seal[one.scope], one), answers.get(one.id)) for one in episodes]
        for one in episodes:
            if one.id in answers:
                border.check_answer(one.scope, answers[one.id], one.id)
        with self.db.together():
            for scope in dict.fromkeys(scope for scope, _, _ in rows):
                mine = [(row, answer) for whose, row, answer in rows if whose == scope]
                with self.db.writing(scope) as cursor:
                    line = {"branch": self._open_line(cursor)}
                    cursor.many(_EPISODES.add, [{**line, **row} for row, _ in mine])
                    noted = [(pack_id(answer), row["id"]) for row, answer in mine if answer is not None]
                    cursor.many(NOTE, [{**line, "id": answer, "episode": id} for answer, id in noted])

    def episode(self, scope: Scope, id: str) -> Episode:
        """One episode of exactly this scope."""
        with self.db.reading(scope) as cursor:
            row = cursor.row(_EPISODES.one, what=pack_id(id))
        if row is None:
            raise NotFound(f"{scope} has no episode {id}", hint="look in the scope that it was recorded in")
        return _read(self.db.seals, Episode, scope, row)

    def episodes(self, scope: Scope, *, limit: int | None = None) -> list[Episode]:
        """Episodes of exactly this scope, newest first."""
        most = border.check_limit(limit)
        with self.db.reading(scope) as cursor:
            rows = cursor.rows(_EPISODES.newest, most=most)
        return _read_all(self.db.seals, Episode, scope, rows)

    def add_feedback(self, feedback: Feedback, case: Case | None) -> None:
        """Keep feedback with the case made from it, in one transaction; the same id again changes nothing."""
        border.check_case(feedback, case)
        said = _row(self.db.seals, border.timed(feedback))
        made = None if case is None else _row(self.db.seals, border.timed(case))
        with self.db.writing(feedback.scope) as cursor:
            line = self._open_line(cursor)
            if cursor.run(_FEEDBACK.add, branch=line, **said) and made is not None:
                cursor.run(_CASES.add, branch=line, **made)

    def feedback(self, scope: Scope, *, ids: Sequence[str] | None = None) -> list[Feedback]:
        """Feedback of exactly this scope, oldest first."""
        with self.db.reading(scope) as cursor:
            rows = cursor.rows(_FEEDBACK.oldest) if ids is None else _chosen(cursor, ids)
        return _read_all(self.db.seals, Feedback, scope, rows)

    def unseen(self, scope: Scope, *, proposer: str, branch: str = "") -> list[Feedback]:
        """Feedback of exactly this scope, oldest first, that no attempt of a proposer was about.

        Attempts on the served line count, and those on `branch`; those on other branches do not.
        """
        with self.db.reading(scope) as cursor:
            rows = cursor.rows(_FEEDBACK.oldest)
            # Read after the feedback: so what somebody else tries meanwhile counts.
            attempts = cursor.rows(TRIED) if rows else []
        opened = self.db.seals.opened(scope, attempt.name, attempts, body=1)
        tried = (codec.told(Attempt, body) for _, body in opened)
        mine = (one for one in tried if one["proposer"] == proposer and one.get("branch", "") in {"", branch})
        seen = {pack_id(id) for one in mine for id in one.get("evidence", ())}
        return _read_all(self.db.seals, Feedback, scope, [row for row in rows if row[0] not in seen])

    def cases(self, scope: Scope) -> list[Case]:
        """Cases of exactly this scope, oldest first."""
        with self.db.reading(scope) as cursor:
            rows = cursor.rows(_CASES.oldest)
        return _read_all(self.db.seals, Case, scope, rows)

    def pin(self, scope: Scope, case: str, *, pinned: bool = True) -> Case:
        """Make a case a regression test that every edit must pass, or no longer; returns it. Raises `NotFound`."""
        seals = self.db.seals
        seals.ready(scope)
        with self.db.writing(scope) as cursor:
            row = cursor.row(_CASES.one, what=pack_id(case))
            if row is None:
                raise border.no_case(scope, case)
            changed = replace(_read(seals, Case, scope, row), pinned=pinned)
            text = seals.seal(scope, _NAMES[Case], pack_id(case), codec.dumps(changed, skip=_COLUMNS))
            cursor.run(REWRITE_CASE, what=pack_id(case), text=text)
        return changed

    # ── sessions ────────────────────────────────────────────────────────────────────────────

    def session(self, scope: Scope, id: str) -> Session | None:
        """A conversation of this scope, if it is known."""
        border.check("session", id)
        with self.db.reading(scope) as cursor:
            row = cursor.row(SESSION, what=pack_id(id))
        if row is None:
            return None
        return Session(id=id, scope=scope, heads=codec.loads(Heads, row[0]), last_seen=unpack_time(row[1]))

    def save_session(self, session: Session) -> None:
        """Keep or update a conversation; its heads are those of the first save."""
        border.check("session", session)
        key, seen = pack_id(session.id), pack_time(session.last_seen)
        with self.db.writing(session.scope) as cursor:
            line = self._open_line(cursor)
            cursor.run(SAVE_SESSION, branch=line, id=key, last_seen=seen, heads=codec.dumps(session.heads))


_NAMES: Final[dict[type, str]] = {Episode: episode.name, Feedback: feedback.name, Case: case.name}


def _row(seals: Seals, value: Feedback | Case) -> dict[str, Any]:
    id, text = pack_id(value.id), codec.dumps(value, skip=_COLUMNS)
    return {"id": id, "at": pack_time(value.at), "body": seals.seal(value.scope, _NAMES[type(value)], id, text)}


def _episode_row(seal: Callable[[bytes, str], Body], value: Episode) -> dict[str, Any]:
    """Checked: the one kind of row of which there are many a second."""
    body = codec.dumps(value, skip=_COLUMNS)
    border.check_episode(value, body)
    id = pack_id(value.id)
    return {"id": id, "at": pack_time(value.at), "body": seal(id, body)}


def _read(seals: Seals, kind: type[T], scope: Scope, row: Row) -> T:
    id, at, body = row
    return _value(kind, scope, (id, at, seals.unseal(scope, _NAMES[kind], id, body)))


def _read_all(seals: Seals, kind: type[T], scope: Scope, rows: Sequence[Row]) -> list[T]:
    return [_value(kind, scope, row) for row in seals.opened(scope, _NAMES[kind], rows)]


def _value(kind: type[T], scope: Scope, row: Row) -> T:
    return codec.loads(kind, row[2], scope=scope, id=unpack_id(row[0]), at=unpack_time(row[1]))


def _chosen(cursor: Cursor, ids: Sequence[str]) -> list[Row]:
    wanted = {pack_id(id) for id in ids}
    if len(wanted) > FEW:
        return [row for row in cursor.rows(_FEEDBACK.oldest) if bytes(row[0]) in wanted]
    found = [cursor.row(_FEEDBACK.one, what=id) for id in wanted]
    return sorted((row for row in found if row is not None), key=lambda row: (row[1], row[0]))
