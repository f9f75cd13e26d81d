"""Sequential evidence about paired differences, by betting.

Somebody who believes that the mean of X is above 0 bets a fraction λ of their wealth on every X ≥ −1, and owns
Π(1 + λX) afterwards. If the mean of X is ≤ 0, whatever came before, that wealth is a non-negative supermartingale:
the chance that it *ever* reaches 1/α is ≤ α, however often one looks (Ville 1939). The mean over several λ is one
too, and so needs no choice of λ after the fact. All four tests of the gate are this one bet, on another X:

=================  ================  ===============================  ==========================
evidence           X                 grows when                       hypothesis bet against
=================  ================  ===============================  ==========================
benefit            D                 the candidate is better          mean of D ≤ 0
harm               −D                the candidate is worse           mean of D ≥ 0
futility           (δ − D)/(1 − δ)   it is not better by δ            mean of D ≥ δ
non-inferiority    (D + ε)/(1 − ε)   it is not worse by ε             mean of D ≤ −ε
=================  ================  ===============================  ==========================

D ∈ [−1, 1] is score(candidate) − score(incumbent) on one case cluster. For scores of 0 and 1, (2θ)^fixes ·
(2(1 − θ))^breaks is the bet with λ = 2θ − 1. All sums are over logarithms.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from tokenspace.errors import BadData, UsageError

BINARY_BETS: Final = (0.2, 0.4, 0.6, 0.8, 0.94)
"""2θ − 1 for θ in .6, .7, .8, .9, .97: the share of fixes among discordant pairs that each λ bets on."""

GRADED_BETS: Final = (0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""For scores between 0 and 1, for the mean of several runs, and for the two tests with a margin."""

Finding = Literal["accept", "harm", "futile", "continue"]


def log_e(counts: Iterable[tuple[float, int]], bets: tuple[float, ...]) -> float:
    """Natural logarithm of the mean over λ in `bets` of Π(1 + λx)^n, for the (x, n) in `counts`.

    Every x is ≥ −1 and every λ in (0, 1). The order of `counts` does not change a bit of the result.

    >>> round(math.exp(log_e([(1.0, 6)], BINARY_BETS)), 2)
    22.92
    """
    seen = tuple(counts)
    return log_mean([math.fsum(n * math.log1p(bet * x) for x, n in seen) for bet in bets])


def log_mean(logs: Sequence[float]) -> float:
    """Natural logarithm of the mean of the numbers whose logarithms these are, without overflow; at least one.

    >>> round(log_mean([1000.0, 1000.0]), 9)
    1000.0
    """
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


def e_value(log: float) -> float:
    """The number itself, which stays at the largest float where it would overflow, so that it is valid JSON.

    >>> e_value(0.0), e_value(1e6) == sys.float_info.max
    (1.0, True)
    """
    return math.exp(log) if log < math.log(sys.float_info.max) else sys.float_info.max


