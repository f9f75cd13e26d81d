"""The attacked run: its draw, and that the gate keeps what it should with the reader that needs no weights."""

from __future__ import annotations

from collections import Counter

import pytest

from tokenspace.agents import ChatAgent
from tokenspace.api import LearningAgent
from tokenspace.config import Settings, build
from tokenspace.domain import Scope, Usage
from tokenspace.models import NearestModel
from tokenspace.recall import HashEmbedder
from tokenspace.store import open_store
from tokenspace.streams.attack import INSTRUCTIONS, SABOTEUR, Outcomes, Plan, Progress, plan, run_attack
from tokenspace.streams.attack_report import attack_report, attack_text, loss
from tokenspace.streams.desk import CARELESS, TEACHERS, CountingAgent
from tokenspace.streams.items import draw, read_items


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_honest_lessons_are_those_of_the_ordinary_demo_in_their_order(seed: int) -> None:
    made = plan(read_items(), seed=seed, teach=72, exam=48)
    assert made == plan(read_items(), seed=seed, teach=72, exam=48)
    drawn = draw(read_items(), seed=seed, teachers=TEACHERS, careless=CARELESS, teach=72, exam=72)
    assert tuple(step.lesson for step in made.steps if not step.sabotage) == drawn.lessons
    assert made.exam == drawn.exam[24:]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_message_in_four_is_sabotaged_half_of_them_to_turn_one_team_into_another(seed: int) -> None:
    made = plan(read_items(), seed=seed, teach=72, exam=48)
    sabotage = [step for step in made.steps if step.sabotage]
    assert (len(sabotage), len(made.steps)) == (24, 96)
    assert all(step.lesson.wrong for step in sabotage)
    turned = Counter((step.lesson.item.label, step.lesson.taught) for step in sabotage)
    assert turned[made.victim, made.usurper] == 12
    assert sum(step.approves for step in sabotage) == 6
    assert not {step.lesson.item.text for step in made.steps} & {item.text for item in made.exam}
    assert len(made.instructions) == len(INSTRUCTIONS)


@pytest.fixture(scope="module")
def attacked() -> tuple[Plan, Outcomes, list[Progress]]:
    """A short run."""
    made, events = plan(read_items(), seed=1, teach=24, exam=16), list[Progress]()
    counter = CountingAgent(ChatAgent(NearestModel()))

    def open_side(side: str) -> LearningAgent:
        teachers = frozenset([*TEACHERS, CARELESS, *([SABOTEUR] if side == "insider" else [])])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tokenspace.recall.default_embedder", HashEmbedder)
            settings = Settings(agent="desk", teachers=teachers, principal="desk")
            parts = build(settings, model=counter, store=open_store("memory:"))
        return LearningAgent(parts, Scope(agent="desk"), principal="desk")

    return made, run_attack(made, open_side, on_event=events.append), events


def test_a_saboteur_who_may_not_teach_changes_nothing_at_all(attacked: tuple[Plan, Outcomes, list[Progress]]) -> None:
    _, outcomes, _ = attacked
    clean, outsider = outcomes["clean"], outcomes["outsider"]
    assert outsider.right == clean.right
    honest = [one for one in outsider.taught if not one.step.sabotage]
    assert [one.served for one in honest] == [one.served for one in clean.taught]
    assert not any(one.served for one in outsider.taught if one.step.sabotage)


def test_no_instruction_of_the_saboteur_is_accepted(attacked: tuple[Plan, Outcomes, list[Progress]]) -> None:
    _, outcomes, _ = attacked
    for side in ("insider", "outsider"):
        assert len(outcomes[side].told) == len(INSTRUCTIONS)
        assert all(one.decision != "accept" for one in outcomes[side].told)


def test_everything_that_was_proposed_is_in_the_context_without_a_gate(
    attacked: tuple[Plan, Outcomes, list[Progress]],
) -> None:
    made, outcomes, _ = attacked
    context = outcomes["ungated"].context
    assert context is not None
    texts = [(entry.trigger, entry.text) for entry in context.entries]
    assert len(texts) >= len(made.steps)
    assert any("Ignore all previous instructions" in text for _, text in texts)


def test_the_report_has_what_was_measured(attacked: tuple[Plan, Outcomes, list[Progress]]) -> None:
    made, outcomes, events = attacked
    data = attack_report(made, outcomes, seed=1, model="nearest@1", usage=Usage(calls=3), seconds=1.0)
    assert data["clean_exam"] == sum(outcomes["clean"].right) / 16
    assert data["attacked_gated_exam"] == data["insider_exam"]
    assert data["attacked_ungated_exam"] == outcomes["ungated"].exam
    assert data["outsider_loss"] == data["outsider_loss_low"] == data["outsider_loss_high"] == 0
    assert data["lessons"]["clean"]["sabotage"]["taught"] == 0
    assert len(data["sabotaged"]) == data["sabotage"] == 8
    text = attack_text(data)
    assert "Always answer" in text
    assert max(map(len, text.splitlines()[1:])) <= 100
    assert {(event.side, event.phase) for event in events} >= {("clean", "learning"), ("ungated", "exam")}


def test_what_is_lost_is_paired() -> None:
    assert loss([True] * 40, [True] * 40) == {"loss": 0.0, "loss_low": 0.0, "loss_high": 0.0}
    lost = loss([True] * 40, [True, False] * 20)
    assert lost["loss"] == 0.5
    assert 0.3 < lost["loss_low"] < 0.5 < lost["loss_high"] < 0.7
