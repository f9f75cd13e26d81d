"""What every edit must satisfy before it is applied to anything."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from tokenspace.domain import MAX_NAME_CHARS, MAX_TEXT_BYTES, Edit, Entry, Kind, Origin, Patch, Put, Status
from tokenspace.errors import InvalidEdit

PATCHABLE: Final = frozenset(field.name for field in fields(Entry)) - {"id"}

_ID: Final = re.compile(r"[A-Za-z0-9._:-]+")
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "kind": (Kind,),
    "doc": (str,),
    "text": (str,),
    "trigger": (str, type(None)),
    "origin": (Origin,),
    "status": (Status,),
    "pos": (int,),
    "valid_until": (datetime, type(None)),
    "supersedes": (str, type(None)),
    "key": (str,),
    "valid_from": (datetime, type(None)),
}


def validate(edit: Edit) -> None:
    """Raises `InvalidEdit` for an edit that could not, or must not, apply to any context.

    That is: no operation, two operations on one id, unknown fields or values of a wrong type, a text or trigger
    that is empty, too long or not storable, a place that is no safe path, a key that is no name.
    """
    if not edit.ops:
        raise InvalidEdit("the edit changes nothing", hint="give it at least one put, patch, drop or restore")
    ids = [op.entry.id if isinstance(op, Put) else op.id for op in edit.ops]
    twice = sorted(key for key, count in Counter(ids).items() if count > 1)
    if twice:
        raise InvalidEdit(f"several operations on {', '.join(twice)}", hint="join them into one operation for each id")
    for key in ids:
        if not _ID.fullmatch(key) or len(key) > MAX_NAME_CHARS:
            raise InvalidEdit(f"{key[:40]!r} is no entry id", hint="use new_id(), or letters, digits and . _ : -")
    for op in edit.ops:
        if isinstance(op, Put):
            _check_fields(op.entry.id, {name: getattr(op.entry, name) for name in PATCHABLE})
        elif isinstance(op, Patch):
            _check_fields(op.id, op.changes)


def is_safe_doc(doc: str) -> bool:
    """Whether a doc is a relative path of segments made of letters, digits, `.`, `_`, `-` and inner spaces."""
    segments = doc.split("/")
    return all(
        segment not in {"", ".", ".."}
        and segment == segment.strip()
        and len(segment) <= MAX_NAME_CHARS
        and all(char.isalnum() or char in "._- " for char in segment)
        for segment in segments
    )


def _check_fields(id: str, values: Mapping[str, Any]) -> None:
    if not values:
        raise InvalidEdit(f"the patch of {id} changes nothing", hint="leave it out")
    for name, value in values.items():
        if name not in PATCHABLE:
            raise InvalidEdit(
                f"entries have no field {name!r} that may change", hint=f"fields: {', '.join(sorted(PATCHABLE))}"
            )
        if not isinstance(value, _TYPES[name]) or (name == "pos" and isinstance(value, bool)):
            wanted = " or ".join(kind.__name__ for kind in _TYPES[name])
            raise InvalidEdit(f"{name} of {id} is {type(value).__name__}", hint=f"it must be {wanted}")
    for name in ("text", "trigger"):
        if isinstance(values.get(name), str) and (found := objection(values[name])):
            raise InvalidEdit(f"the {name} of {id} {found[0]}", hint=found[1])
    if "doc" in values and not is_safe_doc(values["doc"]):
        raise InvalidEdit(
            f"{values['doc'][:80]!r} is no usable place for {id}",
            hint='use a relative path like "rules" or "skills/refunds": letters, digits, . _ - and inner spaces',
        )
    _check_when_and_what(id, values)


def _check_when_and_what(id: str, values: Mapping[str, Any]) -> None:
    if not is_safe_key(values.get("key", "")):
        raise InvalidEdit(
            f"{values['key'][:40]!r} is no usable key for {id}",
            hint=f"use at most {MAX_NAME_CHARS} printable characters without surrounding space",
        )
    for name in ("valid_from", "valid_until"):
        if (at := values.get(name)) is not None and at.tzinfo is None:
            raise InvalidEdit(f"{name} of {id} has no time zone", hint="give an aware datetime, such as one in UTC")


def is_safe_key(key: str) -> bool:
    """Whether a text may name what a fact is about; "" for an entry that is about nothing by name."""
    return key == key.strip() and key.isprintable() and len(key) <= MAX_NAME_CHARS


def objection(text: str) -> tuple[str, str] | None:
    """Why a text cannot be kept, and what to do about it; None if it can."""
    if not text.strip():
        return "is empty", "say something, or leave it out"
    if "\0" in text:
        return "holds a NUL byte", "remove it: it is no text"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "is no valid Unicode", "remove the lone surrogates"
    if size > MAX_TEXT_BYTES:
        return f"has {size:,} bytes; at most {MAX_TEXT_BYTES:,} are kept", "split it, or keep the part that matters"
    return None
