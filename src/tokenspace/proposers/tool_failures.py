"""How calls of tools failed, and what of that can be said without a model.

A note that stands in a tool's description speaks with authority, so nothing that a tool returned and no value that a
model wrote is ever repeated in one: a value is described by how it is written ("4 digits"), a parameter is named as the
tool's own schema names it. The text of an error only decides which failures belong together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from tokenspace.context.definitions import canonical, is_object, parameters_of, schema_of, tool_name
from tokenspace.context.notes import note_text
from tokenspace.context.transient import failure_in
from tokenspace.domain import Evidence, Signal, ToolCall
from tokenspace.proposers.shown import Trace, traces

SAMPLE: Final = 3
"""A note is made from so many of the newest failures of a group; the others are left to test it (I7)."""

MAX_SHAPE_CHARS: Final = 120
_MAX_RUNS: Final = 6

# A name is one that a programmer writes, and no sentence; so it is a usable place, too.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_ERROR: Final = re.compile(r"\s*error:", re.IGNORECASE)
_NOTHING: Final = frozenset({"", "[]", "{}", "null", '""'})
_WORDLIKE: Final = re.compile(r"[A-Za-z0-9._:/+@-]{1,24}")
_RUNS: Final = re.compile(r"[A-Z]+|[a-z]+|[0-9]+|[^A-Za-z0-9]+")
_PREFIX: Final = re.compile(r"[A-Z]{1,4}(?![A-Za-z])[._:/+@-]?")
_RUN_NAMES: Final = (("capital letter", str.isupper), ("small letter", str.islower), ("digit", str.isdigit))
_TYPES: Final[Mapping[str, str]] = {
    "string": "a text", "number": "a number", "integer": "a number", "boolean": "true or false", "array": "a list",
    "object": "an object", "null": "null",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A call that failed in an episode, with the later call of the same tool that did not, if there was one."""

    trace: Trace
    tool: Mapping[str, Any]
    call: ToolCall
    fix: ToolCall | None
    shape: str

    @property
    def group(self) -> tuple[str, str]:
        """Tool and shape of the error: failures that probably have one cause."""
        return tool_name(self.tool), self.shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is to be said about a tool, or about one of its parameters, and the failures that show it."""

    doc: str
    text: str
    shown_by: tuple[Failure, ...]


# ── failures ────────────────────────────────────────────────────────────────────────────────


def failures_in(evidence: Evidence) -> list[list[Failure]]:
    """Failed calls of tools that their request declares, by tool and shape of error, the largest group first.

    What fails for the moment (a time-out, a service that is away) says nothing about how to call a tool.
    """
    groups: dict[tuple[str, str], list[Failure]] = {}
    for trace in traces(evidence):
        for failure in _of_episode(trace):
            groups.setdefault(failure.group, []).append(failure)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0].group))


def _of_episode(trace: Trace) -> Iterator[Failure]:
    tools = {tool_name(tool): tool for tool in trace.episode.request.tools}
    calls = [call for call in trace.episode.run.tool_calls if call.result is not None and call.name in tools]
    logs = " ".join(str(item.value) for item in trace.feedback if item.signal is Signal.TEST_LOG)
    seen = set[tuple[str, str]]()
    for place, call in enumerate(calls):
        later = (one for one in calls[place + 1 :] if one.name == call.name and _worked(one))
        fix = next((one for one in later if _same_as(one) != _same_as(call)), None)
        shape = error_shape(call.result or "")
        if not shape and fix is not None and (call.result or "").strip() in _NOTHING:
            shape = "nothing"
        if not shape and fix is None and re.search(rf"\b{re.escape(call.name)}\b", logs):
            shape = "test log"
        if (
            shape and not failure_in(call.result or "") and (call.name, shape) not in seen
        ):  # a model that tries again and again has failed once
            seen.add((call.name, shape))
            yield Failure(trace=trace, tool=tools[call.name], call=call, fix=fix, shape=shape)


def error_shape(result: str) -> str:
    """The first line of an error without what differs from call to call; "" if the result is no error.

    >>> error_shape("error: KeyError: no order 'A-17' of 3")
    "error: KeyError: no order '…' of 9"
    """
    if not _ERROR.match(result):
        return ""
    line = result.strip().splitlines()[0][:500]
    line = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'…'", line)
    return re.sub(r"[0-9]+", "9", line)[:MAX_SHAPE_CHARS]


def _worked(call: ToolCall) -> bool:
    result = call.result or ""
    return not error_shape(result) and result.strip() not in _NOTHING


def _same_as(call: ToolCall) -> str:
    arguments = arguments_of(call)
    return call.arguments if arguments is None else canonical(arguments)


def arguments_of(call: ToolCall) -> Mapping[str, Any] | None:
    """The arguments of a call; None if they are not a JSON object. Nothing at all is an empty one."""
    try:
        said: Any = json.loads(call.arguments or "{}")
        canonical(said)
    except (ValueError, RecursionError):
        return None
    return said if is_object(said) else None


# ── notes ───────────────────────────────────────────────────────────────────────────────────


def notes_on(group: Sequence[Failure]) -> list[Note]:
    """What the newest failures of a group show, the most useful first; empty if they show nothing by themselves."""
    sample = tuple(group[-SAMPLE:])
    tool = tool_name(sample[0].tool)
    mended = tuple(one for one in sample if one.fix is not None)
    failed = [arguments_of(one.call) for one in mended or sample]
    found: dict[tuple[str, str], str] = {}
    if None in failed:
        found["", "format"] = f"the arguments of {tool} are one JSON object, with each parameter by its name"
    bad = [one for one in failed if one is not None]
    if mended:
        good = [read for one in mended if one.fix and (read := arguments_of(one.fix)) is not None]
        found.update(_by_contrast(sample[-1].tool, bad, good) if bad and good else ())
    else:
        found.update(_by_schema(sample[-1].tool, bad))
    return [
        Note(doc=f"tools/{tool}/{name}".rstrip("/"), text=note_text(sort, f"{text}."), shown_by=mended or sample)
        for (name, sort), text in found.items()
        if _NAME.fullmatch(tool) and (not name or _NAME.fullmatch(name))
    ]


_Said = Iterator[tuple[tuple[str, str], str]]


def _by_contrast(
    definition: Mapping[str, Any], bad: Sequence[Mapping[str, Any]], good: Sequence[Mapping[str, Any]]
) -> _Said:
    """What the calls that worked have, and those that failed have not."""
    tool, known = tool_name(definition), parameters_of(schema_of(definition))
    for name in known:
        gave = [one[name] for one in good if name in one]
        if len(gave) < len(good):
            continue
        had = [one[name] for one in bad if name in one]
        if not had:
            yield (name, "error_fix"), f"always give {name} to {tool}, under this name: a call without it failed"
        elif (right := written(gave)) and right != (wrong := written(had)):
            yield (name, "format"), f"write {name} of {tool} as {right}" + (f", and not as {wrong}" if wrong else "")
    yield from _foreign(tool, bad, known)


def _by_schema(definition: Mapping[str, Any], bad: Sequence[Mapping[str, Any]]) -> _Said:
    """What the calls that failed have, and the schema does not allow; nothing unless all of them have it."""
    tool, schema = tool_name(definition), schema_of(definition)
    known, required = parameters_of(schema), schema.get("required")
    for name, wanted in known.items():
        values = [one[name] for one in bad if name in one]
        if not values and isinstance(required, list) and name in required and bad:
            yield (name, "error_fix"), f"always give {name} to {tool}, under this name: a call without it failed"
        elif not values or len(values) < len(bad) or not is_object(wanted):
            continue
        elif isinstance(enum := wanted.get("enum"), list):
            allowed = {canonical(one) for one in cast("list[Any]", enum)}
            if not any(canonical(value) in allowed for value in values):
                yield (name, "format"), f"write {name} of {tool} exactly as one of the values that are listed for it"
        elif (right := _TYPES.get(str(wanted.get("type")))) and all(right != _type(value) for value in values):
            yield (name, "format"), f"write {name} of {tool} as {right}, and not as {_type(values[0])}"
    yield from _foreign(tool, bad, known)


def _foreign(tool: str, bad: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> _Said:
    if known and bad and all(any(name not in known for name in one) for one in bad):
        yield (
            ("", "error_fix"),
            f"give {tool} no parameters but those that are described: a call with another one failed",
        )


# ── how values are written ──────────────────────────────────────────────────────────────────


def written(values: Sequence[Any]) -> str:
    """How all of these values are written, in words and without the values; "" if there is no one way.

    A prefix of at most four capital letters that several values share is named: it is too short to say anything else.

    >>> written(["ORD-0007", "ORD-0012"]), written([7, 8.5]), written(["a b", "c"])
    ('“ORD-” and 4 digits', 'a number', 'a text')
    """
    kinds = {_type(value) for value in values}
    if len(kinds) != 1:
        return ""
    kind = kinds.pop()
    texts = [value for value in values if isinstance(value, str)]
    if not texts or not all(_WORDLIKE.fullmatch(text) for text in texts):
        return kind
    prefix = _shared_prefix(texts)
    forms = {tuple(_runs(text[len(prefix) :])) for text in texts}
    if len(forms) > 1:
        forms = {tuple(re.sub(r"^\d+ ", "", run.removesuffix("s")) + "s" for run in form) for form in forms}
    form = forms.pop()
    if forms or len(form) > _MAX_RUNS or (not prefix and _is_word(form)):
        return kind
    return " and ".join(part for part in (f"“{prefix}”" if prefix else "", ", ".join(form)) if part)


def _is_word(form: Iterable[str]) -> bool:
    """Letters alone: a word, whose length says nothing."""
    return all("letter" in run for run in form)


def _shared_prefix(texts: Sequence[str]) -> str:
    found = {match[0] if (match := _PREFIX.match(text)) else "" for text in texts}
    return found.pop() if len(found) == 1 and len(set(texts)) > 1 else ""


def _runs(text: str) -> Iterator[str]:
    """“4 digits”, “1 capital letter”, “"-"”: the runs of one kind of character."""
    for run in _RUNS.findall(text):
        name = next((name for name, is_so in _RUN_NAMES if is_so(run)), "")
        yield f"{len(run)} {name}{'s' if len(run) > 1 else ''}" if name else f"“{run}”"


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return _TYPES["boolean"]
    if isinstance(value, (int, float)):
        return _TYPES["number"]
    if value is None:
        return _TYPES["null"]
    return _TYPES["string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"]
