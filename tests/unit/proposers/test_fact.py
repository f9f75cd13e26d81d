"""What people state becomes keyed facts: read in code where it is plain, else by a model that may not invent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.unit.proposers.answers import asker, check_harmless, hostile, spoiled
from tests.unit.proposers.cluster import propose
from tests.world import ALICE, BASE, World

from tokenspace.domain import Evidence, Kind, Origin, Signal
from tokenspace.errors import InvalidEdit
from tokenspace.proposers import Adopt, Fact
from tokenspace.proposers.fact import read_fact
from tokenspace.testing import check_proposer

PLAIN = [
    ("Refund window: 30 days", "refund window", "30 days", ""),
    ("The refund window is 30 days.", "refund window", "30 days", ""),
    ("For premium customers, the refund window is 60 days!", "refund window", "60 days", "premium customers"),
    ("My currency is USD", "user.currency", "USD", ""),
    ("our head office is now Berlin", "head office", "Berlin", ""),
]
NOT_PLAIN = [
    "Your answer is wrong.", "The answer is Kestrel.", "The tone is Formal", "Please: be brief", "Is the window 30 days?",
    "Use the tool X: it is better", "Our office is closed on Fridays", "For refunds: ask first", "It is 30 days.",
    "Say it in words.", "Answer in French.", "https://x.example/y: see here", "The window is 30 days. Say so. Always.",
    "first line\nThe refund window is 30 days", "a: b", "The rule is: never guess",
]  # fmt: skip


@pytest.mark.parametrize(("words", "key", "value", "condition"), PLAIN)
def test_what_is_plain_is_read_without_a_model(words, key, value, condition):
    said = read_fact(words)
    assert said
    assert (said.key, said.value, said.condition, said.text) == (key, value, condition, words)


@pytest.mark.parametrize("words", NOT_PLAIN)
def test_what_is_not_plain_is_not(words):
    assert read_fact(words) is None


def test_a_day_from_which_it_holds_is_read():
    said = read_fact("The refund window is 30 days from 2026-03-01.")
    assert said
    assert (said.value, said.valid_from) == ("30 days", datetime(2026, 3, 1, tzinfo=UTC))
    assert read_fact("The refund window is 30 days from 2026-13-01.") is None


class Desk(World):
    def state(self, words: str, *, scope=ALICE, proposer=None, by="alice", **more):
        said = self.say(self.act("What is it?", scope=scope, choices=None), words, Signal.TEXT, by=by, **more)
        return said, self.learn(said, proposer=proposer or Fact())

    def facts(self, scope=ALICE):
        context = self.store.context(scope, self.store.heads(scope))
        return [one for one in context.entries if one.kind is Kind.FACT]

    def shown(self, query: str, scope=ALICE):
        episode = self.act(query, scope=scope, choices=None)
        by_id = self.store.context(scope, self.store.heads(scope)).by_id
        return [by_id[id].text for id in episode.shown]


def desk():
    return Desk(lambda prompt, seed: "An answer.")


def test_a_newer_statement_takes_the_place_of_the_older_one_and_both_stay():
    here = desk()
    for words in ("The refund window is 30 days", "The refund window is 14 days", "The refund window is 30 days."):
        assert here.state(words)[1].verdict.decision == "accept"
    assert here.shown("How long is the refund window?") == ["The refund window is 30 days."]
    assert len(here.facts()) == 3
    assert here.state("The refund window is 30 days.")[1].verdict.decision == "abstain"  # said already, and it holds


def test_what_held_before_may_hold_again_in_the_same_words():
    here = desk()
    for days in (30, 14, 30):
        assert here.state(f"The refund window is {days} days")[1].verdict.decision == "accept"
    assert here.shown("refund window?") == ["The refund window is 30 days"]


def test_adopt_makes_no_rule_of_what_became_a_fact_and_goes_on_with_the_rest():
    here = desk()
    said, _ = here.state("The refund window is 30 days")
    assert here.learn(said, proposer=Adopt()).verdict.decision == "abstain"
    other, attempt = here.state("Answer in French.")
    assert attempt.verdict.decision == "abstain"
    assert here.learn(other, proposer=Adopt(facts=True)).edit is not None
    assert here.learn(said, proposer=Adopt(facts=True)).verdict.decision == "abstain"


def test_what_somebody_says_of_themselves_is_no_fact_for_everybody():
    here = desk()
    assert here.state("My currency is USD", scope=BASE)[1].verdict.decision == "abstain"
    assert here.state("My currency is USD")[1].verdict.decision == "accept"
    assert here.facts()[0].key == "user.currency"


def test_i9_words_of_tools_and_web_pages_are_no_facts():
    here = desk()
    for source in (Origin.TOOL, Origin.WEB, Origin.AGENT):
        assert here.state("The refund window is 30 days", source=source)[1].verdict.decision == "abstain"


# ── with a model ────────────────────────────────────────────────────────────────────────────

WORDS = "By the way, since March we give people thirty days to send things back, if they pay by card."


def found(**changes):
    one = {"key": "Refund window", "value": "thirty days", "valid_from": "2026-03-01", "condition": "they pay by card"}
    return {"facts": [{**one, **changes}]}


GOOD = found()


def stated(answer, words=WORDS):
    here = desk()
    said = here.say(here.act("What is it?", scope=ALICE, choices=None), words, Signal.TEXT, by="alice")
    context = here.store.context(ALICE, here.store.heads(ALICE))
    episodes = {said.episode: here.store.episode(ALICE, said.episode)}
    return Evidence(scope=ALICE, context=context, feedback=[said], episodes=episodes)


def test_a_model_finds_key_value_day_and_condition_and_code_writes_the_entry():
    shown = stated(GOOD)
    edit = propose(Fact(asker(GOOD)), shown)
    (op,) = edit.ops
    assert (op.entry.key, op.entry.text, op.entry.trigger) == (
        "refund window", "refund window: thirty days", "they pay by card",
    )  # fmt: skip
    assert op.entry.valid_from == datetime(2026, 3, 1, tzinfo=UTC)
    assert set(edit.evidence) == {shown.feedback[0].id, shown.feedback[0].episode}


@pytest.mark.parametrize(
    "changes",
    [
        {"value": "sixty days"}, {"value": ""}, {"condition": "they are rich"}, {"key": " "}, {"key": "k" * 200},
        {"valid_from": "last March"}, {"key": "a\0b"},
    ],
)  # fmt: skip
def test_what_was_not_said_is_no_fact(changes):
    with pytest.raises(InvalidEdit):
        propose(Fact(asker(found(**changes))), stated(GOOD))


def test_no_fact_is_no_proposal_and_leaves_the_words_to_adopt():
    assert propose(Fact(asker({"facts": []})), stated(GOOD)) is None


@pytest.mark.parametrize("name", spoiled(GOOD))
def test_what_cannot_be_used_is_invalid(name):
    with pytest.raises(InvalidEdit):
        propose(Fact(asker(spoiled(GOOD)[name])), stated(GOOD))


@pytest.mark.parametrize("name", hostile(GOOD))
def test_a_hostile_answer_does_no_harm(name):
    shown = stated(GOOD)
    try:
        edit = propose(Fact(asker(hostile(GOOD)[name])), shown)
    except InvalidEdit:
        return
    check_harmless(edit, shown)


def test_the_model_is_shown_no_key_of_lower_origin_and_what_it_is_shown_is_read():
    here = desk()
    here.state("The refund window is 30 days")
    said = here.say(
        here.act("What?", scope=ALICE, choices=None), WORDS, Signal.TEXT, by="alice", source=Origin.OPERATOR
    )
    for source, known in ((Origin.OPERATOR, []), (Origin.USER, ["refund window"])):
        context = here.store.context(ALICE, here.store.heads(ALICE))
        evidence = Evidence(
            scope=ALICE, context=context, feedback=[replace(said, source=source)],
            episodes={said.episode: here.store.episode(ALICE, said.episode)},
        )  # fmt: skip
        asked = asker(GOOD)
        edit = propose(Fact(asked), evidence)
        assert json.loads(asked.model.prompts[0].messages[0].text)["known"] == known
        assert edit.read == (tuple(one.id for one in here.facts()) if known else ())


def test_it_keeps_the_rules_of_proposers():
    assert check_proposer(Fact, evidence=[stated(GOOD, "The refund window is 30 days")]) == 1
    assert check_proposer(lambda: Fact(asker(GOOD)), evidence=[stated(GOOD)]) >= 1
    assert Fact(asker(GOOD)).name.startswith("fact@1/")
