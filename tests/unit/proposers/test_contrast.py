"""One request answered well and badly → one rule, whatever a model answers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.unit.proposers.answers import asker, check_harmless, hostile, spoiled
from tests.unit.proposers.cluster import cluster, episode, evidence, propose, rejected, said

from tokenspace.context import stamp
from tokenspace.domain import Kind, Origin, Run, Signal, ToolCall
from tokenspace.errors import InvalidEdit
from tokenspace.proposers import Contrast
from tokenspace.proposers.contrast import MAX_EACH, MAX_GROUPS, mixed

RULE = {"trigger": "refund of a ticket", "text": "Send refunds of tickets to Kestrel."}
GOOD = {"difference": "The right answers name Kestrel.", "rule": RULE, "because": ["g1"]}


def answered(text: str, *outcomes: tuple[str, float]):
    """Answers to one request with their scores, oldest first."""
    for number, (output, score) in enumerate(outcomes):
        one = episode(text, output, number=number)
        yield one, said(one, score, Signal.SCORE)


def test_it_makes_one_rule_of_what_distinguishes_right_from_wrong() -> None:
    shown, asked = cluster(), asker(GOOD)
    edit = propose(Contrast(asked), shown)
    (op,) = edit.ops
    assert (op.entry.kind, op.entry.trigger, op.entry.text) == (Kind.RULE, RULE["trigger"], RULE["text"])
    right, wrong = shown.feedback[-2], shown.feedback[-1]
    assert set(edit.evidence) == {wrong.id, wrong.episode}
    assert {right.id, right.episode} <= set(edit.read)
    (group,) = json.loads(asked.model.prompts[0].messages[0].text)["groups"]
    assert group["request"] == "refund my ticket"
    assert [(one["answer"], one["score"]) for one in group["answers"]] == [("Kestrel", 1.0), ("Basalt", 0.0)]
    assert group["answers"][1]["said"] == ["wrong team"]


def test_without_mixed_outcomes_nothing_is_asked() -> None:
    asked = asker(GOOD)
    same = [*answered("a", ("x", 1.0), ("y", 1.0)), *answered("b", ("x", 0.0), ("y", 0.1)), *answered("c", ("x", 0.0))]
    assert propose(Contrast(asked), evidence(*same)) is None
    assert propose(Contrast(asked), evidence(*answered("d", ("x", 1.0), (" x\n", 0.0)))) is None, (
        "one answer, no contrast"
    )
    assert propose(Contrast(asked), evidence()) is None
    assert asked.model.prompts == ()


def test_the_answer_that_nothing_distinguishes_them_is_none() -> None:
    assert propose(Contrast(asker({**GOOD, "rule": None, "because": []})), cluster()) is None


def test_groups_and_answers_are_bounded_and_both_ends_are_shown() -> None:
    pairs = [
        pair
        for number in range(9)
        for pair in answered(
            f"request {number}", *[(f"answer {n}", score) for n, score in enumerate((0, 0.3, 1, 0, 1, 0.9, 0))]
        )
    ]
    groups = mixed(evidence(*pairs))
    assert len(groups) == MAX_GROUPS
    for group in groups:
        assert [trace.loss for trace in group[:MAX_EACH]] == [0.0, 0.0]
        assert [trace.loss for trace in group[MAX_EACH:]] == [1.0, 1.0]
        assert group[MAX_EACH].episode.output == "answer 6", "not the newest"
    edit = propose(Contrast(asker({**GOOD, "because": ["g1", "g2"]})), evidence(*pairs))
    assert len(edit.evidence) == 2 * 2 * MAX_EACH


def test_i7_near_copies_of_what_it_saw_are_read_too() -> None:
    shown = evidence(*answered("refund", *[("x", 0.0)] * 9, ("y", 1.0)))
    shown = replace(shown, feedback=list(shown.feedback))
    edit = propose(Contrast(asker(GOOD)), shown)
    assert {item.id for item in shown.feedback} <= {*edit.evidence, *edit.read}


def test_i9_what_it_writes_has_the_agents_authority_at_most() -> None:
    shown = cluster()
    (op,) = stamp(propose(Contrast(asker(GOOD)), shown), shown).ops
    assert op.entry.origin is Origin.AGENT


def test_i9_answers_that_may_repeat_a_tool_make_no_group() -> None:
    call = ToolCall(id="1", name="search", arguments="{}", result="Obey.")
    right, wrong = episode("a", "x"), episode("a", "", number=1, run=Run(output="Obey.", tool_calls=(call,)))
    shown = evidence((right, said(right, True, Signal.LABEL)), (wrong, said(wrong, False, Signal.LABEL)))
    assert propose(Contrast(asker(GOOD)), shown) is None


def test_it_sees_rejected_rules() -> None:
    asked = asker(GOOD)
    tried = rejected("Tried before.")
    edit = propose(Contrast(asked), cluster(rejected=[tried]))
    assert "Tried before." in asked.model.prompts[0].messages[0].text
    assert tried.id in edit.read


@pytest.mark.parametrize("because", [[], ["g2"], ["f1"], ["g1"] * 9, [1]])
def test_it_names_the_groups_that_it_is_made_from(because: list) -> None:
    with pytest.raises(InvalidEdit):
        propose(Contrast(asker({**GOOD, "because": because})), cluster())


@pytest.mark.parametrize("name", spoiled(GOOD))
def test_what_cannot_be_used_is_invalid(name: str) -> None:
    if name == "rule of nulls":  # a trigger of null is fine, a text of null is not
        assert json.loads(spoiled(GOOD)[name])["rule"] == {"trigger": None, "text": None}
    with pytest.raises(InvalidEdit):
        propose(Contrast(asker(spoiled(GOOD)[name])), cluster())


@pytest.mark.parametrize("name", hostile(GOOD))
def test_i8_i9_whatever_an_attacker_makes_it_say_is_harmless(name: str) -> None:
    shown = cluster()
    evil = json.loads(hostile({"x": "y"})[name])["x"][:100]
    for text in (hostile(GOOD)[name], json.dumps({**GOOD, "rule": {"trigger": evil, "text": f"Do it. {evil}"}})):
        try:
            edit = propose(Contrast(asker(text)), shown)
        except InvalidEdit:
            continue
        check_harmless(edit, shown)
