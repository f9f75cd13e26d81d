"""AnthropicModel over real HTTP on loopback."""

from __future__ import annotations

import pytest

from tokenspace.budget import Budget
from tokenspace.domain import Message, Prompt, ToolCall
from tokenspace.errors import AuthFailed, BadCompletion, BudgetExceeded, ModelUnavailable, RateLimited, Refused
from tokenspace.models.anthropic import AnthropicModel


def message(*content, stop="end_turn", **usage):
    used = {"input_tokens": 10, "output_tokens": 5, **usage}
    return {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "content": list(content),
        "stop_reason": stop,
        "usage": used,
    }


def text(said):
    return {"type": "text", "text": said}


def used(name, told):
    return {"type": "tool_use", "id": "u1", "name": name, "input": told}


def failure(kind):
    return {"type": "error", "error": {"type": kind, "message": "no"}}


async def no_nap(seconds):
    del seconds


def model_at(fake, **options):
    return AnthropicModel("claude-x", api_key="sk-ant", base_url=fake.url, sleep=no_nap, **options)


def test_sends_a_message_and_reads_text_usage_and_cost_with_the_cache(serve, prompt, ask, priced):
    fake = serve(message(text("On its "), text("way."), cache_read_input_tokens=100, cache_creation_input_tokens=20))
    budget = Budget(calls=1)
    run = ask(model_at(fake, profile=priced), prompt("Hi", ("a", "b ")), budget)
    assert run.output == "On its way."
    assert (run.usage.input_tokens, run.usage.cached_tokens, run.usage.output_tokens) == (130, 100, 5)
    assert run.usage.usd == pytest.approx((10 * 1 + 20 * 1.25 + 100 * 0.1 + 5 * 10) / 1e6)
    assert budget.usage == run.usage
    sent, headers = fake.requests[0], fake.headers[0]
    assert fake.paths == ["/v1/messages"]
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("sk-ant", "2023-06-01")
    assert "temperature" not in sent
    assert sent["system"] == [text("Name the team.")]
    assert sent["max_tokens"] == 64
    assert sent["messages"] == [
        {"role": "user", "content": [text("a")]},
        {"role": "assistant", "content": [text("b")]},
        {"role": "user", "content": [text("Hi")]},
    ]


def test_choices_are_a_forced_tool_call(serve, prompt, ask):
    fake = serve(message(used("answer", {"answer": "ötter"}), stop="tool_use"))
    run = ask(model_at(fake), prompt(choices=("heron", "ötter")))
    assert (run.output, run.tool_calls) == ("ötter", ())
    sent = fake.requests[0]
    assert sent["tool_choice"] == {"type": "tool", "name": "answer"}
    assert sent["tools"][-1]["input_schema"]["properties"]["answer"]["enum"] == ["heron", "ötter"]


@pytest.mark.parametrize("told", [{"answer": "wolf"}, {"answer": 1}, {}, [], {"other": "heron"}])
def test_a_forced_call_without_a_choice_is_a_bad_completion(serve, prompt, ask, told):
    with pytest.raises(BadCompletion):
        ask(model_at(serve(message(used("answer", told), stop="tool_use"))), prompt(choices=("heron",)))


@pytest.mark.parametrize(
    ("schema", "told", "expected"),
    [
        ({"type": "object", "properties": {"n": {}}}, {"n": 1}, '{"n": 1}'),
        ({"type": "array"}, {"answer": [1, 2]}, "[1, 2]"),
    ],
)
def test_a_schema_is_the_forced_tools_input(serve, prompt, ask, schema, told, expected):
    assert ask(model_at(serve(message(used("answer", told)))), prompt(schema=schema)).output == expected


def test_tools_and_tool_turns_are_translated_both_ways(serve, ask):
    fake = serve(message(used("look", {"id": 1}), stop="tool_use"))
    turns = (
        Message(role="user", text=" "),
        Message(role="assistant", text="", tool_calls=(ToolCall(id="t0", name="look", arguments="not json"),)),
        Message(role="tool", text="found", tool_call_id="t0"),
        Message(role="developer", text="Be brief."),
    )
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    run = ask(model_at(fake), Prompt(system="", messages=turns, tools=(tool,)))
    assert run.tool_calls == (ToolCall(id="u1", name="look", arguments='{"id": 1}'),)
    sent = fake.requests[0]
    assert sent["system"] == [text("Be brief.")]
    assert sent["tools"] == [{"name": "look", "description": "", "input_schema": {"type": "object"}}]
    assert sent["messages"] == [
        {"role": "user", "content": [text("(empty)")]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t0", "name": "look", "input": {"arguments": "not json"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t0", "content": "found"}]},
    ]


