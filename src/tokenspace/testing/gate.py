"""The conformance suite of gates: a gate is done when `check_gate` passes.

Each check is a function of the gate on trial; its docstring is the rule that it checks. It builds a world of its own
(`tokenspace.testing.arena`) and lets the loop judge edits there. Replays tell what an edit does; live answers were
wrong always, because that is why there are cases.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tokenspace.budget import Budget
from tokenspace.context import apply, stamp
from tokenspace.domain import Attempt, Case, Evidence, GraderSpec, Proposal, Verdict
from tokenspace.errors import ModelTimeout
from tokenspace.graders import build
from tokenspace.loop import Runtime
from tokenspace.protocols import Gate, Grader
from tokenspace.testing.arena import RIGHT, SCOPES, WRONG, Arena, coin, obeying, rule
from tokenspace.testing.samples import USER

Graders = Callable[[GraderSpec], Grader]
MakeGate = Callable[[Runtime, Graders], Gate]

HELP: Final = "Say that it helps."
LATE: Final = ModelTimeout("no answer in time", hint="this is a test")
WORLDS, NULLS, CASES = 24, 10, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTrial:
    """A gate to check: how to make it, the level α that it promises for one user's rules, and other settings of it."""

    make: MakeGate
    alpha: float = 0.2
    others: tuple[MakeGate, ...] = ()

    def judges(self, arena: Arena, *, graders: Graders = build) -> Gate:
        """The gate of this arena."""
        return self.make(arena.run, graders)

    @property
    def thin(self) -> int:
        """So few cases that no test of level α can accept, even if the edit mends each of them."""
        return math.ceil(-math.log2(self.alpha)) - 1


def check_gate(make: MakeGate, *, alpha: float = 0.2, others: tuple[MakeGate, ...] = ()) -> None:
    """Run every check. Raises AssertionError that names the rule that was broken.

    `make` builds the gate on trial for a runtime and its graders. `alpha` is the level that it promises for a rule in
    a user's own scope. `others` make the same gate with other settings, one or more.
    """
    for name in GATE_CHECKS:
        run_gate_check(name, OnTrial(make=make, alpha=alpha, others=others))


def run_gate_check(name: str, gate: OnTrial) -> None:
    """Run one check of `GATE_CHECKS`."""
    check = GATE_CHECKS[name]
    try:
        check(gate)
    except AssertionError as error:
        raise AssertionError(f"{name}: {(check.__doc__ or '').strip()} {error}") from error


# ── what may be evidence ────────────────────────────────────────────────────────────────────


def evidence_is_excluded(gate: OnTrial) -> None:
    """I7: cases made from what the proposer cited or read do not count, however many they are."""
    for how in ("cited feedback", "cited episodes", "read cases", "read episodes"):
        arena = Arena(obeying(HELP))
        said, cases = arena.taught(CASES), arena.run.store.cases(arena.scope)
        ids = {"cases": [one.id for one in cases], "episodes": [one.episode for one in said]}
        seen = ids.get(how.split()[1], [one.id for one in said])
        edit = rule(HELP, evidence=seen) if how.startswith("cited") else rule(HELP, read=seen)
        _refused(arena, arena.judge(gate.judges(arena), edit), f"on {how} alone")


def a_live_outcome_is_no_arm(gate: OnTrial) -> None:
    """I7: that the agent failed live is no evidence: replays of both contexts are right, and so nothing is better."""
    arena = Arena(obeying(HELP, told=RIGHT, untold=RIGHT))
    arena.taught(CASES)
    _refused(arena, arena.judge(gate.judges(arena), rule(HELP)), "although every replay was right without it")


def thin_data_are_never_enough(gate: OnTrial) -> None:
    """So few cases that chance alone mends them all accept no rule, for a user, a tenant or everybody."""
    for scope in SCOPES.values():
        for cases in range(gate.thin + 1):
            arena = Arena(obeying(HELP), scope=scope)
            arena.taught(cases)
            _refused(arena, arena.judge(gate.judges(arena), rule(HELP)), f"on {cases} case(s) in {scope}")


