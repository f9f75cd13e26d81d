"""What the gate's tests have shown of each entry: the counts that its lift is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tokenspace.domain import Attempt, Drop, Entry, Patch, Put


class Tally(NamedTuple):
    """Pairs with and without an entry: how many it fixed, broke and left as they were."""

    fixes: int = 0
    breaks: int = 0
    ties: int = 0


def tally(attempts: Iterable[Attempt]) -> Mapping[str, Mapping[str, Tally]]:
    """The tests of every entry that was tested by replay, by entry id and model; the attempts come oldest first.

    A pair of a test in which an entry was put or patched counts for it, one in which it was dropped counts with the
    sign turned. An edit of several entries was tested as a whole, and what it did counts for each of them. The same
    change tried again on the same model continues its own test, so that only its newest verdict counts.
    """
    tests: dict[str, dict[str, dict[str, Tally]]] = {}
    for attempt in attempts:
        verdict = attempt.verdict
        if attempt.edit is None or not verdict.pairs or not verdict.cases:
            continue  # a verdict that names no case counts unchanged prompts, too
        found = Tally(verdict.fixes, verdict.breaks, max(0, verdict.pairs - verdict.fixes - verdict.breaks))
        for op in attempt.edit.ops:
            match op:
                case Put(entry=Entry(id=id)) | Patch(id=id):
                    shown = found
                case Drop(id=id):
                    shown = Tally(found.breaks, found.fixes, found.ties)
                case _:
                    continue  # what a Restore brings back was tested when it was put
            tests.setdefault(id, {}).setdefault(verdict.model, {})[attempt.edit_key or attempt.key] = shown
    return {id: {model: _sum(latest.values()) for model, latest in models.items()} for id, models in tests.items()}


def _sum(tallies: Iterable[Tally]) -> Tally:
    return Tally(*(sum(column) for column in zip(*tallies, strict=True)))
