"""The providers: who speaks what, which headers cross over, and one pooled client for all of them.

A provider is one of the operator's, chosen by its name or by the dialect of the route; nothing that a caller sends is
ever used as an address. There are no retries, no redirects, no cookies, and no proxies from the environment.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tokenspace.errors import UsageError
from tokenspace.gateway.embedded import Embedded
from tokenspace.gateway.errors import NoSuchRoute, UpstreamSlow, UpstreamUnreachable
from tokenspace.gateway.routes import Route, family_of
from tokenspace.gateway.wire import GatewaySettings, Upstream

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

RawHeaders = Iterable[tuple[bytes, bytes]]

HOP_BY_HOP: Final = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip
OURS: Final = b"x-tokenspace-"
NOT_ONWARD: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"cookie"}
"""Not sent on, beside our own: the client's connection to us, and cookies, which are this server's if anybody's."""
CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
CHOOSES: Final = "x-tokenspace-upstream"

IDLE_S: Final = 10.0
"""How long a connection waits for its next request: shorter than any provider's own limit, because a request on a
connection that is just being closed fails, and is not sent again."""
READ_BYTES: Final = 65_536
HEADER_BYTES: Final = 65_536
LARGE_BODY_BYTES: Final = 1_000_000


def onward(headers: RawHeaders, own: Mapping[str, str], *, keyed: bool) -> list[tuple[str, str]]:
    """The headers of a request to a provider.

    `own` are the operator's: they replace the caller's of the same name, and with a credential among them no
    credential of the caller goes along. `keyed`: the caller's credential is a key of ours, which stays here.
    """
    names = {name.lower().encode("latin-1") for name in own}
    drop = _named_by_connection(headers) | NOT_ONWARD | names
    if keyed or not CREDENTIALS.isdisjoint(names):
        drop |= CREDENTIALS
    kept = [
        (name.decode("latin-1"), _text(value))
        for name, value in headers
        if name not in drop and not name.startswith(OURS)
    ]
    return [*kept, *own.items()]


def homeward(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The headers of a provider's answer as they came, without those of the connection and those that are ours."""
    lowered = [(name.lower(), value) for name, value in headers]
    drop = _named_by_connection(lowered) | HOP_BY_HOP
    return [(name, value) for name, value in lowered if name not in drop and not name.startswith(OURS)]


def leftover(response: ClientResponse) -> bytes:
    """What came of an answer before it broke off, and was not read yet."""
    # The client library keeps it, but says only that the answer broke; there is no public way to what is kept.
    read: Any = getattr(response.content, "_read_nowait", None)
    try:
        rest: bytes = read(-1) if read is not None else b""
    except TimeoutError:
        return b""
    return rest


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    named = (value for name, value in headers if name == b"connection")
    return frozenset(token.strip().lower() for value in named for token in value.split(b","))


def _text(value: bytes) -> str:
    # The client library writes headers as UTF-8, so that these bytes come out as they came in.
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


class Upstreams:
    """The operator's providers and the connections to them. `open` and `close` belong to one event loop.

    Raises `UsageError` for an address that is not of a web server, or a name given twice.
    """

    def __init__(self, settings: GatewaySettings, *, embedded: Embedded | None = None) -> None:
        self._settings = settings
        self._all: Sequence[Upstream] = settings.upstreams
        self._by_name = {upstream.name: upstream for upstream in self._all}
        self._embedded = embedded or Embedded()
        self._session: ClientSession | None = None
        if len(self._by_name) < len(self._all):
            raise UsageError("two upstreams have the same name", hint="give each one its own")
        for upstream in self._all:
            _check_address(upstream)

    async def open(self) -> None:
        """Make the pool; no connection is made yet."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._settings.connect_s, sock_read=self._settings.read_s
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
            read_bufsize=READ_BYTES,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
        )

    async def close(self) -> None:
        """End all connections, and the embedded model if it was started."""
        if self._session is not None:
            await self._session.close()
        await self._embedded.close()

    def choose(self, route: Route, headers: Mapping[str, str]) -> Upstream:
        """The provider for a request: by the operator's name for it, else the first that speaks the dialect.

        Raises `NoSuchRoute` where there is none, or where the route is not safe to offer under a shared key.
        """
        family = family_of(route, headers)
        speaking = [upstream for upstream in self._all if family in upstream.dialects]
        if name := headers.get(CHOOSES, ""):
            speaking = [upstream for upstream in speaking if upstream.name == name]
        elif not speaking and not route.family:
            speaking = list(self._all[:1])
        if not speaking:
            which = f"no upstream {name[:40]!r}" if name else "no upstream"
            raise NoSuchRoute(f"{which} speaks {family}", hint="ask the operator of this gateway which ones there are")
        if not route.stateless and _shared(speaking[0]):
            hint = "use the provider itself for what it stores"
            raise NoSuchRoute("this route is not offered under the operator's provider key", hint=hint)
        return speaking[0]

    async def ask(
        self, upstream: Upstream, route: Route, *, query: bytes, headers: RawHeaders, body: bytes, keyed: bool
    ) -> ClientResponse:
        """Send a request on, and come back with the answer's headers; the caller closes the response.

        Raises `UpstreamUnreachable`, `UpstreamSlow`, or `ModelUnavailable` for the embedded model.
        """
        import aiohttp
        from yarl import URL

        root, own = upstream.url, upstream.headers
        if not root:
            root, own = await self._embedded.address()
            # Its server closes a connection after a stream without saying so first: the next request would meet that.
            own = {**own, "Connection": "close"}
        url = root.rstrip("/") + route.rest + ("?" + query.decode("latin-1") if query else "")
        if self._session is None:
            raise UsageError("the upstreams are not open", hint="call open() in the event loop first")
        try:
            return await self._session.request(
                route.method,
                URL(url, encoded=True),
                headers=onward(headers, own, keyed=keyed),
                data=_payload(body) if body or route.method == "POST" else None,
                allow_redirects=False,
            )
        except TimeoutError as error:
            hint = "ask again; if it stays so, look at the provider's status page"
            raise UpstreamSlow(f"{upstream.name} did not answer in time", hint=hint) from error
        except (aiohttp.ClientError, OSError) as error:
            hint = "ask again; if it stays so, the operator should check the upstream's address and network"
            raise UpstreamUnreachable(f"{upstream.name} cannot be reached ({_kind(error)})", hint=hint) from error


def _payload(body: bytes) -> bytes | io.BytesIO:
    return body if len(body) < LARGE_BODY_BYTES else io.BytesIO(body)  # written in pieces, so that others get a turn


def _kind(error: Exception) -> str:
    """What went wrong without where: an address may be the operator's secret."""
    return type(error).__name__.removeprefix("Client")


def _shared(upstream: Upstream) -> bool:
    """Whether all callers use one provider key, the operator's."""
    return not upstream.url or any(name.lower().encode("latin-1") in CREDENTIALS for name in upstream.headers)


def _check_address(upstream: Upstream) -> None:
    from urllib.parse import urlsplit

    parts: Any = urlsplit(upstream.url)
    good = not upstream.url or (parts.scheme in ("http", "https") and parts.hostname and not parts.query)
    if not good or "@" in parts.netloc:
        hint = "give its root with the version prefix, such as https://api.example.com/v1, and a key in its headers"
        raise UsageError(f"the address of upstream {upstream.name!r} cannot be used", hint=hint)
