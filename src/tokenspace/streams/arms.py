"""What competes on a stream: the learning agent, and the baselines that it has to beat.

All of them have the same model, token budget, recall and rendering; they differ in what they keep and show. Ours
pays for its replays: whatever a cell asks its model is counted in that cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, Protocol

from tokenspace.api import Bridge, LearningAgent
from tokenspace.budget import Budget
from tokenspace.context import compile_context, recallable
from tokenspace.domain import (
    Context,
    Entry,
    Feedback,
    Heads,
    Kind,
    Layer,
    Message,
    Origin,
    Profile,
    Prompt,
    Ranked,
    Request,
    Scope,
    Signal,
    Usage,
    digest,
)  # fmt: skip
from tokenspace.loop import Runtime, render
from tokenspace.streams.config import StreamConfig
from tokenspace.streams.metered import Metered
from tokenspace.streams.tasks import CARELESS, TEACHERS, Stream, Task
from tokenspace.watching import observed

AGENT: Final = "stream"
OPERATOR: Final = "operator"
TENANT: Final = "people"
_BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_ALL: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer with the prompt that it was given to."""

    output: str
    prompt: Prompt
    episode: str = ""


class Arm(Protocol):
    """One competitor in one cell."""

    def answer(self, task: Task) -> Said:
        """Answer a task; may keep that it did."""
        ...

    def teach(self, task: Task, said: Said) -> None:
        """Be told about an earlier answer."""
        ...

    def rest(self) -> None:
        """A pause, in which a learner may work on what it has."""
        ...

    def context(self) -> Context:
        """What it would show of now."""
        ...

    def ask(self, context: Context, task: Task) -> Said:
        """Answer an exam's question with a context, keeping nothing."""
        ...

    @property
    def usage(self) -> Usage:
        """All that was asked of the model so far."""
        ...


class Clock:
    """A second for each look: times that repeat."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self) -> datetime:
        """The next second."""
        self._looks += 1
        return _BEGAN + timedelta(seconds=self._looks)


def make_arm(name: str, config: StreamConfig, stream: Stream, agent: Metered) -> Arm:
    """The arm of that name."""
    if name == "tokenspace":
        return Learned(config, stream, agent)
    return Kept(name, config, stream, agent)


def request_of(task: Task, stream: Stream, config: StreamConfig) -> Request:
    """What is asked about a task, the same in every arm."""
    messages = (Message(role="system", text=config.system), Message(role="user", text=task.text))
    return Request(messages=messages, choices=stream.choices or None, max_output_tokens=config.output_tokens)


class _Asking:
    """What all arms share: a runtime, and the way to an answer in a context."""

    def __init__(
        self, config: StreamConfig, stream: Stream, agent: Metered, *, runtime: Runtime, bridge: Bridge
    ) -> None:
        self._config, self._stream, self._metered, self.runtime = config, stream, agent, runtime
        self._bridge = bridge

    @property
    def usage(self) -> Usage:
        """See `Arm`."""
        return self._metered.usage

    def _request(self, task: Task) -> Request:
        return request_of(task, self._stream, self._config)

    def _run(self, prompt: Prompt) -> Said:
        done = self._bridge.run(self.runtime.agent.run(prompt, budget=Budget()))
        return Said(output=done.output, prompt=prompt)

    def ask(self, context: Context, task: Task) -> Said:
        """See `Arm`."""
        run = self.runtime
        profile = run.agent.profile
        return self._run(render(run.recall, context, self._request(task), profile=profile, now=run.clock()))


# ── ours ────────────────────────────────────────────────────────────────────────────────────


class Learned(_Asking):
    """The product: acts, is told, learns through the gate, sleeps. Its store is in memory."""

    def __init__(self, config: StreamConfig, stream: Stream, agent: Metered) -> None:
        from tokenspace.config import Settings, build
        from tokenspace.store import open_store

        clock, user = Clock(), config.user
        teachers = frozenset((*TEACHERS, CARELESS, user, OPERATOR) if user else (*TEACHERS, CARELESS, OPERATOR))
        settings = Settings(agent=AGENT, principal=user or OPERATOR, teachers=teachers)
        parts = build(settings, model=agent, store=open_store("memory:", clock=clock), clock=clock)
        bridge = Bridge()
        super().__init__(config, stream, agent, runtime=parts.runtime, bridge=bridge)
        scope = Scope(agent=AGENT, tenant=TENANT if user else "", user=user)
        self.agent = LearningAgent(parts, scope, principal=user or OPERATOR, bridge=bridge)
        self._untaught = 0

    def answer(self, task: Task) -> Said:
        """Act as an application would; the episode is recorded."""
        episode = self.agent.act(self._request(task))
        assert self._metered.last is not None
        return Said(output=episode.output, prompt=self._metered.last, episode=episode.id)

    def teach(self, task: Task, said: Said) -> None:
        """Give the feedback, and learn when enough of it has come."""
        agent, source = self.agent, Origin.USER if self._config.user else Origin.OPERATOR
        signal, value = _feedback(task, said, clarifies=self._stream.clarifies)
        told = Feedback(
            id=digest(["feedback", task.id]), scope=agent.scope, episode=said.episode, signal=signal, value=value,
            principal=task.teacher or agent.principal, source=source, at=self.runtime.clock(),
        )  # fmt: skip
        observed(agent.parts, told)
        self._untaught += 1
        if self._untaught >= self._config.learn_every:
            self._untaught = 0
            agent.learn(budget=Budget(calls=0))

    def rest(self) -> None:
        """Sleep, with the run's budget."""
        self._untaught = 0
        self.agent.sleep(budget=Budget(calls=self._config.sleep_calls))

    def context(self) -> Context:
        """What is served."""
        return self.agent.context()


