"""`wrap`: an official OpenAI or Anthropic client that learns, without a server and without patching.

    client = tokenspace.wrap(OpenAI(), agent="desk", user="alice")
    answer = client.chat.completions.create(model="gpt-5", messages=[…])
    tokenspace.feedback(client, answer, correction="Kestrel")

What `wrap` returns is a copy of the client, made by its own `copy`, whose HTTP client has another transport. That reads
each request as the gateway does, puts in what was learned, and sends it through the transport that the client had.
The answer comes back byte for byte; after its last byte the episode is recorded. Nothing of the caller's is changed.
"""

from __future__ import annotations

import asyncio
import copy
import sys
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from tokenspace.errors import UsageError

if TYPE_CHECKING:
    from tokenspace.domain import Feedback
    from tokenspace.gateway.inprocess import Exchange, InProcess
    from tokenspace.protocols import Store

T = TypeVar("T")

_FAMILIES: Final = ("httpx2", "httpx")
"""Today's clients are built on the one, older ones on the other; both have the same names in them."""


def wrap(
    client: T,
    *,
    agent: str | None = None,
    tenant: str | None = None,
    user: str | None = None,
    session: str | None = None,
    store: str | Store | None = None,
    deadline_s: float = 0.25,
) -> T:
    """A copy of an official client, synchronous or not, that learns; `close` it, or let it go.

    Whose context it is, say `agent`, `tenant` and `user`; what is left out is that of the project's settings. With a
    tenant and no user, a request may name its own user, by `safety_identifier`, `user` or `metadata.user_id`. `session`
    names the conversation, which is else known by what was said in it. `store` is as in `tokenspace.open`, which is
    how the agent learns from what is recorded here. `deadline_s` is how long a request may wait for what is recalled.

    A client that is wrapped again learns as it is told last. Raises `UsageError` for what is no such client, and
    without the extra `[gateway]`; `StoreError` if there is no store. Once it is wrapped, every failure of ours sends
    the original bytes.
    """
    http = _http(client)
    known = _transport(http)
    original = known.original if known is not None else http
    learning = _learning(
        {"agent": agent, "tenant": tenant, "user": user}, session=session, store=store, deadline_s=deadline_s
    )
    kind = AsyncTransport if isinstance(original, _family(original).AsyncClient) else SyncTransport
    owner = known.owner if known is not None else weakref.ref(client)
    twin = _twin(original, kind(original, learning, owner))
    return cast("T", cast("Any", client).copy(http_client=twin))


def feedback(
    client: object,
    answer: object,
    *,
    correction: str | None = None,
    label: bool | None = None,
    score: float | Mapping[str, float] | None = None,
    text: str | None = None,
    demonstration: str | None = None,
    edit: str | None = None,
    test_log: str | None = None,
    trigger: str = "",
    comment: str = "",
    user: str = "",
) -> Feedback:
    """Say exactly one thing about an answer of a wrapped client, now or weeks later. Blocks until it is kept.

    `answer` is what the client returned, or the provider's id of it. Say what would have been right, whether it was
    right, how good it was from 0 to 1 (or the grades of a rubric), or something in words (`trigger`: about which kind
    of request). `user` is the one that the request named itself, if it did.

    Raises `UsageError` for none or several, `BadData` for what cannot be meant, `NotFound` for an answer that was not
    recorded in this scope, such as a stream that is not at its end.
    """
    transport = _transport(_http(client))
    if transport is None:
        raise UsageError("this client does not learn", hint="use what tokenspace.wrap(client) returned")
    said: dict[str, object] = {
        "correction": correction, "boolean": label, "rubric" if isinstance(score, Mapping) else "number": score,
        "comment": text, "demonstration": demonstration, "edit": edit, "test_log": test_log,
    }  # fmt: skip
    given = {kind: value for kind, value in said.items() if value is not None}
    if len(given) != 1:
        raise UsageError("feedback is one thing about one answer", hint="give one of correction, label, score, text, …")
    ((kind, value),) = given.items()
    target = answer if isinstance(answer, str) else getattr(answer, "id", None)
    return transport.learning.tell(
        {"target": target, "kind": kind, "value": value, "trigger": trigger, "comment": comment, "user": user}
    )


