"""Run a gateway with uvicorn: uvloop, httptools, no access log, and an orderly end.

On SIGTERM or SIGINT: not ready at once, no new connections, streams finish within `drain_s`, records are written.
A second SIGINT does not wait.
"""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tokenspace.errors import UsageError
from tokenspace.gateway.app import Gateway, Parts
from tokenspace.gateway.wire import GatewaySettings

KEEP_ALIVE_S: Final = 75
"""Longer than clients' pools keep a connection, so that none is closed under a request on its way."""
BACKLOG: Final = 2_048


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with a limit on what comes before the body, which it has none for."""

    limit_bytes = 64_000
    _head_bytes = 0

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def _count(self, more_bytes: int) -> None:
        self._head_bytes += more_bytes
        if self._head_bytes > self.limit_bytes:
            raise ValueError("the headers are too large")  # the parser stops, and `send_400_response` is called

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes <= self.limit_bytes:
            super().send_400_response(msg)
            return
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()


class Server(uvicorn.Server):
    """A uvicorn server for one gateway; `port` is known once `started`."""

    def __init__(self, gateway: Gateway, *, ready: Callable[[str], None] | None = None) -> None:
        settings = gateway.settings
        protocol: Any = type("Protocol", (_Protocol,), {"limit_bytes": settings.header_bytes})
        super().__init__(
            uvicorn.Config(
                gateway,
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http=protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(settings.drain_s),
            )
        )
        self._gateway = gateway
        self._ready = ready

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self._ready is not None:
            self._ready(self.address)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end; not passed on to uvicorn, which would raise the signal again after an orderly end."""
        self._gateway.health.draining = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(settings: GatewaySettings, parts: Parts, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal ends it. `ready` is told the address. Raises `UsageError` if it cannot listen or start."""
    server = Server(Gateway(settings, parts), ready=ready)
    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(server.serve())
    except SystemExit as end:
        if end.code:
            hint = "is another gateway running? choose another port; if the log names another reason, go by that"
            raise UsageError(f"cannot serve on {settings.host} port {settings.port}", hint=hint) from end
