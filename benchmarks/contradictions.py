"""Planted contradictions and passing failures: is the right one served, and is anything believed that has passed?

Four kinds of pairs are stated to the real loop, each in words of a person or as an operator's own entry, and asked
about afterwards: a newer fact against an older one (every second time the older one is reported last), an operator's
fact against a user's later word (every second time in a shared layer), a condition against the general case (asked
about with the condition and without it), and plain noise: a fact about something else that is alike in words. A pair is
right if the prompt holds the right statement and not the wrong one; of a pair with a condition both questions must be.

Then failures that pass are stated ("the billing service is down …") beside standing rules and failures that last, time
goes on by eight days, and the sleep's own proposers run under the real gate. None of the first may be in a prompt or in
the context afterwards; the standing rules must all be there, and what its cases still need must have been renewed.

Beside it: append-everything, which keeps all statements as notes and recalls them alike. It is right in the strict
sense where the wrong statement happens not to be recalled; `…_last` credits it with a reader that believes the note
that was written last.

Everything is deterministic and needs no network and no model: the agent is scripted, the embedder is the default one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import _report
from tokenspace import loop
from tokenspace.agents import ChatAgent
from tokenspace.budget import Budget
from tokenspace.domain import (
    Edit,
    Entry,
    Feedback,
    Kind,
    Message,
    Origin,
    Profile,
    Prompt,
    Put,
    Request,
    Run,
    Scope,
    Signal,
    Verdict,
)
from tokenspace.gates import ReplayGate
from tokenspace.graders import build
from tokenspace.models import ScriptedModel
from tokenspace.proposers import Adopt, Consolidate, Expire, Fact
from tokenspace.recall import HybridRecall, default_embedder
from tokenspace.store import open_store

PEOPLE, PAIRS = 8, 25  # people × pairs of each kind = 200 pairs of each kind
FAILURES = 50
START = datetime(2026, 1, 1, tzinfo=UTC)

THINGS = (
    "Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ivy", "Juniper", "Larch", "Maple",
    "Oak", "Pine", "Rowan", "Spruce", "Teak", "Walnut", "Yew", "Willow",
)  # fmt: skip
WHAT = (
    "refund window", "delivery time", "support phone number", "monthly fee", "parcel limit", "opening hour",
    "discount rate", "battery life", "warranty period", "minimum order", "cancellation fee", "trial length",
)  # fmt: skip
CONDITIONS = (
    "premium customers", "orders from abroad", "students", "gift cards", "wholesale buyers", "weekend orders",
    "first orders", "members of staff",
)  # fmt: skip
SERVICES = (
    "billing service", "search tool", "address lookup", "payment gateway", "mail server", "stock database",
    "login service", "translation tool", "calendar connector", "ticket system",
)  # fmt: skip
FAILED = (
    "The {} is down.", "The {} timed out, so do not use it.", "Never call the {}: it returns HTTP 503.",
    "The {} is currently unavailable; tell people to come back tomorrow.", "There is an outage of the {}.",
    "We hit the rate limit of the {}, avoid it.", "The {} keeps failing, answer without it.",
    "Connection refused by the {}; skip that step.", "The {} does not answer at the moment.",
    "The {} is under maintenance.",
)  # fmt: skip
STANDING = (
    "When the {} is down, say so and offer a call.", "Set the timeout of the {} to 30 seconds.",
    "The rate limit of the {} is 100 a minute.", "Ask for the order number before you use the {}.",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question, the statement that its prompt must hold, and the one that it must not ("" for any)."""

    query: str
    right: str
    wrong: str = ""


