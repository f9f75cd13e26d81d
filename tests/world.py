"""A small world for tests of the loop and the gate: a desk with two teams, its store in memory, a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from tokenspace import loop
from tokenspace.agents import ChatAgent
from tokenspace.budget import Budget
from tokenspace.domain import (
    Attempt,
    Edit,
    Entry,
    Episode,
    Feedback,
    Kind,
    Message,
    Origin,
    Profile,
    Prompt,
    Put,
    Request,
    Scope,
    Signal,
    Verdict,
)
from tokenspace.gates import GateSettings, ReleaseCheck, ReplayGate, Watch
from tokenspace.graders import build
from tokenspace.loop import Runtime
from tokenspace.models import NearestModel, ScriptedModel
from tokenspace.proposers import Adopt, Remember, Retire
from tokenspace.protocols import Model
from tokenspace.recall import HashEmbedder, HybridRecall
from tokenspace.store import open_store

TEAMS = ("Kestrel", "Basalt")
BASE = Scope(agent="desk")
TENANT = Scope(agent="desk", tenant="acme")
ALICE = Scope(agent="desk", tenant="acme", user="alice")
TEXT = Profile(model="scripted", context_tokens=100_000, core_tokens=10_000, rule_floor=0.3, deterministic=True)


class World:
    """A runtime with its gate, and verbs that are short to write in tests."""

    def __init__(
        self,
        model: Model | Callable[[Prompt, int], str] | None = None,
        *,
        teachers: Sequence[str] = (),
        store: str = "memory:",
        **settings: Any,
    ) -> None:
        seconds = count()

        def clock() -> datetime:
            return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))

        self.model = ScriptedModel(model, profile=TEXT) if callable(model) else model or NearestModel()
        self.recall = HybridRecall(HashEmbedder())
        self.run = Runtime(
            store=open_store(store, clock=clock), recall=self.recall, agent=ChatAgent(self.model), clock=clock
        )
        self.settings = GateSettings(teachers=frozenset(teachers), **settings)
        self.gate = ReplayGate(self.run, build, settings=self.settings)
        self.watch = Watch(self.run, self.gate)
        self.release = ReleaseCheck(self.run, build, settings=self.settings)
        self.proposers = (
            Remember(), Adopt(), Retire(self.recall, neighbours=self.settings.neighbours, outvoted=self.settings.outvoted)
        )  # fmt: skip

    @property
    def store(self):
        return self.run.store

    def act(self, text: str, *, scope: Scope = BASE, session: str | None = None, choices=TEAMS) -> Episode:
        request = Request(messages=(Message(role="user", text=text),), choices=choices)
        return asyncio.run(loop.act(self.run, scope, request, budget=Budget(), session=session))

    def say(self, episode: Episode, value, signal: Signal = Signal.CORRECTION, *, by: str = "ana", **more) -> Feedback:
        said = Feedback(
            scope=episode.scope, episode=episode.id, principal=by, signal=signal, value=value, at=self.run.clock(),
            **{"source": Origin.USER, **more},
        )  # fmt: skip
        loop.observe(self.run, said)
        return said

    def teach(self, text: str, answer: str, *, scope: Scope = BASE, by: str = "ana") -> Attempt:
        """Act, be corrected, remember."""
        return self.learn(self.say(self.act(text, scope=scope), answer, by=by))

    def learn(self, *feedback: Feedback, proposer=None, budget: Budget | None = None) -> Attempt:
        work = loop.learn(self.run, proposer or Remember(), self.gate, feedback=feedback, budget=budget or Budget())
        return asyncio.run(work)

    def judge(self, edit: Edit, *feedback: Feedback, budget: Budget | None = None) -> Attempt:
        scope = feedback[0].scope
        attempt = Attempt(
            scope=scope, key=f"test-{edit.ops}", proposer="test@1", heads=self.store.heads(scope),
            evidence=tuple(item.id for item in feedback), edit=edit, at=self.run.clock(),
        )  # fmt: skip
        return asyncio.run(loop.judge(self.run, self.gate, attempt, budget=budget or Budget()))

    def sleep(self, *, scope: Scope = BASE, budget: Budget | None = None) -> list[Attempt]:
        async def collect() -> list[Attempt]:
            left = budget or Budget()
            tried = loop.sleep(self.run, scope, self.proposers, self.gate, budget=left, again=left)
            return [one async for one in tried if one.verdict.decision != "abstain"]

        return asyncio.run(collect())

    def texts(self, scope: Scope = BASE) -> list[str]:
        return [entry.text for entry in self.store.context(scope, self.store.heads(scope)).entries]

    def put(self, entry: Entry, *, scope: Scope = BASE) -> None:
        """A person's own edit."""
        entry = replace(entry, origin=Origin.OPERATOR)
        self.store.commit(
            scope, Edit(ops=(Put(entry=entry),)), Verdict(decision="accept", basis="human"),
            expect=self.store.heads(scope).of(scope), author="ana", vectors=self.recall.index([entry]),
        )  # fmt: skip


def rule(text: str, trigger: str | None = None) -> Edit:
    return Edit(ops=(Put(entry=Entry(kind=Kind.RULE, doc="rules", text=text, trigger=trigger)),))
