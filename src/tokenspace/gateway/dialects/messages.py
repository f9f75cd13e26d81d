"""Anthropic's Messages.

Recalled text is a text block of its own at the head of the anchored user message, and not a `role: system` turn: only
some models take those, and a system turn would give what was recalled more authority than it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tokenspace.domain import Message, Request, Run, ToolCall, Usage
from tokenspace.errors import BadData
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

MAX_BREAKPOINTS: Final = 4
_BILLING: Final = "x-anthropic-billing-header:"
"""How a line begins that Claude Code puts first in its system text, with a value that is new on every call."""
_ERROR_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """The dialect of `/messages`."""

    name: str = "messages"
    paths: tuple[str, ...] = ("/messages",)

    def read(self, body: Body) -> Asked:
        """What is asked; items are `messages`, and `system` stands before them.

        Claude Code's billing line is read over: it is no part of what is said, and would make a new conversation, and a
        new agent, of every call.
        """
        items = items_of(body.get("messages"), "messages")
        system = list(_system_blocks(body.get("system")))
        said = content_text(system)
        head = (Message(role="system", text=said),) if said else ()
        told = mapping(body.get("output_config")).get("format") or body.get("output_format")
        return Asked(
            model=string(body.get("model")),
            stream=body.get("stream") is True,
            request=Request(
                messages=(*head, *(message for item in items for message in _messages(item))),
                tools=tools_of(body.get("tools")),
                schema=mapping(mapping(told).get("schema")) or None,
                max_output_tokens=output_tokens(body.get("max_tokens")),
            ),
            chain=chain_of(system, map(_as_blocks, items)),
            anchors=_anchors(items),
            closing=closing(items),
        )

    def inject(self, body: Body, injection: Injection) -> Body:
        """The body with blocks at the end of `system`, the last one marked for the cache, and with what is anchored."""
        items = items_of(body.get("messages"), "messages")
        anchors = injection.anchors
        woven = weave(items, anchors, allowed=_anchors(items), turn=_turn, carry=_carry) if anchors else None
        texts = block_texts(injection.blocks)
        if woven is None and not texts:
            return body
        made = dict(body)
        if woven is not None:
            made["messages"] = woven
        if texts:
            blocks: list[Item] = [{"type": "text", "text": text} for text in texts]
            if mark := _mark(body, items):
                blocks[-1]["cache_control"] = mark
            system = body.get("system")
            own = [{"type": "text", "text": system}] if isinstance(system, str) and system else sequence(system)
            made["system"] = [*own, *blocks]
        return made

    def answer(self, data: bytes, *, stream: bool) -> Answer:
        """The whole answer. Text and calls of the provider's own tools count as neither output nor call."""
        assembly = _Assembly()
        if not is_stream(data, stream=stream):
            assembly.take_whole(mapping(load(data)))
            return assembly.answer()
        for kind, told in named_events(data):
            assembly.take(kind, told)
        return assembly.answer()

    def error(self, message: str, *, status: int, kind: str) -> bytes:
        """Our own error; the client chooses the exception by the status and shows `kind` as `error_code`."""
        type = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        told = {"type": type, "message": clean(message), "details": {"error_code": clean(kind)}}
        return orjson.dumps({"type": "error", "error": told})


# ── body → request ──────────────────────────────────────────────────────────────────────────


def _system_blocks(system: object) -> Iterator[Item]:
    """The client's system text as blocks, its billing line left out."""
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else sequence(system)
    for told in blocks:
        block = mapping(told)
        text = string(block.get("text"))
        if text.startswith(_BILLING):
            text = text.partition("\n")[2]
            block = {**block, "text": text}
        if text:
            yield block


def _messages(item: Item) -> Iterator[Message]:
    """One item as messages: each tool result is one of its own, before what the user says beside it."""
    role, content = item.get("role"), item.get("content")
    if role == "user":
        results, said = _apart(content, "tool_result")
        for part in results:
            id = string(part.get("tool_use_id"))
            yield Message(role="tool", text=content_text(part.get("content")), tool_call_id=id)
        if said or not results:
            yield Message(role="user", text=content_text(said))
    elif role == "assistant":
        used, said = _apart(content, "tool_use")
        yield Message(role="assistant", text=content_text(said), tool_calls=tuple(map(_call, used)))
    elif role == "system":
        yield Message(role="system", text=content_text(content))
    else:
        raise BadData(f"there is no role {role!r} in Messages", hint="the request is passed on as it is")


def _apart(content: object, kind: str) -> tuple[list[Item], object]:
    """The blocks of one type, and the content without them."""
    if isinstance(content, str):
        return [], content
    found: list[Item] = []
    others: list[Any] = []
    for told in sequence(content):
        block = mapping(told)
        if block.get("type") == kind:
            found.append(block)
        else:
            others.append(told)
    return found, others


def _call(block: Mapping[str, Any]) -> ToolCall:
    arguments = dump(block.get("input", {}))
    return ToolCall(id=string(block.get("id")), name=string(block.get("name")), arguments=arguments)


