"""The three dialects: what is read, where learned context goes, what an answer amounts to."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anthropic
import httpx2
import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.recordings import RECORDINGS, Recording, heard
from tokenspace.context.taint import heard as authority_heard
from tokenspace.domain import Episode, Heads, Message, Origin, Request, Scope, ToolCall
from tokenspace.errors import BadData
from tokenspace.gateway.dialects import DIALECTS, Chat, Event, EventParser
from tokenspace.gateway.wire import Anchor, Injection

CHAT, RESPONSES, MESSAGES = (DIALECTS[name] for name in ("chat", "responses", "messages"))
MARK = {"type": "ephemeral"}
BASE, USER = "Base lessons.", "The user's lessons."
TURNS = (Message(role="user", text="an example"), Message(role="assistant", text="its answer "))
BY_FILE = {recording.file: recording for recording in RECORDINGS}


def injection(*anchors: Anchor, blocks: tuple[str, ...] = ()) -> Injection:
    return Injection(blocks=blocks, anchors=anchors, heads={})


def said(dialect: str, *, until: int = 99) -> dict[str, Any]:
    """One agentic conversation with a question, a call, its result, an answer and another question."""
    arguments = '{"city":"Paris"}'
    if dialect == "chat":
        call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
        items: list[Any] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Is it warm in Paris?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "31 °C"},
            {"role": "assistant", "content": "Yes."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "And this?"},
                    {"type": "image_url", "image_url": {"url": "data:"}},
                ],
            },
        ]
        return {"model": "m", "messages": items[: until + 1], "stream": True, "max_completion_tokens": 77}
    if dialect == "responses":
        items = [
            {"role": "user", "content": "Is it warm in Paris?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": arguments},
            {"type": "function_call_output", "call_id": "c1", "output": "31 °C"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]},
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "And this?"}, {"type": "input_image", "image_url": "data:"}],
            },
        ]
        return {
            "model": "m",
            "instructions": "Be brief.",
            "input": items[:until],
            "stream": True,
            "max_output_tokens": 77,
        }
    items = [
        {"role": "user", "content": "Is it warm in Paris?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "31 °C"}]}],
        },
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": [{"type": "text", "text": "And this?"}, {"type": "image", "source": {}}]},
    ]
    return {"model": "m", "system": "Be brief.", "messages": items[:until], "stream": True, "max_tokens": 77}


def items_of(body: Any) -> list[Any]:
    return body["messages"] if "messages" in body else body["input"]


# ── reading ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", DIALECTS)
def test_the_same_conversation_reads_alike_in_every_dialect(name: str) -> None:
    asked = DIALECTS[name].read(said(name))
    assert asked.model == "m"
    assert asked.stream
    assert asked.request.max_output_tokens == 77
    assert asked.request.query == "And this?\n[image]"
    call = ToolCall(id="c1", name="weather", arguments='{"city":"Paris"}')
    assert asked.request.messages == (
        Message(role="system", text="Be brief."),
        Message(role="user", text="Is it warm in Paris?"),
        Message(role="assistant", text="", tool_calls=(call,)),
        Message(role="tool", text="31 °C", tool_call_id="c1"),
        Message(role="assistant", text="Yes."),
        Message(role="user", text="And this?\n[image]"),
    )


@pytest.mark.parametrize(("name", "anchors"), [("chat", (1, 5)), ("responses", (0, 5)), ("messages", (0, 4))])
def test_only_user_items_that_part_no_call_from_its_result_are_anchors(name: str, anchors: tuple[int, ...]) -> None:
    assert DIALECTS[name].read(said(name)).anchors == anchors


def test_a_user_item_before_an_open_calls_result_is_no_anchor() -> None:
    chat = said("chat", until=2)
    chat["messages"] += [
        {"role": "user", "content": "Well?"},
        {"role": "tool", "tool_call_id": "c1", "content": "31"},
        {"role": "user", "content": "So?"},
    ]
    assert CHAT.read(chat).anchors == (1, 5)
    responses = said("responses", until=3)
    responses["input"] += [
        {"role": "user", "content": "Well?"},
        {"type": "function_call_output", "call_id": "c1", "output": "31"},
        {"role": "user", "content": "So?"},
    ]
    assert RESPONSES.read(responses).anchors == (0, 5)
    messages = said("messages", until=2)
    messages["messages"] += [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1"}, {"type": "text", "text": "Stop."}]},
        {"role": "user", "content": "So?"},
    ]
    asked = MESSAGES.read(messages)
    assert asked.anchors == (0, 3)
    assert [message.role for message in asked.request.messages[3:]] == ["tool", "user", "user"]


def test_calls_of_the_providers_own_tools_wait_for_no_result() -> None:
    items = [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, {"role": "user", "content": "So?"}]
    assert RESPONSES.read({"model": "m", "input": items}).anchors == (1,)


_SEARCHED = {
    "chat": {"choices": [{"message": {"content": "Buy!", "annotations": [{"type": "url_citation"}]}}]},
    "messages": {
        "content": [
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
            {"type": "text", "text": "Buy!"},
        ]
    },
    "responses": {
        "status": "completed",
        "output": [
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "message", "content": [{"type": "output_text", "text": "Buy!"}]},
        ],
    },
}


@pytest.mark.parametrize("name", DIALECTS)
def test_i9_an_answer_after_a_tool_of_the_providers_own_has_a_tools_authority(name: str) -> None:
    run = DIALECTS[name].answer(json.dumps(_SEARCHED[name]).encode(), stream=False).run
    assert (run.output, run.tool_calls) == ("Buy!", ())
    asked = Request(messages=(Message(role="user", text="What now?"),))
    episode = Episode(
        scope=Scope(agent="a"), heads=Heads(), request=asked, run=run, at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert authority_heard(episode) is Origin.TOOL
    assert authority_heard(replace(episode, run=replace(run, messages=()))) is Origin.OPERATOR


@pytest.mark.parametrize("name", DIALECTS)
def test_the_next_call_of_a_conversation_has_the_same_digests_for_what_it_repeats(name: str) -> None:
    early, late = DIALECTS[name].read(said(name, until=3)), DIALECTS[name].read(said(name))
    assert len(late.chain) == len(items_of(said(name)))
    assert late.chain[: len(early.chain)] == early.chain
    assert len(set(late.chain)) == len(late.chain)


@pytest.mark.parametrize("name", DIALECTS)
def test_other_system_text_or_another_item_is_another_conversation(name: str) -> None:
    one, other = said(name), said(name)
    (other["messages"][0] if name == "chat" else other).update(
        {
            "chat": {"content": "Be long."},
            "responses": {"instructions": "Be long."},
            "messages": {"system": "Be long."},
        }[name]
    )
    dialect = DIALECTS[name]
    assert not set(dialect.read(one).chain) & set(dialect.read(other).chain)
    changed = copy.deepcopy(one)
    items_of(changed)[1 if name == "chat" else 0]["content"] = "Is it cold?"
    assert dialect.read(changed).chain[-1] != dialect.read(one).chain[-1]


def test_moved_cache_marks_and_a_string_made_a_part_do_not_change_a_conversation() -> None:
    plain = said("messages")
    marked = copy.deepcopy(plain)
    marked["system"] = [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    marked["messages"][0]["content"] = [{"cache_control": MARK, "text": "Is it warm in Paris?", "type": "text"}]
    marked["messages"][2]["content"][0]["cache_control"] = MARK
    assert MESSAGES.read(marked).chain == MESSAGES.read(plain).chain
    chat = said("chat")
    chat["messages"][1]["content"] = [{"type": "text", "text": "Is it warm in Paris?"}]
    assert CHAT.read(chat).chain == CHAT.read(said("chat")).chain
    responses = said("responses")
    responses["input"][0] = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Is it warm in Paris?"}],
    }
    assert RESPONSES.read(responses).chain == RESPONSES.read(said("responses")).chain
    alone = RESPONSES.read({"model": "m", "instructions": "Be brief.", "input": "Is it warm in Paris?"})
    assert alone.chain == RESPONSES.read(responses).chain[:1]


def test_claude_codes_billing_line_is_neither_read_nor_part_of_the_conversation() -> None:
    def body(nonce: str) -> dict[str, Any]:
        line = {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1; cch={nonce};"}
        return {**said("messages"), "system": [line, {"type": "text", "text": "You are Claude Code."}]}

    one, other = MESSAGES.read(body("36ee5")), MESSAGES.read(body("0aaa9"))
    assert one == other
    assert one.request.messages[0].text == "You are Claude Code."
    made = MESSAGES.inject(body("36ee5"), injection(blocks=(BASE,)))
    assert made["system"][:2] == body("36ee5")["system"]  # the first block stays first


def test_going_on_from_a_response_is_part_of_the_digests() -> None:
    body = {"model": "m", "input": "yes", "previous_response_id": "resp_1"}
    one, other = RESPONSES.read(body), RESPONSES.read({**body, "previous_response_id": "resp_2"})
    assert one.previous == "resp_1"
    assert one.chain != other.chain
    assert RESPONSES.read({"model": "m", "input": "yes", "conversation": {"id": "conv_1"}}).previous == "conv_1"
    assert RESPONSES.read({"model": "m", "input": "yes"}).previous is None


def test_tools_schemas_choices_and_the_older_forms_are_read() -> None:
    schema = {"type": "object"}
    tools = [{"type": "function", "function": {"name": "f"}}]
    chat = {
        "model": "m",
        "messages": [],
        "tools": tools,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    }
    assert CHAT.read(chat).request.tools == tuple(tools)
    assert CHAT.read(chat).request.schema == schema
    assert CHAT.read({"messages": [], "structured_outputs": {"choice": ["a", "b"]}}).request.choices == ("a", "b")
    call = {"name": "f", "arguments": "{}"}
    old = CHAT.read(
        {
            "messages": [
                {"role": "assistant", "content": None, "function_call": call},
                {"role": "function", "name": "f", "content": "1"},
            ],
            "functions": [{"name": "f"}],
        }
    )
    assert old.request.tools == tuple(tools)
    assert old.request.messages[1] == Message(
        role="tool", text="1", tool_call_id=old.request.messages[0].tool_calls[0].id
    )
    assert (
        RESPONSES.read({"input": "x", "text": {"format": {"type": "json_schema", "schema": schema}}}).request.schema
        == schema
    )
    assert MESSAGES.read({"messages": [], "output_config": {"format": {"schema": schema}}}).request.schema == schema


def test_custom_and_built_in_calls_of_responses_are_calls() -> None:
    items = [
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** Begin"},
        {"type": "local_shell_call", "id": "l1", "call_id": "c2", "action": {"type": "exec", "command": ["ls"]}},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "ok"}]},
        {"type": "local_shell_call_output", "id": "c2", "output": "a.py"},
        {"role": "user", "content": "So?"},
    ]
    asked = RESPONSES.read({"model": "m", "input": items})
    assert asked.anchors == (4,)
    assert [(call.name, call.arguments) for call in asked.request.messages[0].tool_calls] == [
        ("patch", "*** Begin"),
        ("local_shell", '{"type":"exec","command":["ls"]}'),
    ]
    assert [message.text for message in asked.request.messages[1:]] == ["ok", "a.py", "So?"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("chat", {}),
        ("chat", {"messages": "hi"}),
        ("chat", {"messages": ["hi"]}),
        ("chat", {"messages": [{"role": "model", "content": "hi"}]}),
        ("responses", {}),
        ("responses", {"input": 3}),
        ("responses", {"input": "hi", "instructions": ["a"]}),
        ("responses", {"input": [{"role": "tool", "content": "hi"}]}),
        ("messages", {"messages": None}),
        ("messages", {"messages": [{"role": "tool", "content": "hi"}]}),
    ],
)
def test_a_body_of_another_shape_is_bad_data(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(BadData) as raised:
        DIALECTS[name].read(body)
    assert raised.value.hint


# ── injecting ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", DIALECTS)
def test_the_clients_objects_are_never_changed_and_what_is_not_touched_is_the_same(name: str) -> None:
    body = said(name)
    before = copy.deepcopy(body)
    at = DIALECTS[name].read(body).anchors[-1]
    made = DIALECTS[name].inject(body, injection(Anchor(at=at, text="recalled", turns=TURNS), blocks=(BASE,)))
    assert body == before
    assert made != before
    touched = {at, 0} if name == "chat" else {at}  # blocks end a chat's own system message
    untouched = [item for place, item in enumerate(items_of(body)) if place not in touched]
    assert all(any(item is other for other in items_of(made)) for item in untouched)
    assert [key for key in made if key in body] == list(body)


@pytest.mark.parametrize("name", DIALECTS)
def test_nothing_to_inject_is_the_body_itself(name: str) -> None:
    body = said(name)
    assert DIALECTS[name].inject(body, injection(blocks=("", " \n"))) is body
    assert (
        DIALECTS[name].inject(body, injection(Anchor(at=0 if name == "chat" else 1, text="in the wrong place"))) is body
    )
    assert DIALECTS[name].inject(body, injection(Anchor(at=99, text="beyond the end"))) is body


@pytest.mark.parametrize("name", DIALECTS)
def test_i5_same_arguments_same_bytes(name: str) -> None:
    anchors = (Anchor(at=DIALECTS[name].read(said(name)).anchors[0], text="recalled", turns=TURNS),)
    made = [orjson.dumps(DIALECTS[name].inject(said(name), injection(*anchors, blocks=(BASE, USER)))) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize("name", DIALECTS)
def test_what_was_injected_is_a_prefix_of_what_is_injected_on_the_next_call(name: str) -> None:
    dialect = DIALECTS[name]
    anchor = Anchor(at=dialect.read(said(name)).anchors[0], text="recalled", turns=TURNS)
    early, late = (
        items_of(dialect.inject(said(name, until=until), injection(anchor, blocks=(BASE,)))) for until in (3, 99)
    )
    assert late[: len(early)] == early


def test_chat_blocks_apart_are_one_message_after_the_clients_leading_ones() -> None:
    apart, body = Chat(joined=False), said("chat")
    made = apart.inject(body, injection(blocks=(BASE, USER)))
    assert made["messages"][1] == {"role": "system", "content": f"{BASE}\n\n{USER}"}
    assert [made["messages"][0], *made["messages"][2:]] == body["messages"]
    first = apart.inject({"messages": [{"role": "user", "content": "hi"}]}, injection(blocks=(BASE,)))
    assert first["messages"][0] == {"role": "system", "content": BASE}
    developer = apart.inject({"messages": [{"role": "developer", "content": "x"}]}, injection(blocks=(BASE,)))
    assert developer["messages"][1] == {"role": "developer", "content": BASE}


def test_joined_chat_blocks_end_the_clients_own_message() -> None:
    made = Chat(joined=True).inject(said("chat"), injection(blocks=(BASE,)))
    assert made["messages"][0] == {"role": "system", "content": f"Be brief.\n\n{BASE}"}
    parts = [{"type": "text", "text": "Be brief."}]
    made = Chat(joined=True).inject({"messages": [{"role": "system", "content": parts}]}, injection(blocks=(BASE,)))
    assert made["messages"][0]["content"] == [*parts, {"type": "text", "text": BASE}]
    assert Chat(joined=True).inject({"messages": []}, injection(blocks=(BASE,)))["messages"][0]["role"] == "system"


def test_chat_keeps_a_string_a_string_and_parts_parts() -> None:
    body = said("chat")
    made = CHAT.inject(body, injection(Anchor(at=1, text="recalled"), Anchor(at=5, text="more", turns=TURNS)))[
        "messages"
    ]
    assert made[1] == {"role": "user", "content": "recalled\n\nIs it warm in Paris?"}
    assert made[5:7] == [{"role": "user", "content": "an example"}, {"role": "assistant", "content": "its answer "}]
    assert made[7]["content"] == [{"type": "text", "text": "more"}, *body["messages"][5]["content"]]


def test_responses_blocks_follow_the_clients_instructions_on_every_call() -> None:
    made = RESPONSES.inject(said("responses"), injection(blocks=(BASE, USER)))
    assert made["instructions"] == f"Be brief.\n\n{BASE}\n\n{USER}"
    onward = {"model": "m", "input": "yes", "previous_response_id": "resp_1"}
    made = RESPONSES.inject(onward, injection(blocks=(BASE,)))
    assert made == {**onward, "instructions": BASE}  # not carried over, so given again; the input stays a string
    assert RESPONSES.inject({"previous_response_id": "resp_1"}, injection(blocks=(BASE,)))["instructions"] == BASE


def test_responses_recalled_text_is_a_developer_item_before_the_anchored_one() -> None:
    made = RESPONSES.inject({"model": "m", "input": "hi"}, injection(Anchor(at=0, text="recalled", turns=TURNS)))[
        "input"
    ]
    assert [item["role"] for item in made] == ["user", "assistant", "developer", "user"]
    assert made[1]["content"] == [{"type": "output_text", "text": "its answer "}]
    assert made[2] == {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "recalled"}]}
    assert made[3] == {"role": "user", "content": "hi"}


def test_messages_recalled_text_is_a_block_before_the_users_own() -> None:
    body = said("messages")
    made = MESSAGES.inject(body, injection(Anchor(at=0, text="recalled"), Anchor(at=4, text="more", turns=TURNS)))[
        "messages"
    ]
    assert made[0]["content"] == [
        {"type": "text", "text": "recalled"},
        {"type": "text", "text": "Is it warm in Paris?"},
    ]
    assert made[1] is body["messages"][1]  # thinking blocks verbatim
    assert made[5] == {"role": "assistant", "content": "its answer"}  # the provider refuses space at the end
    assert made[6]["content"] == [{"type": "text", "text": "more"}, *body["messages"][4]["content"]]


def marks(body: Any) -> list[Any]:
    """Every cache breakpoint of a body, in the provider's order."""
    parts = [*body.get("tools", ()), *(body["system"] if isinstance(body.get("system"), list) else ())]
    for item in body["messages"]:
        parts += item["content"] if isinstance(item["content"], list) else ()
    return [part["cache_control"] for part in [*parts, body] if part.get("cache_control")]


