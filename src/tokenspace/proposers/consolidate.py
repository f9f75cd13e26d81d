"""`consolidate`: merge, shorten, narrow, resolve, retire; one small edit at a time, each judged by the gate.

Without a model: what can never be shown again goes, what is said twice is said once, and of two rules that contradict
each other the weaker one is first made narrower, and dropped only if that was rejected. With one, rules for the same
requests are put into fewer words. Raw episodes are never touched, and every edit names the entries that it takes away
and all that they were made from, so that each source can be followed to what stands now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tokenspace.budget import Budget
from tokenspace.context import Conflict, contradictions, duplicates, edit_key, in_force, outlived, validate
from tokenspace.context.facts import folded, words_of
from tokenspace.domain import Context, Drop, Edit, Entry, Evidence, Kind, Patch, Put, Status
from tokenspace.errors import InvalidEdit
from tokenspace.proposers.asking import Asker, wording
from tokenspace.proposers.expire import ended_beliefs
from tokenspace.protocols import Reach, Recall, Store

MOST: Final = 4
"""So many notes are joined at most in one edit."""

_WORDY: Final = 0.9
"""A joined text that is not shorter than this share of its sources is not worth judging."""

_ASKED: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


class Consolidate:
    """Proposes the first edit, in the order of the list above, that was not tried before in this scope.

    It works on the scope's own layer. `store` tells what an entry was made from. What a person restores after it was
    dropped, or what a gate held back, is not proposed again.
    """

    reach: Reach = "all"

    def __init__(
        self, recall: Recall, *, store: Store, clock: Callable[[], datetime], asker: Asker | None = None
    ) -> None:
        self._recall, self._store, self._clock, self._asker = recall, store, clock, asker
        self._found: tuple[object, Sequence[Conflict]] | None = None

    @property
    def name(self) -> str:
        """With the day: what has ended changes with time alone, and an attempt of another day is another one."""
        cited = wording("consolidate@1").cited if self._asker else "consolidate@1"
        return f"{cited}/{self._clock():%Y-%m-%d}"

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """One edit; None if there is nothing left to do. Raises `InvalidEdit` if all that a model made is unusable."""
        now = self._clock()
        blame = self._store.blame(evidence.scope, evidence.context.heads)
        sources = {id: one.sources for id, one in blame.items()}
        done = {one.edit_key for one in evidence.tried()}
        refused = {one.edit_key for one in evidence.tried("reject")}
        for edit in self._plain(evidence, sources, refused, now):
            if edit_key(edit) not in done:
                return edit
        return await self._joined(evidence, sources, now, done, budget) if self._asker else None

    def _plain(
        self, evidence: Evidence, sources: Mapping[str, Sequence[str]], refused: set[str], now: datetime
    ) -> Iterator[Edit]:
        """What needs no model, in its order."""
        own = evidence.context.layers[-1].own
        waiting = self._waiting(evidence, now)
        # what a person retired stays as it is
        kept = {id for id, one in own.items() if one.status is not Status.RETIRED} - waiting
        gone = {id: why for id, why in outlived(evidence.context, now).items() if id in kept}
        for id, why in sorted(gone.items()):
            winner = why.removeprefix("superseded by ")
            read = (id, *((winner,) if winner in evidence.context.by_id else ()), *sources.get(id, ()))
            yield Edit(ops=(Drop(id=id),), rationale=why, read=read)
        for first, spare in duplicates(evidence.context, now):
            if first.id in own and spare.id in own and first.id not in gone and spare.id not in gone:
                yield _merged(first, spare, sources)
        for conflict in self._conflicts(evidence.context, now):
            if conflict.loser.kind is Kind.RULE and conflict.loser.id in own:
                yield from _resolved(conflict.loser, conflict.winner, evidence, sources, refused)

    def _conflicts(self, context: Context, now: datetime) -> Sequence[Conflict]:
        """What contradicts what, looked for once for the same entries in force: each turn of a sleep asks."""
        about = (context.scope, context.heads, [one for one in context.entries if in_force(one, now)])
        if self._found is None or self._found[0] != about:
            self._found = (about, contradictions(context, now, recall=self._recall))
        return self._found[1]

    def _waiting(self, evidence: Evidence, now: datetime) -> frozenset[str]:
        """Ended beliefs that have not been tested again yet."""
        tried = evidence.tried("reject", "defer")
        tested = {
            op.id for one in tried if one.proposer.startswith("expire@") and one.edit for op in _patches(one.edit)
        }
        return frozenset(one.id for one in ended_beliefs(evidence, self._store, now) if one.id not in tested)

    async def _joined(
        self, evidence: Evidence, sources: Mapping[str, Sequence[str]], now: datetime, done: set[str], budget: Budget
    ) -> Edit | None:
        """Rules for the same requests in fewer words, as a model puts them; None if no group can be joined.

        An answer that cannot be used is remembered and comes again every day: the other groups do not wait for it.
        """
        problem: InvalidEdit | None = None
        for group in _groups(evidence, now):
            try:
                edit = await self._one_for(group, evidence, sources, budget)
            except InvalidEdit as error:
                problem = problem or error
                continue
            if edit is not None and edit_key(edit) not in done:
                return edit
        if problem is not None:
            raise problem
        return None

    async def _one_for(
        self, group: Sequence[Entry], evidence: Evidence, sources: Mapping[str, Sequence[str]], budget: Budget
    ) -> Edit | None:
        """One text in the place of a group's; None if it is not shorter."""
        assert self._asker is not None, "only asked where there is a model"
        first, ids = group[0], tuple(one.id for one in group)
        told = {"when": first.trigger or "always", "notes": [one.text for one in group]}
        answer = await self._asker.ask(evidence.scope, wording("consolidate@1"), told, _ASKED, budget=budget)
        text = str(answer["text"]).strip()
        if not text or len(text) > _WORDY * sum(len(one.text) for one in group):
            return None
        entry = Entry(kind=first.kind, doc=first.doc, trigger=first.trigger, text=text, pos=first.pos)
        edit = Edit(
            ops=(Put(entry=entry), *(Drop(id=id) for id in ids)),
            rationale=f"one note for {len(ids)}",
            evidence=_all(ids, sources),
            read=ids,
        )
        validate(edit)
        return edit


