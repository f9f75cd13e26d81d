"""Evidence per principal: exact small cases, liars in any number, and what the pooled test adds."""

from __future__ import annotations

import itertools
import math
import random
from functools import cache

import pytest

from tokenspace.errors import UsageError
from tokenspace.stats import Panel, SequentialTest

Counts = dict[str, tuple[int, int]]
state = cache(SequentialTest.of_counts)


def panel_of(counts: Counts, *, drop: int = 0, exempt: frozenset[str] = frozenset()) -> Panel:
    """A panel with so many (fixes, breaks) of each principal."""
    tests = tuple((name, state(*counts[name])) for name in sorted(counts))
    return Panel(drop=drop, exempt=exempt, tests=tests)


def e(fixes: int, breaks: int) -> float:
    return state(fixes, breaks).e_benefit


@pytest.mark.parametrize("graded", [False, True])
def test_one_principal_is_exactly_the_sequential_test(graded):
    chance = random.Random(4)
    for better in (0.1, 0.5, 0.8):
        panel, test = Panel(graded=graded, delta_min=0.2), SequentialTest(graded=graded, delta_min=0.2)
        for _ in range(60):
            size = chance.choice((0.25, 0.5, 1.0)) if graded else 1.0
            difference = chance.choices((size, -size, 0.0), (better, 1 - better, 0.3))[0]
            panel, test = panel.update("ann", difference), test.update(difference)
            assert panel.pooled == test
            assert panel.decide(cap=50) == test.decide(cap=50)
            for name in ("e_benefit", "e_harm", "e_futility", "pairs", "fixes", "breaks", "ties"):
                assert getattr(panel, name) == getattr(test, name)


def test_several_principals_multiply_and_the_order_of_arrival_does_not_matter():
    outcomes = [("ann", 1.0), ("bob", 1.0), ("ann", -1.0), ("cid", 0.0), ("bob", 1.0), ("ann", 1.0)]
    panels = []
    for order in (outcomes, outcomes[::-1]):
        panel = Panel()
        for principal, difference in order:
            panel = panel.update(principal, difference)
        panels.append(panel)
    assert panels[0] == panels[1]
    assert panels[0].e_benefit == pytest.approx(e(2, 1) * e(2, 0))
    assert panels[0].support == 1  # two fixes and a break are no evidence yet
    assert (panels[0].pairs, panels[0].ties) == (6, 1)


def test_the_largest_are_left_out_and_never_one_below_one():
    counts = {"ann": (8, 0), "bob": (5, 0), "cid": (3, 0), "dot": (0, 2)}
    assert panel_of(counts).e_benefit == pytest.approx(e(8, 0) * e(5, 0) * e(3, 0) * e(0, 2))
    assert panel_of(counts, drop=1).e_benefit == pytest.approx(e(5, 0) * e(3, 0) * e(0, 2))
    assert panel_of(counts, drop=2).e_benefit == pytest.approx(e(3, 0) * e(0, 2))
    assert panel_of(counts, drop=9).e_benefit == pytest.approx(e(0, 2))
    assert Panel(drop=2).e_benefit == 1


def test_whatever_liars_send_the_benefit_is_at_most_the_honest_product():
    chance = random.Random(0)
    for _ in range(300):
        drop = chance.randint(0, 3)
        counts = {f"h{i}": (chance.randint(0, 6), chance.randint(0, 4)) for i in range(chance.randint(0, 4))}
        honest = math.prod(e(*pair) for pair in counts.values())
        lies = {f"z{i}": (chance.randint(0, 50), chance.randint(0, 3)) for i in range(drop)}
        assert panel_of(counts | lies, drop=drop).e_benefit <= honest * (1 + 1e-9)


@pytest.mark.parametrize("drop", [0, 1, 2])
def test_benefit_is_at_most_fair_over_all_outcomes_beside_liars(drop):
    # three honest principals, two discordant pairs each, an edit that does nothing
    lies = {f"z{i}": (50, 0) for i in range(drop)}
    total = 0.0
    for wins in itertools.product((0, 1, 1, 2), repeat=3):
        total += panel_of({f"h{i}": (w, 2 - w) for i, w in enumerate(wins)} | lies, drop=drop).e_benefit / 4**3
    assert total <= 1 + 1e-9
    assert total == pytest.approx(1) or drop


