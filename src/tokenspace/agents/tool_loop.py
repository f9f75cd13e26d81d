"""An agent that uses tools: ask, run the tools that are called, ask again, until the model answers."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from tokenspace.agents.foreign import call as call_foreign
from tokenspace.agents.read_skill import read_skill
from tokenspace.budget import Budget
from tokenspace.context.definitions import Adapter
from tokenspace.context.render import message_tokens
from tokenspace.context.skills import READ_SKILL
from tokenspace.context.taint import OWN_MEMORY, hear, listening
from tokenspace.domain import Message, Origin, Profile, Prompt, Run, ToolCall, Usage
from tokenspace.errors import BadCompletion, UsageError
from tokenspace.protocols import Model

Tool = Callable[..., Any]
"""Takes the arguments of a call as keywords; answers with text, or with anything else that JSON can hold.

The model may set every parameter that the function has: none of them is a place for a right or a secret.
"""

_NOT_AN_OBJECT: Final = "error: the arguments are not a JSON object"


class ToolLoopAgent:
    """Acts by asking its model and running the tools that it calls, in order, until it answers without a call.

    `tools` maps the names of the tools, which the request declares, to functions. A plain function runs in a thread, so
    that it may block; a coroutine function runs on the event loop. What goes wrong with a call (the tool raises, nobody
    has it, the arguments are not a JSON object) is told to the model as the result "error: …": it is evidence about
    the context and not a crash. The model is asked at most `max_steps` times; if it calls a tool even then, that call
    is not run, and the run is a `BadCompletion`: a loop without an end, and not an answer.

    `adapters` says, whenever a run begins, which adapters are served, by the name of their tool (see
    `context.definitions.adapters_in`). A tool gets the arguments as its adapter makes them; a call is recorded with the
    arguments as the model wrote them, so that it is found again in a replay, which needs no adapter.

    With `reads_skills` the model may open the skills that its context holds, with the tool `read_skill`: the prompt
    declares it, and the prompt answers it, in a replay as in a run.

    In a run, `tool_calls` are all calls with their results, `messages` the turns that were added to the prompt's,
    `output` is the last text alone; `usage` is summed over the calls of the model, `latency_s` has the tools in it.
    """

    def __init__(
        self,
        model: Model,
        tools: Mapping[str, Tool],
        *,
        max_steps: int = 8,
        adapters: Callable[[], Mapping[str, Adapter]] = dict,
        reads_skills: bool = False,
    ) -> None:
        if max_steps < 1:
            raise UsageError(f"a tool loop of {max_steps} steps asks nothing", hint="set max_steps to 1 or more")
        self._model = model
        self._tools = dict(tools)
        self._max_steps = max_steps
        self._adapters = adapters
        self._reads_skills = reads_skills

    @property
    def profile(self) -> Profile:
        """The model's profile, which says, too, whether skills can be opened."""
        profile = self._model.profile
        return replace(profile, reads_skills=True) if self._reads_skills else profile

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """Act, with all the effects that the tools have. Every call of the model is reserved and settled on its own.

        Same errors as `Model.complete`, at any step: what was paid for and done until then stays.
        """
        with listening(prompt.taint):
            return await self._loop(prompt, partial(self._use, self._adapters()), budget=budget, seed=seed)

    async def replay(
        self, prompt: Prompt, *, recorded: Sequence[ToolCall], budget: Budget, seed: int = 0
    ) -> Run | None:
        """The same loop with results from `recorded` and no tool run; None at the first call without one.

        A call has the result of a recorded call of the same name and arguments, whose white space and order of keys do
        not matter; a call made n times has the first n results in their order. A recording without a result is none.
        The call of a tool that writes is thus answered as it was then, and writes nothing. Where the calls come in
        another order than then, each still has its own result: a recording does not know what depends on what.
        """
        recording = Recording(recorded)
        try:
            return await self._loop(prompt, recording.use, budget=budget, seed=seed)
        except _NotRecorded:
            return None

    async def _loop(
        self, prompt: Prompt, use: Callable[[ToolCall], Awaitable[str]], *, budget: Budget, seed: int
    ) -> Run:
        began = time.perf_counter()
        usage, calls, added = Usage(), list[ToolCall](), list[Message]()
        for step in range(1, self._max_steps + 1):
            said = await self._model.complete(_grown(prompt, added, self.profile), budget=budget, seed=seed)
            usage += said.usage
            if not said.tool_calls:
                done = replace(said, messages=tuple(added), tool_calls=tuple(calls))
                return replace(done, usage=usage, latency_s=time.perf_counter() - began)
            if step == self._max_steps:
                break
            added.append(Message(role="assistant", text=said.output, tool_calls=said.tool_calls))
            for asked in said.tool_calls:
                opens = asked.name == READ_SKILL and bool(prompt.openable)
                result = read_skill(prompt.openable, parsed(asked.arguments)) if opens else await use(asked)
                calls.append(replace(asked, result=result))
                added.append(Message(role="tool", text=result, tool_call_id=asked.id))
        raise BadCompletion(
            f"the model still calls tools after {self._max_steps} steps and {len(calls)} calls",
            hint="raise max_steps, or tell the agent in its instructions when to stop",
        )

    async def _use(self, adapters: Mapping[str, Adapter], asked: ToolCall) -> str:
        """The result of a live call, whatever goes wrong."""
        tool = self._tools.get(asked.name)
        if tool is None:
            return f"error: there is no tool {asked.name!r}"
        arguments = parsed(asked.arguments)
        if arguments is None:
            return _NOT_AN_OBJECT
        if asked.name in adapters:
            arguments = adapters[asked.name].adapt(arguments)
        try:
            result = await call_foreign(tool, **arguments)
            if not getattr(tool, OWN_MEMORY, False):
                hear(Origin.TOOL)
            return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        except Exception as error:  # noqa: BLE001 (top-level handler of foreign code: its failure is told to the model)
            return f"error: {type(error).__name__}: {error}"


