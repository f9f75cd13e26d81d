"""What was learned for a request: frozen blocks, and recalled entries anchored where they first appeared.

Providers cache strict prefixes, so nothing that was sent once may change. The blocks of a conversation are those of the
heads that it began with (I14). What is recalled for a user message is chosen once, when that message is the newest,
and is replayed byte for byte on every later call. Only erasure and harm do not wait. Everything here is in memory;
whatever is late or fails costs what was learned, never the request.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from tokenspace.config import utc_now
from tokenspace.context import recallable, worth_recalling
from tokenspace.context.render import message_tokens
from tokenspace.context.renderers import carried
from tokenspace.domain import Entry, Heads, Kind, Origin, Profile, Scope
from tokenspace.gateway.background import LOG, Later, settled
from tokenspace.gateway.cache_guard import CacheGuard
from tokenspace.gateway.conversations import Anchored, Conversations, Talk, anchored, new_talk, text_digest
from tokenspace.gateway.kept import Kept
from tokenspace.gateway.snapshots import MAX_SCOPES, Snapshot, Snapshots, trim
from tokenspace.gateway.wire import Asked, Caller, GatewaySettings, Injection, Record
from tokenspace.models.profiles import UNKNOWN, profile_of
from tokenspace.protocols import Recall, Store

MAX_SESSION_S: Final = 86_400.0
"""After a day a conversation takes the new heads however busy it is: a name that a client uses for all that it does
must not stop its learning for ever."""
PATIENCE: Final = 3
"""What was never loaded is waited for so many times as long as recall: without it, a conversation begins bare."""
MAX_WAITING: Final = 10_000
"""So many writes of sessions and anchors may wait for the store."""
BYTES_PER_TOKEN: Final = 3.0
"""A cautious guess of the real cost of text, where a profile gives an upper bound only."""


def default_recall() -> Recall:
    """The ranking that the product uses."""
    from tokenspace.recall import HybridRecall, default_embedder

    return HybridRecall(default_embedder())


class LedgerInjector:
    """Implements `Injector`. One for each process; used from its event loop.

    `recall` is made, and its embedder loaded, in a thread when first something could be recalled; until then there are
    blocks only. `profiles` gives the profile of a model by the name that the client uses. `counts` says how often what
    happened: requests (injected, empty), what was late or failed, writes that were lost, anchors that were withdrawn.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings: GatewaySettings,
        recall: Callable[[], Recall] = default_recall,
        profiles: Callable[[str], Profile] = profile_of,
        clock: Callable[[], datetime] = utc_now,
        guard: CacheGuard | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._make_recall = recall
        self._profiles = lru_cache(maxsize=256)(profiles)
        self._clock = clock
        self._guard = guard
        self._snapshots = Snapshots(
            store,
            clock=clock,
            snapshot_s=settings.snapshot_s,
            patience_s=settings.recall_deadline_s * PATIENCE,
            count=self._count,
        )
        self._later = Later(
            most=MAX_WAITING, name="tokenspace-ledger", lost=lambda: self._count("lost"), together=store.together
        )
        self._talks = Conversations(store, self._later)
        self._threads = ThreadPoolExecutor(1, "tokenspace-recall")
        self._warming = threading.Lock()
        self._recall: Future[Recall | None] | None = None
        self._begun: OrderedDict[Scope, Heads] = OrderedDict()

    async def prepare(self, asked: Asked, caller: Caller) -> Injection | None:
        """The injection, or None to send the original bytes; never raises."""
        try:
            made = await self._prepare(asked, caller)
        except Exception:  # noqa: BLE001 (a boundary: learning fails open)
            LOG.exception("nothing is injected")
            self._count("failed")
            return None
        self._count("bare" if made is None else "empty" if made.empty else "injected")
        return made

    def answered(self, record: Record, kept: Kept) -> None:
        """Learn from a record which conversation a response id belongs to, and what the provider's cache did.

        For the recorder, which calls it in its own thread.
        """
        scope = record.caller.scope
        goes_on = record.dialect == "responses"  # in the others no request names an earlier answer
        if goes_on and kept.answer and record.injection is not None and record.injection.session:
            self._talks.answered(scope, kept.answer, record.injection.session)
        if self._guard is not None:
            self._guard.note(scope.agent, record.asked, record.injection, kept.episode.run.usage, record.at)

    def warm(self) -> Future[Recall | None]:
        """Load recall now, in its thread, and not when it is first wanted; done when it is there, or cannot be.

        May be called from any thread.
        """
        with self._warming:
            if self._recall is None:
                self._recall = self._threads.submit(self._load_recall)
            return self._recall

    def flush(self) -> None:
        """Block until all that was to be kept is in the store."""
        self._later.flush()

    async def start(self) -> None:
        """Open the store and look at the gateway's own scope, so that the first request need not wait for that."""
        await self._snapshots.of(Scope(agent=self._settings.agent, tenant=self._settings.tenant))

    async def stop(self) -> None:
        """As `close`, without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def close(self, *, within_s: float = 5.0) -> None:
        """Keep what is waiting, and end the threads."""
        self._later.close(within_s=within_s)
        self._snapshots.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ── one request ─────────────────────────────────────────────────────────────────────────

    async def _prepare(self, asked: Asked, caller: Caller) -> Injection | None:
        now, profile = self._clock(), self._profiles(asked.model)
        snapshot = await self._snapshots.of(caller.scope)
        talk = snapshot and await self._talk(snapshot, caller.session or "", asked, now)
        if snapshot is None or talk is None or not await self._with_blocks(snapshot, talk, profile):
            return None
        current = snapshot.assigned(talk.unit)
        self._withdraw(snapshot, talk, current)
        await self._anchor(snapshot, talk, asked, profile=profile, current=current, now=now)
        talk.seen = now
        self._talks.keep(caller.scope, talk, asked)
        injection = _injection(talk, asked, current)
        due = talk.saved is None or (now - talk.saved).total_seconds() * 4 > self._settings.idle_session_s
        if due and current != Heads():  # where nothing was learned there is nothing to freeze
            self._talks.save(caller.scope, talk, now)
        if not _fits(asked, injection, profile):
            self._count("too_long")
            return None
        return injection

    async def _talk(self, snapshot: Snapshot, name: str, asked: Asked, now: datetime) -> Talk | None:
        """The conversation that goes on or begins; None if the store did not say in time whether it knows it."""
        scope, idle_s = snapshot.scope, self._settings.idle_session_s
        talk = self._talks.find(scope, name, asked)
        if talk is None and (name or asked.previous or len(asked.anchors) > 1 or _newest(asked) is None):
            found = await self._snapshots.ask(lambda: (self._talks.look_up(scope, name, asked, now, idle_s),))
            if found is None:
                return None
            (talk,) = found
            for made in talk.anchors.values() if talk else ():
                self._snapshots.watch(scope, made.heads, made.ids)
        if talk is not None and not self._over(snapshot, talk, asked, now):
            return talk
        begun = new_talk(name, snapshot.heads, now, again=talk is not None)
        begun.heads = snapshot.assigned(begun.unit)
        if self._guard is not None and self._guard.frozen(scope.agent):
            begun.heads = self._begun.get(scope, begun.heads)
        self._begun[scope] = begun.heads
        trim(self._begun, MAX_SCOPES)
        if talk is not None and talk.heads in snapshot.left:
            begun.anchors = talk.anchors
        return begun

    def _over(self, snapshot: Snapshot, talk: Talk, asked: Asked, now: datetime) -> bool:
        """Whether a new session begins: after a pause or a day, where harm was done, or with the same words again."""
        idle = (now - talk.seen).total_seconds() > self._settings.idle_session_s
        aged = (now - talk.began).total_seconds() > MAX_SESSION_S
        current = snapshot.assigned(talk.unit)
        harm = talk.heads in snapshot.left and talk.heads != current
        first = bool(asked.chain) and asked.chain[asked.last] == talk.first
        again = not talk.name and first and (len(talk.ends) > 1 or talk.heads != current)
        return idle or aged or harm or again

    async def _with_blocks(self, snapshot: Snapshot, talk: Talk, profile: Profile) -> bool:
        """Whether the conversation has its blocks, without anything that must not be shown any more."""
        if talk.blocks is None or not snapshot.gone.isdisjoint(talk.blocks.ids):
            blocks = await self._snapshots.blocks(snapshot, talk.heads, profile=profile, gone=snapshot.gone)
            if blocks is None:
                return False
            talk.blocks = blocks
            self._snapshots.watch(snapshot.scope, talk.heads, blocks.ids)
        return True

    def _withdraw(self, snapshot: Snapshot, talk: Talk, current: Heads) -> None:
        """Take back what was anchored and has been erased or did harm since: that does not wait (I14)."""
        if not snapshot.gone and not snapshot.left:
            return
        for place, made in list(talk.anchors.items()):
            harm = made.heads in snapshot.left and made.heads != current and made.shown
            if harm or not snapshot.gone.isdisjoint(made.ids):
                del talk.anchors[place]
                self._count("withdrawn")

    # ── what is recalled ────────────────────────────────────────────────────────────────────

    async def _anchor(
        self, snapshot: Snapshot, talk: Talk, asked: Asked, *, profile: Profile, current: Heads, now: datetime
    ) -> None:
        """Choose for a message that is new, or comes again after something was learned; all else is replayed."""
        place = _newest(asked)
        known = talk.anchors.get(place) if place else None
        held = self._guard is not None and self._guard.frozen(snapshot.scope.agent)
        if place is None or held or (known is not None and known.heads == current):
            return
        if snapshot.recalls or current != snapshot.heads or talk.heads != current:
            made = await self._recalled(snapshot, talk, asked, profile=profile, current=current, now=now)
        else:
            made = Anchored(heads=current)
        if made is None:
            return
        talk.put(place, made)
        self._snapshots.watch(snapshot.scope, current, made.ids)
        if current != Heads():
            self._talks.save_anchor(snapshot.scope, talk, place)

    async def _recalled(
        self, snapshot: Snapshot, talk: Talk, asked: Asked, *, profile: Profile, current: Heads, now: datetime
    ) -> Anchored | None:
        """What matters for the newest message; None if that was not to be known in time."""
        recall = self._ready()
        if recall is None:
            self._count("recall_not_ready")
            return None
        before = asked.chain[: asked.last] if not asked.previous else (*talk.anchors,)
        earlier = [one for place in before if place in talk.anchors for one in talk.anchors[place].shown]

        def choose() -> Anchored | None:
            try:
                context = self._snapshots.spliced(snapshot, talk.heads, current)
                ranked = recall.rank(recallable(context), context.vectors, asked.request.query)
                said = [id for id, text in earlier if id in context.by_id and text_digest(context.by_id[id]) == text]
                shown = carried(profile, context)
                entries = worth_recalling(context, ranked, asked.request, profile=shown, now=now, said=said)
                return anchored(entries, current, shown)
            except Exception:  # noqa: BLE001 (a boundary: blocks still go)
                LOG.exception("recall failed, the blocks go without it")
                self._count("recall_failed")
                return None

        future = self._threads.submit(choose)
        if not await settled(future, within_s=self._settings.recall_deadline_s):
            self._count("recall_late")
            future.cancel()
            return None
        return future.result()

    def _ready(self) -> Recall | None:
        """Recall, once it is loaded."""
        recall = self.warm()
        return recall.result() if recall.done() else None

    def _load_recall(self) -> Recall | None:
        try:
            recall = self._make_recall()
            recall.index([Entry(kind=Kind.RULE, doc="rules", text="load the embedder")])
        except Exception:  # noqa: BLE001 (a boundary: blocks still go)
            LOG.exception("recall cannot be loaded: there will be blocks only")
            return None
        return recall

    def _count(self, what: str) -> None:
        self.counts[what] += 1


def _newest(asked: Asked) -> str | None:
    """The place of the newest user message, if nothing has come after it; else nothing new may be put anywhere.

    A harness's reminder at the very end is no answer to it. What is recalled goes before the message's own words, so it
    precedes the reminder, and stays where it is when that is moved or left out on the next call.
    """
    return asked.chain[asked.last] if asked.anchors[-1:] == (asked.last,) else None


def _injection(talk: Talk, asked: Asked, current: Heads) -> Injection:
    found = [(at, talk.anchors[asked.chain[at]]) for at in asked.anchors if asked.chain[at] in talk.anchors]
    recalled = dict.fromkeys(id for _, made in found for id in made.ids)
    return Injection(
        blocks=talk.blocks.texts if talk.blocks else (),
        anchors=tuple(made.at(at) for at, made in found if made.text or made.turns),
        heads=current,
        # A skill whose body was recalled beside its line in the index is named twice.
        shown=(*(talk.blocks.ids if talk.blocks else ()), *recalled),
        taint=min((talk.blocks.taint if talk.blocks else Origin.OPERATOR, *(made.taint for _, made in found))),
        session=talk.name or talk.id,
    )


@lru_cache(maxsize=256)
def _is_unknown(profile: Profile) -> bool:
    return profile == replace(UNKNOWN, model=profile.model)


def _fits(asked: Asked, injection: Injection, profile: Profile) -> bool:
    """Whether a request that the model would take is still one; of a model that is not known, nobody can say."""
    if injection.empty or _is_unknown(profile):
        return True
    own = message_tokens(replace(profile, tokens_per_byte=1 / BYTES_PER_TOKEN), asked.request.messages)
    turns = message_tokens(profile, [turn for anchor in injection.anchors for turn in anchor.turns])
    texts = (*injection.blocks, *(anchor.text for anchor in injection.anchors))
    return own + turns + sum(profile.count_tokens(text) for text in texts) <= profile.context_tokens
