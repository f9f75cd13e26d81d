"""OTLP over HTTP: traces (and the evaluation events of logs) of an agent that already reports what it does.

`POST /v1/traces` and `/v1/logs`, in protobuf or JSON, gzipped or not. Every run of a model or an agent becomes an
episode and every evaluation feedback on it; ids are made of those of trace and span, so that sending again changes
nothing. What our own gateway recorded is left out: its text holds what we recalled, which is no evidence (I13).
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from tokenspace.context.scanner import redacted
from tokenspace.domain import Feedback, Scope
from tokenspace.errors import BadData, NotFound, StoreUnavailable, TokenspaceError
from tokenspace.gateway.errors import TooLarge, headers_of, problem, status_of
from tokenspace.gateway.kept import cleaned, plain_body
from tokenspace.gateway.limits import ClientGone, Slots, check_depth, read_body
from tokenspace.gateway.otlp_spans import (
    Evaluation,
    Event,
    Span,
    episode_id,
    episode_of,
    evaluations,
    is_call,
    logged,
    our_mark,
    response_id,
    scope_of,
    time_of,
)
from tokenspace.gateway.said import Said
from tokenspace.gateway.wire import Caller, Door
from tokenspace.protocols import Store

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

BODY_BYTES: Final = 16_000_000
DEPTH: Final = 96
IN_FLIGHT: Final = 4
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_LOG: Final = logging.getLogger("tokenspace.gateway")


@dataclass(slots=True, kw_only=True)
class Taken:
    """What came of one export: `refused` items were not kept, for `reason` (that of the first)."""

    episodes: int = 0
    feedback: int = 0
    refused: int = 0
    reason: str = ""

    def refuse(self, error: TokenspaceError) -> None:
        """Count what cannot be kept, however often it is sent."""
        self.refused += 1
        self.reason = self.reason or str(error)


class Ingest:
    """Keeps what spans say. Blocking: for a thread. `listen` keeps feedback, as `said.Listener` does."""

    def __init__(
        self, store: Store, listen: Callable[[Said], tuple[Feedback, bool]], *, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._listen = listen
        self._clock = clock

    def traces(self, spans: Iterable[Span], caller: Caller) -> Taken:
        """Keep all runs, then what is said about them, whatever the order they came in."""
        taken, several = Taken(), list[Span]()
        for span in spans:
            if span.trace.strip("0") and span.id.strip("0"):
                several.append(span)
            else:  # episodes are named by them
                taken.refuse(BadData("a span without ids", hint="send the ids of trace and span"))
        kept = {(span.trace, span.id): self._record(span, caller.scope, taken) for span in several}
        # Who evaluates a run need not name the user of it.
        whose = {episode_id(span.trace, span.id): scope_of(span, caller.scope) for span in several if is_call(span)}
        whose |= {answer: scope_of(span, caller.scope) for span in several if (answer := _answer_of(span))}
        for span in several:
            for one in evaluations(span):
                own = kept[span.trace, span.id] or episode_id(span.trace, span.id)
                scope = whose.get(one.target) or scope_of(span, caller.scope)
                self._hear(one, own, scope, caller, taken)
        return taken

    def logs(self, records: Iterable[tuple[str, str, Event]], caller: Caller) -> Taken:
        """Keep the evaluations among log records, each with the trace and the span that it is about."""
        taken = Taken()
        for trace, span, event in records:
            for one in logged(event, trace, span):
                scope = scope_of(Span(trace=trace, id=span, attributes=event.attributes), caller.scope)
                self._hear(one, episode_id(trace, span), scope, caller, taken)
        return taken

    def _record(self, span: Span, scope: Scope, taken: Taken) -> str:
        """The id of the episode that a span is, or was when it went through our gateway; "" if it is none."""
        answer, known = response_id(span.attributes), our_mark(span)
        if known:
            return known
        try:
            found = episode_of(span, scope, now=self._clock())
            if found is None:
                return ""
            earlier = self._store.episode_of(found.scope, answer) if answer else None
            if earlier is not None:
                return earlier
            self._store.record(cleaned(found, redacted))
            if answer:
                self._store.note_answer(found.scope, answer, found.id)
        except StoreUnavailable:
            raise  # the whole export can be sent again
        except TokenspaceError as error:
            taken.refuse(error)
            return ""
        taken.episodes += 1
        return found.id

    def _hear(self, one: Evaluation, own: str, scope: Scope, caller: Caller, taken: Taken) -> None:
        speaker = f"key {caller.key}" if caller.key else "open"
        feedback = Feedback(
            id=one.id, scope=scope, episode="", principal="/".join(filter(None, (speaker, scope.user))),
            signal=one.signal, value=one.value, comment=one.comment, source=one.source,
            at=time_of(one.at_ns, self._clock()),
        )  # fmt: skip
        try:
            self._listen(Said(target=one.target or own, feedback=cleaned(feedback, redacted)))
        except StoreUnavailable:
            raise
        except NotFound:
            taken.refuse(NotFound("an evaluation of a run that is not known", hint="send the run first"))
        except TokenspaceError as error:
            taken.refuse(error)
        else:
            taken.feedback += 1


def _answer_of(span: Span) -> str:
    """The provider's response id of a run."""
    return response_id(span.attributes) if is_call(span) else ""


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────


