"""`POST /v1/feedback`: what somebody says about an answer, now or weeks later, with nothing to declare first.

    {"target": "chatcmpl-123", "value": true}                                     it was right
    {"target": "chatcmpl-123", "value": 0.4}                                      how good it was, from 0 to 1
    {"target": "chatcmpl-123", "value": "Ask for the order number first."}        a comment, which may become a rule
    {"target": "chatcmpl-123", "value": "Kestrel", "kind": "correction"}          what would have been right
    {"target": "chatcmpl-123", "value": {"polite": 1, "short": false}}            the grades of a rubric

The target is our episode id or the provider's own response id. A list of such objects is taken, too. Feedback writes
into future prompts: it needs a right of its own, says who spoke, is limited in rate, and its authority is that of the
key and never more.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from tokenspace.context.check import objection
from tokenspace.context.scanner import secret_in
from tokenspace.domain import Feedback, Origin, Signal, digest, new_id
from tokenspace.errors import BadData, NotFound, StaleHead, StoreError, TokenspaceError
from tokenspace.gateway.errors import TooBusy, headers_of, problem, status_of
from tokenspace.gateway.limits import ClientGone, check_depth, read_body
from tokenspace.gateway.record import EpisodeRecorder
from tokenspace.gateway.said import Said
from tokenspace.gateway.who import refine
from tokenspace.gateway.wire import Caller, Door

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

BODY_BYTES: Final = 4_000_000
DEPTH: Final = 32
MOST: Final = 100
WAIT_S: Final = 2.0
"""How long feedback waits for the episode that it is about to be written, before it is promised instead."""
PER_S: Final = 20.0
BURST: Final = 200
KEYS: Final = 4_096

KINDS: Final[Mapping[str, Signal]] = {
    "boolean": Signal.LABEL,
    "number": Signal.SCORE,
    "comment": Signal.TEXT,
    "correction": Signal.CORRECTION,
    "demonstration": Signal.DEMONSTRATION,
    "edit": Signal.EDIT,
    "rubric": Signal.SCORE,
    "test_log": Signal.TEST_LOG,
}
"""What kinds there are; without one, the type of the value says which."""

_BY_TYPE: Final[Mapping[type, str]] = {
    bool: "boolean", int: "number", float: "number", str: "comment", dict: "rubric",
}  # fmt: skip
_OUTPUTS: Final = ("correction", "demonstration", "edit")
_FIELDS: Final = ("target", "value", "kind", "comment", "trigger", "source", "id")
_WHO: Final = ("user", "safety_identifier", "metadata")
_SOURCES: Final = {origin.name.lower(): origin for origin in Origin}


# ── reading ─────────────────────────────────────────────────────────────────────────────────


def read(body: object, caller: Caller, *, at: datetime, operator: str) -> Said:
    """One piece of feedback. `operator` is the principal that a key with the right to administer speaks as.

    Raises `BadData`, which says what to send instead.
    """
    given: Mapping[str, Any] = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    target: object = given.get("target")
    if not isinstance(target, str) or given.get("value") is None:
        raise BadData("feedback is an object with a target and a value", hint='{"target": "chatcmpl-…", "value": true}')
    unknown = sorted(set(given) - {*_FIELDS, *_WHO})
    if unknown:
        raise BadData(f"feedback has no field {unknown[0]!r}", hint=f"known are {', '.join(_FIELDS)} and user")
    kind = _kind(given)
    value, told = _value(kind, given["value"])
    comment = "\n".join(filter(None, (_words(given, "comment"), told)))
    scope = refine(caller, given).scope
    rules = "admin" in caller.rights and not scope.user
    speaker = f"key {caller.key}" if caller.key else "open"
    feedback = Feedback(
        id=digest(["feedback", str(scope), speaker, said]) if (said := _words(given, "id")) else new_id(),
        scope=scope, episode="", signal=KINDS[kind], value=value, comment=comment, at=at,
        trigger=_words(given, "trigger") or None, source=_source(given, Origin.OPERATOR if rules else Origin.USER),
        principal=operator if rules else "/".join(filter(None, (speaker, scope.user))),
    )  # fmt: skip
    return Said(target=target.strip(), feedback=feedback)


def _kind(given: Mapping[str, Any]) -> str:
    kind, value = given.get("kind"), cast("object", given["value"])
    if kind is None:
        kind = _BY_TYPE.get(type(value), "")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadData("it is not clear what kind of feedback this is", hint=f"say kind: {', '.join(KINDS)}")
    return kind


def _value(kind: str, value: Any) -> tuple[str | float | bool, str]:
    """The value of a kind, and what has to be said beside it. Raises `BadData`."""
    if kind == "rubric":
        return _rubric(value)
    if kind == "number":
        return _grade(value, "a number"), ""
    if kind == "boolean":
        if not isinstance(value, bool):
            raise BadData("a boolean is true or false", hint="send a number from 0 to 1 for what is in between")
        return value, ""
    if kind in _OUTPUTS and not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)  # an output that is JSON may be said as such
    if not isinstance(value, str):
        raise BadData(f"a {kind.replace('_', ' ')} is a text", hint="put it in quotes")
    return _text(f"the {kind.replace('_', ' ')}", value), ""


def _rubric(value: Any) -> tuple[float, str]:
    if not isinstance(value, dict) or not value:
        raise BadData("a rubric is an object of criteria with their grades", hint='{"polite": 1, "short": false}')
    grades = {str(name): _grade(one, repr(name)) for name, one in cast("dict[Any, Any]", value).items()}
    words = "\n".join(f"{_text('a criterion', name)}: {grade:g}" for name, grade in grades.items())
    return sum(grades.values()) / len(grades), words


def _grade(value: Any, what: str) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value <= 1:
        raise BadData(f"{what} is no number from 0 to 1", hint="divide by the best that there is: 4 of 5 stars is 0.8")
    return float(value)


def _words(given: Mapping[str, Any], name: str) -> str:
    words = given.get(name)
    if words is None or words == "":
        return ""
    if not isinstance(words, str):
        raise BadData(f"the {name} is no text", hint="put it in quotes")
    return _text(f"the {name}", words)


def _text(what: str, text: str) -> str:
    if found := objection(text):
        raise BadData(f"{what} {found[0]}", hint=found[1])
    if secret := secret_in(text):
        raise BadData(f"{what} holds {secret}", hint="leave it out: what is said here is read by models later")
    return text


def _source(given: Mapping[str, Any], most: Origin) -> Origin:
    """Who it comes from by its own words, and never with more authority than the key has."""
    named = given.get("source")
    if named is None:
        return most
    if not isinstance(named, str) or named not in _SOURCES:
        raise BadData("the source of feedback is unknown", hint=f"say one of {', '.join(reversed(_SOURCES))}")
    return min(most, _SOURCES[named])


class Pace:
    """How fast each key may say something: `per_s` on average, `burst` at once."""

    def __init__(
        self, *, per_s: float = PER_S, burst: int = BURST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left = OrderedDict[str, tuple[float, float]]()

    def spend(self, key: str, pieces: int) -> None:
        """Raises `TooBusy` where that is too fast."""
        now = self._clock()
        left, at = self._left.pop(key, (float(self._burst), now))
        left = min(float(self._burst), left + (now - at) * self._per_s)
        enough = left >= pieces
        self._left[key] = (left - pieces if enough else left, now)
        while len(self._left) > KEYS:
            self._left.popitem(last=False)
        if not enough:
            wait_s = math.ceil((pieces - left) / self._per_s)
            raise TooBusy("this key says more than may be said at once", hint="slow down", retry_after_s=wait_s)


# ── answering ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What became of one piece: 201 kept, 200 known before, 202 promised."""

    status: int
    feedback: Feedback

    @property
    def body(self) -> dict[str, Any]:
        """For the caller."""
        words = {200: "known", 201: "kept", 202: "held"}[self.status]
        one = self.feedback
        return {
            "id": one.id, "status": words, "episode": one.episode or None, "signal": one.signal.value,
            "source": one.source.name.lower(),
        }  # fmt: skip


