"""What workers share beside their queue: checkpoints of jobs, heartbeats, and accounts that many spend from."""

# ruff: noqa: D102 - `protocols.Workroom` says what each method means

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.budget import Reservation
from tokenspace.store.codec import pack_id, unpack_id
from tokenspace.store.database import Database
from tokenspace.store.memory_workroom import check
from tokenspace.store.schema import account, job_step, worker
from tokenspace.store.scoped import EVERYWHERE

_s, _w, _a = job_step.c, worker.c, account.c
STEP: Final = select(_s.result).where(_s.job == bindparam("which"), _s.name == bindparam("what"))
ADD_STEP: Final = insert(job_step).on_conflict_do_nothing()
DROP_STEPS: Final = delete(job_step).where(_s.job >= bindparam("least"), _s.job < bindparam("beyond"))

ENTER: Final = insert(worker).on_conflict_do_nothing()
BEAT: Final = update(worker).where(_w.id == bindparam("who")).values(beats=_w.beats + literal_column("1"))
LEAVE: Final = delete(worker).where(_w.id == bindparam("who"))
BEATS: Final = select(_w.id, _w.beats)

_put = insert(account)
OPEN: Final = _put.on_conflict_do_nothing()
LOCK: Final = (
    update(account).where(_a.name == bindparam("which"), _a.slot == literal_column("-1")).values(calls=_a.calls)
)
CHARGE: Final = _put.on_conflict_do_update(
    index_elements=[_a.name, _a.slot],
    set_={name: account.c[name] + _put.excluded[name] for name in ("calls", "tokens", "usd")},
)
CHARGED: Final = select(
    func.coalesce(func.sum(_a.calls), literal_column("0")),
    func.coalesce(func.sum(_a.tokens), literal_column("0")),
    func.coalesce(func.sum(_a.usd), literal_column("0")),
).where(_a.name == bindparam("which"), _a.slot >= bindparam("since"))
PRUNE: Final = delete(account).where(
    _a.name == bindparam("which"), _a.slot >= literal_column("0"), _a.slot < bindparam("since")
)


class SqlWorkroom:
    """Implements `protocols.Workroom` for SQLite and PostgreSQL; safe to use from several threads and processes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def done(self, job: str, name: str) -> str | None:
        row = self._db.row(EVERYWHERE, STEP, which=job, what=name)
        return None if row is None else row[0]

    def check_off(self, job: str, name: str, result: str = "", *, work: Callable[[], None] | None = None) -> bool:
        with self._db.together(), self._db.writing(EVERYWHERE) as cursor:
            first = cursor.run(ADD_STEP, job=job, name=name, result=result) == 1
            if first and work is not None:
                work()
            return first

    def drop_steps(self, prefix: str) -> int:
        with self._db.writing(EVERYWHERE) as cursor:
            return cursor.run(DROP_STEPS, least=prefix, beyond=_beyond(prefix))

    def enter(self, worker: str) -> None:
        with self._db.writing(EVERYWHERE) as cursor:
            cursor.run(ENTER, id=pack_id(worker), beats=0)

    def beat(self, worker: str) -> bool:
        with self._db.writing(EVERYWHERE) as cursor:
            return cursor.run(BEAT, who=pack_id(worker)) == 1

    def leave(self, worker: str) -> None:
        with self._db.writing(EVERYWHERE) as cursor:
            cursor.run(LEAVE, who=pack_id(worker))

    def beats(self) -> Mapping[str, int]:
        return {unpack_id(id): beats for id, beats in self._db.rows(EVERYWHERE, BEATS)}

    def take(self, account: str, asked: Reservation, *, slot: int, since: int, limits: Mapping[str, float]) -> None:
        with self._db.writing(EVERYWHERE) as cursor:
            cursor.run(OPEN, name=account, slot=-1, calls=0, tokens=0, usd=0.0)
            cursor.run(LOCK, which=account)  # on PostgreSQL, others wait here until this transaction ends
            row = cursor.row(CHARGED, which=account, since=since) or (0, 0, 0.0)
            check(Reservation(calls=int(row[0]), tokens=int(row[1]), usd=float(row[2])), asked, limits)
            cursor.run(PRUNE, which=account, since=since)
            cursor.run(CHARGE, name=account, slot=slot, calls=asked.calls, tokens=asked.tokens, usd=asked.usd)

    def give(self, account: str, unused: Reservation, *, slot: int) -> None:
        with self._db.writing(EVERYWHERE) as cursor:
            cursor.run(CHARGE, name=account, slot=slot, calls=-unused.calls, tokens=-unused.tokens, usd=-unused.usd)

    def charged(self, account: str, *, since: int) -> Reservation:
        row = self._db.row(EVERYWHERE, CHARGED, which=account, since=since) or (0, 0, 0.0)
        return Reservation(calls=int(row[0]), tokens=int(row[1]), usd=float(row[2]))


def _beyond(prefix: str) -> str:
    """The least text that is greater than every text with this prefix, which must not be empty."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