@pytest.mark.parametrize("used", range(6))
def test_there_are_never_more_than_four_breakpoints_and_the_clients_are_kept(used: int) -> None:
    body = {
        "model": "m",
        "max_tokens": 9,
        "tools": [{"name": "t"}],
        "system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]}],
    }
    places = [body["tools"][0], *body["system"], *body["messages"][0]["content"]]
    for part in places[:used]:
        part["cache_control"] = MARK
    made = MESSAGES.inject(body, injection(blocks=(BASE, USER)))
    assert made["system"][:2] == body["system"]
    assert [block["text"] for block in made["system"][2:]] == [BASE, USER]
    assert len(marks(made)) == (used + 1 if used < 4 else used)
    assert ("cache_control" in made["system"][3]) == (used < 4)
    assert "cache_control" not in made["system"][2]


@pytest.mark.parametrize(
    ("before", "after", "ours"),
    [
        (None, None, None),
        ("1h", None, "1h"),
        ("5m", None, "5m"),
        ("1h", "5m", "5m"),
        ("1h", "1h", "1h"),
        (None, "1h", "1h"),
    ],
)
def test_our_breakpoint_never_puts_a_longer_time_after_a_shorter_one(
    before: str | None, after: str | None, ours: str | None
) -> None:
    def mark(ttl: str | None) -> dict[str, Any]:
        return {"cache_control": {**MARK, "ttl": ttl}} if ttl else {}

    body = {
        "system": [{"type": "text", "text": "a", **mark(before)}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "c", **mark(after)}]}],
    }
    made = MESSAGES.inject(body, injection(blocks=(BASE,)))
    assert made["system"][-1]["cache_control"].get("ttl") == ours


