"""Pure mathematics of the gate: paired outcomes, betting tests and intervals. No I/O, standard library only."""

from __future__ import annotations

from tokenspace.stats.ablation import SURE, Ablation, Suspect, settled
from tokenspace.stats.betting import (
    BINARY_BETS,
    GRADED_BETS,
    Finding,
    SequentialTest,
    cases_needed,
    e_value,
    fixes_needed,
    log_e,
    log_mean,
)
from tokenspace.stats.discovery import e_lond_level, running_fdr
from tokenspace.stats.intervals import Interval, bootstrap_mean, mean_difference, wilson
from tokenspace.stats.lift import NO_LIFT, Lift
from tokenspace.stats.monitors import MONITOR_BETS, Cusum, HoldbackTest, StartMonitor
from tokenspace.stats.paired import MAX_MISSING_SHARE, Pair, PairedOutcomes
from tokenspace.stats.panel import Panel

__all__ = [
    "BINARY_BETS",
    "GRADED_BETS",
    "MAX_MISSING_SHARE",
    "MONITOR_BETS",
    "NO_LIFT",
    "SURE",
    "Ablation",
    "Cusum",
    "Finding",
    "HoldbackTest",
    "Interval",
    "Lift",
    "Pair",
    "PairedOutcomes",
    "Panel",
    "SequentialTest",
    "StartMonitor",
    "Suspect",
    "bootstrap_mean",
    "cases_needed",
    "e_lond_level",
    "e_value",
    "fixes_needed",
    "log_e",
    "log_mean",
    "mean_difference",
    "running_fdr",
    "settled",
    "wilson",
]
