"""`tokenspace.wrap`: the official clients learn in the caller's process, and notice nothing else."""

from __future__ import annotations

import asyncio
import gc
import gzip
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import tokenspace
from tests.gateway.provider import Answer, Provider
from tests.gateway.recordings import RECORDINGS, Recording, heard
from tokenspace.domain import Put, Scope, Signal
from tokenspace.errors import BadData, NotFound, StoreUnavailable, UsageError
from tokenspace.gateway import record
from tokenspace.gateway.inprocess import dialect_of
from tokenspace.recall import HashEmbedder
from tokenspace.store import open_store
from tokenspace.testing.samples import USER, commit, rule

LESSON = "Say please."
OPENAI_2 = Path(os.environ.get("TOKENSPACE_OPENAI_2", "/nowhere"))
ASKED = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "Where is my parcel?"}]},
    "responses": {"model": "m", "input": "Where is my parcel?"},
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Where is my parcel?"}]},
}
PATHS = {"chat": "/chat/completions", "responses": "/responses", "messages": "/v1/messages"}


def http_of(sdk: Any) -> Any:
    """The HTTP library that an SDK is built on: httpx2, or httpx for the older ones."""
    names = [one.__module__.partition(".")[0] for one in sdk.DefaultHttpxClient.__mro__]
    return importlib.import_module(next(name for name in names if name.startswith("httpx")))


def pieces(http: Any, data: bytes, breaks: bool = False) -> Any:
    """A body that comes in pieces, for both kinds of clients, and that breaks off if it is to."""

    class Pieces(http.SyncByteStream, http.AsyncByteStream):
        closed = False

        def __iter__(self):
            yield from (data[at : at + 50] for at in range(0, len(data), 50))
            if breaks:
                raise http.ReadError("the connection broke")

        async def __aiter__(self):
            for piece in self:
                yield piece

        def close(self):
            self.closed = True

        async def aclose(self):
            self.closed = True

    return Pieces()


class Mock:
    """A provider in memory. `answer` makes an answer of `http` for a request; `asked` are the requests that came."""

    def __init__(self, sdk: Any = openai) -> None:
        self.http = http_of(sdk)
        self.asked: list[Any] = []
        self.answer: Callable[[Any], Any] = self.chat
        self.transport = self.http.MockTransport(self._handle)

    def _handle(self, request: Any) -> Any:
        self.asked.append(request)
        return self.answer(request)

    def chat(self, _: Any = None, **more: Any) -> Any:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Basalt"}}
        body = {"id": f"chatcmpl-{len(self.asked)}", "object": "chat.completion", "created": 1, "model": "m"}
        return self.http.Response(**{"status_code": 200, "json": {**body, "choices": [choice]}, **more})

    def replay(self, recording: Recording, **more: Any) -> None:
        headers = {"content-type": recording.content_type, "x-request-id": "req_1"}
        self.answer = lambda _: self.http.Response(
            recording.status, headers=headers, stream=pieces(self.http, recording.data), **more
        )

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.asked]

    def client(self, kind: type = openai.OpenAI, **more: Any) -> Any:
        http = self.http.AsyncClient if "Async" in kind.__name__ else self.http.Client
        return kind(api_key="k", max_retries=0, http_client=http(transport=self.transport, **more))


@pytest.fixture
def store():
    made = open_store("memory:")
    yield made
    made.close()


@pytest.fixture
def wrapped(store, monkeypatch):
    """`wrap` with a long deadline, on a noisy machine, and vectors that need no loading; closed afterwards."""
    monkeypatch.setattr("tokenspace.recall.default_embedder", HashEmbedder)
    made: list[Any] = []

    def wrap(client: Any, **more: Any) -> Any:
        given = {"agent": "desk", "tenant": "acme", "user": "alice", "store": store, "deadline_s": 20.0}
        made.append(tokenspace.wrap(client, **{**given, **more}))
        return made[-1]

    yield wrap
    for client in made:
        client._client._transport.learning.close()


def ask(client: Any, text: str = "Where is my parcel?", **more: Any) -> Any:
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **more)


def eventually(check: Callable[[], object], timeout_s: float = 20.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)
    return found


def episodes(client: Any, store: Any, scope: Scope = USER) -> list[Any]:
    """What is recorded, once everything is."""
    recorder = client._client._transport.learning._rooms.recorder
    eventually(lambda: not recorder.stats().queued)
    return store.episodes(scope)


