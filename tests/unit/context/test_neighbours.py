"""When the nearest examples contradict one."""

from __future__ import annotations

from tokenspace.context import contradiction
from tokenspace.domain import Ranked

ANSWERS = {"a": "cards", "b": "cards", "c": "loans"}


def near(**scores: float) -> list[Ranked]:
    return [Ranked(id=id, score=score) for id, score in scores.items()]


def test_neighbours_that_outvote_an_answer_contradict_it() -> None:
    found = contradiction("loans", near(a=0.9, b=0.8, c=0.5), ANSWERS, outvoted=2.0)
    assert found is not None
    assert found.margin == (0.9 + 0.8) / 0.5
    assert found.words == "2 of its 3 nearest examples say 'cards', 1 say 'loans'"


def test_support_distance_and_agreement_contradict_nothing() -> None:
    assert contradiction("loans", near(a=0.9, b=0.8, c=0.9), ANSWERS, outvoted=2.0) is None
    assert contradiction("loans", near(a=0.3), ANSWERS, outvoted=2.0) is None
    assert contradiction("cards", near(a=0.9, b=0.8), ANSWERS, outvoted=2.0) is None
    assert contradiction("cards", [], ANSWERS, outvoted=2.0) is None