def test_a_mark_on_the_whole_request_counts_as_a_breakpoint() -> None:
    block = {"type": "text", "text": "a", "cache_control": MARK}
    body = {"cache_control": MARK, "system": [block, block, block], "messages": []}
    assert "cache_control" not in MESSAGES.inject(body, injection(blocks=(BASE,)))["system"][-1]


# ── answers ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.file)
def test_the_official_client_and_the_dialect_hear_the_same_answer(recording: Recording) -> None:
    def replay(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(
            recording.status, content=recording.data, headers={"content-type": recording.content_type}
        )

    with httpx2.Client(transport=httpx2.MockTransport(replay)) as http:
        made = anthropic.Anthropic if recording.dialect == "messages" else openai.OpenAI
        assert heard(recording, made(api_key="k", http_client=http, max_retries=0)) == recording.heard
    answer = DIALECTS[recording.dialect].answer(recording.data, stream=recording.stream)
    usage = answer.run.usage
    assert answer.id == recording.id
    assert answer.run.output == recording.heard.text
    assert tuple((call.id, call.name, call.arguments) for call in answer.run.tool_calls) == recording.heard.calls
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == recording.tokens
    assert (answer.complete, answer.error) == (recording.complete, recording.error)
    assert usage.calls == 1
    if recording.status == 200:
        assert answer.run.model.startswith(("gpt-5.2", "claude-opus"))


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.file)
def test_an_answer_cut_anywhere_is_not_complete_unless_its_calls_are(recording: Recording) -> None:
    whole = DIALECTS[recording.dialect].answer(recording.data, stream=recording.stream)
    # A step that shares no factor with anything, to be quick; the last bytes may only be the end of the last line.
    for cut in range(0, len(recording.data.rstrip()) - 4, 7):
        answer = DIALECTS[recording.dialect].answer(recording.data[:cut], stream=recording.stream)
        assert whole.run.output.startswith(answer.run.output.rstrip("\N{REPLACEMENT CHARACTER}"))
        if answer.complete:
            assert answer.run.tool_calls
            assert all(orjson.loads(call.arguments) is not None for call in answer.run.tool_calls)


