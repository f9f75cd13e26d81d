"""Every number that may change a verdict, in one place; its digest is part of each attempt's key (I3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

T0, T1, T2, T3, T4 = range(5)

BATCH: Final = 8
"""Pairs in flight at once on a model that somebody else serves: 16 calls."""

_ALPHA: Final = MappingProxyType({T2: 0.2, T3: 0.05, T4: 0.01})
_CAP: Final = MappingProxyType({T2: 20, T3: 200, T4: 200})
_PRINCIPALS: Final = MappingProxyType({T2: 1, T3: 2, T4: 3})
_MARGIN: Final = MappingProxyType({T2: 0.05, T3: 0.05, T4: 0.02})


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How strict, for whom.

    **Who counts.** `teachers` are the principals whose examples may enter the shared layers at T1. `principals` is,
    per tier, how many distinct ones must support an edit, and one less than that is how many may lie together without
    effect. The evidence of `operators` counts for all of them. From tier `human_from` on a person has the last word.

    **The test.** `alpha` bounds, per tier, the chance that an edit that does not help is ever accepted; `beta` that
    one that helps by `delta_min` is given up; `cap` is the most pairs that are spent on one edit; `margin` is the
    loss that must be ruled out before full traffic, and before an edit that only shortens is accepted. `trigger_runs`
    replays the causing episode, `guard_pairs` the most similar cases after a benefit was found, and `audit_share`
    of the cases whose prompt did not change is run all the same, at most `audit_most` for an edit.

    **Examples.** `neighbours` vote on a new one; it is held back when another answer has more than `outvoted` times
    the similarity of its own. `guard_cases` are replayed at most to settle a contested example, which must fix
    `needed_fixes` more than it breaks. One entry may take `entry_share` of the core's tokens.

    **Canary.** The shares of sessions, one after the other; each needs `canary_readings` outcomes. What is promoted
    is watched for `watch_readings` more.

    **Release.** After `release_every` revisions the whole is checked, in sleep.

    **Cases.** A `sealed_share` of them is kept for release checks, of which there are at most `sealed_queries` a
    month, and one part in `resting_parts` rests each month, so that nothing is fitted to the same cases for ever:
    both only where at least `large_pool` clusters are left to test with.

    **Authority.** A text below the agent's own authority leaves quarantine when so many distinct principals as
    `elevating` stand for it, and replays do. A principal has `writes_per_day` in a scope, an agent or a tool that
    speaks for itself `agent_writes_per_day`. No edit is judged by a tier below `least_tier`.

    **Pace.** `batch` pairs are replayed at once; 0 lets the model decide: one at a time if it is deterministic (and so
    most likely on this machine), else `BATCH`. It changes no verdict, and is no part of a gate's digest.
    """

    teachers: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    principals: Mapping[int, int] = field(default_factory=lambda: _PRINCIPALS)
    human_from: int = T4 + 1
    alpha: Mapping[int, float] = field(default_factory=lambda: _ALPHA)
    cap: Mapping[int, int] = field(default_factory=lambda: _CAP)
    margin: Mapping[int, float] = field(default_factory=lambda: _MARGIN)
    beta: float = 0.2
    delta_min: float = 0.10
    trigger_runs: int = 3
    guard_pairs: int = 8
    audit_share: float = 0.05
    audit_most: int = 2
    neighbours: int = 7
    outvoted: float = 2.0
    guard_cases: int = 4
    needed_fixes: int = 2
    entry_share: float = 0.25
    canary_shares: tuple[float, ...] = (0.05, 0.25, 0.95)
    canary_readings: int = 20
    watch_readings: int = 3_000
    release_every: int = 20
    sealed_share: float = 0.1
    sealed_queries: int = 10
    resting_parts: int = 5
    large_pool: int = 200
    seed: int = 0
    elevating: int = 3
    writes_per_day: int = 2_000
    agent_writes_per_day: int = 100
    least_tier: int = T0
    batch: int = 0
