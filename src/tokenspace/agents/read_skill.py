"""The tool `read_skill`: the body or a further file of a skill, from the prompt that an agent was given.

It reads nothing but that prompt, so a replay needs no recording of it, and a gate tests the very texts that would be
served. Nothing is run: a script is a text like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

PAGE_CHARS: Final = 16_000
"""So much of a text is answered at once; the answer says how to go on."""
LISTED: Final = 50


def read_skill(openable: Sequence[tuple[str, str]], arguments: dict[str, Any] | None) -> str:
    """The answer to a call with these arguments (None: they are no JSON object); "error: …" says what to do instead."""
    texts = dict(openable)
    names = [path for path in texts if "/" not in path]
    if arguments is None or not isinstance(arguments.get("name"), str):
        return f"error: give the name of a skill: {', '.join(names)}"
    name, file, offset = arguments["name"], arguments.get("file") or "", arguments.get("offset") or 0
    if name not in names:
        return f"error: there is no skill {name[:80]!r}; there are: {', '.join(names)}"
    files = [path.removeprefix(f"{name}/") for path in texts if path.startswith(f"{name}/")]
    path = f"{name}/{file}" if file else name
    if not isinstance(file, str) or path not in texts:
        return f"error: the skill {name} has no such file; it has: {', '.join(files[:LISTED]) or 'none'}"
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < max(1, len(texts[path])):
        return f"error: {path} has {len(texts[path])} characters; give an offset below that"
    more = "" if file or not files else f"\n\n[further files of this skill: {', '.join(files[:LISTED])}]"
    return _page(texts[path], offset) + more


def _page(text: str, offset: int) -> str:
    end = offset + PAGE_CHARS
    left = f"\n\n[{len(text) - end} more characters: go on with offset {end}]" if end < len(text) else ""
    return text[offset:end] + left
