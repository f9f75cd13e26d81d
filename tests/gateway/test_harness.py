"""Coding agents put their own words beside the user's: system items at the end, elements in a user's message."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from tests.gateway.test_inject import NOW, World, example
from tokenspace.budget import Budget
from tokenspace.domain import Evidence, Feedback, Message, Origin, Request, Signal
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.kept import keep
from tokenspace.gateway.wire import Caller, Injection, Record
from tokenspace.proposers import Remember
from tokenspace.testing.samples import USER, rule

Body = dict[str, Any]
REMINDER = "<system-reminder>\nThe task list is empty. The parcel of tools grew.\n</system-reminder>"
PARCEL, LATE = "My parcel is lost.", "And the second parcel is late."
TOOL = {"name": "Bash", "description": "Runs a command.", "input_schema": {"type": "object", "properties": {}}}


def claude_code(*said: Any, state: str = "Mode: default.") -> Body:
    """As Claude Code sends it: reminders as blocks of the user's message, and one more item after it."""
    turns = []
    for at, text in enumerate(said):
        own = {"type": "text", "text": text}
        if at == len(said) - 1:
            own["cache_control"] = {"type": "ephemeral"}
        blocks = [{"type": "text", "text": REMINDER}, own] if at == 0 else [own]
        turns.append({"role": "assistant" if at % 2 else "user", "content": blocks})
    system = [
        {"type": "text", "text": f"x-anthropic-billing-header: cch={len(said)};"},
        {"type": "text", "text": "You are a coding agent.", "cache_control": {"type": "ephemeral"}},
    ]
    return {
        "model": "claude-sonnet-5", "max_tokens": 32_000, "stream": True, "system": system, "tools": [TOOL],
        "metadata": {"user_id": "user_1_account__session_2"},
        "messages": [*turns, {"role": "system", "content": state}],
    }  # fmt: skip


def chat(*said: Any, state: str = "Mode: default.") -> Body:
    turns = [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(said)]
    turns[0] = {"role": "user", "content": f"{REMINDER}\n{said[0]}"}
    head = {"role": "system", "content": "You are a coding agent."}
    return {"model": "m", "messages": [head, *turns, {"role": "developer", "content": state}]}


def codex(*said: Any, state: str = "Mode: default.") -> Body:
    """As Codex sends it: the surroundings are a user's item of their own, before the first words."""

    def item(role: str, text: str) -> dict[str, Any]:
        kind = "output_text" if role == "assistant" else "input_text"
        return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}

    turns = [item("assistant" if at % 2 else "user", text) for at, text in enumerate(said)]
    around = item("user", "<environment_context>\n<cwd>/parcel</cwd>\n</environment_context>")
    return {
        "model": "gpt-5.5", "instructions": "You are a coding agent.", "stream": True, "store": False,
        "prompt_cache_key": "0199", "input": [around, *turns, item("developer", state)],
    }  # fmt: skip


BODIES = {"messages": claude_code, "chat": chat, "responses": codex}
ITEMS = {"messages": "messages", "chat": "messages", "responses": "input"}