def _check_share(what: str, value: float) -> None:
    if not 0 < value < 1:
        raise UsageError(f"{what} is {value}, not between 0 and 1", hint=f"{what} is a share, such as 0.05")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialTest:
    """Evidence so far from the differences of one edit, one per case cluster; `update` returns the next state.

    `graded` must be chosen before the first difference: it selects the bets for benefit and harm, and a choice
    that looks at the data is not a martingale. `delta_min` is the least effect of interest. `counts` holds how
    often each difference came, sorted: the state is a multiset, so order of arrival and rounding cannot change a
    verdict, and it goes to plain numbers and back (`to_json`, `from_json`) without loss.

    >>> test = SequentialTest()
    >>> for difference in (1, 1, 0, 1, 1, 1):
    ...     test = test.update(difference)
    >>> test.fixes, test.ties, test.decide(), test.update(1).decide()
    (5, 1, 'continue', 'accept')
    """

    graded: bool = False
    delta_min: float = 0.10
    counts: tuple[tuple[float, int], ...] = ()

    def __post_init__(self) -> None:
        _check_share("delta_min", self.delta_min)

    @classmethod
    def of_counts(cls, fixes: int, breaks: int, *, ties: int = 0, delta_min: float = 0.10) -> SequentialTest:
        """The state after so many fixes, breaks and ties of scores that are 0 or 1.

        >>> SequentialTest.of_counts(14, 3).decide()
        'accept'
        """
        test = cls(delta_min=delta_min)
        for difference, times in ((1.0, fixes), (-1.0, breaks), (0.0, ties)):
            test = test.update(difference, times)
        return test

    def update(self, difference: float, times: int = 1) -> SequentialTest:
        """The state after one more difference in [−1, 1] (or `times` of them); a missing one must not come here.

        Raises `UsageError` for anything else, NaN included.
        """
        if not -1 <= difference <= 1 or times < 0:
            raise UsageError(
                f"a difference of {difference} cannot enter a test {times} times",
                hint="scores lie between 0 and 1; leave out a pair that could not be measured",
            )
        if not times:
            return self
        counts = dict(self.counts)
        # `+ 0.0` turns −0.0 into 0.0 and an integer into a float: one key for one value
        counts[difference + 0.0] = counts.get(difference + 0.0, 0) + times
        return replace(self, counts=tuple(sorted(counts.items())))

    @property
    def pairs(self) -> int:
        """How many case clusters entered."""
        return sum(n for _, n in self.counts)

    @property
    def fixes(self) -> int:
        """On how many the candidate scored higher."""
        return sum(n for d, n in self.counts if d > 0)

    @property
    def breaks(self) -> int:
        """On how many the candidate scored lower."""
        return sum(n for d, n in self.counts if d < 0)

    @property
    def ties(self) -> int:
        """On how many both scored the same."""
        return sum(n for d, n in self.counts if d == 0)

    @property
    def mean(self) -> float:
        """Mean difference; 0 before the first pair."""
        return math.fsum(d * n for d, n in self.counts) / max(self.pairs, 1)

    @property
    def e_benefit(self) -> float:
        """E⁺, against "the edit does not help". Ties leave it as it is."""
        return e_value(self._log(lambda d: d))

    @property
    def e_harm(self) -> float:
        """E⁺ of −D, against "the edit does not harm"."""
        return e_value(self._log(lambda d: -d))

    @property
    def e_futility(self) -> float:
        """F, against "the edit helps by at least `delta_min`". Ties raise it."""
        return e_value(self._log_futility())

    def e_noninferior(self, margin: float) -> float:
        """G, against "the edit costs `margin` or more". Ties raise it, slowly.

        >>> SequentialTest.of_counts(0, 0, ties=93).e_noninferior(0.05) >= 20
        True
        """
        return e_value(self._log_noninferior(margin))

    def noninferior(self, margin: float, *, alpha: float = 0.05) -> bool:
        """Whether "the edit costs `margin` or more" is rejected at level `alpha`."""
        _check_share("alpha", alpha)
        return self._log_noninferior(margin) >= -math.log(alpha)

    def harmful(self, *, alpha: float = 0.05) -> bool:
        """Whether "the edit does not harm" is rejected at level `alpha`: the question to ask on a guard set.

        >>> SequentialTest.of_counts(0, 6, ties=80).harmful()
        True
        """
        _check_share("alpha", alpha)
        return self._log(lambda d: -d) >= -math.log(alpha)

    def decide(self, *, alpha: float = 0.05, beta: float | None = 0.20, cap: float = 200) -> Finding:
        """What the evidence says now: E⁺ ≥ 1/α accepts, harm ≥ 1/α harms, F ≥ 1/β or `cap` pairs end it as futile.

        With a `beta` of None a small effect is never given up, and only the cap ends what is neither.

        Ask after every pair. Benefit and harm cannot both be found: as log(1 + λD) ≤ λD, one needs a positive mean
        difference and the other a negative one. Pair by pair a harmful edit mostly ends as futile, which takes less
        evidence. At the cap, `e_futility` < 1/β tells "not shown in time" from "shown to be too small".
        """
        _check_share("alpha", alpha)
        if beta is not None:
            _check_share("beta", beta)
        if self._log(lambda d: d) >= -math.log(alpha):
            return "accept"
        if self.harmful(alpha=alpha):
            return "harm"
        given_up = beta is not None and self._log_futility() >= -math.log(beta)
        return "futile" if given_up or self.pairs >= cap else "continue"

    def to_json(self) -> dict[str, Any]:
        """The state as plain numbers.

        >>> SequentialTest.of_counts(2, 1).to_json()
        {'graded': False, 'delta_min': 0.1, 'counts': [[-1.0, 1], [1.0, 2]]}
        """
        return {"graded": self.graded, "delta_min": self.delta_min, "counts": [list(pair) for pair in self.counts]}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> SequentialTest:
        """The state that `to_json` wrote, to go on from. Raises `BadData` if it is no such state."""
        try:
            test = cls(graded=bool(state["graded"]), delta_min=float(state["delta_min"]))
            for difference, times in state["counts"]:
                test = test.update(float(difference), int(times))
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise BadData(f"this is not the state of a test: {error}", hint="begin the test anew") from error
        return test

    def _log(self, gain: Callable[[float], float], bets: tuple[float, ...] = ()) -> float:
        bets = bets or (GRADED_BETS if self.graded else BINARY_BETS)
        return log_e(((gain(d), n) for d, n in self.counts), bets)

    def _log_futility(self) -> float:
        delta = self.delta_min
        return self._log(lambda d: (delta - d) / (1 - delta), GRADED_BETS)

    def _log_noninferior(self, margin: float) -> float:
        _check_share("margin", margin)
        return self._log(lambda d: (d + margin) / (1 - margin), GRADED_BETS)


def fixes_needed(breaks: int = 0, *, alpha: float = 0.05) -> int:
    """The fewest fixes that accept at level `alpha` with so many breaks, for scores of 0 and 1.

    >>> [fixes_needed(breaks) for breaks in range(5)], fixes_needed(alpha=0.2)
    ([6, 9, 12, 14, 16], 4)
    """
    fixes = 0
    while SequentialTest.of_counts(fixes, breaks).decide(alpha=alpha, cap=math.inf) != "accept":
        fixes += 1
    return fixes


def cases_needed(margin: float, *, alpha: float = 0.05) -> int:
    """The price of non-inferiority: how many pairs without any difference show a loss below `margin`.

    >>> cases_needed(0.05), cases_needed(0.02, alpha=0.01)
    (93, 335)
    """
    cases = 1
    while not SequentialTest.of_counts(0, 0, ties=cases).noninferior(margin, alpha=alpha):
        cases += 1
    return cases
