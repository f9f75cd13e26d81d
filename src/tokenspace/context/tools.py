"""The audit of tools: is what a model is told what the author wrote, and can it be misunderstood? Pure, no model.

Two questions, both answered without a replay. *Fidelity*: the delivered name, description and parameters equal the
authored ones, byte for byte as canonical JSON. *Ambiguity*: what in the definitions leaves a model to guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal, cast

from tokenspace.context.definitions import (
    SCHEMA_KEYS,
    Definition,
    canonical,
    function_of,
    is_object,
    schema_of,
    tool_name,
)
from tokenspace.context.render import TOOL_NOTES

Severity = Literal["error", "warning"]

NEAR: Final = 0.8
"""Two descriptions of which this share of all their words is common (Jaccard) can hardly be told apart."""

_DEEPEST: Final = 16
_TYPED: Final = ("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNFINISHED: Final = re.compile(
    r"(?:…|\.\.\.|[,;:(\[{–-]|\b(?:and|or|the|a|an|of|to|with|for|in|by|if|when|that))$", re.IGNORECASE
)
_MISSING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: in which tool, where in it (a JSON path), how bad, what, and what to do about it."""

    tool: str
    path: str
    severity: Severity
    problem: str
    todo: str


def audit(definitions: Sequence[Definition]) -> list[Finding]:
    """What is ambiguous in these definitions, in their order; between two tools, and in the contracts, too."""
    alone = [one for definition in definitions for one in _of_tool(definition)]
    return [*alone, *_between(definitions)]


# ── fidelity ────────────────────────────────────────────────────────────────────────────────


def fidelity(
    definitions: Sequence[Definition], delivered: Iterable[Mapping[str, Any]], *, noted: bool = False
) -> list[Finding]:
    """Where tools that were delivered differ from the authored ones, by JSON path, the same difference once.

    `delivered` are tools as requests or prompts carry them, in any form, more than once if it was so. With `noted`
    they come from compiled prompts: notes at the end of a description are ours, and no difference.
    """
    known = {one.name: one for one in definitions}
    found = dict[Finding, None]()
    for tool in delivered:
        name = tool_name(tool)
        if name in known:
            found.update(dict.fromkeys(_differences(known[name], tool, noted=noted)))
        elif name and any(key in function_of(tool) for key in SCHEMA_KEYS):
            words, todo = "it is delivered, and no definition of it is kept", "tokenspace tools import FILE"
            found[Finding(tool=name, path="$", severity="warning", problem=words, todo=todo)] = None
    return list(found)


def _differences(authored: Definition, tool: Mapping[str, Any], *, noted: bool) -> Iterator[Finding]:
    function = function_of(tool)
    told = {"name": tool_name(tool), "description": function.get("description") or "", "parameters": schema_of(tool)}
    wrote: dict[str, Any] = authored.authored
    if not told["parameters"] and not wrote["parameters"].get("properties"):
        told["parameters"] = wrote["parameters"]  # without a schema, and one without parameters: the same
    for path, old, new in _compared("$", wrote, told, noted=noted):
        problem, todo = _difference(old, new)
        yield Finding(tool=authored.name, path=path, severity="error", problem=problem, todo=todo)


def _compared(path: str, old: Any, new: Any, *, noted: bool) -> Iterator[tuple[str, Any, Any]]:
    """The smallest places that differ, with both values."""
    if is_object(old) and is_object(new):
        for key in sorted({*old, *new}):
            yield from _compared(at(path, key), old.get(key, _MISSING), new.get(key, _MISSING), noted=noted)
    elif isinstance(old, list) and isinstance(new, list) and len(_items(old)) == len(_items(new)):
        for place, (one, other) in enumerate(zip(_items(old), _items(new), strict=True)):
            yield from _compared(f"{path}[{place}]", one, other, noted=noted)
    elif not (noted and path.endswith(".description") and _is_noted(old, new)) and not _same(old, new):
        yield path, old, new


def _same(old: Any, new: Any) -> bool:
    return old is not _MISSING and new is not _MISSING and canonical(old) == canonical(new)


def _is_noted(old: Any, new: Any) -> bool:
    """Whether the new description is the old one with notes at its end."""
    wrote = old if isinstance(old, str) else ""
    heading = f"\n\n{TOOL_NOTES}\n- " if wrote else f"{TOOL_NOTES}\n- "
    return isinstance(new, str) and new.startswith(wrote + heading)


def _difference(old: Any, new: Any) -> tuple[str, str]:
    """What differs, in words, and what to do."""
    mend = "send what was authored, or import what is sent: tokenspace tools import FILE"
    if new is _MISSING:
        return f"authored, and not delivered: {_short(old)}", mend
    if old is _MISSING:
        return f"delivered, and not authored: {_short(new)}", mend
    if isinstance(old, str) and isinstance(new, str) and 0 < len(new) < len(old) and old.startswith(new.rstrip(" .…")):
        return f"cut off after {len(new)} of {len(old)} characters", "find what shortens it on its way to the model"
    return f"authored {_short(old)}, delivered {_short(new)}", mend


