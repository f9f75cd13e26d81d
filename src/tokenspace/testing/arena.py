"""A world for trying gates: a desk whose every live answer was wrong, its cases, and an agent that answers by script.

Everything is real but the agent and the recall: the store, the loop, the cases that corrections make. Live answers
are wrong always, and a replay answers as the script says: so whoever takes a live outcome for an arm is found out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from tokenspace import loop
from tokenspace.agents import ChatAgent
from tokenspace.budget import Budget
from tokenspace.context import edit_key
from tokenspace.domain import (
    Attempt,
    Edit,
    Entry,
    Episode,
    Feedback,
    Kind,
    Message,
    Profile,
    Prompt,
    Put,
    Ranked,
    Request,
    Run,
    Scope,
    Signal,
    digest,
)
from tokenspace.gates import roll_back
from tokenspace.loop import Runtime
from tokenspace.models import ScriptedModel
from tokenspace.models.scripted import Answer
from tokenspace.protocols import Gate
from tokenspace.store import open_store
from tokenspace.testing.samples import BASE, TENANT, USER

RIGHT: Final = "right"
WRONG: Final = "wrong"
SCOPES: Final = {2: USER, 3: TENANT, 4: BASE}
"""Where a rule is an edit for one user, for a tenant, for everybody."""

Script = Callable[[Prompt, int], Answer]
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


class NoRecall:
    """Ranks nothing: an arena's rules have no trigger, and are in every prompt."""

    name = "none"

    def index(self, entries: Sequence[Entry]) -> dict[str, bytes]:
        """No vectors."""
        del entries
        return {}

    def rank(self, entries: Sequence[Entry], vectors: object, query: str) -> list[Ranked]:
        """Nothing is relevant."""
        del entries, vectors, query
        return []


class _Desk(ChatAgent):
    """Answers wrongly live, and by its script when it is replayed; with `honest`, by its script always."""

    def __init__(self, model: ScriptedModel, *, honest: bool) -> None:
        super().__init__(model)
        self._honest = honest

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        return await super().run(prompt, budget=budget, seed=seed) if self._honest else Run(output=WRONG)

    async def replay(self, prompt: Prompt, *, recorded: object, budget: Budget, seed: int = 0) -> Run | None:
        del recorded
        return await super().run(prompt, budget=budget, seed=seed)


class Arena:
    """One desk. `script` answers replays (and, with `honest`, live requests); it may be asked in any order.

    `store` is the URL of an empty one, which is the caller's to close.
    """

    def __init__(
        self, script: Script, *, scope: Scope = USER, deterministic: bool = True, honest: bool = False,
        store: str = "memory:",
    ) -> None:  # fmt: skip
        seconds = count()

        def clock() -> datetime:
            return _EPOCH + timedelta(seconds=next(seconds))

        profile = Profile(model="arena", context_tokens=1_000_000, core_tokens=500_000, deterministic=deterministic)
        self.scope = scope
        self._numbers = count()
        self.model = ScriptedModel(script, profile=profile)
        agent = _Desk(self.model, honest=honest)
        self.run = Runtime(store=open_store(store, clock=clock), recall=NoRecall(), agent=agent, clock=clock)
        self.said = self.say(self.act("What is it that you do?"), "in words", signal=Signal.TEXT, by="carl")

    @property
    def calls(self) -> int:
        """How many calls of the model were paid for."""
        return len(self.model.seeds)

    def act(self, question: str, *, session: str | None = None) -> Episode:
        """One live request."""
        request = Request(messages=(Message(role="user", text=question),))
        return asyncio.run(loop.act(self.run, self.scope, request, budget=Budget(), session=session))

    def say(
        self, episode: Episode, value: str | float | bool, *, signal: Signal = Signal.CORRECTION, by: str = "bob"
    ) -> Feedback:
        """Feedback on an episode; a correction makes a case."""
        id = digest([next(self._numbers), episode.request.query, value])  # so that tests meet cases in the same order
        said = Feedback(
            id=id, scope=self.scope, episode=episode.id, principal=by, signal=signal, value=value, at=self.run.clock()
        )
        loop.observe(self.run, said)
        return said

    def taught(
        self, cases: int, *, people: Sequence[str] = ("bob",), about: str = "question", right: str = RIGHT
    ) -> list[Feedback]:
        """So many corrections, each of them a case, by these people in turn."""
        return [
            self.say(self.act(f"{about} {number}"), right, by=people[number % len(people)]) for number in range(cases)
        ]

    def attempt(self, edit: Edit, *, key: str = "") -> Attempt:
        """The edit as an attempt that the loop can judge."""
        return Attempt(
            scope=self.scope, key=digest([edit_key(edit), key]), proposer="arena@1",
            heads=self.run.store.heads(self.scope), evidence=(self.said.id,), edit=edit, at=self.run.clock(),
        )  # fmt: skip

    def judge(self, gate: Gate, edit: Edit, *, budget: Budget | None = None) -> Attempt:
        """Let the loop judge an edit, and commit it if it is accepted."""
        return asyncio.run(loop.judge(self.run, gate, self.attempt(edit), budget=budget or Budget()))

    def take_back(self, judged: Attempt) -> None:
        """Undo what an attempt changed, if anything: on the served line, or by dropping its canary."""
        store = self.run.store
        if judged.revision is None:
            return
        made = store.revision(self.scope, judged.revision)
        if not made.branch:
            roll_back(self.run, made, "this was a test", author="arena@1", gate="arena@1")
            return
        if made.branch in store.branches(self.scope):
            store.drop_branch(self.scope, made.branch)
        for canary in store.canaries(self.scope):
            if canary.revision == made.id:
                store.save_canary(replace(canary, state="stopped", share=0.0))


def rule(text: str, *, evidence: Sequence[str] = (), read: Sequence[str] = ()) -> Edit:
    """An edit that adds one rule, which is in every prompt from then on."""
    entry = Entry(id=digest(text), kind=Kind.RULE, doc="rules", text=text)
    return Edit(ops=(Put(entry=entry),), evidence=tuple(evidence), read=tuple(read))


def obeying(word: str, *, told: Answer = RIGHT, untold: Answer = WRONG) -> Script:
    """A script: one answer where a rule with this word is in the prompt, another where none is."""
    return lambda prompt, _: told if word in prompt.system else untold


def coin(seed: int | str, rate: float = 0.5, **changed: float) -> Script:
    """A script without a memory: right at this rate, or at another where a rule with that word is in the prompt.

    Only what was asked is random, never what is remembered: the same calls in the same order give the same answers.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret depends on it

    def answer(prompt: Prompt, _: int) -> Answer:
        at = next((other for word, other in changed.items() if word in prompt.system), rate)
        return RIGHT if chance.random() < at else WRONG

    return answer
