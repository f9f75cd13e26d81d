"""The output contains what it should, or nothing of what it should not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tokenspace.budget import Budget
from tokenspace.domain import Case, GraderSpec
from tokenspace.errors import UsageError
from tokenspace.graders.options import normal, read_options, read_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Contains:
    """1 if the output contains all (mode "all"), at least one ("any") or none ("none") of the texts, else 0."""

    expected: tuple[str, ...]
    mode: str = "all"
    ignore_case: bool = False

    @classmethod
    def from_spec(cls, spec: GraderSpec) -> Self:
        """Expected: a text or a list of texts, none of them empty. Options: mode, ignore_case."""
        options = read_options(spec, {"mode": "all", "ignore_case": False})
        if options["mode"] not in {"all", "any", "none"}:
            raise UsageError(f"'contains' has no mode {options['mode']!r}", hint="its modes are: all, any, none")
        texts = read_texts(spec)
        if not all(texts):
            raise UsageError("every output contains an empty text", hint="name what the output should contain")
        return cls(expected=texts, **options)

    async def grade(self, case: Case, output: str, *, budget: Budget) -> float | None:
        """Free; never None."""
        text = normal(output, ignore_case=self.ignore_case)
        found = [normal(part, ignore_case=self.ignore_case) in text for part in self.expected]
        if self.mode == "none":
            return float(not any(found))
        return float(all(found) if self.mode == "all" else any(found))
