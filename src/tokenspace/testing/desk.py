"""Random histories of the product itself: its own proposers and its own gate, on a desk whose messages go to two teams.

As in `testing.histories` a history is data, so that it can be run with a part of it left out. Everything that
`config.build` composes is real; the model is the cheap reader that answers like the nearest example.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.config import Settings, build
from tokenspace.domain import Episode, Feedback, Message, Origin, Request, Run, Scope, Session, Signal, digest
from tokenspace.protocols import Store
from tokenspace.testing.histories import Happening, Stage

TEAMS: Final = ("Kestrel", "Basalt", "Ochre")
TOPICS: Final = ("parcel late", "refund window", "invoice wrong", "parcel broken")
OPERATOR: Final = "eve"
LEARNERS: Final = {"remember@1": 9, "fact@1": 4, "adopt@1": 3, "retire@2": 3, "consolidate@1": 2, "expire@1": 1}
"""Who is asked to learn, and how often."""
_WORDS: Final = ("please", "today", "again", "still", "urgent", "number", "since monday", "the second time")
_FACTS: Final = ("The refund window is {} days.", "The desk opens at {}.", "My currency is EUR {}.")


class Desk(Stage):
    """Runs histories with what `config.build` makes of a store, a URL or one that is open."""

    def __init__(self, store: Store | str) -> None:
        super().__init__(store)
        settings = Settings(
            agent="desk", model="nearest", principal=OPERATOR, teachers=frozenset({OPERATOR}),
            operators=frozenset({OPERATOR}),
        )  # fmt: skip
        self.parts = build(settings, store=self.store, clock=lambda: self.now)

    async def _happen(self, one: Happening) -> bool:
        run, store = self.parts.runtime, self.store
        if one.kind == "act":
            heads, request = store.heads(one.scope), Request(
                messages=(Message(role="user", text=one.text),), choices=TEAMS
            )  # fmt: skip
            if one.by:
                store.save_session(Session(id=one.by, scope=one.scope, heads=heads, last_seen=self.now))
            store.record(Episode(
                id=one.id, scope=one.scope, heads=heads, request=request, run=Run(output=TEAMS[len(one.text) % 3]),
                session=one.by or None, taint=Origin.TOOL if one.text.startswith("please") else Origin.OPERATOR,
                at=self.now,
            ))  # fmt: skip
            return True
        if one.kind == "say":
            loop.observe(run, self._said(one))
            return True
        if one.kind == "learn":
            proposer = next(each for each in self.parts.proposers if each.name.startswith(one.by))
            said = store.feedback(one.scope, ids=one.about)
            made = await loop.learn(run, proposer, self.parts.gate, feedback=said, budget=Budget())
            return made.at == self.now
        return await super()._happen(one)

    def _said(self, one: Happening) -> Feedback:
        """A team is a correction, "yes" and "no" are labels, "when …: …" names a kind of request; else it is a text."""
        kind, value, trigger = Signal.TEXT, one.text, None
        if one.text in TEAMS:
            kind = Signal.CORRECTION
        elif one.text.startswith("when "):
            trigger, value = one.text.removeprefix("when ").split(": ", 1)
        yes = {"yes": True, "no": False}.get(one.text)
        return Feedback(
            id=one.id, scope=one.scope, episode=one.about[0], principal=one.by, at=self.now, trigger=trigger,
            signal=kind if yes is None else Signal.LABEL, value=value if yes is None else yes,
            source=Origin.USER if one.scope.user else Origin.OPERATOR,
        )  # fmt: skip


def desk_history(seed: int, *, steps: int = 60, agent: str = "desk") -> list[Happening]:
    """A history that the seed alone decides: three users of two tenants, and a tenant's layer that a person teaches.

    No edit of it is one that begins as a canary.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    names = (("acme", ""), ("acme", "ann"), ("acme", "bob"), ("globex", "ann"))
    scopes = [Scope(agent=agent, tenant=tenant, user=user) for tenant, user in names]
    acted: dict[Scope, list[tuple[str, str]]] = {scope: [] for scope in scopes}
    said: dict[Scope, list[str]] = {scope: [] for scope in scopes}
    right: dict[str, str] = dict(zip(TOPICS, (*TEAMS, TEAMS[0]), strict=True))
    found = list[Happening]()
    for step in range(steps):
        scope, id = chance.choices(scopes, [2, 5, 3, 2])[0], digest([agent, "desk", seed, step])
        kind = chance.choices(["act", "say", "learn"], [4, 5, 7])[0]
        if kind == "act" or not acted[scope]:
            topic = chance.choice(TOPICS)
            text = f"{chance.choice(_WORDS)} {topic} {chance.choice(_WORDS)} {chance.randrange(30)}"
            found.append(Happening("act", scope, id, text=text, by=chance.choice(["", "s1", "s2"])))
            acted[scope].append((id, topic))
        elif kind == "say" or not said[scope]:
            about, topic = chance.choice(acted[scope])
            who = scope.user or OPERATOR
            found.append(Happening("say", scope, id, (about,), _words(chance, scope, right[topic], topic), who))
            said[scope].append(id)
        else:
            found.append(_learning(chance, scope, id, said[scope]))
    return found


def _words(chance: random.Random, scope: Scope, team: str, topic: str) -> str:
    kind = chance.choices(["right", "wrong", "label", "fact", "rule"], [5, 2, 1, 3, 2])[0]
    if kind == "wrong":
        return chance.choice(TEAMS)
    if kind == "label":
        return chance.choice(["yes", "no"])
    if not scope.user or kind == "right":  # a fact or a rule for several users would begin as a canary
        return team
    if kind == "fact":
        return chance.choice(_FACTS).format(chance.randrange(4))
    return f"when {topic}: {chance.choice(('Answer', 'Never answer'))} with {chance.choice(TEAMS)}"


def _learning(chance: random.Random, scope: Scope, id: str, said: Sequence[str]) -> Happening:
    who = chance.choices(list(LEARNERS), list(LEARNERS.values()))[0]
    everything = who.partition("@")[0] in ("retire", "consolidate", "expire")
    about = tuple(said) if everything else (chance.choice(said),)
    return replace(Happening("learn", scope, id, by=who), about=about)
