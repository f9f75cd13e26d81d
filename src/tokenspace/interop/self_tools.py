"""What an agent may do to its own context while it works: its memory files and notes to itself, as tools of a loop.

    files = desk.memory
    agent = ToolLoopAgent(model, {**my_tools, **self_tools(files)})
    request = Request(messages=…, tools=(*my_definitions, *DEFINITIONS))

Every write is an edit of the proposer `self@1`, of the agent's own origin, that the gate judges; a replay of a case
answers from its recording and writes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from tokenspace.context.taint import OWN_MEMORY
from tokenspace.interop.memory_files import ARGUMENTS, NOTE_CHARS, MemoryFiles

_TEXT: Final = {"type": "string"}

DEFINITIONS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "type": "function",
        "function": {
            "name": "memory",
            "description": "Read and edit the Markdown files under /memories, which last from session to session.",
            "parameters": {
                "type": "object",
                "properties": {
                    "command": {"type": "string", "enum": list(ARGUMENTS)},
                    "path": _TEXT, "file_text": _TEXT, "old_str": _TEXT, "new_str": _TEXT, "insert_text": _TEXT,
                    "old_path": _TEXT, "new_path": _TEXT, "insert_line": {"type": "integer"},
                    "view_range": {"type": "array", "items": {"type": "integer"}},
                },
                "required": ["command"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "note_to_self",
            "description": "Keep one lesson in your own words for later sessions.",
            "parameters": {
                "type": "object",
                "properties": {
                    "text": {**_TEXT, "maxLength": NOTE_CHARS, "description": "One sentence that stands alone"},
                    "when": {**_TEXT, "maxLength": NOTE_CHARS, "description": "The kind of request it is about"},
                },
                "required": ["text"],
            },
        },
    },
)  # fmt: skip
"""The two tools as Chat Completions declares them."""


def self_tools(files: MemoryFiles) -> dict[str, Callable[..., Awaitable[str]]]:
    """The functions behind `DEFINITIONS`, for `ToolLoopAgent`. What is refused is an answer, and no error."""

    async def memory(**arguments: Any) -> str:
        return (await files.run(arguments)).text

    async def note_to_self(text: str, when: str = "") -> str:
        return (await files.note(text, when)).text

    tools: dict[str, Callable[..., Awaitable[str]]] = {"memory": memory, "note_to_self": note_to_self}
    for tool in tools.values():
        setattr(tool, OWN_MEMORY, True)
    return tools
