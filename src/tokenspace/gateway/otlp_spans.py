"""From spans to evidence: what a span says was asked and answered, and what was said about it. Pure functions.

Read are the GenAI conventions of OpenTelemetry (messages as JSON, and the older indexed attributes) and those of
OpenInference. The direction and range of an evaluation's score are its author's: a label that says right or wrong
decides, then a score from 0 to 1 where its name does not count what is bad; anything else is kept as words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, cast, get_args

from tokenspace.domain import (
    Episode,
    Heads,
    Message,
    Origin,
    Request,
    Role,
    Run,
    Scope,
    Signal,
    ToolCall,
    Usage,
    digest,
)
from tokenspace.gateway.who import name as usable

Attributes = Mapping[str, Any]

CALLS: Final = ("chat", "generate_content", "text_completion", "invoke_agent")
KINDS: Final = ("LLM", "AGENT")
RESULT: Final = "gen_ai.evaluation.result"
MARKS: Final = ("tokenspace.", "x-tokenspace-", "x_tokenspace_")
_ROLES: Final = frozenset(get_args(Role))
_RIGHT: Final = frozenset((
    "pass", "passed", "correct", "right", "good", "true", "yes", "positive", "thumbs_up", "thumbs-up", "success",
    "accept", "accepted", "ok",
))  # fmt: skip
_WRONG: Final = frozenset((
    "fail", "failed", "incorrect", "wrong", "bad", "false", "no", "negative", "thumbs_down", "thumbs-down", "failure",
    "reject", "rejected",
))  # fmt: skip
_BAD: Final = (
    "toxic",
    "halluc",
    "bias",
    "harm",
    "error",
    "risk",
    "unsafe",
    "violat",
    "distance",
    "latency",
    "cost",
    "refus",
)
"""Of what these words are part of, more is worse, or nobody knows."""
_JUDGES: Final = {"HUMAN": Origin.USER, "LLM": Origin.AGENT}
_ERROR: Final = 2
MAX_TOKENS: Final = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a span, or a log record."""

    name: str
    at_ns: int = 0
    attributes: Attributes = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span as we need it; ids are hexadecimal, `parent` is "" for a root."""

    trace: str
    id: str
    parent: str = ""
    start_ns: int = 0
    end_ns: int = 0
    status: int = 0
    message: str = ""
    attributes: Attributes = field(default_factory=lambda: MappingProxyType({}))
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was said about a run. `target` is a provider's response id or an episode's id; "" is that of the span."""

    id: str
    target: str
    signal: Signal
    value: str | float | bool
    comment: str
    source: Origin
    at_ns: int


# ── episodes ────────────────────────────────────────────────────────────────────────────────


def episode_id(trace: str, span: str) -> str:
    """The id of a span's episode: the same whenever it is sent."""
    return digest(["otlp", trace, span])


def is_call(span: Span) -> bool:
    """Whether a span is the run of a model or an agent."""
    read = span.attributes
    return read.get("gen_ai.operation.name") in CALLS or read.get("openinference.span.kind") in KINDS


def our_mark(span: Span) -> str:
    """The id, or any other mark, that our gateway left in a span: such a run is recorded already; "" without one."""
    marks = {key: value for key, value in span.attributes.items() if any(mark in key.lower() for mark in MARKS)}
    named: Any = next((value for key, value in marks.items() if key.lower().endswith("episode")), "")
    if isinstance(named, list):  # a header may stand several times, and is recorded so
        named = next(iter(cast("list[Any]", named)), "")
    return str(named) if named else "marked" if marks else ""


def response_id(attributes: Attributes) -> str:
    """The provider's response id, "" if there is none."""
    return _text(attributes.get("gen_ai.response.id"))


def scope_of(span: Span, scope: Scope) -> Scope:
    """The scope of a span's run: under that of the key, for the user that the span names."""
    user = _text(span.attributes.get("user.id")) or _text(span.attributes.get("enduser.id"))
    return scope if scope.user or not scope.tenant or not user else Scope(
        agent=scope.agent, tenant=scope.tenant, user=usable(user)
    )  # fmt: skip


