"""What the rooms of the gateway say to one another.

A request comes in as bytes. `keys` say who is calling, a `Dialect` reads what is asked, the `Injector` says what was
learned for it, the dialect puts that in, the relay sends it on and gives back the answer byte for byte, and the
`Recorder` keeps what happened. Whatever fails on the way to an injection, the original bytes are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Protocol

from tokenspace.domain import Heads, Message, Origin, Request, Right, Run, Scope

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is calling, authenticated: whose context it is, and what the key may do.

    `key` is the id of a virtual key, or "" where the caller's own provider key passes through. `session` names the
    conversation where the client does; ids that a client sends correlate, they never authorise.
    """

    key: str = ""
    rights: frozenset[Right]
    scope: Scope
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request body asks, in our words.

    `request` is the client's whole conversation. `chain[i]` is a digest of the client's own items 0 to i, the system
    text before them included, so that the same conversation is known again on its next call. `anchors` are the
    indices of items that may carry something recalled: user messages, never what lies between a tool call and its
    result. `previous` is a provider's response id that the body goes on from. `closing` system or developer items end
    the body: some harnesses remind their model there at every call, and they belong to the turn before them.
    """

    model: str
    stream: bool
    request: Request
    chain: tuple[str, ...]
    anchors: tuple[int, ...]
    previous: str | None = None
    closing: int = 0

    @property
    def last(self) -> int:
        """The index of the item with which the conversation ends so far, -1 if there is none."""
        return len(self.chain) - 1 - self.closing


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Something recalled at the client's item `at`, replayed byte for byte on every later call of the conversation.

    `turns` come before the item as user and assistant turns; `text` goes into it, before its own words, or where the
    dialect has a better carrier, there.
    """

    at: int
    text: str = ""
    turns: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What was learned for a request.

    `blocks` stand after the client's own system text, base first, frozen for a session. `heads` is what is served,
    `shown` the ids of every entry in it, old anchors included, `taint` their least origin. `session` is the
    conversation as we know it again, for the record: the caller's own name for it, or ours.
    """

    blocks: tuple[str, ...] = ()
    anchors: tuple[Anchor, ...] = ()
    heads: Heads
    shown: tuple[str, ...] = ()
    taint: Origin = Origin.OPERATOR
    session: str = ""

    @property
    def empty(self) -> bool:
        """Whether the original bytes are sent."""
        return not self.blocks and not self.anchors


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider answered, parsed after the last byte.

    `id` is the provider's response id, "" if it gave none. Not `complete`: the stream broke off, or said so itself.
    """

    id: str = ""
    run: Run
    complete: bool = True
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request that went through, to be kept. `status` is the provider's, 0 if it never answered.

    `ended` says how: "done", "gone" (the client left), "broken" (the upstream did) or "refused" (by the upstream).
    `body` is the raw answer, decompressed by whoever reads it, as `encoding` says.
    """

    episode: str
    caller: Caller
    dialect: str
    asked: Asked
    injection: Injection | None
    status: int
    ended: Literal["done", "gone", "broken", "refused"]
    body: bytes = b""
    encoding: str = ""
    stream: bool = False
    latency_s: float = 0.0
    at: datetime


class Dialect(Protocol):
    """One provider protocol: Chat Completions, Responses or Messages. Pure, and quick on bodies of 100 KB."""

    @property
    def name(self) -> str:
        """chat, responses or messages."""
        ...

    @property
    def paths(self) -> tuple[str, ...]:
        """The routes that speak it, below the version prefix, such as "/chat/completions"."""
        ...

    def read(self, body: Body) -> Asked:
        """What is asked. Raises `BadData` for a body that is not of this dialect: it is then passed on as it is."""
        ...

    def inject(self, body: Body, injection: Injection) -> Body:
        """The body with what was learned; `body` is not changed, and what is not touched is the same object."""
        ...

    def answer(self, data: bytes, *, stream: bool) -> Answer:
        """The whole answer, from a JSON body or all events of a stream. Never raises: what is odd is an `error`."""
        ...

    def error(self, message: str, *, status: int, kind: str) -> bytes:
        """Our own error in the words of this dialect, as its official client expects it."""
        ...


class Door(Protocol):
    """Says who is calling, before the body of a request is read."""

    async def caller(self, headers: Mapping[str, str], *, agent: str, user: str, need: Right) -> Caller:
        """Who this is. `headers` have lower-case names; `agent` and `user` are those of the path, "" if it has none.

        A virtual key stands in `x-tokenspace-key`, else in `authorization: Bearer` or `x-api-key`. Raises `KeyRefused`
        or `RightMissing`, both from `gateway.errors`.
        """
        ...


class Injector(Protocol):
    """What was learned for a request, within a deadline. Memory only on the hot path."""

    async def prepare(self, asked: Asked, caller: Caller) -> Injection | None:
        """The injection, or None to send the original bytes; never raises."""
        ...


class Recorder(Protocol):
    """Keeps what happened, later and elsewhere. `put` never blocks and never raises: an overflow is counted."""

    def put(self, record: Record) -> bool:
        """Whether there was room."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A provider by the operator's name for it. `url` is its root, version prefix included; "" is the embedded model.

    `dialects` are the ones that it speaks. `headers` are added to every request, such as an operator's own key.
    """

    name: str
    url: str = ""
    dialects: tuple[str, ...] = ("chat",)
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How a gateway runs. Times are in seconds, sizes in bytes.

    `upstreams` in order: the first that speaks a dialect is its default. With `open_door` the caller's own provider key
    passes through and is neither kept nor logged, and the scope is `agent` under `tenant`; otherwise only virtual keys
    are let in.
    """

    host: str = "127.0.0.1"
    port: int = 8811
    upstreams: tuple[Upstream, ...] = (Upstream(name="local"),)
    agent: str = "default"
    tenant: str = "default"
    open_door: bool = False
    body_bytes: int = 32_000_000
    header_bytes: int = 64_000
    json_depth: int = 64
    in_flight_per_key: int = 64
    recall_deadline_s: float = 0.020
    snapshot_s: float = 1.0
    idle_session_s: float = 3_600.0
    keep_anchors_s: float = 172_800.0
    keep_access_s: float = 34_560_000.0
    queue_records: int = 10_000
    spool: str = ""
    connect_s: float = 5.0
    read_s: float = 300.0
    drain_s: float = 30.0
