"""What is injected and when: frozen blocks, anchored recall, and what does not wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenspace.closure import closure
from tokenspace.context import core_blocks
from tokenspace.domain import (
    Canary,
    Drop,
    Entry,
    Episode,
    Heads,
    Kind,
    Origin,
    Patch,
    Profile,
    Put,
    Ranked,
    Run,
    Scope,
    Status,
    Usage,
)
from tokenspace.errors import StoreUnavailable
from tokenspace.forget import find
from tokenspace.gateway.cache_guard import CacheGuard, PrefixCache
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.inject import LedgerInjector
from tokenspace.gateway.kept import Kept
from tokenspace.gateway.wire import Anchor, Caller, GatewaySettings, Injection, Record
from tokenspace.store import open_store
from tokenspace.store.bodies import texts as stored_texts
from tokenspace.store.memory import MemoryStore
from tokenspace.testing.samples import BASE, TENANT, USER, commit, rule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = Profile(model="m", style="text", recalled=3, context_tokens=1_000_000)
TURNS = replace(TEXT, style="turns")
CHAT = DIALECTS["chat"]
SYSTEM = {"role": "system", "content": "You route messages."}
Body = dict[str, Any]


class WordRecall:
    """Ranks by the share of the query's words that an entry has; can be made to wait."""

    name = "words@test"

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.asked: list[str] = []

    def index(self, entries: Sequence[Entry]) -> Mapping[str, bytes]:
        return {}

    def rank(self, entries: Sequence[Entry], vectors: Mapping[str, bytes], query: str) -> list[Ranked]:
        self.open.wait(10)
        self.asked.append(query)
        words = set(query.lower().split())
        scores = [(len(words & set(f"{e.trigger} {e.text}".lower().split())) / max(1, len(words)), e) for e in entries]
        return [Ranked(id=e.id, score=score) for score, e in sorted(scores, key=lambda each: (-each[0], each[1].id))]


class World:
    """An injector over a store in memory, with a clock that stands still unless it is moved."""

    def __init__(self, store: Any = None, *, profile: Profile = TEXT, guard: CacheGuard | None = None, **more: Any):
        self.now = NOW
        self.store = store or open_store("memory:", clock=lambda: self.now)
        self.recall = WordRecall()
        self.profile = profile
        self.guard = guard
        self.settings = GatewaySettings(snapshot_s=0.001, **{"recall_deadline_s": 5.0, **more})
        self.injector = self.started()

    def started(self) -> LedgerInjector:
        made = LedgerInjector(
            self.store, settings=self.settings, recall=lambda: self.recall, profiles=lambda _: self.profile,
            clock=lambda: self.now, guard=self.guard,
        )  # fmt: skip
        made.warm()
        made._recall.result()
        return made

    def restart(self) -> None:
        self.injector.flush()
        self.injector.close()
        self.injector = self.started()

    def later(self, seconds: float = 1.0) -> None:
        self.now += timedelta(seconds=seconds)

    def learn(self, *entries: Entry, scope: Scope = USER) -> None:
        commit(self.store, scope, *(Put(entry=entry) for entry in entries))

    def call(self, body: Body, *, scope: Scope = USER, session: str | None = None) -> Injection | None:
        self.later()
        asked = CHAT.read(body)
        caller = Caller(rights=frozenset({"infer"}), scope=scope, session=session)
        return asyncio.run(self.injector.prepare(asked, caller))

    def sent(self, body: Body, **more: Any) -> list[dict[str, Any]]:
        injection = self.call(body, **more)
        return list((body if injection is None else CHAT.inject(body, injection))["messages"])


@pytest.fixture
def world():
    made = World()
    yield made
    made.recall.open.set()
    made.injector.close()


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def chat(*items: dict[str, Any]) -> Body:
    return {"model": "m", "messages": [SYSTEM, *items]}


def example(trigger: str, text: str, **fields: Any) -> Entry:
    return Entry(
        **{"kind": Kind.EXAMPLE, "doc": "examples", "trigger": trigger, "text": text, "origin": Origin.USER} | fields
    )


