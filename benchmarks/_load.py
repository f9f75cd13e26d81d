"""A load generator of its own: conversations that grow, sent over kept connections as fast as they are answered.

Every request is of a conversation that no other one is part of, five calls long, as agents make them: a gateway that
knows conversations again gets to do so, and none can answer out of a memory of the very same bytes.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

TURNS: Final = 5
MARK: Final = b"00000000"
WORDS: Final = (
    "about", "before", "bring", "build", "carry", "change", "child", "clear", "close", "colour", "could", "course",
    "cover", "cross", "differ", "draw", "early", "earth", "enough", "every", "family", "farm", "father", "figure",
)  # fmt: skip
_numbers = iter(range(10_000_000, 100_000_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to send requests: a port of this machine, the path, and headers such as a key."""

    port: int
    path: str = "/v1/chat/completions"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def head(self, size_bytes: int) -> bytes:
        """The head of a request with a body of this size."""
        lines = [f"POST {self.path} HTTP/1.1", "host: localhost", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, f"content-length: {size_bytes}", "", ""]).encode()


def templates(size_bytes: int, *, model: str, stream: bool) -> list[bytes]:
    """The bodies of one conversation's calls, the last of them about `size_bytes` long, with `MARK` for its number."""
    chance = random.Random(size_bytes)

    def text(length: int) -> str:
        words: list[str] = []
        while sum(map(len, words)) + len(words) < length:
            words.append(chance.choice(WORDS))
        return " ".join(words)

    turn = max(30, size_bytes // 25)
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": text(size_bytes // 4)},
        {"role": "user", "content": MARK.decode() + " " + text(max(60, size_bytes // 4))},
    ]
    found: list[bytes] = []
    for _ in range(TURNS):
        body: dict[str, Any] = {"model": model, "messages": messages}
        found.append(json.dumps(body | ({"stream": True} if stream else {})).encode())
        messages = [*messages, {"role": "assistant", "content": text(turn)}, {"role": "user", "content": text(turn)}]
    return found


def requests(target: Target, bodies: list[bytes]) -> Iterator[bytes]:
    """Whole requests without end, one conversation after the other."""
    made = [target.head(len(body)) + body for body in bodies]
    while True:
        mark = b"%08d" % next(_numbers)
        for data in made:
            yield data.replace(MARK, mark, 1)


class Client(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._whole_bytes = 0
        self._done: asyncio.Future[None] | None = None
        self.first = 0.0
        self.answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the connection was closed within an answer"))

    def data_received(self, data: bytes) -> None:
        if not self._data:
            self.first = perf_counter()
        self._data += data
        if not self._whole_bytes:
            head = self._data.find(b"\r\n\r\n") + 4
            if head < 4:
                return
            fields = bytes(self._data[:head]).lower()
            _, sized, rest = fields.partition(b"\r\ncontent-length:")
            self._whole_bytes = head + int(rest.split(b"\r\n")[0]) if sized else -1
        ended = self._data.endswith(b"\r\n0\r\n\r\n") if self._whole_bytes < 0 else len(self._data) >= self._whole_bytes
        if ended and self._done is not None:
            self.answer = bytes(self._data)
            self._data.clear()
            self._whole_bytes = 0
            self._done.set_result(None)

    async def ask(self, data: bytes) -> float:
        """Send a request; seconds until the answer's last byte. Raises `RuntimeError` if it is not a success."""
        self._done = asyncio.get_running_loop().create_future()
        began = perf_counter()
        self.transport.write(data)
        await self._done
        took = perf_counter() - began
        if not self.answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not answered: {self.answer[:300]!r}")
        return took


async def connected(port: int) -> Client:
    """A client with its connection."""
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


async def one_by_one(target: Target, bodies: list[bytes], count: int) -> tuple[list[float], list[float]]:
    """Seconds until the last byte and until the first one, of `count` requests of one client."""
    client = await connected(target.port)
    last: list[float] = []
    first: list[float] = []
    for data, _ in zip(requests(target, bodies), range(count), strict=False):
        began = perf_counter()
        last.append(await client.ask(data))
        first.append(client.first - began)
    client.transport.close()
    return last, first


async def together(target: Target, bodies: list[bytes], *, clients: int, limit_s: float) -> int:
    """How many requests several clients got answered within the time."""
    until = perf_counter() + limit_s

    async def go() -> int:
        client = await connected(target.port)
        done = 0
        for data in requests(target, bodies):
            await client.ask(data)
            done += 1
            if perf_counter() > until:
                break
        client.transport.close()
        return done

    return sum(await asyncio.gather(*(go() for _ in range(clients))))