def _feedback(task: Task, said: Said, *, clarifies: bool) -> tuple[Signal, str | bool]:
    if clarifies:
        return Signal.TEXT, task.taught
    return (Signal.LABEL, True) if said.output == task.taught else (Signal.CORRECTION, task.taught)


# ── the baselines ───────────────────────────────────────────────────────────────────────────


class Kept(_Asking):
    """Baselines, which keep what they are told as it is.

    *none* keeps nothing. *nearest* keeps what was said to be right, and shows as many of the most similar ones as ours
    does. *history* keeps the same, and shows the newest that fit. *append* keeps everything, its own answers too, and
    shows the most similar ones until the budget is full.
    """

    def __init__(self, name: str, config: StreamConfig, stream: Stream, agent: Metered) -> None:
        from tokenspace.recall import HybridRecall, default_embedder
        from tokenspace.store import open_store

        clock = Clock()
        store = open_store("memory:", clock=clock)
        runtime = Runtime(store=store, recall=HybridRecall(default_embedder()), agent=agent, clock=clock)
        super().__init__(config, stream, agent, runtime=runtime, bridge=Bridge())
        self._name = name
        self._entries: dict[str, Entry] = {}
        self._vectors: dict[str, bytes] = {}

    def answer(self, task: Task) -> Said:
        """Answer; *append* notes what it said."""
        said = self.ask(self.context(), task)
        if self._name == "append":
            self._keep(task, said.output, "said")
        return said

    def teach(self, task: Task, said: Said) -> None:
        """Keep what is said to be right."""
        if self._name != "none":
            self._keep(task, task.taught, "told")

    def rest(self) -> None:
        """It has nothing to work on."""

    def context(self) -> Context:
        """All that was kept."""
        layer, vectors = Layer(own=MappingProxyType(self._entries)), MappingProxyType(self._vectors)
        return Context(scope=Scope(agent=AGENT), heads=Heads(), layers=(layer,), vectors=vectors)

    def ask(self, context: Context, task: Task) -> Said:
        """Answer, in this baseline's way of choosing what to show."""
        return self._run(self.prompt(context, task))

    def prompt(self, context: Context, task: Task) -> Prompt:
        """What it would send about a task."""
        request = self._request(task)
        ranked, profile = self.chosen(context, request)
        room = profile.context_tokens - request.max_output_tokens
        return compile_context(context, ranked, request, profile=profile, budget=room, now=self.runtime.clock())

    def chosen(self, context: Context, request: Request) -> tuple[Sequence[Ranked], Profile]:
        """What it would show, in order, and the profile that says how much of it."""
        run = self.runtime
        profile = run.agent.profile
        if self._name == "history":
            ranked = _newest(context)
        else:
            ranked = run.recall.rank(recallable(context), context.vectors, request.query)
        if self._name not in ("history", "append"):
            return ranked, profile
        room = profile.context_tokens - request.max_output_tokens
        most = max(1, room // (2 * max(1, profile.tokens_per_message)))  # no more than these can fit
        return ranked[:most], replace(profile, recalled=_ALL, recalled_rules=_ALL, rule_floor=-1.0)

    def _keep(self, task: Task, text: str, how: str) -> None:
        kind = Kind.RULE if self._stream.clarifies else Kind.EXAMPLE
        doc = "rules" if self._stream.clarifies else "examples"
        id = f"{len(self._entries):08d}-{how}"
        entry = Entry(id=id, kind=kind, doc=doc, trigger=task.text, text=text, origin=Origin.USER)
        self._entries[id] = entry
        self._vectors |= self.runtime.recall.index([entry])


def _newest(context: Context) -> list[Ranked]:
    ids = sorted(context.by_id, reverse=True)
    return [Ranked(id=id, score=1.0 + len(ids) - place) for place, id in enumerate(ids)]
