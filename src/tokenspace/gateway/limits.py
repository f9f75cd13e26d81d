"""What a caller may ask of us: sizes, depth, and how much at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from tokenspace.gateway.errors import TooBusy, TooDeep, TooLarge, TooSlow

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

BODY_S: Final = 60.0
"""Between two pieces of a body; a client that trickles would hold a place of its key for ever."""
RETRY_AFTER_S: Final = 1


class ClientGone(Exception):  # a state of the connection, and nobody is there to be told of an error
    """The client left before its request was complete."""


class Slots:
    """How many requests each key has in flight, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: dict[str, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def hold(self, key: str) -> Generator[None]:
        """A place for one request. Raises `TooBusy` where there is none."""
        taken = self._taken.get(key, 0)
        if taken >= self._limit:
            hint = "wait for some of them to end, then send this one again"
            raise TooBusy(f"{taken} requests of this key are in flight", hint=hint, retry_after_s=RETRY_AFTER_S)
        self._taken[key] = taken + 1
        self._idle.clear()
        try:
            yield
        finally:
            if self._taken[key] == 1:
                del self._taken[key]
                if not self._taken:
                    self._idle.set()
            else:
                self._taken[key] -= 1

    async def idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    @property
    def in_flight(self) -> int:
        """Requests of all keys."""
        return sum(self._taken.values())


async def read_body(receive: Receive, headers: Mapping[str, str], *, limit_bytes: int) -> bytes:
    """The whole body. Raises `TooLarge` as soon as that is known, `TooSlow`, or `ClientGone`."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        whole: bytes = message.get("body", b"")
        _check_size(whole, limit_bytes)
        return whole
    return await _read_rest(receive, message, limit_bytes)


async def _read_rest(receive: Receive, message: Mapping[str, Any], limit_bytes: int) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        _check_size(body, limit_bytes)
        if not message.get("more_body", False):
            return bytes(body)
        try:
            async with asyncio.timeout(BODY_S):
                message = await receive()
        except TimeoutError as error:
            raise TooSlow(f"nothing more of the body came for {BODY_S:g} s", hint="send the request again") from error


def _check_size(body: bytes | bytearray, limit_bytes: int) -> None:
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"the body has more than {limit_bytes} bytes", hint="shorten the conversation or its attachments")


def check_depth(value: object, limit: int) -> None:
    """Raise `TooDeep` where JSON is nested in more than `limit` lists and objects. Linear in the number of values."""
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [child for parent in level for child in _children(parent) if type(child) in _CONTAINERS]
        if not level:
            return
    raise TooDeep(f"the JSON is nested more than {limit} deep", hint="send it flatter, or as a string")


_CONTAINERS: Final = (dict, list)


def _children(parent: Any) -> Iterable[Any]:
    return cast("dict[str, Any]", parent).values() if type(parent) is dict else parent
