"""`adopt`: a person's clarification becomes a rule with a trigger (the MemPrompt way); needs no model."""

from __future__ import annotations

from typing import ClassVar, Literal

from tokenspace.budget import Budget
from tokenspace.domain import Edit, Entry, Evidence, Kind, Origin, Put, Signal


class Adopt:
    """Feedback in words by a person → one rule in those words.

    It applies to the kind of request that the person named, or else to requests like the one that they
    commented on. Words of tools and web pages are never adopted: they are no instructions.
    """

    name: ClassVar[str] = "adopt@1"
    reach: ClassVar[Literal["one", "all"]] = "one"

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """One rule for each clarification; None if the feedback holds none."""
        ops, used = list[Put](), list[str]()
        for item in evidence.feedback:
            if item.signal is not Signal.TEXT or item.source < Origin.USER or not str(item.value).strip():
                continue
            trigger = item.trigger if item.trigger is not None else evidence.episodes[item.episode].request.query
            rule = Entry(kind=Kind.RULE, doc="rules", trigger=trigger or None, text=str(item.value).strip())
            ops.append(Put(entry=rule))
            used += [item.id, item.episode]
        return Edit(ops=tuple(ops), rationale="a clarification in words", evidence=tuple(used)) if ops else None