# ── nothing else is noticed ─────────────────────────────────────────────────────────────────


def kind_of(recording: Recording, asynchronous: bool) -> type:
    if recording.dialect == "messages":
        return anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
    return openai.AsyncOpenAI if asynchronous else openai.OpenAI


def sdk_of(recording: Recording) -> Any:
    return anthropic if recording.dialect == "messages" else openai


def created(client: Any, recording: Recording) -> Any:
    made = {"chat": lambda: client.chat.completions, "responses": lambda: client.responses}
    place = made.get(recording.dialect, lambda: client.messages)()
    return place.create(**ASKED[recording.dialect], stream=recording.stream)


def objects(client: Any, recording: Recording) -> list[Any]:
    """Everything that a client makes of an answer, the exception included."""
    found: list[Any] = []
    try:
        answer = created(client, recording)
        found += [one.model_dump() for one in answer] if recording.stream else [answer.model_dump()]
    except Exception as error:  # noqa: BLE001 (whatever it is, is what is compared)
        found.append((type(error), str(error)))
    return found


async def objects_async(client: Any, recording: Recording) -> list[Any]:
    found: list[Any] = []
    try:
        answer = await created(client, recording)
        found += [one.model_dump() async for one in answer] if recording.stream else [answer.model_dump()]
    except Exception as error:  # noqa: BLE001 (whatever it is, is what is compared)
        found.append((type(error), str(error)))
    return found


def raw(client: Any, recording: Recording) -> Any:
    http = http_of(sdk_of(recording))
    return client.post(PATHS[recording.dialect], cast_to=http.Response, body=ASKED[recording.dialect])


def bytes_of(answer: Callable[[], Any]) -> tuple[int, bytes, dict[str, str]]:
    try:
        response = answer()
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        response = error.response
    return response.status_code, response.content, dict(response.headers)


def check_recorded(recording: Recording, episode: Any) -> None:
    whole = recording.complete and recording.status < 300
    assert bool(episode.run.error) != whole
    assert episode.request.messages[-1].text == "Where is my parcel?"
    if whole:
        assert episode.output == recording.heard.text
        usage = episode.run.usage
        assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == recording.tokens


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda one: one.file)
def test_i13_a_synchronous_client_hears_the_same_objects_and_bytes_and_the_episode_is_recorded(
    recording, store, wrapped
):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock(sdk_of(recording))
    mock.replay(recording)
    client = mock.client(kind_of(recording, asynchronous=False))
    learning = wrapped(client)
    assert objects(learning, recording) == objects(client, recording)
    assert heard(recording, learning) == heard(recording, client)
    assert bytes_of(lambda: raw(learning, recording)) == bytes_of(lambda: raw(client, recording))
    assert LESSON in mock.asked[0].content.decode()
    assert LESSON not in mock.asked[1].content.decode()
    first = episodes(learning, store)[-1]
    assert len(episodes(learning, store)) == 3
    check_recorded(recording, first)
    assert LESSON not in str(first.request)
    if recording.id:
        assert store.episode_of(USER, recording.id)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda one: one.file)
