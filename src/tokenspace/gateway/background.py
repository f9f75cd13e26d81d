"""Work beside the event loop: waiting for a thread without blocking, and writing to the store later."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

from tokenspace.errors import StoreUnavailable

LOG: Final = logging.getLogger("tokenspace.gateway")
LINGER_S: Final = 0.05
"""How long what is to be written waits for more."""
BATCH: Final = 256


async def settled(future: Future[Any], *, within_s: float) -> bool:
    """Whether it is done by then. It runs on if not, and may outlive this event loop."""
    if future.done() or within_s <= 0:
        return future.done()
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop was closed in the meantime: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await done.wait()
    return future.done()


class Later:
    """Writes in the order in which they were put, in one thread, which starts at the first. Full: it is not kept.

    What comes within `LINGER_S` is written inside one `together()`: a turn of this thread costs every request
    something, because they share Python's lock, and a transaction costs much more than what is written in it.
    """

    def __init__(
        self, *, most: int, name: str, lost: Callable[[], None], together: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._most = most
        self._name = name
        self._lost = lost
        self._together = together
        self._queue = deque[Callable[[], object]]()
        self._changed = threading.Condition()
        self._put = self._done = 0
        self._hurry = self._closing = False
        self._thread: threading.Thread | None = None

    def put(self, write: Callable[[], object]) -> None:
        """Have it written; never blocks for long, never raises. `lost` is called for what was not written."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        with self._changed:
            full = len(self._queue) >= self._most
            if not full:
                self._queue.append(write)
                self._put += 1
                if len(self._queue) == 1:
                    self._changed.notify_all()
        if full:
            self._lost()

    def flush(self) -> None:
        """Block until everything put so far was written or lost."""
        with self._changed:
            last, self._hurry = self._put, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done >= last)

    def close(self, *, within_s: float) -> None:
        """Write what is waiting, and end the thread; what is not written by then is lost."""
        if self._thread is not None:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(within_s)
            self._thread = None
            self._closing = False

    def _run(self) -> None:
        while writes := self._take():
            self._write(writes)
            with self._changed:
                self._done += len(writes)
                self._changed.notify_all()

    def _take(self) -> Sequence[Callable[[], object]]:
        """What is to be written next, once that has waited for company; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            self._changed.wait_for(lambda: self._hurry or self._closing, LINGER_S)
            self._hurry = False
            return [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]

    def _write(self, writes: Sequence[Callable[[], object]]) -> None:
        try:
            with self._together():
                for write in writes:
                    write()
        except Exception:  # noqa: BLE001 (a boundary: one that cannot be kept must not take others along)
            for place, write in enumerate(writes):
                if self._write_one(write):
                    continue
                for _ in writes[place:]:  # the store is away: each of them would wait as long again
                    self._lost()
                return

    def _write_one(self, write: Callable[[], object]) -> bool:
        """Whether the store is there."""
        try:
            write()
        except StoreUnavailable:
            LOG.warning("what was injected could not be kept", exc_info=True)
            return False
        except Exception:  # a boundary: the conversation goes on without what was to be kept of it
            LOG.warning("what was injected could not be kept", exc_info=True)
            self._lost()
        return True
