"""The recorder: keeps what happened, in a thread of its own, so that no request ever waits for it.

Records wait in a bounded queue for one writer, and so does feedback on episodes that are still in it: what was said
comes after what it is about. Where the database cannot be written, everything goes to the spool in the same order and
is written, once, when the database is back. Whatever is lost is counted and said; a request never is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from tokenspace.context.scanner import redacted
from tokenspace.domain import Feedback, Scope
from tokenspace.errors import NotFound, StaleHead, StoreError, StoreUnavailable, TokenspaceError
from tokenspace.gateway.background import BATCH, LINGER_S
from tokenspace.gateway.kept import Kept, keep
from tokenspace.gateway.relay import trace_of
from tokenspace.gateway.said import Said
from tokenspace.gateway.spool import Spool
from tokenspace.gateway.wire import Dialect, Record
from tokenspace.protocols import Store
from tokenspace.store.codec import dumps, loads

LOG: Final = logging.getLogger("tokenspace.gateway")
QUEUE_BYTES: Final = 64_000_000
"""What may wait in memory; a request of 100 KB weighs as much as its texts."""
BATCH_BYTES: Final = 2_000_000
"""What is in hand is in memory several times, parsed and as it is written."""
IDLE_S: Final = 0.5
AGAIN_S: Final = 1.0
MAX_AGAIN_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderStats:
    """Counts since the start. Lost for good are `dropped`, `unspooled` and `failed`.

    `queued` items wait in memory. `written` episodes and feedback are in the database, those among them that were
    `replayed` came from the spool. `dropped` found the queue full, `unspooled` found no database and no spool, `failed`
    can be kept nowhere. `skipped` are requests that the provider let nobody in with: whoever sent them is unknown.
    `away` while the database cannot be written. `last_error` is the last thing that went wrong.
    """

    queued: int = 0
    written: int = 0
    spooled: int = 0
    replayed: int = 0
    dropped: int = 0
    unspooled: int = 0
    failed: int = 0
    skipped: int = 0
    spool_bytes: int = 0
    away: bool = False
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """Something in the queue. `answer` is where whoever said it may wait for what became of it."""

    what: Record | Said
    scope: Scope
    weight: int
    answer: Future[tuple[Feedback, bool] | None] = field(default_factory=Future[tuple[Feedback, bool] | None])


_Pair = tuple[_Item, Kept | Said]


class EpisodeRecorder:
    """Implements `wire.Recorder`.

    `listen` keeps feedback, as `said.Listener` does, and `answered` is told of every answer that was read; both and
    `store` are used in the writer's thread. Without a `spool`, what cannot be written is lost.
    """

    def __init__(
        self,
        store: Store,
        dialects: Mapping[str, Dialect],
        *,
        listen: Callable[[Said], tuple[Feedback, bool]],
        answered: Callable[[Record, Kept], None] = lambda _record, _kept: None,
        spool: Spool | None = None,
        queue_records: int = 10_000,
        queue_bytes: int = QUEUE_BYTES,
        redact: Callable[[str], str] = redacted,
    ) -> None:
        self._store, self._dialects, self._listen, self._redact = store, dialects, listen, redact
        self._answered = answered
        self._spool = spool
        self._limits = (queue_records, queue_bytes)
        self._queue = deque[_Item]()
        self._hand: list[_Item] = []
        self._ready: list[_Pair] = []
        self._bytes = 0
        self._waiting = dict[Scope, int]()
        self._lock, self._wake, self._hurry = threading.Lock(), threading.Event(), threading.Event()
        self._counts = dict.fromkeys(_COUNTED, 0)
        self._last_error = ""
        self._closing = False
        self._away = False
        self._again_at, self._pause_s = 0.0, AGAIN_S
        self._thread: threading.Thread | None = None

    # ── from the event loop ─────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to write; what an earlier process spooled comes first."""
        try:
            self._away = bool(self._spool and self._spool.open())
        except StoreError as error:
            self._note(error)
        self._thread = threading.Thread(target=self._work, name="tokenspace-recorder", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> bool:
        """Whether there was room; never blocks, never raises."""
        if not record.caller.key and record.status in (401, 403):
            self._count("skipped")  # an open door: the provider is who knows the caller, and says it does not
            return True
        weight = len(record.body) + sum(len(message.text) for message in record.asked.request.messages)
        return self._put(_Item(what=record, scope=record.caller.scope, weight=weight))

    def hold(self, said: Said) -> Future[tuple[Feedback, bool] | None] | None:
        """Keep feedback after everything that waits now; None if there is no room.

        The future says what `listen` said, or None for feedback that is in the spool; it raises what `listen` raised.
        """
        item = _Item(what=said, scope=said.feedback.scope, weight=len(str(said.feedback.value)))
        if not self._put(item):
            return None
        self._hurry.set()  # somebody waits for it
        return item.answer

    def behind(self, scope: Scope) -> bool:
        """Whether something of this scope may still have to be written."""
        return self._away or bool(self._waiting.get(scope))

    def stats(self) -> RecorderStats:
        """The counts now."""
        spool_bytes = self._spool.size_bytes if self._spool else 0
        return RecorderStats(
            queued=len(self._queue) + len(self._hand), spool_bytes=spool_bytes, away=self._away,
            last_error=self._last_error, **self._counts,
        )  # fmt: skip

    def close(self, *, deadline_s: float = 10.0) -> bool:
        """Write what waits, spool what cannot be written by then; whether nothing was left. Idempotent; blocks."""
        with self._lock:
            self._closing = True
        self._hurry.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(deadline_s)
        with self._lock:
            left = [*self._hand, *self._queue]
            self._queue.clear()
        # The writer hangs in a database that is locked. What it holds may be written yet: twice changes nothing.
        lost = self._counts["unspooled"] + self._counts["failed"]
        self._spool_all(left)
        if self._spool and not (self._thread and self._thread.is_alive()):
            self._spool.close()
        return self._counts["unspooled"] + self._counts["failed"] == lost

    def _spool_all(self, items: Sequence[_Item]) -> None:
        for item in items:
            try:
                self._to_spool([(item, self._kept(item))])
            except Exception as error:  # noqa: BLE001 - the last chance of the others
                self._fail(item, error)

    def _put(self, item: _Item) -> bool:
        with self._lock:
            most, most_bytes = self._limits
            if self._closing or len(self._queue) >= most or self._bytes + item.weight > most_bytes:
                self._counts["dropped"] += 1
                return False
            self._queue.append(item)
            self._bytes += item.weight
            self._waiting[item.scope] = self._waiting.get(item.scope, 0) + 1
            crowded = len(self._queue) * 2 > most or self._bytes * 2 > most_bytes
        if crowded:
            self._hurry.set()
        if not self._wake.is_set():
            self._wake.set()
        return True

    # ── the writer's thread ─────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while True:
            self._take()
            if not self._hand and self._closing:
                return
            try:
                self._round()
            except Exception as error:  # noqa: BLE001 - the top-level handler of this thread
                self._note(error)
                self._count("failed", len(self._hand))
                _refuse(self._hand, error)
            self._forget_hand()

    def _take(self) -> None:
        self._wake.wait(IDLE_S if self._away else None)
        self._hurry.wait(LINGER_S)  # a turn of this thread costs every request something: several records share one
        with self._lock:
            weight = 0
            while self._queue and len(self._hand) < BATCH and weight < BATCH_BYTES:
                self._hand.append(self._queue.popleft())
                weight += self._hand[-1].weight
            self._bytes -= weight
            if not self._queue and not self._closing:
                self._wake.clear()
                self._hurry.clear()

    def _round(self) -> None:
        if self._away:
            self._return()
        self._parse()
        # Records that follow one another go into one transaction; what is said about them comes after.
        for said, several in groupby(self._ready, key=lambda one: isinstance(one[1], Said)):
            group = list(several)
            for part in [[one] for one in group] if said else [group]:
                if not self._away:
                    self._write(part)
                if self._away:
                    self._to_spool(part)

    def _parse(self) -> None:
        """`_ready`: what is in hand, as it is kept, without what cannot be read."""
        self._ready = []
        for item in self._hand:
            try:
                self._ready.append((item, self._kept(item)))
            except Exception as error:  # noqa: BLE001 - one record that cannot be read must not take others along
                self._fail(item, error)

    def _forget_hand(self) -> None:
        with self._lock:
            for item in self._hand:
                left = self._waiting[item.scope] - 1
                if left:
                    self._waiting[item.scope] = left
                else:
                    del self._waiting[item.scope]
            self._hand = []

    def _write(self, part: Sequence[_Pair]) -> None:
        """Into the database; sets `_away` where that cannot be written. Every step may be done twice."""
        try:
            told = self._keep([kept for _, kept in part])
        except StoreError as error:
            if isinstance(error, (NotFound, StaleHead)):
                _refuse([item for item, _ in part], error)
            else:
                self._leave(error)
            return
        except Exception as error:  # noqa: BLE001 - nor one that cannot be kept
            if len(part) > 1:
                for one in part:
                    if not self._away:
                        self._write([one])
                    if self._away:
                        self._to_spool([one])
            else:
                self._fail(part[0][0], error)
            return
        self._count("written", len(part))
        for item, _ in part:
            _tell(item, told)

    def _kept(self, item: _Item) -> Kept | Said:
        if isinstance(item.what, Said):
            return item.what
        kept = keep(item.what, self._dialects, redact=self._redact)
        self._answered(item.what, kept)
        return kept

    def _keep(self, several: Sequence[Kept | Said]) -> tuple[Feedback, bool] | None:
        first = several[0]
        if isinstance(first, Said):
            return self._listen(first)
        kept = [one for one in several if isinstance(one, Kept)]
        answers = {one.episode.id: one.answer for one in kept if one.answer}
        self._store.record_all([one.episode for one in kept], answers=answers)
        return None

    def _fail(self, item: _Item, error: Exception) -> None:
        if isinstance(item.what, Record):  # of feedback whoever said it is told, and may say it better
            self._lost(error)
        _refuse([item], error)

    # ── without a database ──────────────────────────────────────────────────────────────────

    def _leave(self, error: Exception) -> None:
        self._note(error)
        LOG.warning("the database cannot be written, episodes are spooled: %s", self._last_error)
        self._away = True
        self._again_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_AGAIN_S)

    def _return(self) -> None:
        """Write a part of the spool, if it is time to try; the database is back when all of it is written."""
        if time.monotonic() < self._again_at or (self._closing and self._again_at):
            return
        try:
            self._replay()
        except StoreError as error:
            self._leave(error)

    def _replay(self) -> None:
        lines = self._spool.next(BATCH) if self._spool else []
        for _, line in lines:
            try:
                self._keep([_read(line)])
            except (NotFound, StaleHead) as error:
                self._lost(error)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - nor must one line
                self._lost(error)
            else:
                self._count("written")
                self._count("replayed")
        if self._spool and self._spool.size_bytes:
            self._spool.done(lines[-1][0] if lines else self._spool.size_bytes)
        if not (self._spool and self._spool.size_bytes):
            self._away, self._again_at, self._pause_s = False, 0.0, AGAIN_S
        else:
            self._wake.set()  # there is more, and no reason to wait

    def _to_spool(self, part: Sequence[_Pair]) -> None:
        items = [item for item, _ in part]
        try:
            (self._spool or _NoSpool()).append([_line(kept) for _, kept in part])
        except StoreError as error:
            self._note(error)
            LOG.error("%d records are lost: %s", len(items), self._last_error)  # noqa: TRY400 - it may quote a request
            self._count("unspooled", len(items))
            _refuse(items, error)
            return
        self._count("spooled", len(items))
        for item in items:
            _tell(item, None)

    # ── counting ────────────────────────────────────────────────────────────────────────────

    def _lost(self, error: Exception) -> None:
        self._note(error)
        LOG.error("a record is lost: %s", self._last_error)
        self._count("failed")

    def _note(self, error: Exception) -> None:
        # Of an error that is not ours only where it happened: its words may quote a request.
        words = str(error) if isinstance(error, TokenspaceError) else trace_of(error)
        self._last_error = self._redact(words)[:500]

    def _count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by


class _NoSpool:
    """Where there is none."""

    def append(self, lines: Sequence[str]) -> None:
        """Raises `StoreUnavailable`."""
        raise StoreUnavailable("the database cannot be written, and there is no spool", hint="name one: --spool FILE")


_COUNTED: Final[tuple[str, ...]] = ("written", "spooled", "replayed", "dropped", "unspooled", "failed", "skipped")


def _tell(item: _Item, what: tuple[Feedback, bool] | None) -> None:
    with suppress(InvalidStateError):  # whoever asked left, or was told already when the gateway ended
        item.answer.set_result(what)


def _refuse(items: Sequence[_Item], error: Exception) -> None:
    for item in items:
        with suppress(InvalidStateError):
            item.answer.set_exception(error)


def _line(kept: Kept | Said) -> str:
    name = "said" if isinstance(kept, Said) else "kept"
    return f'{{"{name}":{dumps(kept)}}}'


def _read(line: str) -> Kept | Said:
    """The inverse of `_line`. Raises whatever a line raises that is damaged."""
    kinds: dict[str, type[Kept | Said]] = {'{"said":': Said, '{"kept":': Kept}
    return loads(kinds[line[:8]], line[8:-1])
