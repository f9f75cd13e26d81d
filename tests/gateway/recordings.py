"""Recorded answers of providers, written for the tests, and what the official client makes of each.

The files in `recordings/` are the bytes of a response body. `heard` reads one through an official client, wherever
that client is connected to: a mock transport, or the whole gateway before a server that replays the bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "recordings"
Call = tuple[str, str, str]
"""Id, name and arguments of a tool call."""
WEATHER: Final[Call] = ("call_w1", "get_weather", '{"city":"Paris"}')
PATHS: Final = {"chat": "/chat/completions", "responses": "/responses", "messages": "/messages"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a client makes of an answer: text (or the refusal in its place) and calls of choice 0, or an exception.

    `others` are the texts of the other choices; `thinking` are Anthropic's thinking blocks, which must come verbatim.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    others: tuple[str, ...] = ()
    thinking: tuple[str, ...] = ()
    raises: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recorded answer. `tokens` are input, output and cached ones, as `Usage` counts them."""

    file: str
    heard: Heard
    id: str
    tokens: tuple[int, int, int] = (0, 0, 0)
    complete: bool = True
    error: str = ""
    status: int = 200

    @property
    def dialect(self) -> str:
        return self.file.partition("_")[0]

    @property
    def stream(self) -> bool:
        return self.file.endswith(".sse")

    @property
    def content_type(self) -> str:
        return "text/event-stream; charset=utf-8" if self.stream else "application/json"

    @property
    def data(self) -> bytes:
        return (FOLDER / self.file).read_bytes()


def _made(file: str, id: str, text: str = "", calls: tuple[Call, ...] = (), **more: Any) -> Recording:
    own = {name: more.pop(name) for name in ("others", "thinking", "raises") if name in more}
    return Recording(file=file, id=id, heard=Heard(text=text, calls=calls, **own), **more)


_DUE, _NAIVE, _NO = (
    "The invoice is due on 3 March — 👍.",
    "The invoice is due on 3 March — naïve, but 👍.",
    "I can't help with that.",
)
_CHAT_CALLS: Final = (WEATHER, ("call_t2", "get_time", '{"zone":"Europe/Paris","note":"été"}'))
_MESSAGES_CALLS: Final = (("toolu_1", "get_weather", '{"city":"Paris"}'), ("toolu_2", "get_time", "{}"))
_RESPONSES_CALLS: Final = (WEATHER, ("call_t2", "get_time", '{"zone":"Europe/Paris"}'))
_THINKING: Final = ("The user asks for the sum. 20 + 22 = 42.", "EqQBCkYIBxgCKkDsigned==", "EmwKAhgBopaque==")
_LIMIT: Final = "requests: Rate limit reached for requests"

RECORDINGS: Final = (
    _made("chat_plain.json", "chatcmpl-A1", _NAIVE, tokens=(1520, 14, 1408)),
    _made("chat_plain.sse", "chatcmpl-B1", _NAIVE),
    _made("chat_usage.sse", "chatcmpl-B1", "forty-two", tokens=(1520, 3, 1408)),
    _made("chat_tools.json", "chatcmpl-A2", "", _CHAT_CALLS, tokens=(310, 42, 0)),
    _made("chat_tools.sse", "chatcmpl-B1", "", _CHAT_CALLS, tokens=(310, 42, 0)),
    _made("chat_n2.json", "chatcmpl-A3", "Yes.", others=("No.",), tokens=(40, 6, 0)),
    _made("chat_n2.sse", "chatcmpl-B1", "Yes.", others=("No.",), tokens=(40, 6, 0)),
    _made("chat_refusal.json", "chatcmpl-A4", _NO, tokens=(55, 9, 0)),
    _made("chat_refusal.sse", "chatcmpl-B1", _NO),
    _made(
        "chat_error.sse",
        "chatcmpl-B1",
        "The inv",
        raises="APIError",
        complete=False,
        error="server_error: The server had an error while processing your request.",
    ),
    _made("chat_empty_choices.sse", "chatcmpl-B1", "ok", tokens=(12, 1, 0)),
    _made("chat_crlf.sse", "chatcmpl-B1", "some", tokens=(9, 2, 0)),
    _made("chat_broken.sse", "chatcmpl-B1", "The invoice is d", complete=False),
    _made("chat_429.json", "", raises="RateLimitError", complete=False, error=_LIMIT, status=429),
    _made("responses_plain.json", "resp_01A", _DUE, tokens=(1600, 16, 1408)),
    _made("responses_plain.sse", "resp_01B", _DUE, tokens=(1600, 16, 1408)),
    _made("responses_tools.json", "resp_02A", "", _RESPONSES_CALLS, tokens=(500, 30, 0)),
    _made("responses_tools.sse", "resp_02B", "", _RESPONSES_CALLS, tokens=(500, 30, 0)),
    _made("responses_refusal.json", "resp_03A", _NO, tokens=(60, 8, 0)),
    _made("responses_refusal.sse", "resp_03B", _NO, tokens=(60, 8, 0)),
    _made("responses_incomplete.sse", "resp_04B", "The inv", tokens=(60, 3, 0)),
    _made(
        "responses_failed.sse",
        "resp_05B",
        "The inv",
        complete=False,
        error="server_error: The model failed to generate a response.",
    ),
    _made(
        "responses_error.sse", "resp_06B", "The inv", complete=False, error="rate_limit_exceeded: Rate limit reached."
    ),
    _made("responses_broken.sse", "resp_07B", "The inv", complete=False),
    _made("responses_empty_output.sse", "resp_08B", "still here", tokens=(60, 3, 0)),
    _made("responses_429.json", "", raises="RateLimitError", complete=False, error=_LIMIT, status=429),
    _made("messages_plain.json", "msg_01A", _DUE, tokens=(2581, 13, 2048)),
    _made("messages_plain.sse", "msg_01B", _DUE, tokens=(2581, 13, 2048)),
    _made("messages_tools.json", "msg_02A", "Let me look.", _MESSAGES_CALLS, tokens=(400, 60, 0)),
    _made("messages_tools.sse", "msg_02B", "Let me look.", _MESSAGES_CALLS, tokens=(400, 60, 0)),
    _made("messages_thinking.json", "msg_03A", "42", thinking=_THINKING, tokens=(30, 25, 0)),
    _made("messages_thinking.sse", "msg_03B", "42", thinking=_THINKING, tokens=(30, 25, 0)),
    _made("messages_refusal.json", "msg_04A", "", tokens=(50, 0, 0)),
    _made("messages_refusal.sse", "msg_04B", "I can't continue", tokens=(50, 4, 0)),
    _made(
        "messages_error.sse",
        "msg_05B",
        "The inv",
        raises="APIStatusError",
        tokens=(50, 1, 0),
        complete=False,
        error="overloaded_error: Overloaded",
    ),
    _made("messages_broken.sse", "msg_06B", "The inv", tokens=(50, 1, 0), complete=False),
    _made(
        "messages_429.json",
        "",
        raises="RateLimitError",
        complete=False,
        error="rate_limit_error: This request would exceed your rate limit.",
        status=429,
    ),
)


