"""The Markdown that entries are written in: what of a text must be escaped, and how the parts of an entry look.

A document is a list of items::

    # rules

    - Answer in the language of the question. <!-- #5e0c44aa -->
    - **When** a refund is asked for <!-- #77d0a31c draft -->
      **Then** ask for the order number first.

or, where it holds instructions or skills, a series of blocks under headings::

    # skills/refunds

    ## Skill <!-- #9b1f07d2 -->

    Ask for the order number …

The comment at the end of an entry's first line holds its name and what differs from the default of its document.
Texts may hold anything: what would be misread is written as a numeric character reference, which Markdown
shows as the character that it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tokenspace.domain import Context, Kind

SUFFIX: Final = ".md"
MARKERS: Final = ("**When**", "**Then**", "**Answer**")

_DEFAULTS: Final[Mapping[str, Kind]] = {
    "instructions": Kind.INSTRUCTION,
    "facts": Kind.FACT,
    "examples": Kind.EXAMPLE,
    "tools": Kind.TOOL_NOTE,
    "skills": Kind.SKILL,
    "definitions": Kind.TOOL,
    "renderer": Kind.RENDERER,
}
# Control characters but tab and line feed, separators that some readers take for line ends, invisible characters that
# can hide or reorder text, lone surrogates.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_UNSAFE: Final = re.compile(rf"[\s<>&]|{_HIDDEN.pattern}")
_REFERENCE: Final = re.compile(r"&#([0-9]{1,7});")
_NAME_CHARS: Final = (8, 12)
_COMMENTS: Final = re.compile(r"(?:<!--(?:(?!-->).)*-->[ \t]*)+")
_COMMENT: Final = re.compile(r"<!--((?:(?!-->).)*)-->")


# ── texts ───────────────────────────────────────────────────────────────────────────────────


def encode(text: str) -> str:
    """A text that `decode` gives back exactly, whatever it holds, after any editor that strips trailing space.

    >>> encode(" <!-- hi -->"), decode(encode(" <!-- hi -->"))
    ('&#32;&#60;!-- hi -->', ' <!-- hi -->')
    """
    text = text.replace("&#", "&#38;#").replace("<!--", "&#60;!--")
    text = _HIDDEN.sub(lambda found: _reference(found[0]), text)
    core = text.strip("\n")
    start = len(text) - len(text.lstrip("\n")) if core else len(text)
    end = len(text) - start - len(core)
    lines = [_encoded_line(line) for line in core.split("\n")]
    if not start and lines[0][:1].isspace():
        lines[0] = _reference(lines[0][0]) + lines[0][1:]
    return _reference("\n") * start + "\n".join(lines) + _reference("\n") * end


def decode(text: str) -> str:
    """The text that was encoded; a reference to no character stays as it is."""
    return _REFERENCE.sub(lambda found: chr(int(found[1])) if int(found[1]) <= 0x10FFFF else found[0], text)


def _encoded_line(line: str) -> str:
    if line.startswith((*MARKERS, "# file:")):
        line = _reference(line[0]) + line[1:]
    return line[:-1] + _reference(line[-1]) if line[-1:].isspace() else line


def _reference(char: str) -> str:
    return f"&#{ord(char)};"


# ── comments ────────────────────────────────────────────────────────────────────────────────


class Names:
    """Short names of a context's entries: the last digits of the id where they tell it apart, else all of it."""

    def __init__(self, context: Context) -> None:
        self._meant: dict[str, str | None] = {}
        for digits in _NAME_CHARS:
            for key in context.by_id:
                name = key[-digits:]
                self._meant[name] = None if self._meant.get(name, key) != key else key
        self._meant.update({key: key for key in context.by_id})

    def of(self, id: str) -> str:
        """The shortest name that `resolve` understands."""
        names = (id[-digits:] for digits in _NAME_CHARS)
        return next((name for name in names if self._meant.get(name) == id), id)

    def resolve(self, name: str) -> str | None:
        """The id that is meant; None if there is none, or several could be."""
        return self._meant.get(name)


def split_comments(line: str) -> tuple[str, list[str]]:
    """A line without the comments that end it, and what they say; comments inside a line are text."""
    at = line.find("<!--")
    while at >= 0:
        if _COMMENTS.fullmatch(line, at):
            return line[:at].rstrip(" \t"), [found.strip() for found in _COMMENT.findall(line, at)]
        at = line.find("<!--", at + 1)
    return line.rstrip(" \t"), []


def comment(words: Sequence[str]) -> str:
    """A comment of these words; what could end it is escaped."""
    return f"<!-- {' '.join(_UNSAFE.sub(lambda found: _reference(found[0]), word) for word in words)} -->"


# ── forms ───────────────────────────────────────────────────────────────────────────────────


def default_kind(doc: str) -> Kind:
    """The kind of an entry that does not say it, from the first segment of its place."""
    return _DEFAULTS.get(doc.split("/", 1)[0], Kind.RULE)


def title(kind: Kind) -> str:
    """How a block's heading calls a kind: "Tool note"."""
    return kind.value.replace("_", " ").capitalize()


def is_long(kind: Kind) -> bool:
    """Whether entries of a kind are texts with a structure of their own, for which a document has blocks."""
    return kind in (Kind.INSTRUCTION, Kind.SKILL)
