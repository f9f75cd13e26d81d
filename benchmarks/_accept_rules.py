"""Accept rules on a modelled world: the gate of this project, and what others do instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np

from _modelled import Change, World
from tokenspace.gates import T2, T3, T4, GateSettings
from tokenspace.stats import Cusum, HoldbackTest, SequentialTest, StartMonitor, wilson

Rule = Callable[[World, Change], bool]
NOTHING = np.empty(0, dtype=int)
SETTINGS = GateSettings()


@cache
def finding(fixes: int, breaks: int, ties: int, tier: int) -> str:
    """What the gate's own test says of these counts."""
    test = SequentialTest.of_counts(fixes, breaks, ties=ties, delta_min=SETTINGS.delta_min)
    return test.decide(alpha=SETTINGS.alpha[tier], beta=SETTINGS.beta, cap=SETTINGS.cap[tier])


def gate(world: World, change: Change, *, tier: int = T3, pinned: bool = False) -> bool:
    """Trigger check, sequential benefit, guard and audit; serves the edit if all agree.

    `pinned`: a scope that has pinned cases. They are no evidence of benefit; after it was found, a confirmed break of
    one rejects. All evidence is one party's, so nothing is dropped (k = 1).
    """
    runs = SETTINGS.trigger_runs if world.noise else 1
    world.spent += runs
    if 3 * int((world.rng.random(runs) < change.mended).sum()) < 2 * runs:
        return False
    order = _order(world, change, pinned=pinned)
    seen, new, found = _benefit(world, change, order[: SETTINGS.cap[tier]], tier)
    if found != "accept" or (pinned and _breaks_pinned(world, change)):
        return False
    if _guard_objects(world, change, order[len(seen) :][: SETTINGS.guard_pairs], tier):
        return False
    if not world.noise:  # the audit: both arms, nothing remembered
        world.spent += 2 * min(SETTINGS.audit_most, int((~change.affected[: world.cases]).sum()))
    world.commit(change, seen, new)
    return True


def _order(world: World, change: Change, *, pinned: bool) -> np.ndarray:
    affected = np.flatnonzero(change.affected[: world.cases])
    drawn = world.rng.permutation(affected[affected != change.trigger])
    return drawn[~np.isin(drawn, world.pinned)] if pinned else drawn


def _benefit(world: World, change: Change, order: np.ndarray, tier: int) -> tuple[np.ndarray, np.ndarray, str]:
    """The cases that were needed, what the candidate made of them, and what was found."""
    new, (old, _) = world.draw(change.after[order]), world.incumbent(order)
    fixes = breaks = ties = 0
    found = "continue"
    for difference in (new - old).tolist():
        fixes, breaks, ties = fixes + (difference > 0), breaks + (difference < 0), ties + (difference == 0)
        found = finding(fixes, breaks, ties, tier)
        if found != "continue":
            break
    pairs = fixes + breaks + ties
    world.pay(order[:pairs], old[:pairs])
    return order[:pairs], new[:pairs], found


def _breaks_pinned(world: World, change: Change) -> bool:
    """A break of an affected pinned case that most of three re-rolls of both arms show again."""
    pinned = world.pinned[change.affected[world.pinned]]
    new, (old, _) = world.draw(change.after[pinned]), world.incumbent(pinned)
    world.pay(pinned, old)
    broken = pinned[new < old]
    if not world.noise:
        return len(broken) > 0
    for case in broken:
        world.spent += 6
        again = world.rng.random((2, 3)) < np.array([[change.after[case]], [world.success[case]]])
        if int((again[0] < again[1]).sum()) > 1:
            return True
    return False


def _guard_objects(world: World, change: Change, cases: np.ndarray, tier: int) -> bool:
    """Harm on a few more affected cases. Which are "most similar" the model cannot say: they are drawn at random."""
    new, (old, _) = world.draw(change.after[cases]), world.incumbent(cases)
    world.pay(cases, old)
    fixes, breaks = int((new > old).sum()), int((new < old).sum())
    harmful = SequentialTest.of_counts(fixes, breaks).harmful(alpha=SETTINGS.alpha[tier])
    return harmful or (not world.noise and breaks > fixes + 1)


def stopped_by_canary(rng: np.random.Generator, before: float, after: float) -> str:
    """When the watch takes back an accepted edit: on "trial", once "served", or never ("").

    Outcomes of live sessions: 20 treated ones at each share, beside the hold-back, then 3,000 more under full
    traffic. The known rate is a 95 % lower bound from 300 outcomes before.
    """
    rate = wilson(int(rng.binomial(300, before)), 300).low
    treated, readings = list[float](), list[tuple[float, bool]]()
    for share in SETTINGS.canary_shares:
        target = len(treated) + SETTINGS.canary_readings
        while len(treated) < target:
            arm = bool(rng.random() < share)
            score = float(rng.random() < (after if arm else before))
            readings.append((score, arm))
            treated += [score] * arm
    if StartMonitor.of(treated, rate=rate).alarm or HoldbackTest.of(readings).alarm:
        return "trial"
    later = (rng.random(SETTINGS.watch_readings) < after).astype(float).tolist()
    return "served" if Cusum.of(later, rate=rate).alarm else ""


# ── What others do ───────────────────────────────────────────────────────────────────────────


def no_gate(world: World, change: Change) -> bool:
    """Append everything."""
    world.commit(change, NOTHING, NOTHING)
    return True


def better_mean(world: World, change: Change, *, cases: int) -> bool:
    """Run the candidate on a fixed validation set; accept the better mean."""
    return _whole_set(world, change, cases, lambda fixes, breaks: fixes > breaks)


def mcnemar(world: World, change: Change, *, cases: int = 100) -> bool:
    """Accept if the exact two-sided test of fixes against breaks on a fixed validation set has p < .05."""
    return _whole_set(world, change, cases, _significant)


def minibatch(world: World, change: Change, *, cases: int = 100) -> bool:
    """The causing episode and two other cases first; if their sum is better, the mean of the validation set."""
    others = world.rng.choice(world.cases, 2, replace=False)
    old, _ = world.incumbent(others)
    new = world.draw(change.after[others])
    world.pay(others, old)
    world.spent += 1  # the causing episode, on which the incumbent has failed already
    if int(world.rng.random() < change.mended) + int(new.sum()) <= int(old.sum()):
        return False
    return better_mean(world, change, cases=cases)


def _whole_set(world: World, change: Change, cases: int, better: Callable[[int, int], bool]) -> bool:
    every = np.arange(cases)
    new, (old, _) = world.draw(change.after[every]), world.incumbent(every)
    world.pay(every, old)
    accepted = better(int((new > old).sum()), int((new < old).sum()))
    if accepted:
        world.commit(change, every, new)
    return accepted


@cache
def _significant(fixes: int, breaks: int) -> bool:
    n = fixes + breaks
    return fixes > breaks and 2 * sum(math.comb(n, k) for k in range(fixes, n + 1)) / 2**n < 0.05


RULES: dict[str, Rule] = {
    "the gate": gate,
    "the gate, 20 pinned cases": partial(gate, pinned=True),
    "no gate": no_gate,
    "better mean, 50 cases": partial(better_mean, cases=50),
    "better mean, 100 cases": partial(better_mean, cases=100),
    "better mean, 300 cases": partial(better_mean, cases=300),
    "McNemar, 100 cases": mcnemar,
    "minibatch, then mean of 100": minibatch,
}
TIERS: dict[str, Rule] = {f"T{tier}": partial(gate, tier=tier) for tier in (T2, T3, T4)}
"""The gate at each of its levels; `gate` alone is T3, the default level."""
