"""The numbered invariants that the loop keeps, through the real parts on a store in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.world import ALICE, BASE, TENANT, World, rule

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.domain import Edit, Entry, Kind, Origin, Put, Scope, Signal, Verdict
from tokenspace.errors import BudgetExceeded, InvalidEdit, StaleHead, UsageError
from tokenspace.models import ScriptedModel


def test_i1_a_rejected_or_deferred_edit_moves_no_head() -> None:
    world = World(ScriptedModel("Kestrel"))
    said = world.say(world.act("hello"), "words", Signal.TEXT)
    before = world.store.heads(BASE)
    assert world.judge(rule("Be brief."), said).verdict.decision == "defer"
    assert world.store.heads(BASE) == before
    with pytest.raises(InvalidEdit):
        world.store.commit(BASE, rule("Be brief."), Verdict(decision="defer"), expect=None, author="ana")


def test_i2_a_learner_that_lost_the_race_judges_anew_and_loses_nothing() -> None:
    world = World(teachers=["ana"])
    said = world.say(world.act("where is my parcel"), "Kestrel")
    commit, raced = world.store.commit, []

    def race(*args, **more):
        if not raced:
            raced.append(True)
            commit(
                BASE, rule("Somebody was quicker."), Verdict(decision="accept", basis="human"), expect=None, author="bo"
            )
        return commit(*args, **more)

    world.store.commit = race
    assert world.learn(said).verdict.decision == "accept"
    assert sorted(world.texts()) == ["Kestrel", "Somebody was quicker."]


def test_i2_a_head_that_keeps_moving_is_said() -> None:
    world = World(teachers=["ana"])
    said = world.say(world.act("where is my parcel"), "Kestrel")

    def stale(*args, **more):
        raise StaleHead("moved")

    world.store.commit = stale
    with pytest.raises(StaleHead, match="moved 5 times"):
        world.learn(said)


def test_i3_what_was_decided_is_not_tried_again() -> None:
    world = World(teachers=["ana"])
    said = world.say(world.act("where is my parcel"), "Kestrel")
    assert world.learn(said).verdict.decision == "accept"
    assert world.sleep() == []
    tried = world.store.attempts(BASE)
    assert [one.verdict.decision for one in tried] == ["accept", "abstain", "abstain"]
    assert world.sleep() == []
    assert world.store.attempts(BASE) == tried, "and to have nothing to propose is remembered, too"


def test_i3_an_unusable_proposal_is_a_recorded_attempt() -> None:
    class Bad:
        name, reach = "bad@1", "one"

        async def propose(self, evidence, *, budget):
            raise InvalidEdit("nonsense")

    world = World()
    said = world.say(world.act("hello"), "Kestrel")
    attempt = world.learn(said, proposer=Bad())
    assert attempt.verdict.decision == "reject"
    assert world.store.attempts(BASE) == [attempt]


def test_i8_feedback_reaches_only_the_scope_of_its_episode() -> None:
    world = World()
    world.teach("where is my parcel", "Kestrel", scope=ALICE, by="alice")
    assert world.texts(ALICE) == ["Kestrel"]
    assert world.texts(BASE) == world.texts(TENANT) == []
    assert world.texts(Scope(agent="desk", tenant="acme", user="bob")) == []
    with pytest.raises(UsageError):
        Scope(agent="desk", user="alice")


def test_i9_an_entry_has_the_lowest_origin_of_what_caused_it() -> None:
    world = World(teachers=["ana"])
    claimed = Entry(kind=Kind.EXAMPLE, doc="examples", trigger="hi", text="Kestrel", origin=Origin.OPERATOR)
    said = world.say(world.act("hello"), "Kestrel", source=Origin.TOOL)
    attempt = world.judge(Edit(ops=(Put(entry=claimed),), evidence=(said.id,)), said)
    assert attempt.edit.ops[0].entry.origin is Origin.TOOL


def test_i12_a_budget_is_never_exceeded_by_one_call() -> None:
    world = World(ScriptedModel("Kestrel"))
    with pytest.raises(BudgetExceeded):
        asyncio.run(loop.act(world.run, BASE, world.act("hi").request, budget=Budget(calls=0)))
    assert len(world.model.prompts) == 1


def test_i13_a_case_is_replayed_without_what_was_made_from_it() -> None:
    world = World(lambda prompt, seed: "Kestrel", teachers=["ana"])
    world.teach("where is my parcel", "Kestrel")
    world.teach("where is my parcel today", "Kestrel")
    said = world.say(world.act("hello", choices=None), "words", Signal.TEXT)
    asked, episodes = len(world.model.prompts), len(world.store.episodes(BASE))
    world.judge(rule("Be brief."), said)
    replayed = [prompt.messages[-1].text for prompt in world.model.prompts[asked:]]
    assert len(replayed) == 4
    for text in replayed:
        question = text.rsplit("\n", 1)[-1]
        assert f"Message: {question}\n" not in text, "its own example would give the answer away"
        assert "Message: where is my parcel" in text, "the other one is shown"
    assert len(world.store.episodes(BASE)) == episodes, "replays are no episodes"


def test_i14_a_running_session_keeps_its_core_and_sees_new_recalled_entries() -> None:
    world = World(ScriptedModel(lambda prompt, seed: "Kestrel"), teachers=["ana"])
    world.put(Entry(kind=Kind.RULE, doc="rules", text="Old rule."))
    world.act("hello", session="s1")
    old = next(e for e in world.store.context(BASE, world.store.heads(BASE)).entries)
    world.put(replace(old, text="New rule."))
    world.teach("where is my parcel", "Kestrel")
    world.act("where is my parcel now", session="s1")
    world.act("where is my parcel now", session="s2")
    running, fresh = (prompt.system for prompt in world.model.prompts[-2:])
    assert "Old rule." in running
    assert "New rule." in fresh
    assert all("where is my parcel" in prompt.messages[-1].text for prompt in world.model.prompts[-2:])


def test_sleep_learns_what_was_not_learned_and_stops_at_its_budget() -> None:
    world = World(teachers=["ana"])
    world.say(world.act("where is my parcel"), "Kestrel")
    world.say(world.act("refund please"), "Basalt")
    assert [one.verdict.decision for one in world.sleep()] == ["accept", "accept"]
    assert world.sleep(budget=Budget(calls=0)) == []


def test_a_proposer_that_always_asks_for_the_same_ends_the_sleep() -> None:
    class Stubborn:
        name, reach = "stubborn@1", "all"

        async def propose(self, evidence, *, budget):
            raise InvalidEdit("nonsense")

    world = World()
    world.say(world.act("hello"), "Kestrel")
    world.proposers = (Stubborn(),)
    assert len(world.sleep()) == 2


def test_what_was_learned_on_a_branch_is_still_to_be_learned_on_the_served_line() -> None:
    world = World(teachers=["ana"])
    world.store.create_branch(BASE, "trial")
    said = world.say(world.act("where is my parcel"), "Kestrel")
    served = world.run
    world.run = replace(served, branch="trial")
    assert world.learn(said).verdict.decision == "accept"
    world.run = served
    assert world.texts() == []
    assert [one.verdict.decision for one in world.sleep()] == ["accept"]
    assert world.texts() == ["Kestrel"]
