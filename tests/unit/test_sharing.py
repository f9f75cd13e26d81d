"""Lessons across users: only what several have learned each for themselves, made anew, and taken back with support."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.world import BASE, TENANT, World

from tokenspace.budget import Budget
from tokenspace.config import Parts
from tokenspace.domain import Attempt, Drop, Edit, Entry, Kind, Origin, Put, Scope, Signal, Status, Verdict
from tokenspace.errors import UsageError
from tokenspace.forget import find, forget, in_words
from tokenspace.gateway.feedback import read
from tokenspace.gateway.wire import Caller
from tokenspace.graders import build
from tokenspace.proposers import Fact
from tokenspace.proposers.share import Lesson, agreed
from tokenspace.sharing import WITHDRAWN, Sharing
from tokenspace.watching import slept

HUMAN = Verdict(decision="accept", basis="human")
NAMES = ("alice", "bert", "cleo", "dora", "emil")


def user(name: str, tenant: str = "acme") -> Scope:
    return Scope(agent="desk", tenant=tenant, user=name)


def parts_of(world: World, *, share: int = 0) -> Parts:
    return Parts(
        runtime=world.run, gate=world.gate, watch=world.watch, release=world.release, graders=build, proposers=(),
        share=share, rules=world.settings,
    )  # fmt: skip


def sharing(world: World, **options) -> Sharing:
    return Sharing(parts_of(world), world.store.admin, **options)


def sleep(world: World, scope: Scope = TENANT, *, share: int = 5) -> list:
    async def collect():
        return [one async for one in slept(parts_of(world, share=share), scope, budget=Budget())]

    return asyncio.run(collect())


def approve(world: World, attempt: Attempt) -> None:
    yes = replace(attempt.verdict, decision="accept", basis="human")
    world.store.commit(
        TENANT, attempt.edit, yes, expect=world.store.heads(TENANT).of(TENANT), author=attempt.proposer,
        attempt=replace(attempt, verdict=yes),
    )  # fmt: skip


def drop_own(world: World, name: str) -> None:
    scope = user(name)
    (own,) = world.store.context(scope, world.store.heads(scope)).layers[-1].own
    world.store.commit(
        scope, Edit(ops=(Drop(id=own),)), HUMAN, expect=world.store.heads(scope).of(scope), author=name
    )  # fmt: skip


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


def by_key(world: World, name: str, *, key: str, tenant: str, text: str = "refund of a parcel please") -> None:
    """A user whom nobody but a key of the gateway names, or its open door (no key), corrects an answer."""
    scope = user(name, tenant)
    episode = world.act(text, scope=scope)
    caller = Caller(key=key, rights=frozenset({"feedback"}), scope=replace(scope, user=""))
    body = {"target": episode.id, "value": "Kestrel", "kind": "correction", "user": name}
    said = read(body, caller, at=world.run.clock(), operator="op").feedback
    assert said.scope == scope
    assert world.learn(world.say(episode, said.value, by=said.principal)).revision


@pytest.mark.parametrize("keys", [("k1",) * 5, ("k1", "k2", "k3", "k4", "k5"), ("",) * 5])
def test_i9_users_whom_a_tenants_keys_name_are_many_in_the_tenant_and_one_above_it(keys) -> None:
    world = World()
    for number, key in enumerate(keys):
        by_key(world, f"u{number}", key=key, tenant="acme")
    assert [one.principals for one in sharing(world, support=5).found(TENANT)] == [{f"u{i}" for i in range(5)}]
    assert sharing(world, support=3).found(BASE) == share(world, BASE) == []
    for tenant in ("globex", "initech"):
        by_key(world, "u0", key=tenant, tenant=tenant)
    (found,) = sharing(world, support=3).found(BASE)
    assert found.principals == {"tenant acme", "tenant globex", "tenant initech"}
    assert sharing(world, support=5).found(BASE) == []


def test_i9_a_user_whom_several_keys_name_is_one() -> None:
    world = World()
    for number in range(5):
        by_key(world, "u0", key=f"k{number}", tenant="acme", text=f"refund of a parcel number {number} please")
    assert sharing(world, support=3).found(TENANT) == []


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


def test_sleep_of_a_shared_layer_proposes_once_and_takes_back() -> None:
    world = taught()
    (attempt,) = sleep(world)
    assert (attempt.proposer, attempt.verdict.decision, attempt.branch) == ("share@1", "defer", "share")
    assert sleep(world) == []  # it waits still, and that is no news
    assert [one.id for one in world.store.attempts(TENANT)] == [attempt.id]
    approve(world, attempt)
    assert sleep(world) == []
    drop_own(world, "cleo")
    (back,) = sleep(world)
    assert (back.verdict.decision, back.verdict.basis) == ("accept", "policy")
    assert back.revision == world.store.heads(TENANT).of(TENANT)
    assert world.texts(TENANT) == []


def test_i8_nothing_is_shared_unless_the_operator_says_so_and_never_in_the_sleep_of_a_user() -> None:
    world = taught()
    assert sleep(world, share=0) == []
    assert sleep(world, user("alice")) == []
    assert world.store.attempts(TENANT) == []
    assert [one.scope for one in sleep(world, Scope(agent="desk"))] == [Scope(agent="desk")]


def test_what_was_shared_before_it_was_switched_off_is_still_taken_back() -> None:
    world = taught()
    approve(world, sleep(world)[0])
    drop_own(world, "cleo")
    assert len(sleep(world, share=0)) == 1
    assert world.texts(TENANT) == []


def test_more_supporters_do_not_make_a_second_draft_and_a_persons_no_stands() -> None:
    world = taught()
    (attempt,) = sleep(world)
    world.teach("where is the parcel of fredx now", "Kestrel", scope=user("fred"), by="fred")
    assert sleep(world) == []
    (held,) = world.store.attempts(TENANT, decision="defer")
    assert (held.id, held.verdict.support) == (attempt.id, 6)
    no = replace(held.verdict, decision="reject", basis="human")
    world.store.save_attempt(replace(held, verdict=no))
    world.teach("where is the parcel of ginax now", "Kestrel", scope=user("gina"), by="gina")
    assert sleep(world) == []
    assert world.store.attempts(TENANT, decision="defer") == []


# ── when a supporter is forgotten ───────────────────────────────────────────────────────────


def forgotten(world: World, name: str, *, share: int = 5, **how):
    subject = find(world.store.admin, user(name), "user")
    return asyncio.run(forget(parts_of(world, share=share), world.store.admin, subject, **how))


def served_without_alice(world: World) -> None:
    """A shared lesson that five stand for, one of whom came while it waited: nothing of it names him."""
    (draft,) = sleep(world)
    world.teach("where is the parcel of fredx now", "Kestrel", scope=user("fred"), by="fred")
    approve(world, draft)
    drop_own(world, "alice")
    assert sleep(world) == []
    assert world.texts(TENANT) == ["Kestrel"]


@pytest.mark.parametrize("share", [5, 0])
def test_forgetting_takes_back_at_once_what_has_too_little_support_left(share: int) -> None:
    world = taught()
    served_without_alice(world)
    done = forgotten(world, "fred", share=share)
    assert world.texts(TENANT) == []
    (back,) = [one for one in world.store.attempts(TENANT) if one.id in done.unshared]
    assert back.verdict.reason.startswith(f"{WITHDRAWN} to 4 of 5")
    assert "1 shared lessons have too little support left" in in_words(done)
    assert "1 shared lessons were taken back" in done.receipt


def test_forgetting_a_supporter_whom_the_lesson_names_erases_it_and_tries_again_from_the_others() -> None:
    world = taught((*NAMES, "fred"))
    approve(world, sleep(world)[0])
    done = forgotten(world, "cleo")
    assert world.texts(TENANT) == []
    (again,) = [one for one in world.store.attempts(TENANT) if one.id in done.again]
    assert (again.verdict.decision, again.verdict.support) == ("defer", 5)
    assert forgotten(world, "bert").again == ()
    assert world.store.attempts(TENANT, decision="defer") == []


def test_a_dry_run_takes_nothing_back() -> None:
    world = taught()
    served_without_alice(world)
    forgotten(world, "fred", dry_run=True)
    assert world.texts(TENANT) == ["Kestrel"]


def test_i10_exact_mode_is_refused_where_users_share_and_says_what_to_do() -> None:
    world = taught()
    served_without_alice(world)
    with pytest.raises(UsageError, match="lessons that its users share") as refused:
        forgotten(world, "fred", exact=True)
    assert "leave out --exact" in refused.value.hint
    assert world.texts(TENANT) == ["Kestrel"]
