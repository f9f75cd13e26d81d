"""What the gate did with all that was proposed: by tier, with what it cost and how many accepts may be false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenspace.domain import Attempt
from tokenspace.gates.settings import GateSettings
from tokenspace.stats import running_fdr


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """Edits of one tier, each counted once, however often it was tried; of all tiers where `tier` is None.

    An edit that was accepted once counts as accepted, also if it was rolled back later. `tested` edits began a
    sequential test, `passed` ones were accepted by it; `calls` are those of the newest judgement of each attempt, and
    `false_discovery` is the running estimate of the share of false accepts among `passed`.
    """

    tier: int | None
    tried: int
    accepted: int
    rejected: int
    deferred: int
    rolled_back: int
    tested: int
    passed: int
    calls: int
    calls_per_edit: float
    false_discovery: float


def report(attempts: Sequence[Attempt], settings: GateSettings) -> list[TierReport]:
    """One row for each tier that has any, strictest last, and one for all; the attempts come oldest first."""
    edits: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        if attempt.edit is not None and attempt.verdict.decision != "abstain":
            edits.setdefault(attempt.edit_key or attempt.key, []).append(attempt)
    groups: dict[int, list[list[Attempt]]] = {}
    for tries in edits.values():
        groups.setdefault(max(one.verdict.tier for one in tries), []).append(tries)
    rows = [_row(tier, groups[tier], settings) for tier in sorted(groups)]
    return [*rows, _row(None, list(edits.values()), settings)] if rows else []


def _row(tier: int | None, edits: Sequence[Sequence[Attempt]], settings: GateSettings) -> TierReport:
    accepted = [tries for tries in edits if any(one.verdict.decision == "accept" for one in tries)]
    others = [tries[-1].verdict.decision for tries in edits if tries not in accepted]
    levels: list[float] = []
    passed = 0
    for tries in edits:
        measured = [one.verdict for one in tries if one.verdict.pairs and one.verdict.tier in settings.alpha]
        if measured:
            levels.append(settings.alpha[measured[-1].tier])
            passed += any(one.decision == "accept" and one.basis == "tested" for one in measured)
    calls = sum(one.verdict.usage.calls for tries in edits for one in tries)
    return TierReport(
        tier=tier,
        tried=len(edits),
        accepted=len(accepted),
        rejected=others.count("reject"),
        deferred=others.count("defer"),
        rolled_back=sum(tries[-1].verdict.decision == "reject" for tries in accepted),
        tested=len(levels),
        passed=passed,
        calls=calls,
        calls_per_edit=calls / len(edits),
        false_discovery=running_fdr(levels, passed),
    )
