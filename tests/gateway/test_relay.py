"""The hot path over real sockets: bytes, headers, limits, and who leaves or dies when."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.gateway.provider import Answer, Kept, Provider, chat_stream, gateway, run
from tokenspace.domain import Heads
from tokenspace.gateway.wire import Asked, Caller, GatewaySettings, Injection, Record, Upstream

CHAT = "/v1/chat/completions"
ALL = ("chat", "responses", "messages")
BODY = {"model": "m", "messages": [{"role": "user", "content": "I was charged twice"}]}
RAW = b'{ "model":"m","messages":[ {"role":"user", "content":"caf\\u00e9 \xf0\x9f\x8d\xb0"}],"x_unknown": 1.50 }'
SSE = chat_stream(["bil", "ling ", "é", "🍰"] * 20)


def settings_for(provider: Provider, **more: Any) -> GatewaySettings:
    upstream = Upstream(name="main", url=provider.url, dialects=ALL, headers=more.pop("headers", {}))
    return GatewaySettings(**{"upstreams": (upstream,), "drain_s": 2.0, **more})


@asynccontextmanager
async def world(
    answer: Answer | None = None, *, parts: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[Any]:
    """Provider, gateway, client and recorder."""
    kept = Kept()
    async with (
        Provider(answer) as provider,
        gateway(settings_for(provider, **more), **{"recorder": kept, **(parts or {})}) as server,
        aiohttp.ClientSession(server.address, auto_decompress=False) as client,
    ):
        yield provider, server, client, kept


async def gone_records(kept: Sequence[Record]) -> Record:
    """The record, as soon as it is there."""
    while not kept:  # noqa: ASYNC110 (a list has no event)
        await asyncio.sleep(0.005)
    return kept[0]


class Says:
    """An injector that puts one block in, after doing `first`."""

    def __init__(self, first: Any = None) -> None:
        self.first = first
        self.seen: list[tuple[Asked, Caller]] = []

    async def prepare(self, asked: Asked, caller: Caller) -> Injection | None:
        self.seen.append((asked, caller))
        if self.first is not None:
            await self.first()
        return Injection(blocks=("LEARNED",), heads=Heads(base="r1", user="r3"), shown=("e1",))


# ── bytes ───────────────────────────────────────────────────────────────────────────────────


def test_json_goes_through_byte_for_byte_in_both_directions() -> None:
    async def main() -> None:
        async with world() as (provider, _, client, kept):
            async with client.post(CHAT, data=RAW, headers={"content-type": "application/json"}) as answer:
                assert await answer.read() == provider.answer.body
                assert answer.headers["content-length"] == str(len(provider.answer.body))
            assert provider.asked[0].body == RAW
            assert kept[0].ended == "done"
            assert kept[0].body == provider.answer.body

    run(main())


@pytest.mark.parametrize("pieces", [0, 1, 7, 60, 400])
@pytest.mark.parametrize("route", [CHAT, "/v1/responses", "/v1/messages"])
def test_streams_go_through_byte_for_byte_however_they_are_cut(pieces: int, route: str) -> None:
    async def main() -> None:
        async with world(Answer.stream(SSE, pieces=pieces or [], seed=pieces)) as (_, _, client, kept):
            body = {**BODY, "input": "hello", "max_tokens": 5, "stream": True}
            async with client.post(route, json=body) as answer:
                assert await answer.read() == SSE
            assert kept[0].stream
            assert kept[0].body == SSE

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_compressed_answer_stays_compressed_and_is_asked_for_only_by_the_client(stream: bool) -> None:
    packed = gzip.compress(SSE)
    headers = (("content-encoding", "gzip"), ("content-type", "text/event-stream" if stream else "application/json"))

    async def main() -> None:
        made = Answer.stream(packed, headers=headers) if stream else Answer(pieces=(packed,), headers=headers)
        async with world(made) as (provider, _, client, kept):
            async with client.post(CHAT, json=BODY, headers={"accept-encoding": "gzip"}) as answer:
                assert await answer.read() == packed
                assert answer.headers["content-encoding"] == "gzip"
            async with client.post(CHAT, json=BODY, skip_auto_headers=("accept-encoding", "user-agent", "accept")):
                pass
            assert provider.asked[0].header("accept-encoding") == "gzip"
            assert {name.lower() for name, _ in provider.asked[1].headers} == {"host", "content-type", "content-length"}
            assert (kept[0].encoding, kept[0].body) == ("gzip", packed)

    run(main())


def test_each_piece_is_handed_on_before_the_next_one_comes() -> None:
    async def main() -> None:
        async with (
            world(Answer.stream(SSE, pieces=[9], hangs=1)) as (_, _, client, _),
            client.post(CHAT, json={**BODY, "stream": True}) as answer,
        ):
            assert answer.status == 200
            assert await answer.content.readexactly(9) == SSE[:9]

    run(main())


def test_a_large_body_and_a_large_answer_go_through() -> None:
    text = "word " * 600_000

    async def main() -> None:
        async with world(Answer(pieces=(json.dumps(text).encode(),) * 3)) as (provider, _, client, _):
            raw = json.dumps({**BODY, "note": text}).encode()
            async with client.post(CHAT, data=BytesIO(raw)) as answer:
                assert await answer.read() == provider.answer.body
            assert provider.asked[0].body == raw

    run(main())


# ── headers ─────────────────────────────────────────────────────────────────────────────────


def test_status_and_headers_of_the_provider_are_not_changed_even_when_it_refuses() -> None:
    told = (
        ("content-type", "application/json"), ("retry-after", "7"), ("x-request-id", "req_1"), ("request-id", "req_2"),
        ("x-ratelimit-remaining-tokens", "149984"), ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:00Z"),
        ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("server", "theirs"), ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    )  # fmt: skip

    async def main() -> None:
        async with world(Answer(status=429, headers=told, pieces=(b'{"error": "slow"}',))) as (
            provider,
            _,
            client,
            kept,
        ):
            async with client.post(CHAT, json=BODY) as answer:
                assert (answer.status, await answer.read()) == (429, provider.answer.body)
                theirs = [(k.decode(), v.decode()) for k, v in answer.raw_headers if not k.startswith(b"x-tokenspace-")]
                assert sorted(theirs) == sorted([*told, ("content-length", "17")])
            assert len(provider.asked) == 1
            assert kept[0].ended == "refused"

    run(main())


def test_what_crosses_over_and_what_stays_here() -> None:
    sent = {
        "authorization": "Bearer theirs", "anthropic-version": "2023-06-01", "anthropic-beta": "x", "user-agent": "me/1",
        "openai-organization": "o", "x-stainless-lang": "python", "cookie": "session=1", "te": "trailers",
        "connection": "keep-alive, x-hop", "x-hop": "1", "x-tokenspace-agent": "desk", "proxy-authorization": "p",
    }  # fmt: skip

    async def main() -> None:
        async with world() as (provider, server, client, _):
            async with client.post(
                URL(server.address + CHAT + "?api-version=1&x=%2F", encoded=True), json=BODY, headers=sent
            ):
                pass
            got = {name.lower(): value for name, value in provider.asked[0].headers}
            assert provider.asked[0].target == CHAT + "?api-version=1&x=%2F"
            for name in ("authorization", "anthropic-version", "anthropic-beta", "user-agent", "openai-organization"):
                assert got[name] == sent[name]
            assert not {"cookie", "te", "x-hop", "x-tokenspace-agent", "proxy-authorization"} & set(got)
            assert got["host"] == provider.url.split("/")[2]

    run(main())


@pytest.mark.parametrize("shown", ["authorization", "x-api-key"])
def test_a_virtual_key_never_reaches_the_provider(shown: str) -> None:
    class Virtual:
        async def caller(self, headers: Any, *, agent: str, user: str, need: str) -> Caller:
            from tokenspace.domain import Scope

            return Caller(key="k1", rights=frozenset({"infer"}), scope=Scope(agent="a", tenant="t"))

    async def main() -> None:
        operators = {"Authorization": "Bearer operators"}
        async with world(parts={"door": Virtual()}, headers=operators) as (provider, _, client, _):
            async with client.post(CHAT, json=BODY, headers={shown: "Bearer tsk-secret"}):
                pass
            assert "tsk-secret" not in str(provider.asked[0].headers)
            assert provider.asked[0].header("authorization") == "Bearer operators"
        async with world(parts={"door": Virtual()}) as (provider, _, client, _):
            async with client.post(CHAT, json=BODY, headers={shown: "Bearer tsk-secret"}):
                pass
            own = {"x-tokenspace-key": "tsk-secret", shown: "Bearer providers"}
            async with client.post(CHAT, json=BODY, headers=own):
                pass
            assert provider.asked[0].header(shown) is None
            assert provider.asked[1].header(shown) == "Bearer providers"
            assert "tsk-secret" not in str(provider.asked)

    run(main())


def test_every_answer_says_what_we_did() -> None:
    async def main() -> None:
        async with world(parts={"injector": Says()}) as (provider, _, client, kept):
            async with client.post(CHAT, json=BODY) as answer:
                assert answer.headers["x-tokenspace-episode"] == kept[0].episode
                assert answer.headers["x-tokenspace-revision"] == "r1,-,r3"
                assert answer.headers["x-tokenspace-taint"] == "operator"
                assert float(answer.headers["x-tokenspace-overhead-ms"]) >= 0
            assert b"LEARNED" in provider.asked[0].body
            assert kept[0].injection is not None

    run(main())


# ── who is calling ──────────────────────────────────────────────────────────────────────────


def test_agent_and_user_come_from_the_path_and_user_and_session_from_the_body() -> None:
    claude = "user_" + "a" * 64 + "_account_b_session_c-1"
    cases = [
        ("/a/desk/u/kim%20lee" + CHAT, {}, ("desk", "kim lee", None)),
        ("/a/desk" + CHAT, {"user": "lou", "prompt_cache_key": "s1"}, ("desk", "lou", "s1")),
        (CHAT, {"safety_identifier": "mo", "user": "lou"}, ("default", "mo", None)),
        (CHAT, {"metadata": {"user_id": claude}}, ("default", "user_" + "a" * 64 + "_account_b", "c-1")),
        (CHAT, {"metadata": {"user_id": json.dumps({"account_uuid": "u", "session_id": "s"})}}, ("default", "u", "s")),
        (CHAT, {"user": 7, "metadata": "odd", "prompt_cache_key": None}, ("default", "", None)),
    ]

    async def main() -> None:
        async with world() as (provider, server, client, kept):
            for path, extra, expected in cases:
                async with client.post(URL(server.address + path, encoded=True), json={**BODY, **extra}) as answer:
                    assert answer.status == 200
                caller = kept[-1].caller
                assert (caller.scope.agent, caller.scope.user, caller.session) == expected
            assert {asked.target for asked in provider.asked} == {CHAT}

    run(main())


def test_the_url_of_a_caller_is_never_fetched() -> None:
    async def main() -> None:
        async with Provider() as evil, world() as (provider, _, client, _):
            address = evil.url.removeprefix("http://")
            tries = [
                ({}, CHAT, {"base_url": evil.url, "api_base": evil.url, "url": evil.url, "upstream": evil.url}),
                ({"x-tokenspace-upstream": evil.url}, CHAT, {}),
                ({"host": address, "x-forwarded-host": address, "x-base-url": evil.url}, CHAT, {}),
                ({}, f"/v1/models/../../{address}", {}),
                ({}, f"/v1/models/%2e%2e/%252e%252e/{address}", {}),
                ({}, f"/v1/models@{address}/", {}),
                ({}, f"/v1/{evil.url}/chat/completions", {}),
                ({}, f"/{evil.url}/v1/chat/completions", {}),
                ({}, f"/a/{address}/v1/chat/completions", {}),
            ]
            for headers, path, extra in tries:
                await raw_request(client._base_url.port, path, headers, {**BODY, **extra})
            assert evil.asked == []
            assert all(asked.header("host") == provider.url.split("/")[2] for asked in provider.asked)
            assert all(".." not in asked.target and "%2e" not in asked.target for asked in provider.asked)

    run(main())


def test_nothing_is_fetched_through_a_redirect() -> None:
    async def main() -> None:
        async with Provider() as evil, world() as (provider, _, client, _):
            provider.answer = Answer(status=307, headers=(("location", evil.url + "/x"),), pieces=(b"",))
            async with client.post(CHAT, json=BODY, allow_redirects=False) as answer:
                assert answer.status == 307
            assert evil.asked == []

    run(main())


def test_what_is_stored_under_a_shared_provider_key_is_not_offered() -> None:
    async def main() -> None:
        async with world(headers={"authorization": "Bearer operators"}) as (provider, _, client, _):
            for method, path in [
                ("GET", "/v1/files"),
                ("GET", "/v1/chat/completions"),
                ("DELETE", "/v1/responses/resp_1"),
            ]:
                async with client.request(method, path) as answer:
                    assert answer.status == 404
            assert provider.asked == []
            async with client.get("/v1/models") as answer:
                assert answer.status == 200
            async with client.post("/v1/embeddings", json={"input": "x"}) as answer:
                assert answer.status == 200
        async with world() as (provider, _, client, kept):
            async with client.get("/v1/responses/resp_1") as answer:
                assert answer.status == 200
            assert kept == []

    run(main())


async def raw_request(port: int | None, path: str, headers: dict[str, str], body: object) -> bytes:
    """A request whose path no client library has tidied up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    lines = {"host": "gateway", "content-length": str(len(data)), "connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
    answer = await reader.read()
    writer.close()
    return answer


def _unchunked(body: bytes) -> bytes:
    """What the chunks of a broken-off body hold."""
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return found


def test_a_web_page_elsewhere_cannot_use_an_open_door() -> None:
    async def main() -> None:
        async with world(open_door=True) as (provider, _, client, _):
            for origin, status in [
                ("https://evil.example", 403),
                ("null", 403),
                ("http://localhost:3000", 200),
                ("http://127.0.0.1", 200),
            ]:
                async with client.post(CHAT, json=BODY, headers={"origin": origin}) as answer:
                    assert answer.status == status
            assert len(provider.asked) == 2

    run(main())


# ── errors and limits ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("route", "shape"), [(CHAT, "openai"), ("/v1/responses", "openai"), ("/v1/messages", "anthropic")]
)
def test_our_own_errors_are_told_in_the_dialect(route: str, shape: str) -> None:
    body = {**BODY, "input": "x", "max_tokens": 5}

    async def main() -> None:
        async with Provider() as provider:
            url = provider.url
        upstream = Upstream(name="gone", url=url, dialects=ALL)
        kept = Kept()
        async with (
            gateway(GatewaySettings(upstreams=(upstream,)), recorder=kept) as server,
            aiohttp.ClientSession(server.address) as client,
        ):
            async with client.post(route, json=body) as answer:
                told = await answer.json()
                assert answer.status == 502
                assert ("type" in told) == (shape == "anthropic")
                assert "gone" in told["error"]["message"]
                assert url not in str(told)
                assert answer.headers["x-tokenspace-episode"] == kept[0].episode
            assert (kept[0].status, kept[0].ended) == (0, "broken")
            async with client.post(route, json=body, headers={"x-tokenspace-key": "bad"}) as answer:
                assert answer.status == 401
                assert (await answer.json())["error"]["message"]
            async with client.post(route, json=body, headers={"x-tokenspace-upstream": "other"}) as answer:
                assert answer.status == 404

    run(main())


