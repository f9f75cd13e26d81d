"""OpenAIModel over real HTTP on loopback: the exact protocol, every typed error, and the budget."""

from __future__ import annotations

import asyncio
import json
import socket
import threading

import pytest

from tokenspace.budget import Budget
from tokenspace.domain import Message, ToolCall
from tokenspace.errors import (
    AuthFailed,
    BadCompletion,
    BudgetExceeded,
    ModelError,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    Refused,
    UsageError,
)
from tokenspace.models.openai import OpenAIModel

CHOICES = ("heron", 'the "other" one', "ötter")


def completion(content, *, finish="stop", usage=True, **message):
    used = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 40}}
    return {
        "id": "c1",
        "object": "chat.completion",
        "model": "m-2025",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
        ],
        **({"usage": used} if usage else {}),
    }


def failure(message, type="invalid_request_error", code=None):
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


class Naps:
    """A sleep that only remembers for how long it was asked to wait."""

    def __init__(self):
        self.taken = []

    async def __call__(self, seconds):
        self.taken.append(seconds)


def model_at(fake, **options):
    return OpenAIModel("m", base_url=fake.url + "/v1", **{"sleep": Naps(), "api_key": "sk-secret", **options})


def test_sends_a_chat_completion_and_reads_text_usage_and_cost(serve, prompt, ask, priced):
    fake = serve(completion("  It is on its way. "))
    budget = Budget(calls=1)
    run = ask(model_at(fake, profile=priced), prompt("Hi", ("a", "b")), budget, seed=3)
    assert run.output == "  It is on its way. "
    assert (run.usage.input_tokens, run.usage.output_tokens, run.usage.cached_tokens) == (100, 7, 40)
    assert run.usage.usd == pytest.approx((60 * 1 + 40 * 0.1 + 7 * 10) / 1e6)
    assert budget.usage == run.usage
    sent = fake.requests[0]
    assert fake.paths == ["/v1/chat/completions"]
    assert fake.headers[0]["authorization"] == "Bearer sk-secret"
    assert sent["messages"] == [
        {"role": "system", "content": "Name the team."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "Hi"},
    ]
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["seed"]) == ("m", 64, 0, 3)


def test_choices_are_a_strict_enumeration_and_the_answer_is_unwrapped(serve, prompt, ask):
    fake = serve(completion(json.dumps({"answer": CHOICES[1]})))
    assert ask(model_at(fake), prompt(choices=CHOICES)).output == CHOICES[1]
    wanted = fake.requests[0]["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["strict"] is True
    assert wanted["json_schema"]["schema"]["properties"]["answer"]["enum"] == list(CHOICES)


def test_a_server_without_schemas_is_told_the_choices_in_words_from_then_on(serve, reply, prompt, ask):
    fake = serve(reply(failure("response_format is not supported"), status=400), completion(" ötter\n"))
    model, budget = model_at(fake), Budget(calls=10)
    assert ask(model, prompt(choices=CHOICES), budget).output == "ötter"
    assert ask(model, prompt(choices=CHOICES), budget).output == "ötter"
    assert ["response_format" in sent for sent in fake.requests] == [True, False, False]
    assert "ötter" in fake.requests[1]["messages"][0]["content"]
    assert budget.left("calls") == 7


@pytest.mark.parametrize(
    "content", ["wolf", '{"answer": "wolf"}', '{"answer": 3}', '{"other": "heron"}', '{"answer": "her']
)
def test_an_answer_outside_the_choices_is_a_bad_completion(serve, prompt, ask, content):
    with pytest.raises(BadCompletion) as caught:
        ask(model_at(serve(completion(content))), prompt(choices=CHOICES))
    assert caught.value.hint


def test_a_schema_is_passed_on_and_an_answer_that_is_not_json_is_a_bad_completion(serve, prompt, ask):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    fake = serve(completion('{"n": 4}'), completion("four"))
    model = model_at(fake)
    assert json.loads(ask(model, prompt(schema=schema)).output) == {"n": 4}
    assert fake.requests[0]["response_format"]["json_schema"]["schema"] == schema
    with pytest.raises(BadCompletion):
        ask(model, prompt(schema=schema))


def test_tools_and_tool_turns_are_sent_and_tool_calls_read(serve, prompt, ask):
    call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"id": 1}'}}
    fake = serve(completion(None, tool_calls=[call], finish="tool_calls"))
    tool = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
    asked = prompt(tools=(tool,))
    turns = (
        Message(role="assistant", text="", tool_calls=(ToolCall(id="t0", name="look", arguments="{}"),)),
        Message(role="tool", text="found", tool_call_id="t0"),
    )
    asked = type(asked)(system="", messages=(*turns, *asked.messages), tools=asked.tools)
    run = ask(model_at(fake), asked)
    assert run.tool_calls == (ToolCall(id="t1", name="look", arguments='{"id": 1}'),)
    sent = fake.requests[0]
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
    ]
    assert sent["messages"][0]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{}"}
    assert sent["messages"][1] == {"role": "tool", "content": "found", "tool_call_id": "t0"}


