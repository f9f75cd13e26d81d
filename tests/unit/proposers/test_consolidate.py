"""Consolidation: merged, narrowed, resolved and retired under the real gate, and nothing is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.proposers.answers import asker, check_harmless, hostile, spoiled
from tests.world import ALICE, World

from tokenspace.budget import Budget
from tokenspace.context import apply, contradictions
from tokenspace.domain import Drop, Edit, Entry, Evidence, Kind, Origin, Patch, Put, Signal, Status, Verdict
from tokenspace.errors import InvalidEdit
from tokenspace.loop import render
from tokenspace.models import ScriptedModel
from tokenspace.proposers import Adopt, Asker, Consolidate, Expire, Fact
from tokenspace.testing import check_proposer

WEEK = timedelta(days=8)


class Desk(World):
    """A desk that answers "yes" where a word of the question stands in its notes, and can wait for days."""

    def __init__(self, **more) -> None:
        super().__init__(lambda prompt, seed: self.answer(prompt), **more)
        self.later = timedelta()
        clock = self.run.clock
        object.__setattr__(self.run, "clock", lambda: clock() + self.later)
        self.proposers = ()

    def answer(self, prompt) -> str:
        said = f"{prompt.system} {' '.join(message.text for message in prompt.messages)}"
        return "Kestrel" if "KEY" in said else "Basalt"

    def know(self, *entries: Entry, scope=ALICE, sources=None) -> None:
        """A person's own entries, with the evidence that they cite."""
        for entry in entries:
            edit = Edit(ops=(Put(entry=entry),), evidence=(sources or {}).get(entry.id, ()))
            self.store.commit(
                scope, edit, Verdict(decision="accept", basis="human"), expect=self.store.heads(scope).of(scope),
                author="ana", vectors=self.recall.index([entry]),
            )  # fmt: skip

    def evidence(self, scope=ALICE) -> Evidence:
        said = self.store.feedback(scope)
        tried = {it: tuple(self.store.attempts(scope, decision=it)) for it in ("reject", "defer", "accept")}
        return Evidence(
            scope=scope, context=self.store.context(scope, self.store.heads(scope)), feedback=said,
            episodes={one.episode: self.store.episode(scope, one.episode) for one in said},
            rejected=tried["reject"], held=tried["defer"], accepted=tried["accept"],
        )  # fmt: skip

    def entries(self, scope=ALICE) -> dict[str, Entry]:
        return dict(self.store.context(scope, self.store.heads(scope)).by_id)

    def tidy(self, asked=None) -> list:
        """Sleep with expire and consolidate alone."""
        store, clock = self.store, self.run.clock
        self.proposers = (
            Expire(store=store, clock=clock),
            Consolidate(self.recall, store=store, clock=clock, asker=asked),
        )
        return self.sleep(scope=ALICE)

    def propose(self, asked=None):
        made = Consolidate(self.recall, store=self.store, clock=self.run.clock, asker=asked)
        return asyncio.run(made.propose(self.evidence(), budget=Budget()))


def rule(id: str, text: str, trigger: str | None = "a refund", **fields) -> Entry:
    named = {"kind": Kind.RULE, "doc": "rules", "origin": Origin.USER, **fields}
    return Entry(id=id, text=text, trigger=trigger, **named)


def desk(cases: int = 0, **more) -> Desk:
    """A desk with feedback, and so many verified cases that its notes do not touch."""
    here = Desk(**more)
    here.say(here.act("hello", scope=ALICE), "Be kind.", Signal.TEXT, by="alice")
    for number in range(cases):
        here.say(here.act(f"question {number}", scope=ALICE), "Basalt", by="alice")
    return here


def test_what_can_never_be_shown_again_goes_at_once_and_names_what_it_came_from():
    here = desk()
    here.know(
        rule("a", "Refund window: 30 days", None, kind=Kind.FACT, doc="facts", key="refund window"),
        rule("b", "Refund window: 14 days", None, kind=Kind.FACT, doc="facts", key="refund window"),
        rule("c", "Until Friday.", valid_until=here.run.clock()),
        rule("d", "A person put this aside.", status=Status.RETIRED),
        sources={"a": ("f1", "e1")},
    )
    tried = here.tidy()
    assert [one.verdict.decision for one in tried] == ["accept", "accept"]
    assert here.entries().keys() == {"b", "d"}
    (gone,) = [one for one in here.store.derived(ALICE, "f1") if isinstance(one.edit.ops[0], Drop)]
    assert {"a", "b", "f1", "e1"} == set(gone.edit.read)