def until(file: str, text: bytes) -> bytes:
    data = BY_FILE[file].data
    return data[: data.index(b"\n\n", data.index(text)) + 2]


@pytest.mark.parametrize(
    ("file", "last", "partial"),
    [
        ("chat_tools.sse", b'ris\\"}', b'ty\\":'),
        ("responses_tools.sse", b"response.function_call_arguments.done", b"response.function_call_arguments.delta"),
        ("messages_tools.sse", b'content_block_stop","index":1', b'is\\"}'),
    ],
)
def test_a_client_that_leaves_with_a_whole_tool_call_got_what_it_wanted(file: str, last: bytes, partial: bytes) -> None:
    dialect = DIALECTS[BY_FILE[file].dialect]
    answer = dialect.answer(until(file, last), stream=True)
    assert answer.complete
    assert answer.run.tool_calls[0].arguments == '{"city":"Paris"}'
    assert not dialect.answer(until(file, partial), stream=True).complete


@pytest.mark.parametrize("name", DIALECTS)
def test_a_stream_request_may_be_answered_in_json_and_the_other_way_round(name: str) -> None:
    for file in (f"{name}_plain.json", f"{name}_plain.sse"):
        recording = BY_FILE[file]
        dialect = DIALECTS[name]
        assert dialect.answer(recording.data, stream=not recording.stream) == dialect.answer(
            recording.data, stream=recording.stream
        )


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("data", [b"", b"<html>502</html>", b"[]", b"null", b"{}", b"\xff\xfe", b'{"detail":"x"'])
def test_what_is_no_answer_says_so(name: str, data: bytes) -> None:
    answer = DIALECTS[name].answer(data, stream=False)
    assert not answer.complete
    assert answer.error
    assert not DIALECTS[name].answer(data, stream=True).complete


