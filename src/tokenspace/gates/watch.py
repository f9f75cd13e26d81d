"""Watching canaries: widen what goes well, take back what does not, and say for how long to look.

Three monitors read the outcomes of a canary (gate.md, step 6). The hold-back is the sharpest: other sessions of the
same days under the old context. The start monitor compares with what was known before; after promotion the CUSUM
compares with it for thousands of outcomes more. Nothing here calls a model: a look is a few reads, a roll-back one
write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace

from tokenspace.budget import Budget
from tokenspace.canary import PREFIX, begin
from tokenspace.context import edit_key
from tokenspace.domain import Attempt, Canary, Reading, Revision, Scope, digest
from tokenspace.errors import EditConflict, NotFound
from tokenspace.gates.pipeline import ReplayGate
from tokenspace.gates.replay import ROLLED_BACK
from tokenspace.gates.rollback import roll_back
from tokenspace.gates.settings import GateSettings
from tokenspace.loop import Runtime, judge
from tokenspace.stats import Cusum, HoldbackTest, StartMonitor

OVERTAKEN = "the served line was changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the monitors say of a canary now. `e_*` are evidence that it harms; `alarm` says which one is sure."""

    readings: int
    treated: int
    rate_treated: float | None
    rate_held: float | None
    e_start: float
    e_holdback: float
    e_later: float
    alarm: str = ""


