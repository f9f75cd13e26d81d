"""Group ablation finds what causes a behaviour, and says so when no single entry does."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from tokenspace.errors import UsageError
from tokenspace.stats import SURE, Ablation, Suspect, settled


def search(entries, causes, *, noise, seed, most=35) -> tuple[Suspect, int]:
    """Until somebody is likely enough; `causes(removed)` says whether the behaviour is there without noise."""
    draw, floor = random.Random(seed), max(noise, 0.001)
    state = Ablation.of(entries, noise=floor)
    for done in range(most):
        if state.likeliest.probability >= SURE:
            return state.likeliest, done
        group = state.next_group()
        state = state.update(group, shows=causes(set(group)) != (draw.random() < noise))
    return state.likeliest, most


def test_one_of_64_is_found_in_few_replays_without_noise():
    for planted in (0, 31, 63):
        found, replays = search(64, lambda removed, it=planted: it not in removed, noise=0.0, seed=1)
        assert (found.kind, found.entries) == ("one", (planted,))
        assert replays <= 10


def test_one_of_64_is_found_at_ten_percent_noise_in_19_of_20_searches():
    draw = random.Random(5)
    results = []
    for seed in range(150):
        planted = draw.randrange(64)
        found, replays = search(64, lambda removed, it=planted: it not in removed, noise=0.1, seed=seed)
        results.append((found.entries == (planted,), replays))
    assert sum(right for right, _ in results) >= 0.95 * len(results)
    assert sorted(replays for _, replays in results)[len(results) // 2] <= 20


def test_two_that_cause_it_independently_are_never_taken_for_one():
    kinds = Counter()
    for seed in range(40):
        found, _ = search(64, lambda removed: not {7, 40} <= removed, noise=0.1, seed=seed)
        kinds[found.kind] += 1
        assert not (found.kind == "one" and found.probability >= SURE)
    assert kinds["one"] <= 4


def test_two_that_cause_it_independently_are_both_found_without_noise():
    found, replays = search(64, lambda removed: not {7, 40} <= removed, noise=0.0, seed=1)
    assert (found.kind, found.entries) == ("either", (7, 40))
    assert replays <= 25


def test_where_two_are_needed_together_one_of_them_is_found():
    found = [search(64, lambda removed: not {7, 40} & removed, noise=0.1, seed=seed)[0] for seed in range(20)]
    assert sum(one.entries in {(7,), (40,)} for one in found) >= 18


@pytest.mark.parametrize(("always", "kind"), [(True, "model"), (False, "gone")])
def test_what_no_entry_causes_is_said_at_once(always, kind):
    results = [search(64, lambda removed: always, noise=0.1, seed=seed) for seed in range(20)]
    assert sum(found.kind == kind for found, _ in results) >= 19
    assert sorted(replays for _, replays in results)[10] <= 10


def test_probabilities_sum_to_one_and_the_same_state_asks_for_the_same_group():
    state, draw = Ablation.of(9), random.Random(1)
    for _ in range(30):
        group = state.next_group()
        assert group == state.next_group()
        state = state.update(group, shows=draw.random() < 0.5)
        assert math.fsum((*state.one, state.none_alone, state.model, state.gone)) == pytest.approx(1)
        assert all(0 <= share <= 1 + 1e-9 for share in state.involved)


def test_the_first_two_questions_are_whether_it_happens_at_all_and_whether_by_itself():
    state = Ablation.of(4)
    assert state.next_group() == ()
    state = state.update((), shows=True)
    assert state.next_group() == (0, 1, 2, 3)


def test_the_posterior_is_bayes_by_hand():
    state = Ablation.of(2, noise=0.1).update((0,), shows=False)
    weights = {"one0": 0.375 * 0.9, "one1": 0.375 * 0.1, "either": 0.05 * 0.1, "model": 0.1 * 0.1, "gone": 0.1 * 0.9}
    assert state.one[0] == pytest.approx(weights["one0"] / sum(weights.values()))
    assert state.none_alone == pytest.approx(weights["either"] / sum(weights.values()))


def test_a_single_entry_can_be_asked_about():
    found, _ = search(1, lambda removed: 0 not in removed, noise=0.1, seed=3)
    assert (found.kind, found.entries) == ("one", (0,))


@pytest.mark.parametrize(("entries", "noise"), [(0, 0.1), (4, 0.0), (4, 0.5)])
def test_what_cannot_be_searched_is_refused(entries, noise):
    with pytest.raises(UsageError):
        Ablation.of(entries, noise=noise)


def test_fresh_replays_settle_when_one_outcome_leads_by_two():
    assert [settled(shown, 3) for shown in range(4)] == [False, None, None, True]
    assert settled(0, 0) is None


def test_many_that_each_cause_it_are_told_apart_from_the_model_itself():
    found, replays = search(8, lambda removed: len(removed) < 8, noise=0.0, seed=1)
    assert (found.kind, found.entries) == ("many", ())
    assert replays <= 10
