"""What was tried is known however long ago it was: models are shown the newest attempts, proposers know them all."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.proposers.cluster import propose as ask
from tests.unit.proposers.test_consolidate import Desk, desk, rule
from tests.unit.proposers.test_proposers import put_on_trial
from tests.unit.proposers.test_skill import GOOD, answer, asker, attempt, evidence, skill, success, three
from tests.world import ALICE, World

from tokenspace.budget import Budget
from tokenspace.context import edit_key
from tokenspace.context.renderers import STYLES
from tokenspace.domain import Drop, Edit, Entry, Evidence, Kind, Patch, Signal, Verdict
from tokenspace.models import ScriptedModel
from tokenspace.models.nearest import NEAREST
from tokenspace.proposers import Adopt, Asker, Consolidate, Expire, Fact, Renderer, Skill

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """Two attempts of each verdict are shown, so that the history is longer than that."""
    monkeypatch.setattr("tokenspace.loop.SHOWN", 2)


def propose(proposer, shown: Evidence) -> Edit | None:
    return asyncio.run(proposer.propose(shown, budget=Budget()))


def forgotten(shown: Evidence, *tried) -> Evidence:
    """Evidence that shows none of these attempts; they are in the past."""
    return replace(shown, past=lambda: tried)


def test_every_merge_is_tried_once_and_no_deferred_attempt_comes_twice():
    here = desk()
    for number in range(6):
        said = f"Ask for the order number w{number} x{number} first."
        about = f"topic{number} alpha{number}"
        here.know(rule(f"a{number}", f"Please: {said}", about), rule(f"b{number}", said, about))
    for _ in range(3):
        tried = here.tidy()
        assert [one.verdict.decision for one in tried] == ["defer"] * 6
        held = here.store.attempts(ALICE, decision="defer")
        assert len(held) == len({one.edit_key for one in held}) == 6
        here.later += DAY


def test_the_same_deferred_edit_of_more_feedback_updates_its_attempt():
    class Same:
        name, reach = "same@1", "all"

        async def propose(self, evidence, *, budget):
            return Edit(ops=(Drop(id="b"),), rationale="both say the same", read=("a", "b"))

    here, said = Desk(), []
    here.know(rule("a", "Ask first."), rule("b", "Please ask first."))
    for number in range(3):
        said.append(here.say(here.act(f"question {number}", scope=ALICE), "Be brief.", Signal.TEXT, by="alice"))
        assert here.learn(*said, proposer=Same()).verdict.decision == "defer"
    (held,) = here.store.attempts(ALICE)
    assert set(held.evidence) == {one.id for one in said}
    other = here.say(here.act("other", scope=ALICE), "Be brief.", Signal.TEXT, by="alice")
    here.learn(other, proposer=Same())
    assert len(here.store.attempts(ALICE)) == 2  # its own feedback, its own attempt


def test_what_a_model_read_as_a_fact_is_not_adopted_too():
    def read(prompt, _) -> str:
        words = json.loads(prompt.messages[0].text)["said"].split()
        return json.dumps({"facts": [{"key": words[-1], "value": words[0], "valid_from": "", "condition": ""}]})

    here = Desk()
    for number in range(6):
        words = f"v{number} would be what we charge nowadays concerning thing{number}"
        here.say(here.act(f"question {number}", scope=ALICE), words, Signal.TEXT, by="alice")
    model = ScriptedModel(read)
    here.proposers = (Fact(Asker(model=model, store=here.store)), Adopt(facts=True))
    here.sleep(scope=ALICE)
    assert [entry.kind for entry in here.entries().values()] == [Kind.FACT] * 6


def test_what_a_person_restored_long_ago_is_not_dropped_again():
    here = desk()
    here.know(rule("c", "Until Friday.", valid_until=here.run.clock()))
    (edit,) = [one.edit for one in here.tidy()]
    here.know(rule("c", "Until Friday.", valid_until=here.run.clock()))
    shown = here.evidence()
    made = Consolidate(here.recall, store=here.store, clock=here.run.clock)
    (tried,) = shown.accepted
    assert tried.edit == edit
    assert propose(made, replace(shown, accepted=())) is not None
    assert propose(made, forgotten(replace(shown, accepted=()), tried)) is None


def test_retire_knows_what_was_restored_and_what_was_measured_long_ago():
    world = World()
    world.put(Entry(id="bad", kind=Kind.RULE, doc="rules", text="Rule bad."), scope=ALICE)
    context = world.store.context(ALICE, world.store.heads(ALICE))
    nothing = Evidence(scope=ALICE, context=context, feedback=(), episodes={})
    useless = put_on_trial(world, "bad", fixes=0, breaks=9)
    assert propose(world.proposers[2], nothing) is None
    assert propose(world.proposers[2], forgotten(nothing, useless)).ops == (Drop(id="bad"),)
    dropped = put_on_trial(world, "bad", fixes=9, breaks=0, drop=True)
    assert propose(world.proposers[2], forgotten(replace(nothing, held=(useless,)), useless, dropped)) is None


def test_expire_tries_a_renewal_once(monkeypatch):
    here = desk()
    here.know(rule("c", "The search is down.", valid_until=here.run.clock()))
    monkeypatch.setattr("tokenspace.proposers.expire.born_of_failure", lambda *_: True)
    made = Expire(store=here.store, clock=here.run.clock)
    edit = propose(made, here.evidence())
    assert isinstance(edit.ops[0], Patch)
    tried = replace(put_on_trial(here, "c", fixes=0, breaks=0), edit=edit, edit_key=edit_key(edit))
    assert propose(made, forgotten(here.evidence(), tried)) is None


def test_a_style_that_lost_long_ago_waits():
    here = desk(cases=20)
    made, shown, tried = Renderer(NEAREST), here.evidence(), []
    ids = tuple(one.id for one in shown.feedback)
    while (edit := propose(made, forgotten(shown, *tried))) is not None:
        lost = put_on_trial(here, f"s{len(tried)}", fixes=0, breaks=2)
        lost = replace(lost, proposer=made.name, edit=edit, evidence=ids, verdict=Verdict(decision="reject"))
        tried.append(lost)
        assert len(tried) < len(STYLES)
    assert len(tried) == len(STYLES) - 1


def test_a_skill_that_was_rejected_or_waits_since_long_ago_is_not_asked_for_again():
    edit = ask(Skill(asker(GOOD)), three())
    for decision in ("reject", "defer"):
        asked = asker(GOOD)
        assert ask(Skill(asked), forgotten(three(), attempt(edit, decision))) is None
        assert asked.model.prompts == ()


# ── what a model declined ───────────────────────────────────────────────────────────────────


def test_a_course_that_the_model_declined_is_asked_about_once_until_as_much_more_has_come():
    def course(name: str, count: int) -> list:
        start = {"no": 0, "go": 100}[name]
        return [success(start + n, name, "pay_back", text=name + " {}") for n in range(count)]

    def answers(prompt, _) -> str:
        first = json.loads(prompt.messages[0].text)["course"][0]
        asked.append(first)
        return json.dumps(answer() if first == "no" else answer(skill(f"go-{asked.count('go')}")))

    asked: list[str] = []
    made = Skill(Asker(model=ScriptedModel(answers), store=World().store))
    edit = ask(made, evidence(*course("no", 7), *course("go", 3)))
    assert asked == ["no", "go"]
    # The rejected edit is told beside the next question, which would be another one.
    again = evidence(*course("no", 8), *course("go", 6), rejected=(attempt(edit),))
    assert ask(made, again) is not None
    assert asked == ["no", "go", "go"]
    assert ask(made, evidence(*course("no", 9))) is None
    assert asked == ["no", "go", "go", "no"]


def test_a_later_process_knows_what_was_declined():
    declined, store = asker(answer()), World().store
    assert ask(Skill(replace(declined, store=store)), three()) is None
    other = asker(GOOD)
    assert ask(Skill(replace(other, store=store)), three(base=())) is None
    assert other.model.prompts == ()


# ── what is compared again ──────────────────────────────────────────────────────────────────


def test_contradictions_are_looked_for_once_for_the_same_entries(monkeypatch):
    looked: list[object] = []
    from tokenspace.proposers import consolidate

    plain = consolidate.contradictions
    monkeypatch.setattr(consolidate, "contradictions", lambda *a, **more: looked.append(a) or plain(*a, **more))
    here = desk()
    here.know(rule("a", "Wait 3 days."), rule("b", "Wait 5 days."))
    made = Consolidate(here.recall, store=here.store, clock=here.run.clock)
    for _ in range(3):
        propose(made, here.evidence())
    assert len(looked) == 1
    here.know(rule("c", "Wait 9 days."))
    propose(made, here.evidence())
    assert len(looked) == 2
