"""The sequential test against independent mathematics: exact fractions, numeric integration, products."""

from __future__ import annotations

import json
import math
import random
import sys
from fractions import Fraction

import pytest

from tokenspace.errors import BadData, UsageError
from tokenspace.stats import BINARY_BETS, GRADED_BETS, SequentialTest, cases_needed, e_value, fixes_needed, log_e

THETAS = (Fraction(6, 10), Fraction(7, 10), Fraction(8, 10), Fraction(9, 10), Fraction(97, 100))


def mixture(fixes: int, breaks: int) -> Fraction:
    """The normative formula in exact arithmetic."""
    return sum((2 * t) ** fixes * (2 * (1 - t)) ** breaks for t in THETAS) / len(THETAS)


def uniform(fixes: int, breaks: int) -> Fraction:
    """The integer form: θ uniform on [½, 1]."""
    n = fixes + breaks
    return Fraction(sum(math.comb(n + 1, k) for k in range(fixes + 1)), (n + 1) * math.comb(n, fixes))


@pytest.mark.parametrize(("fixes", "breaks"), [(0, 0), (6, 0), (0, 7), (9, 1), (31, 17), (120, 80)])
def test_benefit_is_the_mean_over_theta_in_exact_arithmetic(fixes, breaks):
    assert SequentialTest.of_counts(fixes, breaks).e_benefit == pytest.approx(float(mixture(fixes, breaks)), rel=1e-11)