def test_tool_call_fragments_that_share_an_index_but_not_an_id_are_two_calls() -> None:
    def chunk(id: str, arguments: str) -> bytes:
        call = {"index": 0, "id": id, "function": {"name": "f", "arguments": arguments}}
        return b"data: " + orjson.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}) + b"\n\n"

    answer = CHAT.answer(chunk("a", '{"x":1}') + chunk("b", '{"x":2}') + b"data: [DONE]\n\n", stream=True)
    assert [(call.id, call.arguments) for call in answer.run.tool_calls] == [("a", '{"x":1}'), ("b", '{"x":2}')]


def test_an_emoji_cut_in_two_by_the_server_is_joined_again() -> None:
    halves = [b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (b"\\ud83d", b"\\udc4d")]
    assert CHAT.answer(b"".join(halves), stream=True).run.output == "👍"
    assert CHAT.answer(halves[0], stream=True).run.output.encode()  # can be kept, whatever it is


def test_events_of_a_provider_that_nobody_knows_yet_are_passed_over() -> None:
    for name in DIALECTS:
        recording = BY_FILE[f"{name}_plain.sse"]
        data = b'event: new\ndata: {"type":"something.new","choices":[],"delta":{"text":"no"}}\n\n' + recording.data
        assert DIALECTS[name].answer(data, stream=True).run.output == recording.heard.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**70) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = [
    "id",
    "model",
    "choices",
    "index",
    "delta",
    "message",
    "content",
    "tool_calls",
    "function",
    "arguments",
    "usage",
    "error",
    "type",
    "text",
    "role",
    "input",
    "output",
    "response",
    "item",
    "status",
    "messages",
    "system",
    "instructions",
    "tools",
    "content_block",
    "call_id",
    "cache_control",
    "ttl",
    "tool_use_id",
    "name",
    "prompt_tokens_details",
    "partial_json",
    "output_index",
]
WORDS = [
    "user",
    "assistant",
    "system",
    "tool",
    "text",
    "tool_use",
    "tool_result",
    "message",
    "function_call",
    "error",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_start",
    "message_delta",
    "response.completed",
    "response.output_item.done",
    "response.output_text.delta",
    "response.function_call_arguments.done",
    "custom_tool_call_output",
]
SHAPED = st.recursive(
    JSON | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), SHAPED, max_size=6)


