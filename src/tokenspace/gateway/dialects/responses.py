"""OpenAI's Responses.

`instructions` are not carried over by `previous_response_id`, so blocks are put in at every call; input items are
carried over, so what is anchored is given once. Recalled text is a `developer` item before the anchored one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tokenspace.domain import Message, Request, Run, ToolCall, Usage
from tokenspace.errors import BadData
from tokenspace.gateway.dialects.chat import openai_error
from tokenspace.gateway.dialects.shapes import (
    NO_ANSWER,
    Item,
    block_texts,
    chain_of,
    clean,
    closing,
    content_text,
    dump,
    error_text,
    hosted,
    is_stream,
    items_of,
    load,
    mapping,
    named_events,
    number,
    output_tokens,
    sequence,
    string,
    tools_of,
    weave,
)
from tokenspace.gateway.wire import Answer, Asked, Body, Injection

_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_WHOLE: Final = frozenset({"completed", "incomplete", ""})
"""States of an answer that was given to its end; an incomplete one ran into a limit and says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """The dialect of `/responses`."""

    name: str = "responses"
    paths: tuple[str, ...] = ("/responses",)

    def read(self, body: Body) -> Asked:
        """What is asked; items are `input`, a string being one user item, and `instructions` stand before them.

        `previous` is the response that the body goes on from, or the provider's conversation that it belongs to; either
        is part of the digests, since the items alone are then not the conversation.
        """
        items = _items(body)
        instructions = body.get("instructions")
        if instructions is not None and not isinstance(instructions, str):
            raise BadData("`instructions` is not text", hint="the request is passed on as it is")
        head = (Message(role="system", text=instructions),) if instructions else ()
        previous = _previous(body)
        schema = mapping(mapping(body.get("text")).get("format")).get("schema")
        return Asked(
            model=string(body.get("model")),
            stream=body.get("stream") is True,
            request=Request(
                messages=(*head, *_messages(items)),
                tools=tools_of(body.get("tools")),
                schema=mapping(schema) or None,
                max_output_tokens=output_tokens(body.get("max_output_tokens")),
            ),
            chain=chain_of([instructions or "", previous], map(_canonical_item, items)),
            anchors=_anchors(items),
            closing=closing(items),
            previous=previous,
        )

    def inject(self, body: Body, injection: Injection) -> Body:
        """The body with blocks at the end of `instructions`, and with what is anchored among the input items."""
        items = _items(body)
        anchors = injection.anchors
        woven = weave(items, anchors, allowed=_anchors(items), turn=_turn, carry=_carry) if anchors else None
        texts = block_texts(injection.blocks)
        if woven is None and not texts:
            return body
        made = dict(body)
        if woven is not None:
            made["input"] = woven
        if texts:
            made["instructions"] = "\n\n".join([*filter(None, [string(body.get("instructions"))]), *texts])
        return made

    def answer(self, data: bytes, *, stream: bool) -> Answer:
        """The whole answer."""
        assembly = _Assembly()
        if not is_stream(data, stream=stream):
            assembly.take_whole(mapping(load(data)))
            return assembly.answer()
        for kind, told in named_events(data):
            assembly.take(kind, told)
        return assembly.answer()

    def error(self, message: str, *, status: int, kind: str) -> bytes:
        """Our own error; `kind` is its code."""
        return openai_error(message, status=status, kind=kind)


# ── body → request ──────────────────────────────────────────────────────────────────────────


def _items(body: Body) -> list[Item]:
    said = body.get("input")
    if said is None and (body.get("prompt") or _previous(body)):
        return []  # a stored prompt, or nothing new to say
    return [{"role": "user", "content": said}] if isinstance(said, str) else items_of(said, "input")


def _previous(body: Body) -> str | None:
    told = body.get("conversation")
    return string(body.get("previous_response_id")) or string(told) or string(mapping(told).get("id")) or None


def _messages(items: Iterable[Item]) -> Iterator[Message]:
    """Items as messages; calls that follow one another are made by one assistant's turn."""
    calls: list[ToolCall] = []
    for item in items:
        if _is_call(item):
            calls.append(_call(item))
            continue
        made = _message(item)
        if made is None:
            continue
        if calls:
            yield Message(role="assistant", text="", tool_calls=tuple(calls))
            calls.clear()
        yield made
    if calls:
        yield Message(role="assistant", text="", tool_calls=tuple(calls))


def _message(item: Item) -> Message | None:
    """A message or a result; None for what is neither, such as reasoning, references and the provider's own calls."""
    kind = item.get("type")
    if kind == "message" or (kind is None and "role" in item):
        role, text = item.get("role"), content_text(item.get("content"))
        if role == "user" or role == "assistant" or role == "system" or role == "developer":  # noqa: PLR1714 — narrows
            return Message(role=role, text=text)
        raise BadData(f"there is no role {role!r} in Responses", hint="the request is passed on as it is")
    if isinstance(kind, str) and kind.endswith("_output"):
        output: Any = item.get("output")
        text = dump(output) if mapping(output) else content_text(output)
        return Message(role="tool", text=text, tool_call_id=string(item.get("call_id") or item.get("id")))
    return None


def _is_call(item: Mapping[str, Any]) -> bool:
    """Whether an item is a call that the client answers: those of the provider's own tools have no `call_id`."""
    return string(item.get("type")).endswith("_call") and bool(string(item.get("call_id")))


def _is_hosted(item: Mapping[str, Any]) -> bool:
    """Whether an item is a call of one of the provider's own tools, which has answered it already."""
    return string(item.get("type")).endswith("_call") and not _is_call(item)


