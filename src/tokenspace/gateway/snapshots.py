"""What is served in a scope, in memory, so that a request never waits for the database.

A snapshot is immutable and is replaced as a whole. Every `snapshot_s` seconds, while requests come, a thread looks
whether a head has moved; until it has an answer, what was known before is served. What must not be shown any longer,
because it was erased or did harm, is noticed by the same look (I14).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar, cast

from tokenspace.canary import assigned, harmed
from tokenspace.context import core_blocks, recallable, splice, without
from tokenspace.context.taint import taint
from tokenspace.domain import Canary, Context, Heads, Origin, Profile, Scope, Status
from tokenspace.errors import NotFound
from tokenspace.gateway.background import LOG, settled
from tokenspace.protocols import Store

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

MAX_SCOPES: Final = 5_000
MAX_WATCHED: Final = 4_096
"""So many entries of a scope that running sessions show are looked after."""
MAX_RENDERED: Final = 32
STALE: Final = 2
"""A snapshot is served for so many times `snapshot_s` while a newer one is on its way; then that is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is served in a scope. `context` is the one at `heads`, `recalls` whether it has anything to recall.

    `gone` are ids of entries that were shown and must not be any more; `left` are heads that a running session must
    not keep.
    """

    scope: Scope
    heads: Heads
    canaries: tuple[Canary, ...] = ()
    context: Context
    recalls: bool = False
    gone: frozenset[str] = frozenset()
    left: frozenset[Heads] = frozenset()

    def assigned(self, unit: str) -> Heads:
        """What a session is served: the heads, or for its share of the sessions those of a canary."""
        if not self.canaries:
            return self.heads
        served = cast("Store", _Served(self))  # two of the store's verbs are all that `assigned` uses
        return assigned(served, self.scope, branch="", unit=unit)


@dataclass(frozen=True, slots=True)
class _Served:
    """A snapshot under the names of the store's verbs."""

    snapshot: Snapshot

    def heads(self, _: Scope, *, branch: str = "") -> Heads:
        """What is served; a snapshot has no branches."""
        assert not branch
        return self.snapshot.heads

    def canaries(self, _: Scope) -> list[Canary]:
        """The live canaries."""
        return list(self.snapshot.canaries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Rendered bytes of a core, base first, the ids of the entries in them, and their least origin."""

    texts: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    taint: Origin = Origin.OPERATOR


_Key = tuple[Heads, tuple[float, ...], frozenset[str]]


@dataclass(slots=True)
class _Room:
    """What is known of a scope; only the event loop changes it."""

    snapshot: Snapshot | None = None
    looked: datetime | None = None
    looking: Future[Snapshot | None] | None = None
    watched: OrderedDict[str, Heads] = field(default_factory=OrderedDict[str, Heads])
    blocks: OrderedDict[_Key, Blocks] = field(default_factory=OrderedDict[_Key, Blocks])


class Snapshots:
    """Snapshots of the scopes that requests come for. Used from one event loop; the store is asked in threads.

    `patience_s` is how long a request waits for what was never loaded; once that was not enough, nobody waits until
    the store has answered again. `count` is told what went wrong.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime],
        snapshot_s: float,
        patience_s: float,
        count: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._snapshot_s = snapshot_s
        self._patience_s = patience_s
        self._patient = True
        self._count = count
        self._rooms: OrderedDict[Scope, _Room] = OrderedDict()
        self._threads = ThreadPoolExecutor(2, "tokenspace-snapshots")

    async def of(self, scope: Scope) -> Snapshot | None:
        """What is served there, or was when the store last answered; None if it never did."""
        room, now = self._room(scope), self._clock()
        self._take(room)
        age_s = self._snapshot_s * STALE if room.looked is None else (now - room.looked).total_seconds()
        if room.looking is None and not 0 <= age_s < self._snapshot_s:
            room.looked = now
            watched = dict(room.watched)
            room.looking = self._threads.submit(self._asked, lambda: self._load(scope, watched))
        if room.looking is not None and (room.snapshot is None or age_s >= self._snapshot_s * STALE):
            await self._settled(room.looking)
            self._take(room)
        return room.snapshot

    async def blocks(
        self, snapshot: Snapshot, heads: Heads, *, profile: Profile, gone: frozenset[str]
    ) -> Blocks | None:
        """The core at these heads without what is gone, rendered once; None if the store does not answer in time."""
        room = self._room(snapshot.scope)
        limits = (profile.context_tokens, profile.core_tokens, profile.tokens_per_byte, profile.tokens_per_message)
        key = (heads, limits, gone)
        known = room.blocks.get(key)
        if known is not None:
            room.blocks.move_to_end(key)
            return known
        now = self._clock()

        def render() -> Blocks:
            context = without(self._context(snapshot, heads), gone)
            shared, own, ids = core_blocks(context, profile=profile, now=now)
            least = taint(context.by_id[id] for id in ids)
            made = Blocks(texts=tuple(text for text in (shared, own) if text), ids=ids, taint=least)
            if all(entry.valid_until is None is entry.valid_from for entry in context.entries):
                room.blocks[key] = made  # what begins or ends in time is rendered anew for each session
            return made

        trim(room.blocks, MAX_RENDERED)
        return await self.ask(render)

    def spliced(self, snapshot: Snapshot, began: Heads, now: Heads) -> Context:
        """What recall may choose from in a session that began at some heads. Asks the store: call it in a thread."""
        current = self._context(snapshot, now)
        if began == now or began in snapshot.left:
            return current
        try:
            return splice(self._store.context(snapshot.scope, began), current)
        except NotFound:
            return current

    def watch(self, scope: Scope, heads: Heads, ids: Iterable[str]) -> None:
        """Look from now on whether these entries, shown at these heads, are erased or do harm."""
        watched = self._room(scope).watched
        for id in ids:
            watched[id] = heads
            watched.move_to_end(id)
        trim(watched, MAX_WATCHED)

    async def ask(self, question: Callable[[], T]) -> T | None:
        """An answer of the store from a thread; None if it is late or fails."""
        future = self._threads.submit(self._asked, question)
        return future.result() if await self._settled(future) else None

    def close(self) -> None:
        """End the threads; what they are doing is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ── inside ──────────────────────────────────────────────────────────────────────────────

    def _room(self, scope: Scope) -> _Room:
        room = self._rooms.get(scope)
        if room is None:
            room = self._rooms[scope] = _Room()
            trim(self._rooms, MAX_SCOPES)
        self._rooms.move_to_end(scope)
        return room

    @staticmethod
    def _take(room: _Room) -> None:
        """Swap in what was found, if it is there."""
        if room.looking is not None and room.looking.done():
            before, room.snapshot = room.snapshot, room.looking.result() or room.snapshot
            room.looking = None
            if before and room.snapshot and (before.gone, before.left) != (room.snapshot.gone, room.snapshot.left):
                room.blocks.clear()  # what must not be shown is not kept, either

    async def _settled(self, future: Future[T | None]) -> bool:
        done = await settled(future, within_s=self._patience_s if self._patient else 0)
        if not done:
            self._count("store_late")
            self._patient = False
        return done

    def _asked(self, question: Callable[[], T]) -> T | None:
        try:
            found = question()
        except Exception:  # noqa: BLE001 (a boundary: learning fails open)
            LOG.warning("the store did not answer; what is in memory is served", exc_info=True)
            self._count("store_failed")
            self._patient = False
            return None
        self._patient = True
        return found

    def _context(self, snapshot: Snapshot, heads: Heads) -> Context:
        return snapshot.context if heads == snapshot.heads else self._store.context(snapshot.scope, heads)

    def _load(self, scope: Scope, watched: Mapping[str, Heads]) -> Snapshot:
        heads, canaries = self._store.heads(scope), self._store.canaries(scope, ended=True)
        context = self._store.context(scope, heads)
        gone, left = self._urgent(context, watched, stopped=any(one.state == "stopped" for one in canaries))
        live = tuple(one for one in canaries if one.state == "trial")
        return Snapshot(
            scope=scope,
            heads=heads,
            canaries=live,
            context=context,
            recalls=bool(recallable(context)),
            gone=gone,
            left=left,
        )

    def _urgent(
        self, context: Context, watched: Mapping[str, Heads], *, stopped: bool
    ) -> tuple[frozenset[str], frozenset[Heads]]:
        """Of what running sessions show: entries that are erased or quarantined now, and heads that did harm."""
        gone: set[str] = {entry.id for entry in context.entries if entry.status == Status.QUARANTINED}
        left: set[Heads] = set()
        shown: dict[Heads, list[str]] = {}
        for id, heads in watched.items():
            shown.setdefault(heads, []).append(id)
        for heads, ids in shown.items():
            try:
                then = context if heads == context.heads else self._store.context(context.scope, heads)
            except NotFound:  # erased with all that was on it
                left.add(heads)
                continue
            gone |= {id for id in ids if id not in then.by_id or not then.by_id[id].text}
            if stopped and harmed(self._store, then):
                left.add(heads)
        return frozenset(gone), frozenset(left)


def trim(kept: OrderedDict[K, V], most: int) -> None:
    """Forget what was used longest ago."""
    while len(kept) > most:
        kept.popitem(last=False)