ITEMS = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"])},
    optional={
        "content": SHAPED,
        "type": st.sampled_from(WORDS),
        "tool_calls": SHAPED,
        "call_id": SHAPED,
        "output": SHAPED,
        "tool_call_id": JSON,
    },
)


@settings(max_examples=200, deadline=None)
@given(st.lists(OBJECTS, max_size=4), st.sampled_from(sorted(DIALECTS)), st.booleans())
def test_no_answer_of_any_shape_raises(told: list[dict[str, Any]], name: str, stream: bool) -> None:
    bodies = [json.dumps(one).encode() for one in told]
    data = b"".join(b"data: " + body + b"\n\n" for body in bodies) if stream else b"".join(bodies[:1])
    answer = DIALECTS[name].answer(data, stream=stream)
    assert answer.run.output.encode() is not None
    assert all(call.arguments.encode() is not None for call in answer.run.tool_calls)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(RECORDINGS), st.integers(0, 5000), st.binary(max_size=6), st.integers(0, 5000))
def test_no_garbled_answer_raises(recording: Recording, at: int, garbage: bytes, cut: int) -> None:
    at = min(at, len(recording.data))
    data = (recording.data[:at] + garbage + recording.data[at + len(garbage) :])[: max(at, cut)]
    DIALECTS[recording.dialect].answer(data, stream=recording.stream).run.output.encode()