def test_a_fact_that_only_a_dated_one_supersedes_stays():
    here = desk()
    fact = {"kind": Kind.FACT, "doc": "facts", "key": "hours"}
    week = here.run.clock() + timedelta(days=7)
    here.know(rule("a", "Open", None, **fact), rule("b", "Closed", None, valid_until=week, **fact))
    assert here.tidy() == []
    here.later = WEEK
    here.tidy()
    assert here.entries().keys() == {"a"}


def test_duplicates_become_one_that_cites_the_sources_of_both():
    here = desk(cases=90)
    here.know(
        rule("a", "Please ask for the order number first."), rule("b", "Ask for the order number first."),
        sources={"a": ("f1", "e1"), "b": ("f2", "e2")},
    )  # fmt: skip
    here.say(here.act("a refund", scope=ALICE), "Basalt", by="alice")
    (merged,) = here.tidy()
    assert merged.verdict.decision == "accept", merged.verdict
    assert here.entries().keys() == {"b"}
    assert here.entries()["b"].supersedes == "a"
    assert here.entries()["b"].origin is Origin.USER
    blame = here.store.blame(ALICE, here.store.heads(ALICE))["b"]
    assert set(blame.sources) == {"f1", "e1", "f2", "e2"}


def test_without_cases_a_merge_waits_and_is_not_proposed_twice():
    here = desk()
    here.know(rule("a", "Please ask for the order number first."), rule("b", "Ask for the order number first."))
    (held,) = here.tidy()
    assert held.verdict.decision == "defer"
    assert here.propose() is None


def test_i1_rules_that_differ_in_one_name_both_stay():
    here = desk(cases=90)
    said = "For refund requests of premium customers in Germany always route the message to the {} team first"
    here.know(rule("a", said.format("Heron")), rule("b", said.format("Falcon")))
    assert here.tidy() == []
    assert here.entries().keys() == {"a", "b"}


def test_a_merge_keeps_the_text_that_lasts():
    here = desk(cases=90)
    day, year = (here.run.clock() + timedelta(days=days) for days in (1, 365))
    here.know(rule("a", "Be brief.", valid_until=day), rule("b", "Be brief.", valid_until=year))
    (merged,) = here.tidy()
    assert merged.verdict.decision == "accept", merged.verdict
    assert here.entries().keys() == {"b"}


def test_a_narrower_trigger_is_tried_before_a_rule_is_dropped():
    here = desk(cases=90)
    said = here.say(here.act("a refund for a gift card", scope=ALICE), "Wait 3 days.", Signal.TEXT)
    here.know(rule("a", "Wait 3 days."), rule("b", "Wait 5 days."), sources={"a": (said.id, said.episode)})
    (conflict,) = contradictions(here.evidence().context, here.run.clock())
    assert (conflict.winner.id, conflict.loser.id) == ("b", "a")
    first = here.propose()
    assert first.ops == (Patch(id="a", changes={"trigger": "a refund for a gift card"}),)
    attempt = here.judge(first, said)
    assert attempt.verdict.decision == "defer"  # no case shows that it helps: it waits, and nothing is dropped
    assert here.propose() is None
    here.store.save_attempt(replace(attempt, verdict=Verdict(decision="reject", reason="harmful")))
    assert here.propose().ops == (Drop(id="a"),)


# ── the gate looks for itself ───────────────────────────────────────────────────────────────


def taught(here: Desk, *texts: str) -> list:
    """Rules of which each was made from a case of its own, that passes because of it."""
    said = []
    for number, text in enumerate(texts):
        item = here.say(here.act(f"refund case {number}", scope=ALICE), "Kestrel", by="alice")
        here.know(rule(f"r{number}", text, None), sources={f"r{number}": (item.id, item.episode)})
        said.append(item)
    return said


