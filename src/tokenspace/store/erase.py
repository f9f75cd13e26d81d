"""Physical erasure: rows go, revisions keep their ids and lose their texts, a history is replaced; then the files.

Whatever one erasure changes is one transaction, so a process that is killed leaves all of it or nothing. A row of the
journal is written before it and says, in ids, what is to go: so it is finished by whoever comes next. An erased
revision keeps its place in the chain by its commitment, which without its salt says nothing about the text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, func, insert, literal, select, update
from sqlalchemy import case as when

from tokenspace.domain import Scope, digest, new_id
from tokenspace.domain.erasure import ERASED, Cut, Lineage, Pending, Rebuilt, Subject, reason_left
from tokenspace.store import codec, steady
from tokenspace.store.codec import BASES, Effect, pack_id, pack_time, split_ids, unpack_id, unpack_time
from tokenspace.store.database import Database
from tokenspace.store.lineage import Contains, lines_of, read_lineage, served_line
from tokenspace.store.rebuild import count_erasure, rebuild
from tokenspace.store.schema import (
    account,
    answer_id,
    attempt,
    branch,
    canary,
    case,
    entry,
    episode,
    erasure,
    feedback,
    head,
    injection,
    job_step,
    name,
    outcome,
    provenance,
    reading,
    revision,
    session,
    tomb,
    vector,
)
from tokenspace.store.sealing import Seals
from tokenspace.store.verify import MARK_ERASED, MARK_WITHDRAWN

_ROWS: Final = {
    "episode": (episode, "id"), "feedback": (feedback, "id"), "case": (case, "id"), "attempt": (attempt, "key"),
    "outcome": (outcome, "key"), "answer": (answer_id, "id"), "session": (session, "id"),
}  # fmt: skip
_OF_A_LINE: Final = (
    reading, canary, injection, answer_id, outcome, attempt, case, feedback, episode, session, provenance, vector,
    tomb, entry, revision, head,
)  # fmt: skip
"""In an order in which nothing points at what is gone."""


class _DryRun(Exception):
    """Carries nothing out of a transaction."""


class SqlEraser:
    """The part of `SqlAdmin` that forgets."""

    _db: Database

    def lineage(self, scope: Scope, *, contains: Contains | None = None) -> Lineage:
        """What hangs on what in a scope, by ids; with `contains`, the records whose texts it is true of are named."""
        with self._db.administering(snapshot=True) as connection:
            return read_lineage(connection, self._db.seals, scope, contains)

    def erase(
        self,
        cuts: Sequence[Cut],
        *,
        rebuilt: Sequence[Rebuilt] = (),
        journal: str = "",
        ids: Mapping[str, Iterable[str]] | None = None,
        seen: Mapping[Scope, Lineage] | None = None,
        dry_run: bool = False,
    ) -> Mapping[str, int]:
        """Erase in one transaction, and note in the journal that it was done; returns the rows changed, by table.

        With `dry_run` everything is done and taken back. What somebody else has finished meanwhile is not done again.
        Raises `StaleHead`, having done nothing, where something that `seen` does not tell of hangs on what would go.
        """
        counts: Counter[str] = Counter()
        try:
            with self._db.administering() as connection:
                done = None if dry_run or not journal else _done_before(connection, pack_id(journal))
                if done is not None:
                    return done
                for cut in cuts:  # first: whoever writes there now is waited for, and refused afterwards
                    count_erasure(connection, lines_of(connection, cut.scope))
                steady.overtaken(cuts, rebuilt, seen or {}, lambda scope: self._now(connection, scope, seen or {}))
                for cut in cuts:
                    _Scissors(connection, self._db.seals, cut.scope, counts).cut(cut)
                for one in rebuilt:
                    rebuild(connection, self._db.seals, one, counts)
                _drop_names(connection)
                if dry_run:
                    raise _DryRun  # noqa: TRY301 - it is what rolls back
                if journal:
                    _note_done(connection, pack_id(journal), counts, ids)
        except _DryRun:
            pass
        codec.forget()
        return dict(counts)

    def _now(self, connection: Connection, scope: Scope, seen: Mapping[Scope, Lineage]) -> Lineage:
        """A scope's lineage as it stands, read anew only where rows have come to it."""
        lines, known = lines_of(connection, scope), seen[scope]
        line = served_line(lines)
        made = connection.execute(select(revision.c.uid).where(revision.c.branch.in_([*lines])))
        said = connection.execute(select(feedback.c.id).where(feedback.c.branch == line))
        tried = connection.execute(select(attempt.c.key, attempt.c.at).where(attempt.c.branch == line))
        same = (
            {unpack_id(id) for (id,) in made} <= {one.id for one in known.written}
            and {unpack_id(id) for (id,) in said} <= known.feedback.keys()
            and {(unpack_id(key), unpack_time(at)) for key, at in tried} <= {(one.key, one.at) for one in known.tried}
        )
        return known if same else read_lineage(connection, self._db.seals, scope)

    # ── the journal ─────────────────────────────────────────────────────────────────────────

    def begin_erasure(self, subject: Subject, *, exact: bool, at: datetime) -> str:
        """Note what is to be erased, in ids, before it is; returns the id of the erasure."""
        id = new_id()
        roots = [
            [scope.agent, scope.tenant, scope.user, {kind: sorted(ids) for kind, ids in kinds.items()}]
            for scope, kinds in subject.roots.items()
        ]
        scope = subject.scope
        told = {"kind": subject.kind, "scope": [scope.agent, scope.tenant, scope.user], "roots": roots, "exact": exact}
        told |= {"erased": False, "tenant": subject.tenant}
        told["key"] = self._db.seals.key_id(scope) if subject.kind == "user" else ""
        row = {"id": pack_id(id), "at": pack_time(at), "finished": None, "plan": json.dumps(told), "receipt": ""}
        with self._db.administering() as connection:
            connection.execute(insert(erasure), row)
        return id

    def pending_erasures(self) -> list[Pending]:
        """Erasures that were begun and not ended, oldest first."""
        c = erasure.c
        query = select(c.id, c.plan).where(c.finished.is_(None)).order_by(c.at, c.id)
        with self._db.administering(snapshot=True) as connection:
            return [_pending(bytes(id), plan) for id, plan in connection.execute(query)]

    def end_erasure(self, id: str, *, at: datetime, receipt: str = "") -> None:
        """Note that nothing of an erasure is left to do; its ids go from the journal, and its receipt is kept."""
        row = update(erasure).where(erasure.c.id == pack_id(id), erasure.c.finished.is_(None))
        with self._db.administering() as connection:
            connection.execute(row.values(finished=pack_time(at), plan="", receipt=receipt))
        self._db.hooks.scrub(self._db, tables=[erasure.name])  # the plan named the scope

    def destroy_key(self, scope: Scope, *, only: str = "") -> str | None:
        """Destroy the key that a user's bodies are sealed with, which covers backups; its id, None for none."""
        return self._db.seals.destroy(scope, only=only)

    def erased(self) -> list[tuple[str, str]]:
        """The revisions whose texts were erased, oldest first: whose they are, and their ids."""
        c = revision.c
        query = select(branch.c.agent, branch.c.tenant, branch.c.user, c.uid).join_from(revision, branch)
        with self._db.administering(snapshot=True) as connection:
            rows = connection.execute(query.where(c.mark == MARK_ERASED).order_by(c.at, c.uid))
            return [("/".join(filter(None, row[:3])), unpack_id(row[3])) for row in rows]

    def scrub(self) -> str:
        """Overwrite what deleted rows leave in the database's files; returns what was done, in words.

        Raises `StoreUnavailable` where somebody reads for so long that it cannot be finished: then try again.
        """
        return self._db.hooks.scrub(self._db)