def _merged(kept: Entry, spare: Entry, sources: Mapping[str, Sequence[str]]) -> Edit:
    """The spare one leaves, and the one that is kept says so and cites what both were made from."""
    return Edit(
        ops=(Patch(id=kept.id, changes={"supersedes": spare.id}), Drop(id=spare.id)),
        rationale="both say the same",
        evidence=_all((kept.id, spare.id), sources),
        read=(kept.id, spare.id),
    )


def _resolved(
    loser: Entry, winner: Entry, evidence: Evidence, sources: Mapping[str, Sequence[str]], refused: set[str]
) -> Iterator[Edit]:
    """First a narrower trigger for the weaker rule; its removal only where that was rejected.

    The narrower trigger is the request that the rule came from. One that has no such request, or came from the very
    words of its trigger, cannot be narrowed without a guess, and a person decides.
    """
    read = (loser.id, winner.id)
    why = f"it contradicts {winner.id}"
    asked = [evidence.episodes[id].request.query for id in sources.get(loser.id, ()) if id in evidence.episodes]
    for query in asked:
        if words_of(loser.trigger or "") < words_of(query) and not words_of(query) <= words_of(winner.trigger or ""):
            narrow = Edit(
                ops=(Patch(id=loser.id, changes={"trigger": query}),),
                rationale=f"narrower, because {why}",
                evidence=_all((loser.id,), sources),
                read=read,
            )
            yield narrow
            if edit_key(narrow) not in refused:
                return
            yield Edit(ops=(Drop(id=loser.id),), rationale=why, read=(*read, *sources.get(loser.id, ())))
            return


def _groups(evidence: Evidence, now: datetime) -> Iterator[list[Entry]]:
    """Own active rules and tool notes of one trigger and place, two to `MOST` at a time.

    What they are joined to has the lowest origin of all feedback of the scope: where that is lower than theirs, the
    new text could not take their place, and no call is spent on it.
    """
    lowest = min((item.source for item in evidence.feedback), default=None)
    alike: defaultdict[tuple[Kind, str, str], list[Entry]] = defaultdict(list)
    for entry in sorted(evidence.context.layers[-1].own.values(), key=lambda one: one.order):
        usable = entry.kind in (Kind.RULE, Kind.TOOL_NOTE) and entry.status is Status.ACTIVE and not entry.valid_until
        if usable and in_force(entry, now) and lowest is not None and lowest >= entry.origin:
            alike[entry.kind, entry.doc, folded(entry.trigger or "")].append(entry)
    for some in alike.values():
        for at in range(0, len(some), MOST):
            if len(some[at : at + MOST]) > 1:
                yield some[at : at + MOST]


def _all(ids: Sequence[str], sources: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What these entries were made from, once each, in order."""
    return tuple(dict.fromkeys(source for id in ids for source in sources.get(id, ())))


def _patches(edit: Edit) -> Iterator[Patch]:
    return (op for op in edit.ops if isinstance(op, Patch))
