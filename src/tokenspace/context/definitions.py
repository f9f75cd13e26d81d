"""Tool definitions as their author wrote them, in and out of every usual form, and the adapter beside them.

An entry of kind *tool* has the place `definitions/NAME` and as its text the canonical JSON of name, description and
parameters (a JSON Schema), and where there are any an `adapter` and a `contract`: examples of what the adapter makes
of a call's arguments, `{"in": {…}, "out": {…}}`. A schema never changes by itself; an adapter may, behind its contract
(see `gates.contract`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, TypeGuard, cast

from tokenspace.context.check import is_safe_doc
from tokenspace.domain import Context, Entry, Kind, Origin, Put, Status
from tokenspace.errors import BadData

PLACE: Final = "definitions/"
SCHEMA_KEYS: Final = ("parameters", "input_schema", "inputSchema")
"""Where the schema of the arguments stands: with OpenAI (nested or flat), Anthropic, MCP."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # as MCP has it, the widest of the four
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,2})?")
_TRUTH: Final = {"true": True, "false": False, "yes": True, "no": False}
_DEEPEST: Final = 64
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


# ── the forms of others ─────────────────────────────────────────────────────────────────────


def is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, Mapping)


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that has name and schema: nested as OpenAI's chat completions have it, or the tool itself."""
    inner = tool.get("function")
    return inner if is_object(inner) else tool


def tool_name(tool: Mapping[str, Any]) -> str:
    """The name in a tool definition, nested or flat; "" if it has none."""
    name = function_of(tool).get("name")
    return name if isinstance(name, str) else ""


def schema_key(function: Mapping[str, Any]) -> str:
    """Under which key a function has its schema; "" if it has none."""
    return next((key for key in SCHEMA_KEYS if is_object(function.get(key))), "")


def schema_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of the arguments; empty if there is none."""
    function = function_of(tool)
    return function.get(schema_key(function), _EMPTY)


def parameters_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schemas of an object's properties, or of those of an array's items, by name."""
    properties, items = schema.get("properties"), schema.get("items")
    if is_object(properties):
        return properties
    return parameters_of(items) if is_object(items) else _EMPTY


# ── canonical JSON ──────────────────────────────────────────────────────────────────────────


