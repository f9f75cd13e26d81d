"""What the three protocols have in common: careful reading of JSON, digests, and weaving recalled things in.

What comes from outside may have any shape. The readers here give an empty value for a wrong one, so that the dialects
can follow a path without asking at every step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, cast

import orjson

from tokenspace.domain import Message
from tokenspace.errors import BadData
from tokenspace.gateway.dialects import sse
from tokenspace.gateway.wire import Anchor

Item = dict[str, Any]

UNSAID_OUTPUT_TOKENS: Final = 1_024
"""Room for the answer of a request that names none, when it is replayed as a case."""
NO_ANSWER: Final = "there is no answer of this dialect in what was sent"
_MARK: Final = "cache_control"
_MARK_KEY: Final = b'"cache_control"'
_SILENT: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_text", "summary_text", "fallback"})
"""Parts that are neither said nor shown."""
_INSTRUCTING: Final = ("system", "developer")


# ── reading what may have any shape ─────────────────────────────────────────────────────────


def mapping(value: object) -> dict[str, Any]:
    """The JSON object itself, or an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """The JSON array itself, or an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def string(value: object) -> str:
    """The text, in a form that can be encoded, or none."""
    return clean(value) if isinstance(value, str) else ""


def number(value: object) -> int:
    """A count of at least 0; of what is no number, 0."""
    return max(0, value) if isinstance(value, int) else 0


def clean(text: str) -> str:
    """Text without halves of surrogate pairs: two that meet are joined, as when a server cut an emoji in two."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def load(data: bytes) -> Any:
    """JSON, or None for what is not JSON. Halves of surrogate pairs are let through: see `clean`."""
    try:
        return orjson.loads(data)
    except ValueError:
        pass
    try:  # the standard library takes escaped halves of a surrogate pair, which real servers do stream
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def dump(value: object) -> str:
    """JSON text of a value that came from JSON; of one that is nested too deep, nothing."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        pass
    try:  # the standard library takes long integers and halves of surrogate pairs
        return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError):
        return ""


def is_whole(arguments: str) -> bool:
    """Whether the streamed arguments of a tool call are all there: no JSON object is the beginning of another."""
    return isinstance(load(arguments.encode()), dict)


def error_text(value: object) -> str:
    """What a provider's error says, whichever shape it has; "" for none."""
    if isinstance(value, str):
        return clean(value)
    told = mapping(value)
    kind = string(told.get("type")) or string(told.get("code"))
    message = string(told.get("message")) or string(told.get("detail"))
    if kind and message:
        return f"{kind}: {message}"
    return message or kind or ("an error without words" if value else "")


def is_stream(data: bytes, *, stream: bool) -> bool:
    """Whether bytes are events: a provider may answer a stream's request with a JSON body, as for every error."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"data:", b"event:", b":")):
        return True
    return stream and not start.startswith((b"{", b"["))


# ── requests ────────────────────────────────────────────────────────────────────────────────


def items_of(value: object, what: str) -> list[Item]:
    """The client's items; raises BadData unless they are a list of objects."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in cast("list[Any]", value)):
        raise BadData(f"`{what}` is not a list of objects", hint="the request is passed on as it is")
    return cast("list[Item]", value)


def content_text(content: object) -> str:
    """Content as text: parts on lines of their own, a placeholder such as "[image]" for what is not text."""
    if isinstance(content, str):
        return content
    return "\n".join(filter(None, (part_text(part) for part in sequence(content))))


def part_text(part: object) -> str:
    """One part of a message as text; what a model thought is left out."""
    if isinstance(part, str):
        return part
    told = mapping(part)
    text = told.get("text")
    if isinstance(text, str):
        return text
    kind = string(told.get("type"))
    if kind == "refusal":
        return string(told.get("refusal"))
    if not kind or kind in _SILENT:
        return ""
    return f"[{kind.removeprefix('input_').removesuffix('_url')}]"


