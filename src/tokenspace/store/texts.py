"""Every text in a JSON value, and what a text that holds JSON says once it is read as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

_NESTED: Final = 4
"""JSON in JSON in JSON: more is nobody's."""
_ESCAPE: Final = re.compile(r"""\\(?:u([0-9a-fA-F]{4})|([bfnrt"\\/]))""")
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def strings(value: Any) -> Iterable[str]:
    """Every text in a JSON value, keys included; one with JSON's escapes in it also as it reads without them.

    Arguments and results of tools are texts that hold JSON, in which a name may be spelled with escapes.
    """
    if isinstance(value, str):
        yield value
        for _ in range(_NESTED):
            before, value = value, unescaped(value)
            if value == before:
                return
            yield value
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[Any, Any]", value).items():
            yield from strings(str(key))
            yield from strings(item)
    elif isinstance(value, Sequence):
        for item in cast("Sequence[Any]", value):
            yield from strings(item)


def unescaped(text: str) -> str:
    """A text without one level of JSON's escapes, whether all of it is JSON or a part (RFC 8259, section 7)."""
    if "\\" not in text:
        return text
    told = _ESCAPE.sub(lambda hit: chr(int(hit[1], 16)) if hit[1] else _SHORT.get(hit[2], hit[2]), text)
    return told.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins the halves of pairs
