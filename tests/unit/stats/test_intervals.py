from __future__ import annotations

import math
import random

import pytest

from tokenspace.errors import UsageError
from tokenspace.stats import bootstrap_mean, mean_difference, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # solutions of (p̂ − p)² = z² p (1 − p) / n, checked below
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_solves_its_defining_equation(successes, n, low, high):
    interval = wilson(successes, n)
    assert interval == pytest.approx((low, high), abs=1e-4)
    z = 1.959963984540054
    for bound in interval:
        if 0 < bound < 1:
            assert (successes / n - bound) ** 2 == pytest.approx(z * z * bound * (1 - bound) / n)


def test_wilson_knows_nothing_without_data_and_refuses_nonsense():
    assert wilson(0, 0) == (0.0, 1.0)
    for successes, n in ((3, 2), (-1, 4)):
        with pytest.raises(UsageError):
            wilson(successes, n)
    with pytest.raises(UsageError):
        wilson(1, 2, 95)


def test_wilson_covers_about_as_often_as_it_says():
    n, p = 40, 0.3
    covered = sum(
        math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1) if wilson(k, n).low <= p <= wilson(k, n).high
    )
    assert covered == pytest.approx(0.95, abs=0.03)


def test_bootstrap_is_deterministic_and_covers_about_as_often_as_it_says():
    draw = random.Random(11)
    samples = [[draw.gauss(0.2, 0.5) for _ in range(40)] for _ in range(150)]
    intervals = [bootstrap_mean(sample, resamples=300, seed=i) for i, sample in enumerate(samples)]
    assert intervals[0] == bootstrap_mean(samples[0], resamples=300, seed=0)
    assert sum(low <= 0.2 <= high for low, high in intervals) / 150 == pytest.approx(0.94, abs=0.05)


def test_mean_difference_resamples_pairs_and_not_arms():
    # a constant gain over very different cases is certain only when paired
    incumbent = [i / 100 for i in range(50)]
    low, high = mean_difference([score + 0.1 for score in incumbent], incumbent)
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.1)
    with pytest.raises(UsageError):
        mean_difference([1.0], [1.0, 0.0])


def test_an_empty_sample_has_no_interval():
    for arguments in ({"values": []}, {"values": [1.0], "resamples": 0}, {"values": [1.0], "confidence": 1}):
        with pytest.raises(UsageError):
            bootstrap_mean(**arguments)