def _pending(id: bytes, plan: str) -> Pending:
    body = json.loads(plan)
    roots = {
        Scope(agent=agent, tenant=tenant, user=user): {kind: frozenset(ids) for kind, ids in kinds.items()}
        for agent, tenant, user, kinds in body["roots"]
    }
    agent, tenant, user = body["scope"]
    scope = Scope(agent=agent, tenant=tenant, user=user)
    return Pending(
        id=unpack_id(id), exact=body["exact"], erased=body["erased"], rows=body.get("rows", {}), key=body["key"],
        subject=Subject(kind=body["kind"], scope=scope, roots=roots, tenant=body["tenant"]),
        ids={table: frozenset(ids) for table, ids in body.get("ids", {}).items()},
    )  # fmt: skip


def _done_before(connection: Connection, id: bytes) -> dict[str, int] | None:
    """What went when somebody else did this; None if nobody has. Whoever asks next waits for this transaction."""
    row = select(erasure.c.plan).where(erasure.c.id == id).with_for_update()
    plan = connection.execute(row).scalar_one()
    if not plan:
        return {}
    told: dict[str, Any] = json.loads(plan)
    return dict(told.get("rows", {})) if told["erased"] else None


def _note_done(
    connection: Connection, id: bytes, rows: Mapping[str, int], ids: Mapping[str, Iterable[str]] | None
) -> None:
    """In the transaction that erases: from here on only the files are to be scrubbed."""
    plan = connection.execute(select(erasure.c.plan).where(erasure.c.id == id)).scalar_one()
    gone = {table: sorted(some) for table, some in (ids or {}).items()}
    done = json.dumps({**json.loads(plan), "erased": True, "rows": dict(rows), "ids": gone})
    connection.execute(update(erasure).where(erasure.c.id == id).values(plan=done))