def test_flat_tools_are_wrapped_and_arguments_that_come_as_an_object_are_text(serve, prompt, ask):
    calls = [
        {"id": f"t{n}", "function": {"name": "look", "arguments": told}} for n, told in enumerate(({"id": "é"}, None))
    ]
    fake = serve(completion("", tool_calls=calls, finish="tool_calls"))
    run = ask(model_at(fake), prompt(tools=({"name": "look", "parameters": {"type": "object"}},), choices=CHOICES))
    assert [call.arguments for call in run.tool_calls] == ['{"id": "é"}', "{}"]
    assert fake.requests[0]["tools"] == [
        {"type": "function", "function": {"name": "look", "description": "", "parameters": {"type": "object"}}}
    ]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, failure("Incorrect API key provided"), AuthFailed),
        (402, failure("no credit"), AuthFailed),
        (403, failure("not allowed"), AuthFailed),
        (404, failure("The model `m` does not exist", code="model_not_found"), ModelError),
        (408, b"", ModelTimeout),
        (429, failure("slow down", "rate_limit_error"), RateLimited),
        (400, failure("declined", code="content_filter"), Refused),
        (400, failure("maximum context length"), ModelError),
        (302, b"", ModelError),
        (500, b"<html>oops</html>", ModelUnavailable),
        (503, {"error": "loading"}, ModelUnavailable),
        (529, [], ModelUnavailable),
    ],
)
def test_every_status_is_a_typed_error_with_a_hint_and_without_the_key(serve, reply, prompt, ask, status, body, error):
    fake = serve(reply(body, status=status))
    with pytest.raises(error) as caught:
        ask(model_at(fake, attempts=1), prompt())
    assert caught.value.hint
    assert "sk-secret" not in f"{caught.value} {caught.value.hint}"
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (completion(""), BadCompletion),
        (completion(None), BadCompletion),
        (completion("The sky", finish="length"), BadCompletion),
        (completion(None, refusal="I cannot help"), Refused),
        (completion("", finish="content_filter"), Refused),
        (completion([{"type": "text", "text": "x"}]), BadCompletion),
        (completion("x", tool_calls=[{"nonsense": 1}]), BadCompletion),
        ({"choices": []}, BadCompletion),
        ({"choices": [{}]}, BadCompletion),
        ({}, BadCompletion),
        ([], BadCompletion),
        (b"\x00\xff garbage", BadCompletion),
        (b"", BadCompletion),
        (b'{"choices": [{"mess', BadCompletion),
    ],
)
def test_an_unusable_answer_is_refused_or_a_bad_completion(serve, reply, prompt, ask, body, error):
    with pytest.raises(error) as caught:
        ask(model_at(serve(reply(body))), prompt())
    assert caught.value.hint
    assert not caught.value.retryable


def test_a_connection_that_breaks_off_is_tried_again(serve, reply, prompt, ask):
    fake = serve(reply(completion("no"), cut=20), completion("yes"))
    assert ask(model_at(fake), prompt()).output == "yes"
    assert len(fake.requests) == 2


def test_nobody_listening_is_unavailable_and_costs_a_call_but_no_tokens(prompt, ask):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    budget = Budget(calls=5, tokens=10_000)
    with pytest.raises(ModelUnavailable, match="does not answer"):
        ask(OpenAIModel("m", base_url=f"http://127.0.0.1:{port}/v1", sleep=Naps()), prompt(), budget)
    assert (budget.left("calls"), budget.left("tokens")) == (3, 10_000)