@settings(max_examples=200, deadline=None)
@given(OBJECTS, st.lists(ITEMS, max_size=4), st.sampled_from(sorted(DIALECTS)), st.integers(0, 3))
def test_a_body_of_any_shape_is_read_and_injected_or_bad_data(
    body: dict[str, Any], items: list[Any], name: str, at: int
) -> None:
    if items:
        body = {**body, "input" if name == "responses" else "messages": items}
    before = copy.deepcopy(body)
    try:
        asked = DIALECTS[name].read(body)
        made = DIALECTS[name].inject(body, injection(Anchor(at=at, text="recalled", turns=TURNS), blocks=(BASE,)))
    except BadData:
        return
    assert set(asked.anchors) <= set(range(len(asked.chain)))
    assert made is not body
    assert body == before


# ── errors ──────────────────────────────────────────────────────────────────────────────────

OPENAI = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    413: "APIStatusError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    502: "InternalServerError",
    503: "InternalServerError",
}
ANTHROPIC = {
    **OPENAI,
    413: "ContentTooLargeError",
    503: "ServiceUnavailableError",
    504: "GatewayTimeoutError",
    529: "OverloadedError",
}


@pytest.mark.parametrize("status", sorted(ANTHROPIC))
@pytest.mark.parametrize("name", DIALECTS)
def test_our_errors_raise_the_right_exception_of_the_official_client(name: str, status: int) -> None:
    body = DIALECTS[name].error("Slow down, \ud83d please.", status=status, kind="too_many")
    recording = Recording(file=f"{name}_own.json", heard=BY_FILE["chat_429.json"].heard, id="", status=status)
    raised: list[Any] = []

    def replay(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers={"content-type": "application/json"})

    with httpx2.Client(transport=httpx2.MockTransport(replay)) as http:
        client = (anthropic.Anthropic if name == "messages" else openai.OpenAI)(
            api_key="k", http_client=http, max_retries=0
        )
        try:
            {
                "chat": lambda: client.chat.completions.create(model="m", messages=[]),
                "responses": lambda: client.responses.create(model="m", input=""),
                "messages": lambda: client.messages.create(model="m", max_tokens=1, messages=[]),
            }[name]()
        except (openai.APIError, anthropic.APIError) as error:
            raised.append(error)
    assert recording.dialect == name
    assert type(raised[0]).__name__ == (ANTHROPIC if name == "messages" else OPENAI).get(status, "InternalServerError")
    assert "Slow down" in str(raised[0])
    if name == "messages":
        assert raised[0].error_code == "too_many"
        assert raised[0].type in {
            "invalid_request_error",
            "authentication_error",
            "permission_error",
            "not_found_error",
            "conflict_error",
            "request_too_large",
            "rate_limit_error",
            "api_error",
            "timeout_error",
            "overloaded_error",
        }
    else:
        assert raised[0].code == "too_many"
        assert raised[0].type


