"""The output matches a regular expression.

Python's `re` cannot be interrupted: it holds the interpreter until it is done, and `(a+)+b` on forty letters is not
done this century. Whether a pattern can do that is not decided by looking at it, so every pattern that could
backtrack runs in a child process that is killed at the time limit (about 20 ms for one grading, little beside the
replay that it grades). A pattern without groups, alternatives and repetitions needs at most its own length of steps
at each position, and runs here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Self

from tokenspace.budget import Budget
from tokenspace.domain import Case, GraderSpec
from tokenspace.errors import UsageError
from tokenspace.graders.options import DEFAULT_TIMEOUT_S, in_child, read_options

MAX_PATTERN_CHARS: Final = 1_000
_CAN_BACKTRACK: Final = frozenset("*+?{|(")
_CHILD: Final = """
import json, re, sys
pattern, text, flags, full = json.load(sys.stdin)["argument"]
compiled = re.compile(pattern, flags)
print(json.dumps((compiled.fullmatch if full else compiled.search)(text) is not None))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """1 if the pattern is found in the output (`full`: matches all of it), else 0; None if that takes too long."""

    pattern: str
    full: bool = False
    ignore_case: bool = False
    timeout_s: float = DEFAULT_TIMEOUT_S

    @classmethod
    def from_spec(cls, spec: GraderSpec) -> Self:
        """Expected: a regular expression of Python's `re`. Options: full, ignore_case, timeout_s."""
        defaults: dict[str, Any] = {"full": False, "ignore_case": False, "timeout_s": DEFAULT_TIMEOUT_S}
        options = read_options(spec, defaults)
        if not isinstance(spec.expected, str) or len(spec.expected) > MAX_PATTERN_CHARS:
            raise UsageError(
                "'pattern' expects a regular expression", hint=f"give it as text of at most {MAX_PATTERN_CHARS} letters"
            )
        try:
            re.compile(spec.expected)
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(
                f"{spec.expected!r} is not a regular expression: {error}", hint="escape literal signs with a backslash"
            ) from error
        return cls(pattern=spec.expected, **options)

    async def grade(self, case: Case, output: str, *, budget: Budget) -> float | None:
        """Free. None if the time limit passed, or no child process could run."""
        flags = re.IGNORECASE if self.ignore_case else re.NOFLAG
        if not _CAN_BACKTRACK & set(self.pattern):
            compiled = re.compile(self.pattern, flags)
            return float((compiled.fullmatch if self.full else compiled.search)(output) is not None)
        found = await in_child(_CHILD, [self.pattern, output, int(flags), self.full], timeout_s=self.timeout_s)
        return float(found) if isinstance(found, bool) else None
