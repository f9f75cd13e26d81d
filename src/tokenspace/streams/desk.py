"""The demo: a support desk learns to route messages to teams whose names mean nothing to its model.

Each of 96 messages is answered twice, by the model with a frozen, empty context and by the model with a learning
one; then a colleague says which team it was, and the learning one learns. One colleague in ten is careless. After
a sleep, both, and a context to which every lesson was appended unseen, take an exam of 48 messages that nobody saw.
The weights never change, the answers of all are constrained to the teams, and recall, rendering and budget are the
same code.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from tokenspace.api import LearningAgent
from tokenspace.budget import Budget
from tokenspace.domain import (
    Attempt,
    Context,
    Entry,
    Episode,
    Feedback,
    Heads,
    Layer,
    Message,
    Prompt,
    Put,
    Request,
    Run,
    Scope,
    ToolCall,
    Usage,
)  # fmt: skip
from tokenspace.loop import Runtime, render
from tokenspace.protocols import Agent, Profile
from tokenspace.streams.items import Draw, Item, Lesson

TEACHERS: Final = ("ana", "bilal", "chen", "dora")
CARELESS: Final = "rob"
SYSTEM: Final = "You route customer messages to teams. Answer with the name of the team only."
RULE_TRIGGER: Final = "I have a problem with my order or my machine"
RULE_AFTER: Final = 72
RULE_CALLS: Final = 48
MAX_CALLS: Final = 420

Arm = Literal["frozen", "appended", "learned"]


class CountingAgent:
    """Passes prompts on, counts what they cost, and asks a deterministic model the same thing only once."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._known: dict[str, Run] = {}
        self.usage = Usage()

    @property
    def profile(self) -> Profile:
        """The profile of the agent underneath."""
        return self._agent.profile

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """See `tokenspace.protocols.Agent`."""
        key = f"{prompt.compiled_hash}/{seed}"
        if key in self._known:
            return self._known[key]
        done = await self._agent.run(prompt, budget=budget, seed=seed)
        self.usage = self.usage + done.usage
        if self.profile.deterministic:
            self._known[key] = done
        return done

    async def replay(
        self, prompt: Prompt, *, recorded: Sequence[ToolCall], budget: Budget, seed: int = 0
    ) -> Run | None:
        """See `tokenspace.protocols.Agent`. A known run without a tool call is its own replay."""
        key = f"{prompt.compiled_hash}/{seed}"
        if key in self._known and not self._known[key].tool_calls:
            return self._known[key]
        done = await self._agent.replay(prompt, recorded=recorded, budget=budget, seed=seed)
        self.usage = self.usage + (done.usage if done else Usage())
        if done and self.profile.deterministic and not done.tool_calls:
            self._known[key] = done
        return done


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One message of the stream was answered: by the frozen and by the learning context, right or not."""

    place: int
    lesson: Lesson
    frozen: bool
    learned: bool
    entries: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A verdict fell. `lesson` is the one that it is about, if it is about one."""

    place: int
    attempt: Attempt
    lesson: Lesson | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """One question of the exam was answered in one context."""

    arm: Arm
    done: int
    total: int
    right: int


Event = Answered | Judged | Examined


@dataclass(kw_only=True)
class Result:
    """What a run showed. `taught` has the feedback of each lesson, in order."""

    draw: Draw
    curve: list[Answered] = field(default_factory=list[Answered])
    verdicts: list[Judged] = field(default_factory=list[Judged])
    taught: list[Feedback] = field(default_factory=list[Feedback])
    exam: dict[Arm, float] = field(default_factory=dict[Arm, float])
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    resident_mb: float = 0.0
    context: Context | None = None
    served: frozenset[str] = frozenset()

    @property
    def wrong_served(self) -> list[Lesson]:
        """Wrong lessons whose example is in the final context."""
        return [
            lesson for lesson, said in zip(self.draw.lessons, self.taught, strict=True)
            if lesson.wrong and said.id in self.served
        ]  # fmt: skip

    @property
    def right_kept_out(self) -> int:
        """Right lessons that are not served in the end: the price of caution."""
        pairs = zip(self.draw.lessons, self.taught, strict=True)
        return sum(not lesson.wrong and said.id not in self.served for lesson, said in pairs)


def run_desk(agent: LearningAgent, counter: CountingAgent, draw: Draw, *, on_event: Callable[[Event], None]) -> Result:
    """Run the whole demo on an agent whose runtime acts through `counter`. Raises what the model raises."""
    started = time.monotonic()
    result = Result(draw=draw)
    desk = _Desk(agent, counter, result, on_event)
    for place, lesson in enumerate(draw.lessons):
        desk.step(place, lesson)
        if place + 1 == min(RULE_AFTER, len(draw.lessons)):
            desk.propose_rule(place)
    desk.sleep()
    desk.examine()
    result.usage = counter.usage
    result.seconds = time.monotonic() - started
    result.resident_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


