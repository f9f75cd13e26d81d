"""The posterior of an entry's effect, checked against sampling and against enumeration."""

from __future__ import annotations

import random
from fractions import Fraction
from math import comb

import pytest

from tokenspace.stats import Lift


def sampled(fixes, breaks, ties, draws=20_000):
    draw = random.Random(0)
    found = []
    for _ in range(draws):
        parts = [draw.gammavariate(count + 1, 1) for count in (fixes, breaks, ties)]
        found.append((parts[0] - parts[1]) / sum(parts))
    return sorted(found)


@pytest.mark.parametrize("counts", [(6, 0, 2), (14, 3, 0), (0, 0, 0), (3, 9, 40), (500, 400, 1000)])
def test_mean_interval_and_probability_are_those_of_the_posterior(counts):
    lift = Lift(fixes=counts[0], breaks=counts[1], ties=counts[2])
    found = sampled(*counts)
    assert lift.mean == pytest.approx(sum(found) / len(found), abs=0.01)
    assert lift.interval.low == pytest.approx(found[len(found) // 40], abs=0.02)
    assert lift.interval.high == pytest.approx(found[-len(found) // 40], abs=0.02)
    assert lift.probability == pytest.approx(sum(one > 0 for one in found) / len(found), abs=0.015)


def test_the_probability_is_the_tail_of_beta_exactly():
    for fixes, breaks in ((0, 0), (1, 0), (3, 2), (10, 4)):
        # ∫ from ½ to 1 of θ^b (1−θ)^c, divided by the whole: the polynomial integrated term by term
        def upto(x, b=fixes, c=breaks):
            return sum(Fraction((-1) ** k * comb(c, k), b + k + 1) * x ** (b + k + 1) for k in range(c + 1))

        exact = 1 - upto(Fraction(1, 2)) / upto(Fraction(1))
        assert Lift(fixes=fixes, breaks=breaks, ties=7).probability == pytest.approx(float(exact), abs=1e-12)


def test_without_pairs_it_is_unverified_and_not_retired():
    assert Lift().words == "unverified"
    assert Lift().probability == 0.5
    assert not Lift().useless


def test_ties_narrow_the_effect_and_leave_its_sign():
    few, many = Lift(fixes=5, breaks=1), Lift(fixes=5, breaks=1, ties=100)
    assert few.probability == many.probability
    assert many.mean < few.mean
    assert many.interval.high - many.interval.low < few.interval.high - few.interval.low


def test_credibly_no_lift_takes_more_than_one_break():
    assert not Lift(breaks=1).useless
    assert not Lift(breaks=3).useless
    assert Lift(breaks=4).useless
    assert Lift(fixes=1, breaks=4) + Lift(breaks=4) == Lift(fixes=1, breaks=8)


def test_words_say_mean_interval_and_pairs():
    assert Lift(breaks=6, ties=2).words == "−.55 (−.85 … −.12) in 8 pairs"
    assert Lift(fixes=1).words.endswith("in 1 pair")
