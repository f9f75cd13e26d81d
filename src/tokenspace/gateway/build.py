"""The gateway's composition root: settings to a door, an injector, a recorder, and the applications beside the relay.

A gateway that only relays opens the store and nothing more: the loop, the gates, recall and the SDK of MCP are loaded
by the first request that needs them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from tokenspace.config import Settings, utc_now
from tokenspace.errors import ModelError, UsageError
from tokenspace.gateway.app import Parts
from tokenspace.gateway.background import LOG
from tokenspace.gateway.cache_guard import CacheGuard
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.embedded import Embedded
from tokenspace.gateway.health import Health
from tokenspace.gateway.inject import MAX_SESSION_S, LedgerInjector
from tokenspace.gateway.keys import KeyDoor, KeyRing, first_key
from tokenspace.gateway.metrics import Metrics
from tokenspace.gateway.record import EpisodeRecorder
from tokenspace.gateway.resident import few_arenas
from tokenspace.gateway.said import Listener
from tokenspace.gateway.seldom import speak_seldom
from tokenspace.gateway.spool import Spool
from tokenspace.gateway.upkeep import Upkeep
from tokenspace.gateway.upstream import Upstreams
from tokenspace.gateway.wire import GatewaySettings
from tokenspace.models.profiles import profile_of
from tokenspace.store import open_store

if TYPE_CHECKING:
    from tokenspace import config
    from tokenspace.domain import Profile
    from tokenspace.protocols import Store
    from tokenspace.store.memory import MemoryStore
    from tokenspace.store.sql import SqlStore

LOOPBACK: Final = ("127.", "::1", "localhost")
EVER_S: Final = 1e9
"""30 years: what a calendar still has room for."""
SWITCH_S: Final = 0.0005
"""How long the writer of records may hold Python's lock while a request waits for it; Python's default is 5 ms."""
_COUNTS: Final = {
    "queued": "Records and feedback in memory that are not written yet.",
    "written": "Records and feedback that were written.",
    "spooled": "Those that went to the spool first.",
    "replayed": "Those that came back from it.",
    "dropped": "Lost: the queue was full.",
    "unspooled": "Lost: neither database nor spool could be written.",
    "failed": "Lost: they could be kept nowhere.",
    "skipped": "Not kept: a provider did not know the caller.",
    "spool_bytes": "What the spool holds.",
    "away": "1 while the database cannot be written.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A gateway, ready to be served. `first_key` is a secret to be shown once, None if there is a key already."""

    settings: GatewaySettings
    parts: Parts
    recorder: EpisodeRecorder
    first_key: str | None


def check_exposure(settings: GatewaySettings, *, exposed: bool) -> None:
    """Raises `UsageError` for an open door on an address that others can reach, unless the operator says so."""
    if settings.open_door and not settings.host.startswith(LOOPBACK) and not exposed:
        raise UsageError(
            f"an open door on {settings.host} lets in everybody who can reach it",
            hint="leave out --open-door and give out keys, or say --expose if a network of your own is all around it",
        )


def build_gateway(project: Settings, settings: GatewaySettings, *, spool: Path | None) -> Built:
    """Open the store and put everything together. Raises `StoreError` where there can be none."""
    store = open_store(project.store, clock=utc_now, keys=project.keys_of(project.store))
    key = None if settings.open_door else first_key(store.admin, at=utc_now(), tenant=settings.tenant)
    ring = KeyRing(store.admin, clock=utc_now)
    injector = LedgerInjector(store, settings=settings, guard=CacheGuard(), profiles=_profiles(project, settings))
    parts = _once(partial(_parts, project, store, injector))
    listener = Listener(store, parts)
    recorder = EpisodeRecorder(
        store, DIALECTS, listen=listener, answered=injector.answered,
        spool=Spool(spool) if spool else None, queue_records=settings.queue_records,
    )  # fmt: skip
    upkeep = Upkeep(
        store, warm=injector.warm, keep_anchors_s=max(settings.keep_anchors_s, MAX_SESSION_S),
        keep_access_s=min(settings.keep_access_s, EVER_S), clock=utc_now,
    )  # fmt: skip
    health, metrics = Health(), Metrics()
    speak_seldom(LOG)
    _tell(recorder, injector, health, metrics)
    door = KeyDoor(ring, settings)
    beside = partial(_beside, project, settings, _Rooms(store, parts, ring, door, recorder, listener))
    embedded = Embedded(Path(project.model)) if project.model.endswith(".gguf") else None
    made = Parts(
        door=door, dialects=DIALECTS, injector=injector, recorder=recorder, beside=beside,
        services=(_Services(store, injector, recorder), upkeep),
        upstreams=Upstreams(settings, embedded=embedded), metrics=metrics, health=health,
    )  # fmt: skip
    return Built(settings=settings, parts=made, recorder=recorder, first_key=key)


