"""The hot path: a request in, what was learned put in, sent on, and the answer back byte for byte.

Read `Relay.__call__` first. Learning fails open: whatever goes wrong between the request and its injection, the
original bytes go on, and what goes wrong with a record costs the record. What is counted says how often.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import orjson

from tokenspace.domain import new_id
from tokenspace.errors import BadData
from tokenspace.gateway.errors import GatewayError, headers_of, problem, status_of, words_of
from tokenspace.gateway.limits import ClientGone, Slots, check_depth, read_body
from tokenspace.gateway.metrics import Metrics
from tokenspace.gateway.routes import Route, family_of
from tokenspace.gateway.upstream import Upstreams, homeward, leftover
from tokenspace.gateway.who import refine
from tokenspace.gateway.wire import (
    Asked,
    Body,
    Caller,
    Dialect,
    Door,
    GatewaySettings,
    Injection,
    Injector,
    Record,
    Recorder,
)

if TYPE_CHECKING:
    from aiohttp import ClientResponse

Message = Mapping[str, Any]
AsgiScope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Ended = Literal["done", "gone", "broken", "refused"]

LOG: Final = logging.getLogger("tokenspace.gateway")
DEADLINES: Final = 5
"""The injector keeps its own deadline for recall and still gives the frozen blocks, without which the provider's
cache would miss; only one that is broken runs into this multiple of it."""
UNREAD: Final = (408, 413)
"""Here the rest of the body is still to come, and nobody wants to read it."""
REFUSED: Final = 300
"""From this status on, an answer is no answer; redirects are relayed and not followed."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and what has become of it; `chunks` is the answer so far, at most `keep_bytes` of it."""

    route: Route
    caller: Caller
    headers: Mapping[str, str]
    body: bytes
    keep_bytes: int
    episode: str = field(default_factory=new_id)
    asked: Asked | None = None
    injection: Injection | None = None
    status: int = 0
    ended: Ended = "broken"
    encoding: str = ""
    stream: bool = False
    chunks: list[bytes] = field(default_factory=list[bytes])
    kept_bytes: int = 0
    began: float = 0.0
    spent_s: float = 0.0
    sent: float = 0.0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def keep(self, chunk: bytes) -> None:
        """Remember a piece of the answer; a record of more than `keep_bytes` is cut, the answer never is."""
        if self.asked is not None and self.kept_bytes < self.keep_bytes:
            self.chunks.append(chunk)
            self.kept_bytes += len(chunk)

    @property
    def revision(self) -> str:
        """The served revisions, base first, "-" where a layer has none; "none" without an injection."""
        if self.injection is None:
            return "none"
        return ",".join(id or "-" for id in self.injection.heads.ids)


class Watcher:
    """Cancels the block that it is around when the client leaves; `gone` says so afterwards.

    A bare ASGI endpoint learns of it only by `receive()`: without this, an answer would be drained to its end for
    nobody. The cancellation is told from everybody else's as `asyncio.timeout` does it.
    """

    __slots__ = ("_cancelling", "_receive", "_task", "_watch", "gone")

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._watch = asyncio.get_running_loop().create_task(self._wait())
        return self

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._watch.cancel()
        if not self.gone:
            return False
        # What a library makes of the cancellation does not matter either; a second one, of a shutdown, does.
        return self._task.uncancel() <= self._cancelling and (
            kind is asyncio.CancelledError or (kind is not None and issubclass(kind, Exception))
        )