def plain(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the marks that the client itself moves."""
    items = copy.deepcopy(items)
    for item in items:
        for part in item["content"] if isinstance(item["content"], list) else ():
            part.pop("cache_control", None)
    return items


class Desk:
    """A world that hears one dialect."""

    def __init__(self, name: str, session: str | None) -> None:
        self.world, self.name, self.session = World(), name, session
        self.dialect = DIALECTS[name]
        self.caller = Caller(rights=frozenset({"infer"}), scope=USER, session=session)

    def call(self, body: Body) -> Injection:
        self.world.later()
        made = asyncio.run(self.world.injector.prepare(self.dialect.read(body), self.caller))
        assert made is not None
        return made

    def sent(self, body: Body) -> list[dict[str, Any]]:
        return self.dialect.inject(body, self.call(body))[ITEMS[self.name]]


@pytest.fixture(params=[(name, session) for name in BODIES for session in (None, "s1")], ids=str)
def desk(request):
    made = Desk(*request.param)
    yield made
    made.world.injector.close()


def test_a_reminder_at_the_end_belongs_to_the_user_s_turn_and_recall_reaches_it(desk):
    desk.world.learn(rule("Be brief."), example("my parcel is lost", "Kestrel"))
    body = BODIES[desk.name](PARCEL)
    injection, items = desk.call(body), body[ITEMS[desk.name]]
    (anchor,) = injection.anchors
    assert items[anchor.at]["role"] == "user"
    assert anchor.at == len(items) - 2
    made = desk.dialect.inject(body, injection)[ITEMS[desk.name]]
    assert made[-1] == items[-1]  # what the harness says last stays last
    assert "Kestrel" in str(made[:-1])


@pytest.mark.parametrize("left", [True, False], ids=["the reminder stays", "the reminder moves"])
def test_i14_what_is_anchored_before_a_reminder_is_replayed_byte_for_byte_on_later_turns(desk, left):
    desk.world.learn(rule("Be brief."), example("my parcel is lost", "Kestrel"))
    make, key = BODIES[desk.name], ITEMS[desk.name]
    first = desk.sent(make(PARCEL))
    desk.world.learn(example("second parcel late", "Basalt"))
    longer = make(PARCEL, "Kestrel has it.", LATE, state="Mode: plan.")
    if left:
        at = next(at for at, item in enumerate(longer[key]) if item["role"] == "assistant")
        longer[key].insert(at, make(PARCEL)[key][-1])
    second = desk.sent(longer)
    same = len(first) if left else len(first) - 1
    assert plain(second[:same]) == plain(first[:same])
    assert "Basalt" in str(second)
    third = desk.sent(make(PARCEL, "Kestrel has it.", LATE, "It is on its way.", "Thanks.", state="Mode: plan."))
    if not left:
        assert plain(third[: len(second) - 1]) == plain(second[:-1])
    assert str(third).count("Kestrel\n") == str(second).count("Kestrel\n")


def test_the_conversation_is_known_again_wherever_the_reminder_goes(desk):
    desk.world.learn(rule("Be brief."))
    make = BODIES[desk.name]
    before = desk.call(make(PARCEL))
    desk.world.learn(rule("Be kind.", pos=1))
    after = desk.call(make(PARCEL, "Kestrel has it.", LATE, state="Mode: plan."))
    assert (after.session, after.blocks) == (before.session, before.blocks)


def test_nothing_is_anchored_after_an_answer_or_between_a_call_and_its_result():
    call = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
    body = claude_code(PARCEL)
    user, reminder = body["messages"]
    for items in (
        [user, {"role": "assistant", "content": "So."}, reminder],
        [user, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}, reminder],
    ):
        asked = DIALECTS["messages"].read({**body, "messages": items})
        assert asked.closing == 1
        assert asked.anchors == (0,)
        assert asked.last == len(items) - 2


def test_a_body_of_system_items_alone_has_no_closing_ones():
    asked = DIALECTS["chat"].read({"model": "m", "messages": [{"role": "system", "content": "Say something."}]})
    assert (asked.closing, asked.last) == (0, 0)


@pytest.mark.parametrize("name", BODIES)
def test_recall_is_asked_for_the_user_s_own_words(name):
    made = Desk(name, None)
    made.world.learn(example("my parcel is lost", "Kestrel"))
    made.call(BODIES[name](PARCEL))
    assert made.world.recall.asked == [PARCEL]
    made.world.injector.close()


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (f"{REMINDER}\nRun the tests.", "Run the tests."),
        (f"Run {REMINDER}the{REMINDER} tests.", "Run the tests."),
        ("<environment_context>\n<cwd>/home</cwd>\n</environment_context>", "an earlier word"),
        ("What does <system-reminder> mean?", "What does <system-reminder> mean?"),
        ("</system-reminder> and <system-reminder>", "</system-reminder> and <system-reminder>"),
        ("<system-reminder>" * 50_000 + "</environment_context>", None),
    ],
    ids=["before", "within", "nothing else", "not closed", "the wrong way round", "many"],
)
def test_a_query_is_what_the_user_said(text, query):
    request = Request(messages=(Message(role="user", text="an earlier word"), Message(role="user", text=text)))
    assert request.query == (text if query is None else query)


def test_where_a_harness_alone_speaks_the_query_is_all_of_it():
    assert Request(messages=(Message(role="user", text=REMINDER),)).query == REMINDER


def test_i13_neither_what_was_injected_nor_the_harness_becomes_evidence():
    desk = Desk("messages", "s1")
    lesson = example("my parcel is lost", "Kestrel, the team of lost parcels")
    desk.world.learn(rule("Be brief and civil."), lesson)
    body = claude_code(PARCEL)
    injection = desk.call(body)
    sent = str(desk.dialect.inject(body, injection))
    assert "Be brief and civil." in sent
    assert lesson.text in sent
    record = Record(
        episode="e1", caller=desk.caller, dialect="messages", asked=desk.dialect.read(body), injection=injection,
        status=200, ended="done", at=NOW,
        body=b'{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"Basalt"}]}',
    )  # fmt: skip
    episode = keep(record, DIALECTS).episode
    assert lesson.text not in str(episode.request)
    assert "Be brief and civil." not in str(episode.request)
    assert set(episode.shown) == set(injection.shown)
    said = Feedback(
        scope=USER, episode="e1", principal="kim", signal=Signal.CORRECTION, value="Osprey", source=Origin.USER, at=NOW
    )
    context = desk.world.store.context(USER, injection.heads)
    evidence = Evidence(scope=USER, context=context, feedback=(said,), episodes={"e1": episode})
    edit = asyncio.run(Remember().propose(evidence, budget=Budget()))
    assert edit is not None
    assert [(op.entry.trigger, op.entry.text) for op in edit.ops] == [(PARCEL, "Osprey")]
    desk.world.injector.close()
