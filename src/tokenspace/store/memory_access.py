"""The access log in memory; see `access`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tokenspace.domain import Access, Scope
from tokenspace.store import border
from tokenspace.store.codec import EPOCH, pack_id


class MemoryAccess:
    """The part of `MemoryStore` that keeps the access log."""

    def __init__(self) -> None:
        self._accesses: list[Access] = []

    def note_access(self, access: Access) -> None:
        """See `protocols.Admin`."""
        self._accesses.append(border.access(access))

    def accesses(
        self, *, agent: str = "", tenant: str = "", user: str = "", since: datetime = EPOCH, limit: int | None = None
    ) -> list[Access]:
        """See `protocols.Admin`."""
        since = border.to_millisecond(since)
        mine = [one for one in self._accesses if tenant in {"", one.tenant} and user in {"", one.user}]
        mine = [one for one in mine if one.at >= since and (not agent or one.agent in {"", agent})]
        mine.sort(key=lambda one: (one.at, pack_id(one.id)), reverse=True)
        return mine[: border.check_limit(limit)]

    def drop_accesses(self, before: datetime) -> int:
        """See `protocols.Admin`."""
        kept = [one for one in self._accesses if one.at >= border.to_millisecond(before)]
        dropped, self._accesses = len(self._accesses) - len(kept), kept
        return dropped

    def disown_accesses(self, scope: Scope, pseudonym: str) -> int:
        """See `protocols.Admin`."""
        border.check_pseudonym(scope, pseudonym)
        rows = 0
        for number, one in enumerate(self._accesses):
            if one.user == scope.user and one.tenant == scope.tenant and one.agent in {"", scope.agent}:
                principal = pseudonym if one.principal == scope.user else one.principal
                self._accesses[number] = replace(one, user=pseudonym, principal=principal)
                rows += 1
        return rows