class Relay:
    """Everything that a request to a provider needs. Used from one event loop; `upstreams` are opened by others."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        door: Door,
        injector: Injector | None,
        recorder: Recorder | None,
        dialects: Mapping[str, Dialect],
        upstreams: Upstreams,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._door = door
        self._injector = injector
        self._recorder = recorder
        self._dialects = dialects
        self._upstreams = upstreams
        self._metrics = metrics
        self._slots = Slots(settings.in_flight_per_key)
        self._salt = os.urandom(16)
        metrics.in_flight.set_function(lambda: self._slots.in_flight)

    async def idle(self) -> None:
        """Wait until no request is being relayed, and the record of each was handed over."""
        await self._slots.idle()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send, route: Route) -> None:
        """Answer one request to a provider."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        reply = Reply(send)
        exchange: Exchange | None = None
        try:
            began = perf_counter()
            caller = await self._door.caller(headers, agent=route.agent, user=route.user, need="infer")
            known_s = perf_counter() - began
            with self._slots.hold(self._slot(caller, headers)):
                limit = self._settings.body_bytes
                body = await read_body(receive, headers, limit_bytes=limit)
                exchange = Exchange(route=route, caller=caller, headers=headers, body=body, keep_bytes=limit)
                exchange.began = perf_counter() - known_s  # the time that the client took to send is not ours
                try:
                    await self._exchange(exchange, scope, receive, reply)
                finally:
                    self._record(exchange)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 (top-level handler: what is ours to say is said in the dialect)
            await self._refuse(reply, error, route, headers, exchange)

    async def _exchange(self, exchange: Exchange, scope: AsgiScope, receive: Receive, reply: Reply) -> None:
        upstream = self._upstreams.choose(exchange.route, exchange.headers)
        async with Watcher(receive) as watcher:
            body = await self._injected(exchange)
            exchange.sent = perf_counter()
            exchange.spent_s = exchange.sent - exchange.began
            response = await self._upstreams.ask(
                upstream,
                exchange.route,
                query=scope["query_string"],
                headers=scope["headers"],
                body=body,
                keyed=bool(exchange.caller.key) and "x-tokenspace-key" not in exchange.headers,
            )
            try:
                await self._relay(exchange, response, reply)
            finally:
                response.close()  # gives the connection back after the last byte, and cuts it before
        if watcher.gone:
            exchange.ended = "gone"

    async def _relay(self, exchange: Exchange, response: ClientResponse, reply: Reply) -> None:
        """Hand the answer on, each piece as it comes. Where it breaks off, so does ours, without its proper end."""
        import aiohttp

        came = perf_counter()
        exchange.status = response.status
        exchange.encoding = response.headers.get("content-encoding", "")
        exchange.stream = response.headers.get("content-type", "").startswith("text/event-stream")
        headers = homeward(response.raw_headers)
        exchange.spent_s += perf_counter() - came
        await reply.start(response.status, headers + self._marks(exchange))
        content = response.content
        try:
            while chunk := await content.readany():
                exchange.keep(chunk)
                await reply.body(chunk, more=not content.at_eof())
        except (aiohttp.ClientError, TimeoutError, OSError):
            if rest := leftover(response):
                exchange.keep(rest)
                await reply.body(rest, more=True)
            return
        await reply.end()
        exchange.ended = "done" if response.status < REFUSED else "refused"
        self._metrics.waited(exchange.route.family or "other").observe(came - exchange.sent)

    async def _injected(self, exchange: Exchange) -> bytes:
        """The bytes to send: with what was learned, or the original ones."""
        dialect = exchange.route.dialect
        if dialect is None:
            return exchange.body
        outcome, body = "failed", exchange.body
        try:
            outcome, body = await self._inject(exchange, dialect)
        except TimeoutError:
            outcome = "late"
        except (BadData, orjson.JSONDecodeError):
            outcome = "unread"
        except GatewayError:
            raise
        except Exception as error:  # noqa: BLE001 (top-level handler: learning fails open)
            LOG.warning("injection failed, the original request goes on: %s", trace_of(error))
        if outcome not in ("injected", "nothing"):
            exchange.injection = None  # it is not what the model saw
        self._metrics.injection(outcome).inc()
        return body

    async def _inject(self, exchange: Exchange, dialect: Dialect) -> tuple[str, bytes]:
        if exchange.headers.get("content-encoding", "identity") != "identity":
            return "encoded", exchange.body
        body: Body = orjson.loads(exchange.body)
        if exchange.body.count(b"{") + exchange.body.count(b"[") > self._settings.json_depth:
            check_depth(body, self._settings.json_depth)
        if not isinstance(body, dict):
            return "unread", exchange.body
        exchange.asked = dialect.read(body)
        exchange.stream = exchange.asked.stream
        exchange.caller = refine(exchange.caller, body)
        if self._injector is None:
            return "nothing", exchange.body
        async with asyncio.timeout(self._settings.recall_deadline_s * DEADLINES):
            exchange.injection = await self._injector.prepare(exchange.asked, exchange.caller)
        if exchange.injection is None or exchange.injection.empty:
            return "nothing", exchange.body
        return "injected", orjson.dumps(dialect.inject(body, exchange.injection))

    def _marks(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        """The headers that say what we did."""
        marks = [
            (b"x-tokenspace-revision", exchange.revision.encode()),
            (b"x-tokenspace-overhead-ms", b"%.2f" % (exchange.spent_s * 1_000)),
        ]
        if exchange.injection is not None:
            marks.append((b"x-tokenspace-taint", exchange.injection.taint.name.lower().encode()))
        if exchange.asked is not None and self._recorder is not None:
            marks.append((b"x-tokenspace-episode", exchange.episode.encode()))
        return marks

    def _record(self, exchange: Exchange) -> None:
        """Count it, and hand it to the recorder if it could be read. Never raises: it runs in `finally`."""
        metrics = self._metrics
        status = str(exchange.status // 100 * 100) if exchange.status else "none"
        metrics.request(exchange.route.family or "other", exchange.ended, status).inc()
        metrics.overhead.observe(exchange.spent_s)
        if self._recorder is None or exchange.asked is None:
            return
        outcome = "failed"
        try:
            outcome = "kept" if self._recorder.put(_record_of(exchange, exchange.asked)) else "dropped"
        except Exception as error:  # noqa: BLE001 (top-level handler: a record is never worth an answer)
            LOG.warning("an episode could not be handed to the recorder: %s", trace_of(error))
        metrics.record(outcome).inc()

    def _slot(self, caller: Caller, headers: Mapping[str, str]) -> str:
        """Who shares the places of one key: a virtual key, else a provider's key, which is not kept as it is."""
        if caller.key:
            return caller.key
        secret = headers.get("authorization", "") or headers.get("x-api-key", "")
        return blake2b(secret.encode(), key=self._salt, digest_size=16).hexdigest()

    async def _refuse(
        self, reply: Reply, error: Exception, route: Route, headers: Mapping[str, str], exchange: Exchange | None
    ) -> None:
        """Say it in the words of the dialect; once an answer has begun, only breaking it off is left."""
        status, kind = status_of(error)
        if status >= 500 and not isinstance(error, GatewayError):
            LOG.error("a request failed: %s", trace_of(error))
        self._metrics.request(route.family or "other", "ours", str(status // 100 * 100)).inc()
        if reply.started:
            return
        more = headers_of(error)
        if exchange is not None:
            more += self._marks(exchange)
        dialect = self._dialects.get(family_of(route, headers))
        if dialect is None:
            await reply.whole(status, b"application/problem+json", problem(error), more)
        else:
            await reply.whole(
                status, b"application/json", dialect.error(words_of(error), status=status, kind=kind), more
            )


class Reply:
    """The answer to a client: what was started and ended is known, so that nothing is said twice."""

    __slots__ = ("_ended", "_send", "started")

    def __init__(self, send: Send) -> None:
        self.started = False
        self._ended = False
        self._send = send

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Status and headers, which go out at once."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, chunk: bytes, *, more: bool) -> None:
        """A piece of the body; without `more` it is the last one."""
        self._ended = not more
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def end(self) -> None:
        """The proper end, if it was not said with the last piece."""
        if not self._ended:
            await self.body(b"", more=False)

    async def whole(self, status: int, kind: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """A short answer of our own."""
        given = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if status in UNREAD:
            given.append((b"connection", b"close"))
        await self.start(status, [*given, *headers])
        await self.body(body, more=False)


def _record_of(exchange: Exchange, asked: Asked) -> Record:
    return Record(
        episode=exchange.episode,
        caller=exchange.caller,
        dialect=exchange.route.dialect.name if exchange.route.dialect else "",
        asked=asked,
        injection=exchange.injection,
        status=exchange.status,
        ended=exchange.ended,
        body=b"".join(exchange.chunks),
        encoding=exchange.encoding,
        stream=exchange.stream,
        latency_s=perf_counter() - exchange.sent if exchange.sent else 0.0,
        at=exchange.at,
    )


def trace_of(error: BaseException) -> str:
    """What went wrong and where, for the log, without the words of the error: they may quote a request."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{where}"
