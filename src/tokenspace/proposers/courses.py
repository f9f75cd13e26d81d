"""Which verified successes took the same course: what a skill may be crystallised from.

A course is the tools that were called and worked, in order, runs of one tool counted once. Successes with fewer than
two such calls have no course of their own: they belong together where their requests are alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from tokenspace.context import case_from, cluster_of
from tokenspace.context.clusters import ALIKE
from tokenspace.context.skills import READ_SKILL
from tokenspace.domain import Entry, Evidence, Kind, Origin, ToolCall
from tokenspace.errors import BadData
from tokenspace.proposers.shown import HIDDEN, Trace, cut, traces
from tokenspace.proposers.tool_failures import arguments_of, error_shape
from tokenspace.protocols import Recall

LEAST: Final = 3
"""So many successes on different requests, at least, make a skill."""
MAX_CALLS: Final = 16
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,59}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Successes, oldest first, that went the same way; `tools` is empty where only their requests are alike."""

    tools: tuple[str, ...]
    traces: tuple[Trace, ...]

    @property
    def requests(self) -> int:
        """How many different requests they are; near copies count once."""
        return len({cluster_of(trace.episode.request) for trace in self.traces})


def courses(evidence: Evidence, recall: Recall | None) -> list[Course]:
    """The courses that are long enough in successes, the commonest first.

    Without `recall`, requests that are alike cannot be found, and only tools make a course.
    """
    by_tools: dict[tuple[str, ...], list[Trace]] = {}
    rest: list[Trace] = []
    for trace in traces(evidence):
        if not verified(trace):
            continue
        tools = tuple(name for name, _ in groupby(call.name for call in worked(trace)))
        if len(tools) > 1:
            by_tools.setdefault(tools, []).append(trace)
        else:
            rest.append(trace)
    found = [Course(tools=tools, traces=tuple(some)) for tools, some in by_tools.items()]
    found += [Course(tools=(), traces=some) for some in _alike(rest, recall)] if recall else []
    long = [one for one in found if one.requests >= LEAST]
    return sorted(long, key=lambda one: (-len(one.traces), one.tools, one.traces[0].episode.id))


def verified(trace: Trace) -> bool:
    """Whether an answer was said to be right by somebody else, in a way that makes a case of it: the skill's tests."""
    return trace.loss == 0 and any(
        item.source is not Origin.AGENT and _makes_case(trace, index) for index, item in enumerate(trace.feedback)
    )


def _makes_case(trace: Trace, index: int) -> bool:
    try:
        return case_from(trace.feedback[index], trace.episode) is not None
    except BadData:
        return False


def worked(trace: Trace) -> list[ToolCall]:
    """The calls that did not fail, but for those that only opened a skill."""
    calls = trace.episode.run.tool_calls
    return [call for call in calls if call.name != READ_SKILL and not error_shape(call.result or "")]


def _alike(some: Sequence[Trace], recall: Recall) -> Iterable[tuple[Trace, ...]]:
    """Greedy groups of requests that are alike, as failures are clustered."""
    asked = {trace.episode.id: trace for trace in some}
    entries = [
        Entry(id=id, kind=Kind.EXAMPLE, doc="", text="", trigger=trace.episode.request.query)
        for id, trace in asked.items()
    ]
    vectors = recall.index(entries)
    while entries:
        leader = entries[0]
        ranked = recall.rank(entries, vectors, leader.trigger or "")
        own = next((one.score for one in ranked if one.id == leader.id), 0.0)
        alike = {one.id for one in ranked if own > 0 and one.score >= ALIKE * own} | {leader.id}
        yield tuple(asked[entry.id] for entry in entries if entry.id in alike)
        entries = [entry for entry in entries if entry.id not in alike]


# ── what may be told of one ─────────────────────────────────────────────────────────────────


def success_told(trace: Trace, chars: int) -> dict[str, Any]:
    """A success as data: the request, the calls with where their arguments came from, and the answer.

    What may repeat what a tool returned is left out: the skill would have that origin (I9).
    """
    query = trace.episode.request.query
    answer = HIDDEN if trace.echoes else cut(trace.episode.output, chars)
    calls = worked(trace)[:MAX_CALLS]
    return {"request": cut(query, chars), "calls": [_call_told(call, query, chars) for call in calls], "answer": answer}


def _call_told(call: ToolCall, query: str, chars: int) -> dict[str, Any]:
    arguments: Mapping[str, Any] = arguments_of(call) or {}
    known = {key: _value_told(value, query, chars) for key, value in arguments.items() if _KEY.fullmatch(key)}
    return {"tool": cut(call.name, 128), "arguments": known}


def _value_told(value: object, query: str, chars: int) -> str:
    """An argument's value where it was in the request: any other may have come from a tool's result."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if text.strip() and text.casefold() in query.casefold():
        return f"in the request: {cut(text, chars)}"
    return "not in the request"
