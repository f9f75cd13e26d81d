"""`SqlStore`: the ledger and its evidence in SQLite or PostgreSQL.

Read `schema` first, then `contexts` (reading), `ledger` (writing) and `database` (where statements run).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial

from tokenspace.store.admin import SqlAdmin
from tokenspace.store.bodies import name_keys, ring
from tokenspace.store.canaries import Canaries
from tokenspace.store.database import Database, Hooks
from tokenspace.store.evidence import EvidenceRoom
from tokenspace.store.gateway import GatewayRoom
from tokenspace.store.keyfiles import KeyFolder
from tokenspace.store.migrate import prepare
from tokenspace.store.sealing import Seals
from tokenspace.store.workroom import SqlWorkroom


class SqlStore(GatewayRoom, EvidenceRoom, Canaries):
    """Implements `protocols.Store`; safe to use from several threads and processes."""

    def __init__(self, hooks: Hooks, *, clock: Callable[[], datetime], keys: KeyFolder | None = None) -> None:
        """`keys` None: nothing that users say is sealed."""
        super().__init__(Database(hooks), clock=clock)
        try:
            prepare(self.db)
            hooks.secure(self.db)
            if keys is not None:
                name_keys(self.db)
                binary = self.db.engine.dialect.name == "sqlite"
                self.db.seals = Seals(keys, partial(ring, self.db), binary=binary)
        except BaseException:
            self.close()
            raise

    @property
    def admin(self) -> SqlAdmin:
        """What an operator may do across scopes."""
        return SqlAdmin(self.db)

    @property
    def workroom(self) -> SqlWorkroom:
        """What the workers of this store share."""
        return SqlWorkroom(self.db)

    def together(self) -> AbstractContextManager[None]:
        """See `protocols.Store`."""
        return self.db.together()

    def close(self) -> None:
        """Release connections; using the store afterwards is an error."""
        self.db.close()
