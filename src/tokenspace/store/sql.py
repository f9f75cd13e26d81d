"""`SqlStore`: the ledger and its evidence in SQLite or PostgreSQL.

Read `schema` first, then `contexts` (reading), `ledger` (writing) and `database` (where statements run).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tokenspace.store.admin import SqlAdmin
from tokenspace.store.canaries import Canaries
from tokenspace.store.database import Database, Hooks
from tokenspace.store.evidence import EvidenceRoom
from tokenspace.store.gateway import GatewayRoom
from tokenspace.store.migrate import prepare


class SqlStore(GatewayRoom, EvidenceRoom, Canaries):
    """Implements `protocols.Store`; safe to use from several threads and processes."""

    def __init__(self, hooks: Hooks, *, clock: Callable[[], datetime]) -> None:
        super().__init__(Database(hooks), clock=clock)
        try:
            prepare(self.db)
        except BaseException:
            self.close()
            raise

    @property
    def admin(self) -> SqlAdmin:
        """What an operator may do across scopes."""
        return SqlAdmin(self.db)

    def close(self) -> None:
        """Release connections; using the store afterwards is an error."""
        self.db.close()