def _as_blocks(item: Item) -> Item:
    """An item in one form: clients send the same words as a string on one call, and as a marked block on the next."""
    content = item.get("content")
    return {**item, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else item


def _anchors(items: Sequence[Item]) -> tuple[int, ...]:
    """User messages without a tool result. One that brings results along with words belongs to the call before it."""
    found: list[int] = []
    waiting = False
    for index, item in enumerate(items):
        role = item.get("role")
        if role == "assistant":
            waiting = _has(item, "tool_use")
        elif role == "user":
            if _has(item, "tool_result"):
                waiting = False
            elif not waiting:
                found.append(index)
    return tuple(found)


def _has(item: Item, kind: str) -> bool:
    return any(mapping(part).get("type") == kind for part in sequence(item.get("content")))


# ── injecting ───────────────────────────────────────────────────────────────────────────────


def _turn(message: Message) -> Item:
    # The provider turns down an assistant's text that ends in space.
    text = message.text.rstrip() if message.role == "assistant" else message.text
    return {"role": message.role, "content": text}


def _carry(item: Item, text: str) -> Sequence[Item]:
    content = item.get("content")
    own = [{"type": "text", "text": content}] if isinstance(content, str) else sequence(content)
    return ({**item, "content": [{"type": "text", "text": text}, *own]},)


def _mark(body: Body, items: Sequence[Item]) -> Item | None:
    """A cache breakpoint for the end of our blocks; None if the client uses all there are.

    Its time to live is that of the client's next breakpoint, else of the last one before: the provider turns down a
    longer time after a shorter one.
    """
    before = [*_marks(body.get("tools")), *_marks(body.get("system"))]
    after = [mark for item in items for mark in _marks(item.get("content"))]
    # A mark on the whole request stands for one on its last block.
    after += [mark] if (mark := mapping(body.get("cache_control"))) else []
    if len(before) + len(after) >= MAX_BREAKPOINTS:
        return None
    beside = after[0] if after else before[-1] if before else {}
    return {"type": "ephemeral", "ttl": beside["ttl"]} if "ttl" in beside else {"type": "ephemeral"}


def _marks(parts: object) -> Iterator[Item]:
    """The breakpoints in a list of blocks, in order, those within tool results included."""
    for told in sequence(parts):
        part = mapping(told)
        if part.get("type") == "tool_result":
            yield from _marks(part.get("content"))
        if mark := mapping(part.get("cache_control")):
            yield mark


# ── answer → run ────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Block:
    """A content block as it grows."""

    start: Mapping[str, Any]
    text: list[str] = field(default_factory=list[str])
    arguments: list[str] = field(default_factory=list[str])
    ended: bool = False

    @property
    def call(self) -> ToolCall:
        call = _call(self.start)
        streamed = clean("".join(self.arguments))
        return ToolCall(id=call.id, name=call.name, arguments=streamed) if streamed else call


@dataclass(slots=True)
class _Assembly:
    """An answer put together from the events of a stream, or taken whole."""

    id: str = ""
    model: str = ""
    blocks: dict[int, _Block] = field(default_factory=dict[int, _Block])
    used: dict[str, int] = field(default_factory=dict[str, int])
    error: str = ""
    ended: bool = False

    def take_whole(self, told: Mapping[str, Any]) -> None:
        """A JSON body."""
        self._message(told)
        self.error = self.error or error_text(told.get("error"))
        content: object = told.get("content")
        if not self.error and not isinstance(content, list):
            self.error = NO_ANSWER
        for index, block in enumerate(sequence(told.get("content"))):
            self._start(index, mapping(block))
            self.blocks[index].ended = True
        self.ended = True

    def take(self, kind: str, told: Mapping[str, Any]) -> None:
        """One event; unknown ones are passed over, as the provider asks."""
        index = number(told.get("index"))
        if kind == "content_block_delta":
            self._delta(self.blocks.setdefault(index, _Block({})), mapping(told.get("delta")))
        elif kind == "content_block_start":
            self._start(index, mapping(told.get("content_block")))
        elif kind == "content_block_stop" and index in self.blocks:
            self.blocks[index].ended = True
        elif kind == "message_start":
            self._message(mapping(told.get("message")))
        elif kind == "message_delta":
            self._use(told.get("usage"))
        elif kind == "message_stop":
            self.ended = True
        elif kind == "error" or "error" in told:
            self.error = self.error or error_text(told.get("error")) or "an error without words"

    def _message(self, told: Mapping[str, Any]) -> None:
        self.id = self.id or string(told.get("id"))
        self.model = self.model or string(told.get("model"))
        self._use(told.get("usage"))

    def _use(self, usage: object) -> None:
        """Counts are cumulative, so the greatest is the last, whichever of the two events has it."""
        for name, value in mapping(usage).items():
            self.used[name] = max(number(value), self.used.get(name, 0))

    def _start(self, index: int, told: Mapping[str, Any]) -> None:
        text = told.get("text") if told.get("type") == "text" else None
        self.blocks[index] = _Block(told, text=[text] if isinstance(text, str) else [])

    @staticmethod
    def _delta(block: _Block, delta: Mapping[str, Any]) -> None:
        text, arguments = delta.get("text"), delta.get("partial_json")
        if isinstance(text, str):
            block.text.append(text)
        if isinstance(arguments, str):
            block.arguments.append(arguments)

    def answer(self) -> Answer:
        """What it amounts to. Whole tool calls are what a client may leave with, before the end of the stream."""
        blocks = [self.blocks[index] for index in sorted(self.blocks)]
        called = [block for block in blocks if block.start.get("type") == "tool_use"]
        left = bool(called) and all(block.ended for block in called)
        written = self.used.get("cache_creation_input_tokens", 0)
        cached = self.used.get("cache_read_input_tokens", 0)
        usage = Usage(
            calls=1,
            # The provider counts what it read from the cache, and wrote to it, apart.
            input_tokens=self.used.get("input_tokens", 0) + cached + written,
            output_tokens=self.used.get("output_tokens", 0),
            cached_tokens=cached,
        )
        output = clean("".join(text for block in blocks for text in block.text))
        calls = tuple(block.call for block in called)
        read = hosted(one.start for one in blocks if string(one.start.get("type")).endswith("_tool_result"))
        return Answer(
            id=self.id,
            run=Run(output=output, messages=read, tool_calls=calls, usage=usage, model=self.model),
            complete=not self.error and (self.ended or left),
            error=self.error,
        )