def canonical(value: object) -> str:
    """The one JSON text of a value: keys sorted, no white space, characters as they are."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if is_object(value):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")


# ── adapters ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What is done to a call's arguments before the tool has them: data, and never code.

    In this order: `rename` (the model's name → the tool's; never over one that is there), `coerce` a string to a
    "number", a "boolean" or an "array" (what cannot be read as one stays as it is), `default` for what is missing,
    and with `drop_unknown` leave out what is not `known`.
    """

    rename: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    coerce: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    default: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    drop_unknown: bool = False
    known: frozenset[str] = frozenset()

    def adapt(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the tool gets them; those given stay as they are.

        >>> Adapter(rename={"no": "id"}, coerce={"id": "number"}).adapt({"no": "7"})
        {'id': 7}
        """
        made = dict(arguments)
        for said, meant in self.rename.items():
            if said in made and meant not in made:
                made[meant] = made.pop(said)
        for name, wanted in self.coerce.items():
            if name in made:
                made[name] = _COERCIONS[wanted](made[name])
        made |= {name: deepcopy(value) for name, value in self.default.items() if name not in made}
        return {name: value for name, value in made.items() if name in self.known} if self.drop_unknown else made


def _number(value: Any) -> Any:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return value
    read = float(value)
    return int(read) if read.is_integer() and abs(read) < 2**53 else read


def _boolean(value: Any) -> Any:
    return _TRUTH.get(value.strip().casefold(), value) if isinstance(value, str) else value


def _array(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        read: Any = json.loads(value)
    except (ValueError, RecursionError):
        read = None
    return (
        cast("list[Any]", read)
        if isinstance(read, list)
        else [part.strip() for part in value.split(",") if part.strip()]
    )


_COERCIONS: Final[Mapping[str, Callable[[Any], Any]]] = {"number": _number, "boolean": _boolean, "array": _array}


def adapters_in(context: Context) -> Mapping[str, Adapter]:
    """The adapters that are served, by the name of their tool.

    Unreadable definitions have none, and neither have those of an origin that may not give instructions.
    """
    readable = readable_definitions(context)
    found = ((one.name, one.adapting) for entry, one in readable if one.adapter and entry.origin >= Origin.AGENT)
    return MappingProxyType(dict(found))


# ── definitions ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A tool as its author wrote it; `parameters` is a JSON Schema, `adapter` and `contract` are as in the JSON."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    adapter: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    contract: tuple[Mapping[str, Any], ...] = ()

    @property
    def authored(self) -> dict[str, Any]:
        """What a model is told of it: name, description, parameters."""
        return {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}

    @property
    def text(self) -> str:
        """The canonical JSON, which is an entry's text."""
        beside = {"adapter": dict(self.adapter), "contract": list(self.contract)}
        return canonical(self.authored | {key: value for key, value in beside.items() if value})

    @property
    def adapting(self) -> Adapter:
        """The adapter, ready to be used."""
        return Adapter(**self.adapter, known=frozenset(parameters_of(self.parameters)))

    def failures(self, adapter: Adapter | None = None) -> list[Mapping[str, Any]]:
        """The tests of the contract that an adapter fails (default: its own), in their order."""
        used = adapter or self.adapting
        return [test for test in self.contract if canonical(used.adapt(test["in"])) != canonical(test["out"])]


def read_definition(text: str) -> Definition:
    """The definition in an entry's text. Raises `BadData` for what is none."""
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadData(f"the definition is not JSON: {error}", hint="import it again: tokenspace tools import") from None
    return _definition(said)


def readable_definitions(context: Context) -> list[tuple[Entry, Definition]]:
    """The active tools of a context that can be read, with their entries, in their order; the last of a name counts."""
    found: dict[str, tuple[Entry, Definition]] = {}
    for entry in context.entries:
        if entry.kind != Kind.TOOL or entry.status != Status.ACTIVE:
            continue
        try:
            definition = read_definition(entry.text)
        except BadData:
            continue
        found[definition.name] = (entry, definition)
    return list(found.values())


def imported(context: Context, definitions: Iterable[Definition], *, origin: Origin) -> tuple[Put, ...]:
    """What writes these definitions into a context: one Put for each that is new or reads otherwise.

    One that is here keeps its id, and its adapter and contract unless it brings its own. Raises `BadData`.
    """
    here = {one.name: (entry, one) for entry, one in readable_definitions(context)}
    puts = list[Put]()
    for one in definitions:
        entry, old = here.get(one.name, (None, one))
        new = replace(one, adapter=one.adapter or old.adapter, contract=one.contract or old.contract)
        if entry is None:
            entry = Entry(kind=Kind.TOOL, doc=f"{PLACE}{one.name}", text="", origin=origin)
        if entry.text != new.text:
            _adapter(new.name, new.adapter, new.parameters)  # one that was kept must fit the new parameters
            puts.append(Put(entry=replace(entry, text=new.text, origin=origin)))
    return tuple(puts)


def definitions_in(said: Any) -> tuple[list[Definition], list[str]]:
    """The definitions in a JSON document, and what was left out because it has no schema of its own, in words.

    The document is one tool, a list of them, or has them under "tools" (also inside "result", as MCP answers); each is
    nested (OpenAI's chat completions), flat (its responses), MCP's, Anthropic's, or one of ours. Raises `BadData`.
    """
    result = said.get("result") if is_object(said) else None
    said = result if is_object(result) else said
    tools: Any = said.get("tools", [said]) if is_object(said) else said
    if not isinstance(tools, list) or not tools:
        raise BadData("there are no tools in it", hint='give a list of tool definitions, or {"tools": […]}')
    found, left_out = dict[str, Definition](), list[str]()
    for tool in cast("list[Any]", tools):
        if is_object(tool) and not tool_name(tool) and isinstance(tool.get("type"), str):
            left_out.append(f"{tool['type']}: a tool of the provider's own, whose definition nobody sees")
        elif is_object(tool) and _builtin(tool):
            left_out.append(f"{tool_name(tool)}: a tool of the provider's own, whose definition nobody sees")
        else:
            one = _definition(tool)
            if found.setdefault(one.name, one) != one:
                raise BadData(f"there are two tools {one.name}", hint="give each a name of its own")
    return list(found.values()), left_out


def _builtin(tool: Mapping[str, Any]) -> bool:
    """Such as {"type": "memory_20250818", "name": "memory"}: named and typed, and nothing else is said."""
    return tool.get("type") not in (None, "function", "custom") and not schema_key(function_of(tool))


def _definition(tool: Any) -> Definition:
    function = function_of(tool) if is_object(tool) else _EMPTY
    name, description = function.get("name"), function.get("description")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not is_safe_doc(name):
        raise BadData(f"{str(name)[:60]!r} is no name of a tool", hint="use 1 to 128 letters, digits, _ . or -")
    if description is not None and not isinstance(description, str):
        raise BadData(f"the description of {name} is no text", hint="make it a string")
    given = [key for key in SCHEMA_KEYS if function.get(key) is not None]
    if any(not is_object(function[key]) for key in given) or len(given) > 1:
        raise BadData(
            f"the parameters of {name} are not one JSON Schema", hint='use {"type": "object", "properties": …}'
        )
    if _depth(function) > _DEEPEST:
        raise BadData(f"the definition of {name} is nested too deeply", hint=f"use at most {_DEEPEST} levels")
    parameters: dict[str, Any] = dict(function[given[0]]) if given else {"type": "object", "properties": {}}
    adapter = _adapter(name, function.get("adapter", {}), parameters)
    contract = _contract(name, function.get("contract", []))
    return Definition(
        name=name, description=description or "", parameters=parameters, adapter=adapter, contract=contract
    )


def _depth(value: Any) -> int:
    """How deep a JSON value is nested, counted until that is too deep."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        level, depth = [inner for one in level for inner in _inner(one)], depth + 1
    return depth


def _inner(value: Any) -> Iterable[Any]:
    if is_object(value):
        return value.values()
    return cast("list[Any]", value) if isinstance(value, list) else ()


def _adapter(name: str, said: Any, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    parts = {"rename": dict, "coerce": dict, "default": dict, "drop_unknown": bool}
    if not is_object(said) or any(not isinstance(value, parts.get(key, ())) for key, value in said.items()):
        raise BadData(f"the adapter of {name} is none", hint=f"it is an object with some of: {', '.join(parts)}")
    known = parameters_of(parameters)
    meant = [*_texts(said.get("rename", {}).values()), *said.get("coerce", {}), *said.get("default", {})]
    unknown = sorted({one for one in meant if one not in known})
    if unknown or len(meant) != sum(len(said.get(key, {})) for key in ("rename", "coerce", "default")):
        raise BadData(f"the adapter of {name} names no parameters: {', '.join(unknown)}", hint="see its schema")
    if wrong := [one for one in said.get("coerce", {}).values() if not isinstance(one, str) or one not in _COERCIONS]:
        raise BadData(f"the adapter of {name} cannot make a {wrong[0]}", hint=f"it makes: {', '.join(_COERCIONS)}")
    return said


def _contract(name: str, said: Any) -> tuple[Mapping[str, Any], ...]:
    tests = cast("Sequence[Any]", said) if isinstance(said, list) else [None]
    for test in tests:
        if not is_object(test) or set(test) != {"in", "out"} or not all(map(is_object, test.values())):
            raise BadData(f"the contract of {name} is none", hint='it is a list of {"in": {…}, "out": {…}}')
    return tuple(tests)


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]