# ── put together ────────────────────────────────────────────────────────────────────────────


def _learning(given: dict[str, Any], *, session: str | None, store: str | Store | None, deadline_s: float) -> InProcess:
    try:
        from tokenspace.gateway.inprocess import InProcess, scope_of
    except ImportError as error:
        raise UsageError(f"a client needs {error.name} to learn", hint='pip install "tokenspace[gateway]"') from error
    from tokenspace.agents.none import NoAgent
    from tokenspace.config import build, load
    from tokenspace.gateway.wire import Caller

    settings = load({**given, "store": store if isinstance(store, str) else None})
    scope = scope_of(settings.agent, settings.tenant, settings.user)
    parts = build(settings, model=NoAgent(), store=None if isinstance(store, str) else store)
    caller = Caller(rights=frozenset({"infer", "feedback", "admin"}), scope=scope, session=session)
    ours = store is None or isinstance(store, str)
    return InProcess(
        parts, caller, principal=settings.principal, deadline_s=deadline_s,
        after=parts.runtime.store.close if ours else lambda: None,
    )  # fmt: skip


def _http(client: object) -> Any:
    """The HTTP client in an official client. Raises `UsageError` if there is none."""
    http = getattr(client, "_client", None)
    if http is None or not callable(getattr(client, "copy", None)):
        raise UsageError(
            f"{type(client).__name__} is no client of OpenAI or Anthropic",
            hint="wrap an OpenAI, AsyncOpenAI, Anthropic or AsyncAnthropic",
        )
    _family(http)
    return http


def _transport(http: Any) -> _Transport | None:
    """Our transport, if the HTTP client has it."""
    found = getattr(http, "_transport", None)
    return found if isinstance(found, _Transport) else None


def _family(http: object) -> Any:
    """The module, httpx2 or httpx, that an HTTP client is of. Raises `UsageError` for another one."""
    loaded = (sys.modules.get(name) for name in _FAMILIES)
    for module in cast("Iterator[Any]", loaded):
        if module is not None and isinstance(http, (module.Client, module.AsyncClient)):
            return module
    raise UsageError(f"{type(http).__name__} is no HTTP client that we know", hint="give the client one of httpx")


def _twin(http: Any, transport: _Transport) -> Any:
    """An HTTP client with another transport, equal in all else, subclasses and what they add included.

    What could be changed in it is copied, so that neither changes the other. There is no public way to this: a client
    that is made anew would lose what a subclass does to requests, and proxies chosen by address.
    """
    twin: Any = copy.copy(http)
    twin.__dict__.update(_transport=transport, _mounts={}, _headers=http.headers.copy())
    twin.cookies = http.cookies
    twin.event_hooks = http.event_hooks
    return twin


# ── on the way ──────────────────────────────────────────────────────────────────────────────


class _Transport:
    """What both kinds share.

    `original` is the HTTP client of the caller's client, its `owner`. It is held because it closes itself when let go.
    """

    def __init__(self, original: Any, learning: InProcess, owner: weakref.ref[Any]) -> None:
        self.original = original
        self.learning = learning
        self.owner = owner
        self._http = _family(original)

    @property
    def _orphaned(self) -> bool:
        """Whether we alone hold the HTTP client: its owner is gone, who had made it, for such a one closes itself."""
        return self.owner() is None and hasattr(self.original, "__del__")

    def _asked(self, request: Any) -> tuple[Any, bytes] | None:
        """The dialect and the body of a request, if it is one that we may read."""
        from tokenspace.gateway.inprocess import dialect_of

        dialect = dialect_of(request.url.path) if request.method == "POST" else None
        whole = isinstance(request.stream, self._http.ByteStream) and "content-encoding" not in request.headers
        return (dialect, request.content) if dialect is not None and whole else None

    def _inner(self, request: Any) -> Any:
        """The caller's transport for this address, which may be a proxy's."""
        return self.original._transport_for_url(request.url)  # noqa: SLF001 (there is no public way)

    def _with(self, request: Any, exchange: Exchange | None) -> Any:
        """The request to send: another one if something was put in, else the very same."""
        if exchange is None or exchange.injection is None or exchange.injection.empty:
            return request
        headers = request.headers.copy()
        headers["content-length"] = str(len(exchange.body))
        return self._http.Request(
            request.method, request.url, headers=headers, content=exchange.body, extensions=request.extensions
        )

    def _told(self, response: Any, exchange: Exchange, tee: type[_Tee | _AsyncTee]) -> Any:
        """The same answer, listened to. Made anew, because one that is in memory already would not be read again."""
        http, encoding = self._http, response.headers.get("content-encoding", "")

        def decode(body: bytes) -> bytes:
            return http.Response(200, headers={"content-encoding": encoding}, content=body).content

        kind = response.headers.get("content-type", "")
        exchange.came(status=response.status_code, encoding=encoding, kind=kind, decode=decode)
        stream = _of(tee, http)(response.stream, exchange)
        return http.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )


