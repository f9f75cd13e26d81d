"""Watches that what we put into requests does not cost the provider's prompt cache: a measurement and a brake.

For each agent, over windows of calls: the hit rate that the provider reports, and two simulations of a cache of strict
prefixes, of the requests as they are sent, and of the same requests without us (the *shadow*). A real cache serves
less than a simulated one, for reasons that are not ours, so the shadow is scaled by the best share of its simulation
that the provider has ever reached. Where the rate falls more than the margin below that, the agent is frozen for a
while: nothing new is recalled into its requests, and its new sessions keep the old heads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import Final

from tokenspace.domain import Message, Usage, digest
from tokenspace.gateway.wire import Anchor, Asked, Injection

BYTES_PER_TOKEN: Final = 4
MAX_PREFIXES: Final = 5_000
MAX_AGENTS: Final = 200

Prefix = tuple[int, int]
"""A hash of everything up to a place, small because many are kept, and the tokens up to there."""


class PrefixCache:
    """A simulated provider's cache: the longest known prefix is a hit, in whole blocks, from a least length on.

    A prefix lives for `ttl_s` after its last use.
    """

    def __init__(self, *, block_tokens: int = 128, least_tokens: int = 1_024, ttl_s: float = 300.0) -> None:
        self._block_tokens = block_tokens
        self._least_tokens = least_tokens
        self._ttl = timedelta(seconds=ttl_s)
        self._used: OrderedDict[int, datetime] = OrderedDict()

    def call(self, prefixes: Sequence[Prefix], at: datetime) -> int:
        """The tokens that are read from the cache; afterwards every prefix is in it."""
        hit, known, oldest = 0, self._used, at - self._ttl
        for key, tokens in prefixes:
            used = known.get(key)
            if used is not None and used >= oldest:
                hit = max(hit, tokens)
        for key, _ in prefixes:
            known[key] = at
            known.move_to_end(key)
        while len(known) > MAX_PREFIXES or (known and next(iter(known.values())) < oldest):
            known.popitem(last=False)
        hit -= hit % self._block_tokens
        return hit if hit >= self._least_tokens else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of input tokens, in [0, 1], over a window of calls; `measured` is None if the provider reports no hits."""

    calls: int
    measured: float | None
    simulated: float
    shadow: float


@dataclass(slots=True)
class _Window:
    calls: int = 0
    reported: int = 0
    cached: int = 0
    tokens: int = 0
    hits: int = 0
    shadow_tokens: int = 0
    shadow_hits: int = 0

    def rates(self) -> Rates:
        return Rates(
            calls=self.calls,
            measured=self.cached / self.reported if self.cached else None,
            simulated=self.hits / max(1, self.tokens),
            shadow=self.shadow_hits / max(1, self.shadow_tokens),
        )


@dataclass(slots=True)
class _Agent:
    sent: PrefixCache = field(default_factory=PrefixCache)
    shadow: PrefixCache = field(default_factory=PrefixCache)
    window: _Window = field(default_factory=_Window)
    last: Rates | None = None
    reach: float = 0.0
    until: datetime | None = None


class CacheGuard:
    """Told of every call by the recorder, asked by the injector. `margin` is in shares: .03 are three points."""

    def __init__(self, *, margin: float = 0.03, window_calls: int = 200, pause_s: float = 3_600.0) -> None:
        self._margin = margin
        self._window_calls = window_calls
        self._pause_s = pause_s
        self._agents: OrderedDict[str, _Agent] = OrderedDict()

    def note(self, agent: str, asked: Asked, injection: Injection | None, usage: Usage, at: datetime) -> None:
        """One call that was answered. `usage` is the provider's; without input tokens it does not count."""
        known = self._agents.setdefault(agent, _Agent())
        self._agents.move_to_end(agent)
        while len(self._agents) > MAX_AGENTS:
            self._agents.popitem(last=False)
        if not asked.chain or not usage.input_tokens:
            return
        own, sent = prefixes(asked, injection)
        window = known.window
        window.calls += 1
        window.reported += usage.input_tokens
        window.cached += usage.cached_tokens
        window.hits += known.sent.call(sent, at)
        window.tokens += sent[-1][1]
        window.shadow_hits += known.shadow.call(own, at)
        window.shadow_tokens += own[-1][1]
        if known.until is not None and at >= known.until:
            known.until = None
        if window.calls >= self._window_calls:
            self._judge(known, at)

    def frozen(self, agent: str) -> bool:
        """Whether nothing new may be put into this agent's requests for now."""
        known = self._agents.get(agent)
        return known is not None and known.until is not None

    def rates(self, agent: str) -> Rates | None:
        """Of the last full window, or of the one that is not full yet; None if nothing is known of the agent."""
        known = self._agents.get(agent)
        if known is None or (known.last is None and not known.window.calls):
            return None
        return known.last or known.window.rates()

    def _judge(self, known: _Agent, at: datetime) -> None:
        rates = known.last = known.window.rates()
        known.window = _Window()
        found, expected = rates.simulated, rates.shadow
        if rates.measured is not None and rates.simulated > 0:
            known.reach = max(known.reach, min(1.0, rates.measured / rates.simulated))
            found, expected = rates.measured, rates.shadow * known.reach
        if found < expected - self._margin:
            known.until = at + timedelta(seconds=self._pause_s)


def prefixes(asked: Asked, injection: Injection | None = None) -> tuple[list[Prefix], list[Prefix]]:
    """The prefixes of a request that end with an item, without us and as it is sent; sizes are estimates.

    Tools are left out: they are the same in both.
    """
    sizes = _sizes(asked)
    own = list(zip(map(hash, asked.chain), accumulate(sizes), strict=True))
    if injection is None or injection.empty:
        return own, own
    anchors: dict[int, list[Anchor]] = {}
    for anchor in injection.anchors:
        anchors.setdefault(anchor.at, []).append(anchor)
    sent: list[Prefix] = []
    lead, running, more = _leading(asked), "", 0
    for at, (place, (_, tokens)) in enumerate(zip(asked.chain, own, strict=True)):
        if at == lead and injection.blocks:
            running, added = _after_blocks(running, injection.blocks)
            more += added
        for anchor in anchors.get(at, ()):
            running = digest([running, anchor])
            more += _tokens([anchor.text, *(turn.text for turn in anchor.turns)])
        sent.append((hash(place + running), tokens + more))
    return own, sent


@lru_cache(maxsize=256)
def _after_blocks(running: str, blocks: tuple[str, ...]) -> tuple[str, int]:
    """The running digest after blocks, and their tokens: they are the same in call after call."""
    return digest([running, blocks]), _tokens(blocks)


def _leading(asked: Asked) -> int:
    """How many items are the client's system text: blocks come after them."""
    messages = asked.request.messages
    if len(messages) != len(asked.chain):
        return 0
    return next((at for at, message in enumerate(messages) if message.role not in {"system", "developer"}), 0)


def _sizes(asked: Asked) -> list[int]:
    """Tokens of each item, the system text counted with the first one; an even share where items are no messages."""
    count = len(asked.chain)
    each = [_message_tokens(message) for message in asked.request.messages]
    extra = len(each) - count
    if extra in {0, 1}:
        return [sum(each[: extra + 1]), *each[extra + 1 :]] if each else [0] * count
    return [sum(each) // count] * count


def _message_tokens(message: Message) -> int:
    texts = [message.text]
    if message.tool_calls:
        texts += [f"{call.name}{call.arguments}" for call in message.tool_calls]
    return _tokens(texts)


def _tokens(texts: Iterable[str]) -> int:
    size = 0
    for text in texts:
        size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return size // BYTES_PER_TOKEN + 4
