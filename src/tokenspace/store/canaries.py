"""Canaries: accepted edits under watch, and how the episodes ended that each of them is watched by."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.domain import Canary, Reading, Scope
from tokenspace.store import border, codec
from tokenspace.store.codec import pack_id, pack_time, unpack_id, unpack_time
from tokenspace.store.database import Row
from tokenspace.store.lines import Lines
from tokenspace.store.schema import LIVE, branch
from tokenspace.store.schema import canary as canary_table
from tokenspace.store.schema import reading as reading_table
from tokenspace.store.scoped import VISIBLE, own

_COLUMNS: Final = frozenset({"scope", "id", "at", "revision", "promoted"})

_c, _r = canary_table.c, reading_table.c
_put = insert(canary_table)
PUT: Final = _put.on_conflict_do_update(
    index_elements=[_c.branch, _c.id],
    set_={name: _put.excluded[name] for name in ("at", "live", "revision", "promoted", "body")},
    where=LIVE,
)


@cache
def _canaries(*, ended: bool) -> Select[*tuple[Any, ...]]:
    """Canaries of all visible layers, oldest first."""
    found = (
        select(branch.c.tenant, branch.c.user, _c.id, _c.at, _c.revision, _c.promoted, _c.body)
        .join_from(branch, canary_table, _c.branch == branch.c.id)
        .where(VISIBLE)
        .order_by(_c.at, _c.id, branch.c.tenant, branch.c.user)
    )
    return found if ended else found.where(LIVE)


# The lock makes readings of one canary queue, so that each is numbered after those that came before it.
LOCK: Final = select(_c.branch).where(own(canary_table), _c.id == bindparam("what")).with_for_update(of=canary_table)
_OF_ONE = (own(reading_table), _r.canary == bindparam("what"))
ADD: Final = (
    insert(reading_table)
    .from_select(
        ["branch", "canary", "seq", "episode", "treated", "score", "at"],
        select(
            bindparam("line", type_=_r.branch.type),
            bindparam("what", type_=_r.canary.type),
            func.coalesce(func.max(_r.seq), literal_column("0")) + literal_column("1"),
            bindparam("its_episode", type_=_r.episode.type),
            bindparam("its_arm", type_=_r.treated.type),
            bindparam("its_score", type_=_r.score.type),
            bindparam("its_at", type_=_r.at.type),
        ).where(*_OF_ONE),
    )
    .on_conflict_do_nothing()
)
READINGS: Final = select(_r.episode, _r.treated, _r.score, _r.at).where(*_OF_ONE).order_by(_r.seq)


class Canaries(Lines):
    """The part of `SqlStore` that keeps canaries. They hang on the served line of the layer that they change."""

    def canaries(self, scope: Scope, *, ended: bool = False) -> list[Canary]:
        """The live canaries of every layer that is visible in this scope, oldest first; with `ended`, all of them."""
        layers = {(layer.tenant, layer.user): layer for layer in scope.layers}
        rows = self.db.rows(scope, _canaries(ended=ended))
        return [_canary(layers[tenant, user], row) for tenant, user, *row in rows]

    def save_canary(self, canary: Canary) -> None:
        """Keep or update a canary of its scope; one that has ended (kept, stopped) stays as it is."""
        canary = border.timed(canary)
        with self.db.writing(canary.scope) as cursor:
            cursor.run(
                PUT,
                branch=self._open_line(cursor),
                id=pack_id(canary.id),
                at=pack_time(canary.at),
                live=int(canary.live),
                revision=pack_id(canary.revision),
                promoted=None if canary.promoted is None else pack_id(canary.promoted),
                body=codec.dumps(canary, skip=_COLUMNS),
            )

    def add_reading(self, canary: Canary, reading: Reading) -> None:
        """Keep how an episode ended under a canary; the first of an episode stays."""
        reading, what = border.scored(reading), pack_id(canary.id)
        with self.db.writing(canary.scope) as cursor:
            row = cursor.row(LOCK, what=what)
            if row is None:
                raise border.no_canary(canary)
            cursor.run(
                ADD,
                line=row[0],
                what=what,
                its_episode=pack_id(reading.episode),
                its_arm=int(reading.treated),
                its_score=reading.score,
                its_at=pack_time(reading.at),
            )

    def readings(self, canary: Canary) -> list[Reading]:
        """All readings of a canary in the order in which they came."""
        rows = self.db.rows(canary.scope, READINGS, what=pack_id(canary.id))
        return [
            Reading(episode=unpack_id(episode), treated=bool(treated), score=score, at=unpack_time(at))
            for episode, treated, score, at in rows
        ]


def _canary(layer: Scope, row: Row | list[Any]) -> Canary:
    id, at, revision, promoted, body = row
    return codec.loads(
        Canary,
        body,
        scope=layer,
        id=unpack_id(id),
        at=unpack_time(at),
        revision=unpack_id(revision),
        promoted=None if promoted is None else unpack_id(promoted),
    )
