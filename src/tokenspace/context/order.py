"""Which positions make entries stand in a wanted order, with as few of them changed as possible."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from tokenspace.domain import Entry

_GAP: Final = 10


def positions(doc: str, olds: Sequence[Entry | None]) -> list[int]:
    """A `pos` for each entry of a document, in the wanted order; None stands for a new one.

    The longest run of entries that are in order already (by `Entry.order`) keeps its positions; the others are
    placed between them. Only where no integer is left between two neighbours is the document numbered anew.
    """
    kept = _longest_rising([(old.pos, old.id) if old and old.doc == doc else None for old in olds])
    if not kept:
        return list(range(len(olds)))
    fixed = {i: old.pos for i in kept if (old := olds[i])}
    found = [fixed[kept[0]] - kept[0] + i for i in range(kept[0])]
    for here, following in zip(kept, [*kept[1:], len(olds)], strict=True):
        between = following - here - 1
        if between and following < len(olds) and fixed[following] - fixed[here] <= between:
            return [_GAP * (i + 1) for i in range(len(olds))]
        found += [fixed[here] + i for i in range(between + 1)]
    return found


def _longest_rising(keys: Sequence[tuple[int, str] | None]) -> list[int]:
    """Indices of a longest strictly rising subsequence, None left out (patience sorting, O(n log n))."""
    tops: list[tuple[int, str]] = []
    ends: list[int] = []
    before: dict[int, int] = {}
    for i, key in enumerate(keys):
        if key is None:
            continue
        pile = bisect_left(tops, key)
        tops[pile : pile + 1] = [key]
        ends[pile : pile + 1] = [i]
        before[i] = ends[pile - 1] if pile else -1
    chain = [ends[-1]] if ends else []
    while chain and before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return chain[::-1]
