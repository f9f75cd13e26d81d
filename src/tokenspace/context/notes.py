"""Notes on tools: append-only texts at the end of a description, of a tool or of one of its parameters.

A note is an entry of kind *tool note* at `tools/NAME` or `tools/NAME/FIELD` (a path into nested objects may follow).
Its sort is how its text begins, so that it reads as itself wherever it is shown. Notes are added and dropped; what the
author of the tool wrote stays before them, and nothing but descriptions is ever touched: a schema's types, its required
parameters and everything else stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tokenspace.context.definitions import function_of, is_object, parameters_of, schema_key, schema_of, tool_name
from tokenspace.context.render import TOOL_NOTES, item, noted_field, noted_tool
from tokenspace.domain import Entry

SORTS: Final[Mapping[str, str]] = {
    "when": "When: ",
    "when_not": "When not: ",
    "format": "Format: ",
    "error_fix": "Error and fix: ",
    "example": "Example: ",
}
"""The sorts of notes, with the words that a note of each begins with."""


def note_text(sort: str, text: str) -> str:
    """The text of a note of this sort.

    >>> note_text("format", "an ISO date"), sort_of("Format: an ISO date")
    ('Format: an ISO date', 'format')
    """
    return f"{SORTS[sort]}{text}"


def sort_of(text: str) -> str:
    """The sort of a note's text; "" for one of no sort."""
    return next((sort for sort, words in SORTS.items() if text.startswith(words)), "")


def unplaced(note: Entry, tools: Sequence[Mapping[str, Any]]) -> str:
    """Why a note has no place among these tools; "" if it has one."""
    named = [tool for tool in tools if tool_name(tool) == noted_tool(note) != ""]
    if not named:
        return "no such tool"
    return "" if any(_has(schema_of(tool), noted_field(note)) for tool in named) else "no such parameter"


def with_notes(tools: Sequence[Mapping[str, Any]], notes: Sequence[Entry]) -> tuple[Mapping[str, Any], ...]:
    """The tools with each note at the end of the description that it is about, in the order of the notes.

    Tools without a note are passed on as they are; a note on a parameter that a tool does not have is passed over.
    """
    lines: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for note in notes:
        lines.setdefault(noted_tool(note), {}).setdefault(noted_field(note), []).append(item(note.text))
    return tuple(_noted(tool, lines[tool_name(tool)]) if tool_name(tool) in lines else tool for tool in tools)


def _noted(tool: Mapping[str, Any], lines: Mapping[tuple[str, ...], Sequence[str]]) -> Mapping[str, Any]:
    function = changed = function_of(tool)
    for path, said in lines.items():
        key = schema_key(changed)
        if not path:
            changed = _described(changed, said)
        elif key and _has(changed[key], path):
            changed = {**changed, key: _within(changed[key], path, said)}
    return changed if function is tool else {**tool, "function": changed}


def _described(place: Mapping[str, Any], lines: Sequence[str]) -> Mapping[str, Any]:
    parts = [str(place.get("description") or ""), "\n".join((TOOL_NOTES, *lines))]
    return {**place, "description": "\n\n".join(part for part in parts if part)}


def _within(schema: Mapping[str, Any], path: tuple[str, ...], lines: Sequence[str]) -> Mapping[str, Any]:
    """The schema with one parameter described; the path is there."""
    if not path:
        return _described(schema, lines)
    if not is_object(schema.get("properties")):
        return {**schema, "items": _within(schema["items"], path, lines)}
    properties = schema["properties"]
    return {**schema, "properties": {**properties, path[0]: _within(properties[path[0]], path[1:], lines)}}


def _has(schema: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    for name in path:
        found = parameters_of(schema).get(name)
        if not is_object(found):
            return False
        schema = found
    return True
