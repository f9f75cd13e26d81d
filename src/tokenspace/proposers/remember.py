"""`remember`: what was verified becomes an example. The robust online baseline; needs no model."""

from __future__ import annotations

from typing import Final

from tokenspace.budget import Budget
from tokenspace.domain import Edit, Entry, Evidence, Feedback, Kind, Origin, Put, Signal
from tokenspace.protocols import Reach

_CORRECTED: Final = frozenset({Signal.CORRECTION, Signal.EDIT, Signal.DEMONSTRATION})


class Remember:
    """A verified success, or a correction with its corrected output → one example."""

    name: str = "remember@1"
    reach: Reach = "one"

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """One example for each piece of feedback that says what the right output is; None if none does."""
        ops, used, reasons = list[Put](), list[str](), list[str]()
        for item in evidence.feedback:
            output = _right_output(item, evidence)
            query = evidence.episodes[item.episode].request.query
            if output is None or not query.strip() or not output.strip():
                continue
            ops.append(Put(entry=Entry(kind=Kind.EXAMPLE, doc="examples", trigger=query, text=output)))
            used += [item.id, item.episode]
            reasons.append(item.comment or f"{item.signal} by {item.principal}")
        return Edit(ops=tuple(ops), rationale="; ".join(reasons), evidence=tuple(used)) if ops else None


def _right_output(item: Feedback, evidence: Evidence) -> str | None:
    if item.signal in _CORRECTED and isinstance(item.value, str):
        return item.value.strip() if evidence.episodes[item.episode].request.choices else item.value
    if item.source is Origin.AGENT:
        return None  # an agent's own output is never evidence for itself
    confirmed = item.signal is Signal.LABEL and item.value is True
    perfect = item.signal is Signal.SCORE and not isinstance(item.value, str) and float(item.value) >= 1.0
    return evidence.episodes[item.episode].output if confirmed or perfect else None
