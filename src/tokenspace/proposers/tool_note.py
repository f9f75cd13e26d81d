"""`tool_note`: failed calls of tools → notes on a tool or on one of its parameters; appended, and nothing rewritten.

Two proposers, so that each can be compared with the other under the same gate. `ToolNote` needs no model: it says how
arguments that worked differ from those that failed, in words of its own, so that its notes may stand in a tool's
description. `AskedToolNote` lets a model read the errors. What a tool returned has the tool's authority, and so has a
note that comes of it (I9): it is shown as data beside requests like those that failed, and never in a description.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tokenspace.budget import Budget
from tokenspace.context import validate
from tokenspace.context.check import objection
from tokenspace.context.definitions import function_of, parameters_of, schema_of, tool_name
from tokenspace.context.notes import SORTS, note_text
from tokenspace.context.render import noted_tool
from tokenspace.domain import Attempt, Edit, Entry, Evidence, Kind, Origin, Put, Status
from tokenspace.errors import InvalidEdit
from tokenspace.proposers.asking import Asker, wording
from tokenspace.proposers.shown import CUTS, cut, handles, one_line, read_with, rejected_edits, seen_with
from tokenspace.proposers.tool_failures import SAMPLE, Failure, failures_in, notes_on
from tokenspace.protocols import Reach

MAX_NOTES: Final = 4
MAX_NOTE_CHARS: Final = 240
MAX_TRIGGER_CHARS: Final = 160
COPIED_WORDS: Final = 5
"""So many words in a row are not found again by chance: a note that has them from an error repeats it."""

_WORDS: Final = wording("tool_note@1")


class ToolNote:
    """Notes that the arguments of failed and successful calls show by themselves; see `tool_failures`. No model."""

    name: str = "tool_note@1"
    reach: Reach = "cluster"

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """At most four notes that are neither here nor were tried before; None if the failures show none."""
        tried = _known(evidence, evidence.tried("reject", "defer"))
        notes = [note for group in failures_in(evidence) for note in notes_on(group)]
        new = {(note.doc, note.text): note for note in notes if (note.doc, note.text) not in tried}
        chosen = list(new.values())[:MAX_NOTES]
        entries = [_entry(note.doc, note.text, origin=Origin.AGENT) for note in chosen]
        causes = [failure for note in chosen for failure in note.shown_by]
        return _edit(evidence, entries, causes, "what calls that worked have, and calls that failed have not")


class AskedToolNote:
    """Notes of a model on the largest group of failures that `ToolNote` has no words for.

    Its answer is refused as a whole if a note repeats an error word for word. Its notes have the authority of a tool:
    the model read what the tool returned.
    """

    name: str = _WORDS.cited
    reach: Reach = "cluster"

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """At most four notes on one tool; None if there is nothing to ask, or nothing to say."""
        group = next((group for group in failures_in(evidence) if not _settled(group, evidence)), None)
        if group is None:
            return None
        shown = handles("f", group[-SAMPLE:])
        tool = group[0].tool
        noted, rejected = _notes_about(tool, evidence), rejected_edits(evidence, {Kind.TOOL_NOTE})
        asked = schema(list(parameters_of(schema_of(tool))), list(shown))
        cuts = (_told(tool, noted, shown, rejected, chars) | {"failures_in_all": len(group)} for chars in CUTS)
        told = next((one for one in cuts if self._asker.fits(_WORDS, one, asked)), None)
        if told is None:
            raise InvalidEdit(f"the definition of {tool_name(tool)} is too long to be asked about", hint="shorten it")
        said = await self._asker.ask(evidence.scope, _WORDS, told, asked, budget=budget)
        trigger = cut(one_line(group[-1].trace.episode.request.query), MAX_TRIGGER_CHARS) or None
        notes = [_said(one, tool_name(tool), shown, trigger) for one in said["notes"]]
        known = _known(evidence, ())
        entries = [note for note in notes if (note.doc, note.text) not in known]
        causes = [shown[name] for one in said["notes"] for name in one["because"]]
        read = {*(note.id for note in noted), *read_with(evidence, rejected)}
        return _edit(evidence, entries, causes, said["cause"], shown=list(shown.values()), read=read)


def schema(parameters: Sequence[str], failures: Sequence[str]) -> Mapping[str, Any]:
    """What an answer must be, for these parameters and handles of failures."""
    text = {"type": "string", "minLength": 1, "maxLength": MAX_NOTE_CHARS}
    fields = {
        "parameter": {"enum": ["", *parameters]},
        "sort": {"enum": list(SORTS)},
        "text": text,
        "because": {"type": "array", "items": {"enum": list(failures)}, "minItems": 1, "maxItems": len(failures)},
    }
    note = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    notes = {"type": "array", "items": note, "maxItems": MAX_NOTES}
    properties = {"cause": {"type": "string", "maxLength": 600}, "notes": notes}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


# ── what is asked ───────────────────────────────────────────────────────────────────────────


def _settled(group: Sequence[Failure], evidence: Evidence) -> bool:
    """Whether there are words for these failures without a model, which were not rejected."""
    rejected = _put(evidence.tried("reject"))
    return any((note.doc, note.text) not in rejected for note in notes_on(group))


def _notes_about(tool: Mapping[str, Any], evidence: Evidence) -> list[Entry]:
    """The tool's notes; those of less authority than a tool's would lower that of what comes of them."""
    return [
        entry
        for entry in evidence.context.entries
        if entry.kind is Kind.TOOL_NOTE
        and entry.status is Status.ACTIVE
        and entry.origin >= Origin.TOOL
        and noted_tool(entry) == tool_name(tool)
    ]


def _told(
    tool: Mapping[str, Any],
    noted: Sequence[Entry],
    shown: Mapping[str, Failure],
    rejected: Sequence[Attempt],
    chars: int,
) -> dict[str, Any]:
    """What the model is told, each text cut after so many characters."""
    description = cut(str(function_of(tool).get("description") or ""), chars)
    return {
        "tool": {"name": tool_name(tool), "description": description, "parameters": schema_of(tool)},
        "notes": [cut(note.text, chars) for note in noted],
        "failures": [{"id": name, **_failure_told(failure, chars)} for name, failure in shown.items()],
        "rejected": [_rejected_told(one, chars) for one in rejected],
    }


def _failure_told(failure: Failure, chars: int) -> dict[str, str]:
    found = {"arguments": cut(failure.call.arguments, chars), "error": cut(failure.call.result or "", chars)}
    return found | ({"worked": cut(failure.fix.arguments, chars)} if failure.fix else {})


def _rejected_told(attempt: Attempt, chars: int) -> dict[str, Any]:
    ops = attempt.edit.ops if attempt.edit else ()
    notes = [cut(op.entry.text, chars) for op in ops if isinstance(op, Put)]
    return {"notes": notes, "reason": cut(attempt.verdict.reason, 200)}


# ── what is made of it ──────────────────────────────────────────────────────────────────────


def _said(said: Mapping[str, Any], tool: str, shown: Mapping[str, Failure], trigger: str | None) -> Entry:
    text = one_line(said["text"])
    if not text:
        raise InvalidEdit("a note without a text", hint="say one thing in one sentence")
    errors = [failure.call.result or "" for failure in shown.values()]
    if any(_repeats(text, error) for error in errors):
        raise InvalidEdit("a note repeats an error word for word", hint="say it in words of its own")
    doc = f"tools/{tool}/{said['parameter']}".rstrip("/")
    return _entry(doc, note_text(said["sort"], text), origin=Origin.TOOL, trigger=trigger)


def _repeats(text: str, source: str) -> bool:
    words, known = _words(text), _words(source)
    spans = {tuple(known[start : start + COPIED_WORDS]) for start in range(len(known) - COPIED_WORDS + 1)}
    return any(tuple(words[start : start + COPIED_WORDS]) in spans for start in range(len(words)))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _entry(doc: str, text: str, *, origin: Origin, trigger: str | None = None) -> Entry:
    return Entry(kind=Kind.TOOL_NOTE, doc=doc, text=text, trigger=trigger, origin=origin)


def _known(evidence: Evidence, attempts: Iterable[Attempt]) -> set[tuple[str, str]]:
    """Place and text of the notes that are here, and of those that were tried."""
    here = {(entry.doc, entry.text) for entry in evidence.context.entries if entry.kind is Kind.TOOL_NOTE}
    return here | _put(attempts)


def _put(attempts: Iterable[Attempt]) -> set[tuple[str, str]]:
    ops = (op for one in attempts if one.edit for op in one.edit.ops)
    return {(op.entry.doc, op.entry.text) for op in ops if isinstance(op, Put)}


def _edit(
    evidence: Evidence,
    entries: Sequence[Entry],
    causes: Sequence[Failure],
    why: str,
    *,
    shown: Sequence[Failure] = (),
    read: Iterable[str] = (),
) -> Edit | None:
    """One note for each entry, caused by these failures; None without any. Raises `InvalidEdit`."""
    if not entries:
        return None
    if problem := objection(why):
        raise InvalidEdit(f"its reason {problem[0]}", hint=problem[1])
    cited = {id for failure in causes for id in failure.trace.cited}
    seen = seen_with(evidence, [failure.trace for failure in (*causes, *shown)])
    once = {(entry.doc, entry.text): entry for entry in entries}
    made = Edit(
        ops=tuple(Put(entry=entry) for entry in once.values()),
        rationale=cut(one_line(why), 300),
        evidence=tuple(sorted(cited)),
        read=tuple(sorted({*seen, *read} - cited)),
    )
    validate(made)
    return made
