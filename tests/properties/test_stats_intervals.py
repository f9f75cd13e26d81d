from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenspace.stats import Pair, PairedOutcomes, bootstrap_mean, wilson

SCORES = st.lists(st.floats(0, 1) | st.none(), max_size=4)


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.01, 0.999))
def test_wilson_holds_the_share_and_grows_with_confidence(successes, failures, confidence):
    n = successes + failures
    low, high = wilson(successes, n, confidence)
    assert 0 <= low <= high <= 1
    if n:
        assert low - 1e-12 <= successes / n <= high + 1e-12
    wider = wilson(successes, n, (1 + confidence) / 2)
    assert wider.low <= low + 1e-12
    assert high <= wider.high + 1e-12


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_bootstrap_stays_within_the_values(values):
    low, high = bootstrap_mean(values, resamples=50)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


@given(st.lists(st.tuples(st.sampled_from("xyz"), SCORES, SCORES), max_size=12))
def test_differences_lie_in_range_and_every_measured_cluster_counts_once(rows):
    pairs = [
        Pair(case=str(i), cluster=cluster, incumbent=old, candidate=new) for i, (cluster, old, new) in enumerate(rows)
    ]
    outcomes = PairedOutcomes(pairs=pairs)
    assert all(-1 <= difference <= 1 for difference in outcomes.differences.values())
    measured = {pair.cluster for pair in pairs if any(score is not None for score in pair.incumbent)}
    assert set(outcomes.differences) == measured
    assert outcomes.fixes + outcomes.breaks + outcomes.ties == len(measured)
    assert 0 <= outcomes.missing_share <= 1
