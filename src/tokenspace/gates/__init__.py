"""Edit → verdict: the statistical gate that every write to a context passes. One criterion per file."""

from __future__ import annotations

from tokenspace.gates.benefit import Benefit
from tokenspace.gates.contested import Contested
from tokenspace.gates.pinned import Pinned
from tokenspace.gates.pipeline import ReplayGate
from tokenspace.gates.replay import Replayer
from tokenspace.gates.settings import T0, T1, T2, T3, T4, GateSettings
from tokenspace.gates.static import StaticChecks
from tokenspace.gates.tier import tier
from tokenspace.gates.trial import Criterion, Trial
from tokenspace.gates.trigger import TriggerCheck

__all__ = [
    "T0",
    "T1",
    "T2",
    "T3",
    "T4",
    "Benefit",
    "Contested",
    "Criterion",
    "GateSettings",
    "Pinned",
    "ReplayGate",
    "Replayer",
    "StaticChecks",
    "Trial",
    "TriggerCheck",
    "tier",
]
