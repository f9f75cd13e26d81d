"""Pure mathematics of the gate: paired outcomes, betting tests and intervals. No I/O, standard library only."""

from __future__ import annotations

from tokenspace.stats.betting import (
    BINARY_BETS,
    GRADED_BETS,
    Finding,
    SequentialTest,
    cases_needed,
    e_value,
    fixes_needed,
    log_e,
)
from tokenspace.stats.intervals import Interval, bootstrap_mean, mean_difference, wilson
from tokenspace.stats.paired import MAX_MISSING_SHARE, Pair, PairedOutcomes

__all__ = [
    "BINARY_BETS",
    "GRADED_BETS",
    "MAX_MISSING_SHARE",
    "Finding",
    "Interval",
    "Pair",
    "PairedOutcomes",
    "SequentialTest",
    "bootstrap_mean",
    "cases_needed",
    "e_value",
    "fixes_needed",
    "log_e",
    "mean_difference",
    "wilson",
]