class Desk:
    """One person's context under the real loop and gate. `keyed`: facts are read and settled; else all are notes."""

    def __init__(self, recall: HybridRecall, *, keyed: bool, person: int = 0) -> None:
        seconds = count()
        self.later, self.keyed = timedelta(), keyed
        profile = Profile(model="scripted", context_tokens=100_000, core_tokens=20_000, deterministic=True)
        model = ScriptedModel(self._answer, profile=profile)
        store = open_store("memory:", clock=self._clock(seconds))
        self.run = loop.Runtime(store=store, recall=recall, agent=ChatAgent(model), clock=self._clock(seconds))
        self.gate = ReplayGate(self.run, build)
        self.scope = Scope(agent="desk", tenant="acme", user=f"user{person}")

    def _clock(self, seconds: Any) -> Any:
        return lambda: START + timedelta(seconds=next(seconds)) + self.later

    def _answer(self, prompt: Prompt, _: int) -> str:
        """Right, unless the question needs a sign that no note gives."""
        text = " ".join((prompt.system, *(message.text for message in prompt.messages)))
        signs = [word for word in text.split() if word.startswith("SIGN")]
        return "wrong" if signs and signs[-1] not in signs[:-1] and "please" in text.split()[-1] else "right"

    def say(self, query: str, value: str, signal: Signal = Signal.TEXT) -> Feedback:
        """A request and what the person says about its answer."""
        request = Request(messages=(Message(role="user", text=query),))
        heads = self.run.store.heads(self.scope)
        episode = loop.Episode(scope=self.scope, heads=heads, request=request, run=Run(output="?"), at=self.run.clock())
        self.run.store.record(episode)
        said = Feedback(
            scope=self.scope, episode=episode.id, principal=self.scope.user, signal=signal, value=value,
            at=self.run.clock(),
        )  # fmt: skip
        loop.observe(self.run, said)
        return said

    def state(self, words: str) -> None:
        """A statement in words, learned through the loop; as a note where facts are not keyed."""
        if not self.keyed:
            self.write(self.scope, Entry(kind=Kind.FACT, doc="notes", text=words, origin=Origin.USER))
            return
        said = self.say("Is that so?", words)
        for proposer in (Fact(), Adopt(facts=True)):
            asyncio.run(loop.learn(self.run, proposer, self.gate, feedback=[said], budget=Budget()))

    def write(self, scope: Scope, entry: Entry) -> None:
        """A person's own edit."""
        entry = entry if self.keyed else replace(entry, key="", valid_from=None, trigger=None)
        store = self.run.store
        store.commit(
            scope, Edit(ops=(Put(entry=entry),)), Verdict(decision="accept", basis="human"),
            expect=store.heads(scope).of(scope), author="operator", vectors=self.run.recall.index([entry]),
        )  # fmt: skip

    def shown(self, query: str) -> list[str]:
        """Texts of the entries in the prompt for a question, in the order in which they were written."""
        context = self.run.store.context(self.scope, self.run.store.heads(self.scope))
        request = Request(messages=(Message(role="user", text=query),))
        profile = self.run.agent.profile
        prompt = loop.render(self.run.recall, context, request, profile=profile, now=self.run.clock())
        return [context.by_id[id].text for id in sorted(prompt.included)]

    def sleep(self) -> None:
        """The sleep's proposers that need no model."""
        store, clock = self.run.store, self.run.clock
        proposers = (Expire(store=store, clock=clock), Consolidate(self.run.recall, store=store, clock=clock))

        async def all_of_it() -> None:
            budget = Budget()
            async for _ in loop.sleep(self.run, self.scope, proposers, self.gate, budget=budget, again=budget):
                pass

        asyncio.run(all_of_it())


# ── contradictions ───────────────────────────────────────────────────────────────────────────


def plant(desk: Desk, kind: str, key: str, number: int, rng: random.Random) -> list[Asked]:
    """State one pair and return what to ask about it."""
    old, new = (f"{value} units" for value in rng.sample(range(10, 99), 2))
    query = f"What is the {key}?"
    one, other = f"The {key} is {old}", f"The {key} is {new}"
    if kind == "newer":
        if number % 2:
            desk.state(f"{one} from 2025-06-01")
            desk.state(f"{other} from 2025-01-01")
            return [Asked(query=query, right=f"{one} from 2025-06-01", wrong=f"{other} from 2025-01-01")]
        desk.state(one)
        desk.state(other)
        return [Asked(query=query, right=other, wrong=one)]
    if kind == "authority":
        layer = desk.scope if number % 2 else Scope(agent="desk", tenant="acme")
        policy = Entry(kind=Kind.FACT, doc="facts", text=one, key=key.casefold(), origin=Origin.OPERATOR)
        desk.write(layer, policy)
        desk.state(other)
        return [Asked(query=query, right=one, wrong=other)]
    if kind == "narrower":
        condition = CONDITIONS[number % len(CONDITIONS)]
        narrow = f"For {condition}, the {key} is {new}"
        for words in (one, narrow) if number % 2 else (narrow, one):
            desk.state(words)
        met = Asked(query=f"What is the {key} for {condition}?", right=narrow, wrong=one)
        return [met, Asked(query=query, right=one, wrong=narrow)]
    desk.state(one)
    what, thing = key.split(" of ")
    desk.state(f"The {what} surcharge of {thing} is {new}")
    return [Asked(query=query, right=one)]


KINDS = ("newer", "authority", "narrower", "noise")