def _short(value: Any) -> str:
    text = canonical(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


# ── ambiguity ───────────────────────────────────────────────────────────────────────────────


def _of_tool(tool: Definition) -> Iterator[Finding]:
    for path, severity, problem, todo in (
        *_described("$", tool.description, "error", "what it does and when to use it"),
        *_schema("$.parameters", tool.parameters, top=True),
        *_contract(tool),
    ):
        yield Finding(tool=tool.name, path=path, severity=severity, problem=problem, todo=todo)


_Found = tuple[str, Severity, str, str]


def _described(path: str, description: Any, severity: Severity, wanted: str) -> Iterator[_Found]:
    path = at(path, "description")
    text = description.strip() if isinstance(description, str) else ""
    if not text:
        yield path, severity, "there is no description", f"say {wanted}"
    elif _UNFINISHED.search(text):
        yield path, "warning", f"it ends as if it were cut off: {_short(text[-30:])}", "finish the sentence"


def _schema(path: str, schema: Mapping[str, Any], *, top: bool = False, depth: int = 0) -> Iterator[_Found]:
    """What is ambiguous in an object's schema and below it."""
    properties = schema.get("properties", {})
    if top and schema.get("type", "object") != "object":
        yield at(path, "type"), "error", "arguments are an object", 'make it "object"'
    if not is_object(properties):
        yield at(path, "properties"), "error", "it is no object", "name each parameter with its schema"
        return
    required = schema.get("required", [])
    for name in _items(required) if isinstance(required, list) else []:
        if name not in properties:
            where, todo = at(path, "required"), "describe it under properties, or leave it out here"
            yield where, "error", f"{_short(name)} is required, and not described", todo
    for one, other in _alike(properties):
        todo = "give one of them a name that says the difference"
        yield at(path, "properties"), "warning", f"{one} and {other} differ by case or plural only", todo
    for name, found in properties.items():
        yield from _parameter(at(at(path, "properties"), name), found, depth=depth + 1)


def _parameter(path: str, schema: Any, *, depth: int) -> Iterator[_Found]:
    if not is_object(schema):
        yield path, "warning", "anything is allowed", "give it a type and a description"
        return
    yield from _described(path, schema.get("description"), "warning", "what it means, and how it is written")
    yield from _values(path, schema)
    if depth <= _DEEPEST:
        yield from _below(path, schema, depth=depth)


def _values(path: str, schema: Mapping[str, Any]) -> Iterator[_Found]:
    if not any(key in schema for key in _TYPED):
        yield path, "warning", "it has no type", 'give it one, such as {"type": "string"}'
    enum = schema.get("enum")
    if not isinstance(enum, list):
        return
    seen = dict[str, Any]()
    for value in _items(enum):
        key = value.casefold() if isinstance(value, str) else canonical(value)
        if key in seen:
            words = f"{_short(seen[key])} and {_short(value)} are the same but for case"
            yield at(path, "enum"), "error", words, "keep one of them"
        seen.setdefault(key, value)
    if "default" in schema and not any(_same(schema["default"], value) for value in _items(enum)):
        words = f"the default {_short(schema['default'])} is none of the values"
        yield at(path, "default"), "error", words, "name one of the values"


def _below(path: str, schema: Mapping[str, Any], *, depth: int) -> Iterator[_Found]:
    if "properties" in schema:
        yield from _schema(path, schema, depth=depth)
    items = schema.get("items")
    if is_object(items):
        if not any(key in items for key in _TYPED):
            yield at(path, "items"), "warning", "its items have no type", 'give them one, such as {"type": "string"}'
        yield from _below(at(path, "items"), items, depth=depth + 1) if depth <= _DEEPEST else ()


def _contract(tool: Definition) -> Iterator[_Found]:
    for test in tool.failures():
        made = tool.adapting.adapt(test["in"])
        where, words = f"$.contract[{tool.contract.index(test)}]", f"the adapter makes {_short(made)} of it"
        yield where, "error", words, "mend the adapter, or the test"


def _between(definitions: Sequence[Definition]) -> Iterator[Finding]:
    names = {one.name: one for one in definitions}
    for one, other in _alike(names):
        problem, todo = f"its name differs from {one} by case or plural only", "rename one of them"
        yield Finding(tool=other, path="$.name", severity="warning", problem=problem, todo=todo)
    for one, other in combinations(definitions, 2):
        ours, theirs = (set(re.findall(r"\w+", each.description.casefold())) for each in (one, other))
        if ours and len(ours & theirs) >= NEAR * len(ours | theirs):
            problem, todo = f"it reads nearly as {one.name}", "say in both when to use this one and not the other"
            yield Finding(tool=other.name, path="$.description", severity="warning", problem=problem, todo=todo)


# ── names and paths ─────────────────────────────────────────────────────────────────────────


def at(path: str, key: str) -> str:
    """The JSON path one step further down.

    >>> at("$", "parameters"), at("$", "content-type")
    ('$.parameters', "$['content-type']")
    """
    return f"{path}.{key}" if _PLAIN_NAME.fullmatch(key) else f"{path}[{key!r}]"


def _alike(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of names that are one but for case, separators and plural, each with the first of its kind."""
    seen = dict[str, str]()
    for name in names:
        first = seen.setdefault(_stem(name), name)
        if first != name:
            yield first, name


def _stem(name: str) -> str:
    word = re.sub(r"[_.-]", "", name).casefold()
    for ending, singular in (("ies", "y"), ("ses", "s"), ("xes", "x"), ("s", "")):
        if word.endswith(ending) and not word.endswith("ss") and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + singular
    return word


def _items(value: Any) -> list[Any]:
    return cast("list[Any]", value)
