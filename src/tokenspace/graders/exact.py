"""The output is the expected text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tokenspace.budget import Budget
from tokenspace.domain import Case, GraderSpec
from tokenspace.graders.options import normal, read_options, read_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """1 if the output equals the expected text, or one of them, else 0.

    `strip` leaves out surrounding white space of both, `ignore_case` the difference of upper and lower case. Letters
    that Unicode can write in two ways (é) are equal either way (NFC).
    """

    expected: tuple[str, ...]
    strip: bool = True
    ignore_case: bool = False

    @classmethod
    def from_spec(cls, spec: GraderSpec) -> Self:
        """Expected: a text or a list of texts. Options: strip, ignore_case."""
        return cls(expected=read_texts(spec), **read_options(spec, {"strip": True, "ignore_case": False}))

    async def grade(self, case: Case, output: str, *, budget: Budget) -> float | None:
        """Free; never None."""
        return float(self._normal(output) in {self._normal(text) for text in self.expected})

    def _normal(self, text: str) -> str:
        return normal(text.strip() if self.strip else text, ignore_case=self.ignore_case)
