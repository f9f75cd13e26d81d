"""The official clients through the whole gateway: they hear what they hear without it, to the byte.

The provider replays the recordings. Two gateways stand before it, put together as `tokenspace serve` does it: one has
learned a rule, which it puts into every request, the other has learned nothing. What is heard and what is kept must
not differ between them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import uvloop
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.gateway.provider import Answer, Provider, gateway
from tests.gateway.provider import Asked as Arrived
from tests.gateway.recordings import PATHS, RECORDINGS, Recording, heard
from tokenspace.config import Settings
from tokenspace.domain import Episode, Put, Scope
from tokenspace.gateway.build import Built, build_gateway
from tokenspace.gateway.wire import GatewaySettings, Upstream
from tokenspace.store import open_store
from tokenspace.testing.samples import commit, rule

LEARNED = "Answer in whole sentences."
BY_FILE = {recording.file: recording for recording in RECORDINGS}
BODIES: Mapping[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "responses": {"input": "hi"},
    "messages": {"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]},
}
OPENAI2 = os.environ.get("TOKENSPACE_TEST_OPENAI2", "")
"""A folder with version 2 of the package `openai`, installed there with `pip install --target`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A gateway that runs: where it is, the key of its first start, and the store that it writes to."""

    url: str
    key: str
    store: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The provider by itself, and the two gateways before it."""

    provider: Provider
    bare: Place
    learned: Place

    http: httpx2.Client

    def place(self, name: str) -> Place:
        return self.learned if name == "learned" else self.bare

    def client(self, recording: Recording, url: str, key: str, *, user: str = "") -> Any:
        """The official client of a dialect; Anthropic's adds the version prefix itself."""
        told = {"x-recording": recording.file, "x-tokenspace-user": user or recording.file}
        more: dict[str, Any] = {"max_retries": 0, "default_headers": told, "http_client": self.http}
        if recording.dialect == "messages":
            return anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key=key, **more)
        return openai.OpenAI(base_url=url, api_key=key, **more)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All of it in a thread of its own, since the clients block."""
    ready, made, end = threading.Event(), list[World](), list[Any]()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            provider = await stack.enter_async_context(Provider())
            provider.choose = choose
            places = [
                await started(stack, provider.url, tmp_path_factory.mktemp(name), name) for name in ("bare", "learned")
            ]
            # One pool of connections for all clients: what takes long about a client is to read the certificates.
            http = stack.enter_context(httpx2.Client(trust_env=False, timeout=30))
            made.append(World(provider=provider, bare=places[0], learned=places[1], http=http))
            over = asyncio.Event()
            end.append((asyncio.get_running_loop(), over))
            ready.set()
            await over.wait()

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(main())
            finally:
                ready.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(60)
    yield made[0]
    loop, over = end[0]
    loop.call_soon_threadsafe(over.set)
    thread.join(60)
    assert not thread.is_alive()
    for place in (made[0].bare, made[0].learned):
        place.store.close()


async def started(stack: AsyncExitStack, upstream: str, folder: Path, name: str) -> Place:
    """A gateway with its own store in a file."""
    url = f"sqlite:///{folder}/store.db"
    if name == "learned":
        store = open_store(url)
        commit(store, Scope(agent="default"), Put(entry=rule(LEARNED)))
        store.close()
    upstreams = (Upstream(name="main", url=upstream, dialects=tuple(PATHS)),)
    settings = GatewaySettings(upstreams=upstreams, drain_s=2.0, recall_deadline_s=5.0)
    built = build_gateway(Settings(store=url, principal="ana"), settings, spool=folder / "spool.jsonl")
    server = await stack.enter_async_context(gateway(settings, **parts_of(built)))
    assert built.first_key is not None
    return Place(url=f"{server.address}/v1", key=built.first_key, store=open_store(url))


def parts_of(built: Built) -> dict[str, Any]:
    return {one.name: getattr(built.parts, one.name) for one in fields(built.parts)}


def choose(asked: Arrived) -> Answer:
    """The recording that the client named in a header, cut where its number of bytes says."""
    recording = BY_FILE[asked.header("x-recording") or ""]
    answer = Answer.stream(recording.data, pieces=9, seed=len(recording.data))
    more = (("content-type", recording.content_type), ("x-request-id", "req_7"))
    return replace(answer, status=recording.status, headers=more, chunked=recording.stream)


def raw(recording: Recording, world: World, url: str, key: str) -> httpx2.Response:
    """An answer as bytes, to a request that no client has touched."""
    body = json.dumps({"model": "m", "stream": recording.stream, **BODIES[recording.dialect]})
    headers = {
        "authorization": f"Bearer {key}", "content-type": "application/json", "accept-encoding": "identity",
        "x-recording": recording.file, "x-tokenspace-user": f"raw-{recording.file}",
    }  # fmt: skip
    return world.http.post(url + PATHS[recording.dialect], content=body, headers=headers)


def kept(place: Place, user: str) -> Episode:
    """The episode of a user, as soon as it is written."""
    scope = Scope(agent="default", tenant="default", user=user)
    for _ in range(1_000):
        if found := place.store.episodes(scope):
            assert len(found) == 1
            return found[0]
        time.sleep(0.01)
    raise AssertionError("it was never written")


@pytest.mark.parametrize("context", ["bare", "learned"])
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.file)
def test_the_official_client_hears_the_same_through_the_gateway_and_the_episode_says_what_it_heard(
    recording: Recording, context: str, world: World
) -> None:
    place = world.place(context)
    assert heard(recording, world.client(recording, world.provider.url, "sk-none")) == recording.heard
    before = world.provider.asked[-1].json()
    assert heard(recording, world.client(recording, place.url, place.key)) == recording.heard
    after = world.provider.asked[-1]
    assert (LEARNED in after.body.decode()) == (context == "learned")
    assert (after.json() == before) == (context == "bare")
    assert place.key not in str(after.headers)
    check_kept(kept(place, recording.file), recording, place)


def check_kept(episode: Episode, recording: Recording, place: Place) -> None:
    """Whole answers are kept as they were heard, others as failures whose words stay readable."""
    assert [message.text for message in episode.request.messages] == ["hi"]
    if recording.id:
        assert place.store.episode_of(episode.scope, recording.id) == episode.id
    calls = tuple((call.id, call.name, call.arguments) for call in episode.run.tool_calls)
    if recording.complete and not recording.error:
        assert (episode.run.output, calls, episode.run.error) == (recording.heard.text, recording.heard.calls, "")
        usage = episode.run.usage
        assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == recording.tokens
    else:
        assert (episode.run.output, calls) == ("", ())
        assert episode.run.error
        assert "".join(message.text for message in episode.run.messages) == recording.heard.text


@pytest.mark.parametrize("context", ["bare", "learned"])
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.file)
def test_the_bytes_after_the_gateway_are_the_bytes_before_it(recording: Recording, context: str, world: World) -> None:
    place = world.place(context)
    direct = raw(recording, world, world.provider.url, "sk-none")
    sent = world.provider.asked[-1].body
    through = raw(recording, world, place.url, place.key)
    assert direct.content == through.content == recording.data
    assert direct.status_code == through.status_code == recording.status
    for name in ("content-type", "x-request-id"):
        assert direct.headers[name] == through.headers[name]
    assert (world.provider.asked[-1].body == sent) == (context == "bare"), "the request's bytes, too"
    assert through.headers["x-tokenspace-episode"] == kept(place, f"raw-{recording.file}").id


PROGRAM = """
import json, sys
from dataclasses import asdict
sys.path.insert(0, sys.argv[1])
import openai
from tests.gateway.recordings import RECORDINGS, heard
assert openai.__version__.startswith("2."), openai.__version__
for recording in RECORDINGS:
    if recording.dialect != "messages":
        told = {"x-recording": recording.file, "x-tokenspace-user": f"{sys.argv[4]}-{recording.file}"}
        with openai.OpenAI(base_url=sys.argv[2], api_key=sys.argv[3], max_retries=0, default_headers=told) as client:
            print(json.dumps([recording.file, asdict(heard(recording, client))]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not OPENAI2, reason="TOKENSPACE_TEST_OPENAI2 names no folder with openai 2.x")
@pytest.mark.parametrize("context", ["direct", "bare", "learned"])
def test_the_official_client_of_the_version_before_hears_the_same(context: str, world: World) -> None:
    place = world.place(context)
    where, key = (world.provider.url, "sk-none") if context == "direct" else (place.url, place.key)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, OPENAI2, where, key, "two"],
        capture_output=True, text=True, timeout=100, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = dict(json.loads(line) for line in done.stdout.splitlines())
    expected = {one.file: one for one in RECORDINGS if one.dialect != "messages"}
    assert told == {file: json.loads(json.dumps(asdict(one.heard))) for file, one in expected.items()}
    if context != "direct":
        for file, recording in expected.items():
            check_kept(kept(place, f"two-{file}"), recording, place)


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
def test_the_mcp_client_reads_what_was_learned_and_gives_feedback_on_what_was_relayed(mode: str, world: World) -> None:
    place, recording, user = world.learned, BY_FILE["chat_plain.json"], f"mcp-{mode}"
    assert heard(recording, world.client(recording, place.url, place.key, user=user)) == recording.heard
    episode = kept(place, user)
    shown = {"authorization": f"Bearer {place.key}", "x-tokenspace-user": user}

    async def talk() -> tuple[set[str], str, Any]:
        async with (
            httpx2.AsyncClient(headers=shown, trust_env=False, timeout=30) as http,
            Client(streamable_http_client(place.url.removesuffix("/v1") + "/mcp", http_client=http), mode=mode) as mcp,
        ):
            tools = {tool.name for tool in (await mcp.list_tools()).tools}
            lessons = await mcp.call_tool("lessons", {})
            told = await mcp.call_tool("feedback", {"episode": recording.id, "correction": "Otter"})
            return tools, str(lessons.content), told

    tools, lessons, told = asyncio.run(asyncio.wait_for(talk(), 60))
    assert {"recall", "feedback", "outcome", "lessons"} <= tools
    assert LEARNED in lessons
    assert not told.is_error, told
    (said,) = place.store.feedback(episode.scope)
    assert (said.episode, said.value) == (episode.id, "Otter")
