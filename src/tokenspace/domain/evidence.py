"""What is learned from: requests, runs, episodes, feedback, and the cases that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

from tokenspace.domain.entries import Heads, Origin
from tokenspace.domain.identity import Json, Scope, new_id

Role = Literal["system", "developer", "user", "assistant", "tool"]
_HARNESS: Final = ("system-reminder", "environment_context")
"""Elements with which coding agents (Claude Code, Codex) tell their model something in the user's name."""


def spoken(text: str) -> str:
    r"""A user message without what a harness put beside the user's own words; all of it if there is no such thing.

    >>> spoken("<system-reminder>It is Monday.</system-reminder>\nRun the tests.")
    'Run the tests.'
    """
    before = text
    for name in _HARNESS:
        text = _without(text, f"<{name}>", f"</{name}>")
    return text if text is before else text.strip()


def _without(text: str, begin: str, end: str) -> str:
    """Found piece by piece: a pattern would look for an end that is not there from every beginning anew."""
    if end not in text:
        return text
    kept, at = list[str](), 0
    while (start := text.find(begin, at)) >= 0 and (stop := text.find(end, start)) >= 0:
        kept.append(text[at:start])
        at = stop + len(end)
    return "".join((*kept, text[at:])) if at else text


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that a model asked for; `arguments` is the JSON text as it came."""

    id: str
    name: str
    arguments: str
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an agent is asked, before any learned context is added; it can be replayed.

    `choices` constrains the answer to one of these strings, `schema` to JSON of that JSON Schema.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    choices: tuple[str, ...] | None = None
    schema: Mapping[str, Any] | None = None
    max_output_tokens: int = 256

    @property
    def query(self) -> str:
        """The text that recall searches with: what the user said last, without what a harness put beside it."""
        texts = [m.text for m in reversed(self.messages) if m.role == "user"]
        return next((own for text in texts if (own := spoken(text))), texts[0] if texts else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run cost. Token counts are the provider's; `cached_tokens` are part of `input_tokens`."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            usd=self.usd + other.usd,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls - other.calls,
            input_tokens=self.input_tokens - other.input_tokens,
            output_tokens=self.output_tokens - other.output_tokens,
            cached_tokens=self.cached_tokens - other.cached_tokens,
            usd=self.usd - other.usd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What an agent did with a prompt, not yet recorded.

    `error` says why there is no answer, "" if there is one: `output` is empty then, so that it can never be taken for
    a right one, and what came of it is in `messages`.
    """

    output: str
    messages: tuple[Message, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    latency_s: float = 0.0
    model: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One recorded run: what was asked, on which heads, what was shown, done and answered.

    `taint` is the least origin of what was shown, `OPERATOR` where nothing was.
    """

    id: str = field(default_factory=new_id)
    scope: Scope
    heads: Heads
    request: Request
    run: Run
    shown: tuple[str, ...] = ()
    session: str | None = None
    taint: Origin = Origin.OPERATOR
    at: datetime

    @property
    def output(self) -> str:
        """The agent's answer."""
        return self.run.output


class Signal(StrEnum):
    """What form a piece of feedback has; decides what its value means."""

    TEXT = "text"
    CORRECTION = "correction"
    EDIT = "edit"
    DEMONSTRATION = "demonstration"
    SCORE = "score"
    LABEL = "label"
    TEST_LOG = "test_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What is said about an episode, now or weeks later.

    `value` by signal: correction, edit, demonstration: the output that would have been right; label: whether
    the output was right; score: a number from 0 (worst) to 1; text, test_log: the words. `comment` is free text
    beside it, `trigger` the kind of request a clarification is about. `principal` is authenticated by the
    caller, `source` is stamped by code and says with whose authority it speaks. `expects` is a grader for the
    case that it makes, when the default will not do.
    """

    id: str = field(default_factory=new_id)
    scope: Scope
    episode: str
    principal: str
    signal: Signal
    value: str | float | bool
    comment: str = ""
    trigger: str | None = None
    source: Origin = Origin.USER
    expects: GraderSpec | None = None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderSpec:
    """How to grade an output, as data: `name` is a registered grader, `options` its arguments."""

    name: str
    expected: Json = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A replayable request with a grader, made from feedback.

    `cluster` groups near copies: a cluster enters a test once. `sources` are the feedback and episode that it
    was made from. A `pinned` case is a regression test that every edit of the scope must pass. `recorded` are the
    tool calls of the episode with their results, for agents that use tools.
    """

    id: str = field(default_factory=new_id)
    scope: Scope
    request: Request
    grader: GraderSpec
    cluster: str
    sources: tuple[str, ...] = ()
    principal: str = ""
    pinned: bool = False
    split: Literal["replay", "sealed"] = "replay"
    recorded: tuple[ToolCall, ...] = ()
    at: datetime