class OtlpDoor:
    """The two endpoints. Their key needs the right to give feedback: spans become evidence."""

    def __init__(self, door: Door, ingest: Ingest) -> None:
        self._door = door
        self._ingest = ingest
        self._slots = Slots(IN_FLIGHT)

    async def __call__(self, request: Request) -> Response:
        """Take one export; the answer is in the format that it came in."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        logs = request.url.path.endswith("/logs")
        try:
            caller = await self._door.caller(request.headers, agent="", user="", need="feedback")
            with self._slots.hold(caller.key):
                raw = await read_body(request.receive, request.headers, limit_bytes=BODY_BYTES)
                kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                encoding = request.headers.get("content-encoding", "")
                taken = await run_in_threadpool(self._take, raw, kind, encoding, caller, logs=logs)
            return Response(_told(taken, kind, logs=logs), media_type=kind)
        except ClientGone:
            return Response(status_code=400)
        except Exception as error:  # noqa: BLE001 - the top-level handler of these endpoints
            if status_of(error)[0] >= 500:
                _LOG.exception("an OTLP export failed")
            headers = {name.decode(): value.decode() for name, value in headers_of(error)}
            body = problem(error, instance=request.url.path)
            return Response(body, status_of(error)[0], headers, media_type="application/problem+json")

    def _take(self, raw: bytes, kind: str, encoding: str, caller: Caller, *, logs: bool) -> Taken:
        data = plain_body(raw, encoding)
        if data is None:
            raise TooLarge(f"the body, {encoding[:20]}, cannot be unpacked here", hint="send less at once, gzipped")
        if logs:
            return self._ingest.logs(read_logs(data, kind), caller)
        return self._ingest.traces(read_spans(data, kind), caller)


def routes(endpoint: OtlpDoor) -> list[Route]:
    """Where it stands: what OpenTelemetry's exporters add to the endpoint that they are given."""
    from starlette.routing import Route

    return [Route(path, endpoint.__call__, methods=["POST"]) for path in ("/v1/traces", "/v1/logs")]


# ── messages ────────────────────────────────────────────────────────────────────────────────


def read_spans(data: bytes, kind: str) -> Iterator[Span]:
    """The spans of an export. Raises `BadData`."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for resource in _parsed(ExportTraceServiceRequest(), data, kind).resource_spans:
        for group in resource.scope_spans:
            for span in group.spans:
                events = tuple(
                    Event(name=one.name, at_ns=one.time_unix_nano, attributes=_attributes(one.attributes))
                    for one in span.events
                )
                yield Span(
                    trace=span.trace_id.hex(), id=span.span_id.hex(), parent=span.parent_span_id.hex(),
                    start_ns=span.start_time_unix_nano, end_ns=span.end_time_unix_nano, status=span.status.code,
                    message=span.status.message, attributes=_attributes(span.attributes), events=events,
                )  # fmt: skip


def read_logs(data: bytes, kind: str) -> Iterator[tuple[str, str, Event]]:
    """The log records of an export, each with its trace and span. Raises `BadData`."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    for resource in _parsed(ExportLogsServiceRequest(), data, kind).resource_logs:
        for group in resource.scope_logs:
            for one in group.log_records:
                read = _attributes(one.attributes)
                name = one.event_name or str(read.get("event.name", ""))
                at_ns = one.time_unix_nano or one.observed_time_unix_nano
                yield one.trace_id.hex(), one.span_id.hex(), Event(name=name, at_ns=at_ns, attributes=read)


def _parsed(message: Any, data: bytes, kind: str) -> Any:
    from google.protobuf.json_format import ParseDict, ParseError
    from google.protobuf.message import DecodeError

    wrong = BadData("this is no OTLP export", hint=f"send {_PROTOBUF} or {_JSON}")
    try:
        if kind == _PROTOBUF:
            message.ParseFromString(data)
        elif kind == _JSON:
            ParseDict(_json(data), message, ignore_unknown_fields=True)
        else:
            raise wrong
    except (ParseError, DecodeError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise wrong from error
    return message


def _json(data: bytes) -> Any:
    """OTLP's JSON as protobuf's own has it: ids are hexadecimal in the one, base64 in the other."""
    import orjson

    body: Any = orjson.loads(data)
    if not isinstance(body, dict):
        raise ValueError("no object")  # noqa: TRY004 - all that is wrong with a body is a ValueError here
    fields = cast("dict[str, Any]", body)
    check_depth(fields, DEPTH)
    waiting: list[Any] = [fields]
    while waiting:
        here = waiting.pop()
        if isinstance(here, list):
            waiting += cast("list[Any]", here)
        elif isinstance(here, dict):
            fields = cast("dict[str, Any]", here)
            for name in ("traceId", "spanId", "parentSpanId"):
                if isinstance(fields.get(name), str):
                    fields[name] = b64encode(bytes.fromhex(fields[name])).decode()
            waiting += [value for value in fields.values() if isinstance(value, (dict, list))]
    return cast("Any", body)


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    """A value of an attribute in Python's types; bytes are left out."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return None if kind in {None, "bytes_value"} else getattr(value, kind)


def _told(taken: Taken, kind: str, *, logs: bool) -> bytes:
    """The answer to an export: empty, or how many items were not kept and why."""
    from google.protobuf.json_format import MessageToJson
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    answer: Any = ExportLogsServiceResponse() if logs else ExportTraceServiceResponse()
    if taken.refused:
        setattr(answer.partial_success, "rejected_log_records" if logs else "rejected_spans", taken.refused)
        answer.partial_success.error_message = taken.reason
    return answer.SerializeToString() if kind == _PROTOBUF else MessageToJson(answer).encode()
