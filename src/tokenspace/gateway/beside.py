"""An ASGI application that is made, and whose lifespan begins, at the first request for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from tokenspace.errors import UsageError

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
STOP_S: Final = 5.0


class Beside:
    """Holds what `make` makes. One event loop; `stop` ends the lifespan if it began."""

    def __init__(self, make: Callable[[], AsgiApp]) -> None:
        self._make = make
        self._app: AsgiApp | None = None
        self._making = asyncio.Lock()
        self._lifespan: asyncio.Task[None] | None = None
        self._to_app: asyncio.Queue[Mapping[str, str]] = asyncio.Queue()
        self._started: asyncio.Future[str] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass one request on, making the application first if there is none. Raises what that raises."""
        if self._app is None:
            async with self._making:
                if self._app is None:
                    self._app = await self._begin()
        await self._app(scope, receive, send)

    async def stop(self) -> None:
        """Tell the application that it ends, and wait for it a little."""
        if self._lifespan is None:
            return
        await self._to_app.put({"type": "lifespan.shutdown"})
        await asyncio.wait([self._lifespan], timeout=STOP_S)
        self._lifespan.cancel()

    async def _begin(self) -> AsgiApp:
        app = await asyncio.to_thread(self._make)  # imports of a second or more: the relay goes on meanwhile
        self._started = asyncio.get_running_loop().create_future()
        await self._to_app.put({"type": "lifespan.startup"})
        self._lifespan = asyncio.create_task(self._live(app, self._started))
        if problem := await self._started:
            raise UsageError(f"the application beside the relay cannot start: {problem}", hint="see the log")
        return app

    async def _live(self, app: AsgiApp, started: asyncio.Future[str]) -> None:
        async def send(message: Mapping[str, str]) -> None:
            if message["type"].startswith("lifespan.startup.") and not started.done():
                failed = message["type"].endswith("failed")
                started.set_result(message.get("message", "") or "it does not say why" if failed else "")

        try:
            scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
            await app(scope, self._to_app.get, send)
        finally:
            if not started.done():  # it has no lifespan, which the standard allows it to say by leaving
                started.set_result("")