class Watch:
    """Moves canaries on. Built with the gate whose settings it follows."""

    def __init__(self, run: Runtime, gate: ReplayGate) -> None:
        self._run = run
        self._gate = gate

    @property
    def settings(self) -> GateSettings:
        """Shares, and how many outcomes each of them needs."""
        return self._gate.settings

    def look(self, canary: Canary) -> Look:
        """Read the monitors of a canary."""
        readings = self._run.store.readings(canary)
        treated = [one.score for one in readings if one.treated]
        held = [one.score for one in readings if not one.treated]
        start = StartMonitor.of(treated[: self._trial_length(readings, canary)], rate=canary.rate)
        later = Cusum.of(treated if canary.promoted else [], rate=canary.rate)
        holdback = HoldbackTest.of([(one.score, one.treated) for one in readings])
        alarms = {
            f"worse than the hold-back, with evidence of {holdback.e_harm:.3g}": holdback.alarm,
            f"below the known rate of {canary.rate:.2f}, with evidence of {start.e:.3g}": start.alarm,
            f"fell below the known rate of {canary.rate:.2f} after promotion": later.alarm,
        }
        return Look(
            readings=len(readings), treated=len(treated), rate_treated=_mean(treated), rate_held=_mean(held),
            e_start=start.e, e_holdback=holdback.e_harm, e_later=later.e,
            alarm=next((words for words, rings in alarms.items() if rings), ""),
        )  # fmt: skip

    def step(self, scope: Scope) -> list[Canary]:
        """Take back, widen or let go what is visible from a scope; returns the canaries that moved."""
        self._heal(scope)
        moved = list[Canary]()
        for canary in self._run.store.canaries(scope):
            seen = self.look(canary)
            alarm = seen.alarm or self._overtaken(canary)
            if alarm:
                moved += self._stopped(canary, alarm)
                continue
            later = self._next(canary, seen)
            if later != canary:
                self._run.store.save_canary(later)
                moved.append(later)
        return moved

    async def promote(self, scope: Scope, *, budget: Budget) -> AsyncIterator[Attempt]:
        """Ask the gate to let those that went well onto the served line of exactly this scope; yields its answers."""
        store = self._run.store
        for canary in store.canaries(scope):
            if canary.scope != scope or not self.ready(canary):
                continue
            made = store.revision(scope, canary.revision)
            attempt = Attempt(
                scope=scope, key=promotion(canary), proposer=made.author, heads=store.heads(scope),
                evidence=self._evidence(made), edit=made.edit, at=self._run.clock(),
                branch=canary.branch,  # so that nobody but this method judges it again
            )  # fmt: skip
            judged = await judge(self._run, self._gate, attempt, budget=budget)
            if judged.revision is not None:
                self.served(canary, judged.revision)
            elif judged.verdict.decision == "reject":
                self.stop(canary, judged.verdict.reason)
            yield judged

    def _evidence(self, made: Revision) -> tuple[str, ...]:
        """The feedback that the edit was judged by when it was admitted, so that its origin stays what it was (I9)."""
        tried = self._run.store.attempts(made.scope, edit_key=edit_key(made.edit))
        told = {item.id for item in self._run.store.feedback(made.scope)}
        known = next((one.evidence for one in tried if one.revision == made.id), made.edit.evidence)
        return tuple(id for id in known if id in told)

    def ready(self, canary: Canary) -> bool:
        """Whether a canary has been through all its shares, with enough outcomes in each."""
        shares, needed = self.settings.canary_shares, self.settings.canary_readings
        return (
            canary.state == "trial" and canary.share >= shares[-1] and self.look(canary).treated >= needed * len(shares)
        )

    def served(self, canary: Canary, revision: str) -> Canary:
        """Note that it was promoted to the served line by a revision: from here on it is watched there."""
        now = replace(canary, state="served", promoted=revision, share=1.0)
        self._run.store.save_canary(now)
        self._drop(canary)
        return now

    def stop(self, canary: Canary, reason: str) -> Canary:
        """Take a canary back: its branch is offered no more, or its promotion is inverted; kept as a rejection.

        Doing it again changes nothing, so whoever was killed in between can be finished by the next. Raises
        `EditConflict` where what was promoted has been changed again since: then a person must look.
        """
        store, made = self._run.store, self._run.store.revision(canary.scope, canary.revision)
        if canary.promoted is not None:
            bad = store.revision(canary.scope, canary.promoted)
            roll_back(self._run, bad, f"canary: {reason}", author="canary@1", gate=self._gate.name)
        else:
            self._drop(canary)
        verdict = replace(
            made.verdict,
            decision="reject",
            basis="tested",
            reason=reason if reason.startswith(OVERTAKEN) else f"{ROLLED_BACK}: {reason}",
            share=canary.share,
        )
        rejected = Attempt(
            scope=canary.scope, key=digest([ROLLED_BACK, canary.id]), edit_key=edit_key(made.edit),
            proposer=made.author, heads=store.heads(canary.scope), edit=made.edit, verdict=verdict,
            at=self._run.clock(),
        )  # fmt: skip
        store.save_attempt(rejected)
        for asked in store.attempts(canary.scope, key=promotion(canary)):
            if asked.revision is None:
                store.save_attempt(replace(asked, verdict=verdict))
        stopped = replace(canary, state="stopped", share=0.0, reason=reason)
        store.save_canary(stopped)
        return stopped

    def _stopped(self, canary: Canary, reason: str) -> list[Canary]:
        """The canary as stopped; where it cannot be undone without a person, it stays live and says so."""
        try:
            return [self.stop(canary, reason)]
        except EditConflict as error:
            words = f"must be taken back by hand: {reason}; {error}"
            if canary.reason == words:
                return []
            self._run.store.save_canary(replace(canary, reason=words))
            return [replace(canary, reason=words)]

    def _overtaken(self, canary: Canary) -> str:
        """Whether a person, or a roll-back, changed the served line since: those changes must reach every session."""
        if canary.state != "trial":
            return ""
        store = self._run.store
        began = store.revision(canary.scope, canary.revision).parent
        for one in store.log(canary.scope):
            if one.id == began:
                break
            if one.verdict.basis == "human" or one.author in ("canary@1", "release@1"):
                return f"{OVERTAKEN} by {one.author}, and must reach every session"
        return ""

    def _drop(self, canary: Canary) -> None:
        """Offer its line no more; a rival, or whoever was killed in between, may have done so already."""
        with suppress(NotFound):
            self._run.store.drop_branch(canary.scope, canary.branch)

    def _next(self, canary: Canary, seen: Look) -> Canary:
        if canary.state == "served":
            done = seen.treated >= self.settings.watch_readings
            return replace(canary, state="kept") if done else canary
        wider = [share for share in self.settings.canary_shares if share > canary.share]
        stage = len(self.settings.canary_shares) - len(wider)
        enough = seen.treated >= self.settings.canary_readings * stage
        return replace(canary, share=wider[0]) if wider and enough else canary

    def _heal(self, scope: Scope) -> None:
        """Finish what was committed by somebody who was killed before it was noted: an admission, or a promotion."""
        store = self._run.store
        for canary in store.canaries(scope):
            for one in store.attempts(canary.scope, key=promotion(canary)) if canary.state == "trial" else ():
                if one.revision is not None:
                    self.served(canary, one.revision)
        lines = {name: head for name, head in store.branches(scope).items() if name.startswith(PREFIX)}
        known = {one.revision for one in store.canaries(scope, ended=True)} if lines else set[str]()
        for head in lines.values():
            if head is not None and head not in known:
                made = store.revision(scope, head)
                if made.branch.startswith(PREFIX):
                    begin(store, made)

    def _trial_length(self, readings: list[Reading], canary: Canary) -> int:
        """How many treated readings came before the promotion: the start monitor judges those."""
        if canary.promoted is None:
            return len(readings)
        at = self._run.store.revision(canary.scope, canary.promoted).at
        return sum(one.treated and one.at <= at for one in readings)


def promotion(canary: Canary) -> str:
    """The key of the attempt that promotes a canary, whether the gate or a person decides: it happens once (I3)."""
    return digest(["promote", canary.id])


def _mean(scores: list[float]) -> float | None:
    return sum(scores) / len(scores) if scores else None