# ── how good its answers are ────────────────────────────────────────────────────────────────


def the_level_is_kept(gate: OnTrial) -> None:
    """Edits that do nothing are accepted at most as often as α allows, through the real loop, with a noisy model.

    What is accepted is rolled back, or the lucky draws of its test would be the incumbent of all that follow.
    """
    accepted = 0
    for world in range(WORLDS):
        arena = Arena(coin(world), deterministic=False)
        arena.taught(CASES)
        judge = gate.judges(arena)
        for number in range(NULLS):
            judged = arena.judge(judge, rule(f"Rule {number}."))
            accepted += judged.verdict.decision == "accept"
            arena.take_back(judged)
    tried = WORLDS * NULLS
    most = most_successes(tried, gate.alpha)
    assert accepted <= most, f"{accepted} of {tried} were accepted, where at most {most} are likely"


def enough_evidence_is_accepted(gate: OnTrial) -> None:
    """A rule that mends every one of many cases, and breaks none, is accepted and served."""
    arena = Arena(obeying(HELP))
    arena.taught(2 * CASES)
    judged = arena.judge(gate.judges(arena), rule(HELP))
    assert judged.verdict.decision == "accept", f"It was not: {judged.verdict.reason}"
    assert judged.verdict.basis == "tested", f"Its basis is {judged.verdict.basis}, and not that it was tested"
    assert _served(arena) == [HELP]