def contradictions(recall: HybridRecall, *, people: int, pairs: int, keyed: bool) -> dict[str, list[tuple[bool, bool]]]:
    """For each kind and pair: right in the strict sense, and to a reader that believes what was written last."""
    found: dict[str, list[tuple[bool, bool]]] = {kind: [] for kind in KINDS}
    for person in range(people):
        rng = random.Random(person)
        desk = Desk(recall, keyed=keyed, person=person)
        keys = [f"{what} of {thing}" for what in WHAT for thing in THINGS]
        names = iter(rng.sample(keys, len(KINDS) * pairs))
        planted = [(kind, plant(desk, kind, next(names), number, rng)) for number in range(pairs) for kind in KINDS]
        for kind, asked in planted:
            found[kind].append(tuple(map(all, zip(*(_right(desk, one) for one in asked), strict=True))))
    return found


def _right(desk: Desk, asked: Asked) -> tuple[bool, bool]:
    shown = desk.shown(asked.query)
    there, wrong = asked.right in shown, asked.wrong in shown
    last = there and (not wrong or shown.index(asked.right) > shown.index(asked.wrong))
    return there and not wrong, last


# ── failures that pass ───────────────────────────────────────────────────────────────────────


def transient(recall: HybridRecall, *, failures: int, keyed: bool) -> dict[str, int]:
    """What is still believed of the failures that passed, and what became of the rest."""
    desk = Desk(recall, keyed=keyed)
    passing = [
        FAILED[at % len(FAILED)].format(f"{SERVICES[at // len(FAILED) % len(SERVICES)]} {at}") for at in range(failures)
    ]
    lasting = [f"The SIGN{at} service is down." for at in range(failures // 10)]
    standing = [STANDING[at % len(STANDING)].format(f"{SERVICES[at % len(SERVICES)]} {at}") for at in range(failures)]
    for at, words in enumerate((*passing, *lasting, *standing)):
        query = f"SIGN{at - failures} please" if words in lasting else f"request {at}"
        if not keyed:
            desk.write(desk.scope, Entry(kind=Kind.RULE, doc="rules", text=words, origin=Origin.USER))
            continue
        said = desk.say(query, words)
        asyncio.run(loop.learn(desk.run, Adopt(), desk.gate, feedback=[said], budget=Budget()))
        desk.say(query, "right", Signal.CORRECTION)
    dated = sum(one.valid_until is not None for one in _entries(desk))
    desk.later = timedelta(days=8)
    if keyed:
        desk.sleep()
    texts, now = {one.text for one in _entries(desk)}, desk.run.clock()
    held = {one.text for one in _entries(desk) if one.valid_until is None or one.valid_until > now}
    served = {text for at in range(failures) for text in desk.shown(f"request {at}")}
    return {
        "planted": failures, "dated": dated, "believed": len((held | served).intersection(passing)),
        "kept_in_context": len(texts.intersection(passing)),
        "standing_lost": failures - len(held.intersection(standing)),
        "lasting": len(lasting), "renewed": len(held.intersection(lasting)),
    }  # fmt: skip


def _entries(desk: Desk) -> Sequence[Entry]:
    return desk.run.store.context(desk.scope, desk.run.store.heads(desk.scope)).entries


def share(found: Iterable[tuple[bool, bool]], place: int = 0) -> float:
    """The part of the pairs that is right."""
    counts = [one[place] for one in found]
    return sum(counts) / len(counts)


def main() -> None:
    """Print both tables and write the figures."""
    parser = _report.options(__doc__)
    parser.add_argument("--json", action="store_true", help="accepted as elsewhere: figures are always written as JSON")
    args = parser.parse_args()
    people, pairs, failures = (2, 5, 20) if args.quick else (PEOPLE, PAIRS, FAILURES)
    recall = HybridRecall(default_embedder())
    ours = contradictions(recall, people=people, pairs=pairs, keyed=True)
    appended = contradictions(recall, people=people, pairs=pairs, keyed=False)
    figures: dict[str, float] = {f"right_{kind}": share(ours[kind]) for kind in KINDS}
    figures["contradictions_right"] = share(one for some in ours.values() for one in some)
    figures |= {f"append_right_{kind}": share(appended[kind]) for kind in KINDS}
    figures["append_right"] = share(one for some in appended.values() for one in some)
    figures["append_right_last"] = share((one for some in appended.values() for one in some), 1)
    rows = [
        (kind, len(ours[kind]), share(ours[kind]), share(appended[kind]), share(appended[kind], 1)) for kind in KINDS
    ]
    _report.table(
        "the right one served", rows, header=("kind", "pairs", "settled facts", "append everything", "…, last believed")
    )
    kept, noted = (transient(recall, failures=failures, keyed=keyed) for keyed in (True, False))
    figures |= {f"transient_{name}": number for name, number in kept.items()}
    figures["append_transient_believed"] = noted["believed"]
    _report.table("failures that passed", kept.items())
    print(f"append everything believes {noted['believed']} of {noted['planted']}")
    _report.write("contradictions", figures, args)


if __name__ == "__main__":
    main()
