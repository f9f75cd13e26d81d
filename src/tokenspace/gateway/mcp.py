"""MCP over HTTP, to be mounted at /mcp: the door, and behind it a server that is loaded when somebody first knocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from tokenspace.config import Parts
from tokenspace.errors import TokenspaceError
from tokenspace.gateway.errors import NoSuchRoute, ShuttingDown, headers_of, problem, status_of
from tokenspace.gateway.wire import Caller, Door

AsgiScope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
CallerOf = Callable[[Mapping[str, str]], Awaitable[Caller]]

LOOPBACK: Final = ("127.0.0.1:*", "localhost:*", "[::1]:*")
BODY_BYTES: Final = 4_000_000


def caller_at(door: Door) -> CallerOf:
    """Lets in whoever may read; tools that write ask for the right to give feedback as well."""

    async def caller(headers: Mapping[str, str]) -> Caller:
        return await door.caller(headers, agent="", user="", need="read")

    return caller


def mcp_app(parts: Parts, caller: CallerOf, *, hosts: Sequence[str] = LOOPBACK, body_bytes: int = BODY_BYTES) -> McpApp:
    """An ASGI app for one path. `caller` gets the headers, with lower-case names, of every single request.

    `hosts` are the Host headers that are answered ("" as port: any; none: all of them); name the public ones where the
    gateway does not listen on a loopback address. Close it in the lifespan of the app that it is mounted in.
    """
    return McpApp(parts, caller, hosts=hosts, body_bytes=body_bytes)


class McpApp:
    """Streamable HTTP without sessions; see `mcp_app`."""

    def __init__(self, parts: Parts, caller: CallerOf, *, hosts: Sequence[str], body_bytes: int) -> None:
        self._parts = parts
        self._caller = caller
        self._hosts = hosts
        self._body_bytes = body_bytes
        self._loading = asyncio.Lock()
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._module: Any = None
        self._manager: Any = None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request, or a server's lifespan where this is all of it."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        try:
            if self._stop.is_set():
                raise ShuttingDown("the gateway is about to end", hint="ask again when it is back")
            if scope["type"] != "http" or scope["method"] != "POST":
                # Without sessions there is no stream to open with GET, and nothing to end with DELETE.
                raise NoSuchRoute("MCP takes POST requests only", hint="point an MCP client at this address")
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            caller = await self._caller(headers)
        except TokenspaceError as error:
            await _refuse(error, scope, send)
            return
        manager = await self._ready()
        await manager.handle_request({**scope, self._module.CALLER: caller}, receive, send)

    async def close(self) -> None:
        """Stop serving; requests that are running are cancelled."""
        self._stop.set()
        if self._serving is not None:
            await self._serving

    async def _ready(self) -> Any:
        """The running server, loaded in a thread by the first request."""
        async with self._loading:
            if self._manager is None:
                self._module = await asyncio.to_thread(import_module, "tokenspace.gateway.mcp_server")
                manager = self._module.http_manager(self._parts, self._hosts, self._body_bytes)
                started = asyncio.Event()
                self._serving = asyncio.create_task(self._serve(manager, started))
                await started.wait()
                self._manager = manager
        return self._manager

    async def _serve(self, manager: Any, started: asyncio.Event) -> None:
        """Own the server's tasks: they must end in the task that began them."""
        try:
            async with manager.run():
                started.set()
                await self._stop.wait()
        finally:
            started.set()  # nobody may wait for a server that could not start

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


async def _refuse(error: TokenspaceError, scope: AsgiScope, send: Send) -> None:
    status = 405 if isinstance(error, NoSuchRoute) else status_of(error)[0]
    if scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = problem(error, instance=scope["path"])
    headers = [
        (b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode()),
        *([(b"allow", b"POST")] if status == 405 else []), *headers_of(error),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
