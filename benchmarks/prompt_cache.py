"""Does injected context break the provider's prompt cache? Hit rates and input cost of five ways to inject.

    python benchmarks/prompt_cache.py [--quick] [--no-model] [--out FILE]

The same conversations, while lessons keep arriving, go five ways: not injected at all, learned context before the
system prompt, at its end, inside the last user message, and through the real injector (frozen blocks, anchored
replay). The learned text is the same in all four: the core at the newest heads, and what is recalled for the newest
user message; the naive ways render it anew at every call.

* agentic: a long system prompt with tools, tool loops of 30 steps, four sessions at a time.
* chat: a system prompt of middle length, twelve turns, six users at a time.

1. A simulated cache of strict prefixes in blocks of 128 tokens, as at OpenAI, and of 1,024; nothing below 1,024 tokens,
   five minutes to live; a token is four bytes. Cost: reads at .1, all else at 1.25 (writing), against no injection.
2. llama.cpp's own counter of cached tokens, on the embedded model with `cache_prompt`: one conversation after the
   other, smaller, because it has one slot.

Headline: `hit_rate`, `hit_rate_without` and `cost_ratio` are of the agentic workload with blocks of 128. Target: the
hit rate is at least the one without injection less three points.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import _report
from tokenspace.context import core_blocks, recallable, worth_recalling
from tokenspace.domain import Edit, Entry, Kind, Origin, Profile, Put, Scope, Verdict
from tokenspace.gateway.conversations import anchored
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.inject import LedgerInjector
from tokenspace.gateway.wire import Anchor, Caller, GatewaySettings, Injection
from tokenspace.recall import HashEmbedder, HybridRecall
from tokenspace.store import open_store

Body = dict[str, Any]
Message = dict[str, Any]
CHAT = DIALECTS["chat"]
LAYOUTS = ("none", "prepend", "end_of_system", "last_user", "ours")
TOPICS = ("parcel", "refund", "invoice", "password", "address", "delivery", "voucher", "warranty")
VOCABULARY = (
    "about after again also before begin black bring build carry change child clear close colour could course cover "
    "cross differ draw early earth enough every family farm father figure final follow force found friend front garden "
    "gold grand green ground group grow half hand happen hard heard heat help high hold horse hour house hundred idea "
    "island just keep kind knew land large late laugh learn leave letter life light list listen little long main many"
)
TOKEN_BYTES, READ, WRITE = 4, 0.1, 1.25
CLOUD = Profile(model="m", recalled=4, context_tokens=1_000_000)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--no-model", action="store_true", help="the simulation alone, without llama.cpp")
    args = parser.parse_args()
    found = simulated(quick=args.quick)
    if not args.no_model:
        found |= on_llama(quick=args.quick)
    _report.table("prompt cache", found.items(), header=("figure", "value"))
    _report.write("prompt_cache", found, args)


# ── conversations ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What one kind of client does. Sizes are in words; `lesson_every` and `rule_every` are in calls."""

    name: str
    sessions: int
    at_once: int
    calls: int
    system_words: int
    result_words: int
    tools: int
    user_every: int
    pause_s: float
    lesson_every: int = 3
    rule_every: int = 20
    profile: Profile = CLOUD


AGENTIC = Workload(
    name="agentic", sessions=8, at_once=4, calls=30, system_words=3_000, result_words=150, tools=12, user_every=10,
    pause_s=6,
)  # fmt: skip
TALKS = Workload(
    name="chat", sessions=24, at_once=6, calls=12, system_words=900, result_words=120, tools=0, user_every=1, pause_s=12
)


def words(chance: random.Random, count: int) -> str:
    """Text without meaning, about one token a word."""
    return " ".join(chance.choices(VOCABULARY.split(), k=count))


def conversations(load: Workload, chance: random.Random) -> Iterator[tuple[int, Body]]:
    """Requests in order of time, each with the number of its session; sessions overlap."""
    system = {"role": "system", "content": words(chance, load.system_words)}
    tools = [
        {"type": "function", "function": {"name": f"tool_{i}", "description": words(chance, 60), "parameters": {}}}
        for i in range(load.tools)
    ]
    waiting = list(range(load.sessions))
    running: dict[int, tuple[int, list[Message]]] = {}
    while waiting or running:
        while waiting and len(running) < load.at_once:
            running[waiting.pop(0)] = (0, [])
        for session, (step, items) in list(running.items()):
            items.extend(_next(load, step, chance))
            yield session, {"model": "m", "messages": [system, *items], **({"tools": tools} if tools else {})}
            running[session] = (step + 1, items)
            if step + 1 == load.calls:
                del running[session]


