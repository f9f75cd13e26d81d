"""The running estimate, and e-LOND against a stream of edits that share their evidence."""

from __future__ import annotations

import math
import random

import pytest

from tokenspace.errors import UsageError
from tokenspace.stats import e_lond_level, running_fdr


def test_the_running_estimate_is_expected_false_accepts_by_accepts():
    assert running_fdr([], 0) == 0
    assert running_fdr([0.05] * 20, 0) == 0
    assert running_fdr([0.05] * 20, 10) == pytest.approx(0.1)
    assert running_fdr([0.2] * 20, 1) == 1
    assert running_fdr(iter([0.05, 0.2, 0.01]), 2) == pytest.approx(0.13)


def test_the_running_estimate_is_cautious_on_average():
    # 200 streams of 200 edits: 30 % good, power .8; edits that do nothing are accepted at α exactly
    chance, false, accepts, estimated = random.Random(0), 0, 0, 0.0
    for _ in range(200):
        good = [chance.random() < 0.3 for _ in range(200)]
        accepted = [chance.random() < (0.8 if helps else 0.05) for helps in good]
        false += sum(a and not g for a, g in zip(accepted, good, strict=True))
        accepts += sum(accepted)
        estimated += running_fdr([0.05] * 200, sum(accepted)) / 200
    assert false / accepts < estimated < 2 * false / accepts


def test_the_levels_of_e_lond_sum_to_alpha_without_accepts_and_grow_with_them():
    levels = [e_lond_level(0.05, 0, index) for index in range(1, 2_001)]
    assert levels == sorted(levels, reverse=True)
    assert sum(levels) == pytest.approx(0.05 * (1 - 1 / math.log2(2_002)))
    assert e_lond_level(0.05, 9, 50) == pytest.approx(10 * e_lond_level(0.05, 0, 50))
    assert all(0 < e_lond_level(0.99, index - 1, index) < 1 for index in range(1, 500))


@pytest.mark.parametrize("shared", [False, True])
def test_e_lond_keeps_the_false_discovery_rate_even_if_all_edits_share_their_luck(shared):
    # the harshest evidence: under the null an e-value of 1/level with chance `level`, else 0
    chance, alpha, proportions = random.Random(1), 0.1, list[float]()
    for _ in range(1_000):
        accepted, false, luck = 0, 0, chance.random()
        for index in range(1, 41):
            level = e_lond_level(alpha, accepted, index)
            good = chance.random() < 0.3
            draw = luck if shared else chance.random()
            hit = good or draw < level
            accepted += hit
            false += hit and not good
        proportions.append(false / max(accepted, 1))
    rate = sum(proportions) / len(proportions)
    assert rate <= alpha


@pytest.mark.parametrize(("alphas", "accepted"), [([0.05], 2), ([0.05], -1), ([0.0], 0), ([math.nan], 0), ([1.0], 1)])
def test_a_count_or_a_level_that_cannot_be_is_refused(alphas, accepted):
    with pytest.raises(UsageError):
        running_fdr(alphas, accepted)


@pytest.mark.parametrize(
    ("alpha", "accepted", "index"), [(0, 0, 1), (1, 0, 1), (0.05, 1, 1), (0.05, -1, 1), (0.05, 0, 0)]
)
def test_an_edit_number_that_cannot_be_is_refused(alpha, accepted, index):
    with pytest.raises(UsageError):
        e_lond_level(alpha, accepted, index)
