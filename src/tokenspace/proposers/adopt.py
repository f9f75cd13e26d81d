"""`adopt`: a person's clarification becomes a rule with a trigger (the MemPrompt way); needs no model."""

from __future__ import annotations

from tokenspace.budget import Budget
from tokenspace.domain import Edit, Entry, Evidence, Kind, Origin, Put, Signal
from tokenspace.proposers.fact import states_fact
from tokenspace.protocols import Reach


class Adopt:
    """Feedback in words by a person → one rule in those words.

    It applies to the kind of request that the person named, or else to requests like the one that they
    commented on. Words of tools and web pages are never adopted: they are no instructions. What `Fact` has made a
    fact of, and with `facts` (it is in use) whatever it reads without a model, is left to it.
    """

    name: str = "adopt@1"
    reach: Reach = "one"

    def __init__(self, *, facts: bool = False) -> None:
        self._facts = facts

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """One rule for each clarification; None if the feedback holds none."""
        ops, used, facts = list[Put](), list[str](), _made_facts(evidence)
        for item in evidence.feedback:
            if item.signal is not Signal.TEXT or item.source < Origin.USER or not str(item.value).strip():
                continue
            if item.id in facts or (self._facts and states_fact(str(item.value), evidence.scope)):
                continue
            trigger = item.trigger if item.trigger is not None else evidence.episodes[item.episode].request.query
            rule = Entry(kind=Kind.RULE, doc="rules", trigger=trigger or None, text=str(item.value).strip())
            ops.append(Put(entry=rule))
            used += [item.id, item.episode]
        return Edit(ops=tuple(ops), rationale="a clarification in words", evidence=tuple(used)) if ops else None


def _made_facts(evidence: Evidence) -> frozenset[str]:
    """Feedback that facts were made of, or may still be."""
    tried = evidence.tried("accept", "defer")
    return frozenset(
        id for one in tried if one.proposer.startswith("fact@") and one.edit is not None for id in one.edit.evidence
    )