def test_results_of_calls_made_together_go_back_in_one_message(serve, ask):
    fake = serve(message(text("done")))
    calls = tuple(ToolCall(id=f"t{n}", name="look", arguments=f'{{"id": {n}}}') for n in range(2))
    turns = (
        Message(role="user", text="look twice"),
        Message(role="assistant", text="Looking.", tool_calls=calls),
        Message(role="tool", text="found", tool_call_id="t0"),
        Message(role="tool", text="error: gone", tool_call_id="t1"),
    )
    flat = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    ask(model_at(fake), Prompt(system="", messages=turns, tools=(flat,), cache_breakpoints=(4,)))
    sent = fake.requests[0]
    assert sent["tools"] == [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}]
    assert sent["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                text("Looking."),
                {"type": "tool_use", "id": "t0", "name": "look", "input": {"id": 0}},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"id": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t0", "content": "found"},
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": "error: gone",
                    "cache_control": {"type": "ephemeral"},
                },
            ],
        },
    ]


def test_with_choices_its_tools_can_still_be_called(serve, prompt, ask):
    tool = {"name": "look", "input_schema": {"type": "object"}}
    fake = serve(
        message(used("look", {"id": 1}), stop="tool_use"), message(used("answer", {"answer": "heron"}), stop="tool_use")
    )
    asked = prompt(choices=("heron",), tools=(tool,))
    run = ask(model_at(fake), asked)
    assert (run.output, run.tool_calls) == ("", (ToolCall(id="u1", name="look", arguments='{"id": 1}'),))
    assert ask(model_at(fake), asked).output == "heron"
    assert fake.requests[0]["tool_choice"] == {"type": "any"}
    assert [one["name"] for one in fake.requests[0]["tools"]] == ["look", "answer"]


def test_the_last_four_cache_breakpoints_are_marked(serve, prompt, ask):
    fake = serve(message(text("x")))
    asked = prompt("q", ("a", "1"), ("b", "2"), cache_breakpoints=(0, 1, 2, 3, 4))
    ask(model_at(fake), asked)
    sent = fake.requests[0]
    assert "cache_control" not in sent["system"][0]
    assert ["cache_control" in turn["content"][-1] for turn in sent["messages"]] == [True] * 4 + [False]
    ask(model_at(fake), prompt("q", cache_breakpoints=(0,)))
    assert fake.requests[1]["system"][0]["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (401, "authentication_error", AuthFailed),
        (403, "permission_error", AuthFailed),
        (429, "rate_limit_error", RateLimited),
        (500, "api_error", ModelUnavailable),
        (529, "overloaded_error", ModelUnavailable),
    ],
)
def test_every_status_is_a_typed_error(serve, reply, prompt, ask, status, kind, error):
    with pytest.raises(error, match=kind) as caught:
        ask(model_at(serve(reply(failure(kind), status=status))), prompt())
    assert caught.value.hint
    assert "sk-ant" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (message(text("I will not"), stop="refusal"), Refused),
        (message(text("The"), stop="max_tokens"), BadCompletion),
        (message(text("The"), stop="model_context_window_exceeded"), BadCompletion),
        (message(), BadCompletion),
        ({"content": "text"}, BadCompletion),
        ({}, BadCompletion),
        (b"garbage", BadCompletion),
    ],
)
def test_an_unusable_answer_is_refused_or_a_bad_completion(serve, reply, prompt, ask, body, error):
    with pytest.raises(error) as caught:
        ask(model_at(serve(reply(body))), prompt())
    assert caught.value.hint


def test_i12_nothing_is_sent_that_the_budget_cannot_pay(serve, prompt, ask, priced):
    fake = serve(message(text("x")))
    asked = prompt(tokens=100, max_output_tokens=50, cache_breakpoints=(0,))
    with pytest.raises(BudgetExceeded):  # writing to the cache is dearer than plain input
        ask(model_at(fake, profile=priced), asked, Budget(usd=(100 + 500 + 1) / 1e6))
    assert fake.requests == []