def _next(load: Workload, step: int, chance: random.Random) -> list[Message]:
    """What the client adds for its next call: an answer and a new message, or a call of a tool and its result."""
    said = {"role": "assistant", "content": words(chance, 40)}
    if step % load.user_every == 0:
        asked = {"role": "user", "content": f"{chance.choice(TOPICS)} {step} {words(chance, 25)}"}
        return [said, asked] if step else [asked]
    call = {"id": f"call_{step}", "type": "function", "function": {"name": "tool_1", "arguments": '{"q": "x"}'}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": words(chance, load.result_words)},
    ]


class Desk:
    """A store that is taught while the conversations run, and the injector over it."""

    def __init__(self, load: Workload) -> None:
        self.load = load
        self.now = BEGIN
        self.store = open_store("memory:", clock=lambda: self.now)
        self.recall = HybridRecall(HashEmbedder())
        settings = GatewaySettings(recall_deadline_s=20, snapshot_s=0.001)
        self.injector = LedgerInjector(
            self.store, settings=settings, recall=lambda: self.recall, profiles=lambda _: load.profile,
            clock=lambda: self.now,
        )  # fmt: skip
        self._chance = random.Random(7)
        self._calls = 0
        self.injector.warm()
        for _ in range(6):
            self._teach(Kind.RULE)
        for _ in range(12):
            self._teach(Kind.EXAMPLE)

    def scope(self, session: int) -> Scope:
        """Six users share a tenant; what is taught goes to the tenant or to one of them."""
        return Scope(agent="desk", tenant="acme", user=f"user-{session % 6}")

    def step(self) -> None:
        """Time passes, and something is learned."""
        self.now += timedelta(seconds=self.load.pause_s)
        self._calls += 1
        if self._calls % self.load.lesson_every == 0:
            self._teach(Kind.EXAMPLE)
        if self._calls % self.load.rule_every == 0:
            self._teach(Kind.RULE)

    def _teach(self, kind: Kind) -> None:
        chance, topic = self._chance, self._chance.choice(TOPICS)
        scope = self.scope(chance.randrange(6)) if chance.random() < 0.5 else Scope(agent="desk", tenant="acme")
        text = words(chance, 12)
        trigger = f"{topic} {words(chance, 8)}" if kind is Kind.EXAMPLE else None
        entry = Entry(kind=kind, doc="lessons", trigger=trigger, text=text, origin=Origin.USER, pos=self._calls)
        self.store.commit(
            scope, Edit(ops=(Put(entry=entry),)), Verdict(decision="accept", basis="policy", reason="benchmark"),
            expect=self.store.heads(scope).of(scope), author="benchmark", vectors=self.recall.index([entry]),
        )  # fmt: skip

    async def sent(self, layout: str, session: int, body: Body) -> Body:
        """The request as a layout sends it."""
        asked, scope = CHAT.read(body), self.scope(session)
        if layout == "none":
            return body
        if layout == "ours":
            injection = await self.injector.prepare(asked, Caller(rights=frozenset({"infer"}), scope=scope))
            assert injection is not None, self.injector.counts
            return dict(CHAT.inject(body, injection))
        context = self.store.context(scope, self.store.heads(scope))
        shared, own, _ = core_blocks(context, profile=self.load.profile, now=self.now)
        ranked = self.recall.rank(recallable(context), context.vectors, asked.request.query)
        entries = worth_recalling(context, ranked, asked.request, profile=self.load.profile, now=self.now)
        found = anchored(entries, context.heads, self.load.profile)
        turns = "\n\n".join(f"{turn.role}: {turn.text}" for turn in found.turns)
        return _naive(layout, body, "\n\n".join(filter(None, (shared, own, turns, found.text))))


def _naive(layout: str, body: Body, text: str) -> Body:
    items = list(body["messages"])
    if layout == "last_user":
        at = max(i for i, item in enumerate(items) if item["role"] == "user")
        anchor = Injection(anchors=(Anchor(at=at, text=text),), heads=_NO_HEADS)
        return dict(CHAT.inject(body, anchor))
    system = items[0]["content"]
    joined = f"{text}\n\n{system}" if layout == "prepend" else f"{system}\n\n{text}"
    return {**body, "messages": [{**items[0], "content": joined}, *items[1:]]}


_NO_HEADS = open_store("memory:").heads(Scope(agent="desk"))


async def requests(load: Workload, layout: str) -> list[tuple[datetime, Body]]:
    """All requests of a workload as a layout sends them, with their times."""
    desk, found = Desk(load), list[tuple[datetime, Body]]()
    desk.injector._recall.result()  # noqa: SLF001 (loading it is not what is measured)
    for session, body in conversations(load, random.Random(1)):
        desk.step()
        found.append((desk.now, await desk.sent(layout, session, body)))
    desk.injector.flush()
    desk.injector.close()
    return found


# ── a simulated cache ───────────────────────────────────────────────────────────────────────


