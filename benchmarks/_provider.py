"""A provider that costs little: every answer is ready before it is asked for. Run as `python _provider.py`.

It speaks just enough HTTP for keep-alive and bodies of known length, and prints its port. A stream's chunks are written
one by one, each in its own turn of the event loop, so that a proxy gets them as a provider sends them and not as one
block; with `"paced"` as the model, 2 ms apart.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

CHUNKS: Final = 50
PACE_S: Final = 0.002


def _chunk(number: int) -> bytes:
    last = number == CHUNKS - 1
    delta = {"role": "assistant", "content": ""} if number == 0 else {} if last else {"content": f" word{number}"}
    choice = {"index": 0, "delta": delta, "finish_reason": "stop" if last else None}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "fake"}
    return b"data: " + json.dumps(head | {"choices": [choice]}).encode() + b"\n\n"


EVENTS: Final = [*(_chunk(number) for number in range(CHUNKS)), b"data: [DONE]\n\n"]
ANSWER: Final = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "fake",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "It is there."}}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 6, "total_tokens": 106},
}).encode()  # fmt: skip
WHOLE: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER
BEGIN: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FRAMES: Final = [b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS]
END: Final = b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client; requests come one after the other."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        if len(self._data) < self._missing:
            return
        head = self._data.find(b"\r\n\r\n")
        if head < 0:
            return
        self._missing = head + 4 + _length(bytes(self._data[:head]).lower())
        if len(self._data) < self._missing:
            return
        body = bytes(self._data[head + 4 : self._missing])
        del self._data[: self._missing]
        self._missing = 0
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        # A proxy may have written the JSON anew, with spaces or without.
        if b'"stream":true' not in body and b'"stream": true' not in body:
            self._transport.write(WHOLE)
            return
        self._transport.write(BEGIN)
        self._next(0, b'"paced"' in body)

    def _next(self, number: int, paced: bool) -> None:
        if self._transport.is_closing():
            return
        last = number == len(FRAMES) - 1
        self._transport.write(FRAMES[number] + (END if last else b""))
        if last:
            return
        loop = asyncio.get_running_loop()
        if paced:
            loop.call_later(PACE_S, self._next, number + 1, paced)
        else:
            loop.call_soon(self._next, number + 1, paced)


def _length(head: bytes) -> int:
    _, found, rest = head.partition(b"content-length:")
    return int(rest.split(b"\r\n")[0]) if found else 0


async def main() -> None:
    """Serve on a port that the system chooses."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
