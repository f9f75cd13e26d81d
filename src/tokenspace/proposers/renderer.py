"""`renderer`: which way of showing entries suits this model here? A bandit proposes, the gate decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tokenspace.budget import Budget
from tokenspace.context.renderers import DOC, STYLES, renderer, styled
from tokenspace.domain import Attempt, Edit, Entry, Evidence, Kind, Op, Patch, Profile, Put, Style
from tokenspace.protocols import Reach

LEAST_FEEDBACK: Final = 20
"""With less than this a style cannot be told from another."""
GROWTH: Final = 2.0
"""A style that lost is tried again when there is this many times as much feedback."""


@dataclass(slots=True, kw_only=True)
class _Arm:
    """What the gate found of one style against what stood: the sum of the differences, and how many pairs."""

    gain: float = 0.0
    pairs: int = 0
    feedback: int = 0


class Renderer:
    """Proposes another style for the scope's own layer, for one model: the arm with the highest upper bound (UCB1).

    The rewards are the differences in score that the gate measured when it judged the style before; one that was never
    judged comes first, in the order of `STYLES`. It reads how much feedback there is and what verdicts said, and no
    outcome, so every case may test what it proposes. UCB1: Auer, Cesa-Bianchi and Fischer, 2002.
    """

    name: str = "renderer@1"
    reach: Reach = "all"

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """One style to try; None when there is too little feedback, or not enough more since all were tried."""
        count = len(evidence.feedback)
        if count < LEAST_FEEDBACK:
            return None
        now = styled(self._profile, evidence.context).style
        arms = self._arms(evidence.tried())
        open_: list[Style] = [style for style in STYLES if style != now and count >= GROWTH * arms[style].feedback]
        if not open_:
            return None
        total = sum(arm.pairs for arm in arms.values())
        style: Style = max(open_, key=lambda one: (_upper(arms[one], total), -STYLES.index(one)))
        return Edit(ops=(self._op(evidence, style),), rationale=_words(style, now, arms))

    def _arms(self, attempts: Sequence[Attempt]) -> dict[Style, _Arm]:
        arms: dict[Style, _Arm] = {style: _Arm() for style in STYLES}
        for attempt in attempts:
            style = self._tried(attempt)
            if style is not None:
                arm = arms[style]
                arm.gain += sum(attempt.verdict.differences)
                arm.pairs += len(attempt.verdict.differences)
                arm.feedback = max(arm.feedback, len(attempt.evidence))
        return arms

    def _tried(self, attempt: Attempt) -> Style | None:
        if attempt.proposer != self.name or attempt.edit is None:
            return None
        said = {_says(op) for op in attempt.edit.ops}
        return next((style for style in STYLES if style in said), None)

    def _op(self, evidence: Evidence, style: Style) -> Op:
        found = renderer(evidence.context, self._profile.model)
        of_this = found is not None and found.trigger == self._profile.model
        if found is not None and of_this and found.id in evidence.context.layers[-1].own:
            return Patch(id=found.id, changes={"text": style})
        return Put(entry=Entry(kind=Kind.RENDERER, doc=DOC, text=style, trigger=self._profile.model))


def _says(op: Op) -> object:
    match op:
        case Put(entry=entry) if entry.kind is Kind.RENDERER:
            return entry.text
        case Patch(changes=changes):
            return changes.get("text")
        case _:
            return None


def _upper(arm: _Arm, total: int) -> float:
    if not arm.pairs:
        return math.inf
    return arm.gain / arm.pairs + math.sqrt(2 * math.log(max(2, total)) / arm.pairs)


def _words(style: Style, now: Style, arms: Mapping[Style, _Arm]) -> str:
    arm = arms[style]
    before = f", {arm.gain / arm.pairs:+.2f} in {arm.pairs} earlier pairs" if arm.pairs else ", not measured yet"
    return f"show entries as {style} instead of {now}{before}"
