"""`benchmarks/gate_level.py`, small and with a fixed seed: what it claims about the real gate holds."""

from __future__ import annotations

import importlib
from argparse import Namespace
from itertools import islice
from pathlib import Path

import pytest

from tokenspace.testing.gate import most_successes

FOLDER = Path(__file__).parents[2] / "benchmarks"
SMALL = Namespace(scale=0.02, seed=5, quick=True)


@pytest.fixture
def level(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("gate_level")


@pytest.mark.parametrize(("tier", "alpha", "worlds"), [(2, 0.2, 15), (3, 0.05, 9), (4, 0.01, 9)])
def test_edits_that_do_nothing_are_accepted_at_most_as_often_as_alpha_allows(level, tier, alpha, worlds):
    found = [level.null_edits(f"5 test {world}", tier, ("ana",)) for world in range(worlds)]
    assert sum(found) <= most_successes(worlds * level.NULLS_PER_WORLD, alpha)


@pytest.mark.parametrize("tier", [2, 3, 4])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_proposer_that_always_asks_for_harm_gets_nothing(level, tier, noise):
    assert level.harmed(f"5 harm {tier}", tier, noise=noise).committed == 0


def test_what_is_admitted_by_hand_is_taken_back_by_the_canary(level):
    figures = level.canaries(SMALL)
    assert (figures["forced_canaries"], figures["rolled_back"]) == (6, 6)
    assert figures["rolled_back_median_treated"] <= 100


def test_liars_carry_no_edit_unless_their_cases_are_added_to_the_others(level):
    assert sum(islice(level.lies(5, {}), 42)) == 0
    assert sum(islice(level.lies(5, {"principals": {3: 1, 4: 1}}), 4)) >= 3


def test_shares_are_bounded_more_widely_where_worlds_differ(level):
    alike, apart = level.shares("x", [2, 2, 2, 2]), level.shares("x", [8, 0, 0, 0])
    assert alike["x_accepted"] == apart["x_accepted"] == 0.2
    assert alike["x_upper99_worlds"] == alike["x_upper99"] < apart["x_upper99_worlds"]
    assert apart["x_worst_world"] == 0.8