def _call(item: Mapping[str, Any]) -> ToolCall:
    """A call of any kind: functions have `arguments`, custom tools `input`, the built-in ones an object."""
    said = next((item[key] for key in ("arguments", "input", "action", "operation") if item.get(key) is not None), "")
    return ToolCall(
        id=string(item.get("call_id")),
        name=string(item.get("name")) or string(item.get("type")).removesuffix("_call"),
        arguments=clean(said) if isinstance(said, str) else dump(said),
    )


def _canonical_item(item: Item) -> Item:
    """A message in one form: its type may be left out, and a string stands for one part."""
    content = item.get("content")
    if not isinstance(content, str):
        return item if "type" in item or "role" not in item else {**item, "type": "message"}
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    return {**item, "type": "message", "content": [{"type": kind, "text": content}]}


def _anchors(items: Sequence[Item]) -> tuple[int, ...]:
    """User items, but for those that stand where the result of a call is still to come."""
    found: list[int] = []
    waiting: set[str] = set()
    for index, item in enumerate(items):
        if item.get("role") == "user":
            if not waiting:
                found.append(index)
        elif _is_call(item):
            waiting.add(string(item.get("call_id")))
        elif waiting and string(item.get("type")).endswith("_output"):
            waiting.discard(string(item.get("call_id") or item.get("id")))
    return tuple(found)


# ── injecting ───────────────────────────────────────────────────────────────────────────────


def _turn(message: Message) -> Item:
    kind = "output_text" if message.role == "assistant" else "input_text"
    return {"type": "message", "role": message.role, "content": [{"type": kind, "text": message.text}]}


def _carry(item: Item, text: str) -> Sequence[Item]:
    return _turn(Message(role="developer", text=text)), item


# ── answer → run ────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Assembly:
    """An answer put together from the events of a stream, or taken whole.

    The last event carries the whole response, so the pieces are needed only where it is missing, or where a server
    leaves its output empty.
    """

    response: Mapping[str, Any] = field(default_factory=dict[str, Any])
    items: dict[int, Item] = field(default_factory=dict[int, Item])
    texts: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    done: set[int] = field(default_factory=set[int])
    error: str = ""
    ended: bool = False

    def take_whole(self, told: Mapping[str, Any]) -> None:
        """The whole response: a JSON body, or what the last event carries."""
        self.response = told
        state = string(told.get("status"))
        self.error = self.error or error_text(told.get("error"))
        if state in {"failed", "cancelled"}:
            self.error = self.error or f"the response was {state}"
        output: object = told.get("output")
        if not self.error and state in {"", "completed"} and not isinstance(output, list):
            self.error = NO_ANSWER
        self.ended = state in _WHOLE

    def take(self, kind: str, told: Mapping[str, Any]) -> None:
        """One event; those that say nothing that is kept are passed over."""
        index = number(told.get("output_index"))
        delta = told.get("delta")
        if kind.endswith(".delta"):
            if kind in {"response.output_text.delta", "response.refusal.delta"} and isinstance(delta, str):
                self.texts.setdefault(index, []).append(delta)
        elif kind in _ENDS:
            self.take_whole(mapping(told.get("response")))
            self.ended = self.ended and not kind.endswith(("failed", "cancelled"))
        elif kind in {"response.created", "response.in_progress", "response.queued"}:
            self.response = mapping(told.get("response"))
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            self.items[index] = mapping(told.get("item"))
            if kind.endswith("done"):
                self.done.add(index)
        elif kind in {"response.function_call_arguments.done", "response.custom_tool_call_input.done"}:
            said = {key: told[key] for key in ("arguments", "input") if key in told}
            self.items[index] = {**self.items.get(index, {}), **said}
            self.done.add(index)
        elif kind == "error" or told.get("error"):
            flat = {"code": told.get("code"), "message": told.get("message")}
            self.error = self.error or error_text(told.get("error") or flat)

    def answer(self) -> Answer:
        """What it amounts to. Whole tool calls are what a client may leave with, before the end of the stream."""
        items = [mapping(item) for item in sequence(self.response.get("output"))]
        text = _said(items)
        if not items:
            places = sorted(self.items.keys() | self.texts.keys())
            items = [self.items.get(place, {}) for place in places]
            text = "".join(_said([self.items.get(at, {})]) or "".join(self.texts.get(at, ())) for at in places)
        called = [item for item in items if _is_call(item)]
        left = bool(called) and all(at in self.done for at, item in self.items.items() if _is_call(item))
        return Answer(
            id=string(self.response.get("id")),
            run=Run(
                output=clean(text),
                messages=hosted(item for item in items if _is_hosted(item)),
                tool_calls=tuple(_call(item) for item in called),
                usage=_usage(mapping(self.response.get("usage"))),
                model=string(self.response.get("model")),
            ),
            complete=not self.error and (self.ended or left),
            error=self.error,
        )


def _said(items: Iterable[Item]) -> str:
    """The text of the answer, or the refusal in its place."""
    parts = [mapping(part) for item in items if item.get("type") == "message" for part in sequence(item.get("content"))]
    text = "".join(string(part.get("text")) for part in parts if part.get("type") == "output_text")
    return text or "".join(string(part.get("refusal")) for part in parts if part.get("type") == "refusal")


def _usage(used: Mapping[str, Any]) -> Usage:
    return Usage(
        calls=1,
        input_tokens=number(used.get("input_tokens")),
        output_tokens=number(used.get("output_tokens")),
        cached_tokens=number(mapping(used.get("input_tokens_details")).get("cached_tokens")),
    )
