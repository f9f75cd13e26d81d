"""What the gateway keeps of a scope: providers' response ids, and what was injected where in a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.domain import Scope
from tokenspace.store import border
from tokenspace.store.codec import pack_id, pack_time, unpack_id
from tokenspace.store.database import Row
from tokenspace.store.ledger import Ledger
from tokenspace.store.schema import answer_id, injection
from tokenspace.store.scoped import own

MANY: Final = 256
"""At most so many places are asked for in one statement."""

NOTE: Final = insert(answer_id).on_conflict_do_nothing()
NOTED: Final = select(answer_id.c.episode).where(own(answer_id), answer_id.c.id == bindparam("what"))
_save = insert(injection)
SAVE: Final = _save.on_conflict_do_update(
    index_elements=[injection.c.branch, injection.c.chain], set_={"at": _save.excluded.at}
)
DROP: Final = delete(injection).where(own(injection), injection.c.at < bindparam("before"))


@cache
def _at_places(count: int) -> Select[*tuple[Any, ...]]:
    places = [bindparam(f"place{number}", type_=injection.c.chain.type) for number in range(count)]
    return select(injection.c.chain, injection.c.body).where(own(injection), injection.c.chain.in_(places))


class GatewayRoom(Ledger):
    """The part of `SqlStore` that the gateway needs; on the ledger, whose clock it shares."""

    def note_answer(self, scope: Scope, answer: str, episode: str) -> None:
        """Keep which episode a provider's response id belongs to; the first of an id stays."""
        border.check_answer(scope, answer, episode)
        with self.db.writing(scope) as cursor:
            cursor.run(NOTE, branch=self._open_line(cursor), id=pack_id(answer), episode=pack_id(episode))

    def episode_of(self, scope: Scope, answer: str) -> str | None:
        """The episode of a provider's response id, if exactly this scope has noted it."""
        with self.db.reading(scope) as cursor:
            row = cursor.row(NOTED, what=pack_id(answer))
        return None if row is None else unpack_id(row[0])

    def anchors(self, scope: Scope, chains: Sequence[str]) -> Mapping[str, str]:
        """What was injected at these places of conversations of exactly this scope, by the digest of the place."""
        wanted = {pack_id(chain): chain for chain in chains}
        packed, rows = list(wanted), list[Row]()
        with self.db.reading(scope) as cursor:
            for start in range(0, len(packed), MANY):
                some = packed[start : start + MANY]
                # Statements for 1, 2, 4, 8 … places: few enough to be compiled once for all.
                size = 1 << (len(some) - 1).bit_length()
                values = {f"place{number}": some[min(number, len(some) - 1)] for number in range(size)}
                rows += cursor.rows(_at_places(size), **values)
        read = self.db.seals.opened(scope, injection.name, rows, body=1)
        return {wanted[bytes(place)]: body for place, body in read}

    def save_anchor(self, scope: Scope, chain: str, body: str) -> None:
        """Keep what was injected at a place; the first body stays, and saving it again says that it is in use."""
        border.check("anchor", [chain, body])
        at, place = pack_time(self._clock()), pack_id(chain)
        kept = self.db.seals.seal(scope, injection.name, place, body)
        with self.db.writing(scope) as cursor:
            cursor.run(SAVE, branch=self._open_line(cursor), chain=place, at=at, body=kept)

    def drop_anchors(self, scope: Scope, before: datetime) -> int:
        """Forget what was injected and not saved again since a time; returns how many."""
        border.check("time", before)
        with self.db.writing(scope) as cursor:
            return cursor.run(DROP, before=pack_time(before))
