"""The gateway without a server: its injector and its recorder in the caller's own process.

`begin` stands where the relay would be before a request, and the `Exchange` that it gives is told what comes back.
The injector belongs to one event loop, so it gets its own, in a thread, whatever the caller runs: nothing here minds
whether a loop is running there. All of it fails open: what goes wrong costs what was learned, never the request.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import perf_counter
from typing import Any, Final, Literal, TypeVar

import orjson

from tokenspace.config import Parts
from tokenspace.domain import Entry, Feedback, Kind, Scope, new_id
from tokenspace.errors import BadData, StoreUnavailable
from tokenspace.gateway import feedback as door
from tokenspace.gateway.background import settled
from tokenspace.gateway.cache_guard import CacheGuard
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.errors import GatewayError
from tokenspace.gateway.inject import LedgerInjector
from tokenspace.gateway.limits import check_depth
from tokenspace.gateway.record import EpisodeRecorder
from tokenspace.gateway.said import Listener
from tokenspace.gateway.seldom import speak_seldom
from tokenspace.gateway.who import refine
from tokenspace.gateway.wire import Asked, Body, Caller, Dialect, GatewaySettings, Injection, Record, Recorder

T = TypeVar("T")
Ended = Literal["done", "gone", "broken", "refused"]

LOG: Final = logging.getLogger("tokenspace.gateway")
DEADLINES: Final = 5
"""The injector keeps its own deadlines; only one that is broken runs into this multiple of them."""
BARE: Final = "nothing is injected, the request goes on as it is"
LOAD_S: Final = 5.0
"""The first request waits for recall, which was loaded before and is only handed over; nobody waits a second time."""
WAIT_S: Final = 10.0
"""How long feedback waits for the episode that it is about to be written."""
CLOSE_S: Final = 5.0
POLL_S: Final = 0.002
REFUSED: Final = 300
_SUFFIXES: Final = {
    ("/v1" if one.name == "messages" else "") + path: one for one in DIALECTS.values() for path in one.paths
}
"""Clients put a prefix of their own before these. That of Messages must be its version: the threads of another API end
in "/messages", too."""


def dialect_of(path: str) -> Dialect | None:
    """The dialect that is spoken at a path of a provider, if it is one of ours.

    >>> dialect_of("/openai/deployments/m/chat/completions").name
    'chat'
    """
    return next((dialect for suffix, dialect in _SUFFIXES.items() if path.endswith(suffix)), None)


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request that we can read, and what comes back. `body` are the bytes to send.

    `keep` every piece of the raw answer, then `end` once; only the first end counts. Neither raises.
    """

    dialect: Dialect
    caller: Caller
    asked: Asked
    parsed: Body
    body: bytes
    at: datetime
    recorder: Recorder
    keep_bytes: int
    injection: Injection | None = None
    status: int = 0
    encoding: str = ""
    stream: bool = False
    sent: float = field(default_factory=perf_counter)
    chunks: list[bytes] = field(default_factory=list[bytes])
    kept_bytes: int = 0
    ended: Ended | None = None
    decode: Callable[[bytes], bytes] | None = None

    def take(self, injection: Injection | None) -> None:
        """Put in what was learned. Raises what the dialect raises; then nothing is changed."""
        if injection is not None and not injection.empty:
            self.body = orjson.dumps(self.dialect.inject(self.parsed, injection))
        self.injection = injection

    def came(self, *, status: int, encoding: str, kind: str, decode: Callable[[bytes], bytes]) -> None:
        """What the head of the answer says. `decode` undoes an encoding that only the client's own library knows."""
        self.status, self.encoding, self.decode = status, encoding, decode
        self.stream = kind.startswith("text/event-stream")

    def keep(self, chunk: bytes) -> None:
        """Remember a piece of the answer; a record is cut where it is too long, the answer never is."""
        if self.kept_bytes < self.keep_bytes:
            self.chunks.append(chunk)
            self.kept_bytes += len(chunk)

    def end(self, ended: Ended) -> None:
        """Hand the record over."""
        if self.ended is not None:
            return
        self.ended = "refused" if ended == "done" and self.status >= REFUSED else ended
        try:
            if not self.recorder.put(self._record(self.ended)):
                LOG.warning("an episode is not recorded: too many are waiting to be written")
        except Exception:  # a boundary: a record is never worth an answer
            LOG.warning("an episode is not recorded", exc_info=True)

    def _record(self, ended: Ended) -> Record:
        body, encoding = b"".join(self.chunks), self.encoding
        if self.decode is not None and encoding.lower() not in ("", "identity", "gzip", "deflate"):
            with suppress(Exception):  # it was cut off: the recorder says that it cannot be read
                body, encoding = self.decode(body), ""
        return Record(
            episode=new_id(), caller=self.caller, dialect=self.dialect.name, asked=self.asked, injection=self.injection,
            status=self.status, ended=ended, body=body, encoding=encoding, stream=self.stream,
            latency_s=perf_counter() - self.sent, at=self.at,
        )  # fmt: skip


