"""Edit → verdict: the statistical gate that every write to a context passes. One criterion per file."""

from __future__ import annotations

from tokenspace.gates.audit import Audit
from tokenspace.gates.benefit import Benefit
from tokenspace.gates.beside import Answer, Beside, beside
from tokenspace.gates.contested import Contested
from tokenspace.gates.contract import Contract
from tokenspace.gates.explain import Explanation, Line, Step, explain
from tokenspace.gates.guard import Guard
from tokenspace.gates.noise import Noise, noise_floor
from tokenspace.gates.pinned import Pinned
from tokenspace.gates.pipeline import ReplayGate
from tokenspace.gates.release import Release, ReleaseCheck
from tokenspace.gates.replay import Replayer
from tokenspace.gates.report import TierReport, report
from tokenspace.gates.rollback import roll_back
from tokenspace.gates.settings import T0, T1, T2, T3, T4, GateSettings
from tokenspace.gates.shorter import Shorter
from tokenspace.gates.stage import FullTraffic, Stage
from tokenspace.gates.static import StaticChecks
from tokenspace.gates.tier import tier
from tokenspace.gates.trial import Condition, Criterion, Trial
from tokenspace.gates.trigger import TriggerCheck
from tokenspace.gates.watch import Look, Watch, promotion
from tokenspace.gates.why import REPLAYS, Cause, why

__all__ = [
    "REPLAYS",
    "T0",
    "T1",
    "T2",
    "T3",
    "T4",
    "Answer",
    "Audit",
    "Benefit",
    "Beside",
    "Cause",
    "Condition",
    "Contested",
    "Contract",
    "Criterion",
    "Explanation",
    "FullTraffic",
    "GateSettings",
    "Guard",
    "Line",
    "Look",
    "Noise",
    "Pinned",
    "Release",
    "ReleaseCheck",
    "ReplayGate",
    "Replayer",
    "Shorter",
    "Stage",
    "StaticChecks",
    "Step",
    "TierReport",
    "Trial",
    "TriggerCheck",
    "Watch",
    "beside",
    "explain",
    "noise_floor",
    "promotion",
    "report",
    "roll_back",
    "tier",
    "why",
]
