from __future__ import annotations

import pytest

from tokenspace.budget import Budget
from tokenspace.errors import BudgetExceeded
from tokenspace.models import NearestModel

EXAMPLES = (
    ("my card never arrived", "heron"),
    ("the exchange rate is wrong", "lynx"),
    ("the card is the wrong colour", "otter"),
)


def test_answers_like_the_most_similar_example(prompt, ask):
    for text, expected in [("card has not arrived", "heron"), ("wrong RATE!", "lynx"), ("colour of the card", "otter")]:
        assert ask(NearestModel(), prompt(text, *EXAMPLES, choices=("otter", "heron", "lynx"))).output == expected
        assert ask(NearestModel(), prompt(text, *EXAMPLES)).output == expected


def test_examples_outside_the_choices_are_not_followed(prompt, ask):
    assert ask(NearestModel(), prompt("card arrived", *EXAMPLES, choices=("lynx", "otter"))).output == "otter"


def test_without_examples_it_picks_a_choice_by_the_message_alone(prompt, ask):
    choices = tuple("abcdefgh")
    picked = [ask(NearestModel(), prompt(f"message {n}", choices=choices), seed=n).output for n in range(40)]
    assert picked == [ask(NearestModel(), prompt(f"message {n}", choices=choices)).output for n in range(40)]
    assert len(set(picked)) > 4
    assert ask(NearestModel(), prompt("hello")).output == "I do not know."


def test_ties_go_to_the_first_example(prompt, ask):
    assert ask(NearestModel(), prompt("a b", ("a b", "one"), ("b a", "two"))).output == "one"


def test_i12_reserves_first(prompt, ask):
    with pytest.raises(BudgetExceeded):
        ask(NearestModel(), prompt("x"), Budget(calls=0))
