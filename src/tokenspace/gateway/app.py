"""The whole gateway as one ASGI application: the relay, the health pages, and everything else beside it.

What is beside it (admin API, feedback, MCP, OpenTelemetry) is another ASGI application, made when it is first asked
for, so that a gateway which only relays starts at once and stays small.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from tokenspace.gateway.beside import Beside
from tokenspace.gateway.errors import NoSuchRoute, RightMissing, ShuttingDown, headers_of, problem, status_of
from tokenspace.gateway.health import Health
from tokenspace.gateway.metrics import TYPE, Metrics
from tokenspace.gateway.relay import AsgiScope, Receive, Relay, Reply, Send, trace_of
from tokenspace.gateway.routes import find, place
from tokenspace.gateway.upstream import Upstreams
from tokenspace.gateway.wire import Dialect, Door, GatewaySettings, Injector, Recorder

LOG: Final = logging.getLogger("tokenspace.gateway")
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
SETTLE_S: Final = 2.0
"""After the drain, streams that were cut off still hand their records over; that takes milliseconds."""


class Service(Protocol):
    """Something that runs beside the relay in the same event loop, such as the writer of records."""

    async def start(self) -> None:
        """Begin; called before the first request is let in, and quick."""
        ...

    async def stop(self) -> None:
        """Finish what is begun, and write what is kept; called after the last request."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a gateway is made of. Without injector and recorder it only relays.

    `beside` makes the ASGI application for all other paths; `services` start in order and stop in the reverse one.
    """

    door: Door
    dialects: Mapping[str, Dialect]
    injector: Injector | None = None
    recorder: Recorder | None = None
    beside: Callable[[], AsgiApp] | None = None
    services: Sequence[Service] = ()
    upstreams: Upstreams | None = None
    metrics: Metrics = field(default_factory=Metrics)
    health: Health = field(default_factory=Health)


class Gateway:
    """The ASGI application. `settings` and `parts` are all it knows."""

    def __init__(self, settings: GatewaySettings, parts: Parts) -> None:
        self.settings = settings
        self.health = parts.health
        self.metrics = parts.metrics
        self._door = parts.door
        self._services = parts.services
        self._upstreams = parts.upstreams or Upstreams(settings)
        paths = {path: dialect for dialect in parts.dialects.values() for path in dialect.paths}
        self._route = lru_cache(maxsize=1_024)(partial(find, dialects=paths))
        self._beside = Beside(parts.beside) if parts.beside else None
        self._relay = Relay(
            settings,
            door=parts.door,
            injector=parts.injector,
            recorder=parts.recorder,
            dialects=parts.dialects,
            upstreams=self._upstreams,
            metrics=parts.metrics,
        )

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI: the lifespan, or a request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        raw_path = scope["raw_path"].decode("latin-1")
        if self.settings.open_door and (error := self._foreign_page(scope)):
            await answer_problem(send, error, raw_path)
        elif (route := self._route(scope["method"], raw_path)) is not None:
            await self._relay(scope, receive, send, route)
        elif raw_path in ("/livez", "/readyz"):
            status, body = self.health.answer(raw_path)
            await Reply(send).whole(status, b"application/json", body, [])
        elif raw_path == "/metrics":
            await self._tell_metrics(scope, send)
        elif self._beside is None:
            await answer_problem(send, NoSuchRoute("nothing stands here", hint="look at the documentation"), raw_path)
        elif self.health.draining:
            await answer_problem(send, ShuttingDown("the gateway is shutting down", retry_after_s=5), raw_path)
        else:
            await self._beside(_without_prefix(scope, raw_path), receive, send)

    def _foreign_page(self, scope: AsgiScope) -> RightMissing | None:
        """With an open door there is no key that a web page elsewhere lacks, so its requests are refused here."""
        headers = dict(scope["headers"])
        origin: str = headers.get(b"origin", b"").decode("latin-1")
        if not origin or b"x-tokenspace-key" in headers:
            return None
        host: str = urlsplit(origin).hostname or ""
        if host in ("localhost", self.settings.host) or _loopback(host):
            return None
        return RightMissing("a web page elsewhere may not use an open door", hint="show a key: x-tokenspace-key")

    async def _tell_metrics(self, scope: AsgiScope, send: Send) -> None:
        """For whoever holds an admin's key: what is counted here is of all tenants together."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            await self._door.caller(headers, agent="", user="", need="admin")
        except Exception as error:  # noqa: BLE001 (top-level handler)
            await answer_problem(send, error, "/metrics")
        else:
            await Reply(send).whole(200, TYPE, self.metrics.text(), [])

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:  # noqa: BLE001 (top-level handler: the server must be told why it cannot start)
            LOG.error("the gateway cannot start: %s", error)  # noqa: TRY400 (a person reads this, the words suffice)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def start(self) -> None:
        """Open what is needed and say that we are ready."""
        await self._upstreams.open()
        for service in self._services:
            await service.start()
        self.health.started = True

    async def stop(self) -> None:
        """Let the last records in, stop the services, then close all connections; called once."""
        self.health.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._relay.idle()
        for service in reversed(self._services):
            try:
                await service.stop()
            except Exception as error:  # noqa: BLE001 (top-level handler: the others must still be stopped)
                LOG.error("a service did not stop well: %s", trace_of(error))  # noqa: TRY400
        if self._beside is not None:
            await self._beside.stop()
        await self._upstreams.close()


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _without_prefix(scope: AsgiScope, raw_path: str) -> AsgiScope:
    """The scope with agent and user in headers instead of the path; a header that the client sent wins, as on ours."""
    where = place(raw_path)
    named = {b"x-tokenspace-agent": where.agent, b"x-tokenspace-user": where.user}
    if not any(named.values()):
        return scope
    from urllib.parse import unquote

    sent = {name for name, _ in scope["headers"]}
    more = [(name, value.encode()) for name, value in named.items() if value and name not in sent]
    path = unquote(where.path)
    return {**scope, "path": path, "raw_path": where.path.encode(), "headers": [*scope["headers"], *more]}


async def answer_problem(send: Send, error: Exception, path: str) -> None:
    """Answer with an error as problem JSON."""
    status, _ = status_of(error)
    body = problem(error, instance=path)
    await Reply(send).whole(status, b"application/problem+json", body, headers_of(error))
