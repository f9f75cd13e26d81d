"""Properties of the sequential test for any sequence of differences."""

from __future__ import annotations

import json
import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenspace.stats import GRADED_BETS, SequentialTest, log_e

DIFFERENCES = st.lists(st.floats(-1, 1) | st.sampled_from([-1.0, 0.0, 1.0]), max_size=40)


def run(differences, **options):
    test = SequentialTest(**options)
    for difference in differences:
        test = test.update(difference)
    return test


@given(DIFFERENCES, st.booleans(), st.integers(0, 2**32))
def test_order_does_not_change_a_bit(differences, graded, seed):
    shuffled = list(differences)
    random.Random(seed).shuffle(shuffled)
    assert run(differences, graded=graded) == run(shuffled, graded=graded)


@given(DIFFERENCES, DIFFERENCES, st.booleans())
def test_stopping_and_going_on_is_the_same_as_never_stopping(first, then, graded):
    stopped = SequentialTest.from_json(json.loads(json.dumps(run(first, graded=graded).to_json())))
    for difference in then:
        stopped = stopped.update(difference)
    assert stopped == run([*first, *then], graded=graded)


@given(DIFFERENCES, st.booleans(), st.floats(0.01, 0.9))
def test_every_e_value_is_a_finite_non_negative_number(differences, graded, margin):
    test = run(differences, graded=graded, delta_min=margin)
    for e in (test.e_benefit, test.e_harm, test.e_futility, test.e_noninferior(margin)):
        assert 0 <= e < math.inf
    assert test.decide() in {"accept", "harm", "futile", "continue"}


@given(DIFFERENCES, st.booleans())
def test_harm_is_benefit_with_the_arms_exchanged_and_never_both(differences, graded):
    test, mirrored = run(differences, graded=graded), run([-d for d in differences], graded=graded)
    assert test.e_harm == mirrored.e_benefit
    assert min(test.e_benefit, test.e_harm) <= 1 + 1e-9


@given(DIFFERENCES, st.booleans(), st.floats(-1, 1), st.floats(-1, 1))
def test_a_better_result_never_lowers_the_evidence(differences, graded, one, other):
    low, high = sorted((one, other))
    worse, better = run([*differences, low], graded=graded), run([*differences, high], graded=graded)
    slack = 1 + 1e-9
    assert worse.e_benefit <= better.e_benefit * slack
    assert worse.e_noninferior(0.05) <= better.e_noninferior(0.05) * slack
    assert worse.e_futility * slack >= better.e_futility
    assert worse.e_harm * slack >= better.e_harm


@settings(max_examples=50)
@given(DIFFERENCES, st.booleans(), st.lists(st.tuples(st.floats(-1, 1), st.floats(0.01, 1)), min_size=1, max_size=5))
def test_under_any_null_the_next_pair_does_not_raise_the_expected_evidence(past, graded, outcomes):
    # shift the distribution so that its mean is ≤ 0, if that keeps it in range
    total = sum(weight for _, weight in outcomes)
    mean = sum(value * weight for value, weight in outcomes) / total
    null = [(max(-1.0, min(1.0, value - max(mean, 0.0))), weight / total) for value, weight in outcomes]
    if sum(value * weight for value, weight in null) > 0:
        return
    before = run(past, graded=graded)
    expected = sum(weight * before.update(value).e_benefit for value, weight in null)
    assert expected <= before.e_benefit * (1 + 1e-9)


@given(DIFFERENCES)
def test_an_e_value_agrees_with_its_product(differences):
    log = log_e([(d, 1) for d in differences], GRADED_BETS)
    product = sum(math.prod(1 + bet * d for d in differences) for bet in GRADED_BETS) / len(GRADED_BETS)
    assert math.isclose(math.exp(log), product, rel_tol=1e-9)