def run(built: Built, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal ends it. For a process of its own."""
    from tokenspace.gateway.server import serve

    sys.setswitchinterval(SWITCH_S)
    few_arenas()
    gc.collect()
    gc.freeze()  # what was loaded stays: it need not be looked through again and again
    gc.set_threshold(20_000, 20, 50)
    serve(built.settings, built.parts, ready=ready)


# ── what runs ───────────────────────────────────────────────────────────────────────────────


class _Services:
    """Implements `app.Service` for the store, the injector and the recorder, in this order."""

    def __init__(self, store: Store, injector: LedgerInjector, recorder: EpisodeRecorder) -> None:
        self._store, self._injector, self._recorder = store, injector, recorder

    async def start(self) -> None:
        """Begin to write records."""
        self._recorder.start()

    async def stop(self) -> None:
        """Write what waits, then let go of the store."""
        await asyncio.to_thread(self._recorder.close)
        await asyncio.to_thread(self._injector.close)
        self._store.close()


def _profiles(project: Settings, settings: GatewaySettings) -> Callable[[str], Profile]:
    """What is known of a model by the name that a client uses. The embedded one answers to every name."""
    first = next((one for one in settings.upstreams if "chat" in one.dialects), None)
    if first is None or first.url:
        return profile_of

    @cache
    def embedded() -> Profile:
        from tokenspace.models.llama import LlamaModel

        return LlamaModel(Path(project.model) if project.model.endswith(".gguf") else None).profile

    return lambda _: embedded()


def _parts(project: Settings, store: Store, injector: LedgerInjector) -> config.Parts:
    """Everything that learns, on the gateway's store; without a model, where that cannot be had here.

    Whoever asks for it teaches: what is learned is to be recalled, so that is loaded, too, before a request needs it.
    """
    from tokenspace.config import build

    injector.warm()
    try:
        return build(project, store=store)
    except (ModelError, UsageError):
        from tokenspace.agents.none import NoAgent

        return build(project, model=NoAgent(), store=store)


def _once(make: Callable[[], config.Parts]) -> Callable[[], config.Parts]:
    lock, made = threading.Lock(), list[Any]()

    def once() -> config.Parts:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return once


def _tell(recorder: EpisodeRecorder, injector: LedgerInjector, health: Health, metrics: Metrics) -> None:
    def words() -> str:
        now = recorder.stats()
        lost = now.dropped + now.unspooled + now.failed
        said = f"{now.queued} waiting, {now.spool_bytes:,} bytes spooled, {lost} lost"
        return f"the database cannot be written; {said}" if now.away else said

    health.notes["records"] = words
    for name, help in _COUNTS.items():
        metrics.gauge(f"tokenspace_recorder_{name}", help, lambda name=name: float(getattr(recorder.stats(), name)))
    for name in ("injected", "bare", "failed", "recall_late", "lost", "withdrawn"):
        metrics.gauge(
            f"tokenspace_injector_{name}", "See the injector's counts.", lambda name=name: injector.counts[name]
        )


# ── what stands beside the relay ────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Rooms:
    store: SqlStore | MemoryStore
    parts: Callable[[], config.Parts]
    ring: KeyRing
    door: KeyDoor
    recorder: EpisodeRecorder
    listener: Listener


def _beside(project: Settings, settings: GatewaySettings, rooms: _Rooms) -> _Beside:
    from tokenspace.gateway import feedback, otlp
    from tokenspace.gateway.admin import admin_app
    from tokenspace.gateway.mcp import LOOPBACK as HOSTS
    from tokenspace.gateway.mcp import caller_at, mcp_app

    told = feedback.FeedbackDoor(
        door=rooms.door, listen=rooms.listener, recorder=rooms.recorder, clock=utc_now, operator=project.principal
    )
    ingest = otlp.Ingest(rooms.store, rooms.listener, clock=utc_now)
    admin = admin_app(rooms.parts(), rooms.ring, settings)
    admin.router.routes += [*feedback.routes(told), *otlp.routes(otlp.OtlpDoor(rooms.door, ingest))]
    local = settings.host.startswith(LOOPBACK)
    mcp = mcp_app(rooms.parts(), caller_at(rooms.door), hosts=HOSTS if local else ())
    return _Beside(admin, mcp, [told.close, admin.state.close])


class _Beside:
    """One ASGI application of several: MCP by its path, everything else by Starlette."""

    def __init__(
        self, main: Callable[[Any, Any, Any], Awaitable[None]], mcp: _Closing, closing: Sequence[Callable[[], None]]
    ) -> None:
        self._main, self._mcp, self._closing = main, mcp, closing

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Serve a request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["path"] in ("/mcp", "/mcp/"):
            await self._mcp(dict(scope), receive, send)
        else:
            await self._main(scope, receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._mcp.close()
        for close in self._closing:
            await asyncio.to_thread(close)
        await send({"type": "lifespan.shutdown.complete"})


class _Closing(Protocol):
    """An ASGI application that has something to close."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None: ...

    async def close(self) -> None: ...
