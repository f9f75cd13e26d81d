"""Work beside the event loop: waiting for a thread without blocking, and writing to the store later."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

LOG: Final = logging.getLogger("tokenspace.gateway")


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
    """Writes in the order in which they were put, in one thread, which starts at the first. Full: it is not kept."""

    def __init__(self, *, most: int, name: str, lost: Callable[[], None]) -> None:
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue(most)
        self._name = name
        self._lost = lost
        self._thread: threading.Thread | None = None

    def put(self, write: Callable[[], object]) -> None:
        """Have it written; never blocks, never raises. `lost` is called for what was not written."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(write)
        except queue.Full:
            self._lost()

    def flush(self) -> None:
        """Block until everything put so far was written or lost."""
        self._queue.join()

    def close(self, *, within_s: float) -> None:
        """Write what is waiting, and end the thread; what is not written by then is lost."""
        if self._thread is not None:
            with suppress(queue.Full):
                self._queue.put(None, timeout=within_s)
            self._thread.join(within_s)
            self._thread = None

    def _run(self) -> None:
        while True:
            write = self._queue.get()
            try:
                if write is None:
                    return
                write()
            except Exception:  # a boundary: the conversation goes on without what was to be kept of it
                LOG.warning("what was injected could not be kept", exc_info=True)
                self._lost()
            finally:
                self._queue.task_done()