def _drop_names(connection: Connection) -> None:
    """Authors that no revision names any more. The last number stays, under a word that says nothing.

    So no number comes again: who remembers whose it was would take one for another.
    """
    used = select(revision.c.author).union(select(revision.c.gate)).scalar_subquery()
    last = connection.execute(select(func.max(name.c.id))).scalar()
    connection.execute(delete(name).where(name.c.id.not_in(used), name.c.id != last))
    connection.execute(update(name).where(name.c.id.not_in(used)).values(text=new_id()))


class _Scissors:
    """Cuts in one scope, and counts."""

    def __init__(self, connection: Connection, seals: Seals, scope: Scope, counts: Counter[str]) -> None:
        self._connection = connection
        self._seals = seals
        self._scope = scope
        self._counts = counts
        self._lines = lines_of(connection, scope)
        self._line = served_line(self._lines)

    def cut(self, cut: Cut) -> None:
        """Let it go."""
        if cut.whole:
            self._whole()
            return
        self._gone(cut)
        if cut.blank:
            self._blank([pack_id(id) for id in sorted(cut.blank)])
            self._stop_canaries(cut.blank)
        for id in sorted(cut.gone.get("canary", ())):
            self._unsay(id)
        if cut.tainted:
            for table in (outcome, injection):
                self._delete(table, table.c.branch == self._line)
        if cut.withdrawn:
            self._many(_WITHDRAW, self._reasons_left(cut.withdrawn))
        for key in sorted(cut.withdrawn_attempts):
            self._withdraw(key)

    def _whole(self) -> None:
        """All rows of all lines, what was charged to the scope, and the checkpoints of its jobs."""
        for table in _OF_A_LINE:
            self._delete(table, table.c.branch.in_(self._lines))
        for line in sorted(self._lines, reverse=True):
            self._end_line(line)
        self._delete(account, account.c.name == f"hour/{self._scope}")  # see `working.hourly`
        self._delete(job_step, job_step.c.job.startswith(f"{digest(str(self._scope))}-"))  # see `jobs.steps.prefix_of`

    def _end_line(self, line: int) -> None:
        """A line goes, but its number never comes again: who remembers what it held would take another for it."""
        last = self._connection.execute(select(func.max(branch.c.id))).scalar()
        if line != last:
            self._delete(branch, branch.c.id == line)
            return
        nobody = {"agent": ERASED, "tenant": "", "user": "", "name": ERASED, "dropped": line, "parent": None, "fork": 0}
        self._connection.execute(update(branch).where(branch.c.id == line).values(**nobody))
        self._connection.execute(insert(head), {"branch": line, "seq": 0})
        self._counts["branch"] += 1

    def _gone(self, cut: Cut) -> None:
        for kind, (table, column) in _ROWS.items():
            row = delete(table).where(table.c.branch == self._line, table.c[column] == bindparam("what"))
            self._many(row, [{"what": pack_id(id)} for id in sorted(cut.gone.get(kind, ()))], counted=table.name)
        if heard := sorted(cut.gone.get("reading", ())):
            row = delete(reading).where(reading.c.branch == self._line, reading.c.episode == bindparam("what"))
            self._many(row, [{"what": pack_id(id)} for id in heard], counted="reading")
            self._renumber()

    def _renumber(self) -> None:
        """Readings are numbered 1, 2, 3 …: what is left closes up."""
        c, seen = reading.c, Counter[bytes]()
        rows = self._connection.execute(select(c.canary, c.seq).where(c.branch == self._line).order_by(c.canary, c.seq))
        for id, seq in rows.fetchall():
            seen[id] += 1
            if seq != seen[id]:
                row = (c.branch == self._line, c.canary == id, c.seq == seq)
                self._connection.execute(update(reading).where(*row).values(seq=seen[id]))

    def _blank(self, uids: Sequence[bytes]) -> None:
        c = revision.c
        found, sources, wanted = list[dict[str, Any]](), list[dict[str, Any]](), frozenset(uids)
        for line, seq, uid, evidence, read in self._connection.execute(
            select(c.branch, c.seq, c.uid, c.evidence, c.read).where(c.branch.in_(self._lines))
        ):
            if bytes(uid) not in wanted:
                continue
            found.append({"its_line": line, "its_seq": seq})
            cited = {(id, role) for role, ids in enumerate((evidence, read)) for id in split_ids(ids)}
            sources += [{"its_line": line, "its_seq": seq, "what": id, "its_role": role} for id, role in cited]
        self._many(_BURY, found, counted="")
        for table in (entry, vector):
            self._many(_of_revision(table), found, counted=table.name)
        self._many(_UNCITE, sources, counted="provenance")
        nobody = self._name(ERASED)
        self._many(_BLANK, [{**one, "nobody": nobody} for one in found], counted="revision")

    def _name(self, word: str) -> int:
        known = self._connection.execute(select(name.c.id).where(name.c.text == word)).scalar()
        if known is None:
            self._connection.execute(insert(name).values(text=word))
            known = self._connection.execute(select(name.c.id).where(name.c.text == word)).scalar_one()
        return known

    def _stop_canaries(self, blank: Iterable[str]) -> None:
        """A canary whose revision was erased has nothing to show any more."""
        c, gone = canary.c, {pack_id(id) for id in blank}
        rows = self._connection.execute(
            select(c.id, c.revision, c.promoted, c.body).where(c.branch == self._line)
        ).fetchall()
        for id, made, promoted, text in rows:
            if not {made, promoted} & gone:
                continue
            body = json.loads(text)
            if body.get("state", "trial") in ("trial", "served"):
                body |= {"state": "stopped", "share": 0.0}
                line = (branch.c.id.in_(self._lines), branch.c.name == body["branch"], branch.c.dropped == 0)
                self._connection.execute(update(branch).where(*line).values(dropped=branch.c.id))
            body["reason"] = ERASED
            row = update(canary).where(c.branch == self._line, c.id == id)
            self._connection.execute(row.values(live=0, body=json.dumps(body, ensure_ascii=False)))
            self._counts["canary"] += 1

    def _unsay(self, id: str) -> None:
        """What a canary's reason says goes; the canary goes on, or stays ended."""
        row = (canary.c.branch == self._line, canary.c.id == pack_id(id))
        text = self._connection.execute(select(canary.c.body).where(*row)).scalar()
        if text is not None:
            body = json.dumps({**json.loads(text), "reason": ERASED}, ensure_ascii=False)
            self._connection.execute(update(canary).where(*row).values(body=body))
            self._counts["canary"] += 1

    def _reasons_left(self, withdrawn: Iterable[str]) -> list[dict[str, Any]]:
        c, wanted = revision.c, {pack_id(id) for id in withdrawn}
        if not wanted:
            return []
        rows: Any = self._connection.execute(select(c.uid, c.reason, c.basis).where(c.branch.in_(self._lines)))
        return [
            {"what": uid, "left": reason_left(reason, basis=BASES[int(basis)])}
            for uid, reason, basis in rows.fetchall()
            if bytes(uid) in wanted
        ]

    def _withdraw(self, key: str) -> None:
        c = attempt.c
        row = (c.branch == self._line, c.key == pack_id(key))
        text = self._connection.execute(select(c.body).where(*row)).scalar()
        if text is None:
            return
        body: dict[str, Any] = json.loads(self._seals.unseal(self._scope, attempt.name, pack_id(key), text))
        verdict: dict[str, Any] = body.setdefault("verdict", {})
        left = reason_left(str(verdict.get("reason", "")), basis=str(verdict.get("basis", _UNSAID)))
        verdict |= {"withdrawn": True, "reason": left}
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        sealed = self._seals.seal(self._scope, attempt.name, pack_id(key), text)
        self._connection.execute(update(attempt).where(*row).values(body=sealed))

    def _delete(self, table: Table, *where: ColumnElement[bool]) -> None:
        self._counts[table.name] += self._connection.execute(delete(table).where(*where)).rowcount

    def _many(self, statement: Any, rows: Sequence[Mapping[str, Any]], *, counted: str = "") -> None:
        if rows:
            done = self._connection.execute(statement, rows)
            if counted:
                self._counts[counted] += done.rowcount


