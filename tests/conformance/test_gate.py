"""Every rule of gates on the gate that is on by default, and broken gates that the suite must find out."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from tokenspace.domain import Edit, Verdict
from tokenspace.errors import BudgetExceeded
from tokenspace.gates import GateSettings, Replayer, ReplayGate
from tokenspace.gates.cases import one_of_each
from tokenspace.gates.trial import Trial
from tokenspace.graders import build
from tokenspace.testing import check_gate
from tokenspace.testing.arena import Arena, coin, obeying, rule
from tokenspace.testing.gate import GATE_CHECKS, OnTrial, most_successes, run_gate_check


def with_settings(**settings):
    return lambda run, graders: ReplayGate(run, graders, settings=GateSettings(**settings))


OTHERS = tuple(
    with_settings(**changed)
    for changed in (
        {"beta": 0.3}, {"operators": frozenset({"ana"})}, {"alpha": {2: 0.1, 3: 0.05, 4: 0.01}}, {"seed": 1},
        {"cap": {2: 10, 3: 200, 4: 200}}, {"canary_readings": 30},
    )
)  # fmt: skip


@pytest.mark.parametrize("name", GATE_CHECKS)
def test_the_replay_gate_keeps_the_rule(name):
    run_gate_check(name, OnTrial(make=ReplayGate, others=OTHERS))


def test_every_setting_is_part_of_the_name():
    arena, plain = Arena(obeying("x")), GateSettings()
    other = {int: 999, float: 0.123, frozenset: frozenset({"eve"}), tuple: (0.5, 0.95)}
    for field in fields(GateSettings):
        old = getattr(plain, field.name)
        new = other.get(type(old), {2: 0.123, 3: 0.123, 4: 0.123})
        gate = ReplayGate(arena.run, build, settings=replace(plain, **{field.name: new}))
        changes_a_verdict = field.name != "batch"  # only how many replays are under way at once
        assert (gate.name != ReplayGate(arena.run, build).name) is changes_a_verdict, field.name


# ── gates that are broken on purpose ────────────────────────────────────────────────────────


class Broken:
    """A gate with everything but judgement."""

    name = "broken@1"

    def __init__(self, run, graders):
        self.run, self.graders = run, graders

    def replayed(self, proposal):
        replayer = Replayer(self.run, self.graders, proposal.incumbent.scope)
        seen = {*proposal.edit.evidence, *proposal.edit.read}
        cases = [case for case in one_of_each(replayer.cases) if not seen & {case.id, *case.sources}]
        arms = replayer.arms(proposal.incumbent, proposal.candidate, proposal.edit)
        return replayer, [(case, *arms(case)) for case in cases]


class AcceptsEverything(Broken):
    async def judge(self, proposal, *, budget):
        return Verdict(decision="accept", basis="policy", reason="why not")


class AcceptsNothing(Broken):
    async def judge(self, proposal, *, budget):
        return Verdict(decision="reject", basis="policy", reason="never")


class BetterMean(Broken):
    """The rule of most of the field: better on the first five cases."""

    needed = 1e-9

    async def judge(self, proposal, *, budget):
        replayer, arms = self.replayed(proposal)
        gain = 0.0
        try:
            for case, old, new in arms[:5]:
                before = await replayer.score(case, old, budget=budget)
                after = await replayer.score(case, new, budget=budget)
                gain += self.difference(before, after)
        except BudgetExceeded:
            return Verdict(reason="no budget")
        better = len(arms) >= 5 and gain >= self.needed
        return Verdict(decision="accept" if better else "reject", basis="tested", reason=f"it gains {gain}")

    def difference(self, before, after):
        return 0.0 if before is None else (after or 0.0) - before


class ComparesWithWhatFailedLive(BetterMean):
    needed = 5.0

    def difference(self, before, after):
        return after or 0.0


class PaysTwice(BetterMean):
    needed = 5.0

    async def judge(self, proposal, *, budget):
        try:
            replayer, arms = self.replayed(proposal)
            scores = [
                (await replayer.fresh(case, old, budget=budget), await replayer.fresh(case, new, budget=budget))
                for case, old, new in arms
            ]
        except BudgetExceeded:
            return Verdict(reason="no budget")
        good = len(arms) > 5 and all(self.difference(*pair) > 0 for pair in scores)
        return Verdict(decision="accept" if good else "reject", basis="tested", reason="all of them")


class UsesEvidence(ReplayGate):
    async def judge(self, proposal, *, budget):
        unread = Edit(ops=proposal.edit.ops)
        return await super().judge(replace(proposal, edit=unread), budget=budget)


class _MissingIsWrong(Trial):
    async def pair(self, case, old, new):
        pair = await super().pair(case, old, new)
        return replace(pair, incumbent=tuple(score or 0.0 for score in pair.incumbent))


class CountsMissingAsWrong(ReplayGate):
    def trial(self, proposal, budget):
        trial = super().trial(proposal, budget)
        return _MissingIsWrong(**{field.name: getattr(trial, field.name) for field in fields(Trial)})


class ForgetsTheBudget(ReplayGate):
    async def judge(self, proposal, *, budget):
        verdict = await super().judge(proposal, budget=budget)
        return replace(verdict, decision="reject") if verdict.decision == "defer" else verdict


class Moody(ReplayGate):
    asked = 0

    async def judge(self, proposal, *, budget):
        Moody.asked += 1
        verdict = await super().judge(proposal, budget=budget)
        return replace(verdict, fixes=verdict.fixes + Moody.asked)


@pytest.mark.parametrize(
    ("gate", "broken"),
    [
        (AcceptsEverything, "evidence_is_excluded a_live_outcome_is_no_arm thin_data_are_never_enough"),
        (AcceptsEverything, "the_level_is_kept harm_is_not_accepted failed_measurements_accept_nothing"),
        (AcceptsNothing, "enough_evidence_is_accepted"),
        (BetterMean, "the_level_is_kept"),
        (ComparesWithWhatFailedLive, "a_live_outcome_is_no_arm"),
        (PaysTwice, "a_spent_budget_defers_and_the_rest_is_done_later"),
        (UsesEvidence, "evidence_is_excluded"),
        (CountsMissingAsWrong, "failed_measurements_accept_nothing"),
        (ForgetsTheBudget, "a_spent_budget_defers_and_the_rest_is_done_later"),
        (Moody, "equal_questions_get_equal_answers"),
    ],
)  # fmt: skip
def test_the_suite_finds_what_is_broken(gate, broken):
    for name in broken.split():
        with pytest.raises(AssertionError, match=rf"^{name}: "):
            run_gate_check(name, OnTrial(make=gate))


def test_a_gate_with_one_name_for_all_settings_is_found():
    with pytest.raises(AssertionError, match="its_name_tells_settings_apart"):
        run_gate_check("its_name_tells_settings_apart", OnTrial(make=BetterMean, others=(AcceptsNothing,)))


def test_one_call_runs_all_checks_and_names_the_first_that_fails():
    with pytest.raises(AssertionError, match="evidence_is_excluded: I7: cases made from what the proposer"):
        check_gate(AcceptsEverything)


def test_a_stricter_promise_is_held_to_more():
    assert (OnTrial(make=ReplayGate).thin, OnTrial(make=ReplayGate, alpha=0.01).thin) == (2, 6)
    assert most_successes(240, 0.05) < most_successes(240, 0.2) < 240


def test_guarding_needs_no_recall_that_ranks_every_case():
    arena = Arena(coin(3, 0.1, helps=0.9), deterministic=False)
    arena.taught(60)
    verdict = arena.judge(ReplayGate(arena.run, build), rule("It helps.")).verdict
    assert verdict.decision == "accept", verdict.reason