def test_a_provider_that_says_nothing_in_time_is_a_504_and_is_asked_once() -> None:
    async def main() -> None:
        async with world(Answer(hangs="before"), read_s=0.2) as (provider, _, client, kept):
            async with client.post(CHAT, json=BODY) as answer:
                assert answer.status == 504
            assert len(provider.asked) == 1
            assert kept[0].ended == "broken"

    run(main())


def test_limits_of_body_headers_and_depth() -> None:
    deep = json.loads("[" * 70 + "]" * 70)

    async def main() -> None:
        async with world(body_bytes=2_000, header_bytes=4_000) as (provider, _, client, _):
            async with client.post(CHAT, json={**BODY, "x": "y" * 3_000}) as answer:
                assert answer.status == 413

            async def dribble() -> AsyncIterator[bytes]:
                for _ in range(30):
                    yield b" " * 100

            async with client.post(CHAT, data=dribble()) as answer:
                assert answer.status == 413
            async with client.post(CHAT, json={**BODY, "x": deep}) as answer:
                assert answer.status == 400
            assert b" 431 " in await raw_request(client._base_url.port, CHAT, {"x-a": "b" * 5_000}, BODY)
            assert b" 400 " in await raw_request(client._base_url.port, "bad", {"x a": "b"}, BODY)
            assert provider.asked == []

    run(main())


