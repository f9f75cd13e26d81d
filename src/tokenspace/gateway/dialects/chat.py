"""OpenAI's Chat Completions, which nearly every other provider speaks too.

A string stays a string: recalled text is joined to a user's words with a blank line where the client sends a string,
and is a text part of its own only where the client sends parts. Servers of this dialect exist that refuse a list, that
make a message of each part, or that keep only the last one; none is known that refuses a string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tokenspace.domain import Message, Request, Run, ToolCall, Usage
from tokenspace.errors import BadData
from tokenspace.gateway.dialects import sse
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
    is_whole,
    items_of,
    load,
    mapping,
    number,
    output_tokens,
    sequence,
    string,
    tools_of,
    weave,
)
from tokenspace.gateway.wire import Answer, Asked, Body, Injection

_LEADING: Final = ("system", "developer")
_DONE: Final = b"[DONE]"
_ERROR_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """The dialect of `/chat/completions`.

    Blocks become one system message after the client's leading ones, or, when `joined`, the end of the client's last
    one: chat templates that take a single system message, such as Qwen 3.5's and Gemma 3's, refuse a second.
    """

    name: str = "chat"
    paths: tuple[str, ...] = ("/chat/completions",)
    joined: bool = True

    def read(self, body: Body) -> Asked:
        """What is asked; items are `messages`."""
        items = items_of(body.get("messages"), "messages")
        functions = tuple({"type": "function", "function": told} for told in tools_of(body.get("functions")))
        asked = mapping(mapping(body.get("response_format")).get("json_schema")).get("schema")
        return Asked(
            model=string(body.get("model")),
            stream=body.get("stream") is True,
            request=Request(
                messages=tuple(_message(item) for item in items),
                tools=tools_of(body.get("tools")) or functions,
                choices=_choices(body),
                schema=mapping(asked) or None,
                max_output_tokens=output_tokens(body.get("max_completion_tokens"), body.get("max_tokens")),
            ),
            chain=chain_of(None, map(_as_parts, items)),
            anchors=_anchors(items),
            closing=closing(items),
        )

    def inject(self, body: Body, injection: Injection) -> Body:
        """The body with blocks after the leading system messages, and with what is anchored."""
        items = items_of(body.get("messages"), "messages")
        anchors = injection.anchors
        woven = weave(items, anchors, allowed=_anchors(items), turn=_turn, carry=_carry) if anchors else None
        text = "\n\n".join(block_texts(injection.blocks))
        if woven is None and not text:
            return body
        made = list(items) if woven is None else woven
        if text:
            lead = next((at for at, item in enumerate(items) if item.get("role") not in _LEADING), len(items))
            if self.joined and lead:
                made[lead - 1] = _ending(made[lead - 1], text)
            else:
                # A server that takes "developer" may not take "system" beside it, and the other way round.
                role = made[lead - 1]["role"] if lead else "system"
                made.insert(lead, {"role": role, "content": text})
        return {**body, "messages": made}

    def answer(self, data: bytes, *, stream: bool) -> Answer:
        """The whole answer, of choice 0."""
        assembly = _Assembly()
        if not is_stream(data, stream=stream):
            assembly.take(mapping(load(data)))
            return assembly.answer(ended=True)
        ended = False
        for event in sse.events(data):
            if event.data.startswith(_DONE):
                ended = True
                break
            assembly.take(mapping(load(event.data)))
        return assembly.answer(ended=ended)

    def error(self, message: str, *, status: int, kind: str) -> bytes:
        """Our own error; `kind` is its code."""
        return openai_error(message, status=status, kind=kind)


def openai_error(message: str, *, status: int, kind: str) -> bytes:
    """An error body as OpenAI's clients expect it: they choose the exception by the status."""
    type = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return orjson.dumps({"error": {"message": clean(message), "type": type, "param": None, "code": clean(kind)}})


# ── body → request ──────────────────────────────────────────────────────────────────────────


def _message(item: Item) -> Message:
    role, content = item.get("role"), item.get("content")
    text = content if isinstance(content, str) else content_text(content)
    if role == "user" or role == "system" or role == "developer":  # noqa: PLR1714 — the type checker narrows by this
        return Message(role=role, text=text)
    if role == "assistant":
        calls = _calls(item) if "tool_calls" in item or "function_call" in item else ()
        return Message(role="assistant", text=text or string(item.get("refusal")), tool_calls=calls)
    if role == "tool":
        return Message(role="tool", text=text, tool_call_id=string(item.get("tool_call_id")))
    if role == "function":  # the form before tools, where a call is known by its name
        return Message(role="tool", text=text, tool_call_id=string(item.get("name")))
    raise BadData(f"there is no role {role!r} in Chat Completions", hint="the request is passed on as it is")


def _calls(item: Item) -> tuple[ToolCall, ...]:
    calls = [_call(mapping(told)) for told in sequence(item.get("tool_calls"))]
    legacy = mapping(item.get("function_call"))
    if legacy:
        name = string(legacy.get("name"))
        calls.append(ToolCall(id=name, name=name, arguments=_text(legacy.get("arguments"))))
    return tuple(calls)


def _call(told: Mapping[str, Any]) -> ToolCall:
    function = mapping(told.get("function")) or mapping(told.get("custom"))
    arguments = _text(function.get("arguments", function.get("input")))
    return ToolCall(id=string(told.get("id")), name=string(function.get("name")), arguments=arguments)


def _text(arguments: object) -> str:
    """Arguments as text: some servers send the object itself."""
    return string(arguments) if isinstance(arguments, str) or arguments is None else dump(arguments)