def honest_fixes(chance: random.Random, *, fix: float, broken: float, pairs: int = 80) -> list[Counts]:
    """The counts of three honest principals after each fix: only then can an edit become acceptable."""
    counts, after = dict.fromkeys(("ann", "bob", "cid"), (0, 0)), list[Counts]()
    for _ in range(pairs):
        name, draw = chance.choice(("ann", "bob", "cid")), chance.random()
        fixes, breaks = counts[name]
        if draw < fix:
            counts = counts | {name: (fixes + 1, breaks)}
            after.append(counts)
        elif draw < fix + broken:
            counts = counts | {name: (fixes, breaks + 1)}
    return after


@pytest.mark.parametrize("k", [2, 3])
def test_k_minus_1_sybils_with_50_faked_wins_each_never_get_a_harmful_edit_accepted(k):
    chance = random.Random(k)
    lies = {f"z{i}": (50, 0) for i in range(k - 1)}
    accepted = pooled = 0
    for _ in range(2_000):
        panels = [panel_of(counts | lies, drop=k - 1) for counts in ({}, *honest_fixes(chance, fix=0.03, broken=0.25))]
        accepted += any(panel.decide(cap=math.inf) == "accept" for panel in panels)
        pooled += panels[0].pooled.decide() == "accept"
    assert accepted == 0
    assert pooled == 2_000


@pytest.mark.parametrize(("k", "sybils"), [(1, 0), (2, 1), (3, 2)])
def test_an_edit_that_does_nothing_is_accepted_at_most_alpha_of_the_time_beside_sybils(k, sybils):
    chance, runs = random.Random(k), 500
    lies = {f"z{i}": (50, 0) for i in range(sybils)}
    accepted = sum(
        any(
            panel_of(counts | lies, drop=k - 1).decide(cap=math.inf) == "accept"
            for counts in honest_fixes(chance, fix=0.2, broken=0.2)
        )
        for _ in range(runs)
    )
    assert accepted / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_one_more_liar_than_was_asked_for_is_enough_so_k_must_be_chosen():
    assert panel_of({"z1": (50, 0), "z2": (50, 0)}, drop=1).decide() == "accept"


def test_without_an_exempt_principal_enough_benefit_implies_enough_support():
    chance = random.Random(9)
    for _ in range(500):
        drop = chance.randint(0, 2)
        counts = {f"h{i}": (chance.randint(0, 8), chance.randint(0, 2)) for i in range(chance.randint(1, 5))}
        panel = panel_of(counts, drop=drop)
        assert panel.e_benefit < 20 or panel.support > drop


def test_the_operator_alone_counts_for_all_and_is_never_left_out():
    operator = frozenset({"operator"})
    alone = panel_of({"operator": (6, 0)}, drop=2, exempt=operator)
    assert (alone.support, alone.decide()) == (3, "accept")
    assert alone.e_benefit == e(6, 0)
    assert panel_of({"operator": (6, 0)}, drop=2).decide() == "continue"
    # being exempt is no evidence: an operator without fixes leaves two liars where they were
    beside = {"operator": (0, 0), "z1": (50, 0), "z2": (50, 0)}
    assert panel_of(beside, drop=2, exempt=operator).support == 2
    assert panel_of(beside, drop=2, exempt=operator).decide() == "continue"
    against = {"operator": (0, 4), "z1": (50, 0), "z2": (50, 0), "z3": (9, 0)}
    assert panel_of(against, drop=2, exempt=operator).e_benefit == pytest.approx(e(9, 0) * e(0, 4))


def test_an_edit_that_helps_one_and_hurts_another_as_much_is_not_accepted_by_the_product_alone():
    counts = {"ann": (30, 2), "bob": (2, 30)}
    panel = panel_of(counts)
    assert panel.e_benefit > 200
    assert panel.decide() == "continue"


def test_harm_is_pooled_so_that_single_breaks_of_many_add_up():
    panel = panel_of({f"h{i}": (0, 1) for i in range(6)}, drop=2)
    assert panel.e_harm == pytest.approx(e(6, 0))
    assert panel.decide(beta=0.001) == "harm"


def test_what_lacks_only_a_second_principal_goes_on_until_the_cap():
    panel = panel_of({"ann": (10, 0)}, drop=1)
    assert panel.decide() == "continue"
    assert panel.decide(cap=10) == "futile"
    assert panel.e_futility < 5
    assert panel.update("bob", 1.0).support == 2


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError):
        Panel(drop=-1)
    with pytest.raises(UsageError):
        Panel(delta_min=1.5)
    with pytest.raises(UsageError):
        Panel().update("ann", math.nan)
