"""Lift: what an entry does to the cases that it affects, as a posterior from the gate's own pairs.

Of n pairs, replayed with and without an entry, b were fixed by it, c broken, and t stayed as they were. With a flat
prior on the three shares, their posterior is Dirichlet(b + 1, c + 1, t + 1), which is two independent parts: the share
of pairs that differ, δ ~ Beta(b + c + 2, t + 1), and the share of fixes among those, θ ~ Beta(b + 1, c + 1). The lift
is P(fix) − P(break) = δ(2θ − 1): by how much the entry raises the share of right answers *among the requests whose
prompt it changes*. Its sign is that of θ − ½, so that P(lift > 0) is a tail of a binomial distribution, exactly.

Scores between 0 and 1 count by the sign of their difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tokenspace.stats.intervals import Interval

NO_LIFT: Final = 0.05
"""An entry whose probability of any lift is below this is credibly of none."""

_GRID, _SPREADS = 100, 6.0


@dataclass(frozen=True, kw_only=True)
class Lift:
    """How often an entry fixed, broke and left alone what it affects.

    >>> lift = Lift(fixes=6, ties=2)
    >>> round(lift.mean, 2), round(lift.probability, 3), lift.words
    (0.55, 0.992, '+.55 (+.12 … +.85) in 8 pairs')
    """

    fixes: int = 0
    breaks: int = 0
    ties: int = 0

    def __add__(self, other: Lift) -> Lift:
        return Lift(fixes=self.fixes + other.fixes, breaks=self.breaks + other.breaks, ties=self.ties + other.ties)

    @property
    def pairs(self) -> int:
        """How many pairs it was seen in; 0 is *unverified*, whatever the flat prior says."""
        return self.fixes + self.breaks + self.ties

    @property
    def mean(self) -> float:
        """Posterior mean, in (−1, 1): (b − c) / (n + 3)."""
        return (self.fixes - self.breaks) / (self.pairs + 3)

    @property
    def probability(self) -> float:
        """P(lift > 0) = P(Binomial(b + c + 1, ½) ≤ b), exactly; ½ where no pair differs.

        >>> Lift(fixes=3).probability, Lift(fixes=1, breaks=1).probability
        (0.9375, 0.5)
        """
        draws = self.fixes + self.breaks + 1
        return sum(math.comb(draws, k) for k in range(self.fixes + 1)) / 2**draws

    @property
    def useless(self) -> bool:
        """Whether it is credibly of no lift, so that it should be retired."""
        return self.probability < NO_LIFT

    @cached_property
    def interval(self) -> Interval:
        """The central 95 % of the posterior, to within .01, by quadrature over δ and θ."""
        differs = _beta(self.fixes + self.breaks + 2, self.ties + 1)
        fixed = _beta(self.fixes + 1, self.breaks + 1)
        points = sorted((x * (2 * y - 1), p * q) for x, p in differs for y, q in fixed)
        total, low, high, seen = math.fsum(p for _, p in points), math.nan, math.nan, 0.0
        for value, weight in points:
            seen += weight / total
            if math.isnan(low) and seen >= 0.025:
                low = value
            if seen >= 0.975:
                high = value
                break
        return Interval(low, high)

    @property
    def words(self) -> str:
        """The lift for a line of text; "unverified" without a pair."""
        if not self.pairs:
            return "unverified"
        low, high = self.interval
        return f"{_signed(self.mean)} ({_signed(low)} … {_signed(high)}) in {self.pairs} pair{'s'[: self.pairs != 1]}"


def _beta(a: int, b: int) -> list[tuple[float, float]]:
    """Points with weights, not normalised, that stand for Beta(a, b): evenly spaced where its mass is."""
    mean = a / (a + b)
    spread = _SPREADS * math.sqrt(mean * (1 - mean) / (a + b + 1))
    low, high = max(0.0, mean - spread), min(1.0, mean + spread)
    points = [low + (high - low) * (i + 0.5) / _GRID for i in range(_GRID)]
    logs = [(a - 1) * math.log(x) + (b - 1) * math.log1p(-x) for x in points]
    top = max(logs)
    return [(x, math.exp(log - top)) for x, log in zip(points, logs, strict=True)]


def _signed(value: float) -> str:
    """A share with its sign and two digits, such as +.21."""
    digits = f"{abs(value):.2f}".removeprefix("0")
    return f"{'−' if value < 0 and float(digits) else '+'}{digits}"
