"""Rules are tested by replay of the cases that they affect, against fresh replays of the context that stands."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.world import ALICE, BASE, World, rule

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.domain import Edit, Entry, GraderSpec, Kind, Patch, Prompt, Put, Signal, digest
from tokenspace.errors import AuthFailed, ModelTimeout
from tokenspace.graders import build
from tokenspace.models import ScriptedModel

MESSAGES = [
    f"where is parcel number {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")
]


def obeys(prompt: Prompt, seed: int) -> str:
    """Answers Basalt when a rule says so, else what most people would."""
    everything = prompt.system + prompt.messages[-1].text
    return "Basalt" if "goes to Basalt" in everything else "Kestrel"


def fails_until_told(prompt: Prompt, seed: int) -> str:
    everything = prompt.system + prompt.messages[-1].text
    return "Kestrel" if "goes to Kestrel" in everything else "Basalt"


def with_cases(world: World, *, right: str, scope=BASE, by="ana") -> World:
    for text in MESSAGES:
        world.say(world.act(text, scope=scope), right, by=by)
    return world


def test_a_harmful_rule_is_rejected_by_replay_after_a_few_breaks() -> None:
    world = with_cases(World(obeys), right="Kestrel")
    said = world.say(world.act("hello there", choices=None), "words", Signal.TEXT)
    verdict = world.judge(rule("Everything goes to Basalt."), said).verdict
    assert (verdict.decision, verdict.basis, verdict.fixes) == ("reject", "tested", 0)
    assert 3 <= verdict.breaks == verdict.pairs <= 6
    assert "0 fixed" in verdict.reason
    assert world.texts() == []


def test_a_helpful_rule_for_a_user_is_accepted_at_four_fixes() -> None:
    world = with_cases(World(fails_until_told), right="Kestrel", scope=ALICE)
    said = world.say(world.act("hello there", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
    attempt = world.judge(rule("A parcel goes to Kestrel."), said)
    assert (attempt.verdict.decision, attempt.verdict.basis, attempt.verdict.tier) == ("accept", "tested", 2)
    assert (attempt.verdict.fixes, attempt.verdict.breaks) == (4, 0)
    assert world.texts(ALICE) == ["A parcel goes to Kestrel."]


def test_a_helpful_rule_for_everybody_waits_for_a_person() -> None:
    world = with_cases(World(fails_until_told), right="Kestrel")
    said = world.say(world.act("hello there", choices=None), "words", Signal.TEXT)
    verdict = world.judge(rule("A parcel goes to Kestrel."), said).verdict
    assert (verdict.decision, verdict.tier, verdict.fixes) == ("defer", 4, 8)
    assert "unverified" in verdict.reason or "person" in verdict.reason


def test_too_few_cases_are_unverified_and_said_so() -> None:
    world = World(fails_until_told)
    world.say(world.act(MESSAGES[0]), "Kestrel")
    said = world.say(world.act("hello there", choices=None), "words", Signal.TEXT)
    verdict = world.judge(rule("A parcel goes to Kestrel."), said).verdict
    assert verdict.decision == "defer"
    assert "unverified" in verdict.reason


def test_a_rule_that_changes_no_prompt_costs_no_call() -> None:
    world = with_cases(World(obeys), right="Kestrel")
    said = world.say(world.act("hello there", choices=None), "words", Signal.TEXT)
    asked = len(world.model.prompts)
    verdict = world.judge(rule("Ask for the colour.", trigger="zebra xylophone"), said).verdict
    assert verdict.decision == "defer"
    assert len(world.model.prompts) == asked


def test_i7_the_case_that_caused_an_edit_is_no_evidence_for_it() -> None:
    world = with_cases(World(fails_until_told), right="Kestrel", scope=ALICE)
    said = world.store.feedback(ALICE)
    edit = rule("A parcel goes to Kestrel.")
    from dataclasses import replace

    seen = replace(edit, evidence=tuple(item.id for item in said[:6]), read=(said[6].episode,))
    verdict = world.judge(seen, *said).verdict
    assert verdict.pairs == 1
    assert verdict.decision == "defer"


def test_i3_replays_are_remembered_and_not_paid_for_twice() -> None:
    world = with_cases(World(obeys), right="Kestrel")
    said = world.say(world.act("hello there", choices=None), "words", Signal.TEXT)
    first = world.judge(rule("Everything goes to Basalt."), said).verdict
    asked = len(world.model.prompts)
    again = world.judge(rule("Everything goes to Basalt."), said).verdict
    assert len(world.model.prompts) == asked
    assert (again.fixes, again.breaks, again.usage.calls) == (first.fixes, first.breaks, 0)


def test_a_budget_that_runs_out_defers_and_the_rest_is_done_later() -> None:
    world = with_cases(World(obeys), right="Kestrel")
    said = world.say(world.act("hello there", choices=None), "words", Signal.TEXT)
    verdict = world.judge(rule("Everything goes to Basalt."), said, budget=Budget(calls=5)).verdict
    assert verdict.decision == "defer"
    assert "budget" in verdict.reason
    assert world.judge(rule("Everything goes to Basalt."), said).verdict.decision == "reject"


def test_a_users_own_instruction_is_served_when_it_harms_nothing() -> None:
    from tokenspace.proposers import Adopt

    world = World(obeys)
    said = world.say(world.act("hello", scope=ALICE), "Be brief, please.", Signal.TEXT, by="alice", trigger="")
    attempt = world.learn(said, proposer=Adopt())
    assert (attempt.verdict.decision, attempt.verdict.basis) == ("accept", "policy")
    assert world.texts(ALICE) == ["Be brief, please."]


@pytest.mark.parametrize(("pinned", "decision"), [(False, "accept"), (True, "reject")])
def test_a_confirmed_break_of_a_pinned_case_rejects_whatever_else_is_mended(pinned: bool, decision: str) -> None:
    world = World(obeys)
    world.say(world.act(MESSAGES[0], scope=ALICE), "Kestrel", by="bob")
    (case,) = world.store.cases(ALICE)
    world.store.pin(ALICE, case.id, pinned=pinned)
    for number in range(20):
        world.say(world.act(f"{MESSAGES[1]} {number}", scope=ALICE), "Basalt", by="bob")
    about = world.say(world.act("hello there", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
    verdict = world.judge(rule("Everything goes to Basalt."), about).verdict
    assert (verdict.decision, "pinned" in verdict.reason) == (decision, pinned)
    assert case.request.query[:12] not in verdict.reason  # a reason outlives what it is about (I10)


def test_model_failures_never_accept() -> None:
    world = with_cases(World(fails_until_told), right="Kestrel", scope=ALICE)
    said = world.say(world.act("hello", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
    world.model._answer = lambda prompt, seed: ModelTimeout("slow")
    verdict = world.judge(rule("A parcel goes to Kestrel."), said).verdict
    assert verdict.decision == "defer"
    world.model._answer = lambda prompt, seed: AuthFailed("no key")
    with pytest.raises(AuthFailed):
        world.judge(rule("A parcel goes to Kestrel, really."), said)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\nabc", "private key"),
        ("x" * 30_000, "tokens"),
        ("AKIA" + "A" * 16, "cloud access key"),
    ],
)
def test_static_checks_reject_without_a_call(text: str, words: str) -> None:
    world = World(ScriptedModel("Kestrel"))
    said = world.say(world.act("hello"), "words", Signal.TEXT)
    verdict = world.judge(rule(text), said, budget=Budget(calls=0)).verdict
    assert verdict.decision == "reject"
    assert words in verdict.reason


def test_what_is_known_already_is_not_added_again() -> None:
    world = World(ScriptedModel("Kestrel"))
    world.put(Entry(kind=Kind.RULE, doc="rules", text="Be brief."))
    said = world.say(world.act("hello"), "words", Signal.TEXT)
    assert "already" in world.judge(rule("Be brief."), said).verdict.reason


def test_cases_that_cannot_be_graded_here_conclude_nothing() -> None:
    world = World(fails_until_told)
    for text in MESSAGES:
        world.say(world.act(text), "Kestrel", expects=GraderSpec(name="function", options={"function": "absent"}))
    said = world.say(world.act("hello", choices=None), "words", Signal.TEXT)
    verdict = world.judge(rule("A parcel goes to Kestrel."), said).verdict
    assert (verdict.decision, verdict.pairs) == ("defer", 0)
    assert "could not be measured" in verdict.reason


def test_an_instruction_is_not_changed_by_calling_it_an_example() -> None:
    world = World(obeys)
    world.put(Entry(id="0" * 32, kind=Kind.INSTRUCTION, doc="instructions", text="Never promise money."))
    disguised = Entry(id="0" * 32, kind=Kind.EXAMPLE, doc="examples", trigger="hi", text="Kestrel")
    said = world.say(world.act("hello", scope=ALICE), "words", Signal.TEXT, by="alice")
    attempt = world.judge(Edit(ops=(Put(entry=disguised),)), said)
    assert attempt.verdict.tier == 3
    assert attempt.verdict.decision != "accept"
    assert world.judge(Edit(ops=()), said).verdict.decision == "reject"


def test_i6_an_instruction_is_not_hidden_by_an_example_that_supersedes_it() -> None:
    world = World(obeys)
    world.put(Entry(id="0" * 32, kind=Kind.INSTRUCTION, doc="instructions", text="Never promise money."))
    hiding = Entry(id="1" * 32, kind=Kind.EXAMPLE, doc="examples", trigger="hi", text="Kestrel", supersedes="0" * 32)
    said = world.say(world.act("hello", scope=ALICE), "words", Signal.TEXT, by="alice")
    attempt = world.judge(Edit(ops=(Put(entry=hiding),)), said)
    assert attempt.verdict.tier == 3
    assert attempt.verdict.decision != "accept"
    bare = replace(hiding, supersedes=None)
    assert world.judge(Edit(ops=(Put(entry=bare),)), said).verdict.tier == 0
    patched = world.judge(Edit(ops=(Patch(id=bare.id, changes={"supersedes": "0" * 32}),)), said)
    assert patched.verdict.tier == 3


def test_i3_a_free_look_does_not_erase_what_was_measured() -> None:
    world = with_cases(World(fails_until_told), right="Kestrel")
    said = world.say(world.act("hello there", choices=None), "words", Signal.TEXT)
    waiting = world.judge(rule("A parcel goes to Kestrel."), said)
    assert waiting.verdict.fixes == 8
    world.put(Entry(kind=Kind.RULE, doc="rules", text="The head moves."))
    again = asyncio.run(loop.judge(world.run, world.gate, waiting, budget=Budget(calls=0)))
    assert (again.verdict.decision, again.verdict.fixes) == ("defer", 8)


def test_near_copies_that_expect_different_things_test_nothing() -> None:
    world = with_cases(World(obeys), right="Kestrel")
    for text in MESSAGES:
        world.say(world.act(text), "Basalt")
    said = world.say(world.act("hello there", choices=None), "words", Signal.TEXT)
    assert world.judge(rule("Everything goes to Basalt."), said).verdict.pairs == 0


def test_every_case_that_feedback_makes_can_be_graded() -> None:
    world = World(ScriptedModel("Kestrel"))
    free = world.act("hello", choices=None)
    for value in ("Kestrel", "short", "x" * 200, "two\nlines", '{"a": 1}', "12.5"):
        world.say(free, value)
    world.say(world.act("hello"), "Basalt")
    for case in world.store.cases(BASE):
        assert build(case.grader, model=world.model) is not None


def test_an_edit_that_does_nothing_gets_no_new_chance_with_every_move_of_the_head() -> None:
    def moody(prompt: Prompt, seed: int) -> str:
        return "Kestrel" if int(digest([says_all(prompt), seed])[:4], 16) % 2 else "Basalt"

    accepted, worlds = 0, 40
    for number in range(worlds):
        world = World(moody)
        for index in range(24):
            world.say(world.act(f"{number}: parcel {index}", scope=ALICE), "Kestrel", by="bob")
        about = world.say(world.act("hello there", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
        for head in range(10):
            if world.judge(rule("It depends."), about).verdict.decision == "accept":
                accepted += 1
                break
            world.put(Entry(kind=Kind.RULE, doc="rules", text=f"by hand {head}"), scope=ALICE)
    assert accepted <= 0.2 * worlds + 3


def says_all(prompt: Prompt) -> str:
    return prompt.system + "|".join(message.text for message in prompt.messages)