def test_a_slow_answer_is_a_timeout_and_keeps_its_reservation(serve, reply, prompt, ask):
    fake = serve(reply(completion("late"), hold=threading.Event()))
    budget = Budget(tokens=1_000)
    asked = prompt(tokens=100, max_output_tokens=50)
    with pytest.raises(ModelTimeout):
        ask(model_at(fake, timeout_s=0.2, attempts=1), asked, budget)
    assert budget.left("tokens") == 850


def test_retries_only_what_may_succeed_and_waits_as_it_is_told(serve, reply, prompt, ask):
    naps = Naps()
    fake = serve(
        reply(failure("slow"), status=429, headers={"retry-after": "7"}),
        reply(failure("oops"), status=502),
        completion("ok"),
    )
    assert ask(model_at(fake, attempts=3, sleep=naps), prompt()).output == "ok"
    assert naps.taken == [7.0, 1.0]


@pytest.mark.parametrize(("header", "expected"), [("3600", 3600.0), ("soon", None), ("-1", None), ("nan", None)])
def test_retry_after_is_reported_and_one_too_long_is_not_waited_for(serve, reply, prompt, ask, header, expected):
    fake = serve(reply(failure("slow"), status=429, headers={"retry-after": header}))
    with pytest.raises(RateLimited) as caught:
        ask(model_at(fake), prompt())
    assert caught.value.retry_after_s == expected
    assert len(fake.requests) == (1 if expected else 2)


def test_i12_nothing_is_sent_that_the_budget_cannot_pay(serve, prompt, ask, priced):
    fake = serve(completion("x"))
    model, asked = model_at(fake, profile=priced), prompt(tokens=100, max_output_tokens=50)
    for short in (Budget(calls=0), Budget(tokens=149), Budget(usd=(100 + 500 - 1) / 1e6)):
        with pytest.raises(BudgetExceeded):
            ask(model, asked, short)
    assert fake.requests == []
    assert ask(model, asked, Budget(calls=1, tokens=150, usd=600.1 / 1e6)).output == "x"


def test_i12_every_attempt_reserves_its_own(serve, reply, prompt, ask):
    fake = serve(reply(b"", status=500))
    budget = Budget(tokens=200)
    with pytest.raises(BudgetExceeded):
        ask(model_at(fake, attempts=5), prompt(tokens=100, max_output_tokens=50), budget)
    assert len(fake.requests) == 1
    assert budget.left("tokens") == 50


def test_i12_concurrent_calls_never_exceed_the_budget(serve, prompt):
    fake = serve(completion("x"))
    model, budget = model_at(fake), Budget(calls=5, tokens=700)

    async def storm():
        asked = prompt(tokens=90, max_output_tokens=10)
        return await asyncio.gather(*(model.complete(asked, budget=budget) for _ in range(12)), return_exceptions=True)

    results = asyncio.run(storm())
    assert sum(isinstance(one, BudgetExceeded) for one in results) == 7
    assert len(fake.requests) == 5
    assert budget.left("tokens") == 700 - 5 * 107


def test_usage_that_is_missing_keeps_the_reservation(serve, prompt, ask):
    budget = Budget(tokens=1_000)
    run = ask(model_at(serve(completion("x", usage=False))), prompt(tokens=100, max_output_tokens=50), budget)
    assert run.usage.calls == 1
    assert budget.left("tokens") == 850


def test_one_model_serves_several_event_loops(serve, prompt, ask):
    model = model_at(serve(completion("x")))
    assert [ask(model, prompt()).output for _ in range(3)] == ["x"] * 3


def test_proxies_of_the_environment_are_not_used(serve, prompt, ask, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(model_at(serve(completion("x"))), prompt()).output == "x"


@pytest.mark.parametrize("url", ["", "localhost:1", "ftp://x", "http://", "http://user:pw@host/v1"])
def test_a_base_url_that_cannot_be_one_is_refused(url):
    with pytest.raises(UsageError):
        OpenAIModel("m", base_url=url)


def test_the_key_is_in_no_representation():
    model = OpenAIModel("m", api_key="sk-secret")
    assert "sk-secret" not in f"{model!r} {vars(model)!r}"


def test_lone_surrogates_and_nul_bytes_are_sent_without_crashing(serve, prompt, ask):
    assert ask(model_at(serve(completion("x"))), prompt("a\ud800b\x00c")).output == "x"
