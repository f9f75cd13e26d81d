"""A canary: an edit for everybody reaches a few sessions first, and full traffic only when that went well."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.unit.gates.test_rules import MESSAGES, fails_until_told
from tests.world import ALICE, BASE, TENANT, World, rule

from tokenspace.budget import Budget
from tokenspace.canary import assigned, chance
from tokenspace.domain import Attempt, Canary, Edit, Entry, Episode, Kind, Put, Signal, Verdict
from tokenspace.stats import fixes_needed

TOLD = "A parcel goes to Kestrel."
OPERATOR = frozenset({"ana"})


def many_cases(world: World, *, scope=BASE, people=("ana",), n: int = 24) -> World:
    for number in range(n):
        world.say(world.act(f"where is parcel {number}", scope=scope), "Kestrel", by=people[number % len(people)])
    return world


def on_trial(world: World | None = None, **settings) -> tuple[World, Canary]:
    world = many_cases(world or World(fails_until_told, operators=OPERATOR, **settings))
    said = world.say(world.act("hello there", choices=None), "words", Signal.TEXT)
    attempt = world.judge(rule(TOLD), said)
    assert attempt.verdict.decision == "accept", attempt.verdict.reason
    (canary,) = world.store.canaries(BASE)
    return world, canary


def serve(world: World, *, times: int, good: float, treated: bool, session: str = "s") -> None:
    """Sessions of one arm that end well at a rate of `good`."""
    (canary,) = world.store.canaries(BASE)
    done, number = 0, 0
    while done < times:
        number += 1
        name = f"{session}{number}"
        if (chance(canary.id, name) < canary.share) is not treated:
            continue
        episode = world.act(f"question {number}", session=name, choices=None)
        world.say(episode, done % 10 < good * 10, Signal.LABEL)
        done += 1


def promote(world: World) -> list[Attempt]:
    async def collect() -> list[Attempt]:
        return [one async for one in world.watch.promote(BASE, budget=Budget())]

    return asyncio.run(collect())


def test_i1_an_edit_for_everybody_starts_with_one_session_in_twenty() -> None:
    world, canary = on_trial()
    assert world.texts() == []
    assert (canary.share, canary.state) == (0.05, "trial")
    heads = [assigned(world.store, ALICE, branch="", unit=f"session {n}") for n in range(2_000)]
    treated = sum(one.base == canary.revision for one in heads)
    assert 60 < treated < 140
    assert heads == [assigned(world.store, ALICE, branch="", unit=f"session {n}") for n in range(2_000)]


def test_only_sessions_of_the_canary_see_it() -> None:
    world, canary = on_trial()
    seen: dict[bool, Episode] = {}
    for n in range(200):
        episode = world.act(MESSAGES[0], session=f"a{n}")
        seen.setdefault(episode.heads.base == canary.revision, episode)
    assert seen[True].output == "Kestrel"
    assert seen[False].output == "Basalt"


def test_only_one_canary_of_a_layer_at_a_time() -> None:
    world, _ = on_trial()
    said = world.say(world.act("hello again", choices=None), "other words", Signal.TEXT)
    verdict = world.judge(rule("Really, a parcel goes to Kestrel."), said).verdict
    assert verdict.decision == "defer"
    assert "another canary" in verdict.reason


def test_a_canary_that_goes_well_is_widened_and_promoted_with_enough_pinned_cases() -> None:
    world, _ = on_trial(margin={2: 0.05, 3: 0.05, 4: 0.3})
    for case in world.store.cases(BASE):
        world.store.pin(BASE, case.id)
    for share in (0.25, 0.95):
        serve(world, times=20, good=0.9, treated=True, session=f"a{share}")
        (moved,) = world.watch.step(BASE)
        assert moved.share == share
    assert world.watch.step(BASE) == []
    assert promote(world) == []
    serve(world, times=20, good=0.9, treated=True, session="b")
    (attempt,) = promote(world)
    assert attempt.verdict.decision == "accept", attempt.verdict.reason
    assert world.texts() == [TOLD]
    (canary,) = world.store.canaries(BASE)
    assert (canary.state, canary.promoted) == ("served", attempt.revision)
    assert promote(world) == []


def test_full_traffic_is_refused_without_pinned_cases() -> None:
    world, canary = on_trial()
    world.store.save_canary(replace(canary, share=0.95))
    serve(world, times=60, good=0.9, treated=True)
    (attempt,) = promote(world)
    assert attempt.verdict.decision == "defer"
    assert "pinned" in attempt.verdict.reason
    assert world.texts() == []


def test_a_canary_that_is_worse_than_its_hold_back_is_taken_back() -> None:
    world, canary = on_trial()
    world.store.save_canary(replace(canary, share=0.5))
    for turn in range(10):
        serve(world, times=2, good=0, treated=True, session=f"t{turn}")
        serve(world, times=2, good=1, treated=False, session=f"h{turn}")
    (moved,) = world.watch.step(BASE)
    assert (moved.state, moved.share) == ("stopped", 0.0)
    assert "hold-back" in moved.reason
    assert world.store.canaries(BASE) == []
    assert canary.branch not in world.store.branches(BASE)
    assert any("rolled back" in one.verdict.reason for one in world.store.attempts(BASE, decision="reject"))
    assert world.watch.step(BASE) == []


def test_i4_a_promotion_that_fails_later_is_undone_by_an_inverse_revision() -> None:
    world, canary = on_trial()
    said = world.store.feedback(BASE)[-1]
    made = world.store.commit(
        BASE, rule(TOLD), replace(world.store.revision(BASE, canary.revision).verdict, share=1.0, basis="human"),
        expect=world.store.heads(BASE).base, author="ana", vectors={},
    )  # fmt: skip
    world.watch.served(replace(canary, rate=0.8), made.id)
    for number in range(40):
        episode = world.act(f"later {number}", choices=None)
        world.say(episode, False, Signal.LABEL)
    (moved,) = world.watch.step(BASE)
    assert moved.state == "stopped"
    assert world.texts() == []
    assert [one.author for one in world.store.log(BASE)][:2] == ["canary@1", "ana"]
    assert said.id not in world.store.log(BASE)[0].edit.evidence


def test_i14_a_session_does_not_keep_what_a_canary_was_stopped_for() -> None:
    world, canary = on_trial()
    name = next(f"s{n}" for n in range(1_000) if chance(canary.id, f"s{n}") < canary.share)
    assert world.act(MESSAGES[0], session=name).output == "Kestrel"
    assert world.act(MESSAGES[0], session=name).output == "Kestrel"
    world.watch.stop(canary, "it harms")
    assert world.act(MESSAGES[0], session=name).output == "Basalt"


def test_a_reading_carries_no_word_and_counts_once() -> None:
    world, canary = on_trial()
    episode = world.act("a secret question", scope=ALICE, choices=None)
    world.say(episode, False, Signal.LABEL, by="alice")
    world.say(episode, True, Signal.LABEL, by="alice")
    (reading,) = world.store.readings(canary)
    treated = episode.heads.base == canary.revision
    assert (reading.episode, reading.treated, reading.score) == (episode.id, treated, 0.0)


def test_episodes_from_before_a_canary_say_nothing_about_it() -> None:
    world = World(fails_until_told, operators=OPERATOR)
    before = world.act("an early question", choices=None)
    world, canary = on_trial(world)
    world.say(before, False, Signal.LABEL)
    assert world.store.readings(canary) == []


@pytest.mark.parametrize(("people", "decision"), [(("bob",), "defer"), (("bob", "eve"), "accept")])
def test_a_tenants_rule_needs_two_distinct_principals(people: tuple[str, ...], decision: str) -> None:
    world = many_cases(World(fails_until_told), scope=TENANT, people=people)
    said = world.say(world.act("hello there", scope=TENANT, choices=None), "words", Signal.TEXT, by="bob")
    verdict = world.judge(rule(TOLD), said).verdict
    assert (verdict.tier, verdict.decision) == (3, decision)
    assert verdict.support >= len(people)
    if decision == "defer":
        assert "distinct principals" in verdict.reason
        assert verdict.fixes >= fixes_needed()


def test_a_killed_admission_is_healed_by_the_next_look() -> None:
    _, canary = on_trial()
    other = World(fails_until_told, operators=OPERATOR)
    original, other.store.save_canary = other.store.save_canary, lambda canary: None  # killed before it is saved
    many_cases(other)
    other.judge(rule(TOLD), other.say(other.act("hello there", choices=None), "words", Signal.TEXT))
    assert other.store.canaries(BASE) == []
    other.store.save_canary = original
    other.watch.step(BASE)
    (healed,) = other.store.canaries(BASE)
    assert (healed.share, healed.state) == (canary.share, canary.state)


def test_an_edit_that_was_taken_back_is_not_admitted_again_by_what_is_remembered_of_it() -> None:
    world, canary = on_trial()
    world.watch.stop(canary, "harm")
    said = world.say(world.act("hello again", choices=None), "words", Signal.TEXT)
    verdict = world.judge(rule(TOLD), said).verdict
    assert verdict.decision == "defer"
    assert "rolled back" in verdict.reason
    assert world.store.canaries(BASE) == []


def test_what_a_person_changes_reaches_the_sessions_of_a_canary() -> None:
    world, canary = on_trial()
    world.store.save_canary(replace(canary, share=0.95))
    world.put(Entry(kind=Kind.RULE, doc="rules", text="An urgent fix."))
    (moved,) = world.watch.step(BASE)
    assert moved.state == "stopped"
    heads = world.store.heads(BASE)
    assert all(assigned(world.store, BASE, branch="", unit=f"s{n}") == heads for n in range(50))


def test_a_promotion_that_the_gate_rejects_ends_the_canary() -> None:
    world, canary = on_trial()
    world.store.save_canary(replace(canary, share=0.95))
    serve(world, times=60, good=0.9, treated=True)
    entry = Entry(kind=Kind.RULE, doc="rules", text=TOLD)
    world.store.commit(
        BASE, Edit(ops=(Put(entry=entry),)), Verdict(decision="accept", basis="tested"),
        expect=world.store.heads(BASE).base, author="test@1", vectors={},
    )  # fmt: skip
    (attempt,) = promote(world)
    assert attempt.verdict.decision == "reject"
    assert world.store.canaries(BASE) == []


def test_a_refused_promotion_is_judged_by_nobody_else() -> None:
    world, canary = on_trial()
    world.store.save_canary(replace(canary, share=0.95))
    serve(world, times=60, good=0.9, treated=True)
    (asked,) = promote(world)
    assert asked.verdict.decision == "defer"
    assert asked.key not in {one.key for one in world.sleep()}


def test_episodes_of_a_branch_are_no_hold_back() -> None:
    world, canary = on_trial()
    world.store.create_branch(BASE, "trial")
    world.run = replace(world.run, branch="trial")
    world.store.commit(
        BASE, rule("Something else."), Verdict(decision="accept", basis="human"),
        expect=world.store.heads(BASE, branch="trial").base, author="ana", branch="trial", vectors={},
    )  # fmt: skip
    world.say(world.act("on a branch", choices=None), False, Signal.LABEL)
    assert world.store.readings(canary) == []