@dataclass(kw_only=True)
class BlockCache:
    """A provider's cache of strict prefixes: whole blocks, from a least length on, for some time after their use."""

    block_tokens: int
    least_tokens: int = 1_024
    ttl_s: float = 300.0
    used: dict[bytes, datetime] = field(default_factory=dict)
    read: int = 0
    total: int = 0

    def call(self, at: datetime, body: Body) -> None:
        """Count what is read from the cache; afterwards the whole prompt is in it."""
        data = prompt(body)
        running, step = blake2b(digest_size=16), self.block_tokens * TOKEN_BYTES
        hit, going, keys = 0, True, list[bytes]()
        for end in range(step, len(data) + 1, step):
            running.update(data[end - step : end])
            keys.append(running.digest())
            used = self.used.get(keys[-1])
            going = going and used is not None and (at - used).total_seconds() <= self.ttl_s
            hit = end // TOKEN_BYTES if going else hit
        self.used.update(dict.fromkeys(keys, at))
        self.read += hit if hit >= self.least_tokens else 0
        self.total += len(data) // TOKEN_BYTES

    @property
    def rate(self) -> float:
        """Share of the input tokens that were read."""
        return self.read / self.total

    @property
    def cost(self) -> float:
        """In input tokens at list price."""
        return READ * self.read + WRITE * (self.total - self.read)


def prompt(body: Body) -> bytes:
    """The bytes that a model conditions on, in the order of the providers: tools, system, messages."""
    items = [
        f"<{it['role']}>{it.get('content') or ''}{json.dumps(it.get('tool_calls', ''))}" for it in body["messages"]
    ]
    return "\n".join([json.dumps(body.get("tools", []), sort_keys=True), *items]).encode()


def simulated(*, quick: bool) -> dict[str, float]:
    """Hit rates and cost ratios of every workload, layout and block size."""
    found: dict[str, float] = {}
    for load in (AGENTIC, TALKS):
        sent = {layout: asyncio.run(requests(_smaller(load) if quick else load, layout)) for layout in LAYOUTS}
        for block_tokens, mark in ((128, ""), (1_024, "_1024")):
            caches = {layout: _cached(calls, block_tokens) for layout, calls in sent.items()}
            without = caches["none"]
            for layout, cache in caches.items():
                found[f"hit_rate_{load.name}_{layout}{mark}"] = cache.rate
                if layout != "none":
                    found[f"cost_ratio_{load.name}_{layout}{mark}"] = cache.cost / without.cost
    return {
        "hit_rate": found["hit_rate_agentic_ours"],
        "hit_rate_without": found["hit_rate_agentic_none"],
        "cost_ratio": found["cost_ratio_agentic_ours"],
        **found,
    }


def _cached(calls: Sequence[tuple[datetime, Body]], block_tokens: int) -> BlockCache:
    cache = BlockCache(block_tokens=block_tokens)
    for at, body in calls:
        cache.call(at, body)
    return cache


def _smaller(load: Workload) -> Workload:
    return replace(load, sessions=load.at_once)


# ── llama.cpp's own counters ────────────────────────────────────────────────────────────────


def on_llama(*, quick: bool) -> dict[str, float]:
    """Hit rates that llama.cpp reports; nothing where the embedded model is not installed."""
    from tokenspace.models import LlamaModel

    if LlamaModel.available() is not None:
        print("llama.cpp is not measured:", LlamaModel.available())
        return {}
    model = LlamaModel(reuse_prefix=True)
    profile = model.profile
    load = Workload(
        name="llama", sessions=1 if quick else 2, at_once=1, calls=6, system_words=60, result_words=20,
        tools=0, user_every=1, pause_s=5, lesson_every=2, rule_every=4, profile=profile,
    )  # fmt: skip
    ask = _asker(model)
    layouts = ("none", "end_of_system", "ours") if quick else LAYOUTS
    rates = {layout: _llama_rate(ask, asyncio.run(requests(load, layout))) for layout in layouts}
    named = {f"hit_rate_llama_{layout}": rate for layout, rate in rates.items()}
    return {**named, "hit_rate_llama": rates["ours"], "hit_rate_llama_without": rates["none"]}


def _asker(model: Any) -> Callable[[Body], Mapping[str, Any]]:
    def ask(body: Body) -> Mapping[str, Any]:
        request = {"messages": body["messages"], "max_tokens": 1, "temperature": 0, "cache_prompt": True}
        return model._ask(request)["usage"]  # noqa: SLF001 (the raw counters of its server)

    return ask


def _llama_rate(ask: Callable[[Body], Mapping[str, Any]], calls: Sequence[tuple[datetime, Body]]) -> float:
    ask({"messages": [{"role": "user", "content": "Nothing of the other layout shall be left in the cache."}]})
    cached = total = 0
    for _, body in calls:
        usage = ask(body)
        total += usage["prompt_tokens"]
        cached += usage["prompt_tokens_details"]["cached_tokens"]
    return cached / total


if __name__ == "__main__":
    main()
