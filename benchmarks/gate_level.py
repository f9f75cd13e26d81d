"""How often the real gate lets in what does nothing, what harms, and what liars want: store, cache, loop, canary.

    python benchmarks/gate_level.py [--quick] [--scale S] [--seed N] [--out FILE]

Nothing of the gate is modelled, only the agent is: `ReplayGate` judges through `loop.judge`, with replays remembered
in a store and shared between edits as in production. All in memory but for `sqlite_…`. Wilson bounds at 99 %.

* **Edits that do nothing** (`null_edits`): every edit changes the bytes of every prompt; the agent is right half or
  70 % of the time, whatever it is told, and draws anew for every prompt. `t2_accepted` … are shares; "accepted" at T3
  and T4 means admitted to a canary. An accepted edit is rolled back before the next is judged, or else the lucky draws
  of its test would be an incumbent that the next can hardly beat. Cases at T3 and T4 come from an operator, whose
  evidence counts for all principals; in `…_people_…` from three who are none. Edits of one world share the draws of
  its incumbent, ten edits each, and so are not independent: where these were unlucky, many of its edits pass
  (`…_worst_world` is the share in the worst). α bounds the mean over worlds; `…_upper99_worlds` is its bound with the
  variance between worlds (the design effect), and is the one to believe.
* **Harm** (`_harm.py`): a proposer asks 2,000 times for harm of .2, .3 or .4, also where it mends the request that
  caused it. `harmful_committed` counts what is served or admitted to a canary.
* **Roll-back**: harmful edits are admitted by hand, and sessions run through `act` and `observe`, with a look after
  every tenth outcome. `rolled_back` of `forced_canaries`, with the median outcomes under the edit, and in all.
* **Liars**: k − 1 principals who teach 50 faked cases each, that only the harmful edit can pass, beside three honest
  ones. `sybil_accepted` of `sybil_edits`, and `pooled_accepted`, the share where nobody is left out of the sum.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any, NamedTuple

import _report
from _harm import FAKE, ByHand, Harmful, Traffic, harm
from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.domain import Canary, Signal
from tokenspace.gates import GateSettings, ReplayGate, Watch
from tokenspace.graders import build
from tokenspace.stats import wilson
from tokenspace.testing.arena import RIGHT, SCOPES, Arena, coin, rule

ANA, PEOPLE = ("ana",), ("bob", "eve", "joe")
OPERATOR: dict[str, Any] = {"operators": frozenset(ANA)}
CASES = {2: 24, 3: 40, 4: 40}
PER_WORLD = 40
NULLS_PER_WORLD = 10
SIZES = (0.2, 0.3, 0.4)
HISTORY, LOOK_EVERY, MOST_SESSIONS = 300, 10, 6_000
LIARS = {3: ("mal",), 4: ("mal", "max")}
FAKED = 50


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--scale", type=float, help="part of the full size (default: 1, or .06 with --quick)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.scale = args.scale or (0.06 if args.quick else 1.0)
    figures: dict[str, float] = {}
    for part in (levels, harms, canaries, sybils):
        began = time.perf_counter()
        figures |= part(args)
        figures[f"{part.__name__}_s"] = time.perf_counter() - began
    _report.table("the gate, through the real code", figures.items(), header=("figure", "value"))
    _report.write("gate_level", figures, args)


def scaled(number: int, args: Namespace) -> int:
    """That many at the full scale."""
    return max(1, round(number * args.scale))


# ── edits that do nothing ───────────────────────────────────────────────────────────────────


def levels(args: Namespace) -> dict[str, float]:
    """Shares of accepted null edits with their bounds, per tier and for those who teach."""
    figures: dict[str, float] = {"null_edits": 0}
    plan = [
        ("t2", 2, ("bob",), 5_600), ("t3", 3, ANA, 3_600), ("t4", 4, ANA, 6_400),
        ("t3_people", 3, PEOPLE, 2_400), ("t4_people", 4, PEOPLE, 2_400),
    ]  # fmt: skip
    for name, tier, people, edits in plan:
        worlds = range(max(1, scaled(edits, args) // NULLS_PER_WORLD))
        found = [null_edits(f"{args.seed} {name} {world}", tier, people) for world in worlds]
        figures |= shares(name, found)
        figures["null_edits"] += len(found) * NULLS_PER_WORLD
    with tempfile.TemporaryDirectory() as folder:
        worlds = range(max(1, scaled(40, args)))
        found = [
            null_edits(f"{args.seed} sqlite {world}", 2, ("bob",), store=f"sqlite:///{folder}/{world}.db")
            for world in worlds
        ]
    figures["null_edits"] += len(found) * NULLS_PER_WORLD
    return figures | shares("sqlite_t2", found)


def null_edits(seed: str, tier: int, people: Sequence[str], *, store: str = "memory:") -> int:
    """How many of a world's edits are accepted; the agent is right half or 70 % of the time, by the seed."""
    rate = (0.5, 0.7)[int(seed.rsplit(maxsplit=1)[-1]) % 2]
    arena = Arena(coin(seed, rate), scope=SCOPES[tier], deterministic=False, store=store)
    arena.taught(CASES[tier], people=people)
    gate, accepted = ReplayGate(arena.run, build, settings=GateSettings(**OPERATOR)), 0
    for number in range(NULLS_PER_WORLD):
        judged = arena.judge(gate, rule(f"Rule {number}."))
        assert judged.verdict.tier == tier
        accepted += judged.verdict.decision == "accept"
        arena.take_back(judged)
    arena.run.store.close()
    return accepted


