"""What an operator does across scopes: list them, verify the ledger, keep keys and accesses. See also `copying`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.domain import ApiKey, Scope
from tokenspace.errors import CorruptLedger
from tokenspace.store import border
from tokenspace.store.access import AccessRoom
from tokenspace.store.codec import RIGHTS, pack_id, pack_time, unpack_id, unpack_time
from tokenspace.store.database import Row
from tokenspace.store.erase import SqlEraser
from tokenspace.store.schema import api_key, branch
from tokenspace.store.scoped import EVERYWHERE
from tokenspace.store.verify import verify

SCOPES: Final = select(branch.c.agent, branch.c.tenant, branch.c.user).where(branch.c.name == literal_column("''"))

_c = api_key.c
_ALL: Final = select(_c.id, _c.hash, _c.label, _c.tenant, _c.agent, _c.rights, _c.expires, _c.revoked, _c.at)
KEYS: Final = _ALL.order_by(_c.at, _c.id)
KEY: Final = _ALL.where(_c.hash == bindparam("hashed"))
HOLDER: Final = select(_c.id).where(_c.hash == bindparam("hashed"))
_put = insert(api_key)
PUT_KEY: Final = _put.on_conflict_do_update(
    index_elements=[_c.id],
    set_={name: _put.excluded[name] for name in ("label", "rights", "expires")}
    | {"revoked": func.coalesce(_c.revoked, _put.excluded.revoked)},
)


class SqlAdmin(AccessRoom, SqlEraser):
    """Implements `protocols.Admin`."""

    def scopes(self, agent: str | None = None) -> list[Scope]:
        """Every scope that holds anything, sorted; of one agent, or of all."""
        rows = self._db.rows(EVERYWHERE, SCOPES)
        return sorted(
            Scope(agent=name, tenant=tenant, user=user) for name, tenant, user in rows if agent in {None, name}
        )

    def verify(self) -> list[str]:
        """Re-derive the whole ledger; the problems found, in words. Empty: every byte is as it was committed."""
        try:
            with self._db.administering(snapshot=True) as connection:
                return verify(connection)
        except CorruptLedger as error:  # not even readable
            return [str(error)]

    # ── keys ────────────────────────────────────────────────────────────────────────────────

    def keys(self) -> list[ApiKey]:
        """Every virtual key, expired and revoked ones included, oldest first."""
        return [_key(row) for row in self._db.rows(EVERYWHERE, KEYS)]

    def save_key(self, key: ApiKey) -> None:
        """Keep a key, or update the label, rights and ends of the one of its id; a revoked one stays revoked."""
        key, id, hashed = border.key(key), pack_id(key.id), bytes.fromhex(key.hash)
        with self._db.writing(EVERYWHERE) as cursor:
            holder = cursor.row(HOLDER, hashed=hashed)
            if holder is not None and bytes(holder[0]) != id:
                raise border.taken(key)
            cursor.run(
                PUT_KEY,
                id=id,
                hash=hashed,
                label=key.label,
                tenant=key.tenant,
                agent=key.agent,
                rights=sum(1 << bit for bit, right in enumerate(RIGHTS) if right in key.rights),
                expires=None if key.expires is None else pack_time(key.expires),
                revoked=None if key.revoked is None else pack_time(key.revoked),
                at=pack_time(key.at),
            )

    def key_by_hash(self, hash: str) -> ApiKey | None:
        """The key whose secret has this SHA-256, 64 hexadecimal digits."""
        row = self._db.row(EVERYWHERE, KEY, hashed=bytes.fromhex(hash))
        return None if row is None else _key(row)


def _key(row: Row) -> ApiKey:
    id, hashed, label, tenant, agent, rights, expires, revoked, at = row
    return ApiKey(
        id=unpack_id(id),
        hash=hashed.hex(),
        label=label,
        tenant=tenant,
        agent=agent,
        rights=frozenset(right for bit, right in enumerate(RIGHTS) if rights >> bit & 1),
        expires=None if expires is None else unpack_time(expires),
        revoked=None if revoked is None else unpack_time(revoked),
        at=unpack_time(at),
    )
