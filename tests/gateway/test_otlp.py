"""OTLP ingest: spans become episodes, evaluations become feedback, and sending again changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from starlette.applications import Starlette

from tests.world import World as Desk
from tokenspace.domain import Origin, Scope, Signal
from tokenspace.errors import StoreUnavailable
from tokenspace.gateway.keys import RIGHTS, KeyDoor, KeyRing, make_key
from tokenspace.gateway.otlp import Ingest, OtlpDoor, routes
from tokenspace.gateway.otlp_spans import Event, Span, episode_id, episode_of, evaluations, our_mark
from tokenspace.gateway.said import Listener
from tokenspace.gateway.wire import GatewaySettings

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AT_NS = int((NOW - timedelta(minutes=1)).timestamp()) * 10**9
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SCOPE = Scope(agent="desk", tenant="acme")
PROTOBUF, JSON = "application/x-protobuf", "application/json"

GENAI = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.conversation.id": "talk 1",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 3,
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
    "gen_ai.input.messages": json.dumps([
        {"role": "user", "parts": [{"type": "text", "content": "where is my parcel"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "look", "arguments": {"id": 7}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"at": "Bonn"}}]},
    ]),
    "gen_ai.output.messages": json.dumps([
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "Bonn"}]}
    ]),
}  # fmt: skip
OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "claude-x",
    "llm.token_count.prompt": 5,
    "llm.token_count.prompt_details.cache_read": 4,
    "session.id": "s1",
    "user.id": "alice",
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "Be kind.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.contents.0.message_content.type": "text",
    "llm.input_messages.1.message.contents.0.message_content.text": "which team",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "Kestrel",
    "llm.output_messages.0.message.tool_calls.0.tool_call.id": "t",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "route",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"team": 1}',
    "llm.tools.0.tool.json_schema": '{"name": "route"}',
}  # fmt: skip


def value_of(value) -> AnyValue:
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value", bytes: "bytes_value"}
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[value_of(one) for one in value]))
    return AnyValue(**{kinds[type(value)]: value})


def pairs(attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=value_of(value)) for key, value in attributes.items()]


def export(*spans: dict) -> ExportTraceServiceRequest:
    """An export of spans, each given by its attributes and, with a leading underscore, its fields."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add().scope_spans.add()
    for given in spans:
        span = group.spans.add(
            trace_id=bytes.fromhex(given.get("_trace", TRACE)), span_id=bytes.fromhex(given.get("_span", SPAN)),
            parent_span_id=bytes.fromhex(given.get("_parent", "")), start_time_unix_nano=AT_NS - 2 * 10**9,
            end_time_unix_nano=given.get("_end", AT_NS), name="chat",
            attributes=pairs({key: value for key, value in given.items() if key[0] != "_"}),
        )  # fmt: skip
        span.status.code = given.get("_status", 0)
        for name, attributes in given.get("_events", ()):
            span.events.add(name=name, time_unix_nano=AT_NS, attributes=pairs(attributes))
    return request


def as_json(request) -> bytes:
    """The message in OTLP's JSON, where ids are hexadecimal."""
    from base64 import b64decode

    def hexed(value):
        if isinstance(value, dict):
            return {
                key: b64decode(one).hex() if key in {"traceId", "spanId", "parentSpanId"} else hexed(one)
                for key, one in value.items()
            }
        return [hexed(one) for one in value] if isinstance(value, list) else value

    return json.dumps(hexed(MessageToDict(request))).encode()


