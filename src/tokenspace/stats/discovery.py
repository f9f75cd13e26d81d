"""How many of the accepted edits may be false, over a whole stream of them.

A fixed α per tier bounds the false accepts among the edits that do nothing, not among those accepted: hence a
running estimate to publish, and e-LOND for who wants a bound and pays for it in power.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tokenspace.errors import UsageError


def running_fdr(alphas: Iterable[float], accepted: int) -> float:
    """Estimated share of false accepts: Σα over all edits tested so far, divided by those accepted; at most 1.

    Had no edit any merit, at most Σα accepts were to be expected. So it is on the cautious side, the more so the more
    edits are good: an estimate of E[false]/E[accepted], not a bound for one stream. 0 if nothing was accepted. Give
    the α of every edit whose test began, whatever came of it, once per edit.

    >>> round(running_fdr([0.05] * 30 + [0.2] * 10, accepted=14), 3), running_fdr([0.05] * 30, accepted=0)
    (0.25, 0.0)
    """
    levels = list(alphas)
    if not all(0 < alpha < 1 for alpha in levels):
        raise UsageError("a level α is not between 0 and 1", hint="give the α that each edit was tested at, as 0.05")
    if not 0 <= accepted <= len(levels):
        raise UsageError(
            f"{accepted} accepted of {len(levels)} tested is not a count",
            hint="give the α of every tested edit, accepted or not",
        )
    return min(1.0, math.fsum(levels) / accepted) if accepted else 0.0


def e_lond_level(alpha: float, accepted_before: int, index: int) -> float:
    """The level of the edit number `index` (from 1) under e-LOND: accept it when its e-value is ≥ 1/level.

    α·γ_t·(R + 1), with R the accepts before it (Xu and Ramdas 2024): the false-discovery rate stays ≤ α however the
    tests depend on each other. γ_t = 1/log₂(t + 1) − 1/log₂(t + 2) sums to 1 and falls slowly, as t⁻¹·log⁻² t.

    >>> [round(e_lond_level(0.05, accepted, index), 4) for accepted, index in ((0, 1), (0, 10), (9, 10))]
    [0.0185, 0.0005, 0.0051]
    """
    if not 0 < alpha < 1:
        raise UsageError(f"a level of {alpha} is not between 0 and 1", hint="5 % is written 0.05")
    if not 0 <= accepted_before < index:
        raise UsageError(
            f"edit number {index} cannot come after {accepted_before} accepts",
            hint="edits are numbered from 1, in the order of their tests",
        )
    share = 1 / math.log2(index + 1) - 1 / math.log2(index + 2)
    return alpha * share * (accepted_before + 1)
