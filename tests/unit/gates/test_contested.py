"""Examples: served at once, held back when their neighbours disagree, settled by replay."""

from __future__ import annotations

from tests.world import ALICE, BASE, World

from tokenspace.budget import Budget
from tokenspace.domain import Origin, Signal
from tokenspace.errors import ModelTimeout
from tokenspace.models import ScriptedModel

PARCELS = ["where is my parcel", "my parcel is late", "the parcel never came", "parcel lost again"]


def taught(world: World) -> World:
    for text in PARCELS:
        world.teach(text, "Kestrel")
    for text in ("refund for a mug please", "I want a refund", "refund not here yet"):
        world.teach(text, "Basalt")
    return world


def test_a_teachers_example_is_served_at_once_by_policy() -> None:
    attempt = World(teachers=["ana"]).teach("where is my parcel", "Kestrel")
    assert (attempt.verdict.decision, attempt.verdict.basis, attempt.verdict.tier) == ("accept", "policy", 1)


def test_an_example_that_its_neighbours_contradict_is_held_back_without_a_model_call() -> None:
    world = taught(World(teachers=["ana"]))
    said = world.say(world.act("where is the parcel of mine"), "Basalt")
    held = world.learn(said, budget=Budget(calls=0))
    assert held.verdict.decision == "defer"
    assert "3 of" in held.verdict.reason or "4 of" in held.verdict.reason
    assert world.texts().count("Basalt") == 3


def test_a_held_example_that_breaks_a_verified_case_is_rejected_in_sleep() -> None:
    world = taught(World(teachers=["ana"]))
    world.teach("where is the parcel of mine", "Basalt")
    verdicts = [one.verdict for one in world.sleep() if one.proposer == "remember@1"]
    assert all(verdict.decision != "accept" for verdict in verdicts)


def test_an_early_wrong_example_is_retired_when_its_neighbours_arrive() -> None:
    world = World(teachers=["ana"])
    world.teach("my parcel is lost", "Basalt")
    taught(world)
    wrong = next(
        e for e in world.store.context(ALICE, world.store.heads(ALICE)).entries if e.trigger == "my parcel is lost"
    )
    retired = [one for one in world.sleep() if one.proposer == "retire@2" and one.verdict.decision == "accept"]
    assert [op.id for one in retired for op in one.edit.ops] == [wrong.id]


def test_a_users_own_example_is_never_held_back_from_themselves() -> None:
    world = taught(World(teachers=["ana"]))
    attempt = world.teach("where is the parcel of mine", "Basalt", scope=ALICE, by="alice")
    assert (attempt.verdict.decision, attempt.verdict.tier) == ("accept", 0)


def test_free_answers_that_differ_in_words_do_not_contradict() -> None:
    world = World(ScriptedModel("It is on its way."), teachers=["ana"])
    for words in ("It is on its way to you.", "On its way!", "We sent it."):
        episode = world.act("where is my parcel", choices=None)
        assert world.learn(world.say(episode, words)).verdict.decision == "accept"


def test_an_example_of_somebody_who_is_no_teacher_waits_before_it_reaches_the_shared_base() -> None:
    attempt = World(teachers=["ana"]).teach("where is my parcel", "Kestrel", by="mallory")
    assert (attempt.verdict.decision, attempt.verdict.tier) == ("defer", 4)


def test_repeating_a_wrong_correction_does_not_release_it() -> None:
    world = taught(World(teachers=["ana", "bo"]))
    episode = world.act("where is the parcel of mine")
    for by in ("ana", "bo", "ana"):
        held = world.learn(world.say(episode, "Basalt", by=by), budget=Budget(calls=0))
        assert held.verdict.decision == "defer"


def test_what_a_person_restored_is_not_retired_again() -> None:
    world = World(teachers=["ana"])
    world.teach("my parcel is lost", "Basalt")
    taught(world)
    wrong = next(
        e for e in world.store.context(BASE, world.store.heads(BASE)).entries if e.trigger == "my parcel is lost"
    )
    world.sleep()
    assert wrong.id not in world.store.context(BASE, world.store.heads(BASE)).by_id
    world.put(wrong)
    world.sleep()
    assert wrong.id in world.store.context(BASE, world.store.heads(BASE)).by_id