def _grown(prompt: Prompt, added: Sequence[Message], profile: Profile) -> Prompt:
    """The prompt with the turns so far; its bound of tokens stays a bound. One made by hand (0) is counted later."""
    tokens = prompt.tokens and prompt.tokens + message_tokens(profile, added)
    return replace(prompt, messages=(*prompt.messages, *added), tokens=tokens)


# ── recorded calls ──────────────────────────────────────────────────────────────────────────


class _NotRecorded(Exception):
    """A replay came to a call whose result nobody knows; never leaves `ToolLoopAgent.replay`."""


class Recording:
    """Results of recorded calls, each of which answers one call."""

    def __init__(self, calls: Sequence[ToolCall]) -> None:
        self._left: dict[tuple[str, str], deque[str]] = {}
        for made in calls:
            if made.result is not None:
                self._left.setdefault(_identity(made), deque()).append(made.result)

    async def use(self, asked: ToolCall) -> str:
        """The next result of this very call; raises `_NotRecorded` if there is none (any more)."""
        left = self._left.get(_identity(asked))
        if not left:
            raise _NotRecorded(asked.name)
        return left.popleft()


def _identity(call: ToolCall) -> tuple[str, str]:
    """What makes two calls the same: name and canonical arguments; unreadable ones are compared as they came."""
    arguments = parsed(call.arguments)
    try:
        return call.name, call.arguments if arguments is None else json.dumps(arguments, sort_keys=True)
    except RecursionError:
        return call.name, call.arguments


def parsed(arguments: str) -> dict[str, Any] | None:
    """A call's arguments; None if they are not a JSON object. Nothing at all is how some models write no arguments.

    >>> parsed(' {"id": 7}'), parsed(""), parsed("[7]"), parsed('{"id": NaN}')
    ({'id': 7}, {}, None, None)
    """
    try:
        told: Any = json.loads(arguments or "{}", parse_constant=_not_json)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None  # pyright: ignore[reportUnknownVariableType] — JSON


def _not_json(name: str) -> None:
    raise ValueError(name)
