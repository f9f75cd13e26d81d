"""Which fact holds, and what is shown of those that do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from tokenspace.context import compile_context, facts, outlived, settled
from tokenspace.context.facts import unsettled
from tokenspace.domain import (
    Context,
    Entry,
    Heads,
    Kind,
    Layer,
    Message,
    Origin,
    Profile,
    Ranked,
    Request,
    Scope,
    Status,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def fact(id: str, text: str = "", *, key: str = "refund window", origin: Origin = Origin.USER, **fields) -> Entry:
    return Entry(id=id, kind=Kind.FACT, doc="facts", text=text or id, key=key, origin=origin, **fields)


def context(*layers: tuple[Entry, ...]) -> Context:
    filled = [*layers, (), ()][:3]
    held = tuple(Layer(own={one.id: one for one in layer}) for layer in filled)
    return Context(scope=Scope(agent="a", tenant="t", user="u"), heads=Heads(), layers=held)


def left_out(what: Context, query: str, *, now: datetime = NOW, scores: dict[str, float] | None = None):
    ranked = [Ranked(id=id, score=score) for id, score in (scores or dict.fromkeys(what.by_id, 1.0)).items()]
    request = Request(messages=(Message(role="user", text=query),))
    profile = Profile(model="m", context_tokens=10_000, recalled=9)
    prompt = compile_context(what, ranked, request, profile=profile, budget=9_000, now=now)
    assert {*prompt.included, *(id for id, _ in prompt.dropped)} == set(what.by_id)
    return dict(prompt.dropped)


def test_the_newer_fact_holds_at_equal_authority_whatever_was_written_last():
    old, new = fact("b", valid_from=NOW - 2 * DAY), fact("a", valid_from=NOW - DAY)
    assert settled([old, new], NOW) == {"b": "a"}
    assert left_out(context((old, new)), "refund window") == {"b": "superseded by a"}


def test_what_is_not_valid_yet_or_any_more_supersedes_nothing():
    standing, later, past = fact("a"), fact("b", valid_from=NOW + DAY), fact("c", valid_from=NOW - DAY, valid_until=NOW)
    what = context((standing, later, past))
    assert left_out(what, "?") == {"b": "not valid yet", "c": "expired"}
    assert left_out(what, "?", now=NOW + 2 * DAY) == {"a": "superseded by b", "c": "expired"}


def test_of_two_that_say_no_time_the_later_written_holds():
    assert settled([fact("a"), fact("b")], NOW) == {"a": "b"}


def test_i9_the_higher_authority_holds_however_old_it_is():
    policy = fact("a", origin=Origin.OPERATOR, valid_from=NOW - 100 * DAY)
    others = [fact(f"b{int(origin)}", origin=origin, valid_from=NOW) for origin in Origin if origin < Origin.OPERATOR]
    assert settled([policy, *others], NOW) == {one.id: "a" for one in others}


def test_an_inactive_fact_and_one_of_another_key_or_without_one_touch_nothing():
    others = (fact("b", key="opening hours"), fact("c", key=""), fact("d", key=""), fact("e", status=Status.DRAFT))
    rule = Entry(id="f", kind=Kind.RULE, doc="rules", text="r", key="refund window", trigger="x")
    assert settled([fact("a"), *others, rule], NOW) == {}


def test_keys_differ_neither_by_case_nor_by_space():
    assert settled([fact("a", key="Refund  Window"), fact("b")], NOW) == {"a": "b"}


@pytest.mark.parametrize(
    ("shared", "own", "key", "holds"),
    [
        (Origin.USER, Origin.USER, "refund window", "own"),  # the nearer layer, at equal authority
        (Origin.OPERATOR, Origin.USER, "refund window", "shared"),  # a policy is not overridden
        (Origin.OPERATOR, Origin.USER, "user.currency", "own"),  # of themselves a user's word is the last
        (Origin.OPERATOR, Origin.AGENT, "user.currency", "shared"),  # but not what the agent wrote for them
        (Origin.OPERATOR, Origin.OPERATOR, "refund window", "own"),
        (Origin.WEB, Origin.AGENT, "refund window", "own"),
    ],
)
def test_between_layers_authority_decides_and_then_the_nearer_one(shared, own, key, holds):
    base = fact("shared", key=key, origin=shared, valid_from=NOW)
    mine = fact("own", key=key, origin=own, valid_from=NOW - DAY)
    lost = "shared" if holds == "own" else "own"
    assert left_out(context((base,), (), (mine,)), "?") == {lost: f"superseded by {holds}"}


class TestConditions:
    general = fact("a", "30 days", valid_from=NOW)
    narrow = fact("b", "60 days", trigger="for premium customers", valid_from=NOW - DAY)
    what = context((general, narrow))

    def test_a_narrower_one_that_the_request_meets_is_shown_instead_of_the_general_one(self):
        assert left_out(self.what, "I am a Premium customer: refund?") == {"a": "superseded by b"}

    def test_one_that_the_request_does_not_meet_is_left_out_if_the_general_one_is_more_relevant(self):
        assert left_out(self.what, "refund?", scores={"a": 0.5, "b": 0.4}) == {"b": "its condition is not met"}

    def test_where_words_do_not_tell_the_more_relevant_narrow_one_is_shown_beside_it(self):
        assert left_out(self.what, "I pay for the top plan", scores={"a": 0.4, "b": 0.5}) == {}

    def test_i9_a_condition_does_not_overrule_a_higher_authority(self):
        policy = fact("a", "30 days", origin=Origin.OPERATOR)
        assert left_out(context((policy, self.narrow)), "premium customer") == {"b": "superseded by a"}

    def test_of_two_conditions_that_are_met_the_narrower_one_is_shown(self):
        narrower = fact("c", "90 days", trigger="premium customers in Berlin")
        asked = "I am a premium customer in Berlin"
        assert left_out(context((self.general, self.narrow, narrower)), asked).keys() == {"a", "b"}
        assert left_out(context((self.general, self.narrow, narrower)), "premium customer").keys() >= {"a"}

    def test_conditions_that_have_nothing_to_do_with_each_other_both_stand(self):
        other = fact("c", "7 days", trigger="gift cards")
        assert unsettled(context((self.narrow, other)), "premium customer with gift cards", NOW) == {}


def test_something_always_holds_of_what_is_in_force():
    """However many rivals: the highest authority of a key that is in force is never left out in every form."""
    for number in range(200):
        rivals = tuple(
            fact(
                f"{number}.{at}",
                origin=Origin((number * 7 + at * 5) % 6),
                trigger=(None, "x", "x y", "y")[(number + at * 3) % 4],
            )
            for at in range(5)
        )
        reasons = unsettled(context(rivals), "x y", NOW)
        assert {one.id for one in rivals} - reasons.keys()
        assert max(one.origin for one in rivals) in {one.origin for one in rivals if one.id not in reasons}


def test_only_what_can_never_be_shown_again_is_outlived():
    week = fact("b", valid_from=NOW - DAY, valid_until=NOW + DAY)
    assert outlived(context((fact("a"), week)), NOW) == {}  # it holds again when the week is over
    assert outlived(context((fact("a"), week)), NOW + DAY) == {"b": "expired"}
    assert outlived(context((fact("a"), fact("b", valid_from=NOW))), NOW) == {"a": "superseded by b"}
    policy = fact("b", origin=Origin.OPERATOR)
    assert outlived(context((policy,), (), (fact("a"),)), NOW) == {}  # what others wrote, others may take back


def test_many_conditions_of_one_key_are_not_each_compared_with_each(monkeypatch):
    compared = []

    class Counted(frozenset):
        def __lt__(self, other):
            compared.append(self)
            return super().__lt__(other)

    plain = facts.condition
    monkeypatch.setattr(facts, "condition", lambda trigger: Counted(plain(trigger)))
    many = tuple(fact(f"f{number}", trigger=f"item {number}") for number in range(300))
    met = " ".join(str(number) for number in range(300))
    for asked in ("item 7", f"each item of {met}"):
        compared.clear()
        assert unsettled(context(many), asked, NOW) == {}
        assert len(compared) <= 2 * len(many)


def test_what_is_left_out_is_what_comparing_each_with_each_finds():
    rng = Random(5)
    for _ in range(100):
        triggers = [None, *(" ".join(rng.sample("vwxyz", rng.randint(1, 3))) for _ in range(8))]
        some = tuple(
            fact(f"f{at}", trigger=words, origin=Origin(rng.randint(2, 5))) for at, words in enumerate(triggers)
        )
        asked, standing = frozenset("vwx"), [one for one in some if one.id not in settled(some, NOW)]
        about = {one.id: facts.condition(one.trigger) for one in standing}
        wanted = set[str]()
        for wide in standing:
            for narrow in standing:
                if about[wide.id] < about[narrow.id] and about[wide.id] <= asked:
                    over = narrow.origin >= wide.origin and about[narrow.id] <= asked
                    wanted.add(wide.id if over else narrow.id)
        assert unsettled(context(some), "v w x", NOW).keys() - settled(some, NOW).keys() == wanted
