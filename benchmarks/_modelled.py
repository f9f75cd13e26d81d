"""A modelled agent whose edits have known effects: the world of `gate_simulation.py`. Nothing here is measured.

A *situation* is something that users ask; it has a probability of success under the served context. Traffic is twice
as many situations as there are replayable cases, and the cases are the first half: true accuracy is the mean over all
traffic, of which a gate sees only the cases. A *firm* situation always ends the same way; a share `noise` of them is
*shaky*, with a probability of success drawn from Beta(4·base, 4·(1 − base)). At noise .5 and base .7 two runs of one
prompt disagree on 17 % of the cases.

An edit changes a share of the situations (whose prompts alone change). Among them it mends each with one probability
and spoils each with another, so that their mean moves by the effect, less where accuracy would leave [0, 1]; up to
CHURN more are mended and as many spoiled, also by an edit that does nothing on average. An edit is made from an
episode that failed. One that helps mends that episode (success 1, or .9 in a noisy world); of all others a share of
AIMED does too, as a proposer that writes the answer into the edit would; the rest treat it like any other situation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHURN = 0.05
AIMED = 0.5
PINNED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An edit on trial: success probabilities of all traffic with it, and of the episode that it was made from."""

    effect: float
    affected: np.ndarray
    after: np.ndarray
    trigger: int
    mended: float


class World:
    """Traffic, replayable cases, and what was paid for.

    `known` holds one remembered outcome per case under the served context, −1 where there is none. `spent` counts
    model calls. A world that is `held` judges edits and serves none, so that accuracy stays what it was. `aimed` is
    the share of edits without benefit that mend the episode that they were made from; `churn` is CHURN, or less.
    """

    held = False
    aimed = AIMED
    churn = CHURN

    def __init__(self, rng: np.random.Generator, *, base: float, noise: float, cases: int) -> None:
        self.rng, self.noise, self.cases = rng, noise, cases
        firm = (rng.random(2 * cases) < base).astype(float)
        shaky = rng.beta(4 * base, 4 * (1 - base), 2 * cases)
        self.success = np.where(rng.random(2 * cases) < noise, shaky, firm)
        # what a person may pin: cases that gave the same right answer every time
        self.pinned = np.flatnonzero(self.success[:cases] == 1)[:PINNED]
        self.known = np.full(cases, -1, dtype=np.int8)
        self.spent = 0

    @property
    def accuracy(self) -> float:
        """True accuracy of what is served."""
        return float(self.success.mean())

    def propose(self, effect: float, share: float) -> Change:
        """An edit with this effect on this share of the traffic, made from a failed episode that it would affect."""
        rng, before = self.rng, self.success
        affected = rng.random(len(before)) < share
        mean = float(before[affected].mean())
        up, down = min(max(effect, 0), 1 - mean), min(max(-effect, 0), mean)
        churn = max(0.0, min(self.churn, 1 - mean - up, mean - down))
        draw = rng.random(len(before))
        mend, spoil = (up + churn) / max(1 - mean, 1e-9), (down + churn) / max(mean, 1e-9)
        changed = np.where(draw < spoil, 0.0, np.where(draw > 1 - mend, 1.0, before))
        after = np.where(affected, changed, before)
        failing = (1 - before[: self.cases]) * affected[: self.cases]
        trigger = int(rng.choice(self.cases, p=failing / failing.sum())) if failing.sum() else 0
        aimed = effect > 0 or rng.random() < self.aimed
        mended = (0.9 if self.noise else 1.0) if aimed else float(after[trigger])
        return Change(effect=effect, affected=affected, after=after, trigger=trigger, mended=mended)

    def draw(self, success: np.ndarray) -> np.ndarray:
        """One run of each."""
        return (self.rng.random(len(success)) < success).astype(np.int8)

    def incumbent(self, cases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outcomes of these cases under the served context, remembered or new, and which of them are new."""
        known = self.known[cases]
        return np.where(known < 0, self.draw(self.success[cases]), known), known < 0

    def pay(self, cases: np.ndarray, old: np.ndarray) -> None:
        """Charge one candidate run per case and the incumbent runs that were not remembered yet, and remember them."""
        self.spent += len(cases) + int((self.known[cases] < 0).sum())
        self.known[cases] = old

    def commit(self, change: Change, cases: np.ndarray, new: np.ndarray) -> None:
        """Serve an edit: affected cases are forgotten, except that what the candidate answered is now the incumbent."""
        if self.held:
            return
        self.success = change.after
        self.known[change.affected[: self.cases]] = -1
        self.known[cases] = new