class FeedbackDoor:
    """The endpoint. `listen` keeps feedback, in a thread of ours; `recorder` holds what came before its episode."""

    def __init__(
        self,
        *,
        door: Door,
        listen: Callable[[Said], tuple[Feedback, bool]],
        recorder: EpisodeRecorder,
        clock: Callable[[], datetime],
        operator: str,
        pace: Pace | None = None,
    ) -> None:
        self._door, self._listen, self._recorder = door, listen, recorder
        self._clock, self._operator, self._pace = clock, operator, pace or Pace()
        # Of its own: where the database hangs, nobody else waits for a thread behind us.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="tokenspace-feedback")

    async def __call__(self, request: Request) -> Response:
        """One piece, or a list of them; problem JSON for what cannot be taken."""
        from starlette.responses import JSONResponse, Response

        try:
            caller = await self._caller(request)
            data = await read_body(request.receive, request.headers, limit_bytes=BODY_BYTES)
            body = _parsed(data)
            pieces = cast("Sequence[Any]", body) if isinstance(body, list) else [body]
            if len(pieces) > MOST:
                raise BadData(f"{len(pieces)} pieces of feedback at once", hint=f"send at most {MOST}")
            self._pace.spend(caller.key, len(pieces))
            if isinstance(body, list):
                return JSONResponse({"results": [await self._one(piece, caller) for piece in pieces]})
            told = await self._keep(read(body, caller, at=self._clock(), operator=self._operator))
            return JSONResponse(told.body, status_code=told.status)
        except ClientGone:
            return Response(status_code=400)
        except TokenspaceError as error:
            return _refused(error, request.url.path)

    async def _caller(self, request: Request) -> Caller:
        return await self._door.caller(request.headers, agent="", user="", need="feedback")

    async def _one(self, piece: object, caller: Caller) -> dict[str, Any]:
        try:
            return (await self._keep(read(piece, caller, at=self._clock(), operator=self._operator))).body
        except TokenspaceError as error:
            return {"status": "refused", "error": json.loads(problem(error))}

    async def _keep(self, said: Said) -> _Told:
        late = self._recorder.behind(said.feedback.scope)  # asked first: what is written meanwhile is then found
        try:
            if not self._recorder.stats().away:
                kept, new = await asyncio.get_running_loop().run_in_executor(self._threads, self._listen, said)
                return _Told(status=201 if new else 200, feedback=kept)
        except (NotFound, StaleHead):
            if not late:
                raise
        except StoreError:
            pass  # the recorder knows what to do without a database
        return await self._held(said)

    async def _held(self, said: Said) -> _Told:
        waiting = self._recorder.hold(said)
        if waiting is None:
            raise TooBusy("there is no room for this now", hint="send it again later", retry_after_s=5)
        try:
            async with asyncio.timeout(WAIT_S):
                told = await asyncio.shield(asyncio.wrap_future(waiting))
        except TimeoutError:
            told = None
        if told is None:
            return _Told(status=202, feedback=said.feedback)
        return _Told(status=201 if told[1] else 200, feedback=told[0])

    def close(self) -> None:
        """End its threads."""
        self._threads.shutdown(wait=False)


def _parsed(data: bytes) -> object:
    import orjson

    try:
        body: object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadData(f"the body is no JSON: {error}", hint='{"target": "chatcmpl-…", "value": true}') from error
    check_depth(body, DEPTH)
    return body


def _refused(error: TokenspaceError, path: str) -> Response:
    from starlette.responses import Response

    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return Response(
        problem(error, instance=path), status_code=status_of(error)[0], headers=headers,
        media_type="application/problem+json",
    )  # fmt: skip


def routes(endpoint: FeedbackDoor) -> list[Route]:
    """Where it stands; what a path says before it about agent and user is in headers by then."""
    from starlette.routing import Route

    return [Route("/v1/feedback", endpoint.__call__, methods=["POST"])]
