"""A provider that replays recordings over a real socket, and remembers what it was asked.

It is a plain asyncio server, not a web framework: it writes exactly the bytes that a test gives it, in the pieces that
the test chooses, and it can break off in the middle as a web framework will not.

    async with Provider() as provider:
        provider.answer = Answer.stream(recording, pieces=7, pause_s=0.01)
        ...                                   # ask through the gateway with Upstream(url=provider.url)
        provider.asked[0].headers, provider.asked[0].body, provider.asked[0].left
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import uvloop

from tokenspace.domain import Right, Scope
from tokenspace.gateway.app import Gateway, Parts
from tokenspace.gateway.errors import KeyRefused
from tokenspace.gateway.server import Server
from tokenspace.gateway.wire import Caller, GatewaySettings, Record

RECORDINGS = Path(__file__).parent / "recordings"

JSON_ANSWER = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "billing"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}).encode()  # fmt: skip


@dataclass(kw_only=True)
class Asked:
    """A request as it arrived. `left` is set once the other side has closed its connection before the end."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is answered: `pieces` are written one by one, `pause_s` apart, after `delay_s`.

    `dies` breaks the connection "before" the headers, "after" them, or after that many pieces; `hangs` stops there
    instead, until the other side leaves.
    """

    pieces: tuple[bytes, ...] = (JSON_ANSWER,)
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    chunked: bool = False
    delay_s: float = 0.0
    pause_s: float = 0.0
    dies: str | int | None = None
    hangs: str | int | None = None

    @staticmethod
    def stream(data: bytes, *, pieces: int | Sequence[int] = 5, seed: int = 0, **more: Any) -> Answer:
        """Server-sent events, cut at `pieces` random places, or at the given ones, which need not be those of events."""
        count = min(pieces, len(data) - 1) if isinstance(pieces, int) else 0
        cuts = sorted(random.Random(seed).sample(range(1, len(data)), count)) if count else pieces
        edges = [0, *(cuts if not isinstance(cuts, int) else ()), len(data)]
        parts = tuple(data[a:b] for a, b in pairwise(edges))
        return Answer(**{"pieces": parts, "chunked": True, "headers": (("content-type", "text/event-stream"),), **more})

    @staticmethod
    def recording(name: str, **more: Any) -> Answer:
        """A file of `recordings/`, as a stream if its name ends in .sse."""
        data = (RECORDINGS / name).read_bytes()
        return Answer.stream(data, **more) if name.endswith(".sse") else Answer(pieces=(data,), **more)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


class Provider:
    """Listens on loopback. `answer` is used for every request; `choose`, if set, picks one by what was asked."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer or Answer()
        self.choose: Callable[[Asked], Answer] | None = None
        self.asked: list[Asked] = []
        self.arrived = asyncio.Event()
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                self.arrived.set()
                answer = self.choose(asked) if self.choose else self.answer
                if not await _write(asked, answer, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = head.decode("utf-8").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    pairs = [line.split(": ", 1) for line in lines[1:] if line]
    headers = [(name, value) for name, value in pairs]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Asked(method=method, target=target, headers=headers, body=await reader.readexactly(length))


async def _write(asked: Asked, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Write the answer; whether the connection may be used again."""
    watch = asyncio.create_task(_watch(asked, reader))
    try:
        return await _play(answer, asked, writer)
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


async def _play(answer: Answer, asked: Asked, writer: asyncio.StreamWriter) -> bool:
    if await _stops("before", answer, asked):
        return False
    await _pause(answer.delay_s, asked)
    headers = list(answer.headers)
    headers.append(("transfer-encoding", "chunked") if answer.chunked else ("content-length", str(len(answer.body))))
    lines = [f"HTTP/1.1 {answer.status} Whatever", *(f"{name}: {value}" for name, value in headers), "", ""]
    writer.write("\r\n".join(lines).encode())
    if await _stops("after", answer, asked):
        await writer.drain()
        return False
    for number, piece in enumerate(answer.pieces):
        if await _stops(number, answer, asked):
            return False
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
        await writer.drain()
        await _pause(answer.pause_s, asked)
        if asked.left.is_set():
            return False
    if answer.chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def _stops(place: str | int, answer: Answer, asked: Asked) -> bool:
    if answer.hangs == place:
        await asked.left.wait()
    return place in (answer.dies, answer.hangs)


async def _pause(seconds: float, asked: Asked) -> None:
    if seconds:
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.left.wait(), seconds)


async def _watch(asked: Asked, reader: asyncio.StreamReader) -> None:
    """Notice that the other side closes; what comes instead of the next request is put back."""
    with suppress(ConnectionError):
        if byte := await reader.read(1):
            reader._buffer[:0] = byte
            return
    asked.left.set()


def events(*data: object) -> bytes:
    """Server-sent events of JSON values; a string stands as it is."""
    return b"".join(f"data: {item if isinstance(item, str) else json.dumps(item)}\n\n".encode() for item in data)


def chat_stream(words: Iterable[str] = ("bil", "ling")) -> bytes:
    """A stream of Chat Completions that says these words."""
    chunks = [{"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    return events(
        *chunks, {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, "[DONE]"
    )


# ── a gateway before it ─────────────────────────────────────────────────────────────────────


class OpenDoor:
    """Lets everybody in; a header `x-tokenspace-key` becomes the id of the key."""

    async def caller(self, headers: Mapping[str, str], *, agent: str, user: str, need: Right) -> Caller:
        if headers.get("x-tokenspace-key") == "bad":
            raise KeyRefused("this key is unknown", hint="make another one")
        scope = Scope(agent=agent or headers.get("x-tokenspace-agent", "default"), tenant="default", user=user)
        return Caller(key=headers.get("x-tokenspace-key", ""), rights=frozenset({"infer"}), scope=scope)


class Kept(list[Record]):
    """A recorder that keeps everything in a list."""

    def put(self, record: Record) -> bool:
        self.append(record)
        return True


@asynccontextmanager
async def gateway(settings: GatewaySettings, **parts: Any) -> AsyncIterator[Server]:
    """A gateway on a real port in this event loop; without parts it relays for everybody."""
    from tokenspace.gateway.dialects import DIALECTS

    settings = replace(settings, port=0)
    server = Server(Gateway(settings, Parts(**{"door": OpenDoor(), "dialects": DIALECTS, **parts})))
    server.config.load()
    task = asyncio.create_task(server._serve())  # not `serve`, which would take over this process's signals
    while not server.started and not task.done():  # noqa: ASYNC110 (the server has no event for it)
        await asyncio.sleep(0.005)
    try:
        yield server
    finally:
        server.should_exit = True
        await task


def run(main: Coroutine[Any, Any, None], *, limit_s: float = 30.0) -> None:
    """Run a test in the event loop that the server uses, bounded in time."""

    async def bounded() -> None:
        async with asyncio.timeout(limit_s):
            await main

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())