def episode_of(span: Span, scope: Scope, *, now: datetime) -> Episode | None:
    """What a span says was asked and answered; None if it does not say both, or no run at all."""
    if not is_call(span):
        return None
    read = span.attributes
    asked, answered = _asked(read), _answered(read)
    if not any(message.role == "user" for message in asked) or (not answered and span.status != _ERROR):
        return None
    failed = (span.message or _text(read.get("error.type")) or "the span says that it failed") if (
        span.status == _ERROR
    ) else ""  # fmt: skip
    last = answered[-1] if answered else Message(role="assistant", text="")
    session = _text(read.get("gen_ai.conversation.id")) or _text(read.get("session.id"))
    return Episode(
        id=episode_id(span.trace, span.id),
        scope=scope_of(span, scope),
        heads=Heads(),
        session=usable(session) if session else None,
        at=time_of(span.end_ns, now),
        request=Request(messages=asked, tools=_tools(read)),
        run=Run(
            output="" if failed else last.text,
            messages=answered if failed else answered[:-1],
            tool_calls=() if failed else last.tool_calls,
            usage=_usage(read),
            latency_s=max(0, span.end_ns - span.start_ns) / 1e9,
            model=_first(read, "gen_ai.response.model", "gen_ai.request.model", "llm.model_name"),
            error=failed,
        ),
    )


