"""What the graders share: reading a specification strictly, scores, JSON in an answer, and killable work.

A specification that could never grade anything is refused when the grader is built (`UsageError`), not discovered as
a failed measurement on every case.
"""

from __future__ import annotations

import asyncio
import json
import math
import numbers
import re
import subprocess
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, cast

from tokenspace.domain import GraderSpec, Json
from tokenspace.errors import UsageError

DEFAULT_TIMEOUT_S: Final = 2.0
NOT_JSON: Final = object()
_FENCE: Final = re.compile(r"\A```[A-Za-z]*[ \t]*\n(.*)\n?```\Z", re.DOTALL)


def read_options(spec: GraderSpec, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a specification over their defaults, each of the type of its default.

    A default of None stands for an optional text. Raises `UsageError` for an unknown name or a wrong type.
    """
    for name, value in spec.options.items():
        if name not in defaults:
            known = ", ".join(sorted(defaults)) or "none"
            raise UsageError(f"grader {spec.name!r} has no option {name!r}", hint=f"its options are: {known}")
        default = defaults[name]
        if not _fits(value, default):
            kind = "str" if default is None else type(default).__name__
            raise UsageError(f"option {name!r} of grader {spec.name!r} is {value!r}", hint=f"it must be a {kind}")
    return {**defaults, **spec.options}


def _fits(value: object, default: object) -> bool:
    if default is None or isinstance(default, str):
        return isinstance(value, str)
    if isinstance(default, bool):
        return isinstance(value, bool)
    # the only other defaults are numbers that measure something: tolerances and times
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def read_texts(spec: GraderSpec) -> tuple[str, ...]:
    """The expected text, or texts, of a specification. Raises `UsageError` for anything else, or for none."""
    given = spec.expected if isinstance(spec.expected, list) else [spec.expected]
    texts = [text for text in given if isinstance(text, str)]
    if not texts or len(texts) < len(given):
        raise UsageError(
            f"grader {spec.name!r} expects a text or a list of texts, not {spec.expected!r}",
            hint="grade numbers with 'number' and other JSON values with 'json'",
        )
    return tuple(texts)


def normal(text: str, *, ignore_case: bool) -> str:
    """A text in its one Unicode form (NFC), so that equal looks are equal; without case if asked."""
    return unicodedata.normalize("NFC", text.casefold() if ignore_case else text)


def as_score(value: object) -> float | None:
    """A score in [0, 1] from what a function or a model said; None if it is no such thing.

    >>> as_score(True), as_score(0.5), as_score(1.5), as_score(float("nan")), as_score("1")
    (1.0, 0.5, None, None, None)
    """
    if not isinstance(value, numbers.Real):
        return None
    number = cast("float", value)
    return float(number) if 0 <= number <= 1 else None  # compared before it is converted: 10**400 has no float


def parse_json(text: str, *, fenced: bool = False) -> Json | object:
    """The JSON value that a text is, or `NOT_JSON`; NaN and infinities are not JSON.

    With `fenced`, a Markdown code fence around the whole text is taken off first.
    """
    text = text.strip()
    if fenced and (match := _FENCE.match(text)):
        text = match[1]
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return NOT_JSON


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


async def in_child(code: str, argument: Json, *, timeout_s: float) -> Json | object:
    """The JSON that a Python program prints when given JSON on its input, or None if it fails or takes too long.

    For work that cannot be interrupted in this process (a regular expression holds the interpreter until it is
    done). The child is killed at the limit; it inherits nothing but the import path, and that only as data.
    """

    def work() -> Json | object:
        try:
            done = subprocess.run(  # noqa: S603 (our own program; foreign text reaches it only as JSON on its input)
                [sys.executable, "-I", "-S", "-c", code],
                input=json.dumps({"path": sys.path, "argument": argument}).encode(),
                capture_output=True,
                timeout=timeout_s,
                check=True,
            )
        except (OSError, subprocess.SubprocessError, ValueError):
            return None
        found = parse_json(done.stdout.decode("utf-8", "replace"))
        return None if found is NOT_JSON else found

    return await asyncio.to_thread(work)