@pytest.mark.parametrize(("fixes", "breaks"), [(0, 0), (3, 0), (0, 3), (6, 0), (9, 1), (12, 5), (20, 20)])
def test_the_integer_form_is_the_integral_over_a_uniform_prior(fixes, breaks):
    # Simpson's rule over θ in [½, 1], density 2
    steps = 2_000
    points = [Fraction(1, 2) + Fraction(i, 2 * steps) for i in range(steps + 1)]
    heights = [float((2 * t) ** fixes * (2 * (1 - t)) ** breaks) for t in points]
    weights = [1] + [4, 2] * (steps // 2 - 1) + [4, 1]
    integral = 2 * math.fsum(w * h for w, h in zip(weights, heights, strict=True)) * (0.5 / steps) / 3
    assert float(uniform(fixes, breaks)) == pytest.approx(integral, rel=1e-9)


def test_the_integer_form_is_an_exact_martingale_and_the_grid_too():
    for e in (uniform, mixture):
        for fixes in range(12):
            for breaks in range(12):
                assert (e(fixes + 1, breaks) + e(fixes, breaks + 1)) / 2 == e(fixes, breaks)


def test_the_grid_stays_near_the_integer_form_that_it_approximates():
    # same order of magnitude wherever either could accept; the grid trades a little for fewer fixes at the start
    for fixes in range(41):
        for breaks in range(fixes + 1):
            grid, oracle = mixture(fixes, breaks), uniform(fixes, breaks)
            if max(grid, oracle) >= 20 and fixes <= 25:
                assert Fraction(1, 4) < grid / oracle < 4


@pytest.mark.parametrize(("fixes", "breaks"), [(6, 0), (9, 1), (12, 2), (14, 3), (16, 4)])
def test_reckoner_accepts_at_the_fifth_and_not_one_fix_earlier(fixes, breaks):
    assert mixture(fixes, breaks) >= 20 > mixture(fixes - 1, breaks)
    assert fixes_needed(breaks) == fixes
    assert SequentialTest.of_counts(fixes, breaks).decide() == "accept"
    assert SequentialTest.of_counts(fixes - 1, breaks).decide() != "accept"


def test_reckoner_at_tier_two_accepts_four_fixes_and_no_break():
    assert fixes_needed(0, alpha=0.2) == 4
    assert SequentialTest.of_counts(4, 0).decide(alpha=0.2, cap=20) == "accept"


@pytest.mark.parametrize(
    ("margin", "alpha", "cases"), [(0.05, 0.05, 93), (0.02, 0.05, 235), (0.05, 0.01, 132), (0.02, 0.01, 335)]
)
def test_price_of_non_inferiority_in_unbroken_cases(margin, alpha, cases):
    assert cases_needed(margin, alpha=alpha) == cases
    assert SequentialTest.of_counts(0, 0, ties=cases).noninferior(margin, alpha=alpha)
    assert not SequentialTest.of_counts(0, 0, ties=cases - 1).noninferior(margin, alpha=alpha)


def test_each_e_value_is_the_product_it_is_defined_as():
    draw = random.Random(7)
    differences = [round(draw.uniform(-1, 1), 2) for _ in range(40)]
    test = SequentialTest(graded=True, delta_min=0.1)
    for d in differences:
        test = test.update(d)

    def mean_product(gain):
        return sum(math.prod(1 + bet * gain(d) for d in differences) for bet in GRADED_BETS) / len(GRADED_BETS)

    assert test.e_benefit == pytest.approx(mean_product(lambda d: d), rel=1e-12)
    assert test.e_harm == pytest.approx(mean_product(lambda d: -d), rel=1e-12)
    assert test.e_futility == pytest.approx(mean_product(lambda d: (0.1 - d) / 0.9), rel=1e-12)
    assert test.e_noninferior(0.05) == pytest.approx(mean_product(lambda d: (d + 0.05) / 0.95), rel=1e-12)
    assert test.mean == pytest.approx(sum(differences) / 40)
    assert (test.pairs, test.fixes + test.breaks + test.ties) == (40, 40)


def test_futility_bets_less_than_what_a_full_fix_could_lose():
    # λ/(1 − δ) < 1/(1 − δ) for every λ, so the wealth never reaches 0, let alone below
    for delta in (0.01, 0.1, 0.5, 0.9):
        assert SequentialTest.of_counts(300, 0, delta_min=delta).e_futility > 0


def test_ties_cost_benefit_and_harm_nothing_and_count_for_futility_and_non_inferiority():
    few, many = SequentialTest.of_counts(3, 1), SequentialTest.of_counts(3, 1, ties=30)
    assert (few.e_benefit, few.e_harm) == (many.e_benefit, many.e_harm)
    assert many.e_futility > few.e_futility
    assert many.e_noninferior(0.05) > few.e_noninferior(0.05)


@pytest.mark.parametrize(
    ("fixes", "breaks", "ties", "finding"),
    [(0, 0, 0, "continue"), (6, 0, 500, "accept"), (0, 6, 0, "harm"), (0, 0, 40, "futile"), (5, 0, 0, "continue")],
)
def test_decide_names_what_was_found(fixes, breaks, ties, finding):
    assert SequentialTest.of_counts(fixes, breaks, ties=ties).decide(cap=1_000) == finding


def test_the_cap_ends_a_test_that_found_nothing_and_only_that():
    undecided = SequentialTest.of_counts(5, 0)
    assert undecided.decide(cap=6) == "continue"
    assert undecided.decide(cap=5) == "futile"
    assert undecided.e_futility < 5
    assert SequentialTest.of_counts(6, 0).decide(cap=6) == "accept"


def test_without_beta_only_the_cap_gives_up():
    small = SequentialTest.of_counts(0, 0, ties=500)
    assert small.decide(cap=math.inf) == "futile"
    assert small.decide(cap=math.inf, beta=None) == "continue"
    assert small.decide(cap=500, beta=None) == "futile"
    assert small.update(1, times=6).decide(cap=math.inf, beta=None) == "accept"


def test_large_counts_neither_overflow_nor_lose_the_verdict():
    for test in (SequentialTest.of_counts(10**9, 0), SequentialTest.of_counts(10**6, 10**5, ties=10**9)):
        assert test.e_benefit == sys.float_info.max
        assert test.decide(cap=math.inf) == "accept"
        assert test.e_harm == 0.0
        json.dumps(test.e_benefit, allow_nan=False)
    # 20,000 pairs against exact arithmetic
    exact = mixture(10_400, 9_600)
    log = log_e([(1.0, 10_400), (-1.0, 9_600)], BINARY_BETS)
    assert log == pytest.approx(math.log(exact.numerator) - math.log(exact.denominator), rel=1e-9)
    assert e_value(-1e9) == 0.0


def test_a_state_goes_through_json_and_the_e_value_continues():
    test = SequentialTest(graded=True, delta_min=0.07).update(1 / 3).update(-0.1).update(1)
    again = SequentialTest.from_json(json.loads(json.dumps(test.to_json())))
    assert again == test
    assert again.update(0.5).e_benefit == test.update(0.5).e_benefit
    assert hash(again) == hash(test)


@pytest.mark.parametrize(
    "state",
    [{}, {"graded": False, "delta_min": 0.1, "counts": [[2, 1]]}, {"graded": False, "delta_min": "x", "counts": []},
     {"graded": False, "delta_min": 0.1, "counts": [[1.0, -4]]}, {"graded": False, "delta_min": 0.1, "counts": 3}],
)  # fmt: skip
def test_what_is_not_a_state_is_bad_data(state):
    with pytest.raises(BadData):
        SequentialTest.from_json(state)


def test_minus_zero_is_zero_and_nothing_else_enters():
    assert SequentialTest().update(-0.0).counts == ((0.0, 1),)
    assert math.copysign(1, SequentialTest().update(-0.0).counts[0][0]) == 1
    assert SequentialTest().update(1, times=0) == SequentialTest()
    for bad in (math.nan, 1.0001, -math.inf):
        with pytest.raises(UsageError):
            SequentialTest().update(bad)
    with pytest.raises(UsageError):
        SequentialTest().update(1, times=-1)


@pytest.mark.parametrize("bad", [0, 1, -0.1, math.nan])
def test_levels_and_margins_are_shares(bad):
    with pytest.raises(UsageError):
        SequentialTest(delta_min=bad)
    with pytest.raises(UsageError):
        SequentialTest().decide(alpha=bad)
    with pytest.raises(UsageError):
        SequentialTest().decide(beta=bad)
    with pytest.raises(UsageError):
        SequentialTest().e_noninferior(bad)
    with pytest.raises(UsageError):
        SequentialTest().noninferior(0.05, alpha=bad)
    with pytest.raises(UsageError):
        SequentialTest().harmful(alpha=bad)