@dataclass(slots=True)
class _Rooms:
    """What has to be closed, apart from its owner, so that it is closed as well when nobody holds that any more."""

    injector: LedgerInjector
    recorder: EpisodeRecorder
    after: Callable[[], None]
    loop: asyncio.AbstractEventLoop | None = None
    thread: threading.Thread | None = None

    def close(self) -> None:
        """Write what waits, say what is lost, and end the threads."""
        self.recorder.close(deadline_s=CLOSE_S)
        stats = self.recorder.stats()
        if lost := stats.dropped + stats.unspooled + stats.failed:
            LOG.warning("%d episodes could not be recorded: %s", lost, stats.last_error)
        self.injector.close(within_s=CLOSE_S)
        if self.loop is not None and self.thread is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            if self.thread is not threading.current_thread():
                self.thread.join(CLOSE_S)
        self.after()


class InProcess:
    """Injects and records for one scope. Starts its threads at the first request; safe to use from any thread.

    A body may name the user, where `caller` has a tenant and no user, and the session, as at the gateway. `deadline_s`
    is how long a request waits for what is recalled for it. `principal` is who speaks where no user does. `after` is
    called when all is closed, which happens at the latest when the process ends.
    """

    def __init__(
        self,
        parts: Parts,
        caller: Caller,
        *,
        principal: str,
        deadline_s: float,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        store, self._clock, recall = parts.runtime.store, parts.runtime.clock, parts.runtime.recall
        # A snapshot is never kept: in one process, what was learned a moment ago is for the next call.
        settings = GatewaySettings(recall_deadline_s=deadline_s, snapshot_s=0.0)
        injector = LedgerInjector(
            store, settings=settings, recall=lambda: recall, clock=self._clock, guard=CacheGuard()
        )
        self.caller = caller
        self._principal, self._settings = principal, settings
        self._limit_s = deadline_s * DEADLINES
        self._listen = Listener(store, lambda: parts)
        recorder = EpisodeRecorder(store, DIALECTS, listen=self._listen, answered=injector.answered)
        self._rooms = _Rooms(injector, recorder, after)
        self._lock = threading.Lock()
        with _failing_open("recall cannot be loaded: there will be blocks only"):
            recall.index([Entry(kind=Kind.RULE, doc="rules", text="load the embedder")])  # not while a request waits
        speak_seldom(LOG)
        self._closed = weakref.finalize(self, self._rooms.close)

    # ── a request ───────────────────────────────────────────────────────────────────────────

    def begin(self, dialect: Dialect, content: bytes) -> Exchange | None:
        """Read a request and put in what was learned; blocks. None for what cannot be read. Never raises."""
        exchange = self._read(dialect, content)
        if exchange is not None:
            with _failing_open(BARE):
                exchange.take(self._submit(self._prepare(exchange)).result(self._limit_s))
            exchange.sent = perf_counter()
        return exchange

    async def begin_async(self, dialect: Dialect, content: bytes) -> Exchange | None:
        """As `begin`, without blocking the caller's event loop."""
        exchange = self._read(dialect, content)
        if exchange is not None:
            with _failing_open(BARE):
                future = asyncio.wrap_future(self._submit(self._prepare(exchange)))
                exchange.take(await asyncio.wait_for(future, self._limit_s))
            exchange.sent = perf_counter()
        return exchange

    def _read(self, dialect: Dialect, content: bytes) -> Exchange | None:
        try:
            body: Body = orjson.loads(content)
            check_depth(body, self._settings.json_depth)
            asked = dialect.read(body)
            return Exchange(
                dialect=dialect, caller=refine(self.caller, body), asked=asked, parsed=body, body=content,
                at=self._clock(), recorder=self._rooms.recorder, keep_bytes=self._settings.body_bytes,
            )  # fmt: skip
        except (BadData, GatewayError, orjson.JSONDecodeError):
            return None  # it is passed on as it is, and the provider says what it thinks of it
        except Exception:  # a boundary: learning fails open
            LOG.warning("a request cannot be read, it goes on as it is", exc_info=True)
            return None

    async def _prepare(self, exchange: Exchange) -> Injection | None:
        asked, recorder = exchange.asked, self._rooms.recorder
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.recall_deadline_s):
                # It goes on from an answer that may not be written yet, by which its conversation is known.
                while asked.previous and recorder.behind(exchange.caller.scope):  # noqa: ASYNC110 (there is no event)
                    await asyncio.sleep(POLL_S)
        return await self._rooms.injector.prepare(asked, exchange.caller)

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._started())
        except BaseException:
            work.close()
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        """The event loop; its thread and the recorder's begin here, and not before, so that a process may fork."""
        with self._lock:
            rooms = self._rooms
            if rooms.loop is None and self._closed.alive:
                loop = rooms.loop = asyncio.new_event_loop()
                rooms.thread = threading.Thread(target=_run, args=(loop,), name="tokenspace-client", daemon=True)
                rooms.thread.start()
                rooms.recorder.start()
                loaded = rooms.injector.warm()
                asyncio.run_coroutine_threadsafe(settled(loaded, within_s=LOAD_S), loop).result(LOAD_S)
            if rooms.loop is None or rooms.thread is None or not rooms.thread.is_alive():
                raise StoreUnavailable("this client is closed, or of a process before a fork", hint="wrap it again")
            return rooms.loop

    # ── what is said about it ───────────────────────────────────────────────────────────────

    def tell(self, said: dict[str, Any]) -> Feedback:
        """Keep feedback, given as at `POST /v1/feedback`, as soon as its episode is written; blocks until then.

        Raises `NotFound` where the scope has no such episode, `BadData` for what cannot be meant, and `StoreError`.
        """
        made = door.read(said, self.caller, at=self._clock(), operator=self._principal)
        one = made.feedback
        made = replace(made, feedback=replace(one, principal=one.scope.user or self._principal))
        recorder = self._rooms.recorder
        if not recorder.behind(one.scope):
            return self._listen(made)[0]
        waiting = recorder.hold(made)
        if waiting is None:
            raise StoreUnavailable("too much is waiting to be written", hint="say it again later")
        try:
            kept = waiting.result(WAIT_S)
        except TimeoutError as error:
            raise StoreUnavailable("the store does not answer", hint="say it again later") from error
        return kept[0] if kept is not None else one

    def close(self) -> None:
        """Write what waits, and end the threads. Idempotent; blocks for some seconds at most."""
        self._closed()


@contextmanager
def _failing_open(words: str) -> Generator[None]:
    """Around what may fail: nothing but a cancellation gets out."""
    try:
        yield
    except Exception:  # a boundary: learning fails open
        LOG.warning(words, exc_info=True)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def scope_of(agent: str, tenant: str, user: str) -> Scope:
    """The scope of a client; a user of no tenant is one of the gateway's default tenant."""
    return Scope(agent=agent, tenant=tenant or (GatewaySettings().tenant if user else ""), user=user)
