"""Every number that may change a verdict, in one place; its digest is part of each attempt's key (I3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

T0, T1, T2, T3, T4 = range(5)

_ALPHA: Final = MappingProxyType({T2: 0.2, T3: 0.05, T4: 0.01})
_CAP: Final = MappingProxyType({T2: 20, T3: 200, T4: 200})


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How strict, for whom.

    `teachers` are the principals whose examples may enter the shared layers at T1. `alpha` bounds, per tier, the
    chance that an edit that does not help is ever accepted; `beta` that one that helps by `delta_min` is given
    up; `cap` is the most pairs that are spent on one edit. `trigger_runs` replays the causing episode.
    `neighbours` examples vote on a new one; it is held back when another answer has more than `outvoted` times
    the similarity of its own. `guard_cases` are replayed at most to settle a contested example, which must fix
    `needed_fixes` more than it breaks. One entry may take `entry_share` of the core's tokens.
    """

    teachers: frozenset[str] = frozenset()
    alpha: Mapping[int, float] = field(default_factory=lambda: _ALPHA)
    cap: Mapping[int, int] = field(default_factory=lambda: _CAP)
    beta: float = 0.2
    delta_min: float = 0.10
    trigger_runs: int = 3
    neighbours: int = 7
    outvoted: float = 2.0
    guard_cases: int = 4
    needed_fixes: int = 2
    entry_share: float = 0.25
    seed: int = 0
