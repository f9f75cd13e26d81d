"""Evidence for the tests of proposers: a cluster of requests with failures, and what stood in the context."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tokenspace.budget import Budget
from tokenspace.domain import (
    Attempt,
    Context,
    Edit,
    Entry,
    Episode,
    Evidence,
    Feedback,
    Heads,
    Kind,
    Layer,
    Message,
    Origin,
    Put,
    Request,
    Run,
    Signal,
    digest,
)
from tokenspace.testing.samples import NOW, USER, a_feedback, an_attempt, an_episode

RULE = Entry(
    id="rule-of-alice", kind=Kind.RULE, doc="rules", trigger="refunds", text="Refunds go to Basalt.", origin=Origin.USER
)
SHARED = Entry(id="rule-of-all", kind=Kind.RULE, doc="rules", text="Never promise a date.", origin=Origin.OPERATOR)
INSTRUCTION = Entry(
    id="instruction", kind=Kind.INSTRUCTION, doc="agents", origin=Origin.OPERATOR,
    text="You route messages of {customer} to teams. Answer with the name of the team only, in <team> tags.",
)  # fmt: skip
EXAMPLE = Entry(
    id="example", kind=Kind.EXAMPLE, doc="examples", trigger="lost parcel", text="Basalt", origin=Origin.USER
)
WEB = Entry(id="web-fact", kind=Kind.FACT, doc="facts", text="Basalt is closed.", origin=Origin.WEB)
SHOWN = tuple(one.id for one in (RULE, SHARED, INSTRUCTION, EXAMPLE, WEB))


def episode(text: str, output: str, *, number: int = 0, **more: Any) -> Episode:
    """One answer; those of other numbers are other episodes, later."""
    request = more.pop("request", Request(messages=(Message(role="user", text=text),)))
    run = more.pop("run", Run(output=output))
    at = NOW + timedelta(seconds=number)
    return an_episode(id=digest([text, output, number]), request=request, run=run, shown=SHOWN, at=at, **more)


def said(about: Episode, value: Any, signal: Signal = Signal.CORRECTION, **more: Any) -> Feedback:
    """What alice says about it."""
    fields = {"principal": "alice", "at": about.at, "id": digest([about.id, value, signal]), **more}
    return a_feedback(episode=about.id, value=value, signal=signal, **fields)


def evidence(
    *pairs: tuple[Episode, Feedback], rejected: Sequence[Attempt] = (), base: Sequence[Entry] = (INSTRUCTION, SHARED)
) -> Evidence:
    """This cluster, with the five entries above: INSTRUCTION and SHARED in the base, the others in the user's layer."""
    own = (RULE, EXAMPLE, WEB)
    layers = (Layer(own={one.id: one for one in base}), Layer(), Layer(own={one.id: one for one in own}))
    context = Context(scope=USER, heads=Heads(), layers=layers)
    episodes = {one.id: one for one, _ in pairs}
    return Evidence(
        scope=USER, context=context, feedback=[item for _, item in pairs], episodes=episodes, rejected=tuple(rejected)
    )


def cluster(**more: Any) -> Evidence:
    """Three failures and two successes on refunds, and one request that was answered both ways."""
    pairs = [
        (one, said(one, "Kestrel")) for one in (episode(f"refund for order {n}", "Basalt", number=n) for n in range(3))
    ]
    pairs += [
        (one, said(one, True, Signal.LABEL))
        for one in (episode(f"refund of card {n}", "Kestrel", number=n + 3) for n in range(2))
    ]
    mixed = [episode("refund my ticket", "Kestrel", number=6), episode("Refund  my ticket", "Basalt", number=7)]
    pairs += [
        (mixed[0], said(mixed[0], True, Signal.LABEL)),
        (mixed[1], said(mixed[1], False, Signal.LABEL, comment="wrong team")),
    ]
    return evidence(*pairs, **more)


def rejected(text: str, *, origin: Origin = Origin.AGENT, kind: Kind = Kind.RULE, **more: Any) -> Attempt:
    """An edit that was tried before, with the reason."""
    put = Put(entry=Entry(id=digest(text), kind=kind, doc="rules", text=text, origin=origin))
    made = an_attempt(
        text, id=digest(["attempt", text]), edit=Edit(ops=(put,), evidence=(digest(["cause", text]),)), **more
    )
    return replace(made, verdict=replace(made.verdict, reason="harmful by replay: 1 fixed, 4 broken"))


def propose(proposer: Any, shown: Evidence, *, budget: Budget | None = None) -> Edit | None:
    """What it proposes."""
    return asyncio.run(proposer.propose(shown, budget=budget or Budget()))