def shares(name: str, found: Sequence[int]) -> dict[str, float]:
    """The share accepted, of worlds with so many accepted each, and its upper bounds."""
    edits, accepted = len(found) * NULLS_PER_WORLD, sum(found)
    share = accepted / edits
    wide = NULLS_PER_WORLD * share * (1 - share)
    effect = max(1.0, statistics.pvariance(found) / wide) if wide else 1.0
    fewer = max(1, round(edits / effect))
    return {
        f"{name}_accepted": share,
        f"{name}_lower99": wilson(accepted, edits, 0.99).low,
        f"{name}_upper99": wilson(accepted, edits, 0.99).high,
        f"{name}_worst_world": max(found) / NULLS_PER_WORLD,
        f"{name}_upper99_worlds": wilson(round(share * fewer), fewer, 0.99).high,
    }


# ── edits that harm ─────────────────────────────────────────────────────────────────────────


class Harmed(NamedTuple):
    """Of one world: how many harmful edits were committed, of those how many were admitted to a canary only."""

    committed: int
    canaries: int
    taken_back: int


def harms(args: Namespace) -> dict[str, float]:
    """What a proposer gets through that always asks for harm, at T2, T3 and T4 alike."""
    figures: dict[str, float] = {"harmful_attempts": 0, "harmful_committed": 0}
    canaried, taken_back = 0, 0
    for tier in SCOPES:
        worlds = range(max(2, scaled(2_000, args) // (3 * PER_WORLD) + 1))
        found = [harmed(f"{args.seed} harm {tier} {world}", tier, noise=(0.0, 0.5)[world % 2]) for world in worlds]
        committed = sum(one.committed for one in found)
        figures[f"harmful_committed_t{tier}"] = committed
        figures["harmful_attempts"] += len(found) * PER_WORLD
        figures["harmful_committed"] += committed
        canaried += sum(one.canaries for one in found)
        taken_back += sum(one.taken_back for one in found)
    return figures | {"harmful_canaries": canaried, "harmful_canaries_rolled_back": taken_back}


def harmed(seed: str, tier: int, *, noise: float) -> Harmed:
    """One world: each attempt is caused by a correction of its own, which becomes a case for those after it."""
    arena = Arena(Traffic(seed, noise=noise), scope=SCOPES[tier], deterministic=noise == 0)
    arena.taught(CASES[tier], people=ANA)
    gate, committed, canaried, taken_back = ReplayGate(arena.run, build, settings=GateSettings(**OPERATOR)), 0, 0, 0
    for number in range(PER_WORLD):
        said = arena.say(arena.act(f"trouble {number}"), RIGHT, by=ANA[0])
        proposer = Harmful(number, SIZES[number % len(SIZES)])
        judged = asyncio.run(loop.learn(arena.run, proposer, gate, feedback=[said], budget=Budget()))
        if judged.revision is None:
            continue
        committed += 1
        for canary in arena.run.store.canaries(arena.scope):
            canaried += 1
            taken_back += until_stopped(arena, Watch(arena.run, gate), canary) is not None
        arena.take_back(judged)
    return Harmed(committed, canaried, taken_back)


# ── what the canary takes back ──────────────────────────────────────────────────────────────


def canaries(args: Namespace) -> dict[str, float]:
    """Harmful edits that were admitted by hand: how many are taken back, and after how many outcomes."""
    found: list[tuple[int, int] | None] = []
    tiers = [tier for tier in SCOPES if tier > 2]
    for number in range(max(6, scaled(36, args))):
        tier, size = tiers[number % 2], SIZES[number // 2 % len(SIZES)]
        arena = Arena(Traffic(f"{args.seed} canary {number}"), scope=SCOPES[tier], deterministic=False, honest=True)
        for past in range(HISTORY):
            outcome(arena, f"past {past}", session=None)
        gate = ReplayGate(arena.run, build)
        arena.judge(ByHand(gate.settings.canary_shares[0]), harm(number, size))
        (canary,) = arena.run.store.canaries(arena.scope)
        found.append(until_stopped(arena, Watch(arena.run, gate), canary))
    stopped = [one for one in found if one is not None]
    return {
        "forced_canaries": len(found),
        "rolled_back": len(stopped),
        "rolled_back_median_treated": statistics.median(treated for treated, _ in stopped),
        "rolled_back_median_outcomes": statistics.median(seen for _, seen in stopped),
        "rolled_back_max_treated": max(treated for treated, _ in stopped),
    }


def outcome(arena: Arena, question: str, *, session: str | None) -> None:
    """One episode and how it ended."""
    episode = arena.act(question, session=session)
    arena.say(episode, episode.output == RIGHT, signal=Signal.LABEL, by="ana")


def until_stopped(arena: Arena, watch: Watch, canary: Canary) -> tuple[int, int] | None:
    """Sessions come until the canary is taken back: (outcomes under it, outcomes in all), or None if it never is."""
    store = arena.run.store
    for number in range(MOST_SESSIONS):
        outcome(arena, f"live {number}", session=f"session {canary.id} {number}")
        if number % LOOK_EVERY == LOOK_EVERY - 1 and any(one.state == "stopped" for one in watch.step(arena.scope)):
            readings = store.readings(canary)
            assert canary.branch not in store.branches(arena.scope)
            return sum(one.treated for one in readings), len(readings)
    return None


# ── liars ───────────────────────────────────────────────────────────────────────────────────


def sybils(args: Namespace) -> dict[str, float]:
    """Harmful edits that liars vouch for: accepted by the gate, and by one that adds up whoever comes."""
    plain = {"principals": {3: 1, 4: 1}}
    figures: dict[str, float] = {}
    for name, settings, edits in (("sybil", {}, 2_000), ("pooled", plain, 400)):
        wanted = scaled(edits, args)
        found = list(islice(lies(args.seed, settings), wanted))
        figures |= {f"{name}_edits": wanted, f"{name}_accepted": sum(found)}
    return figures | {"pooled_share": figures["pooled_accepted"] / figures["pooled_edits"]}


def lies(seed: int, settings: dict[str, Any]) -> Iterator[bool]:
    """Whether each of ever more harmful edits is accepted, at T3 and T4 by turns, in worlds of PER_WORLD each."""
    for world in count():
        tier, noise = 3 + world % 2, (0.0, 0.5)[world // 2 % 2]
        arena = Arena(Traffic(f"{seed} lies {world}", noise=noise), scope=SCOPES[tier], deterministic=noise == 0)
        for liar in LIARS[tier]:
            arena.taught(FAKED, people=(liar,), about=f"{FAKE} by {liar}")
        arena.taught(24, people=PEOPLE)
        gate = ReplayGate(arena.run, build, settings=GateSettings(**settings))
        for number in range(PER_WORLD):
            judged = arena.judge(gate, harm(number, SIZES[number % len(SIZES)]))
            yield judged.verdict.decision == "accept"
            arena.take_back(judged)


if __name__ == "__main__":
    main()