def time_of(at_ns: int, now: datetime) -> datetime:
    """A time in nanoseconds since 1970; `now` where it is none, or has not come yet."""
    try:
        at = datetime.fromtimestamp(at_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        return now
    return at if at_ns > 0 and at <= now else now


def _usage(read: Attributes) -> Usage:
    def count(*names: str) -> int:
        found = next((read[name] for name in names if isinstance(read.get(name), (int, float))), 0)
        return int(min(max(0, found), MAX_TOKENS)) if math.isfinite(found) else 0

    return Usage(
        calls=1,
        input_tokens=count("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
        output_tokens=count(
            "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"
        ),
        cached_tokens=count(
            "gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read"
        ),
    )  # fmt: skip


# ── messages ────────────────────────────────────────────────────────────────────────────────


def _asked(read: Attributes) -> tuple[Message, ...]:
    words = "\n".join(filter(None, map(_part_text, _items(read.get("gen_ai.system_instructions")))))
    first = [Message(role="system", text=words)] if words else []
    found = [_message(item, "user") for item in _items(read.get("gen_ai.input.messages"))]
    found = found or [_flat(item, "user") for item in _nested(read, "llm.input_messages.")]
    found = found or [_flat(item, "user") for item in _nested(read, "gen_ai.prompt.")]
    plain = _text(read.get("input.value"))
    return (*first, *(found or ([Message(role="user", text=plain)] if plain else [])))


def _answered(read: Attributes) -> tuple[Message, ...]:
    found = [_message(item, "assistant") for item in _items(read.get("gen_ai.output.messages"))]
    found = found or [_flat(item, "assistant") for item in _nested(read, "llm.output_messages.")]
    found = found or [_flat(item, "assistant") for item in _nested(read, "gen_ai.completion.")]
    plain = _text(read.get("output.value"))
    return tuple(found or ([Message(role="assistant", text=plain)] if plain else []))


def _message(item: Mapping[str, Any], role: Role) -> Message:
    """A message of the GenAI conventions: a role and parts."""
    parts = _items(item.get("parts"))
    words = [_part_text(part) for part in parts] or [_text(item.get("content"))]
    calls = [
        ToolCall(id=_text(part.get("id")), name=_text(part.get("name")), arguments=_json_text(part.get("arguments")))
        for part in parts
        if part.get("type") == "tool_call"
    ]
    answers = [_text(part.get("id")) for part in parts if part.get("type") == "tool_call_response"]
    return Message(
        role=_role(item.get("role"), role), text="\n".join(filter(None, words)), tool_calls=tuple(calls),
        tool_call_id=answers[0] if answers else None,
    )  # fmt: skip


def _part_text(part: Mapping[str, Any]) -> str:
    match part.get("type"):
        case "text" | None:
            return _text(part.get("content")) or _text(part.get("text"))
        case "tool_call_response":
            return _json_text(part.get("response", part.get("result", "")))
        case _:
            return ""  # thoughts and pictures are no words that anybody said


def _flat(item: Mapping[str, Any], role: Role) -> Message:
    """A message of OpenInference, or of the older indexed attributes, from what stands below its index."""
    below = {key.removeprefix("message."): value for key, value in item.items()}
    text = _text(below.get("content")) or "\n".join(
        _text(part.get("message_content.text")) for part in _nested(below, "contents.")
    )
    calls = [
        ToolCall(
            id=_first(call, "tool_call.id", "id"),
            name=_first(call, "tool_call.function.name", "name"),
            arguments=_json_text(call.get("tool_call.function.arguments", call.get("arguments", ""))),
        )
        for call in _nested(below, "tool_calls.")
    ]
    return Message(
        role=_role(below.get("role"), role), text=text, tool_calls=tuple(calls),
        tool_call_id=_text(below.get("tool_call_id")) or None,
    )  # fmt: skip


def _tools(read: Attributes) -> tuple[Mapping[str, Any], ...]:
    found = _items(read.get("gen_ai.tool.definitions"))
    schemas = [_parsed(item.get("tool.json_schema")) for item in _nested(read, "llm.tools.")]
    return tuple(found) or tuple(cast("dict[str, Any]", one) for one in schemas if isinstance(one, dict))


def _nested(read: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Indexed attributes, such as llm.input_messages.0.message.role, as one mapping for each index, in order."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in read.items():
        if key.startswith(prefix):
            index, dot, rest = key.removeprefix(prefix).partition(".")
            if dot and index.isascii() and index.isdecimal() and len(index) <= 6:
                found.setdefault(int(index), {})[rest] = value
    return [found[index] for index in sorted(found)]


# ── evaluations ─────────────────────────────────────────────────────────────────────────────


def evaluations(span: Span) -> Iterator[Evaluation]:
    """What a span says about itself or about another run: in events, in attributes, or by being an evaluation."""
    for number, event in enumerate(span.events):
        if event.name == RESULT:
            yield from _result(span, event.attributes, at_ns=event.at_ns, number=f"event {number}")
    if "gen_ai.evaluation.name" in span.attributes:
        yield from _result(span, span.attributes, at_ns=span.end_ns, number="span")
    for word in ("annotation", "evaluation"):
        for item in _nested(span.attributes, f"{word}s."):
            given = {key.removeprefix(f"{word}."): value for key, value in item.items()}
            yield from _read(span, given, target="", at_ns=span.end_ns, number=_text(given.get("identifier")))


def logged(event: Event, trace: str, span: str) -> Iterator[Evaluation]:
    """The evaluation in a log record about a span."""
    if event.name == RESULT:
        about = Span(trace=trace, id=span)
        yield from _result(about, event.attributes, at_ns=event.at_ns, number=str(event.at_ns))


def _result(span: Span, read: Attributes, *, at_ns: int, number: str) -> Iterator[Evaluation]:
    short = {key.removeprefix("gen_ai.evaluation."): value for key, value in read.items()}
    given = {
        "name": short.get("name"), "score": short.get("score.value"), "label": short.get("score.label"),
        "explanation": short.get("explanation"),
    }  # fmt: skip
    target = response_id(read)
    if not target and read is span.attributes and not is_call(span) and span.parent:
        target = episode_id(span.trace, span.parent)  # a span that is nothing but an evaluation of its parent
    yield from _read(span, given, target=target, at_ns=at_ns, number=number)


def _read(span: Span, given: Mapping[str, Any], *, target: str, at_ns: int, number: str) -> Iterator[Evaluation]:
    name, why = _text(given.get("name")) or "evaluation", _text(given.get("explanation"))
    label, score = given.get("label"), given.get("score")
    said = _said(name, label, score, why)
    if said is None:
        return
    signal, value = said
    words = f"{name}: {why}" if why else name
    yield Evaluation(
        id=digest(["otlp", span.trace, span.id, target, number, name, str(label), str(score), why]),
        target=target,
        signal=signal,
        value=value,
        comment="" if signal is Signal.TEXT else words,
        source=_JUDGES.get(_text(given.get("annotator_kind")).upper(), Origin.TOOL),
        at_ns=at_ns,
    )


def _said(name: str, label: Any, score: Any, why: str) -> tuple[Signal, str | float | bool] | None:
    word = str(label).strip().lower().replace(" ", "_") if label is not None else ""
    if word in _RIGHT or word in _WRONG:
        return Signal.LABEL, word in _RIGHT
    number = float(score) if isinstance(score, (int, float)) else None
    if number is not None and not word and 0 <= number <= 1 and not any(part in name.lower() for part in _BAD):
        return Signal.SCORE, number
    found = " ".join(filter(None, (word, "" if number is None else f"{number:g}")))
    if not found and not why:
        return None
    return Signal.TEXT, f"{name}: {' — '.join(filter(None, (found, why)))}"


# ── values ──────────────────────────────────────────────────────────────────────────────────


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _first(read: Mapping[str, Any], *names: str) -> str:
    return next((text for name in names if (text := _text(read.get(name)))), "")


def _role(value: object, default: Role) -> Role:
    return cast("Role", value) if value in _ROLES else default


def _parsed(value: object) -> object:
    """A value, out of its JSON text if it is one."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _items(value: object) -> list[dict[str, Any]]:
    """The objects of a list, which may be the JSON text of one."""
    found = _parsed(value)
    several: list[Any] = cast("list[Any]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", item) for item in several if isinstance(item, dict)]


def _json_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
