"""What the gateway answers itself: its own errors, and one table from class to status and kind.

::

    GatewayError
    ├── KeyRefused           401  no key, or one that is unknown, expired or revoked
    ├── RightMissing         403  the key may not do this, or not from here
    ├── NoSuchRoute          404
    ├── TooLarge             413  the body; `HeadersTooLarge` 431
    ├── TooDeep              400  JSON nested beyond the limit
    ├── TooSlow              408  the client did not send its body in time
    ├── IdTaken              409  an idempotency id that stands for something else
    ├── TooBusy              429  too many requests of one key at once; `.retry_after_s`
    ├── ShuttingDown         503
    ├── UpstreamUnreachable  502  nothing answers, or what answers is not HTTP
    └── UpstreamSlow         504

On the routes that models are asked on, an error is told in the caller's dialect; everywhere else as problem JSON
(RFC 9457). The kinds are the words that official clients know from Anthropic's API, and "conflict_error".
"""

from __future__ import annotations

from typing import Final

from tokenspace import errors as tree
from tokenspace.errors import TokenspaceError


class GatewayError(TokenspaceError):
    """A request that the gateway answers itself. `retry_after_s` where it makes sense to come again."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class KeyRefused(GatewayError):
    """There is no key, or it is unknown, expired or revoked: the four are not told apart."""


class RightMissing(GatewayError):
    """The key is good, but not for this."""


class NoSuchRoute(GatewayError):
    """Nothing stands at this path, or not for this method."""


class TooLarge(GatewayError):
    """The body has more bytes than the limit."""


class HeadersTooLarge(GatewayError):
    """The request line and the headers have more bytes than the limit."""


class TooDeep(GatewayError):
    """The JSON of a body is nested deeper than the limit."""


class TooSlow(GatewayError):
    """The body of a request did not come in time."""


class IdTaken(GatewayError):
    """The id that a caller chose was used before, for something else."""


class TooBusy(GatewayError):
    """One key has too many requests in flight."""


class ShuttingDown(GatewayError):
    """The gateway is about to end, and takes nothing new."""


class UpstreamUnreachable(GatewayError):
    """No connection to the provider, or it broke before there was an answer."""


class UpstreamSlow(GatewayError):
    """The provider did not connect or answer in time."""


STATUS: Final[dict[type[Exception], tuple[int, str]]] = {
    KeyRefused: (401, "authentication_error"),
    RightMissing: (403, "permission_error"),
    NoSuchRoute: (404, "not_found_error"),
    TooLarge: (413, "request_too_large"),
    HeadersTooLarge: (431, "request_too_large"),
    TooDeep: (400, "invalid_request_error"),
    TooSlow: (408, "timeout_error"),
    IdTaken: (409, "conflict_error"),
    TooBusy: (429, "rate_limit_error"),
    ShuttingDown: (503, "overloaded_error"),
    UpstreamUnreachable: (502, "api_error"),
    UpstreamSlow: (504, "timeout_error"),
    tree.UsageError: (400, "invalid_request_error"),
    tree.NotFound: (404, "not_found_error"),
    tree.StaleHead: (409, "conflict_error"),
    tree.StoreUnavailable: (503, "overloaded_error"),
    tree.EditConflict: (409, "conflict_error"),
    tree.InvalidEdit: (422, "invalid_request_error"),
    tree.BudgetTooSmall: (422, "invalid_request_error"),
    tree.BudgetError: (429, "rate_limit_error"),
    tree.RateLimited: (429, "rate_limit_error"),
    tree.ModelTimeout: (504, "timeout_error"),
    tree.ModelUnavailable: (503, "overloaded_error"),
    tree.AuthFailed: (502, "api_error"),
    tree.Refused: (422, "invalid_request_error"),
    tree.ModelError: (502, "api_error"),
}
"""The nearest class of an error decides. What is not here is a defect of ours, or of the store: 500, and no words of
it leave the house. `AuthFailed` is the operator's key at a provider, so no 401: the caller's own key was good."""

INTERNAL: Final = (500, "api_error")


def status_of(error: Exception) -> tuple[int, str]:
    """HTTP status and kind of an error."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), INTERNAL)


def words_of(error: Exception) -> str:
    """What a caller is told: message and hint of what we raise on purpose, of anything else only that it happened."""
    if not isinstance(error, TokenspaceError) or status_of(error) == INTERNAL:
        return "the gateway failed on this request; its log says why"
    return f"{error}; {error.hint}" if error.hint else str(error)


def retry_after_s(error: Exception) -> int | None:
    """Whole seconds after which to come again, where that is known."""
    seconds = getattr(error, "retry_after_s", None)
    return None if seconds is None else max(1, round(seconds))


def headers_of(error: Exception) -> list[tuple[bytes, bytes]]:
    """The headers that an error brings along: when to come again, and how to say who one is."""
    seconds = retry_after_s(error)
    found = [] if seconds is None else [(b"retry-after", str(seconds).encode())]
    if isinstance(error, KeyRefused):
        found.append((b"www-authenticate", b'Bearer realm="tokenspace"'))
    return found


def problem(error: Exception, *, instance: str = "") -> bytes:
    """The error as problem JSON; `instance` is the path that it happened on."""
    import orjson

    status, kind = status_of(error)
    known = isinstance(error, TokenspaceError) and (status, kind) != INTERNAL
    body = {
        "type": "about:blank",
        "title": kind.replace("_", " ").removesuffix(" error"),
        "status": status,
        "detail": str(error) if known else words_of(error),
    }
    if known and isinstance(error, TokenspaceError) and error.hint:
        body["hint"] = error.hint
    if instance:
        body["instance"] = instance
    return orjson.dumps(body)
