"""Where a request goes, decided by its path alone: to a provider, or to the application beside the relay.

`/v1/…` goes to a provider if its next segment is one of theirs. `/a/{agent}/u/{user}` may stand before it, for
clients that can set only a URL. What is passed on is the rest of the path as it was sent, behind the address that the
operator set: a path can name neither a host nor a way up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from tokenspace.gateway.wire import Dialect

VERSION: Final = "/v1"
FAMILIES: Final[Mapping[str, str]] = {
    "chat": "chat", "responses": "responses", "messages": "messages", "models": "", "embeddings": "", "completions": "",
    "moderations": "", "rerank": "", "images": "", "audio": "", "files": "", "batches": "", "uploads": "",
    "vector_stores": "", "conversations": "responses",
}  # fmt: skip
"""The first segments that providers own, each with the dialect that its errors are told in; "": the headers say."""

STATELESS: Final = frozenset({
    "/chat/completions", "/responses", "/messages", "/embeddings", "/completions", "/moderations", "/rerank",
    "/messages/count_tokens", "/responses/input_tokens", "/responses/compact", "/images/generations", "/audio/speech",
    "/audio/transcriptions", "/audio/translations",
})  # fmt: skip
"""What may be posted under an operator's own provider key. The other routes read and delete what was stored under
that key, and nothing there says which tenant it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A request to a provider: `rest` is the path below the version prefix, percent-encoded as it came.

    `dialect` is set on the routes that are injected into and recorded. `family` names the dialect that errors are
    told in, and that a provider must speak; "" leaves it to the headers.
    """

    method: str
    rest: str
    family: str
    dialect: Dialect | None = None
    agent: str = ""
    user: str = ""

    @property
    def stateless(self) -> bool:
        """Whether nothing is read that somebody else may have stored under the same provider key."""
        if self.method == "GET":
            return self.rest == "/models" or self.rest.startswith("/models/")
        return self.method == "POST" and self.rest in STATELESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A path without its prefix of agent and user, each "" where it has none."""

    path: str
    agent: str = ""
    user: str = ""


def place(raw_path: str) -> Place:
    """Split `/a/{agent}/u/{user}` off; either part may be missing, and a name may be percent-encoded.

    >>> place("/a/help%20desk/u/kim/v1/models")
    Place(path='/v1/models', agent='help desk', user='kim')
    """
    names = {"a": "", "u": ""}
    for part in ("a", "u"):
        if raw_path.startswith(f"/{part}/"):
            name, slash, rest = raw_path[3:].partition("/")
            if not name or not slash:
                break
            names[part], raw_path = unquote(name), "/" + rest
    return Place(path=raw_path, agent=names["a"], user=names["u"])


def find(method: str, raw_path: str, dialects: Mapping[str, Dialect]) -> Route | None:
    """The route of a request, None if it is not for a provider. `dialects` by their path below the version prefix."""
    where = place(raw_path)
    if not where.path.startswith(VERSION + "/") or method not in ("GET", "POST", "DELETE"):
        return None
    rest = where.path.removeprefix(VERSION)
    first = rest.split("/")[1]
    if first not in FAMILIES or _goes_up(rest):
        return None
    dialect = dialects.get(rest) if method == "POST" else None
    family = dialect.name if dialect else FAMILIES[first]
    return Route(method=method, rest=rest, family=family, dialect=dialect, agent=where.agent, user=where.user)


def family_of(route: Route, headers: Mapping[str, str]) -> str:
    """The dialect of a route that several share: Anthropic's clients always name the version of theirs."""
    return route.family or ("messages" if "anthropic-version" in headers else "chat")


def _goes_up(rest: str) -> bool:
    """Whether a path, decoded as often as somebody behind us might, has a dot segment."""
    for _ in range(3):
        if not {".", ".."}.isdisjoint(rest.replace("\\", "/").split("/")):
            return True
        rest = unquote(rest)
    return False