def test_an_outage_retires_and_rejects_nothing() -> None:
    world = World(lambda prompt, seed: ModelTimeout("down"), teachers=["ana"])
    world.model._answer = lambda prompt, seed: "Basalt"
    world.teach("my parcel is lost", "Basalt")
    taught(world)
    before = world.texts()
    world.model._answer = lambda prompt, seed: ModelTimeout("down")
    assert all(one.verdict.decision == "defer" for one in world.sleep() if one.proposer == "retire@2")
    assert sorted(world.texts()) == sorted(before)


def test_one_free_text_lesson_does_not_stop_retirement() -> None:
    world = World(teachers=["ana"])
    world.teach("my parcel is lost", "Basalt")
    taught(world)
    world.learn(world.say(world.act("hello", choices=None), "Hello to you, too, and a good day."))
    retired = [one for one in world.sleep() if one.proposer == "retire@2" and one.verdict.decision == "accept"]
    assert len(retired) == 1


def test_a_retired_lesson_that_is_taught_again_is_not_let_in_by_its_old_verdict() -> None:
    world = World(teachers=["ana"])
    world.teach("my parcel is lost", "Basalt")
    taught(world)
    world.sleep()
    assert world.texts().count("Basalt") == 3
    again = world.learn(world.say(world.act("my parcel is lost"), "Basalt"), budget=Budget(calls=0))
    assert again.verdict.decision == "defer"
    assert world.texts().count("Basalt") == 3


def test_a_teacher_who_lies_neither_supports_himself_nor_keeps_out_the_others() -> None:
    world = World(teachers=["ana", "bo", "chen", "mallory"])
    for text, by in zip(PARCELS, ("ana", "bo", "chen", "ana"), strict=True):
        world.teach(text, "Kestrel", by=by)
    lies = [world.teach(f"my parcel is late {word}", "Basalt", by="mallory") for word in ("now", "again", "today")]
    assert {one.verdict.decision for one in lies} == {"defer"}
    assert world.teach("the parcel is late", "Kestrel", by="bo").verdict.decision == "accept"


def test_nobody_is_the_witness_of_their_own_lesson() -> None:
    world = World(teachers=["ana", "bo", "chen", "mallory"])
    for text in ("parcel one late", "parcel two late", "parcel three late"):
        world.teach(text, "Basalt", by="mallory")
    for text, by in zip(PARCELS, ("ana", "bo", "chen", "ana"), strict=True):
        world.teach(text, "Kestrel", by=by)
    world.sleep()
    assert "Basalt" not in world.texts()


def test_nothing_more_is_taken_on_the_word_of_a_teacher_who_was_contradicted_mostly() -> None:
    world = World(teachers=["ana", "bo", "chen", "mallory"])
    for text, by in zip(PARCELS, ("ana", "bo", "chen", "ana"), strict=True):
        world.teach(text, "Kestrel", by=by)
    for number in range(8):
        world.teach(f"my parcel is late {number}", "Basalt", by="mallory")
    far = world.teach("quite another matter", "Basalt", by="mallory")
    assert far.verdict.decision == "defer"
    assert "of the 9 lessons of mallory were contradicted" in far.verdict.reason
    calls = Budget()
    assert all(one.verdict.decision != "accept" for one in world.sleep(budget=calls) if one.proposer == "remember@1")
    assert calls.usage.calls == 0, "no replay is spent on what a discredited teacher says"
    assert world.teach("quite another matter", "Basalt", by="ana").verdict.decision == "accept"


def test_i9_what_an_agent_says_of_itself_is_no_evidence_and_teaches_nobody() -> None:
    world = World(teachers=("ana",))
    episode = world.act("where is my parcel")
    praised = world.say(episode, True, Signal.LABEL, source=Origin.AGENT)
    assert world.learn(praised).verdict.decision == "abstain"
    assert world.store.cases(BASE) == []
    corrected = world.say(episode, "Kestrel", source=Origin.AGENT)
    attempt = world.learn(corrected)
    assert (attempt.verdict.tier, attempt.verdict.decision) == (4, "defer")