@pytest.mark.parametrize("name", DIALECTS)
def test_our_own_error_is_read_as_an_error_again(name: str) -> None:
    answer = DIALECTS[name].answer(DIALECTS[name].error("No.", status=503, kind="draining"), stream=False)
    assert answer.error.endswith(": No.")
    assert not answer.complete


# ── server-sent events ──────────────────────────────────────────────────────────────────────


def events(*chunks: bytes) -> list[Event]:
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.close()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"data: a\n\n", [Event("", b"a")]),
        (b"\xef\xbb\xbfdata: a\r\n\r\ndata: b\r\rdata: c\n\n", [Event("", b"a"), Event("", b"b"), Event("", b"c")]),
        (b"event: x\ndata: a\ndata:b\n\n", [Event("x", b"a\nb")]),
        (b": comment\nid: 3\nretry: 5\ndata:  a\n\n", [Event("", b" a")]),
        (b"event: x\n\ndata: a\n\n", [Event("", b"a")]),
        (b"data\n\n", [Event("", b"")]),
        (b"data: a", [Event("", b"a")]),
        (b"data: a\n", [Event("", b"a")]),
        (b"data: a\r", [Event("", b"a")]),
        (b"", []),
    ],
)
def test_events_are_those_of_the_standard_however_they_are_cut(data: bytes, expected: list[Event]) -> None:
    assert events(data) == expected
    assert events(*(data[at : at + 1] for at in range(len(data)))) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"data: a", b"data:", b"event: x", b": c", b"\n", b"\r", b"\r\n", b"\xc3", b"\xa9"]),
        max_size=14,
    ),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_how_a_stream_is_cut_changes_no_event(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert events(*chunks) == events(data)
