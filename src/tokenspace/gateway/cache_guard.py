"""Watches that what we put into requests does not cost the provider's prompt cache: a measurement and a brake.

For each agent, over windows of calls: the hit rate that the provider reports, and two simulations of a cache of strict
prefixes, of the requests as they are sent, and of the same requests without us (the *shadow*). A real cache serves
less than a simulated one, for reasons that are not ours, so the shadow is scaled by the best share of its simulation
that the provider has ever reached. Where the rate falls more than the margin below that, the agent is frozen for a
while: nothing new is recalled into its requests, and its new sessions keep the old heads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tokenspace.domain import Message, Usage, digest
from tokenspace.gateway.wire import Asked, Injection

BYTES_PER_TOKEN: Final = 4
MAX_PREFIXES: Final = 10_000
MAX_AGENTS: Final = 200

Prefix = tuple[str, int]
"""A digest of everything up to a place, and the tokens up to there."""


class PrefixCache:
    """A simulated provider's cache: the longest known prefix is a hit, in whole blocks, from a least length on.

    A prefix lives for `ttl_s` after its last use.
    """

    def __init__(self, *, block_tokens: int = 128, least_tokens: int = 1_024, ttl_s: float = 300.0) -> None:
        self._block_tokens = block_tokens
        self._least_tokens = least_tokens
        self._ttl_s = ttl_s
        self._used: OrderedDict[str, datetime] = OrderedDict()

    def call(self, prefixes: Sequence[Prefix], at: datetime) -> int:
        """The tokens that are read from the cache; afterwards every prefix is in it."""
        hit = 0
        for key, tokens in prefixes:
            used = self._used.get(key)
            if used is not None and (at - used).total_seconds() <= self._ttl_s:
                hit = max(hit, tokens)
        for key, _ in prefixes:
            self._used[key] = at
            self._used.move_to_end(key)
        while len(self._used) > MAX_PREFIXES:
            self._used.popitem(last=False)
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
        own = list(prefixes(asked))
        sent = list(prefixes(asked, injection)) if injection is not None and not injection.empty else own
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


def prefixes(asked: Asked, injection: Injection | None = None) -> Iterator[Prefix]:
    """The prefixes of a request that end with an item, as they are sent with an injection; sizes are estimates.

    Tools are left out: they are the same in both.
    """
    total = 0
    sizes = list(_sizes(asked))
    lead = _leading(asked)
    running = ""
    for at, place in enumerate(asked.chain):
        if injection is not None:
            if at == lead and injection.blocks:
                running = digest([running, injection.blocks])
                total += _tokens(injection.blocks)
            for anchor in injection.anchors:
                if anchor.at == at:
                    running = digest([running, anchor])
                    total += _tokens([anchor.text, *(turn.text for turn in anchor.turns)])
        total += sizes[at]
        yield f"{place}{running}", total


def _leading(asked: Asked) -> int:
    """How many items are the client's system text: blocks come after them."""
    messages = asked.request.messages
    if len(messages) != len(asked.chain):
        return 0
    return next((at for at, message in enumerate(messages) if message.role not in {"system", "developer"}), 0)


def _sizes(asked: Asked) -> Iterator[int]:
    """Tokens of each item, the system text counted with the first one; an even share where items are no messages."""
    messages, count = asked.request.messages, len(asked.chain)
    extra = len(messages) - count
    if extra in {0, 1}:
        own = [_message_tokens(message) for message in messages]
        yield from ([sum(own[: extra + 1]), *own[extra + 1 :]] if own else [0] * count)
    else:
        yield from [sum(map(_message_tokens, messages)) // count] * count


def _message_tokens(message: Message) -> int:
    return _tokens([message.text, *(f"{call.name}{call.arguments}" for call in message.tool_calls)])


def _tokens(texts: Iterable[str]) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) // BYTES_PER_TOKEN + 4
