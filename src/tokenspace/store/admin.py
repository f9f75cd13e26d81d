"""What an operator does across scopes: list them, verify the ledger. Copying is in `copying`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import literal_column, select

from tokenspace.domain import Scope
from tokenspace.errors import CorruptLedger
from tokenspace.store.database import Database
from tokenspace.store.schema import branch
from tokenspace.store.verify import verify

SCOPES: Final = select(branch.c.agent, branch.c.tenant, branch.c.user).where(branch.c.name == literal_column("''"))


class SqlAdmin:
    """Implements `protocols.Admin`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def scopes(self, agent: str | None = None) -> list[Scope]:
        """Every scope that holds anything, sorted; of one agent, or of all."""
        rows = self._db.rows(SCOPES)
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