def joined(text: str, *said, read=("r0", "r1"), evidence=None) -> Edit:
    cited = tuple(id for one in said for id in (one.id, one.episode)) if evidence is None else evidence
    put = Put(entry=rule("new", text, None, origin=Origin.UNKNOWN))
    return Edit(ops=(put, Drop(id="r0"), Drop(id="r1")), evidence=cited, read=read)


def test_one_text_takes_the_place_of_two_where_nothing_gets_worse():
    here = desk(cases=90)
    said = taught(here, "Say KEY to everybody who asks for money.", "Whoever wants money back hears KEY.")
    judged = here.judge(joined("Say KEY.", *said), *here.store.feedback(ALICE))
    assert judged.verdict.decision == "accept", judged.verdict
    assert here.entries().keys() == {"new"}


def test_a_source_whose_case_would_fail_does_not_leave():
    here = desk(cases=90)
    said = taught(here, "Say KEY to everybody who asks for money.", "Whoever wants money back hears KEY.")
    judged = here.judge(joined("Say it.", *said), *here.store.feedback(ALICE))
    assert (judged.verdict.decision, judged.verdict.basis) == ("reject", "tested")
    assert "passed before" in judged.verdict.reason


def test_a_source_that_is_not_cited_does_not_leave():
    here = desk(cases=90)
    said = taught(here, "Say KEY to everybody who asks for money.", "Whoever wants money back hears KEY.")
    for edit in (joined("Say KEY.", *said, read=("r0",)), joined("Say KEY.", said[0], read=("r0", "r1"))):
        judged = here.judge(edit, *here.store.feedback(ALICE))
        assert (judged.verdict.decision, judged.verdict.basis) == ("reject", "policy")
        assert "r1" in judged.verdict.reason


def test_a_source_does_not_leave_for_a_text_of_lower_origin_or_one_that_ends():
    here = desk(cases=90)
    said = taught(here, "Say KEY to everybody who asks for money.", "Whoever wants money back hears KEY.")
    log = here.say(here.act("?", scope=ALICE), "1 failed", Signal.TEST_LOG, source=Origin.TOOL)
    judged = here.judge(joined("Say KEY.", *said), *said, log)
    assert "lower origin" in judged.verdict.reason
    down = joined("Say KEY: the service is down.", *said)
    assert "that ends" in here.judge(down, *said).verdict.reason


def test_i1_a_source_does_not_leave_for_a_text_that_ends_sooner():
    here = desk(cases=90)
    day, year = (here.run.clock() + timedelta(days=days) for days in (1, 365))
    here.know(rule("a", "Be brief.", valid_until=day), rule("b", "Be brief.", valid_until=year))
    judged = here.judge(merge("a", "b"), *here.store.feedback(ALICE))
    assert (judged.verdict.decision, judged.verdict.basis) == ("reject", "policy")
    assert "ends sooner" in judged.verdict.reason


def merge(kept: str, spare: str, **changes) -> Edit:
    patch = Patch(id=kept, changes={"supersedes": spare, **changes})
    return Edit(ops=(patch, Drop(id=spare)), read=(kept, spare))


def test_i1_ties_of_cases_that_it_does_not_touch_accept_no_join_of_different_texts():
    here = desk(cases=90)
    here.know(rule("a", "Route it to Heron."), rule("b", "Route it to Falcon, and to no one else."))
    here.know(rule("c", "Route it to Falcon, and to no one else."))
    assert here.judge(merge("a", "b"), *here.store.feedback(ALICE)).verdict.decision == "defer"
    judged = here.judge(merge("c", "b"), *here.store.feedback(ALICE)).verdict
    assert judged.decision == "accept", "word for word the same: nothing can be lost"


