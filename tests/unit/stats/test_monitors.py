"""The monitors: exact chances where outcomes are 0 or 1, naive definitions, and simulations with fixed seeds."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from statistics import median

import pytest

from tokenspace.errors import UsageError
from tokenspace.stats import GRADED_BETS, MONITOR_BETS, Cusum, HoldbackTest, StartMonitor, log_mean


def draws(seed: int, n: int, rate: float) -> list[float]:
    chance = random.Random(seed)
    return [float(chance.random() < rate) for _ in range(n)]


def two_arms(seed: int, n: int, *, share: float, treated: float, held_back: float) -> list[tuple[float, bool]]:
    chance = random.Random(seed)
    arms = [chance.random() < share for _ in range(n)]
    return [(float(chance.random() < (treated if arm else held_back)), arm) for arm in arms]


def mass(scores: tuple[int, ...], rate: float) -> float:
    return math.prod(rate if score else 1 - rate for score in scores)


def alarms_by(rate: float, true: float, horizon: int, threshold: float = 100.0) -> list[float]:
    """Exact chance that StartMonitor has alarmed after 1, 2, … readings: its state is the number of successes."""
    up = [math.log1p(-bet) for bet in MONITOR_BETS]
    down = [math.log1p(bet * rate / (1 - rate)) for bet in MONITOR_BETS]
    alive, crossed, found = {0: 1.0}, 0.0, []
    for n in range(1, horizon + 1):
        after: dict[int, float] = defaultdict(float)
        for good, chance in alive.items():
            after[good + 1] += chance * true
            after[good] += chance * (1 - true)
        alive = {}
        for good, chance in after.items():
            if log_mean([good * u + (n - good) * d for u, d in zip(up, down, strict=True)]) >= math.log(threshold):
                crossed += chance
            elif chance > 1e-12:
                alive[good] = chance
        found.append(crossed)
    return found


# ── from the start ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rate", [0.3, 0.7, 0.95])
def test_start_evidence_is_fair_at_the_rate_itself_over_all_outcomes(rate):
    fair = sum(mass(s, rate) * StartMonitor.of(s, rate=rate).e for s in itertools.product((0, 1), repeat=8))
    better = sum(mass(s, 0.97) * StartMonitor.of(s, rate=rate).e for s in itertools.product((0, 1), repeat=8))
    assert fair == pytest.approx(1)
    assert better < 1


@pytest.mark.parametrize(("drop", "readings"), [(0.4, 16), (0.2, 65), (0.1, 254)])
def test_start_drops_are_found_within_the_target_median(drop, readings):
    assert alarms_by(0.7, 0.7 - drop, readings)[-1] >= 0.5


def test_start_false_alarms_are_below_the_level_and_the_exact_chance_is_that_of_the_class():
    exact = alarms_by(0.7, 0.7, 300, threshold=10.0)
    assert 0.01 < exact[-1] <= 0.1
    seen = sum(StartMonitor.of(draws(seed, 300, 0.7), rate=0.7, threshold=10.0).alarm for seed in range(600)) / 600
    assert seen == pytest.approx(exact[-1], abs=4 * math.sqrt(exact[-1] / 600))


def test_start_alarm_stays_and_the_order_does_not_change_the_evidence():
    alarmed = StartMonitor.of([0] * 8, rate=0.7)
    later = alarmed.fold([1] * 40)
    assert alarmed.alarm
    assert later.alarmed_at == alarmed.alarmed_at == 7
    assert later.alarm
    assert later.e < 1
    scores = draws(1, 200, 0.6)
    assert StartMonitor.of(sorted(scores), rate=0.7).e == pytest.approx(StartMonitor.of(scores, rate=0.7).e)


# ── from any time on ────────────────────────────────────────────────────────────────────────


def naive_cusum(scores: list[float], rate: float) -> float:
    wealth = [1.0] * len(MONITOR_BETS)
    for score in scores:
        wealth = [
            max(w, 1.0) * (1 + bet / (1 - rate) * (rate - score)) for w, bet in zip(wealth, MONITOR_BETS, strict=True)
        ]
    return sum(wealth) / len(wealth)


@pytest.mark.parametrize("seed", range(5))
def test_cusum_is_its_definition(seed):
    scores = [random.Random(seed * 1_000 + i).choice((0.0, 0.25, 1.0)) for i in range(120)]
    assert Cusum.of(scores, rate=0.6).e == pytest.approx(naive_cusum(scores, 0.6))


def test_cusum_expects_at_most_the_number_of_readings():
    for n in (1, 4, 8):
        expected = sum(mass(s, 0.7) * Cusum.of(s, rate=0.7).e for s in itertools.product((0, 1), repeat=n))
        assert 1 - 1e-9 <= expected <= n


@pytest.mark.parametrize(("drop", "readings"), [(0.4, 35), (0.2, 120), (0.1, 450)])
def test_cusum_finds_later_drops_within_the_target_median(drop, readings):
    runs = (draws(seed, 500, 0.7) + draws(10_000 + seed, readings, 0.7 - drop) for seed in range(200))
    found = [Cusum.of(scores, rate=0.7).alarmed_at for scores in runs]
    assert median(math.inf if at is None else at - 500 for at in found) <= readings


def test_cusum_false_alarms_are_rare_in_3000_readings():
    alarms = sum(Cusum.of(draws(seed, 3_000, 0.7), rate=0.7).alarm for seed in range(200))
    assert alarms <= 0.05 * 200


def test_good_readings_buy_no_time_for_bad_ones_in_the_cusum_alone():
    scores = [1] * 400 + [0] * 20
    assert Cusum.of(scores, rate=0.7).alarm
    assert not StartMonitor.of(scores, rate=0.7).alarm


# ── held back ───────────────────────────────────────────────────────────────────────────────


def test_holdback_evidence_is_fair_for_every_order_of_the_arms():
    for arms in itertools.product((False, True), repeat=6):
        harm = benefit = worse = 0.0
        for scores in itertools.product((0, 1), repeat=6):
            test = HoldbackTest.of(zip(scores, arms, strict=True))
            harm += mass(scores, 0.7) * test.e_harm
            benefit += mass(scores, 0.7) * test.e_benefit
            rates = [0.9 if arm else 0.7 for arm in arms]
            chance = math.prod(r if s else 1 - r for s, r in zip(scores, rates, strict=True))
            worse += chance * test.e_harm
        assert harm == pytest.approx(1)
        assert benefit == pytest.approx(1)
        assert worse <= 1 + 1e-9


def test_holdback_uses_every_reading_in_blocks_of_one_arm_and_then_the_other():
    readings = [(1.0, False), (0.0, False), (0.5, False), (1.0, True), (0.0, True), (1.0, True), (1.0, False)]
    test = HoldbackTest.of(readings)
    gains = (1.0 - 0.5, 0.5 - 1.0)
    assert test.pairs == 2
    assert test.readings == 7
    for sign, e in ((-1, test.e_harm), (1, test.e_benefit)):
        assert e == pytest.approx(
            sum(math.prod(1 + sign * bet * gain for gain in gains) for bet in GRADED_BETS) / len(GRADED_BETS)
        )
    step = HoldbackTest()
    for score, treated in readings:
        step = step.update(score, treated=treated)
    assert step == test


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_holdback_level_holds_at_any_share_while_the_world_swings(share):
    crossed, runs, threshold = 0, 200, 10.0
    for seed in range(runs):
        chance = random.Random(seed)
        rates = [0.6 + 0.3 * math.sin(i / 150) for i in range(800)]
        readings = [(float(chance.random() < rate), chance.random() < share) for rate in rates]
        crossed += HoldbackTest.of(readings, threshold=threshold).alarm
    assert crossed / runs <= 1 / threshold + 3 * math.sqrt(0.1 * 0.9 / runs)


@pytest.mark.parametrize(("share", "readings"), [(0.05, 900), (0.5, 150), (0.95, 900)])
def test_holdback_finds_a_large_harm_at_any_share(share, readings):
    runs = [two_arms(seed, readings, share=share, treated=0.3, held_back=0.7) for seed in range(40)]
    assert sum(HoldbackTest.of(run).alarm for run in runs) >= 30


def test_when_the_world_gets_harder_only_the_rate_is_deceived():
    blamed = cleared = 0
    for seed in range(100):
        readings = two_arms(seed, 400, share=0.5, treated=0.5, held_back=0.5)
        blamed += StartMonitor.of((score for score, arm in readings if arm), rate=0.7).alarm
        cleared += not HoldbackTest.of(readings).alarm
    assert blamed >= 90
    assert cleared >= 97


def test_without_anybody_held_back_nothing_is_concluded():
    test = HoldbackTest.of([(0.0, True)] * 500)
    assert (test.pairs, test.readings, test.e_harm, test.alarm) == (0, 500, 1.0, False)


# ── all of them ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [StartMonitor.of, Cusum.of])
def test_folding_is_updating_one_by_one_and_can_go_on(make):
    scores = [random.Random(i).choice((0.0, 0.0, 0.5, 1.0)) for i in range(60)]
    one_by_one = make([], rate=0.7)
    for score in scores:
        one_by_one = one_by_one.update(score)
    assert one_by_one == make(scores, rate=0.7) == make(scores[:25], rate=0.7).fold(scores[25:])
    assert one_by_one.readings == 60
    assert make([], rate=0.7).e == 1


def test_evidence_without_end_is_still_a_number():
    assert math.isfinite(StartMonitor.of([0] * 5_000, rate=0.7).e)
    assert math.isfinite(HoldbackTest.of([(0, True), (1, False)] * 3_000).e_harm)


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf])
def test_a_score_outside_its_range_is_refused(score):
    for monitor in (StartMonitor(0.7), Cusum(0.7)):
        with pytest.raises(UsageError):
            monitor.update(score)
    with pytest.raises(UsageError):
        HoldbackTest().update(score, treated=True)


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, math.nan])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(UsageError):
        StartMonitor(rate)


@pytest.mark.parametrize("threshold", [0.0, 1.0, math.nan, math.inf])
def test_a_threshold_that_is_no_level_is_refused(threshold):
    with pytest.raises(UsageError):
        Cusum(0.7, threshold)
    with pytest.raises(UsageError):
        HoldbackTest(threshold=threshold)