def _choices(body: Body) -> tuple[str, ...] | None:
    """The answers that a request is bound to, which vLLM and we ourselves take beside the standard fields."""
    said = sequence(mapping(body.get("structured_outputs")).get("choice")) or sequence(body.get("guided_choice"))
    return tuple(string(choice) for choice in said) or None


def _as_parts(item: Item) -> Item:
    """An item in one form: clients send the same words as a string on one call, and as a marked part on the next."""
    content = item.get("content")
    return {**item, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else item


def _anchors(items: Sequence[Item]) -> tuple[int, ...]:
    """User messages, but for those that stand where the result of a call is still to come."""
    found: list[int] = []
    waiting: set[str] = set()
    for index, item in enumerate(items):
        role = item.get("role")
        if role == "user":
            if not waiting:
                found.append(index)
        elif role == "assistant":
            waiting = {string(mapping(call).get("id")) for call in sequence(item.get("tool_calls"))}
            if legacy := mapping(item.get("function_call")):
                waiting.add(string(legacy.get("name")))
        elif role == "tool" or role == "function":  # noqa: PLR1714 — a tuple would be built at every item
            waiting.discard(string(item.get("tool_call_id") or item.get("name")))
    return tuple(found)


# ── injecting ───────────────────────────────────────────────────────────────────────────────


def _turn(message: Message) -> Item:
    return {"role": message.role, "content": message.text}


def _carry(item: Item, text: str) -> Sequence[Item]:
    content = item.get("content")
    if isinstance(content, str):
        return ({**item, "content": f"{text}\n\n{content}"},)
    return ({**item, "content": [{"type": "text", "text": text}, *sequence(content)]},)


def _ending(item: Item, text: str) -> Item:
    content = item.get("content")
    if isinstance(content, str):
        return {**item, "content": f"{content}\n\n{text}"}
    return {**item, "content": [*sequence(content), {"type": "text", "text": text}]}


# ── answer → run ────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Call:
    """A tool call as it grows."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])

    @property
    def whole(self) -> ToolCall:
        return ToolCall(id=self.id, name=self.name, arguments=clean("".join(self.arguments)))


@dataclass(slots=True)
class _Assembly:
    """Choice 0 put together from the chunks of a stream, or from a whole answer, which is one chunk."""

    id: str = ""
    model: str = ""
    text: list[str] = field(default_factory=list[str])
    refusal: list[str] = field(default_factory=list[str])
    cited: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    calls: list[_Call] = field(default_factory=list[_Call])
    at: dict[int, _Call] = field(default_factory=dict[int, _Call])
    usage: Usage = field(default_factory=lambda: Usage(calls=1))
    finish: str = ""
    error: str = ""
    answered: bool = False

    def take(self, chunk: Mapping[str, Any]) -> None:
        """One chunk. The last one may have no choices and the usage, as may others that carry a filter's result."""
        self.id = self.id or string(chunk.get("id"))
        self.model = self.model or string(chunk.get("model"))
        self.error = self.error or error_text(chunk.get("error"))
        if chunk.get("usage"):
            self.usage = _usage(mapping(chunk.get("usage")))
        for told in sequence(chunk.get("choices")):
            choice = mapping(told)
            if number(choice.get("index")) == 0:
                self.answered = True
                self.finish = string(choice.get("finish_reason")) or self.finish
                self._take(mapping(choice.get("delta")) or mapping(choice.get("message")))

    def _take(self, delta: Mapping[str, Any]) -> None:
        content = delta.get("content")
        # Not cleaned yet: the two halves of a surrogate pair may come in two chunks.
        self.text.append(content if isinstance(content, str) else content_text(content))
        self.refusal.append(string(delta.get("refusal")))
        self.cited += [mapping(told) for told in sequence(delta.get("annotations"))]
        for place, told in enumerate(sequence(delta.get("tool_calls"))):
            self._fragment(place, mapping(told))
        legacy = mapping(delta.get("function_call"))
        if legacy:
            self._fragment(0, {"id": string(legacy.get("name")), "function": legacy})

    def _fragment(self, place: int, told: Mapping[str, Any]) -> None:
        """A piece of a call: `id` and name come with the first only. A new id at an old index is another call."""
        said = _call(told)
        index = number(told.get("index")) if "index" in told else place
        call = self.at.get(index)
        if call is None or (said.id and call.id and said.id != call.id):
            call = self.at[index] = _Call()
            self.calls.append(call)
        call.id = call.id or said.id
        call.name = call.name or said.name
        raw = (mapping(told.get("function")) or mapping(told.get("custom"))).get("arguments")
        call.arguments.append(raw if isinstance(raw, str) else said.arguments)

    def answer(self, *, ended: bool) -> Answer:
        """What it amounts to. Whole tool calls are what a client may leave with, before the end of the stream."""
        calls = tuple(call.whole for call in self.calls)
        left = bool(calls) and (
            self.finish in {"tool_calls", "function_call"} or all(is_whole(call.arguments) for call in calls)
        )
        error = self.error or ("" if self.answered or not ended else NO_ANSWER)
        output = clean("".join(self.text)) or "".join(self.refusal)
        return Answer(
            id=self.id,
            run=Run(
                output=output, messages=hosted(self.cited[:1]), tool_calls=calls, usage=self.usage, model=self.model
            ),
            complete=not error and (ended or left),
            error=error,
        )


def _usage(used: Mapping[str, Any]) -> Usage:
    cached = mapping(used.get("prompt_tokens_details")).get("cached_tokens") or used.get("prompt_cache_hit_tokens")
    return Usage(
        calls=1,
        input_tokens=number(used.get("prompt_tokens")),
        output_tokens=number(used.get("completion_tokens")),
        cached_tokens=number(cached),
    )
