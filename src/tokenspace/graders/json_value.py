"""The output is the expected JSON value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, cast

from tokenspace.budget import Budget
from tokenspace.domain import Case, GraderSpec, Json
from tokenspace.graders.options import NOT_JSON, parse_json, read_options


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonEqual:
    """1 if the output is JSON of the expected value, whatever the order of keys and the layout, else 0.

    1 equals 1.0, but true does not equal 1. With `fenced`, a Markdown code fence around the JSON is forgiven.
    """

    expected: Json
    fenced: bool = False

    @classmethod
    def from_spec(cls, spec: GraderSpec) -> Self:
        """Expected: any JSON value, as a value (a text is the JSON string). Options: fenced."""
        return cls(expected=spec.expected, **read_options(spec, {"fenced": False}))

    async def grade(self, case: Case, output: str, *, budget: Budget) -> float | None:
        """Free. Output that is not JSON is wrong; None only where both are nested too deeply to compare."""
        value = parse_json(output, fenced=self.fenced)
        try:
            return float(value is not NOT_JSON and same_json(value, self.expected))
        except RecursionError:
            return None


def same_json(one: Any, other: Any) -> bool:
    """Equality of JSON values; Python's own takes true for 1.

    >>> same_json({"a": [1, None]}, {"a": [1.0, None]}), same_json([True], [1])
    (True, False)
    """
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        first, second = cast("list[Any]", one), cast("list[Any]", other)
        return len(first) == len(second) and all(map(same_json, first, second))
    return isinstance(one, bool) == isinstance(other, bool) and one == other