def tools_of(value: object) -> tuple[Mapping[str, Any], ...]:
    """The tools as they came."""
    return tuple(mapping(tool) for tool in sequence(value) if tool)


def hosted(items: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """A tool's message for each item of an answer by which a tool of the provider's own was read before it.

    It has no words: what that tool returned is not kept. That the agent has read it bounds its authority (I9).
    """
    return tuple(Message(role="tool", text="", tool_call_id=string(item.get("id")) or None) for item in items)


def output_tokens(*said: object) -> int:
    """The first usable limit that the client names, or the one for requests that name none."""
    return next((number(value) for value in said if number(value)), UNSAID_OUTPUT_TOKENS)


def closing(items: Sequence[Item]) -> int:
    """How many system or developer items stand behind all that was said; 0 where nothing else is there."""
    return next((count for count, item in enumerate(reversed(items)) if item.get("role") not in _INSTRUCTING), 0)


# ── the digests by which a conversation is known again ──────────────────────────────────────


def chain_of(before: object, items: Iterable[object]) -> tuple[str, ...]:
    """A running digest after each item, begun with what stands before them all.

    An item enters as canonical JSON, keys sorted and cache marks left out, because clients move those at every call.
    Raises BadData for what has no canonical form, such as nesting beyond 254 levels.
    """
    try:
        running = sha256(_canonical(before), usedforsecurity=False)
        digests: list[str] = []
        for item in items:
            running.update(_canonical(item))
            digests.append(running.hexdigest()[:32])
    except (TypeError, ValueError, RecursionError) as error:
        raise BadData(f"the request has no canonical form: {error}", hint="it is passed on as it is") from error
    return tuple(digests)


def _canonical(value: object) -> bytes:
    made = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    # In text the quotes would be escaped, so this finds keys, and values that are exactly that word.
    return orjson.dumps(_unmarked(value), option=orjson.OPT_SORT_KEYS) if _MARK_KEY in made else made


def _unmarked(value: object) -> object:
    if isinstance(value, dict):
        told = cast("dict[str, object]", value)
        return {key: _unmarked(part) for key, part in told.items() if key != _MARK}
    if isinstance(value, list):
        return [_unmarked(part) for part in cast("list[object]", value)]
    return value


# ── injecting ───────────────────────────────────────────────────────────────────────────────


def block_texts(blocks: Iterable[str]) -> list[str]:
    """The blocks that have a visible character: providers turn down text without one."""
    return [block for block in blocks if block.strip()]


def weave(
    items: Sequence[Item],
    anchors: Iterable[Anchor],
    *,
    allowed: Collection[int],
    turn: Callable[[Message], Item],
    carry: Callable[[Item, str], Sequence[Item]],
) -> list[Item] | None:
    """The items with what is anchored to them; None if that is nothing.

    Turns come before the item that they are anchored to, as `turn` writes them, and `carry` puts text into the item
    or beside it. An anchor at an index that is not `allowed` is left out: it would come between a call and its result.
    """
    turns: dict[int, list[Item]] = {}
    texts: dict[int, list[str]] = {}
    for anchor in anchors:
        if anchor.at in allowed:
            said = [turn(message) for message in anchor.turns if message.text.strip()]
            if said:
                turns.setdefault(anchor.at, []).extend(said)
            if anchor.text.strip():
                texts.setdefault(anchor.at, []).append(anchor.text)
    if not turns and not texts:
        return None
    made: list[Item] = []
    for index, item in enumerate(items):
        made += turns.get(index, ())
        made += carry(item, "\n\n".join(texts[index])) if index in texts else (item,)
    return made


# ── answers ─────────────────────────────────────────────────────────────────────────────────


def named_events(data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the events of a stream carry, by their type; one that was cut off has a name already and means nothing."""
    for event in sse.events(data):
        told: Any = load(event.data)
        if isinstance(told, dict):
            body = cast("dict[str, Any]", told)
            yield string(body.get("type")) or event.name, body
