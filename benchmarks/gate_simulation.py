"""The gate and other accept rules on modelled edits: what they let in, what they miss, what they cost.

    python benchmarks/gate_simulation.py [--quick] [--cases 1000] [--seed 0] [--out FILE]

Nothing here is measured on a model. `_modelled.py` says how the world and its edits are made, `_accept_rules.py` what
each rule does; verdicts come from `tokenspace.stats.SequentialTest` with the numbers of `GateSettings`.

* *One edit at a time*, on a context that stays as it is: every share of affected cases f = 1, .3, .1, every base
  accuracy .5 to .9, deterministic and noisy (two runs of one prompt disagree on one case in six).
* *Streams* of 300 edits: half do nothing, a quarter helps, a quarter harms, by .1, .2 or .4 within the affected cases,
  f = 1, .3 or .1 alike; they start at base .5, .7 and .9. What a rule accepts is served, so later edits meet a better
  or a worse context. The gate's edits also pass its canary, which may take them back; the other rules have none.
* *Harm*: edits of −.2 and −.4 at each tier.

A call is one run of the candidate, or one of the incumbent that is not remembered. Canary outcomes are live traffic
and no calls. *Drawdown* is the largest fall of true accuracy below the highest that it had before, within a stream,
also where it was taken back later; averaged over streams. True accuracy is over all traffic, half of which is no case.

Not modelled: evidence of several principals, cases that cannot be measured, G on pinned cases before full traffic.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from itertools import product
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

import _report
from _accept_rules import RULES, TIERS, Rule, stopped_by_canary
from _modelled import World
from tokenspace.stats import wilson

SHARES = (1.0, 0.3, 0.1)
BASES = (0.5, 0.6, 0.7, 0.8, 0.9)
NOISES = (0.0, 0.5)
SIZES = (0.1, 0.2, 0.4)
PER_WORLD = 20
STREAM = 300
NOTHING = {"aimed": 0.0}
"""An edit that does nothing treats the episode that it was made from like any other situation."""
NULLS = {
    "mends_its_own": {"aimed": 1.0},
    "mends_its_own_by_half": {"aimed": 0.5},
    "no_churn": {"aimed": 0.0, "churn": 0.0},
    "mends_its_own_no_churn": {"aimed": 1.0, "churn": 0.0},
}
"""Harder and easier kinds of nothing: an edit that mends its own episode passes the trigger check."""
Shares = tuple[float, ...]
Place = tuple[float, float, float]
"""Share of affected cases, base accuracy, noise."""
OURS = "the gate"


class Cell(NamedTuple):
    """How often a rule accepted edits of one kind at one share, base and noise."""

    share: float
    base: float
    noise: float
    accepted: int
    attempts: int


class Stream(NamedTuple):
    """What came of a stream of edits under one rule. `early` are the edits judged at a true accuracy up to .9."""

    calls: int
    early_calls: int
    early: int
    drawdown: float
    end: float


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--cases", type=int, default=1_000, help="replayable cases of the scope (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    each = 20 if args.quick else 100
    found = {name: of_rule(rule, name, args, each) for name, rule in RULES.items()}
    head = ("", "nothing", "+.1", "+.2", "+.2 at .9", "+.4", "harm/2000", "calls", "early", "drawdown", "end")
    rows = [[name, *figures.values()] for name, figures in found.items()]
    print("shares accepted; calls per edit over streams, and while accuracy ≤ .9 (early); end = accuracy after 300")
    _report.table("accept rules", rows, header=head)
    figures = found[OURS] | ours(args, each)
    for name, values in found.items():
        if name != OURS:
            figures |= {f"{name.replace(',', '').replace(' ', '_')}_{key}": value for key, value in values.items()}
    _report.write("gate_simulation", figures, args)


def of_rule(rule: Rule, name: str, args: Namespace, each: int) -> dict[str, float]:
    """One row: shares accepted one edit at a time, and what streams came to."""
    gains = {size: cells(rule, (size,), args, each) for size in SIZES}
    runs = list(streams(rule, args, canary=name.startswith(OURS)))
    early = sum(run.early for run in runs)
    return {
        "null_accept": share_of(cells(rule, (0.0,), args, each * (5 if name == OURS else 1), **NOTHING)),
        "power_small": share_of(cell for cell in gains[0.1] if cell.base < 0.85),
        "power": share_of(cell for cell in gains[0.2] if cell.base < 0.85),
        "power_at_90": share_of(cell for cell in gains[0.2] if cell.base > 0.85),
        "power_large": share_of(cell for cell in gains[0.4] if cell.base < 0.85),
        "harmful_committed": 2_000 * share_of(cells(rule, (-0.2, -0.4), args, each)),
        "calls_per_edit": sum(run.calls for run in runs) / (STREAM * len(runs)),
        "calls_per_edit_early": sum(run.early_calls for run in runs) / max(early, 1),
        "drawdown": fmean(run.drawdown for run in runs),
        "end_accuracy": fmean(run.end for run in runs),
    }


def ours(args: Namespace, each: int) -> dict[str, float]:
    """What is only asked of the gate: each tier, each number of affected cases, the worst cells."""
    figures: dict[str, float] = {}
    gate = RULES[OURS]
    nulls = cells(gate, (0.0,), args, each * 5, **NOTHING)
    figures["null_accept_worst_cell"] = max(cell.accepted / cell.attempts for cell in nulls)
    accepted, attempts = sum(cell.accepted for cell in nulls), sum(cell.attempts for cell in nulls)
    figures["null_accept_upper_99"] = wilson(accepted, attempts, 0.98).high
    for name, of_world in NULLS.items():
        figures[f"null_accept_{name}"] = share_of(cells(gate, (0.0,), args, each * 2, **of_world))
    gains = [cell for cell in cells(gate, (0.2,), args, each * 2) if cell.base < 0.85]
    figures["power_worst_cell"] = min(cell.accepted / cell.attempts for cell in gains)
    for share in SHARES:
        figures[f"power_share_{share:g}"] = share_of(cell for cell in gains if cell.share == share)
    for noise, name in zip(NOISES, ("deterministic", "noisy"), strict=True):
        figures[f"power_{name}"] = share_of(cell for cell in gains if cell.noise == noise)
    for affected in (30, 60, 100, 200):
        few = cells(gate, (0.2,), args, each, cases=affected, shares=(1.0,))
        figures[f"power_{affected}_affected"] = share_of(cell for cell in few if cell.base < 0.85)
    for tier, rule in TIERS.items():
        figures |= of_harm(rule, tier, args, each * 2)
    figures["harmful_committed"] = max(figures[f"harmful_committed_{tier}"] for tier in TIERS)
    _report.table("the gate alone", figures.items())
    return figures


def of_harm(rule: Rule, tier: str, args: Namespace, each: int) -> dict[str, float]:
    """Harmful edits committed per 2,000 attempts at a tier, and how many of those its canary leaves."""
    attempts = committed = left = 0
    for world, (share, _, _) in worlds(args, each):
        for effect in (-0.2, -0.4):
            change = world.propose(effect, share)
            attempts += 1
            if rule(world, change):
                committed += 1
                canary = tier != "T2" and stopped_by_canary(world.rng, world.accuracy, float(change.after.mean()))
                left += not canary
    return {f"harmful_committed_{tier}": 2_000 * committed / attempts, f"harmful_left_{tier}": 2_000 * left / attempts}


# ── One edit at a time ───────────────────────────────────────────────────────────────────────


def worlds(
    args: Namespace, each: int, *, cases: int = 0, shares: Shares = SHARES, **of_world: float
) -> Iterator[tuple[World, Place]]:
    """A held world for every attempt, a new one after PER_WORLD of them, at each noise, base and share.

    `of_world` are `aimed` and `churn`, where they are not the usual ones.
    """
    for noise, base, share in product(NOISES, BASES, shares):
        rng = np.random.default_rng([args.seed, int(base * 10), int(share * 10), int(noise * 10)])
        for attempt in range(each):
            if attempt % PER_WORLD == 0:
                world = World(rng, base=base, noise=noise, cases=cases or args.cases)
                world.held = True
                vars(world).update(of_world)
            yield world, (share, base, noise)


def cells(rule: Rule, effects: tuple[float, ...], args: Namespace, each: int, **of_worlds: Any) -> list[Cell]:
    """How often a rule accepts edits of these effects, cell by cell."""
    counts: dict[Place, list[bool]] = {}
    for world, place in worlds(args, each, **of_worlds):
        counts.setdefault(place, []).extend(rule(world, world.propose(effect, place[0])) for effect in effects)
    return [Cell(*place, sum(accepted), len(accepted)) for place, accepted in counts.items()]


def share_of(found: Iterable[Cell]) -> float:
    """Accepted share over all cells, which count alike."""
    return fmean(cell.accepted / cell.attempts for cell in found)


# ── Streams ──────────────────────────────────────────────────────────────────────────────────


def streams(rule: Rule, args: Namespace, *, canary: bool) -> Iterator[Stream]:
    """Streams from each base and noise."""
    for noise in NOISES:
        for base in (0.5, 0.7, 0.9):
            for number in range(1 if args.quick else 5):
                rng = np.random.default_rng([args.seed, 7, number, int(base * 10), int(noise * 10)])
                yield stream(rule, World(rng, base=base, noise=noise, cases=args.cases), canary=canary)


def stream(rule: Rule, world: World, *, canary: bool) -> Stream:
    """One stream of edits from a mix of effects and shares."""
    rng, top, drawdown, early, early_calls = world.rng, world.accuracy, 0.0, 0, 0
    for _ in range(STREAM):
        sign = rng.choice((0, 1, -1), p=(0.5, 0.25, 0.25))
        change = world.propose(float(sign * rng.choice(SIZES)), float(rng.choice(SHARES)))
        success, known, accuracy, spent = world.success, world.known.copy(), world.accuracy, world.spent
        accepted = rule(world, change)
        if accuracy <= 0.9:
            early, early_calls = early + 1, early_calls + world.spent - spent
        if not accepted:
            continue
        stopped = stopped_by_canary(rng, accuracy, world.accuracy) if canary else ""
        if stopped != "trial":
            top = max(top, world.accuracy)
            drawdown = max(drawdown, top - world.accuracy)
        if stopped:
            world.success, world.known = success, known
    return Stream(world.spent, early_calls, early, drawdown, world.accuracy)


if __name__ == "__main__":
    main()
