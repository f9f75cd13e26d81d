"""What changed between two contexts, for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from difflib import unified_diff

from tokenspace.context.markup import SUFFIX, default_kind, encode
from tokenspace.domain import Context, Entry, Kind, Origin, Status


def diff_text(before: Context, after: Context) -> str:
    """Lines that went (`- `), came (`+ `) and stand beside them, by document; "" if no entry changed in any way.

    An entry that moved to another document is shown in both. Control characters and invisible ones are escaped, so
    that the text is safe to print.
    """
    pairs: list[tuple[Entry | None, Entry | None]] = []
    for key in before.by_id.keys() | after.by_id.keys():
        old, new = before.by_id.get(key), after.by_id.get(key)
        if old is not None and new is not None and old.doc != new.doc:
            pairs += [(old, None), (None, new)]
        elif old != new:
            pairs.append((old, new))
    docs: dict[str, list[str]] = {}
    for old, new in sorted(pairs, key=lambda pair: (pair[1] or pair[0] or _NOBODY).order):
        docs.setdefault((new or old or _NOBODY).doc, []).extend(_changed(old, new))
    return "".join(f"{doc}{SUFFIX}\n" + "".join(f"{line}\n" for line in docs[doc]) for doc in sorted(docs))


_NOBODY = Entry(id="", kind=Kind.RULE, doc="", text="")


def _changed(old: Entry | None, new: Entry | None) -> Iterator[str]:
    told, tells = _told(old), _told(new)
    if told == tells and old is not None and new is not None:
        told, tells = [*told, *_unseen(old, new)], [*tells, *_unseen(new, old)]
    for line in list(unified_diff(told, tells, n=1, lineterm=""))[2:]:
        if not line.startswith("@@"):
            yield f"{line[0]} {line[1:]}".rstrip()


def _told(entry: Entry | None) -> list[str]:
    """An entry as lines: what it is for, what it says, and what is special about it."""
    if entry is None:
        return []
    lines = encode(entry.text).split("\n")
    if entry.trigger is not None:
        then = "Answer" if entry.kind == Kind.EXAMPLE else "Then"
        lines = [*f"When {encode(entry.trigger)}".split("\n"), f"{then} {lines[0]}", *lines[1:]]
    special = [entry.kind.value.replace("_", " ")] if entry.kind != default_kind(entry.doc) else []
    special += [entry.status.value] if entry.status != Status.ACTIVE else []
    special += [f"key {encode(entry.key)}"] if entry.key else []
    special += [f"from {entry.valid_from.isoformat()}"] if entry.valid_from else []
    special += [f"until {entry.valid_until.isoformat()}"] if entry.valid_until else []
    return [*lines, f"({', '.join(special)})"] if special else lines


def _unseen(entry: Entry, other: Entry) -> list[str]:
    """Every field that differs between entries that read the same, such as the position and the origin."""
    values = [(field.name, getattr(entry, field.name), getattr(other, field.name)) for field in fields(Entry)]
    facts = [
        f"{name} {mine.name.lower() if isinstance(mine, Origin) else mine}" for name, mine, its in values if mine != its
    ]
    return encode(f"({', '.join(facts)})").split("\n")
