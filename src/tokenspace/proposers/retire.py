"""`retire`: an example that came first and is contradicted by later neighbours is proposed for removal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from tokenspace.budget import Budget
from tokenspace.context import Contradiction, contradiction, taught, voters
from tokenspace.domain import Drop, Edit, Entry, Evidence
from tokenspace.protocols import Recall


class Retire:
    """Proposes to drop the one example of the scope's own layer that its neighbours contradict most clearly.

    The same rule as the gate's hold-back, so that nothing stays only because it came early. Needs no model.
    Looks only where answers come from a fixed set, and never twice at the same example: what was dropped and is
    here again was restored by a person.
    """

    name: ClassVar[str] = "retire@1"
    reach: ClassVar[Literal["one", "all"]] = "all"

    def __init__(self, recall: Recall, *, neighbours: int, outvoted: float) -> None:
        self._recall = recall
        self._neighbours = neighbours
        self._outvoted = outvoted

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """A Drop of one example, or None when no example that was not tried already is contradicted."""
        closed = {one.request.query: one.request.choices for one in evidence.episodes.values() if one.request.choices}
        before = (*evidence.rejected, *evidence.held, *evidence.accepted)
        tried = {op.id for attempt in before if attempt.edit for op in attempt.edit.ops if isinstance(op, Drop)}
        examples, vectors = taught(evidence), evidence.context.vectors
        vectors = {**vectors, **self._recall.index([one for one in examples if one.id not in vectors])}
        own = evidence.context.layers[-1].own
        open_ = [one for one in examples if one.id in own and one.id not in tried and one.trigger in closed]
        found = [(self._contradicted(one, voters(one, evidence), vectors), one) for one in open_]
        worst = max(((c.margin, one.id, c, one) for c, one in found if c), default=None)
        if worst is None:
            return None
        _, _, why, entry = worst
        cited = [
            id
            for item in evidence.feedback
            if evidence.episodes[item.episode].request.query == entry.trigger
            for id in (item.id, item.episode)
        ]
        return Edit(ops=(Drop(id=entry.id),), rationale=why.words, evidence=tuple(cited), read=(entry.id,))

    def _contradicted(self, entry: Entry, others: list[Entry], vectors: Mapping[str, bytes]) -> Contradiction | None:
        ranked = self._recall.rank(others, vectors, entry.trigger or entry.text)
        answers = {other.id: other.text for other in others}
        return contradiction(entry.text, ranked[: self._neighbours], answers, outvoted=self._outvoted)
