"""One POST of JSON to a provider: time limit, typed errors, retries that each pay for themselves.

A call goes where its arguments say and nowhere else: environment proxies and `.netrc` are not looked at, redirects are
not followed (they would carry the key along), and a connection is closed after its answer, so that no socket outlives
the event loop that it was made on.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from tokenspace.budget import Budget, Reservation
from tokenspace.errors import (
    AuthFailed,
    BadCompletion,
    ModelError,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    Refused,
    UsageError,
)
from tokenspace.models.call import NOT_BILLED, shortened

if TYPE_CHECKING:
    import httpx

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
CONNECT_S: Final = 10.0
SERVER_ERROR: Final = 500
FILTERED: Final = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often to try, and how to wait in between.

    `attempts` counts the first one. Waits double from half a second; a provider's own `retry-after` goes first, and
    one beyond 30 s is not waited for. `sleep` is given seconds; tests give one that does not wait.
    """

    attempts: int = 2
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(eq=False, kw_only=True)
class Endpoint:
    """A provider's base URL with the headers that authorise a call; never shown, because they hold the key."""

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout_s: float = 60.0
    retry: Retry = field(default_factory=Retry)
    _clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = field(
        default_factory=WeakKeyDictionary[asyncio.AbstractEventLoop, "httpx.AsyncClient"], init=False, repr=False
    )

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise UsageError(
                f"{shortened(self.base_url)} is not the base URL of a model server",
                hint="write it like http://127.0.0.1:11434/v1, with the key apart from it",
            )

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.base_url).netloc

    async def post(
        self, path: str, body: Mapping[str, Any], *, budget: Budget, reserve: Callable[[], Reservation]
    ) -> tuple[dict[str, Any], Reservation]:
        """The answer's JSON object, and the reservation that the caller settles.

        Every attempt calls `reserve`. One that the provider turned away, or that reached nobody, is settled as a
        call that cost nothing; one that may have been billed without an answer keeps its reservation.
        """
        for attempt in range(1, self.retry.attempts + 1):
            reserved = reserve()
            try:
                return await self._once(path, body), reserved
            except _Unbilled as outcome:
                budget.settle(reserved, NOT_BILLED)
                error = outcome.error
            except ModelError as outcome:
                error = outcome
            wait_s = _wait_s(error, attempt)
            if not error.retryable or attempt == self.retry.attempts or wait_s > LONGEST_WAIT_S:
                raise error
            await self.retry.sleep(wait_s)
        raise UsageError("a model needs at least one attempt", hint="set attempts to 1 or more")

    async def _once(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        import httpx

        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await self._client().post(self.base_url.rstrip("/") + path, content=content)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Unbilled(self._unreachable(error)) from error
        except (TimeoutError, httpx.TimeoutException) as error:
            hint = "raise timeout_s, ask for fewer output tokens, or use a quicker model"
            raise ModelTimeout(f"no answer from {self.place} within {self.timeout_s:g} s", hint=hint) from error
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not answer.is_success:
            raise self._failed(answer)
        return _object(answer.content, self.place)

    def _client(self) -> httpx.AsyncClient:
        import httpx

        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = httpx.AsyncClient(
                headers={"content-type": "application/json", **self.headers},
                timeout=httpx.Timeout(self.timeout_s, connect=min(self.timeout_s, CONNECT_S)),
                limits=httpx.Limits(max_keepalive_connections=0),
                follow_redirects=False,
                trust_env=False,
            )
        return self._clients[loop]

    def _unreachable(self, error: Exception) -> ModelUnavailable:
        return ModelUnavailable(
            f"{self.place} does not answer: {error or type(error).__name__}",
            hint="start the server, or check the address and the network; `tokenspace models` says what is ready",
        )

    def _failed(self, answer: httpx.Response) -> Exception:
        """The error for a status that is not a success; wrapped as not billed where the request was turned away."""
        said = f"{self.place} answered {answer.status_code}: {_reason(answer.content)}"
        error = status_error(answer.status_code, said, retry_after_s=_retry_after_s(answer.headers.get("retry-after")))
        return error if answer.status_code >= SERVER_ERROR else _Unbilled(error)


class BadRequest(ModelError):
    """The provider does not take this request; the same one will not be taken later either."""


class _Unbilled(Exception):
    """Carries the error of an attempt that was certainly not billed."""

    def __init__(self, error: ModelError) -> None:
        super().__init__(str(error))
        self.error = error


_BY_STATUS: Final[dict[int, tuple[type[ModelError], str]]] = {
    401: (AuthFailed, "check the key, its credit, and that it may use this model"),
    402: (AuthFailed, "the account has no credit left: add some, or use another model"),
    403: (AuthFailed, "check the key, its credit, and that it may use this model"),
    404: (BadRequest, "check the model's name and the base URL, which usually ends in /v1"),
    408: (ModelTimeout, "try again, or ask for fewer output tokens"),
}


def status_error(status: int, said: str, *, retry_after_s: float | None) -> ModelError:
    """The typed error for an HTTP status; `said` is the whole message."""
    if any(mark in said for mark in FILTERED):
        return Refused(said, hint="rephrase the request, or use another model")
    if status == 429:
        hint = "wait and run again: finished work is kept; or lower the number of calls at once"
        return RateLimited(said, hint=hint, retry_after_s=retry_after_s)
    if status >= SERVER_ERROR:
        return ModelUnavailable(said, hint="the provider has a problem: try again later, or use another model")
    hint = "redirects are not followed: use the address that the server points to"
    if status >= 400:
        hint = "the request does not suit this model: shorten it, or see what the provider says"
    kind, hint = _BY_STATUS.get(status, (BadRequest, hint))
    return kind(said, hint=hint)


def _wait_s(error: ModelError, attempt: int) -> float:
    if isinstance(error, RateLimited) and error.retry_after_s is not None:
        return error.retry_after_s
    return FIRST_WAIT_S * 2 ** (attempt - 1)


def _retry_after_s(value: str | None) -> float | None:
    """Seconds; None where the header is missing or holds a date, which no provider of models sends."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _reason(content: bytes, limit_chars: int = 300) -> str:
    """What an error body says, whichever of the usual forms it has, on one line."""
    text = content.decode("utf-8", "replace")
    try:
        told: Any = json.loads(text)
        error: Any = told.get("error", told)
        if isinstance(error, dict):
            parts: list[Any] = [error.get(key) for key in ("message", "type", "code")]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] — JSON
            text = " · ".join(str(part) for part in parts if part) or text
        else:
            text = str(error)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:limit_chars] or "nothing"


def _object(content: bytes, place: str) -> dict[str, Any]:
    hint = "check that the base URL is that of a model server, usually ending in /v1"
    try:
        told: Any = json.loads(content)
    except ValueError as error:
        raise BadCompletion(f"the answer of {place} is not JSON: {shortened(repr(content[:60]))}", hint=hint) from error
    if not isinstance(told, dict):
        raise BadCompletion(f"the answer of {place} is not a JSON object", hint=hint)
    return told  # pyright: ignore[reportUnknownVariableType] — JSON
