"""Markdown that a person has edited → the edit that says the same (see `markup` for the form)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tokenspace.context.check import is_safe_doc, is_safe_key, objection
from tokenspace.context.markup import MARKERS, SUFFIX, Names, decode, default_kind, split_comments, title
from tokenspace.context.order import positions
from tokenspace.domain import Context, Drop, Edit, Entry, Kind, Op, Origin, Patch, Put, Status
from tokenspace.errors import BadData

_KINDS: Final = {kind.value: kind for kind in Kind}
_STATUSES: Final = {status.value: status for status in Status}
_TITLES: Final = {title(kind).casefold(): kind for kind in Kind}
_WHEN, _THEN, _ANSWER = MARKERS
_VALUED: Final[Mapping[str, tuple[str, str, str]]] = {
    "key": ("key", "a name", "refund-days"),
    "from": ("since", "a date", "2030-12-31"),
    "until": ("until", "a date", "2030-12-31"),
}
"""Words of a comment that a value follows: the field that it goes into, what it is, an example."""


@dataclass(slots=True, kw_only=True)
class _Found:
    """An entry as it stands in a document. `name` is "" for a new one, `since` and `until` are as they are written."""

    file: str
    line: int
    lines: list[str]
    kind: Kind | None = None
    name: str = ""
    status: Status = Status.ACTIVE
    key: str = ""
    since: str = ""
    until: str = ""
    trigger: str | None = None
    text: str = ""

    def bad(self, message: str, hint: str) -> BadData:
        """An error that says where."""
        return BadData(f"{self.file}, line {self.line}: {message}", hint=hint)


def from_markdown(
    docs: Mapping[str, str], context: Context, *, origin: Origin = Origin.OPERATOR, partial: bool = False
) -> Edit:
    """What a person changed in the Markdown of a context, as an edit of its last layer; no operation if nothing.

    An entry without a name becomes a new one of `origin`, one that is missing is dropped (with `partial`, only if
    its document is given), one that reads otherwise is patched, and its text is of `origin` then. Raises `BadData`
    with the line for what cannot be read or meant.
    """
    names = Names(context)
    seen: dict[str, _Found] = {}
    ops: list[Op] = []
    for file in sorted(docs):
        doc = _doc(file, context)
        found = _read(file, docs[file])
        olds = [_old(one, names, context, seen) for one in found]
        for one, old, pos in zip(found, olds, positions(doc, olds), strict=True):
            fields = _fields(one, doc, old, pos)
            if old is None:
                ops.append(Put(entry=Entry(origin=origin, **fields)))
                continue
            changes = {key: value for key, value in fields.items() if value != getattr(old, key)}
            if {"text", "trigger", "key"} & changes.keys() and old.origin != origin:
                changes["origin"] = origin
            if changes:
                ops.append(Patch(id=old.id, changes=changes))
    gone = (entry for entry in context.entries if entry.id not in seen)
    ops += [Drop(id=entry.id) for entry in gone if not partial or f"{entry.doc}{SUFFIX}" in docs]
    return Edit(ops=tuple(ops), rationale="edited by hand" if ops else "")


def _doc(file: str, context: Context) -> str:
    doc = file.removesuffix(SUFFIX)
    if doc == file or not (is_safe_doc(doc) or any(entry.doc == doc for entry in context.entries)):
        raise BadData(
            f"{file[:80]!r} is no usable name of a document",
            hint='use a relative path like "rules.md" or "skills/refunds.md": letters, digits, . _ - and inner spaces',
        )
    return doc


def _old(one: _Found, names: Names, context: Context, seen: dict[str, _Found]) -> Entry | None:
    """The entry that is meant, or None for a new one."""
    if not one.name:
        return None
    id = names.resolve(one.name)
    if id is None:
        raise one.bad(f"there is no entry #{one.name}", "remove its comment to add the text as a new entry")
    if id in seen:
        where = f"{seen[id].file}, line {seen[id].line}"
        raise one.bad(f"#{one.name} stands in {where} already", "remove the comment of the copy to add it as new")
    seen[id] = one
    return context.by_id[id]


def _fields(one: _Found, doc: str, old: Entry | None, pos: int) -> dict[str, Any]:
    if one.kind is None:
        one.kind = default_kind(doc)
    for what, text in (("text", one.text), ("part after **When**", one.trigger)):
        unchanged = old is not None and text in (old.text, old.trigger)
        found = None if text is None or unchanged else objection(text)
        if found:
            raise one.bad(f"the {what} {found[0]}", found[1])
    if not is_safe_key(one.key) and (old is None or old.key != one.key):
        raise one.bad(f"{one.key[:40]!r} is no usable key", "use a short name in one line")
    return {
        "kind": one.kind,
        "doc": doc,
        "text": one.text,
        "trigger": one.trigger,
        "status": one.status,
        "key": one.key,
        "valid_from": _time(one, one.since, old.valid_from if old else None),
        "valid_until": _time(one, one.until, old.valid_until if old else None),
        "pos": pos,
    }


def _time(one: _Found, written: str, old: datetime | None) -> datetime | None:
    """The time that is written; the old one, to the last digit, where it reads the same."""
    if not written or (old is not None and old.isoformat() == written):
        return old if written else None
    try:
        time = datetime.fromisoformat(written)
    except ValueError:
        raise one.bad(f"{written!r} is no date", "write it as 2030-12-31 or 2030-12-31T18:00:00+00:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


# ── from lines to entries ───────────────────────────────────────────────────────────────────


def _read(file: str, text: str) -> list[_Found]:
    """The entries of a document in their order: items, and from the first block heading on, blocks."""
    found: list[_Found] = []
    blocks = False
    for number, raw in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        line = raw.rstrip(" \t")
        words, comments = split_comments(line)
        here = _Found(file=file, line=number, lines=[])
        if words.startswith("## ") and any(map(_is_ours, comments)):
            blocks = True
            here.kind = _kind_of(words.removeprefix("## "), here)
            found.append(here)
            _note(here, comments)
        elif blocks:
            found[-1].lines.append(line)
        elif words in ("-", "*") or words.startswith(("- ", "* ")):
            here.lines.append(words[2:])
            found.append(here)
            _note(here, comments)
        elif not line or (found and line[0] in " \t"):
            if found:
                found[-1].lines.append(line.removeprefix("  ") if line.startswith("  ") else line[1:])
        elif words and (found or not words.startswith("# ")):
            raise here.bad("this belongs to no entry", _hint(words))
    for one in found:
        _split_parts(one)
    return found


def _hint(words: str) -> str:
    if words.startswith("#"):
        return "headings are not kept; to begin a block, end its heading with a comment that says: new"
    return "begin a new entry with '- ', or indent the line by two spaces to go on with the entry above"


def _kind_of(words: str, one: _Found) -> Kind:
    kind = _TITLES.get(words.strip().casefold())
    if kind is None:
        raise one.bad(f"{words[:40]!r} is no kind of entry", f"use one of: {', '.join(title(kind) for kind in Kind)}")
    return kind


def _is_ours(said: str) -> bool:
    return said.startswith("#") or said.split()[:1] == ["new"]


def _note(one: _Found, comments: Sequence[str]) -> None:
    """Take the name and what is said beside it from the first comment that is ours."""
    name, *words = next((said for said in comments if _is_ours(said)), "new").split()
    one.name = decode(name.removeprefix("#")) if name.startswith("#") else ""
    rest = iter(words)
    for word in rest:
        if word in _KINDS:
            one.kind = _KINDS[word]
        elif word in _STATUSES:
            one.status = _STATUSES[word]
        elif word in _VALUED:
            said = decode(next(rest, ""))
            if not said:
                raise one.bad(f"{_VALUED[word][1]} is missing after '{word}'", f"write it as {_VALUED[word][2]}")
            setattr(one, _VALUED[word][0], said)
        else:
            known = ", ".join((*_KINDS, *_STATUSES, *_VALUED))
            raise one.bad(f"{word[:40]!r} says nothing about an entry", f"use: {known}")


def _split_parts(one: _Found) -> None:
    """Split the lines of an entry into what it is for and what it says."""
    text = "\n".join(one.lines).strip("\n")
    if not text.startswith(_WHEN):
        one.text = _decoded(text)
        return
    lines = text.split("\n")
    at = next((i for i, line in enumerate(lines) if line.startswith((_THEN, _ANSWER))), None)
    if at is None:
        raise one.bad(f"nothing follows {_WHEN}", f"add a line that begins with {_THEN} or {_ANSWER}")
    marker = _ANSWER if lines[at].startswith(_ANSWER) else _THEN
    one.trigger = _decoded("\n".join(lines[:at]).removeprefix(_WHEN))
    one.text = _decoded("\n".join(lines[at:]).removeprefix(marker))
    if one.kind is None and marker == _ANSWER:
        one.kind = Kind.EXAMPLE


def _decoded(text: str) -> str:
    """What was encoded: space around it belongs to the form, for a text's own is written as references."""
    return decode(text.strip("\n").lstrip(" \t").strip("\n"))
