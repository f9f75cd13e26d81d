"""Scores of two contexts on the same cases, and what may be concluded where a measurement is missing.

A wrong answer is a low score. A failed measurement is None, and the two arms treat it differently on purpose: an
incumbent that timed out must not make the candidate look better, so the pair is left out; a candidate that timed out
must not gain from it, so it scores 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tokenspace.errors import UsageError

MAX_MISSING_SHARE: Final = 0.10
"""Above this share of pairs with a missing measurement, nothing can be concluded: defer."""


def _measured(score: float | None) -> float | None:
    if score is None or math.isnan(score):
        return None
    if not 0 <= score <= 1:
        raise UsageError(f"{score} is not a score", hint="a score lies between 0 and 1; None says it is missing")
    return score


def _mean(values: Sequence[float], *, minus: float = 0.0) -> float:
    # rounded far below any effect, so that equal scores over 3 and over 20 runs are a tie
    return round(math.fsum(values) / len(values) - minus, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One case under both contexts: the scores of its first draws, in [0, 1], or None (or NaN) where missing.

    >>> Pair(case="a", cluster="a", incumbent=(0.0,), candidate=(1.0,)).difference
    1.0
    >>> Pair(case="a", cluster="a", incumbent=(1.0, None), candidate=(1.0, None)).difference
    -0.5
    """

    case: str
    cluster: str
    incumbent: Sequence[float | None]
    candidate: Sequence[float | None]

    @property
    def missing(self) -> bool:
        """Whether any measurement failed, or was never made."""
        scores = (*self.incumbent, *self.candidate)
        return not self.incumbent or not self.candidate or any(_measured(score) is None for score in scores)

    @property
    def difference(self) -> float | None:
        """D = mean score of the candidate − mean score of the incumbent, in [−1, 1]; None without an incumbent."""
        old = [score for run in self.incumbent if (score := _measured(run)) is not None]
        if not old:
            return None
        new = [_measured(run) or 0.0 for run in self.candidate] or [0.0]
        return _mean(new, minus=math.fsum(old) / len(old))


@dataclass(frozen=True, kw_only=True)
class PairedOutcomes:
    """All pairs of one edit. A cluster of near copies counts once: the mean of the differences of its cases.

    >>> outcomes = PairedOutcomes(pairs=(
    ...     Pair(case="a", cluster="x", incumbent=(0.0,), candidate=(1.0,)),
    ...     Pair(case="b", cluster="x", incumbent=(1.0,), candidate=(1.0,)),
    ...     Pair(case="c", cluster="y", incumbent=(1.0,), candidate=(0.0,)),
    ... ))
    >>> dict(outcomes.differences), outcomes.fixes, outcomes.breaks
    ({'x': 0.5, 'y': -1.0}, 1, 1)
    """

    pairs: Sequence[Pair] = ()

    @cached_property
    def differences(self) -> Mapping[str, float]:
        """D by cluster, in the order in which clusters first came; those without an incumbent score are left out."""
        members: dict[str, list[float]] = {}
        for pair in self.pairs:
            if (difference := pair.difference) is not None:
                members.setdefault(pair.cluster, []).append(difference)
        return {cluster: _mean(found) for cluster, found in members.items()}

    @property
    def fixes(self) -> int:
        """Clusters on which the candidate scored higher."""
        return sum(difference > 0 for difference in self.differences.values())

    @property
    def breaks(self) -> int:
        """Clusters on which the candidate scored lower."""
        return sum(difference < 0 for difference in self.differences.values())

    @property
    def ties(self) -> int:
        """Clusters on which both scored the same."""
        return sum(difference == 0 for difference in self.differences.values())

    @property
    def missing_share(self) -> float:
        """Share of pairs with a missing measurement in either arm; 0 where there are no pairs."""
        return sum(pair.missing for pair in self.pairs) / max(len(self.pairs), 1)

    @property
    def must_defer(self) -> bool:
        """Whether too much is missing to conclude anything."""
        return self.missing_share > MAX_MISSING_SHARE
