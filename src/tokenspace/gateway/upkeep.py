"""What a gateway does beside its requests, soon after it is ready and then every hour.

Recall is loaded before anybody waits for it, if there is anything to recall; what was injected into conversations that
are over is forgotten; and, more often, free memory is given back to the system.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Protocol

from tokenspace.context import recallable
from tokenspace.domain import Access, Scope
from tokenspace.gateway.background import LOG
from tokenspace.gateway.resident import give_back
from tokenspace.protocols import Admin, Store

AFTER_S: Final = 0.25
"""Being ready, and the first requests, come first."""
EVERY_S: Final = 3_600.0
GIVE_BACK_S: Final = 5.0
BUSY_S: Final = 0.1
"""Free memory is given back so often, if this much CPU time was used since."""
MAX_LOOKED_AT: Final = 200
"""In so many scopes is looked whether anything is to be recalled; in a store of more, the first request that needs
recall loads it."""


class Kept(Store, Protocol):
    """A store that an operator has."""

    @property
    def admin(self) -> Admin:
        """What goes across scopes."""
        ...


class Upkeep:
    """Implements `app.Service`.

    `warm` loads recall without blocking; anchors that nobody used for `keep_anchors_s` are forgotten, and what the
    access log has from before `keep_access_s`.

    Whatever fails is tried again an hour later.
    """

    def __init__(
        self,
        store: Kept,
        *,
        warm: Callable[[], object],
        keep_anchors_s: float,
        keep_access_s: float = 34_560_000.0,
        clock: Callable[[], datetime],
        after_s: float = AFTER_S,
        every_s: float = EVERY_S,
    ) -> None:
        self._store, self._warm, self._clock = store, warm, clock
        self._keep_access_s = keep_access_s
        self._keep_s, self._after_s, self._every_s = keep_anchors_s, after_s, every_s
        self._ended = threading.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin later; nothing waits for it."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; a question to the store that is under way ends by itself."""
        self._ended.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        await asyncio.sleep(self._after_s)
        await asyncio.to_thread(self._guarded, self._warm_where_needed)
        due = 0.0
        worked_s = time.process_time()
        while True:
            if time.monotonic() >= due:
                await asyncio.to_thread(self._guarded, self.forget)
                await asyncio.to_thread(self._guarded, self.shorten)
                due = time.monotonic() + self._every_s
            await asyncio.sleep(min(GIVE_BACK_S, self._every_s))
            if time.process_time() - worked_s > BUSY_S:
                await asyncio.to_thread(give_back)
                worked_s = time.process_time()

    @staticmethod
    def _guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 (top-level handler: nothing of this is worth a request)
            LOG.warning("upkeep is put off: %s", error)

    def _warm_where_needed(self) -> None:
        # Where there are rules and instructions only, recall would cost memory and be of no use.
        if any(self._recalls(scope) for scope in islice(self._scopes(), MAX_LOOKED_AT)):
            self._warm()

    def _recalls(self, scope: Scope) -> bool:
        return not self._ended.is_set() and bool(recallable(self._store.context(scope, self._store.heads(scope))))

    def forget(self) -> int:
        """Forget the anchors of all scopes that nobody used for long; returns how many. Blocks."""
        before = self._clock() - timedelta(seconds=self._keep_s)
        return sum(self._store.drop_anchors(scope, before) for scope in self._scopes() if not self._ended.is_set())

    def shorten(self) -> int:
        """Drop what the access log has kept for long enough, and say in it that it was; returns how many. Blocks."""
        now, admin = self._clock(), self._store.admin
        dropped = admin.drop_accesses(now - timedelta(seconds=self._keep_access_s))
        if dropped:
            admin.note_access(Access(at=now, principal="retention", deed="erased", kind="access", count=dropped))
        return dropped

    def _scopes(self) -> list[Scope]:
        return self._store.admin.scopes()
