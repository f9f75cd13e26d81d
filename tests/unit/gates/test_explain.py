"""Verdicts in words and numbers, counted by tier."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.world import ALICE, BASE, TENANT, World, rule

from tokenspace.domain import (
    Attempt,
    Context,
    Edit,
    Entry,
    Feedback,
    Heads,
    Kind,
    Layer,
    Put,
    Scope,
    Signal,
    Usage,
    Verdict,
)  # fmt: skip
from tokenspace.gates import GateSettings, beside, explain, report
from tokenspace.graders import build

AT = datetime(2026, 1, 1, tzinfo=UTC)


def attempt(edit: Edit | None = None, *, key: str = "k", scope: Scope = ALICE, revision: str | None = None, **numbers):
    numbers = {"decision": "reject", "basis": "tested", "tier": 2, **numbers}
    return Attempt(
        scope=scope, key=key, edit_key=f"edit {key}", proposer="test@1", heads=Heads(), edit=edit or rule("Be brief."),
        verdict=Verdict(**numbers), revision=revision, at=AT,
    )  # fmt: skip


def words(one: Attempt, *, settings: GateSettings | None = None, feedback: tuple[Feedback, ...] = ()) -> dict[str, str]:
    context = Context(scope=one.scope, heads=Heads(), layers=(Layer(),) * len(one.scope.layers))
    told = explain(one, context=context, feedback=feedback, cases={}, settings=settings or GateSettings())
    return dict(told.lines)


@pytest.mark.parametrize(
    ("scope", "kind", "said"),
    [
        (BASE, Kind.RULE, "T4: a rule in the shared base, which everybody reads"),
        (TENANT, Kind.FACT, "T3: a fact in the layer of tenant acme, which all its users read"),
        (ALICE, Kind.INSTRUCTION, "T3: an instruction steers everything that the agent does, even for one user"),
        (ALICE, Kind.TOOL_NOTE, "T2: a tool note of user alice alone, which is an instruction to the agent"),
        (ALICE, Kind.FACT, "T1: a fact of user alice alone, which code can settle"),
        (ALICE, Kind.EXAMPLE, "T0: an example of user alice alone, which can change nobody else's answers"),
    ],
)
def test_the_tier_and_why(scope: Scope, kind: Kind, said: str) -> None:
    edit = Edit(ops=(Put(entry=Entry(kind=kind, doc="x", text="y")),))
    assert words(attempt(edit, scope=scope, tier=int(said[1])))["tier"] == said


def test_a_teachers_example_is_said_to_be_one() -> None:
    feedback = Feedback(scope=BASE, episode="e", principal="ana", signal=Signal.CORRECTION, value="x", at=AT)
    entry = Entry(kind=Kind.EXAMPLE, doc="x", text="y")
    edit = Edit(ops=(Put(entry=entry),), evidence=(feedback.id,))
    settings = GateSettings(teachers=frozenset({"ana"}))
    told = words(attempt(edit, scope=BASE, tier=1), settings=settings, feedback=(feedback,))
    assert told["tier"] == "T1: an example from ana, who may teach here"


def test_fixes_and_breaks_are_put_into_the_formula() -> None:
    told = words(attempt(fixes=9, breaks=1, pairs=12, tier=3, cases=tuple("abcdefghijkl"), model="m"))
    assert told["pairs"] == "12 case(s) replayed with and without the edit on m: 9 fixed, 1 broken, 2 the same"
    bets = (0.2, 0.4, 0.6, 0.8, 0.94)
    e = sum((1 + bet) ** 9 * (1 - bet) for bet in bets) / 5
    assert told["benefit"].startswith("E = mean over θ of (2θ)^9·(2(1−θ))^1 = (1.2^9·0.8^1 + 1.4^9·0.6^1")
    assert told["benefit"].endswith(f"= {e:.4g} ≥ 20")
    assert "< 20" in told["harm"]


def test_graded_differences_are_bet_on_as_such() -> None:
    cases = ("a", "b", "c")
    told = words(attempt(fixes=2, breaks=1, pairs=3, cases=cases, differences=(0.5, 0.25, -0.25)))
    e = sum((1 + bet * 0.5) * (1 + bet * 0.25) * (1 - bet * 0.25) for bet in (0.1, 0.2, 0.35, 0.5, 0.7, 0.9)) / 6
    assert told["benefit"].startswith("E = mean over λ of Π(1 + λD) = (")
    assert told["benefit"].endswith(f"= {e:.4g} < 5")


def test_a_verdict_without_differences_is_explained_from_its_counts() -> None:
    told = words(attempt(fixes=6, pairs=6, tier=3, cases=tuple("abcdef"), e_benefit=22.9))
    assert "= 22.92 ≥ 20" in told["benefit"]
    assert explained_path(attempt(fixes=6, pairs=6, tier=3, cases=tuple("abcdef"))) == []


def explained_path(one: Attempt) -> list[float]:
    context = Context(scope=ALICE, heads=Heads(), layers=(Layer(),) * 3)
    told = explain(one, context=context, feedback=(), cases={}, settings=GateSettings())
    return [step.e_benefit for step in told.path]


def test_the_path_ends_at_the_evidence_of_the_verdict() -> None:
    one = attempt(fixes=3, breaks=1, pairs=5, cases=tuple("abcde"), differences=(1.0, 0.0, 1.0, -1.0, 1.0))
    path = explained_path(one)
    assert len(path) == 5
    assert path[0] == path[1] < path[2] > path[3] < path[4]
    assert path[-1] == pytest.approx(sum((1 + x) ** 3 * (1 - x) for x in (0.2, 0.4, 0.6, 0.8, 0.94)) / 5)


def test_what_the_gate_had_under_other_settings_is_shown_beside() -> None:
    told = words(attempt(fixes=4, pairs=4, cases=tuple("abcd"), differences=(1.0,) * 4, e_benefit=1.0))
    assert told["on record"].startswith("E = 1,")


def test_a_canary_cost_and_a_missing_test_are_said() -> None:
    usage = Usage(calls=8, input_tokens=900, output_tokens=100, usd=0.5)
    told = words(attempt(decision="accept", share=0.05, fixes=4, pairs=4, cases=tuple("abcd"), usage=usage))
    assert told["canary"].startswith("served to 5% of the sessions first")
    assert told["cost"] == "8 model call(s), 2.0 a pair, 1,000 tokens, $0.5000"
    assert "no pair was tested" in words(attempt(decision="defer", basis="policy"))["missing"]
    assert "no test of benefit" in words(attempt(decision="accept", basis="policy", tier=0))["level"]


def test_each_edit_counts_once_and_the_running_rate_only_those_that_were_tested() -> None:
    tested = {"pairs": 4, "fixes": 4, "usage": Usage(calls=10)}
    rows = report(
        [
            attempt(key="a", decision="defer", basis="policy", **tested),
            attempt(key="a", decision="accept", revision="r", **tested),
            attempt(key="b", pairs=3, breaks=2, usage=Usage(calls=6)),
            attempt(key="c", decision="accept", basis="policy", tier=0),
            attempt(key="d", decision="defer", basis="policy", tier=0),
            replace(attempt(key="e", decision="abstain"), edit=None),
        ],
        GateSettings(),
    )
    assert [row.tier for row in rows] == [0, 2, None]
    t2 = rows[1]
    assert (t2.tried, t2.accepted, t2.rejected, t2.deferred, t2.tested, t2.passed) == (2, 1, 1, 0, 2, 1)
    assert (t2.calls, t2.calls_per_edit) == (26, 13.0)
    assert t2.false_discovery == pytest.approx(0.4)
    assert (rows[0].accepted, rows[0].deferred, rows[0].false_discovery) == (1, 1, 0.0)
    assert rows[2].tried == 4


def test_what_was_rolled_back_was_accepted_all_the_same() -> None:
    accepted, undone = attempt(decision="accept", pairs=4, revision="r"), attempt(decision="reject")
    (row, _) = report([accepted, undone], GateSettings())
    assert (row.accepted, row.rejected, row.rolled_back) == (1, 0, 1)
    assert report([], GateSettings()) == []


def test_the_evidence_side_by_side_asks_no_model() -> None:
    world = World(lambda prompt, seed: "Basalt" if "always basalt" in prompt.system else "Kestrel")
    for text in ("lost lost", "late late", "wet wet", "torn torn", "open open"):
        world.teach(text, "Basalt", scope=ALICE, by="alice")
    judged = world.judge(rule("always basalt"), world.say(world.act("odd", scope=ALICE), "always basalt", Signal.TEXT))
    asked = len(world.model.prompts)
    found = asyncio.run(beside(world.run, build, judged))
    assert len(world.model.prompts) == asked
    assert [one.case.id for one in found] == list(judged.verdict.cases)
    assert {(one.before.output, one.before.score, one.after.output, one.after.score) for one in found} == {
        ("Kestrel", 0.0, "Basalt", 1.0)
    }
    assert asyncio.run(beside(world.run, build, replace(judged, edit=None)))[0].before.output is None