def _of_revision(table: Table) -> Any:
    return delete(table).where(table.c.branch == bindparam("its_line"), table.c.born == bindparam("its_seq"))


_BURY: Final = insert(tomb).from_select(
    ["branch", "born", "id", "died", "effect"],
    select(entry.c.branch, entry.c.born, entry.c.id, entry.c.died, literal(int(Effect.ERASED))).where(
        entry.c.branch == bindparam("its_line"), entry.c.born == bindparam("its_seq")
    ),
)
_UNSAID: Final = "policy"
"""The basis of a verdict that names none: codec leaves defaults out."""
_WITHDRAW: Final = (
    update(revision)
    .where(revision.c.uid == bindparam("what"), revision.c.mark.is_(None))
    .values(mark=MARK_WITHDRAWN, reason=bindparam("left"))
)
_UNCITE: Final = delete(provenance).where(
    provenance.c.branch == bindparam("its_line"), provenance.c.source == bindparam("what"),
    provenance.c.seq == bindparam("its_seq"), provenance.c.role == bindparam("its_role"),
)  # fmt: skip
_BLANK: Final = (
    update(revision)
    .where(revision.c.branch == bindparam("its_line"), revision.c.seq == bindparam("its_seq"))
    .values(
        reason="", numbers="{}", cases=b"", message=ERASED, evidence=b"", read=b"", salt=b"", mark=MARK_ERASED,
        author=when(
            (revision.c.basis == BASES.index("human"), bindparam("nobody", type_=revision.c.author.type)),
            else_=revision.c.author,
        ),
    )
)  # fmt: skip
"""A person's name goes with what they wrote; a proposer's stays."""
