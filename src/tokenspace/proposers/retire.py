"""`retire`: what later neighbours contradict, and what was measured to be of no lift, is proposed for removal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from tokenspace.budget import Budget
from tokenspace.context import Contradiction, Voting, discredited, sayers_in, tally, taught, voters
from tokenspace.domain import Attempt, Drop, Edit, Entry, Evidence, Put
from tokenspace.protocols import Reach, Recall
from tokenspace.stats import Lift


class Retire:
    """Proposes to drop one entry of the scope's own layer: the example that its neighbours contradict most clearly.

    The same rule as the gate's hold-back, so that nothing stays only because it came early. It looks only where
    answers come from a fixed set. After those come the examples of a discredited teacher. If there is no such example,
    it is the entry whose lift is credibly none: measured by the gate's own pairs on some model, and helpful on no
    other. Needs no model, and never looks twice at the same entry: what was dropped and is here again was restored by
    a person.
    """

    name: str = "retire@2"
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
        self._seen: tuple[object, list[str]] | None = None

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """A Drop of one entry, or None when none that was not tried already is contradicted or without lift."""
        before = evidence.tried()
        tried = {op.id for attempt in before if attempt.edit for op in attempt.edit.ops if isinstance(op, Drop)}
        return self._contradictory(evidence, before, tried) or _without_lift(evidence, before, tried)

    def _contradictory(self, evidence: Evidence, attempts: Sequence[Attempt], tried: Collection[str]) -> Edit | None:
        closed = {one.request.query: one.request.choices for one in evidence.episodes.values() if one.request.choices}
        examples, vectors = taught(evidence), evidence.context.vectors
        vectors = {**vectors, **self._recall.index([one for one in examples if one.id not in vectors])}
        own = evidence.context.layers[-1].own
        open_ = [one for one in examples if one.id in own and one.id not in tried and one.trigger in closed]
        voting = replace(self._voting, said_by=sayers_in(evidence))
        voting = replace(voting, discredited=discredited(attempts, evidence.context, voting))
        look = partial(self._contradicted, evidence=evidence, vectors=vectors, voting=voting)
        against = self._worst(evidence, {one.id: one for one in open_}, look)
        against = against or [(0.0, one.id, words, one) for one in open_ if (words := voting.distrust(one))]
        if not against:
            return None
        _, _, words, entry = max(against, key=lambda one: one[:2])
        cited = [
            id
            for item in evidence.feedback
            # What others say about the same message is no reason to judge its removal more strictly.
            if evidence.episodes[item.episode].request.query == entry.trigger and voting.may_teach(item.principal)
            for id in (item.id, item.episode)
        ]
        return Edit(ops=(Drop(id=entry.id),), rationale=words, evidence=tuple(cited), read=(entry.id,))

    def _worst(
        self, evidence: Evidence, open_: Mapping[str, Entry], look: Callable[[Entry], Contradiction | None]
    ) -> list[tuple[float, str, str, Entry]]:
        """The example that is contradicted most clearly, in a list of one; empty if none is.

        All are looked at once for the same feedback. One sleep removes one after the other, and a removal can only
        take votes away: then those that were contradicted are looked at again, and no others.
        """
        ids = [item.id for item in evidence.feedback]
        about = (evidence.scope, len(ids), ids[-1] if ids else "")
        if self._seen is None or self._seen[0] != about:
            found = {id: c.margin for id, one in open_.items() if (c := look(one))}
            self._seen = (about, [id for _, id in sorted(((found[id], id) for id in found), reverse=True)])
        for id in self._seen[1]:
            if id in open_ and (c := look(open_[id])):
                return [(c.margin, id, c.words, open_[id])]
        return []

    def _contradicted(
        self, entry: Entry, *, evidence: Evidence, vectors: Mapping[str, bytes], voting: Voting
    ) -> Contradiction | None:
        others = voters(entry, evidence)
        ranked = self._recall.rank(others, vectors, entry.trigger or entry.text)
        return voting.against(entry, others, ranked)


def _without_lift(evidence: Evidence, attempts: Sequence[Attempt], tried: Collection[str]) -> Edit | None:
    """A Drop of the own entry that is credibly without lift on some model and helps on none; the clearest one."""
    own, found = evidence.context.layers[-1].own, list[tuple[float, str, str]]()
    for id, models in tally(attempts).items():
        lifts = {model: Lift(**counts._asdict()) for model, counts in models.items()}
        useless = {model: lift for model, lift in lifts.items() if lift.useless}
        helps = any(lift.probability > 0.5 for lift in lifts.values())
        if id in own and id not in tried and useless and not helps:
            model = min(useless, key=lambda name: (useless[name].probability, name))
            found.append((useless[model].probability, id, f"no lift: {useless[model].words} on {model}"))
    if not found:
        return None
    _, id, words = min(found)
    tested = dict.fromkeys(case for one in attempts if _puts(one, id) for case in one.verdict.cases)
    # The cases that showed it are read, so that others must show that nothing is lost (I7).
    return Edit(ops=(Drop(id=id),), rationale=words, read=(id, *tested))


def _puts(attempt: Attempt, id: str) -> bool:
    return any(isinstance(op, Put) and op.entry.id == id for op in (attempt.edit.ops if attempt.edit else ()))
