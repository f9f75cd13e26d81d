"""Feedback → regression case: what was said to be right once must stay right."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any, Final, cast

from tokenspace.context.check import objection
from tokenspace.domain import Case, Episode, Feedback, GraderSpec, Json, Origin, Request, Signal, digest
from tokenspace.errors import BadData, UsageError

SHORT_CHARS: Final = 80
"""An expected answer of one line and at most this length is compared word by word; a longer one is judged."""

RUBRIC: Final = "The answer says the same as the answer that is known to be right; other words do not matter."

_NOT_JSON: Final = object()
_SAYS_OUTPUT: Final = frozenset({Signal.CORRECTION, Signal.EDIT, Signal.DEMONSTRATION})


def case_from(feedback: Feedback, episode: Episode) -> Case | None:
    """The case that a piece of feedback makes of its episode, or None if it does not say what would be right.

    A correction, edit or demonstration expects its value; an approval (label True, score 1) expects the output
    that was given. `feedback.expects` takes the place of the grader chosen here, and makes a case of any feedback.
    The same feedback always makes the same case. Raises `BadData` for a value that cannot be meant.
    """
    if feedback.episode != episode.id:
        raise UsageError(
            f"feedback {feedback.id} is about episode {feedback.episode}, not {episode.id}",
            hint="pass the episode that it names",
        )
    expected = _expected(feedback, episode)
    grader = feedback.expects
    if grader is None:
        if expected is None:
            return None
        grader = _grader(expected, episode.request)
    return Case(
        id=digest(["case", feedback.id]),
        scope=feedback.scope,
        request=episode.request,
        grader=grader,
        cluster=cluster_of(episode.request),
        sources=(feedback.id, episode.id),
        principal=feedback.principal,
        recorded=tuple(call for call in episode.run.tool_calls if call.result is not None),
        at=feedback.at,
    )


def cluster_of(request: Request) -> str:
    """Names the group of near copies: the last user message but for case and white space; digits count.

    The same words under other system messages, or with other choices, are another task.
    """
    text = request.query or "\n".join(message.text for message in request.messages)
    folded = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    system = [message.text for message in request.messages if message.role in ("system", "developer")]
    return digest([folded, system, request.choices])


def _expected(feedback: Feedback, episode: Episode) -> str | None:
    if feedback.signal in _SAYS_OUTPUT:
        return _said(feedback, episode.request)
    if feedback.source is Origin.AGENT:
        return None  # an agent's own output is never evidence for itself
    approved = (feedback.signal == Signal.LABEL and _label(feedback)) or (
        feedback.signal == Signal.SCORE and _score(feedback) >= 1
    )
    # An answer that the request does not allow can never come again in a replay, however much it was liked.
    return episode.output if approved and _refused(episode.output, episode.request) is None else None


def _said(feedback: Feedback, request: Request) -> str:
    value = feedback.value if isinstance(feedback.value, str) else json.dumps(feedback.value)
    refused = _refused(value, request)
    if refused:
        raise BadData(f"the {feedback.signal.value} {refused[0]}", hint=refused[1])
    return value


def _refused(output: str, request: Request) -> tuple[str, str] | None:
    """Why an output can be no right answer to the request, and what would be; None if it can."""
    found = objection(output)
    if found:
        return found
    if request.choices is not None and output.strip() not in request.choices:
        said = f"{output.strip()[:SHORT_CHARS]!r} is none of the answers that the request allows"
        return said, f"choose one of: {', '.join(request.choices)}"
    if request.choices is None and request.schema is not None and _parsed(output) is _NOT_JSON:
        return "is not JSON, but the request asks for JSON of a schema", "give the right output as JSON"
    return None


def _label(feedback: Feedback) -> bool:
    if isinstance(feedback.value, str) or feedback.value not in (0, 1):
        raise BadData(f"a label is no {feedback.value!r}", hint="give true (the output was right) or false")
    return bool(feedback.value)


def _score(feedback: Feedback) -> float:
    value = feedback.value
    if isinstance(value, str) or not math.isfinite(value) or not 0 <= value <= 1:
        raise BadData(f"a score is no {value!r}", hint="give a number from 0 (worst) to 1 (best)")
    return float(value)


def _grader(expected: str, request: Request) -> GraderSpec:
    """The strictest grader that asks no more than was said: text is judged only where it cannot be compared."""
    if request.choices is not None:
        return GraderSpec(name="exact", expected=expected.strip())
    parsed: Any = _parsed(expected)
    if request.schema is not None or isinstance(parsed, (dict, list)):
        return GraderSpec(name="json", expected=cast("Json", parsed))
    if isinstance(parsed, (int, float)) and not isinstance(parsed, bool):
        return GraderSpec(name="number", expected=parsed)
    short = expected.strip()
    if len(short) <= SHORT_CHARS and "\n" not in short:
        # What people write from memory differs from what a model writes in case, and rarely means to.
        return GraderSpec(name="exact", expected=short, options={"ignore_case": True})
    return GraderSpec(name="rubric", expected=expected, options={"criterion": RUBRIC})


def _parsed(text: str) -> Any:
    """The JSON value of a text, or `_NOT_JSON`. What JSON writes otherwise ("007", "NaN") is a name, not a number."""
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _not_json(name: str) -> None:
    raise ValueError(name)