def heard(recording: Recording, client: Any) -> Heard:
    """What an official synchronous client makes of the answer that it gets for a small request."""
    read = {"chat": _chat, "responses": _responses, "messages": _messages}[recording.dialect]
    parts = _Parts()
    try:
        read(client, parts, stream=recording.stream)
    except Exception as error:  # noqa: BLE001 — whatever class it is, is what is compared
        parts.raises = type(error).__name__
    return parts.heard()


class _Parts:
    """What was heard until now."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {0: ""}
        self.calls: dict[int, list[str]] = {}
        self.thinking: list[str] = []
        self.raises = ""

    def say(self, text: str | None, index: int = 0) -> None:
        self.texts[index] = self.texts.get(index, "") + (text or "")

    def heard(self) -> Heard:
        others = tuple(text for index, text in sorted(self.texts.items()) if index)
        calls = tuple((id, name, arguments) for _, (id, name, arguments) in sorted(self.calls.items()))
        thinking = tuple(filter(None, self.thinking))
        return Heard(text=self.texts[0], calls=calls, others=others, thinking=thinking, raises=self.raises)


def _chat(client: Any, parts: _Parts, *, stream: bool) -> None:
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=stream)
    for chunk in answer if stream else [answer]:
        for choice in chunk.choices:
            delta = choice.delta if stream else choice.message
            parts.say(delta.content or delta.refusal, choice.index)
            for place, call in enumerate(delta.tool_calls or ()):
                index = call.index if stream else place
                grown = parts.calls.setdefault(index, [call.id, call.function.name, ""])
                grown[2] += call.function.arguments


def _responses(client: Any, parts: _Parts, *, stream: bool) -> None:
    answer = client.responses.create(model="m", input="hi", stream=stream)
    if not stream:
        parts.say(answer.output_text)
        for index, item in enumerate(answer.output):
            if item.type == "function_call":
                parts.calls[index] = [item.call_id, item.name, item.arguments]
            elif item.type == "message":
                parts.say("".join(part.refusal for part in item.content if part.type == "refusal"))
        return
    for event in answer:
        if event.type in {"response.output_text.delta", "response.refusal.delta"}:
            parts.say(event.delta)
        elif event.type == "response.output_item.done" and event.item.type == "function_call":
            parts.calls[event.output_index] = [event.item.call_id, event.item.name, event.item.arguments]


def _messages(client: Any, parts: _Parts, *, stream: bool) -> None:
    asked = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    if not stream:
        for index, block in enumerate(client.messages.create(**asked).content):
            _block(parts, index, block)
        return
    for event in client.messages.create(**asked, stream=True):
        if event.type == "content_block_start":
            _block(parts, event.index, event.content_block)
        elif event.type == "content_block_delta":
            delta = event.delta
            if delta.type == "text_delta":
                parts.say(delta.text)
            elif delta.type == "input_json_delta":
                grown = parts.calls[event.index]
                grown[2] = (
                    delta.partial_json if grown[2] == "{}" and delta.partial_json else grown[2] + delta.partial_json
                )
            elif delta.type == "thinking_delta":
                parts.thinking[-1] += delta.thinking
            elif delta.type == "signature_delta":
                parts.thinking.append(delta.signature)


def _block(parts: _Parts, index: int, block: Any) -> None:
    if block.type == "text":
        parts.say(block.text)
    elif block.type == "tool_use":
        parts.calls[index] = [block.id, block.name, json.dumps(block.input, separators=(",", ":"))]
    elif block.type == "thinking":
        parts.thinking += [block.thinking, block.signature]
        if not block.thinking:
            parts.thinking = [""]
    elif block.type == "redacted_thinking":
        parts.thinking.append(block.data)