def harm_is_not_accepted(gate: OnTrial) -> None:
    """An edit that breaks what was right is rejected or deferred, also where it mends a little, and for everybody."""
    for scope in SCOPES.values():
        arena = Arena(obeying(HELP, told=WRONG, untold=RIGHT), scope=scope)
        arena.taught(CASES)
        _refused(arena, arena.judge(gate.judges(arena), rule(HELP)), f"and breaks everything in {scope}")
    for world in range(WORLDS // 3):
        arena = Arena(coin(world, 0.8, harm=0.3), deterministic=False)
        arena.taught(CASES)
        _refused(arena, arena.judge(gate.judges(arena), rule("Do harm.")), "and breaks half")


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────


class _Blind:
    """A grader that cannot tell what "?" is worth."""

    def __init__(self, grader: Grader) -> None:
        self._grader = grader

    async def grade(self, case: Case, output: str, *, budget: Budget) -> float | None:
        return None if output == "?" else await self._grader.grade(case, output, budget=budget)


def failed_measurements_accept_nothing(gate: OnTrial) -> None:
    """A model that times out or a grader that cannot say is no wrong answer of the incumbent, nor a right one."""
    for told, untold in ((RIGHT, LATE), (RIGHT, "?"), (LATE, WRONG), ("?", WRONG), (LATE, LATE)):
        arena = Arena(obeying(HELP, told=told, untold=untold))
        arena.taught(CASES)
        judged = arena.judge(gate.judges(arena, graders=lambda spec: _Blind(build(spec))), rule(HELP))
        _refused(arena, judged, f"where it got {told!r} instead of {untold!r}")


def a_spent_budget_defers_and_the_rest_is_done_later(gate: OnTrial) -> None:
    """I3: a budget that runs out is a defer, and the same edit goes on later without paying twice."""
    whole = Arena(obeying(HELP))
    whole.taught(CASES)
    at_once = whole.judge(gate.judges(whole), rule(HELP)).verdict.decision
    arena = Arena(obeying(HELP))
    arena.taught(CASES)
    judge = gate.judges(arena)
    for calls in (0, whole.calls // 3, whole.calls // 3):
        judged = arena.judge(judge, rule(HELP), budget=Budget(calls=calls))
        _refused(arena, judged, f"with {calls} call(s)")
        assert judged.verdict.decision == "defer", f"With {calls} call(s) it was {judged.verdict.decision}"
    last = arena.judge(judge, rule(HELP)).verdict.decision
    assert last == at_once, f"It ended in {last}, and in one go in {at_once}"
    assert arena.calls <= whole.calls, f"It cost {arena.calls} calls in steps, and {whole.calls} in one go"


# ── what makes it repeatable ────────────────────────────────────────────────────────────────


def equal_questions_get_equal_answers(gate: OnTrial) -> None:
    """I5: the same proposal in the same world gets the same verdict, but for what it cost."""
    for script in (obeying(HELP), obeying(HELP, told=WRONG, untold=RIGHT), coin(1)):
        arena = Arena(script, deterministic=False)
        arena.taught(CASES)
        asked = [_asked(gate.judges(arena), _proposal(arena)) for _ in range(3)]
        assert len(set(map(_numbers, asked))) == 1, f"It said: {'; '.join(one.reason for one in asked)}"


def its_name_tells_settings_apart(gate: OnTrial) -> None:
    """I3: the name of a gate is the same each time that it is made, and another with any other setting."""
    arena = Arena(obeying(HELP))
    name = gate.judges(arena).name
    assert name, "It has none"
    assert gate.judges(arena).name == name == gate.judges(Arena(obeying(HELP))).name, f"{name} is not kept"
    names = [name, *(make(arena.run, build).name for make in gate.others)]
    assert len(set(names)) == len(names), f"Of {len(names)} settings, the names are {sorted(set(names))}"


# ── inside ──────────────────────────────────────────────────────────────────────────────────


def most_successes(trials: int, rate: float, *, surprise: float = 0.001) -> int:
    """The most successes of so many independent trials that are not a surprise: P(more) ≤ `surprise`, binomial.

    >>> most_successes(240, 0.2)
    68
    """
    more, successes = 1.0, -1
    while more > surprise:
        successes += 1
        more -= math.comb(trials, successes) * rate**successes * (1 - rate) ** (trials - successes)
    return successes


def _served(arena: Arena) -> list[str]:
    store = arena.run.store
    return [entry.text for entry in store.context(arena.scope, store.heads(arena.scope)).entries]


def _refused(arena: Arena, judged: Attempt, where: str) -> None:
    """Assert that an attempt was recorded, and changed nothing that anybody is served."""
    assert judged.verdict.decision in ("reject", "defer"), f"It was accepted {where}: {judged.verdict.reason}"
    assert judged.verdict.reason, "A verdict needs a reason"
    assert _served(arena) == [], f"The head moved {where}"
    assert arena.run.store.canaries(arena.scope) == [], f"A canary began {where}"


def _proposal(arena: Arena) -> Proposal:
    """What the loop would ask about a rule."""
    store, scope = arena.run.store, USER
    context = store.context(scope, store.heads(scope))
    episodes = {arena.said.episode: store.episode(scope, arena.said.episode)}
    evidence = Evidence(scope=scope, context=context, feedback=[arena.said], episodes=episodes)
    edit = stamp(rule(HELP), evidence)
    return Proposal(edit=edit, evidence=evidence, candidate=apply(context, edit))


def _asked(gate: Gate, proposal: Proposal) -> Verdict:
    return asyncio.run(gate.judge(proposal, budget=Budget()))


def _numbers(verdict: Verdict) -> tuple[object, ...]:
    """What a verdict says, but for what it cost."""
    return verdict.decision, verdict.basis, verdict.fixes, verdict.breaks, verdict.pairs, verdict.cases


GATE_CHECKS: Final[Mapping[str, Callable[[OnTrial], None]]] = MappingProxyType({
    check.__name__: check
    for check in (
        evidence_is_excluded, a_live_outcome_is_no_arm, thin_data_are_never_enough, the_level_is_kept,
        enough_evidence_is_accepted, harm_is_not_accepted, failed_measurements_accept_nothing,
        a_spent_budget_defers_and_the_rest_is_done_later, equal_questions_get_equal_answers,
        its_name_tells_settings_apart,
    )
})  # fmt: skip