REWRITTEN = {
    "one new text for one": Edit(ops=(Put(entry=rule("new", "Refuse it.", supersedes="a")), Drop(id="a")), read=("a",)),
    "another text in the kept entry": merge("a", "b", text="Refuse it."),
    "another trigger of the kept entry": merge("a", "b", trigger="anything"),
    "another place of the kept entry": merge("a", "b", doc="other"),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_i1_a_rewriting_is_no_consolidation_and_has_to_help(name):
    here = desk(cases=90)
    here.know(rule("a", "Ask for the order number and offer a voucher."), rule("b", "Ask for it."))
    here.say(here.act("a refund", scope=ALICE), "Basalt", by="alice")
    assert here.judge(REWRITTEN[name], *here.store.feedback(ALICE)).verdict.decision != "accept"
    assert here.entries().keys() == {"a", "b"}


def test_what_a_kept_entry_hid_does_not_come_back_by_a_merge():
    here = desk(cases=90)
    here.know(rule("old", "Ask."), rule("a", "Be brief.", supersedes="old"), rule("b", "Be brief."))
    here.say(here.act("a refund", scope=ALICE), "Basalt", by="alice")
    assert here.judge(merge("a", "b"), *here.store.feedback(ALICE)).verdict.decision != "accept"


def test_a_longer_text_has_to_help():
    here = desk(cases=90)
    said = taught(here, "Say KEY.", "Hear KEY.")
    judged = here.judge(joined("Say KEY, and say it again and again to all of them.", *said), *said)
    assert judged.verdict.decision != "accept"


# ── a belief that was born of a failure that passes ─────────────────────────────────────────


def learned(here: Desk, words: str, query: str = "a refund") -> Entry:
    said = here.say(here.act(query, scope=ALICE), words, Signal.TEXT, by="alice")
    made = here.learn(said, proposer=Adopt())
    assert made.verdict.decision == "accept", made.verdict
    (op,) = made.edit.ops
    return op.entry


def test_a_transient_failure_is_not_believed_after_its_test():
    here = desk(cases=5)
    belief = learned(here, "The payment service is down: say that it is.")
    standing = learned(here, "Ask for the order number.")
    assert belief.valid_until == here.store.feedback(ALICE)[-2].at + timedelta(days=7)
    assert standing.valid_until is None
    here.later = WEEK
    here.tidy()
    assert here.entries().keys() == {standing.id}


def test_one_that_is_still_needed_is_renewed_for_a_week_by_fresh_replays_and_never_for_ever():
    here = desk(cases=5)
    belief = learned(here, "The KEY service is down.")
    here.say(here.act("a refund", scope=ALICE), "Kestrel", by="alice")
    here.later = WEEK
    before = len(here.model.seeds)
    tried = here.tidy()
    assert [one.verdict.decision for one in tried] == ["accept"], tried
    assert tried[0].verdict.basis == "tested"
    assert len(here.model.seeds) > before
    assert here.entries()[belief.id].valid_until == belief.valid_until + timedelta(days=7)
    for until in (None, belief.valid_until + timedelta(days=300)):
        edit = Edit(ops=(Patch(id=belief.id, changes={"valid_until": until}),), read=(belief.id,))
        judged = here.judge(edit, *here.store.feedback(ALICE))
        assert until or (judged.verdict.decision, judged.verdict.basis) == ("reject", "policy")


# ── with a model ────────────────────────────────────────────────────────────────────────────

GOOD = {"text": "Say KEY."}


def wordy(cases: int = 90) -> Desk:
    here = desk(cases=cases)
    taught(here, "Say KEY to everybody who asks for money.", "When money is wanted back they hear KEY.")
    return here


def test_a_model_puts_rules_for_the_same_requests_into_fewer_words():
    here = wordy()
    (done,) = here.tidy(asker(GOOD))
    assert done.verdict.decision == "accept", done.verdict
    assert done.proposer.startswith("consolidate@1/")
    assert [one.text for one in here.entries().values()] == ["Say KEY."]


def test_no_call_is_spent_where_the_new_text_would_have_too_little_authority():
    here = wordy()
    here.say(here.act("?", scope=ALICE), "1 failed", Signal.TEST_LOG, source=Origin.TOOL)
    asked = asker(GOOD)
    assert here.propose(asked) is None
    assert asked.model.prompts == ()


def test_an_empty_or_longer_answer_is_no_proposal():
    for text in ("", "Say KEY " * 40):
        assert wordy(0).propose(asker({"text": text})) is None


def test_i3_an_answer_that_cannot_be_used_holds_up_no_other_group():
    here = wordy(0)
    said = ("Labels are printed in the cellar only.", "Boxes are stacked beside the window.")
    here.know(*(rule(f"s{number}", text, "a parcel") for number, text in enumerate(said)))

    def answer(prompt, seed) -> str:
        return "sorry" if any("KEY" in one.text for one in prompt.messages) else '{"text": "Down; left."}'

    model = ScriptedModel(answer)
    asked = Asker(model=model, store=here.store)
    edit = here.propose(asked)
    assert [op.id for op in edit.ops[1:]] == ["s0", "s1"]
    assert here.judge(edit, *here.store.feedback(ALICE)).verdict.decision == "defer"
    with pytest.raises(InvalidEdit):
        here.propose(asked)


@pytest.mark.parametrize("name", spoiled(GOOD))
def test_what_cannot_be_used_is_invalid(name):
    with pytest.raises(InvalidEdit):
        wordy(0).propose(asker(spoiled(GOOD)[name]))


@pytest.mark.parametrize("name", hostile(GOOD))
def test_a_hostile_answer_does_no_harm(name):
    here = wordy(0)
    try:
        edit = here.propose(asker(hostile(GOOD)[name]))
    except InvalidEdit:
        return
    check_harmless(edit, here.evidence())


def test_both_keep_the_rules_of_proposers():
    here = wordy(0)
    here.know(rule("x", "gone", valid_until=here.run.clock()))
    store, clock, recall = here.store, here.run.clock, here.recall
    shown = [here.evidence()]
    assert check_proposer(lambda: Consolidate(recall, store=store, clock=clock, asker=asker(GOOD)), evidence=shown) >= 1
    check_proposer(lambda: Expire(store=store, clock=clock), evidence=shown)


# ── it loses nothing ────────────────────────────────────────────────────────────────────────

SAID = st.sampled_from(
    [
        "The refund window is 30 days", "The refund window is 14 days", "Refund window: 9 days",
        "Ask for the order number first.", "Please ask for the order number first.", "Never ask for the order number.",
        "Say KEY.", "Say KEY please.", "The service is down.", "Be brief.",
    ]
)  # fmt: skip


def _followed(here: Desk, source: str) -> bool:
    """Whether a source leads to an entry that stands, or to a revision that says why nothing of it does."""
    todo, seen = [source], set[str]()
    while todo:
        id = todo.pop()
        if id in seen:
            continue
        seen.add(id)
        if id in here.entries():
            return True
        for made in here.store.derived(ALICE, id):
            for op in made.edit.ops:
                named = op.entry.id if isinstance(op, Put) else op.id
                if isinstance(op, Drop) and made.edit.rationale and named in made.edit.read:
                    return True
                todo.append(named)
    return False


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(SAID, st.sampled_from(["a refund", "an invoice"])), min_size=2, max_size=6), st.booleans())
def test_after_consolidation_every_source_is_still_found_and_no_case_that_passed_fails(said, late):
    here = desk(cases=25)
    for words, query in said:
        item = here.say(here.act(query, scope=ALICE), words, Signal.TEXT, by="alice")
        here.learn(item, proposer=Fact())
        here.learn(item, proposer=Adopt())
        here.say(here.act(f"{query} {words}", scope=ALICE), "Kestrel", by="alice")
    here.later = WEEK if late else timedelta()
    sources = {id for one in here.store.blame(ALICE, here.store.heads(ALICE)).values() for id in one.sources}
    before = _passed(here)
    here.tidy()
    assert all(_followed(here, source) for source in sources)
    assert before <= _passed(here)
    assert here.store.log(ALICE)  # nothing was erased
    assert apply(here.evidence().context, Edit(ops=())).entries == here.evidence().context.entries


def _passed(here: Desk) -> set[str]:
    context, passed = here.evidence().context, set[str]()
    for case in here.store.cases(ALICE):
        profile = here.run.agent.profile
        prompt = render(here.recall, context, case.request, profile=profile, now=here.run.clock())
        if here.answer(prompt) == case.grader.expected:
            passed.add(case.id)
    return passed
