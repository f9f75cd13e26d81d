"""`rename`: where a thing got another name, the examples that still give the old one are changed to the new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from tokenspace.budget import Budget
from tokenspace.context import Voting
from tokenspace.context.renamed import LOOKED_AT, Renaming, lessons, outdated, renamings
from tokenspace.domain import Edit, Entry, Evidence, Patch, Ranked
from tokenspace.protocols import Reach, Recall


class Rename:
    """Proposes to change the answer of all examples of one kind, when what is said about it changed and stays changed.

    It looks only where answers come from a fixed set, and at the scope's own layer. The edit cites the lessons that
    show the change. What a person took back stays as it is. Needs no model.
    """

    name: str = "rename@1"
    reach: Reach = "all"

    def __init__(
        self,
        recall: Recall,
        *,
        neighbours: int,
        outvoted: float,
        teachers: frozenset[str] | None = None,
        trusted: frozenset[str] = frozenset(),
    ) -> None:
        self._recall = recall
        self._voting = Voting(neighbours=neighbours, outvoted=outvoted, teachers=teachers, trusted=trusted)

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """Patches of one kind's examples, or None."""
        own = [entry for entry in evidence.context.entries if entry.id in evidence.context.layers[-1].own]
        told = lessons(evidence, self._voting)
        vectors = self._recall.index([one.entry for one in told[-LOOKED_AT:]])
        for change in renamings(told, own, partial(self._nearest, vectors=vectors), self._voting):
            old = _still_to_change(change, outdated(change, told, own), evidence)
            if old:
                words = f"what was {change.old!r} is now {change.new!r}: said {len(change.told)} times since"
                cited = tuple(id for one in change.told for id in (one.feedback, one.episode))
                changes = {"text": change.new, "valid_from": change.since}
                patches = tuple(Patch(id=one.id, changes=changes) for one in old)
                return Edit(ops=patches, rationale=words, evidence=cited, read=tuple(one.id for one in old))
        return None

    def _nearest(self, entry: Entry, known: Sequence[Entry], *, vectors: Mapping[str, bytes]) -> Sequence[Ranked]:
        return self._recall.rank(known, vectors, entry.trigger or "")


def _still_to_change(change: Renaming, old: Sequence[Entry], evidence: Evidence) -> list[Entry]:
    """Those of the examples with the old name that did not have the new one already and were given back the old one."""
    had = {
        op.id: op.changes["valid_from"]
        for attempt in (evidence.tried("accept") if old else ())
        if attempt.edit and attempt.proposer.startswith("rename@")
        for op in attempt.edit.ops
        if isinstance(op, Patch) and op.changes.get("text") == change.new
    }
    return [one for one in old if one.id not in had or (one.valid_from is not None and one.valid_from > had[one.id])]