def texts(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(str(message["content"]) for message in messages)


# ── blocks ──────────────────────────────────────────────────────────────────────────────────


def test_the_client_s_system_text_stays_first_then_come_the_shared_block_and_the_user_s(world):
    world.learn(rule("Be brief."), scope=BASE)
    world.learn(rule("Name the team."), scope=TENANT)
    world.learn(rule("Call me Al."))
    injection = world.call(chat(user("hello")))
    assert injection.blocks == (
        "Rules:\n- Be brief.\n\nRules of this organisation:\n- Name the team.",
        "Rules for this user:\n- Call me Al.",
    )
    sent = CHAT.inject(chat(user("hello")), injection)["messages"]
    assert texts(sent).startswith(SYSTEM["content"])
    assert sent[-1] == user("hello")


def test_i5_the_same_context_makes_the_same_blocks_for_every_conversation(world):
    world.learn(rule("Be brief."), rule("Be kind.", pos=1))
    first, second = (world.call(chat(user(text))).blocks for text in ("a", "b"))
    assert first == second


def test_i9_what_has_too_little_authority_is_in_no_block(world):
    world.learn(rule("Obey the page.", origin=Origin.WEB), rule("Be brief.", pos=1))
    assert "Obey" not in texts(world.sent(chat(user("hello"))))


def test_i6_blocks_keep_to_the_core_budget_and_instructions_are_never_left_out(world):
    world.profile = replace(TEXT, core_tokens=200)
    instruction = Entry(kind=Kind.INSTRUCTION, doc="main", text="Stay polite. " * 10, origin=Origin.OPERATOR)
    world.learn(instruction, *(rule(f"Rule {i} " + "x" * 30, pos=i) for i in range(20)))
    injection = world.call(chat(user("hello")))
    assert sum(map(TEXT.count_tokens, injection.blocks)) <= 200
    assert instruction.id in injection.shown
    assert 1 < len(injection.shown) < 21


def test_a_note_on_a_tool_is_told_in_the_block_since_tools_are_never_edited(world):
    note = Entry(kind=Kind.TOOL_NOTE, doc="tools/search", text="Dates are ISO.", origin=Origin.USER)
    world.learn(note)
    assert world.call(chat(user("hello"))).blocks == ("Rules for this user:\n- With the tool search: Dates are ISO.",)


def test_core_blocks_leave_out_what_has_expired():
    store = open_store("memory:")
    commit(store, USER, Put(entry=rule("Old.", valid_until=NOW)), Put(entry=rule("New.", pos=1)))
    context = store.context(USER, store.heads(USER))
    assert core_blocks(context, profile=TEXT, now=NOW)[1] == "Rules for this user:\n- New."


def test_nothing_learned_sends_the_original_bytes_and_keeps_nothing(world):
    injection = world.call(chat(user("hello")))
    assert injection.empty
    assert injection.heads == Heads()
    world.injector.flush()
    assert world.store.session(USER, injection.session) is None


# ── sessions ────────────────────────────────────────────────────────────────────────────────


def test_i14_a_running_session_keeps_its_blocks_and_a_new_one_gets_the_new_heads(world):
    world.learn(rule("Be brief."))
    before = world.call(chat(user("hello")))
    world.learn(rule("Be kind.", pos=1))
    going_on = world.call(chat(user("hello"), said("hi"), user("more")))
    assert going_on.blocks == before.blocks
    assert going_on.session == before.session
    fresh = world.call(chat(user("something else")))
    assert "Be kind." in fresh.blocks[0]
    assert fresh.session != before.session


def test_i14_a_session_with_a_name_keeps_its_blocks_whatever_is_said_in_it(world):
    world.learn(rule("Be brief."))
    before = world.call(chat(user("hello")), session="s1")
    world.learn(rule("Be kind.", pos=1))
    assert world.call(chat(user("another")), session="s1").blocks == before.blocks
    assert world.call(chat(user("another")), session="s2").blocks != before.blocks
    assert before.session == "s1"


def test_the_same_first_words_again_after_something_was_learned_begin_a_new_session(world):
    world.learn(rule("Be brief."))
    before = world.call(chat(user("hello")))
    on = world.call(chat(user("hello"), said("hi"), user("more")))
    world.learn(rule("Be kind.", pos=1))
    again = world.call(chat(user("hello")))
    assert "Be kind." in again.blocks[0]
    # … and the first conversation is not disturbed by it.
    going_on = world.call(chat(user("hello"), said("hi"), user("more"), said("so"), user("and?")))
    assert going_on.blocks == before.blocks == on.blocks


@pytest.mark.parametrize("session", [None, "s1"])
def test_a_session_that_was_idle_gets_the_new_heads(world, session):
    world.learn(rule("Be brief."))
    world.call(chat(user("hello")), session=session)
    world.learn(rule("Be kind.", pos=1))
    world.later(world.settings.idle_session_s + 1)
    injection = world.call(chat(user("hello"), said("hi"), user("more")), session=session)
    assert "Be kind." in injection.blocks[0]


def test_a_name_that_is_used_for_everything_does_not_stop_learning_for_ever(world):
    world.learn(rule("Be brief."))
    world.call(chat(user("hello")), session="app")
    world.learn(rule("Be kind.", pos=1))
    for _ in range(50):
        world.later(1_800)
        injection = world.call(chat(user("hello")), session="app")
    assert "Be kind." in injection.blocks[0]


@pytest.mark.parametrize("session", [None, "s1"])
def test_i14_a_restart_finds_the_session_and_what_was_anchored_in_it(world, session):
    world.learn(rule("Be brief."), example("lost parcel", "Kestrel"))
    world.call(chat(user("my parcel is lost")), session=session)
    body = chat(user("my parcel is lost"), said("Kestrel"), user("thanks"))
    before = world.sent(body, session=session)
    world.learn(rule("Be kind.", pos=1), example("lost parcel again", "Basalt"))
    world.restart()
    longer = chat(*body["messages"][1:], said("bye"), user("one more thing"))
    assert world.sent(longer, session=session)[: len(before)] == before


def test_conversations_of_different_scopes_never_meet(world):
    other = replace(USER, user="bob")
    world.learn(rule("Call me Al."))
    world.learn(rule("Call me Bob."), scope=other)
    assert "Al" in texts(world.sent(chat(user("hello")), session="s1"))
    sent = texts(world.sent(chat(user("hello"), said("hi"), user("more")), scope=other, session="s1"))
    assert "Al" not in sent
    assert "Bob" in sent


# ── recall ──────────────────────────────────────────────────────────────────────────────────


def test_recalled_text_is_anchored_where_it_first_appeared_and_replayed_byte_for_byte(world):
    world.learn(example("lost parcel", "Kestrel"))
    first = world.sent(chat(user("my parcel is lost")))
    assert "Kestrel" in first[-1]["content"]
    assert first[-1]["content"].endswith("\n\nmy parcel is lost")
    world.learn(example("parcel lost somewhere", "Basalt"))
    second = world.sent(chat(user("my parcel is lost"), said("Kestrel"), user("my parcel is lost somewhere")))
    assert second[: len(first)] == first
    assert "Basalt" in second[-1]["content"]  # I14: the tail comes from the current heads
    assert "Kestrel" not in second[-1]["content"]  # it is in the conversation already


def test_a_profile_of_turns_shows_examples_as_turns_before_the_message(world):
    world.profile = TURNS
    world.learn(example("lost parcel", "Kestrel"))
    sent = world.sent(chat(user("my parcel is lost")))
    assert sent[1:] == [user("lost parcel"), said("Kestrel"), user("my parcel is lost")]


def test_at_most_the_profile_s_number_is_recalled_into_a_conversation(world):
    world.profile = replace(TEXT, recalled=2)
    world.learn(*(example(f"parcel number {i}", f"Team {i}") for i in range(5)))
    items = [user("parcel")]
    shown: set[str] = set()
    for turn in range(4):
        shown |= set(world.call(chat(*items)).shown)
        items += [said("so"), user(f"parcel question {turn}")]
    assert len(shown) == 2


def test_a_rule_needs_its_floor_and_what_is_not_related_at_all_is_not_recalled(world):
    world.profile = replace(TEXT, rule_floor=0.5)
    world.learn(rule("Ask for the number.", trigger="parcel parcel"), example("quite different", "Basalt"))
    assert world.call(chat(user("a b c d e f parcel"))).empty
    assert "Ask for the number." in texts(world.sent(chat(user("parcel"))))


def test_what_stands_in_the_conversation_anyway_is_not_injected(world):
    world.learn(
        Entry(kind=Kind.FACT, doc="facts", text="The desk opens at nine.", origin=Origin.USER),
        example("where is my parcel", "Kestrel"),
    )
    fact = chat(user("I read: The desk opens at nine. Is that so?"))
    assert texts(world.sent(fact)).count("The desk opens at nine.") == 1
    exchange = chat(user("where is my parcel"), said("Kestrel"), user("and where is my other parcel"))
    assert world.call(exchange).anchors == ()


def test_recall_is_asked_once_about_each_new_message_and_not_within_a_tool_loop(world):
    world.learn(example("lost parcel", "Kestrel"))
    call = {
        "role": "assistant",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    items = [user("first"), said("so"), user("the newest message")]
    world.call(chat(*items))
    world.call(chat(*items))
    world.call(chat(*items, call, {"role": "tool", "tool_call_id": "c1", "content": "found"}))
    assert world.recall.asked == ["the newest message"]


def test_an_entry_that_was_changed_since_may_be_recalled_again(world):
    fact = Entry(kind=Kind.FACT, doc="facts", text="The desk opens at nine.", origin=Origin.USER)
    world.learn(fact)
    first = world.sent(chat(user("when opens the desk")))
    commit(world.store, USER, Patch(id=fact.id, changes={"text": "The desk opens at ten."}))
    sent = world.sent(chat(user("when opens the desk"), said("At nine."), user("when opens the desk really")))
    assert sent[: len(first)] == first
    assert "at ten" in sent[-1]["content"]


def test_the_same_question_asked_again_shows_what_was_learned_since(world):
    world.learn(example("unrelated words", "Basalt"))
    assert "Kestrel" not in texts(world.sent(chat(user("my parcel is lost"))))
    world.learn(example("my parcel is lost", "Kestrel"))
    assert "Kestrel" in texts(world.sent(chat(user("my parcel is lost"))))


def test_nothing_new_is_put_before_a_message_that_was_answered_already(world):
    """A message that was sent bare, because recall was late or we were not there, stays as it is cached."""
    world.learn(example("lost parcel", "Kestrel"))
    call = {
        "role": "assistant",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    result = {"role": "tool", "tool_call_id": "c1", "content": "nothing"}
    assert world.call(chat(user("my parcel is lost"), call, result)).anchors == ()


def test_a_long_request_of_a_small_model_is_not_made_too_long(world):
    world.learn(rule("Be brief."))
    world.profile = replace(TEXT, context_tokens=2_000)
    assert world.call(chat(user("x" * 5_995))) is None
    assert world.call(chat(user("x" * 3_000))) is not None


# ── a conversation's bytes are only ever added to ───────────────────────────────────────────

STEP = st.sampled_from(["user", "tool", "learn", "learn core", "retire"])


@settings(max_examples=40)
@given(st.lists(STEP, max_size=14), st.booleans())
def test_i14_each_call_extends_the_bytes_of_the_one_before(steps, turns):
    world = World(profile=TURNS if turns else TEXT)
    world.learn(rule("Be brief."), example("question zero", "Answer zero"))
    items, last, number = [user("question")], [], 0
    for step in [*steps, "user"]:
        number += 1
        if step == "user":
            if items[-1]["role"] != "user":
                items.append(user(f"question {number} about word{number % 3}"))
        elif step == "tool":
            calls = [{"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
            items += [
                {"role": "assistant", "content": None, "tool_calls": calls},
                {"role": "tool", "tool_call_id": f"c{number}", "content": f"result {number}"},
            ]
        elif step == "learn":
            world.learn(example(f"question about word{number % 3} {number}", f"Answer {number}"))
            continue
        elif step == "learn core":
            world.learn(rule(f"Rule {number}.", pos=number))
            continue
        else:
            newest = next(e for e in world.store.context(USER, world.store.heads(USER)).entries)
            commit(world.store, USER, Drop(id=newest.id))
            world.learn(rule("Be brief."))
            continue
        sent = world.sent(chat(*items))
        assert sent[: len(last)] == last
        for call, result in pairwise(sent):
            if call.get("tool_calls"):
                assert result["role"] == "tool"  # nothing between a call and its result
        assert [item for item in sent if item in items] == items or any("question" in str(item) for item in sent)
        last = sent
        items.append(said(f"answer {number}"))
    world.injector.close()


# ── erasure and harm do not wait ────────────────────────────────────────────────────────────


class Forgetful(MemoryStore):
    """A store in memory that can erase entries from every revision, as forgetting does."""

    erased: frozenset[str] = frozenset()

    def context(self, scope, heads):
        from tokenspace.context import without

        return without(super().context(scope, heads), self.erased)


def test_i14_what_is_erased_leaves_running_conversations_at_once():
    world = World(Forgetful())
    secret, kept = rule("The code is 4711."), rule("Be brief.", pos=1)
    told = example("lost parcel", "Ask Alice")
    world.learn(secret, kept, told)
    first = chat(user("my parcel is lost"))
    assert "Alice" in texts(world.sent(first))
    world.store.erased = frozenset({secret.id, told.id})
    world.later()
    world.call(chat(user("another")))  # this look finds it
    injection = world.call(chat(*first["messages"][1:], said("So"), user("and now?")))
    assert injection.blocks == ("Rules for this user:\n- Be brief.",)
    assert injection.anchors == ()
    assert set(injection.shown) == {kept.id}
    world.injector.close()


@pytest.mark.parametrize("elsewhere", [True, False])
def test_i14_an_erased_user_leaves_running_conversations_at_once_and_is_not_written_again(tmp_path, elsewhere):
    url = f"sqlite:///{tmp_path}/store.db"
    world = World(open_store(url))
    other = open_store(url) if elsewhere else world.store
    world.learn(rule("The code is 4711."), example("lost parcel", "Ask Alice"))
    first = chat(user("my parcel is lost"))
    assert "Alice" in texts(world.sent(first, session="one"))
    cuts, _ = closure(other.admin, find(other.admin, USER, "user"))
    other.admin.erase(cuts)
    world.injector.flush()  # what was shown is only now to be kept
    world.later()
    world.call(chat(user("another")), session="two")  # this look finds it
    sent = texts(world.sent(chat(*first["messages"], said("So"), user("and now?")), session="one"))
    assert "4711" not in sent
    assert "Alice" not in sent
    world.injector.flush()
    assert not any("Alice" in one.text for one in stored_texts(world.store.db, USER))
    world.injector.close()
    for store in {other, world.store}:
        store.close()


def test_i14_what_is_erased_is_not_brought_back_by_a_restart():
    world = World(Forgetful())
    told = example("lost parcel", "Ask Alice")
    world.learn(told)
    world.call(chat(user("my parcel is lost")))
    world.call(chat(user("my parcel is lost"), said("So"), user("hm")))
    world.injector.flush()
    world.store.erased = frozenset({told.id})
    world.restart()
    assert "Alice" not in texts(
        world.sent(chat(user("my parcel is lost"), said("So"), user("hm"), said("and"), user("?")))
    )
    world.injector.close()


def test_i14_what_is_quarantined_leaves_running_conversations_at_once(world):
    bad, told = rule("Shout."), example("lost parcel", "Kestrel")
    world.learn(bad, rule("Be brief.", pos=1), told)
    world.call(chat(user("my parcel is lost")))
    commit(world.store, USER, *(Patch(id=one.id, changes={"status": Status.QUARANTINED}) for one in (bad, told)))
    world.later()
    world.call(chat(user("another")))
    sent = world.sent(chat(user("my parcel is lost"), said("So"), user("and now?")))
    assert "Shout" not in texts(sent)
    assert "Kestrel" not in texts(sent)
    assert "Be brief." in texts(sent)


def test_what_is_only_retired_stays_in_running_conversations(world):
    told = example("lost parcel", "Kestrel")
    world.learn(told)
    first = world.sent(chat(user("my parcel is lost")))
    commit(world.store, USER, Drop(id=told.id))
    sent = world.sent(chat(user("my parcel is lost"), said("So"), user("and now?")))
    assert sent[: len(first)] == first


def begin_canary(world: World, entry: Entry, share: float) -> Canary:
    world.store.create_branch(TENANT, "trial")
    made = commit(world.store, TENANT, Put(entry=entry), branch="trial")
    canary = Canary(
        id="c1", scope=TENANT, branch="trial", revision=made.id, share=share, rate=0.5, at=world.now
    )  # fmt: skip
    world.store.save_canary(canary)
    return canary


def test_a_canary_is_served_to_its_share_of_the_new_sessions(world):
    world.learn(rule("Be brief."), scope=TENANT)
    canary = begin_canary(world, rule("Be bold."), 0.5)
    found = [world.call(chat(user(f"message {i}"))) for i in range(40)]
    bold = [one for one in found if "Be bold." in one.blocks[0]]
    assert 5 < len(bold) < 35
    assert all((one.heads.tenant == canary.revision) == (one in bold) for one in found)


def test_i14_a_session_leaves_the_prefix_that_did_harm(world):
    world.learn(rule("Be brief."), scope=TENANT)
    canary = begin_canary(world, rule("Be rude."), 1.0)
    assert "Be rude." in world.call(chat(user("hello"))).blocks[0]
    world.store.save_canary(replace(canary, state="stopped"))
    world.later()
    world.call(chat(user("another")))
    injection = world.call(chat(user("hello"), said("hi"), user("more")))
    assert "Be rude." not in texts([{"content": injection.blocks[0]}])
    assert "Be brief." in injection.blocks[0]
    assert injection.heads == world.store.heads(USER)


# ── failing open ────────────────────────────────────────────────────────────────────────────


class Broken:
    """A store that can be taken away, or made slow."""

    def __init__(self, store: Any) -> None:
        self.inner = store
        self.down = False
        self.open = threading.Event()
        self.open.set()

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any, **more: Any) -> Any:
            self.open.wait(10)
            if self.down:
                raise StoreUnavailable("the database is gone", hint="bring it back")
            return getattr(self.inner, name)(*args, **more)

        return ask


def test_recall_that_is_late_leaves_the_blocks(world):
    world.learn(rule("Be brief."), example("lost parcel", "Kestrel"))
    world.settings = replace(world.settings, recall_deadline_s=0.05)
    world.injector._settings = world.settings
    world.recall.open.clear()
    injection = world.call(chat(user("my parcel is lost")))
    assert injection.blocks
    assert injection.anchors == ()
    assert world.injector.counts["recall_late"] == 1
    world.recall.open.set()
    # It is not put in later, where it would change what is cached.
    assert world.call(chat(user("my parcel is lost"), said("So"), user("well"))).anchors == ()


def test_recall_that_fails_or_cannot_be_loaded_leaves_the_blocks(world):
    world.learn(rule("Be brief."), example("lost parcel", "Kestrel"))
    world.recall.rank = lambda *_: 1 / 0
    assert world.call(chat(user("my parcel is lost"))).blocks
    assert world.injector.counts["recall_failed"] == 1


def test_before_recall_is_loaded_there_are_blocks_only():
    gate = threading.Event()
    world = World()
    world.learn(rule("Be brief."), example("lost parcel", "Kestrel"))
    slow = LedgerInjector(
        world.store, settings=world.settings, recall=lambda: gate.wait(10) and world.recall,
        profiles=lambda _: TEXT, clock=lambda: world.now,
    )  # fmt: skip
    world.injector.close()
    world.injector = slow
    assert world.call(chat(user("my parcel is lost"))).anchors == ()
    gate.set()
    slow._recall.result()
    assert world.call(chat(user("my parcel is lost today"))).anchors != ()
    slow.close()


def test_a_store_that_is_gone_leaves_the_last_snapshot():
    store = Broken(open_store("memory:"))
    world = World(store)
    world.learn(rule("Be brief."))
    before = world.call(chat(user("hello")))
    store.down = True
    world.later(10)
    assert world.call(chat(user("hello"), said("hi"), user("more"))).blocks == before.blocks
    assert world.call(chat(user("new one"))).blocks == before.blocks
    assert world.injector.counts["store_failed"] > 0
    store.down = False
    world.learn(rule("Be kind.", pos=1))
    for number in range(500):  # nobody waits for a store that was gone: the look goes on behind the calls
        time.sleep(0.01)
        if "Be kind." in world.call(chat(user(f"new {number}"))).blocks[0]:
            break
    else:
        pytest.fail("the store is back, and nobody looks")
    world.injector.close()


def test_a_store_that_never_answered_sends_the_original_bytes():
    store = Broken(open_store("memory:"))
    store.down = True
    world = World(store)
    assert world.call(chat(user("hello"))) is None
    assert world.injector.counts["bare"] == 1
    world.injector.close()


def test_a_store_that_hangs_costs_one_wait_and_then_none():
    store = Broken(open_store("memory:"))
    world = World(store, recall_deadline_s=0.02)
    store.open.clear()
    assert world.call(chat(user("hello"))) is None
    assert world.injector._snapshots._patient is False
    assert world.call(chat(user("hello")), scope=TENANT) is None
    store.open.set()
    world.injector.close()


def test_as_a_service_it_opens_the_store_first_and_keeps_everything_last(world):
    world.learn(rule("Be brief."))

    async def served() -> Injection | None:
        await world.injector.start()
        asked = CHAT.read(chat(user("hello")))
        injection = await world.injector.prepare(asked, Caller(rights=frozenset({"infer"}), scope=USER))
        await world.injector.stop()
        return injection

    injection = asyncio.run(served())
    assert world.store.session(USER, injection.session).heads == injection.heads


def test_an_exception_anywhere_is_a_count_and_no_error(world):
    world.injector._profiles = lambda _: 1 / 0
    assert world.call(chat(user("hello"))) is None
    assert world.injector.counts["failed"] == 1


def test_instructions_beyond_the_model_s_context_are_not_half_injected(world):
    world.learn(Entry(kind=Kind.INSTRUCTION, doc="main", text="x" * 5_000, origin=Origin.OPERATOR))
    world.profile = replace(TEXT, context_tokens=1_000)
    assert world.call(chat(user("hello"))) is None


def test_writes_that_find_no_room_are_counted(world):
    world.learn(rule("Be brief."))
    gate = threading.Event()
    world.injector._later.put(gate.wait)
    for _ in range(10_001):
        world.injector._later.put(gate.wait)
    gate.set()
    world.injector.flush()
    assert world.injector.counts["lost"] >= 1


# ── what it says of itself ──────────────────────────────────────────────────────────────────


def test_shown_names_every_entry_old_anchors_included(world):
    core, told, later = rule("Be brief."), example("lost parcel", "Kestrel"), example("broken parcel", "Basalt")
    world.learn(core, told)
    assert world.call(chat(user("parcel lost"))).shown == (core.id, told.id)
    world.learn(later)
    injection = world.call(chat(user("parcel lost"), said("So"), user("parcel broken")))
    assert injection.shown == (core.id, told.id, later.id)
    assert injection.heads == world.store.heads(USER)


def recorded(world: World, asked: Any, injection: Injection, answer: str) -> tuple[Record, Kept]:
    caller = Caller(rights=frozenset({"infer"}), scope=USER)
    run = Run(output="hi", usage=Usage(input_tokens=100))
    episode = Episode(scope=USER, heads=injection.heads, request=asked.request, run=run, at=world.now)
    record = Record(
        episode=episode.id, caller=caller, dialect="responses", asked=asked, injection=injection, status=200,
        ended="done", at=world.now,
    )  # fmt: skip
    return record, Kept(episode=episode, answer=answer)


def test_a_response_that_goes_on_from_an_earlier_one_belongs_to_its_session(world):
    responses = DIALECTS["responses"]
    world.learn(rule("Be brief."))
    caller = Caller(rights=frozenset({"infer"}), scope=USER)

    def call(body: Body) -> Injection:
        world.later()
        return asyncio.run(world.injector.prepare(responses.read(body), caller))

    first = call({"model": "m", "input": "hello"})
    world.injector.answered(*recorded(world, responses.read({"model": "m", "input": "hello"}), first, "resp_1"))
    world.learn(rule("Be kind.", pos=1))
    on = call({"model": "m", "input": "more", "previous_response_id": "resp_1"})
    assert (on.blocks, on.session) == (first.blocks, first.session)
    assert call({"model": "m", "input": "more", "previous_response_id": "resp_unknown"}).blocks != first.blocks


# ── the guard of the provider's cache ───────────────────────────────────────────────────────


def test_a_simulated_cache_reads_whole_blocks_of_the_longest_prefix_from_a_least_length_on():
    cache = PrefixCache(block_tokens=128, least_tokens=1_024, ttl_s=300)
    assert cache.call([("a", 1_000), ("b", 2_000)], NOW) == 0
    assert cache.call([("a", 1_000), ("b", 2_000), ("c", 3_000)], NOW) == 1_920
    assert cache.call([("a", 1_000), ("x", 3_000)], NOW) == 0  # below the least length
    assert cache.call([("a", 1_000), ("b", 2_000)], NOW + timedelta(seconds=301)) == 0


def long_talk(calls: int):
    items = [{"role": "system", "content": "s" * 20_000}]
    for number in range(calls):
        items.append(user(f"{number} " + "u" * 400))
        yield CHAT.read({"model": "m", "messages": list(items)})
        items.append(said("a" * 100))


def steady(number: int) -> Injection:
    return Injection(blocks=("Rules:\n- Be brief.",), heads=Heads())


def churning(number: int) -> Injection:
    return Injection(anchors=(Anchor(at=1, text=f"new every time {number}"),), heads=Heads())


@pytest.mark.parametrize(("made", "frozen"), [(steady, False), (churning, True)])
def test_an_agent_is_frozen_when_injection_costs_more_than_three_points(made, frozen):
    guard = CacheGuard(window_calls=40, pause_s=60)
    for number, asked in enumerate(long_talk(40)):
        guard.note("desk", asked, made(number), Usage(input_tokens=6_000), NOW)
    assert guard.frozen("desk") is frozen
    assert not guard.frozen("other")
    guard.note("desk", asked, None, Usage(input_tokens=6_000), NOW + timedelta(seconds=61))
    assert not guard.frozen("desk")


def test_a_provider_whose_cache_is_worse_than_the_simulation_freezes_nobody_until_it_gets_worse():
    guard = CacheGuard(window_calls=40)
    for share, frozen in ((0.6, False), (0.6, False), (0.4, True)):
        for number, asked in enumerate(long_talk(40)):
            guard.note("desk", asked, steady(number), Usage(input_tokens=1_000, cached_tokens=int(1_000 * share)), NOW)
        assert guard.frozen("desk") is frozen
    rates = guard.rates("desk")
    assert rates.measured == pytest.approx(0.4)
    assert rates.simulated >= rates.shadow - 0.03


def test_a_frozen_agent_gets_nothing_new():
    guard = CacheGuard(window_calls=40)
    world = World(guard=guard)
    world.learn(rule("Be brief."))
    before = world.call(chat(user("hello")))
    for number, asked in enumerate(long_talk(40)):
        guard.note(USER.agent, asked, churning(number), Usage(input_tokens=6_000), NOW)
    world.learn(rule("Be kind.", pos=1), example("lost parcel", "Kestrel"))
    injection = world.call(chat(user("my parcel is lost")))
    assert (injection.blocks, injection.anchors) == (before.blocks, ())
    world.injector.close()


# ── the real ranking ────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_with_the_real_embedder_the_related_example_is_recalled(tmp_path):
    from tokenspace.recall import HybridRecall, default_embedder

    store = open_store(f"sqlite:///{tmp_path}/store.db")
    recall = HybridRecall(default_embedder())
    learned = [
        example("My card was swallowed by the machine", "Kestrel"),
        example("How do I change my address?", "Basalt"),
    ]
    commit(store, USER, *(Put(entry=entry) for entry in learned), vectors=recall.index(learned))
    world = World(store, profile=replace(TURNS, recalled=1))
    world.recall = recall
    world.restart()
    sent = world.sent(chat(user("The ATM has kept my card")))
    assert sent[1:3] == [user("My card was swallowed by the machine"), said("Kestrel")]
    longer = world.sent(chat(user("The ATM has kept my card"), said("Kestrel"), user("What now?")))
    assert longer[: len(sent)] == sent
    world.injector.flush()
    world.injector.close()
    store.close()
