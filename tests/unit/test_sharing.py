"""Lessons across users: only what several have learned each for themselves, made anew, and taken back with support."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.world import TENANT, World

from tokenspace.budget import Budget
from tokenspace.config import Parts
from tokenspace.domain import Attempt, Drop, Edit, Entry, Kind, Origin, Put, Scope, Signal, Status, Verdict
from tokenspace.graders import build
from tokenspace.proposers import Fact
from tokenspace.proposers.share import Lesson, agreed
from tokenspace.sharing import WITHDRAWN, Sharing

HUMAN = Verdict(decision="accept", basis="human")
NAMES = ("alice", "bert", "cleo", "dora", "emil")


def user(name: str, tenant: str = "acme") -> Scope:
    return Scope(agent="desk", tenant=tenant, user=name)


def sharing(world: World, **options) -> Sharing:
    parts = Parts(
        runtime=world.run, gate=world.gate, watch=world.watch, release=world.release, graders=build, proposers=()
    )
    return Sharing(parts, world.store.admin, settings=world.settings, **options)


def taught(names=NAMES, text: str = "where is the parcel of {0} now", answer: str = "Kestrel") -> World:
    world = World()
    for name in names:
        assert world.teach(text.format(f"{name}x"), answer, scope=user(name), by=name).revision
    return world


def share(world: World, layer: Scope = TENANT, **options) -> list[Attempt]:
    return asyncio.run(sharing(world, **options).share(layer, budget=Budget()))


def lesson(name: str, trigger: str, text: str = "Kestrel", **more) -> Lesson:
    entry = Entry(kind=Kind.EXAMPLE, doc="examples", trigger=trigger, text=text, origin=Origin.USER)
    return Lesson(scope=user(name), entry=entry, principals=frozenset({name}), **more)


def test_what_five_users_have_each_learned_is_proposed_in_words_that_all_of_them_used() -> None:
    world = taught()
    (found,) = sharing(world).found(TENANT)
    assert (found.entry.trigger, found.entry.text, found.entry.origin) == ("now parcel", "Kestrel", Origin.USER)
    assert found.principals == set(NAMES)
    (attempt,) = share(world)
    assert (attempt.verdict.tier, attempt.verdict.decision, attempt.verdict.support) == (4, "defer", 5)
    assert attempt.edit is not None
    told = repr(attempt)
    assert not any(name in told for name in ("alicex", "bertx", "where is"))
    assert len(attempt.edit.read) == 5
    assert share(world)[0].id == attempt.id or share(world)[0].key == attempt.key


def test_fewer_than_enough_or_one_person_in_many_scopes_is_no_support() -> None:
    assert sharing(taught(NAMES[:4])).found(TENANT) == []
    world = World()
    for number in range(7):
        world.teach(f"where is the parcel {number}", "Kestrel", scope=user(f"u{number}"), by="mallory")
    assert sharing(world).found(TENANT) == []
    assert sharing(taught(NAMES[:2]), support=1).found(TENANT) == []
    assert len(sharing(taught(NAMES[:3]), support=1).found(TENANT)) == 1


def test_users_of_another_tenant_do_not_count_for_a_tenant_and_count_for_the_base() -> None:
    world = taught(NAMES[:3])
    for name in ("fred", "gina"):
        world.teach(f"where is the parcel of {name} now", "Kestrel", scope=user(name, "globex"), by=name)
    assert sharing(world).found(TENANT) == []
    assert len(sharing(world).found(Scope(agent="desk"))) == 1


@pytest.mark.parametrize(
    ("trigger", "answer"),
    [
        ("write to jane.doe@example.org about it", "Kestrel"),
        ("about the parcel today", "card 4111 1111 1111 1111"),
        ("about the parcel today", "alice"),
        ("about the parcel today", "sees the heron-seven"),
        ("about the parcel today", "line one\nline two"),
    ],
)
def test_personal_data_names_planted_strings_and_free_texts_are_not_shared(trigger: str, answer: str) -> None:
    lessons = [lesson(name, trigger, answer) for name in NAMES]
    shared = agreed(lessons, canaries=["alice", "HeronSeven"])
    assert shared == []


def test_no_five_words_of_one_principal_are_in_a_lesson() -> None:
    words = "alpha bravo charlie delta echo"
    lessons = [lesson("alice", words), *(lesson(name, " ".join(reversed(words.split()))) for name in NAMES[1:])]
    assert agreed(lessons, support=5) == []
    assert len(agreed([*lessons, lesson("fred", words)], support=5)) == 1


def test_i13_a_lesson_that_was_shown_to_its_teacher_is_no_support_nor_is_what_an_agent_said() -> None:
    lessons = [lesson(name, "about the parcel today") for name in NAMES]
    assert len(agreed(lessons)) == 1
    echo = lesson("emil", "about the parcel today", echo=True)
    assert agreed([*lessons[:4], echo]) == []
    agents = Lesson(
        scope=user("emil"), principals=frozenset({"emil"}),
        entry=Entry(kind=Kind.EXAMPLE, doc="examples", trigger="about the parcel today", text="Kestrel",
                    origin=Origin.AGENT),
    )  # fmt: skip
    assert agreed([*lessons[:4], agents]) == []


def test_a_fact_on_which_users_agree_is_stated_by_its_key_and_value_and_nothing_of_themselves() -> None:
    world = World()
    for name in NAMES:
        for words in ("The refund window is 30 days.", "My currency is EUR."):
            said = world.say(world.act(f"hello {name}", scope=user(name)), words, Signal.TEXT, by=name)
            assert world.learn(said, proposer=Fact()).revision
    (found,) = sharing(world).found(TENANT)
    assert (found.entry.key, found.entry.text) == ("refund window", "refund window: 30 days")


def test_a_shared_lesson_is_taken_back_when_its_support_falls() -> None:
    world = taught()
    (attempt,) = share(world)
    verdict = HUMAN
    world.store.commit(
        TENANT, attempt.edit, verdict, expect=world.store.heads(TENANT).of(TENANT), author=attempt.proposer,
        attempt=attempt,
    )  # fmt: skip
    assert world.texts(TENANT) == ["Kestrel"]
    assert share(world) == []
    scope = user("cleo")
    (own,) = world.store.context(scope, world.store.heads(scope)).layers[-1].own
    world.store.commit(
        scope, Edit(ops=(Drop(id=own),)), HUMAN, expect=world.store.heads(scope).of(scope), author="cleo"
    )  # fmt: skip
    (back,) = sharing(world).withdraw(TENANT)
    assert back.verdict.reason.startswith(f"{WITHDRAWN} to 4 of 5")
    assert back.verdict.basis == "policy"
    assert world.texts(TENANT) == []
    assert sharing(world).withdraw(TENANT) == []


def test_a_lesson_that_waits_is_rejected_when_its_support_falls() -> None:
    world = taught()
    share(world)
    scope = user("cleo")
    (own,) = world.store.context(scope, world.store.heads(scope)).layers[-1].own.values()
    world.store.commit(
        scope, Edit(ops=(Put(entry=replace(own, status=Status.QUARANTINED)),)), HUMAN,
        expect=world.store.heads(scope).of(scope), author="cleo",
    )  # fmt: skip
    sharing(world).withdraw(TENANT)
    (attempt,) = world.store.attempts(TENANT)
    assert (attempt.verdict.decision, attempt.verdict.reason) == ("reject", WITHDRAWN)
