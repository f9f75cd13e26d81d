"""From what went through the gateway to what is kept of it: pure functions.

A run counts as delivered when the caller got a whole answer, or left after a whole tool call, which is what it wanted.
Every other run is kept with its error and an *empty* output: an approval makes no case and no example of it, so a
broken or refused run can never be evidence of success. What came of it stays readable in the run's messages.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, TypeVar, cast

import orjson

from tokenspace.context.scanner import may_hold_secret, redacted
from tokenspace.domain import MAX_TEXT_BYTES, Episode, Heads, Message, Run, ToolCall
from tokenspace.gateway.wire import Answer, Dialect, Injection, Record
from tokenspace.store.border import MAX_ID_BYTES, is_plain
from tokenspace.store.codec import field_names

T = TypeVar("T")

PLAIN_BYTES: Final = 64_000_000
"""An answer that is larger when decompressed is not read: a few kilobytes can stand for gigabytes."""
_SHORT_BYTES: Final = 8_000
_CUT_BYTES: Final = MAX_TEXT_BYTES // 2 - 64
_WBITS: Final = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}
"""What "deflate" means, servers disagree on: with a zlib header, or bare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An episode with the provider's response id, "" if it gave none."""

    episode: Episode
    answer: str = ""


def keep(record: Record, dialects: Mapping[str, Dialect], *, redact: Callable[[str], str] = redacted) -> Kept:
    """What is kept of a record, free of secrets that can be seen, in texts that a store takes."""
    data = plain_body(record.body, record.encoding)
    if data is None:
        run = Run(output="", model=record.asked.model)
        said = f"an answer in {record.encoding[:40]!r} cannot be read here"
        answer = Answer(run=run, complete=False, error=said)
    else:
        answer = dialects[record.dialect].answer(data, stream=record.stream)
    injection = record.injection or Injection(heads=Heads())
    run = _run(record, answer)
    episode = Episode(
        id=record.episode, scope=record.caller.scope, heads=injection.heads, at=record.at, shown=injection.shown,
        taint=injection.taint,
        session=injection.session or record.caller.session, request=record.asked.request, run=run,
    )  # fmt: skip
    if redact is not redacted or not _is_clean((episode.request, run)):
        episode = replace(episode, request=cleaned(episode.request, redact), run=cleaned(run, redact))
    usable = answer.id.isprintable() and len(answer.id.encode()) <= MAX_ID_BYTES
    return Kept(episode=episode, answer=answer.id if usable else "")


def _run(record: Record, answer: Answer) -> Run:
    whole = tuple(call for call in answer.run.tool_calls if _is_whole(call))
    said = answer.run
    run = replace(
        said, model=said.model or record.asked.model, latency_s=record.latency_s,
        usage=said.usage if said.usage.calls == 1 else replace(said.usage, calls=1),
    )  # fmt: skip
    if not 200 <= record.status < 300 or record.ended in ("refused", "broken"):
        return _failed(run, answer.error or _REASONS[record.ended if record.status else "broken"], whole)
    if answer.complete and not answer.error:
        return run
    if record.ended == "gone" and whole:
        return replace(run, tool_calls=whole)
    return _failed(run, answer.error or _REASONS[record.ended], whole)


_REASONS: Final = {
    "done": "the answer ended before it was complete",
    "gone": "the client left before the answer was complete",
    "broken": "the connection to the provider broke",
    "refused": "the provider refused the request",
}


def _failed(run: Run, error: str, whole: tuple[ToolCall, ...]) -> Run:
    partial = (Message(role="assistant", text=run.output, tool_calls=whole),) if run.output or whole else ()
    return replace(run, output="", tool_calls=(), messages=partial, error=error)


def _is_whole(call: ToolCall) -> bool:
    """Whether the arguments of a call came to their end: a JSON object is none until its last brace."""
    try:
        return isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        return False


# ── bytes and texts ─────────────────────────────────────────────────────────────────────────


def plain_body(body: bytes, encoding: str) -> bytes | None:
    """A body as it was before its `content-encoding`; what came, if it was cut off; None where we cannot tell."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    for wbits in _WBITS.get(name, ()):
        reader = zlib.decompressobj(wbits)
        try:
            data = reader.decompress(body, PLAIN_BYTES)
        except zlib.error:
            continue
        return None if reader.unconsumed_tail else data
    return None


def cleaned(value: T, redact: Callable[[str], str] = redacted) -> T:
    """A value with every text in it, however deep, as it may be kept: no secret, no NUL, valid and not too long."""
    return cast("T", _cleaned(value, redact))


def _is_clean(value: object) -> bool:
    """Whether its JSON shows, at one look, that nothing in it needs cleaning; of a long one that is not tried.

    A long conversation comes again with every call, and `redacted` knows its longer texts again.
    """
    try:
        body = orjson.dumps(value, default=dict)
    except TypeError:
        return False
    return len(body) <= _SHORT_BYTES and is_plain(text := body.decode()) and not may_hold_secret(text)


def _cleaned(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return value if isinstance(value, Enum) else _text(value, redact)
    if value is None or isinstance(value, (int, float)):
        return value
    names = field_names(cast("Any", type(value)))
    if names is not None:
        changed = {name: new for name in names if (new := _cleaned(old := getattr(value, name), redact)) is not old}
        return replace(value, **changed) if changed else value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_cleaned(key, redact): _cleaned(item, redact) for key, item in items}
    if isinstance(value, (list, tuple)):
        before = cast("list[Any] | tuple[Any, ...]", value)
        after = [_cleaned(item, redact) for item in before]
        same = all(new is old for new, old in zip(after, before, strict=True))
        return before if same else type(before)(after)
    return value


def _text(text: str, redact: Callable[[str], str]) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    text = redact(text)
    if len(text) * 4 > MAX_TEXT_BYTES and len(raw := text.encode()) > MAX_TEXT_BYTES:
        # Said in the text itself: no prompt holds that much, so it is never replayed, but it can still be looked at.
        left = len(raw) - 2 * _CUT_BYTES
        head, tail = raw[:_CUT_BYTES].decode(errors="ignore"), raw[-_CUT_BYTES:].decode(errors="ignore")
        text = f"{head}[… {left:,} bytes not kept …]{tail}"
    return text