def test_an_asynchronous_client_hears_the_same_objects_and_bytes_and_the_episode_is_recorded(recording, store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock(sdk_of(recording))
    mock.replay(recording)
    client = mock.client(kind_of(recording, asynchronous=True))
    learning = wrapped(client)

    async def main() -> None:
        assert await objects_async(learning, recording) == await objects_async(client, recording)
        told = []
        for one in (learning, client):
            try:
                response = await raw(one, recording)
            except (openai.APIStatusError, anthropic.APIStatusError) as error:
                response = error.response
            told.append((response.status_code, response.content, dict(response.headers)))
        assert told[0] == told[1]

    asyncio.run(main())
    assert LESSON in mock.asked[0].content.decode()
    check_recorded(recording, episodes(learning, store)[-1])


def test_the_helpers_of_the_clients_for_streams_work_as_before(store, wrapped):
    found = {one.file: one for one in RECORDINGS}
    mock, other = Mock(openai), Mock(anthropic)
    mock.replay(found["chat_tools.sse"])
    other.replay(found["messages_thinking.sse"])
    plain, claude = mock.client(), other.client(anthropic.Anthropic)
    told = []
    for client in (plain, wrapped(plain)):
        with client.chat.completions.stream(**ASKED["chat"]) as stream:
            told.append(stream.get_final_completion().model_dump())
    for client in (claude, wrapped(claude)):
        with client.messages.stream(**ASKED["messages"]) as stream:
            told.append(stream.get_final_message().model_dump())
    assert told[0] == told[1]
    assert told[2] == told[3]


def test_what_is_not_a_conversation_goes_through_as_the_very_same_request(store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock()
    mock.answer = lambda _: mock.http.Response(200, json={"object": "list", "data": []})
    client = mock.client()
    learning = wrapped(client)
    for one in (client, learning):
        one.models.list()
        one.embeddings.create(model="m", input="hi", encoding_format="float")
        one.post("/threads/t1/messages", cast_to=object, body={"role": "user", "content": "hi"})
        one.post("/chat/completions", cast_to=object, body={"no": "messages"})
    plain, ours = mock.asked[:4], mock.asked[4:]
    assert [(one.method, one.url, one.content) for one in plain] == [(one.method, one.url, one.content) for one in ours]
    assert not episodes(learning, store)


def test_the_paths_that_learn_are_known_behind_any_prefix_and_others_are_not_taken_for_them():
    for path, name in {
        "/v1/chat/completions": "chat", "/openai/deployments/m/chat/completions": "chat", "/v1/responses": "responses",
        "/anthropic/v1/messages": "messages",
    }.items():  # fmt: skip
        assert dialect_of(path).name == name
    for path in ("/v1/threads/t1/messages", "/v1/messages/count_tokens", "/v1/responses/r1/cancel", "/v1/embeddings"):
        assert dialect_of(path) is None


def test_who_reads_an_answer_a_second_time_goes_on_where_the_first_reader_stopped(store, wrapped):
    recording = next(one for one in RECORDINGS if one.file == "chat_plain.sse")
    mock = Mock()
    mock.replay(recording)

    async def both(client: Any) -> bytes:
        async with client.stream("POST", "https://x/v1/chat/completions", json=ASKED["chat"]) as response:
            first = await anext(aiter(response.stream))
            return first + b"".join([chunk async for chunk in response.stream])

    learning = wrapped(mock.client(openai.AsyncOpenAI))
    assert asyncio.run(both(learning._client)) == recording.data
    with wrapped(mock.client())._client.stream("POST", "https://x/v1/chat/completions", json=ASKED["chat"]) as response:
        assert next(iter(response.stream)) + b"".join(response.stream) == recording.data


def test_a_request_differs_in_nothing_but_its_body_and_length(store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock()
    client = mock.client(headers={"x-corp": "1"}, cookies={"a": "b"})
    ask(client, extra_headers={"x-mine": "2"})
    ask(wrapped(client), extra_headers={"x-mine": "2"})
    plain, ours = mock.asked
    assert json.loads(ours.content)["messages"][-1] == json.loads(plain.content)["messages"][-1]
    assert int(ours.headers["content-length"]) == len(ours.content) != len(plain.content)
    assert ours.extensions["timeout"] == plain.extensions["timeout"]

    def rest(request):
        return [pair for pair in request.headers.raw if pair[0].lower() != b"content-length"]

    assert rest(ours) == rest(plain)


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_what_was_learned_stands_in_the_outgoing_request(dialect, store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    recording = next(one for one in RECORDINGS if one.file == f"{dialect}_plain.json")
    mock = Mock(sdk_of(recording))
    mock.replay(recording)
    created(wrapped(mock.client(kind_of(recording, asynchronous=False))), recording)
    (body,) = mock.bodies
    place = {"chat": "messages", "responses": "instructions", "messages": "system"}[dialect]
    assert LESSON in json.dumps(body[place])
    assert {key: value for key, value in body.items() if key != place} == {
        key: value for key, value in ASKED[dialect].items() if key != place
    } | ({"stream": False} if "stream" in body else {})


# ── nothing of the caller's is changed ──────────────────────────────────────────────────────


def test_the_callers_client_stays_as_it_was(store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock()
    mock.answer = lambda _: mock.chat(headers={"set-cookie": "seen=1"})
    client = mock.client(headers={"x-corp": "1"})
    http = client._client
    before = {**vars(http)}, {**vars(client)}, dict(http.headers), dict(http.event_hooks)
    learning = wrapped(client)
    ask(learning)
    assert type(learning) is type(client)
    assert learning is not client
    assert ({**vars(http)}, {**vars(client)}, dict(http.headers), dict(http.event_hooks)) == before
    assert client._client is http
    assert http._transport is mock.transport
    assert not http.cookies
    assert learning._client.cookies["seen"] == "1"
    learning.close()
    assert not client.is_closed()
    ask(client)
    assert LESSON not in mock.asked[-1].content.decode()


def test_proxies_hooks_and_the_callers_own_kind_of_http_client_stay_in_force(store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock, other, seen = Mock(), Mock(), []

    class Signing(mock.http.Client):
        def send(self, request, **more):
            request.headers["x-signed"] = "yes"
            return super().send(request, **more)

    http = Signing(
        transport=other.transport, mounts={"https://": mock.transport}, follow_redirects=True,
        event_hooks={"request": [lambda request: seen.append("asked")], "response": [lambda _: seen.append("told")]},
    )  # fmt: skip
    learning = wrapped(openai.OpenAI(api_key="k", http_client=http))
    ask(learning)
    assert mock.asked[0].headers["x-signed"] == "yes"
    assert LESSON in mock.asked[0].content.decode()
    assert not other.asked
    assert seen == ["asked", "told"]
    assert learning._client.follow_redirects


def test_a_client_that_nobody_else_holds_keeps_its_connections(store, wrapped):
    learning = wrapped(openai.OpenAI(api_key="k"))
    gc.collect()
    assert not learning._client._transport.original.is_closed
    original = learning._client._transport.original
    learning.close()
    assert original.is_closed


def test_a_client_that_somebody_holds_is_not_closed_with_its_copy(store, wrapped):
    mock = Mock()
    client, http = openai.OpenAI(api_key="k"), mock.http.Client(transport=mock.transport)
    for one in (wrapped(client), wrapped(openai.OpenAI(api_key="k", http_client=http))):
        one.close()
    assert not client.is_closed()
    assert not http.is_closed


def test_options_can_be_changed_and_a_client_wrapped_again_learns_once(store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    commit(store, Scope(agent="desk", tenant="acme", user="bob"), Put(entry=rule("Be brief.")))
    mock = Mock()
    learning = wrapped(mock.client())
    ask(learning.with_options(timeout=3, default_headers={"x-new": "1"}))
    assert LESSON in mock.asked[-1].content.decode()
    assert mock.asked[-1].headers["x-new"] == "1"
    ask(wrapped(learning, user="bob"))
    assert LESSON not in mock.asked[-1].content.decode()
    assert mock.asked[-1].content.decode().count("Be brief.") == 1


# ── it fails open ───────────────────────────────────────────────────────────────────────────


class Failing:
    """A store that does not answer, once it is to; or does so after `wait`."""

    def __init__(self, store: Any) -> None:
        self.store, self.gone, self.wait = store, False, None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if not callable(found):
            return found

        def call(*args: Any, **named: Any) -> Any:
            if self.wait is not None:
                self.wait.wait(20)
            if self.gone:
                raise StoreUnavailable("gone", hint="wait")
            return found(*args, **named)

        return call


def test_without_a_store_requests_keep_flowing_with_the_original_bytes(store, wrapped, caplog):
    mock, failing = Mock(), Failing(store)
    client = mock.client()
    learning = wrapped(client, store=failing)
    failing.gone = True
    assert ask(learning).choices[0].message.content == "Basalt"
    ask(client)
    assert mock.asked[0].content == mock.asked[1].content
    rooms = learning._client._transport.learning._rooms
    eventually(lambda: rooms.recorder.stats().unspooled)
    learning.close()
    assert "could not be recorded" in caplog.text


def test_a_store_that_hangs_costs_the_deadline_once_and_never_the_request(store, wrapped):
    mock, failing = Mock(), Failing(store)
    learning = wrapped(mock.client(), store=failing, deadline_s=0.01)
    failing.wait = threading.Event()
    for _ in range(3):
        assert ask(learning).id
    assert LESSON not in mock.asked[-1].content.decode()
    failing.wait.set()


@pytest.mark.parametrize("broken", ["read", "inject"])
def test_a_dialect_that_fails_costs_what_was_learned(broken, store, wrapped, monkeypatch):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock()
    learning = wrapped(mock.client())

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    from tokenspace.gateway.dialects import Chat

    monkeypatch.setattr(Chat, broken, fail)
    assert ask(learning).id
    assert mock.bodies == [ASKED["chat"]]
    kept = episodes(learning, store)
    assert [one.shown for one in kept] == ([] if broken == "read" else [()])


def test_a_connection_that_cannot_be_made_is_the_callers_error_and_an_episode_without_success(store, wrapped):
    mock = Mock()

    def refuse(request: Any) -> None:
        raise mock.http.ConnectError("refused", request=request)

    mock.answer = refuse
    learning = wrapped(mock.client())
    with pytest.raises(openai.APIConnectionError):
        ask(learning)
    (episode,) = episodes(learning, store)
    assert (episode.output, bool(episode.run.error)) == ("", True)


@pytest.mark.parametrize("how", ["breaks", "leaves"])
def test_a_stream_that_ends_early_is_recorded_as_no_success(how, store, wrapped):
    recording = next(one for one in RECORDINGS if one.file == "chat_plain.sse")
    mock = Mock()
    stream = pieces(mock.http, recording.data[:-600] if how == "breaks" else recording.data, breaks=how == "breaks")
    headers = {"content-type": recording.content_type}
    mock.answer = lambda _: mock.http.Response(200, headers=headers, stream=stream)
    learning = wrapped(mock.client())
    answer = ask(learning, stream=True)
    if how == "breaks":
        with pytest.raises(Exception, match=r"broke|Connection error"):
            list(answer)
    else:
        next(iter(answer))
        answer.close()
    (episode,) = episodes(learning, store)
    assert episode.output == ""
    assert ("broke" if how == "breaks" else "left") in episode.run.error
    assert stream.closed


def test_every_try_of_a_client_carries_the_same_bytes_and_is_an_episode(store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock()
    mock.answer = lambda _: mock.http.Response(500, json={}) if len(mock.asked) == 1 else mock.chat()
    client = wrapped(mock.client()).with_options(max_retries=1)
    assert ask(client, extra_headers={"x-stainless-retry-count": "0"}).id
    assert mock.asked[0].content == mock.asked[1].content
    assert [bool(one.run.error) for one in episodes(client, store)] == [False, True]


# ── it learns ───────────────────────────────────────────────────────────────────────────────


def learned(store: Any) -> Any:
    return tokenspace.open("desk", store=store, model="nearest").at("acme", "alice").learn()


def test_a_correction_by_the_providers_id_is_a_case_and_the_next_request_carries_the_lesson(store, wrapped):
    mock = Mock()
    learning = wrapped(mock.client())
    answer = ask(learning)
    kept = tokenspace.feedback(learning, answer.id, correction="Kestrel")
    assert (kept.scope, kept.principal, kept.signal) == (USER, "alice", Signal.CORRECTION)
    (case,) = store.cases(USER)
    assert case.request.messages[-1].text == "Where is my parcel?"
    assert learned(store).attempts[0].verdict.decision == "accept"
    ask(learning)
    assert "Kestrel" in mock.asked[-1].content.decode()
    assert mock.bodies[0] == ASKED["chat"]


def test_an_asynchronous_stream_is_corrected_by_what_it_returned(store, wrapped):
    recording = next(one for one in RECORDINGS if one.file == "messages_plain.sse")
    mock = Mock(anthropic)
    mock.replay(recording)
    learning = wrapped(mock.client(anthropic.AsyncAnthropic))

    async def main() -> None:
        async with learning.messages.stream(**ASKED["messages"]) as stream:
            answer = await stream.get_final_message()
        await asyncio.to_thread(tokenspace.feedback, learning, answer, correction="Kestrel")
        await asyncio.to_thread(learned, store)
        async with learning.messages.stream(**ASKED["messages"]) as stream:
            await stream.get_final_message()

    asyncio.run(main())
    assert "Kestrel" in mock.asked[-1].content.decode()


@pytest.mark.parametrize(
    ("said", "signal", "value"),
    [
        ({"label": True}, Signal.LABEL, True),
        ({"score": 0.5}, Signal.SCORE, 0.5),
        ({"score": {"polite": 1, "short": 0}}, Signal.SCORE, 0.5),
        ({"text": "Ask for the number.", "trigger": "parcels"}, Signal.TEXT, "Ask for the number."),
        ({"demonstration": "Kestrel"}, Signal.DEMONSTRATION, "Kestrel"),
        ({"edit": "Kestrel"}, Signal.EDIT, "Kestrel"),
        ({"test_log": "1 failed"}, Signal.TEST_LOG, "1 failed"),
    ],
)
def test_feedback_is_of_any_kind(said, signal, value, store, wrapped):
    learning = wrapped(Mock().client())
    answer = ask(learning)
    kept = tokenspace.feedback(learning, answer, comment="why", **said)
    assert (kept.signal, kept.value) == (signal, value)
    assert [one.id for one in store.feedback(USER)] == [kept.id]


def test_feedback_that_cannot_be_kept_says_why(store, wrapped):
    mock = Mock()
    learning = wrapped(mock.client())
    answer = ask(learning)
    for error, call in {
        UsageError: lambda: tokenspace.feedback(learning, answer),
        NotFound: lambda: tokenspace.feedback(learning, "chatcmpl-nobody", label=True),
        BadData: lambda: tokenspace.feedback(learning, answer, score=7),
    }.items():
        with pytest.raises(error) as raised:
            call()
        assert raised.value.hint
    with pytest.raises(UsageError, match="does not learn"):
        tokenspace.feedback(mock.client(), answer, label=True)
    with pytest.raises(UsageError, match="one thing"):
        tokenspace.feedback(learning, answer, label=True, score=1)


def test_a_request_may_name_its_user_and_its_conversation(store, wrapped):
    mock = Mock()
    learning = wrapped(mock.client(), user=None)
    answer = ask(learning, user="bob", prompt_cache_key="talk-7")
    bob = Scope(agent="desk", tenant="acme", user="bob")
    assert [one.session for one in episodes(learning, store, bob)] == ["talk-7"]
    kept = tokenspace.feedback(learning, answer, user="bob", correction="Kestrel")
    assert (kept.scope, kept.principal) == (bob, "bob")
    with pytest.raises(NotFound):
        tokenspace.feedback(learning, answer, correction="Kestrel")


def test_a_user_of_no_tenant_is_of_the_gateways_default_tenant(store, wrapped):
    learning = wrapped(Mock().client(), tenant=None)
    ask(learning)
    assert episodes(learning, store, Scope(agent="desk", tenant="default", user="alice"))


def test_i14_a_conversation_that_goes_on_keeps_its_blocks(store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock()
    learning = wrapped(mock.client(), session="one")
    ask(learning)
    commit(store, USER, Put(entry=rule("Be brief.")))
    said = [
        {"role": "user", "content": "Where is my parcel?"}, {"role": "assistant", "content": "Basalt"},
        {"role": "user", "content": "And my card?"},
    ]  # fmt: skip
    learning.chat.completions.create(model="m", messages=said)
    first, second = mock.bodies
    assert second["messages"][0] == first["messages"][0]


def test_a_conversation_is_known_by_the_answer_that_it_goes_on_from(store, wrapped, monkeypatch):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock()
    mock.replay(next(one for one in RECORDINGS if one.file == "responses_plain.json"))
    learning = wrapped(mock.client())
    keep = record.keep

    def slowly(*args: Any, **named: Any) -> Any:
        time.sleep(0.2)
        return keep(*args, **named)

    monkeypatch.setattr(record, "keep", slowly)
    first = learning.responses.create(model="m", input="Where is my parcel?")
    learning.responses.create(model="m", input="And my card?", previous_response_id=first.id)
    one, two = reversed(episodes(learning, store))
    assert one.session == two.session
    assert mock.bodies[0]["instructions"] == mock.bodies[1]["instructions"]


def test_a_compressed_answer_is_recorded_as_it_was_before(store, wrapped):
    mock = Mock()

    def answer(_: Any) -> Any:
        body = gzip.compress(mock.chat().content)
        return mock.http.Response(200, headers={"content-encoding": "gzip"}, stream=pieces(mock.http, body))

    mock.answer = answer
    learning = wrapped(mock.client())
    assert ask(learning).choices[0].message.content == "Basalt"
    assert episodes(learning, store)[0].output == "Basalt"


# ── where it runs ───────────────────────────────────────────────────────────────────────────


def test_a_synchronous_client_works_inside_a_running_event_loop_and_in_many_threads(store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))
    mock = Mock()
    learning = wrapped(mock.client())

    async def main() -> None:
        ask(learning)
        await asyncio.gather(*(asyncio.to_thread(ask, learning, f"message {number}") for number in range(16)))

    asyncio.run(main())
    assert len(mock.asked) == 17
    assert all(LESSON in one.content.decode() for one in mock.asked)
    assert len(episodes(learning, store)) == 17


def test_an_asynchronous_client_may_change_its_event_loop(store, wrapped):
    mock = Mock()
    learning = wrapped(mock.client(openai.AsyncOpenAI))
    for _ in range(2):
        asyncio.run(ask(learning))
    assert len(episodes(learning, store)) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
def test_over_a_real_connection(asynchronous, store, wrapped):
    commit(store, USER, Put(entry=rule(LESSON)))

    async def main() -> None:
        async with Provider(Answer.recording("chat_tools.sse", pieces=9)) as provider:
            kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
            client = kind(api_key="k", base_url=provider.url, max_retries=0)
            recording = next(one for one in RECORDINGS if one.file == "chat_tools.sse")
            for one in (client, wrapped(client)):
                if asynchronous:
                    found = await objects_async(one, recording)
                else:
                    found = await asyncio.to_thread(objects, one, recording)
                assert found[-1]["usage"]["prompt_tokens"] == 310
            assert LESSON in provider.asked[1].body.decode()
            await asyncio.to_thread(client.close) if not asynchronous else await client.close()

    asyncio.run(main())
    eventually(lambda: store.episodes(USER))
    (episode,) = store.episodes(USER)
    assert [call.name for call in episode.run.tool_calls] == ["get_weather", "get_time"]


def test_close_writes_what_waits_and_ends_the_threads(store):
    before = set(threading.enumerate())
    client = tokenspace.wrap(Mock().client(), agent="desk", tenant="acme", user="alice", store=store, deadline_s=20)
    ask(client)
    client.close()
    assert len(store.episodes(USER)) == 1
    eventually(lambda: not [one for one in set(threading.enumerate()) - before if one.name != "MainThread"])
    with pytest.raises((RuntimeError, openai.APIConnectionError)):
        ask(client)


def test_an_asynchronous_client_is_closed_by_its_block(store):
    async def main() -> None:
        given = {"agent": "desk", "tenant": "acme", "user": "alice", "store": store, "deadline_s": 20}
        async with tokenspace.wrap(Mock().client(openai.AsyncOpenAI), **given) as client:
            await ask(client)

    asyncio.run(main())
    assert len(store.episodes(USER)) == 1


def test_a_process_that_just_ends_has_recorded_everything(tmp_path):
    code = (
        "import sys, tokenspace\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.gateway.test_wrap import Mock, ask\n"
        "client = tokenspace.wrap(Mock().client(), agent='desk', deadline_s=20)\n"
        "for _ in range(5): ask(client)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path, timeout=60)
    kept = open_store(f"sqlite:///{tmp_path}/.tokenspace/store.db")
    assert len(kept.episodes(Scope(agent="desk"))) == 5
    kept.close()


def test_what_cannot_be_wrapped_is_said(monkeypatch, store):
    for thing in (object(), "client"):
        with pytest.raises(UsageError, match="is no client") as raised:
            tokenspace.wrap(thing)
        assert raised.value.hint
    monkeypatch.setitem(sys.modules, "tokenspace.gateway.inprocess", None)
    with pytest.raises(UsageError) as raised:
        tokenspace.wrap(Mock().client(), store=store)
    assert "tokenspace[gateway]" in raised.value.hint


@pytest.mark.slow
@pytest.mark.skipif(not OPENAI_2.is_dir(), reason="TOKENSPACE_OPENAI_2 names no folder with openai 2.x")
def test_all_of_this_holds_with_openai_2():
    environ = {**os.environ, "PYTHONPATH": str(OPENAI_2), "TOKENSPACE_OPENAI_2": "/nowhere"}
    code = "import openai; assert openai.__version__.startswith('2.'), openai.__version__"
    subprocess.run([sys.executable, "-c", code], check=True, env=environ)
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command, check=False, env=environ, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout[-4000:]