def test_a_key_with_too_much_in_flight_gets_429_with_retry_after_and_others_do_not() -> None:
    async def main() -> None:
        answer = Answer.stream(SSE, pieces=[5], hangs=1)
        async with (
            world(answer, in_flight_per_key=2) as (provider, _, client, _),
            client.post(CHAT, json=BODY) as one,
            client.post(CHAT, json=BODY),
        ):
            async with client.post(CHAT, json=BODY) as third:
                assert third.status == 429
                assert int(third.headers["retry-after"]) >= 1
            async with client.post(CHAT, json=BODY, headers={"authorization": "Bearer other"}) as other:
                assert other.status == 200
                other.close()
            one.close()
            await asyncio.wait_for(provider.asked[0].left.wait(), 5)
            await asyncio.sleep(0.05)
            async with client.post(CHAT, json=BODY) as again:
                assert again.status == 200

    run(main())


# ── learning fails open ─────────────────────────────────────────────────────────────────────


async def _raises() -> None:
    raise RuntimeError("secret words of a request")


async def _hangs() -> None:
    await asyncio.Event().wait()


async def _slow() -> None:
    await asyncio.sleep(3)


@pytest.mark.parametrize("trouble", [_raises, _hangs, _slow])
def test_whatever_happens_to_the_injection_the_original_bytes_go_on(
    trouble: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with world(parts={"injector": Says(trouble)}) as (provider, server, client, kept):
            async with client.post(CHAT, data=RAW) as answer:
                assert await answer.read() == provider.answer.body
                assert answer.headers["x-tokenspace-revision"] == "none"
            assert provider.asked[0].body == RAW
            assert kept[0].injection is None
            outcome = "failed" if trouble is _raises else "late"
            assert f'tokenspace_injections_total{{outcome="{outcome}"}} 1.0' in server._gateway.metrics.text().decode()

    run(main())
    assert "secret words" not in caplog.text


@pytest.mark.parametrize("raw", [b"", b"not json", b"[1]", b'{"messages": 7}', b'{"model": NaN}', b'{"a": "\\ud800"}'])
def test_a_body_that_cannot_be_read_goes_on_as_it_is_and_leaves_no_record(raw: bytes) -> None:
    async def main() -> None:
        async with world(parts={"injector": Says()}) as (provider, _, client, kept):
            async with client.post(CHAT, data=raw) as answer:
                assert answer.status == 200
                assert "x-tokenspace-episode" not in answer.headers
            assert provider.asked[0].body == raw
            assert kept == []

    run(main())


def test_a_compressed_request_goes_on_as_it_is() -> None:
    async def main() -> None:
        packed = gzip.compress(json.dumps(BODY).encode())
        async with world(parts={"injector": Says()}) as (provider, _, client, _):
            async with client.post(CHAT, data=packed, headers={"content-encoding": "gzip"}) as answer:
                assert answer.status == 200
            assert provider.asked[0].body == packed
            assert provider.asked[0].header("content-encoding") == "gzip"

    run(main())


@pytest.mark.parametrize("outcome", ["dropped", "failed"])
def test_a_recorder_that_is_full_or_raises_costs_the_record_and_never_the_answer(outcome: str) -> None:
    class Bad:
        def put(self, record: Record) -> bool:
            if outcome == "failed":
                raise OSError("disk full")
            return False

    async def main() -> None:
        async with world(parts={"recorder": Bad()}) as (provider, server, client, _):
            async with client.post(CHAT, json=BODY) as answer:
                assert await answer.read() == provider.answer.body
            assert f'tokenspace_records_total{{outcome="{outcome}"}} 1.0' in server._gateway.metrics.text().decode()

    run(main())


# ── the kill matrix ─────────────────────────────────────────────────────────────────────────

PLACES = {"before the first byte": "before", "after the headers": "after", "in the middle": 2}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_a_client_that_leaves_stops_the_upstream_within_a_second_and_is_recorded(place: str, stream: bool) -> None:
    where = PLACES[place]

    async def main() -> None:
        made = Answer.stream(SSE, pieces=[10, 200, 900], hangs=where)
        answer = made if stream else Answer(pieces=made.pieces, hangs=where)
        async with world(answer) as (provider, server, _, kept):
            async with aiohttp.ClientSession(server.address) as client:
                asking = asyncio.create_task(client.post(CHAT, json={**BODY, "stream": stream}).__aenter__())
                await provider.arrived.wait()
                if where != "before":
                    response = await asking
                    if where != "after":
                        assert await response.content.readexactly(200) == SSE[:200]
                    response.close()
                else:
                    await asyncio.sleep(0.02)
                    asking.cancel()
            await asyncio.wait_for(provider.asked[0].left.wait(), 1)
            record = await asyncio.wait_for(gone_records(kept), 1)
            assert record.ended == "gone"
            assert record.status == (0 if where == "before" else 200)
            assert record.body == (SSE[:200] if where == 2 else b"")

    run(main())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_an_upstream_that_dies_is_told_before_and_breaks_off_after_its_headers(place: str, stream: bool) -> None:
    where = PLACES[place]

    async def main() -> None:
        made = Answer.stream(SSE, pieces=[10, 200, 900], dies=where)
        answer = made if stream else Answer(pieces=made.pieces, dies=where)
        async with world(answer) as (provider, _, client, kept):
            if where == "before":
                async with client.post(CHAT, json=BODY) as got:
                    assert got.status == 502
            else:
                got = await raw_request(client._base_url.port, CHAT, {}, BODY)
                _, _, read = got.partition(b"\r\n\r\n")
                assert got.startswith(b"HTTP/1.1 200")
                assert (_unchunked(read) if stream else read) == (b"" if where == "after" else SSE[:200])
                assert not read.endswith(b"0\r\n\r\n")
            assert len(provider.asked) == 1
            assert kept[0].ended == "broken"
            assert kept[0].body == (SSE[:200] if where == 2 else b"")

    run(main())


def test_a_client_that_leaves_while_it_sends_is_no_request() -> None:
    async def main() -> None:
        async with world() as (provider, server, client, kept):
            _, writer = await asyncio.open_connection("127.0.0.1", client._base_url.port)
            writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf".encode())
            await asyncio.sleep(0.05)
            assert server._gateway._relay._slots.in_flight == 1
            writer.close()
            await asyncio.wait_for(server._gateway._relay.idle(), 1)
            assert (provider.asked, kept) == ([], [])

    run(main())


def test_a_client_that_leaves_after_the_last_byte_was_sent_is_done() -> None:
    async def main() -> None:
        async with world(Answer.stream(SSE, pieces=3)) as (_, _, client, kept):
            async with client.post(CHAT, json=BODY) as answer:
                await answer.content.readexactly(len(SSE))
                answer.close()
            assert (await gone_records(kept)).ended in ("done", "gone")
            assert kept[0].body == SSE

    run(main())


# ── beginning and end ───────────────────────────────────────────────────────────────────────


def test_shutdown_finishes_a_stream_lets_nobody_in_and_flushes_after_the_last_record() -> None:
    order: list[str] = []

    class Writer(Kept):
        def put(self, record: Record) -> bool:
            order.append(record.ended)
            return super().put(record)

        async def start(self) -> None:
            order.append("start")

        async def stop(self) -> None:
            order.append("stop")

    async def main() -> None:
        writer = Writer()
        answer = Answer.stream(SSE, pieces=8, pause_s=0.05)
        async with world(answer, parts={"recorder": writer, "services": (writer,)}) as (_, server, client, _):
            async with client.post(CHAT, json=BODY) as got:
                server.handle_exit(15, None)
                assert not server._gateway.health.ready
                assert await got.read() == SSE
            assert not server.servers[0].is_serving()

    run(main())
    assert order == ["start", "done", "stop"]


def test_a_stream_that_does_not_end_is_cut_off_after_the_drain_and_recorded_before_the_flush() -> None:
    order: list[str] = []

    class Writer(Kept):
        def put(self, record: Record) -> bool:
            order.append(record.ended)
            return True

        async def start(self) -> None: ...

        async def stop(self) -> None:
            order.append("stop")

    async def main() -> None:
        writer = Writer()
        parts = {"recorder": writer, "services": (writer,)}
        answer = Answer.stream(SSE, pieces=[9], hangs=1)
        async with (
            world(answer, parts=parts, drain_s=0.2) as (provider, server, client, _),
            client.post(CHAT, json=BODY) as got,
        ):
            await got.content.readexactly(9)
            server.handle_exit(15, None)
            await asyncio.wait_for(provider.asked[0].left.wait(), 5)

    run(main())
    assert order == ["broken", "stop"]


def test_health_says_ready_and_metrics_need_the_right() -> None:
    async def main() -> None:
        async with world() as (_, server, client, _):
            for path, status in [("/livez", 200), ("/readyz", 200), ("/nothing", 404)]:
                async with client.get(path) as answer:
                    assert answer.status == status
            server._gateway.health.draining = True
            async with client.get("/readyz") as answer:
                assert answer.status == 503
            async with client.get("/metrics", headers={"x-tokenspace-key": "bad"}) as answer:
                assert answer.status == 401
                assert answer.headers["content-type"] == "application/problem+json"
            async with client.get("/metrics") as answer:
                assert "tokenspace_in_flight 0.0" in await answer.text()

    run(main())


def test_what_stands_beside_the_relay_is_made_at_its_first_request_and_told_of_the_end() -> None:
    seen: list[Any] = []

    def make() -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                seen.append((await receive())["type"])
                await send({"type": "lifespan.startup.complete"})
                seen.append((await receive())["type"])
                await send({"type": "lifespan.shutdown.complete"})
                return
            seen.append((scope["path"], dict(scope["headers"]).get(b"x-tokenspace-user")))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"beside"})

        return app

    async def main() -> None:
        async with world(parts={"beside": make}) as (_, _, client, _):
            async with client.post(CHAT, json=BODY):
                pass
            assert seen == []
            async with client.post("/a/desk/u/kim/v1/feedback", json={}) as answer:
                assert await answer.read() == b"beside"

    run(main())
    assert seen == ["lifespan.startup", ("/v1/feedback", b"kim"), "lifespan.shutdown"]


def test_a_gateway_keeps_no_cookie_of_a_provider() -> None:
    async def main() -> None:
        made = Answer(headers=(("content-type", "application/json"), ("set-cookie", "who=alice")))
        async with world(made) as (provider, server, _, _):
            for _ in range(2):
                async with aiohttp.ClientSession(server.address) as client, client.post(CHAT, json=BODY):
                    pass
            assert provider.asked[1].header("cookie") is None

    run(main())
