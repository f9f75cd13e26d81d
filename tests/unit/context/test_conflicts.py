"""What contradicts what, and what says the same."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from tokenspace.context import contradictions, duplicates
from tokenspace.context.conflicts import near_pairs
from tokenspace.domain import Context, Entry, Heads, Kind, Layer, Origin, Scope
from tokenspace.recall import HashEmbedder, HybridRecall

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def context(*entries: Entry) -> Context:
    return Context(scope=Scope(agent="a"), heads=Heads(), layers=(Layer(own={one.id: one for one in entries}),))


def rule(id: str, text: str, trigger: str | None = "a refund is asked for", kind: Kind = Kind.RULE, **fields) -> Entry:
    return Entry(id=id, kind=kind, doc="rules", text=text, trigger=trigger, **{"origin": Origin.USER, **fields})


def found(*entries: Entry, **more) -> list[tuple[str, str]]:
    return [(one.winner.id, one.loser.id) for one in contradictions(context(*entries), NOW, **more)]


@pytest.mark.parametrize(
    ("one", "other", "opposed"),
    [
        ("Always ask for the order number.", "Never ask for the order number.", True),
        ("Refund within 30 days.", "Refund within 14 days.", True),
        ("Answer in French.", "Answer in German.", True),
        ("Ask for the order number.", "Ask for the order number!", False),
        ("Ask for the order number.", "Be polite and brief.", False),
    ],
)
def test_rules_for_the_same_requests_contradict_each_other_where_they_differ_in_what_they_claim(one, other, opposed):
    assert found(rule("a", one), rule("b", other)) == ([("b", "a")] if opposed else [])


def test_rules_for_other_requests_do_not():
    assert found(rule("a", "Answer in French."), rule("b", "Answer in German.", "an invoice was lost")) == []


def test_the_higher_authority_wins():
    assert found(rule("a", "Wait 3 days.", origin=Origin.OPERATOR), rule("b", "Wait 5 days.")) == [("a", "b")]


def test_examples_with_different_answers_and_facts_of_one_key_contradict_each_other():
    examples = [rule(id, text, "Where is it?", Kind.EXAMPLE) for id, text in (("a", "Kestrel"), ("b", "Basalt"))]
    facts = [rule(id, text, None, Kind.FACT, key="k") for id, text in (("c", "30 days"), ("d", "14 days"))]
    same = [rule(id, "30 days", None, Kind.FACT, key="l") for id in ("e", "f")]
    assert found(*examples, *facts, *same) == [("b", "a"), ("d", "c")]


def test_with_recall_triggers_that_score_alike_are_the_same():
    recall = HybridRecall(HashEmbedder())
    rules = [rule("a", "Wait 3 days.", "refund refund refund"), rule("b", "Wait 5 days.", "refunds")]
    assert found(*rules, recall=recall) == [("b", "a")]


def test_near_duplicates_are_found_and_the_shorter_of_the_higher_authority_is_kept():
    said = [rule("a", "Please ask for the order number first."), rule("b", "Ask for the order number first.")]
    assert [(kept.id, spare.id) for kept, spare in duplicates(context(*said), NOW)] == [("b", "a")]
    said[0] = rule("a", said[0].text, origin=Origin.OPERATOR)
    assert [(kept.id, spare.id) for kept, spare in duplicates(context(*said), NOW)] == [("a", "b")]


def test_texts_that_differ_in_a_number_or_a_negation_are_no_duplicates():
    said = [
        rule("a", "Tell them that a refund takes at most 5 days to come."),
        rule("b", "Tell them that a refund takes at most 7 days to come."),
        rule("c", "Do not tell them that a refund takes at most 5 days to come."),
    ]
    assert duplicates(context(*said), NOW) == []


HERON = "For refund requests of premium customers in Germany always route the message to the Heron team first"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (HERON, HERON.replace("Heron", "Falcon")),
        (HERON, HERON.replace("first", "last")),
        (HERON + " by Friday", HERON + " on Friday"),
        ("Hand it over from the Heron team to the Falcon team", "Hand it over from the Falcon team to the Heron team"),
        (HERON + " for 5 %", HERON + " for 5 €"),
    ],
)
def test_texts_that_differ_in_one_word_that_says_something_are_no_duplicates(one, other):
    assert duplicates(context(rule("a", one), rule("b", other)), NOW) == []


def test_the_same_text_for_other_requests_is_no_duplicate():
    when = "premium customers of the Heron team in Germany want a refund"
    said = [rule("a", "Be brief.", when), rule("b", "Be brief.", when.replace("Heron", "Falcon"))]
    assert duplicates(context(*said), NOW) == []
    said[1] = rule("b", "Be brief.", f"when {when}")
    assert len(duplicates(context(*said), NOW)) == 1


def test_of_duplicates_the_one_that_lasts_is_kept_and_none_where_the_higher_authority_ends_first():
    day, year = (NOW + timedelta(days=days) for days in (1, 365))
    for late in (year, None):
        said = [rule("a", "Be brief.", valid_until=day), rule("b", "Be brief.", valid_until=late)]
        assert [(kept.id, spare.id) for kept, spare in duplicates(context(*said), NOW)] == [("b", "a")]
        said[0] = rule("a", "Be brief.", valid_until=day, origin=Origin.OPERATOR)
        assert duplicates(context(*said), NOW) == []


def test_near_pairs_finds_exactly_the_pairs_that_comparing_all_finds():
    chance = random.Random(7)
    words = {f"{at:03}": frozenset(chance.choices("abcdefghij", k=chance.randint(1, 6))) for at in range(120)}
    for share in (0.4, 0.8, 1.0):
        wanted = {
            (one, other)
            for one in words
            for other in words
            if one < other and len(words[one] & words[other]) / len(words[one] | words[other]) >= share
        }
        assert set(near_pairs(words, share)) == wanted


class Counted(HybridRecall):
    """A recall that counts how often it ranks."""

    ranked = 0

    def rank(self, entries, vectors, query):
        self.ranked += 1
        return super().rank(entries, vectors, query)


def test_only_rules_that_are_kin_are_compared_by_meaning():
    recall = Counted(HashEmbedder())
    many = [rule(f"r{number:03}", f"w{number} x{number} y{number}", f"about t{number}") for number in range(200)]
    assert found(*many, recall=recall) == []
    assert recall.ranked == 0
    two = [rule("a", "Wait 3 days.", "refund refund refund"), rule("b", "Wait 5 days.", "refunds")]
    assert found(*many, *two, recall=recall) == [("b", "a")]
    assert recall.ranked == 1


def test_only_the_newest_examples_are_compared_by_meaning(monkeypatch):
    monkeypatch.setattr("tokenspace.context.conflicts.COMPARED", 10)
    recall = Counted(HashEmbedder())
    many = [rule(f"e{number:03}", f"answer {number}", f"about t{number}", Kind.EXAMPLE) for number in range(50)]
    assert found(*many, recall=recall) == []
    assert recall.ranked == 10
    alike = [rule(id, id, words, Kind.EXAMPLE) for id, words in (("y", "refund refund refund"), ("z", "refunds"))]
    assert found(*many, *alike, recall=recall) == [("z", "y")]
