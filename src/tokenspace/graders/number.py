"""The output is the expected number, within a tolerance."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import Any, Final, Self

from tokenspace.budget import Budget
from tokenspace.domain import Case, GraderSpec
from tokenspace.errors import UsageError
from tokenspace.graders.options import read_options

DEFAULT_RELATIVE: Final = 1e-9  # what binary floating point may lose on the way, and no more
_GROUPS: Final = "'’_\u00a0\u2009\u202f"  # apostrophes, underscore, unbreakable and thin spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """1 if the number in the output is at most max(`absolute`, `relative` × |expected|) away from `expected`, else 0.

    Words, units, currency and percent signs around it are ignored ("12 %" is 12), as are thousands separators. Of
    several numbers `pick` takes the "first" or the "last"; by default ("only") several are as wrong as none.
    `decimal` is the decimal sign, "." or ","; the other one then separates thousands.
    """

    expected: float
    absolute: float = 0.0
    relative: float = DEFAULT_RELATIVE
    pick: str = "only"
    decimal: str = "."

    @classmethod
    def from_spec(cls, spec: GraderSpec) -> Self:
        """Expected: a finite number, or a text that holds just one. Options: absolute, relative, pick, decimal."""
        defaults: dict[str, Any] = {"absolute": 0.0, "relative": DEFAULT_RELATIVE, "pick": "only", "decimal": "."}
        options = read_options(spec, defaults)
        for name, allowed in (("pick", ("only", "first", "last")), ("decimal", (".", ","))):
            if options[name] not in allowed:
                raise UsageError(f"{name!r} of grader 'number' is {options[name]!r}", hint=f"use one of {allowed}")
        text = spec.expected if isinstance(spec.expected, str) else ""
        found = numbers_in(text, decimal=options["decimal"])
        if isinstance(spec.expected, int | float) and not isinstance(spec.expected, bool):
            found = [float(spec.expected)] if abs(spec.expected) <= sys.float_info.max else []
        if len(found) != 1 or not math.isfinite(found[0]):
            raise UsageError(f"'number' expects a number, not {spec.expected!r}", hint="give it as 12.5 or as '12.5'")
        return cls(expected=found[0], **options)

    async def grade(self, case: Case, output: str, *, budget: Budget) -> float | None:
        """Free; never None: output without a number is wrong."""
        found = numbers_in(output, decimal=self.decimal)
        if not found or (self.pick == "only" and len(found) > 1):
            return 0.0
        value = found[-1] if self.pick == "last" else found[0]
        return float(abs(value - self.expected) <= max(self.absolute, self.relative * abs(self.expected)))


def numbers_in(text: str, *, decimal: str = ".") -> list[float]:
    """The numbers written in a text, in order. Digits within words (H2O), versions and addresses are no numbers.

    >>> numbers_in("It costs −1,234.50 € (about 5 %), order CO2 of 1.2.3.4")
    [-1234.5, 5.0]
    """
    comma = "," if decimal == "." else "."
    group, point = re.escape(comma + _GROUPS), re.escape(decimal)
    # every repetition is over signs that the next part cannot begin with: no backtracking
    whole = rf"(?:[0-9]{{1,3}}(?:[{group}][0-9]{{3}})+|[0-9]+)"
    pattern = rf"(?<![\w.,])([-+−]?)[$€£¥₹]?({whole}(?:{point}[0-9]+)?(?:[eE][-+]?[0-9]{{1,4}})?)(?![.,]?[0-9])"
    found: list[float] = []
    for sign, digits in re.findall(pattern, text):
        plain = re.sub(rf"[{group}]", "", digits).replace(decimal, ".")
        found.append(float(plain) * (-1 if sign in {"-", "−"} else 1))
    return found