class World:
    """A store with a key for acme, and the two endpoints."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.store = self.desk.store
        self.ring = KeyRing(self.store.admin, clock=lambda: NOW)
        parts = SimpleNamespace(runtime=self.desk.run, watch=self.desk.watch)
        self.listener = Listener(self.desk.store, lambda: parts)
        self.ingest = Ingest(self.store, self.listener, clock=lambda: NOW)
        door = KeyDoor(self.ring, GatewaySettings(agent="desk"))
        self.app = Starlette(routes=routes(OtlpDoor(door, self.ingest)))
        self.key, self.secret = make_key(self.store.admin, at=NOW, tenant="acme", rights=["feedback"])

    def post(self, body, *, kind=PROTOBUF, path="/v1/traces", headers=None, packed=False) -> httpx.Response:
        if not isinstance(body, bytes):
            body = body.SerializeToString() if kind == PROTOBUF else as_json(body)
        sent = {"authorization": f"Bearer {self.secret}", "content-type": kind, **(headers or {})}
        if packed:
            body, sent["content-encoding"] = gzip.compress(body), "gzip"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                return await client.post(path, content=body, headers=sent)

        return asyncio.run(send())

    def rejected(self, response: httpx.Response) -> int:
        assert response.status_code == 200, response.text
        return ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans


@pytest.fixture
def world():
    return World()


# ── episodes ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_a_genai_span_becomes_an_episode(world, kind, packed):
    answer = world.post(export(GENAI), kind=kind, packed=packed)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == kind
    assert answer.content == (b"" if kind == PROTOBUF else b"{}")
    (episode,) = world.store.episodes(SCOPE)
    assert [(one.role, one.text) for one in episode.request.messages] == [
        ("system", "Be brief."), ("user", "where is my parcel"), ("assistant", ""), ("tool", '{"at": "Bonn"}'),
    ]  # fmt: skip
    call, result = episode.request.messages[2].tool_calls[0], episode.request.messages[3]
    assert (call.name, call.arguments, result.tool_call_id) == ("look", '{"id": 7}', "c1")
    assert (episode.output, episode.run.model, episode.run.latency_s) == ("Bonn", "gpt-x", 2.0)
    assert (episode.run.usage.input_tokens, episode.run.usage.output_tokens) == (12, 3)
    assert (episode.session, episode.at) == ("talk 1", NOW - timedelta(minutes=1))
    assert episode.id == episode_id(TRACE, SPAN) == world.store.episode_of(SCOPE, "chatcmpl-1")


def test_an_openinference_span_becomes_an_episode_of_its_user(world):
    world.post(export(OPENINFERENCE))
    (episode,) = world.store.episodes(Scope(agent="desk", tenant="acme", user="alice"))
    assert [(one.role, one.text) for one in episode.request.messages] == [
        ("system", "Be kind."),
        ("user", "which team"),
    ]
    assert (episode.output, episode.session, episode.run.model) == ("Kestrel", "s1", "claude-x")
    assert episode.run.tool_calls[0].arguments == '{"team": 1}'
    assert episode.request.tools == ({"name": "route"},)
    assert episode.run.usage.cached_tokens == 4


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "chat", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "hi",
         "gen_ai.completion.0.content": "ho"},
        {"openinference.span.kind": "AGENT", "input.value": "hi", "output.value": "ho"},
    ],
)  # fmt: skip
def test_older_and_plainer_forms_are_read_too(world, attributes):
    world.post(export(attributes))
    (episode,) = world.store.episodes(SCOPE)
    assert (episode.request.query, episode.output) == ("hi", "ho")


def test_sending_again_changes_nothing(world):
    said = {**GENAI, "_events": [("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "x",
                                                               "gen_ai.evaluation.score.value": 0.5})]}  # fmt: skip
    for kind in (PROTOBUF, JSON, PROTOBUF):
        assert world.post(export(said), kind=kind).status_code == 200
    changed = {**said, "gen_ai.response.model": "another"}
    world.post(export(changed))
    assert len(world.store.episodes(SCOPE)) == 1 == len(world.store.feedback(SCOPE))
    assert world.store.episodes(SCOPE)[0].run.model == "gpt-x"


def test_a_span_that_failed_is_kept_with_its_error_and_without_an_answer(world):
    world.post(export({**GENAI, "_status": 2, "error.type": "timeout"}))
    (episode,) = world.store.episodes(SCOPE)
    assert (episode.run.error, episode.output) == ("timeout", "")
    assert episode.run.messages[0].text == "Bonn"


@pytest.mark.parametrize(
    "attributes",
    [
        {"http.method": "GET"},
        {"gen_ai.operation.name": "embeddings", "input.value": "a", "output.value": "b"},
        {"openinference.span.kind": "RETRIEVER", "input.value": "a", "output.value": "b"},
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "content was not captured"},
        {"gen_ai.operation.name": "chat", "gen_ai.input.messages": "no json", "output.value": "b"},
    ],
)
def test_other_spans_are_no_evidence(world, attributes):
    assert world.rejected(world.post(export(attributes))) == 0
    assert world.store.episodes(SCOPE) == []


@pytest.mark.parametrize(
    "mark",
    [
        {"http.response.header.x-tokenspace-episode": ["e" * 32]},
        {"http.response.header.x_tokenspace_episode": "e" * 32},
        {"tokenspace.episode": "e" * 32},
        {"http.request.header.x-tokenspace-agent": ["desk"]},
    ],
)
def test_i13_what_went_through_our_gateway_is_not_taken_again(world, mark):
    world.post(export({**GENAI, **mark}))
    assert world.store.episodes(SCOPE) == []


def test_i13_an_answer_that_the_gateway_noted_is_not_taken_again(world):
    known = world.desk.act("where is my parcel", scope=SCOPE)
    world.store.note_answer(SCOPE, "chatcmpl-1", known.id)
    said = {"gen_ai.evaluation.name": "correctness", "gen_ai.evaluation.score.label": "fail"}
    world.post(export({**GENAI, "_events": [("gen_ai.evaluation.result", said)]}))
    assert world.store.episodes(SCOPE) == [known]
    assert world.store.feedback(SCOPE)[0].episode == known.id


def test_secrets_are_not_kept(world):
    world.post(export({**GENAI, "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "sk-proj-abcdefghijklmnopqrstuvwx"}]}])}))  # fmt: skip
    assert "redacted" in world.store.episodes(SCOPE)[0].output


# ── feedback ────────────────────────────────────────────────────────────────────────────────


def said_of(attributes, **span):
    return list(evaluations(Span(trace=TRACE, id=SPAN, attributes=attributes, **span)))


@pytest.mark.parametrize(
    ("score", "label", "name", "signal", "value"),
    [
        (0.25, None, "correctness", Signal.SCORE, 0.25),
        (1, "pass", "correctness", Signal.LABEL, True),
        (0.0, "Incorrect", "correctness", Signal.LABEL, False),
        (None, "thumbs down", "user feedback", Signal.LABEL, False),
        (4, None, "stars", Signal.TEXT, "stars: 4 — because"),
        (0.9, None, "toxicity", Signal.TEXT, "toxicity: 0.9 — because"),
        (0.9, "factual", "style", Signal.TEXT, "style: factual 0.9 — because"),
        (None, None, "note", Signal.TEXT, "note: because"),
    ],
)
def test_a_score_means_what_its_label_and_name_say(score, label, name, signal, value):
    given = {"score": score, "label": label, "name": name, "explanation": "because"}
    (one,) = said_of({f"evaluations.0.evaluation.{key}": it for key, it in given.items() if it is not None})
    assert (one.signal, one.value) == (signal, value)
    assert one.comment == ("" if signal is Signal.TEXT else f"{name}: because")


def test_an_evaluation_without_content_says_nothing():
    assert said_of({"gen_ai.evaluation.name": "x"}) == [] == said_of({"annotations.0.annotation.name": "x"})


@pytest.mark.parametrize(
    ("judge", "source"), [("HUMAN", Origin.USER), ("LLM", Origin.AGENT), ("CODE", Origin.TOOL), ("x", Origin.TOOL)]
)
def test_i9_the_judge_decides_with_whose_authority_it_speaks_and_never_as_operator(judge, source):
    (one,) = said_of({"annotations.0.annotation.name": "x", "annotations.0.annotation.score": 1.0,
                      "annotations.0.annotation.annotator_kind": judge})  # fmt: skip
    assert one.source is source


def test_evaluations_find_their_run_wherever_they_stand(world):
    say = {"gen_ai.evaluation.name": "correctness", "gen_ai.evaluation.score.value": 0.5}
    spans = [
        {**say, "_span": "1" * 16, "_parent": SPAN},  # a span that is an evaluation, before the run itself
        {**say, "gen_ai.response.id": "chatcmpl-1", "_span": "2" * 16},
        {**GENAI, "_events": [("gen_ai.evaluation.result", say), ("other", say)],
         "evaluations.0.evaluation.name": "y", "evaluations.0.evaluation.label": "bad"},
    ]  # fmt: skip
    assert world.rejected(world.post(export(*spans))) == 0
    found = world.store.feedback(SCOPE)
    assert {one.episode for one in found} == {episode_id(TRACE, SPAN)}
    assert sorted(one.signal for one in found) == [Signal.LABEL, *[Signal.SCORE] * 3]
    assert {one.principal for one in found} == {f"key {world.key.id}"}


def test_who_evaluates_a_run_need_not_name_its_user(world):
    say = {"gen_ai.evaluation.name": "correctness", "gen_ai.evaluation.score.value": 0.5}
    spans = [{**OPENINFERENCE, "gen_ai.response.id": "msg_1"}, {**say, "_span": "1" * 16, "_parent": SPAN},
             {**say, "_span": "2" * 16, "gen_ai.response.id": "msg_1"}]  # fmt: skip
    assert world.rejected(world.post(export(*spans))) == 0
    assert len(world.store.feedback(Scope(agent="desk", tenant="acme", user="alice"))) == 2


def test_an_evaluation_in_a_log_record_finds_its_run(world):
    world.post(export(GENAI))
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add().scope_logs.add().log_records
    say = {"gen_ai.evaluation.name": "correctness", "gen_ai.evaluation.score.label": "fail"}
    records.add(trace_id=bytes.fromhex(TRACE), span_id=bytes.fromhex(SPAN), event_name="gen_ai.evaluation.result",
                time_unix_nano=AT_NS, attributes=pairs(say))  # fmt: skip
    records.add(time_unix_nano=AT_NS, attributes=pairs(
        {**say, "event.name": "gen_ai.evaluation.result", "gen_ai.response.id": "chatcmpl-1"}))  # fmt: skip
    records.add(time_unix_nano=AT_NS, attributes=pairs(say))
    for kind in (PROTOBUF, JSON):
        assert world.post(logs, kind=kind, path="/v1/logs").status_code == 200
    assert [(one.episode, one.value) for one in world.store.feedback(SCOPE)] == [(episode_id(TRACE, SPAN), False)] * 2
    records.add(event_name="gen_ai.evaluation.result", trace_id=b"\1" * 16, span_id=b"\1" * 8, attributes=pairs(say))
    answer = ExportLogsServiceResponse.FromString(world.post(logs, path="/v1/logs").content)
    assert answer.partial_success.rejected_log_records == 1


def test_what_cannot_be_kept_is_said_and_the_rest_is_kept(world):
    say = {"gen_ai.evaluation.name": "x", "gen_ai.evaluation.score.value": 0.5, "gen_ai.response.id": "unknown"}
    request = export(GENAI, {**say, "_span": "1" * 16}, {**GENAI, "_trace": "0" * 32})
    told = json.loads(world.post(request, kind=JSON).content)
    assert told["partialSuccess"]["rejectedSpans"] == "2"
    assert told["partialSuccess"]["errorMessage"]
    assert len(world.store.episodes(SCOPE)) == 1


# ── the door ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_i8_without_a_key_that_may_give_feedback_nothing_is_taken(world, path):
    body = export(GENAI)
    assert world.post(body, path=path, headers={"authorization": ""}).status_code == 401
    for right in set(RIGHTS) - {"feedback"}:
        _, secret = make_key(world.store.admin, at=NOW, tenant="acme", rights=[right])
        assert world.post(body, path=path, headers={"authorization": f"Bearer {secret}"}).status_code == 403
    assert world.store.admin.scopes() == []


def test_i8_a_tenant_cannot_speak_about_anothers_runs(world):
    world.post(export(GENAI))
    _, other = make_key(world.store.admin, at=NOW, tenant="globex", rights=["feedback"])
    say = {"gen_ai.evaluation.name": "x", "gen_ai.evaluation.score.value": 0.5, "gen_ai.response.id": "chatcmpl-1"}
    answer = world.post(export({**say, "_span": "1" * 16, "_parent": SPAN}, {**say, "_span": "2" * 16}),
                        headers={"authorization": f"Bearer {other}"})  # fmt: skip
    assert world.rejected(answer) == 2
    assert world.store.feedback(SCOPE) == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"\xff\xff", PROTOBUF, 400), (b"{", JSON, 400), (b"[]", JSON, 400), (b"{}", "text/plain", 400),
        (b'{"resourceSpans": 1}', JSON, 400), (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "x"}]}]}]}', JSON, 400),
        (b"[" * 2_000, JSON, 400), (b'{"a":' * 200 + b"1" + b"}" * 200, JSON, 400), (b"", PROTOBUF, 200), (b"{}", JSON, 200),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_garbage_is_a_client_error(world, body, kind, status, path):
    if path == "/v1/logs":
        body = body.replace(b"Spans", b"Logs").replace(b"spans", b"logRecords")
    assert world.post(body, kind=kind, path=path).status_code == status


def test_a_body_that_does_not_unpack_is_refused(world):
    assert world.post(b"no gzip", headers={"content-encoding": "gzip"}).status_code == 413
    assert world.post(b"", headers={"content-length": "16000001"}).status_code == 413


def test_a_database_that_is_gone_lets_the_exporter_come_again(world, monkeypatch):
    def gone(_episode):
        raise StoreUnavailable("unplugged", hint="plug it in")

    monkeypatch.setattr(world.store, "record", gone)
    assert world.post(export(GENAI)).status_code == 503
    monkeypatch.undo()
    assert world.post(export(GENAI)).status_code == 200
    assert len(world.store.episodes(SCOPE)) == 1


@pytest.mark.parametrize("at_ns", [0, 2**63, int((NOW + timedelta(days=9)).timestamp()) * 10**9])
def test_an_impossible_time_is_now(at_ns):
    span = Span(trace=TRACE, id=SPAN, end_ns=at_ns, attributes={
        "openinference.span.kind": "LLM", "input.value": "a", "output.value": "b", "gen_ai.usage.input_tokens": float("nan"),
        "llm.token_count.completion": -4})  # fmt: skip
    episode = episode_of(span, SCOPE, now=NOW)
    assert episode is not None
    assert (episode.at, episode.run.usage.input_tokens, episode.run.usage.output_tokens) == (NOW, 0, 0)


def test_marks_are_seen_in_every_form():
    assert our_mark(Span(trace=TRACE, id=SPAN, attributes={"a": 1})) == ""
    assert our_mark(Span(trace=TRACE, id=SPAN, attributes={"X-Tokenspace-Session": []})) == "marked"
    assert list(evaluations(Span(trace=TRACE, id=SPAN, events=(Event(name="x"),)))) == []
