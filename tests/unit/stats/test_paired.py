from __future__ import annotations

import math

import pytest

from tokenspace.errors import UsageError
from tokenspace.stats import Pair, PairedOutcomes


def pair(incumbent, candidate, *, case="a", cluster=None):
    return Pair(case=case, cluster=cluster or case, incumbent=incumbent, candidate=candidate)


@pytest.mark.parametrize(
    ("incumbent", "candidate", "difference"),
    [
        ((0.0,), (1.0,), 1.0),
        ((1.0,), (0.0,), -1.0),
        ((0.4,), (0.4,), 0.0),
        ((0.0, 1.0), (1.0, 1.0), 0.5),
        ((1.0, 0.0, 1.0), (1.0,), pytest.approx(1 / 3)),
        # missing: the incumbent's is left out, the candidate's scores 0
        ((None,), (1.0,), None),
        ((), (1.0,), None),
        ((math.nan, None), (1.0,), None),
        ((None, 1.0), (1.0,), 0.0),
        ((1.0,), (None,), -1.0),
        ((1.0,), (math.nan,), -1.0),
        ((1.0,), (), -1.0),
        ((0.0,), (None,), 0.0),
        ((0.0,), (1.0, None), 0.5),
    ],
)
def test_difference_treats_a_missing_measurement_by_its_arm(incumbent, candidate, difference):
    assert pair(incumbent, candidate).difference == difference


def test_a_cluster_of_near_copies_counts_once():
    copies = [pair((0.0,), (1.0,), case=str(i), cluster="copies") for i in range(50)]
    outcomes = PairedOutcomes(pairs=[*copies, pair((1.0,), (0.0,), case="other")])
    assert outcomes.differences == {"copies": 1.0, "other": -1.0}
    assert (outcomes.fixes, outcomes.breaks, outcomes.ties) == (1, 1, 0)


def test_a_member_without_incumbent_does_not_weigh_on_its_cluster():
    outcomes = PairedOutcomes(
        pairs=[pair((None,), (0.0,), case="a", cluster="x"), pair((0.0,), (1.0,), case="b", cluster="x")]
    )
    assert outcomes.differences == {"x": 1.0}


def test_a_cluster_never_measured_is_no_tie():
    outcomes = PairedOutcomes(pairs=[pair((None,), (None,))])
    assert not outcomes.differences
    assert outcomes.ties == 0


@pytest.mark.parametrize(("missing", "defer"), [(0, False), (1, False), (2, True), (10, True)])
def test_over_ten_percent_missing_defers(missing, defer):
    pairs = [pair((1.0,), (None if i < missing else 1.0,), case=str(i)) for i in range(10)]
    outcomes = PairedOutcomes(pairs=pairs)
    assert outcomes.missing_share == missing / 10
    assert outcomes.must_defer is defer


def test_no_pairs_are_no_evidence_and_no_reason_to_defer():
    empty = PairedOutcomes()
    assert (empty.fixes, empty.breaks, empty.ties, empty.missing_share, empty.must_defer) == (0, 0, 0, 0.0, False)


@pytest.mark.parametrize("score", [-0.1, 1.1, math.inf])
def test_what_is_no_score_is_refused(score):
    with pytest.raises(UsageError):
        _ = pair((score,), (1.0,)).difference


def test_twenty_equal_runs_leave_no_rounding():
    assert pair((0.1,) * 20, (0.1,) * 3).difference == 0.0
