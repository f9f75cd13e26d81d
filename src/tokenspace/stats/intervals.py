"""How sure a reported figure is. For reading: verdicts come from `betting`, which may be looked at often."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from tokenspace.errors import UsageError


class Interval(NamedTuple):
    """A range that holds the true value with the confidence asked for."""

    low: float
    high: float


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence of {confidence} is not between 0 and 1", hint="95 % is written 0.95")


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval (1927) of a proportion; [0, 1] where n = 0.

    >>> tuple(round(bound, 3) for bound in wilson(8, 10))
    (0.49, 0.943)
    """
    _check(confidence)
    if not 0 <= successes <= n:
        raise UsageError(f"{successes} of {n} is not a proportion", hint="successes lie between 0 and n")
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, shrink = successes / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at the ends the bound is 0 or 1 exactly, which rounding would miss
    return Interval(
        0.0 if successes == 0 else max(0.0, centre - half), 1.0 if successes == n else min(1.0, centre + half)
    )


def bootstrap_mean(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap (Efron 1979) of a mean: the same arguments give the same interval.

    It is too narrow below about 20 values. Raises `UsageError` for none.

    >>> low, high = bootstrap_mean([0.0, 1.0] * 50)
    >>> 0.38 < low < 0.43 and 0.57 < high < 0.62
    True
    """
    _check(confidence)
    if not values or resamples < 1:
        raise UsageError("there is nothing to resample", hint="give at least one value and one resample")
    draw = random.Random(seed)  # noqa: S311 (resampling, not secrets)
    means = sorted(math.fsum(draw.choices(values, k=len(values))) / len(values) for _ in range(resamples))
    tail = (1 - confidence) / 2
    last = resamples - 1
    return Interval(means[math.floor(tail * last)], means[math.ceil((1 - tail) * last)])


def mean_difference(
    candidate: Sequence[float],
    incumbent: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Interval of mean(candidate) − mean(incumbent) over the same cases in the same order: pairs are resampled.

    >>> mean_difference([1.0, 0.5], [0.5, 0.0])
    Interval(low=0.5, high=0.5)
    """
    if len(candidate) != len(incumbent):
        raise UsageError(
            f"{len(candidate)} scores cannot be paired with {len(incumbent)}",
            hint="give one score of each arm for every case, in the same order",
        )
    pairs = [new - old for new, old in zip(candidate, incumbent, strict=True)]
    return bootstrap_mean(pairs, confidence=confidence, resamples=resamples, seed=seed)