class _Desk:
    def __init__(
        self, agent: LearningAgent, counter: CountingAgent, result: Result, on_event: Callable[[Event], None]
    ) -> None:
        self._agent, self._counter, self._result, self._on_event = agent, counter, result, on_event
        self._runtime: Runtime = agent.parts.runtime
        self._lesson_of: dict[str, Lesson] = {}
        self._place = 0

    def step(self, place: int, lesson: Lesson) -> None:
        """Answer in both contexts, be told the team, learn."""
        self._place = place
        request = self._request(lesson.item)
        frozen = self._answer(_empty(self._agent.scope), request)
        episode = self._agent.act(request, budget=self._left())
        said = tell(self._agent, episode, lesson)
        self._result.taught.append(said)
        self._lesson_of[said.id] = lesson
        self._agent.learn(budget=Budget(calls=0), on_attempt=self._judged)
        answered = Answered(
            place=place,
            lesson=lesson,
            frozen=frozen == lesson.item.label,
            learned=episode.output == lesson.item.label,
            entries=len(self._agent.context().entries),
            prompt_tokens=episode.run.usage.input_tokens,
        )
        self._result.curve.append(answered)
        self._on_event(answered)

    def propose_rule(self, place: int) -> None:
        """The careless colleague also has a rule: plausible, for everybody, and harmful."""
        episode = self._runtime.store.episode(self._agent.scope, self._result.taught[place].episode)
        team = self._result.draw.labels[len(self._result.draw.labels) // 2]
        self._agent.observe(episode, text=team, trigger=RULE_TRIGGER, by=CARELESS)
        self._agent.learn(budget=Budget(calls=min(RULE_CALLS, self._spare())), on_attempt=self._judged)

    def sleep(self) -> None:
        """Judge again by replay what was held back, and retire what was contradicted, within what is left."""
        self._place = len(self._result.draw.lessons)
        self._agent.sleep(budget=Budget(calls=self._spare()), on_attempt=self._judged)

    def examine(self) -> None:
        """The unseen exam, in three contexts; nothing is recorded or learned."""
        result, now = self._result, self._agent.context()
        result.context = now
        result.served = frozenset(source for blame in self._agent.blame().values() for source in blame.sources)
        contexts: dict[Arm, Context] = {
            "frozen": _empty(now.scope),
            "appended": everything(self._runtime, now.scope),
            "learned": now,
        }
        for arm, context in contexts.items():
            right = 0
            for done, item in enumerate(result.draw.exam, start=1):
                right += self._answer(context, self._request(item)) == item.label
                self._on_event(Examined(arm=arm, done=done, total=len(result.draw.exam), right=right))
            result.exam[arm] = right / len(result.draw.exam)

    def _answer(self, context: Context, request: Request) -> str:
        return answer_in(self._agent, context, request, budget=self._left())

    def _request(self, item: Item) -> Request:
        return request_for(item, self._result.draw.labels)

    def _left(self) -> Budget:
        return Budget(calls=MAX_CALLS - self._counter.usage.calls)

    def _spare(self) -> int:
        """Calls that are not needed to finish the stream and the exam."""
        draw = self._result.draw
        stream = 2 * (len(draw.lessons) - len(self._result.curve))
        return max(0, MAX_CALLS - self._counter.usage.calls - stream - 3 * len(draw.exam))

    def _judged(self, attempt: Attempt) -> None:
        about: Any = next((self._lesson_of[id] for id in attempt.evidence if id in self._lesson_of), None)
        if len(attempt.evidence) > 1 and attempt.edit:
            about = next((self._lesson_of[id] for id in attempt.edit.evidence if id in self._lesson_of), None)
        event = Judged(place=self._place, attempt=attempt, lesson=about)
        self._result.verdicts.append(event)
        self._on_event(event)


def request_for(item: Item, labels: tuple[str, ...]) -> Request:
    """What the desk asks its model about a message: which of the teams it is for."""
    messages = (Message(role="system", text=SYSTEM), Message(role="user", text=item.text))
    return Request(messages=messages, choices=labels, max_output_tokens=16)


def tell(agent: LearningAgent, episode: Episode, lesson: Lesson) -> Feedback:
    """A teacher says what is right: an approval if the model answered that, else a correction."""
    if episode.output == lesson.taught:
        return agent.observe(episode, label=True, by=lesson.teacher, comment=lesson.words)
    return agent.observe(episode, correction=lesson.taught, by=lesson.teacher, comment=lesson.words)


def answer_in(agent: LearningAgent, context: Context, request: Request, *, budget: Budget) -> str:
    """The model's answer in a context that need not be the one that is served; nothing is recorded."""
    run = agent.parts.runtime
    prompt = render(run.recall, context, request, profile=run.agent.profile, now=run.clock())
    return agent.wait(run.agent.run(prompt, budget=budget)).output


def everything(run: Runtime, scope: Scope) -> Context:
    """What an agent without a gate would have: all that was ever proposed, in order, none of it judged."""
    entries: dict[str, Entry] = {}
    for attempt in run.store.attempts(scope):
        for op in attempt.edit.ops if attempt.edit else ():
            if isinstance(op, Put):
                entries[op.entry.id] = op.entry
    layer = Layer(own=MappingProxyType(entries))
    vectors = run.recall.index(list(entries.values()))
    return Context(scope=scope, heads=Heads(), layers=(layer,), vectors=vectors)


def _empty(scope: Scope) -> Context:
    return Context(scope=scope, heads=Heads(), layers=(Layer(),))