class SyncTransport(_Transport):
    """A transport of httpx or httpx2."""

    def handle_request(self, request: Any) -> Any:
        """Send one request, and give its answer back when the head of it is there."""
        asked = self._asked(request)
        exchange = self.learning.begin(*asked) if asked else None
        try:
            response = self._inner(request).handle_request(self._with(request, exchange))
        except BaseException:
            if exchange is not None:
                exchange.end("broken")
            raise
        return response if exchange is None else self._told(response, exchange, _Tee)

    def __enter__(self) -> Self:
        """Nothing: the caller's own is open."""
        return self

    def __exit__(self, *_: object) -> None:
        """As `close`."""
        self.close()

    def close(self) -> None:
        """End what is ours; an HTTP client that somebody else may use stays as it is."""
        self.learning.close()
        if self._orphaned:
            self.original.close()


class AsyncTransport(_Transport):
    """An asynchronous transport of httpx or httpx2."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send one request, and give its answer back when the head of it is there."""
        asked = self._asked(request)
        exchange = await self.learning.begin_async(*asked) if asked else None
        try:
            response = await self._inner(request).handle_async_request(self._with(request, exchange))
        except BaseException:
            if exchange is not None:
                exchange.end("broken")
            raise
        return response if exchange is None else self._told(response, exchange, _AsyncTee)

    async def __aenter__(self) -> Self:
        """Nothing: the caller's own is open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """As `aclose`."""
        await self.aclose()

    async def aclose(self) -> None:
        """End what is ours; an HTTP client that somebody else may use stays as it is."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # an event loop of another library
            self.learning.close()
        else:
            await asyncio.to_thread(self.learning.close)
        if self._orphaned:
            await self.original.aclose()


# ── and back ────────────────────────────────────────────────────────────────────────────────


class _Tee:
    """The bytes of an answer as they come, told to an exchange.

    Whoever reads it a second time goes on where the first reader stopped, as with bytes from a connection.
    """

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner, self._exchange = inner, exchange
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Every piece as it came."""
        self._chunks = self._chunks or iter(self._inner)
        try:
            for chunk in self._chunks:
                self._exchange.keep(chunk)
                yield chunk
        except Exception:
            self._exchange.end("broken")
            raise
        self._exchange.end("done")

    def close(self) -> None:
        """Let go of the connection; before the last byte, the caller has left."""
        try:
            self._inner.close()
        finally:
            self._exchange.end("gone")


class _AsyncTee:
    """As `_Tee`, for an asynchronous client."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner, self._exchange = inner, exchange
        self._chunks: AsyncIterator[bytes] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Every piece as it came."""
        self._chunks = self._chunks or aiter(self._inner)
        try:
            async for chunk in self._chunks:
                self._exchange.keep(chunk)
                yield chunk
        except Exception:
            self._exchange.end("broken")
            raise
        self._exchange.end("done")

    async def aclose(self) -> None:
        """Let go of the connection; before the last byte, the caller has left."""
        try:
            await self._inner.aclose()
        finally:
            self._exchange.end("gone")


@cache
def _of(tee: type[_Tee | _AsyncTee], http: Any) -> Any:
    """A kind of tee that this library takes for a stream of its own."""
    base = http.SyncByteStream if issubclass(tee, _Tee) else http.AsyncByteStream
    return type(tee.__name__, (tee, base), {})
