"""`skill`: at least three verified successes that share a course → one skill; one that is read too often → two.

Its tests are the cases of the episodes that it comes from. They are in the edit's evidence, so they do not judge it
(I7); what judges it are their siblings, and from then on they are regression cases like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from tokenspace.budget import Budget
from tokenspace.context import validate
from tokenspace.context.skills import (
    FOLDER,
    about,
    activation,
    file_of,
    is_open,
    name_of,
    opened_by_name,
    opens,
    skills_in,
    turned_out,
)
from tokenspace.domain import Attempt, Drop, Edit, Entry, Evidence, Kind, Op, Origin, Put, Status
from tokenspace.errors import InvalidEdit
from tokenspace.proposers.asking import Asker, wording
from tokenspace.proposers.courses import LEAST, Course, courses, success_told
from tokenspace.proposers.shown import (
    CUTS,
    Trace,
    cut,
    handles,
    level_of,
    one_line,
    read_with,
    rejected_edits,
    seen_with,
    traces,
)  # fmt: skip
from tokenspace.protocols import Reach, Recall

MAX_SHOWN: Final = 6
LOST: Final = 2 / 3
"""Below this share of right activations a description chooses badly; a fair coin seldom looks like that in six."""
MAX_STEPS: Final = 12
MAX_LINE_CHARS: Final = 300
MAX_DESCRIPTION_CHARS: Final = 400

_WORDS: Final = wording("skill@1")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One question: what is told at a cut of its texts, the traces by handle, how many skills may come of it.

    `about` names what it is about: another question of the same is asked only when that has changed.
    """

    told: Callable[[int], Mapping[str, Any]]
    shown: Mapping[str, Trace]
    least: int
    skills: int
    about: tuple[str, ...]
    old: Entry | None = None


class Skill:
    """Asks a model for a skill, once for each course, and again when as many successes more have come.

    A course that a served or waiting skill came from has its skill, and one that the model declined waits, too: what
    else is told beside a question, such as rejected edits, does not change what is asked about. The model is told where
    arguments came from, and never what tools returned. With `recall`, successes without tools are grouped by how alike
    their requests are. A skill whose folder somebody imported is theirs, and is never split.
    """

    name: str = _WORDS.cited
    reach: Reach = "all"

    def __init__(self, asker: Asker, *, recall: Recall | None = None) -> None:
        self._asker = asker
        self._recall = recall

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """The first split or skill that the model has words for; None if there is none to ask about, or to make.

        Raises `InvalidEdit` if no answer could be used.
        """
        problem: InvalidEdit | None = None
        for task in (*self._splits(evidence), *self._new(evidence)):
            if self._asker.declined(evidence.scope, _WORDS, task.about):
                continue
            try:
                edit = await self._ask(task, evidence, budget)
            except InvalidEdit as error:
                problem = problem or error
                continue
            if edit is not None:
                return edit
        if problem is not None:
            raise problem
        return None

    async def _ask(self, task: _Task, evidence: Evidence, budget: Budget) -> Edit | None:
        known, rejected = _known(evidence), rejected_edits(evidence, {Kind.SKILL})
        asked = schema([*task.shown], least=task.least, skills=task.skills)
        beside = {
            "skills": [{"name": name_of(one), "description": cut(about(one), MAX_DESCRIPTION_CHARS)} for one in known],
            "rejected": [_rejected_told(one) for one in rejected],
        }
        cuts = ({**task.told(chars), **beside} for chars in CUTS)
        told = next((one for one in cuts if self._asker.fits(_WORDS, one, asked)), None)
        if told is None:
            raise InvalidEdit("the course is too long to be asked about", hint="use a model with more context")
        said = await self._asker.ask(evidence.scope, _WORDS, told, asked, budget=budget)
        made = cast("list[Mapping[str, Any]]", said["skills"])
        if not made:
            self._asker.decline(evidence.scope, _WORDS, task.about)
            return None
        if len(made) != task.skills:
            raise InvalidEdit(f"{len(made)} skill in place of one that is to be split", hint="it takes two")
        entries = [_entry(one, evidence) for one in made]
        read = {*(one.id for one in known), *read_with(evidence, rejected), *seen_with(evidence, task.shown.values())}
        cited = {id for one in made for name in one["because"] for id in task.shown[name].cited}
        return _edit(task, entries, cited, read, said["reason"])

    # ── what to ask about ───────────────────────────────────────────────────────────────────

    def _new(self, evidence: Evidence) -> Iterator[_Task]:
        for course in courses(evidence, self._recall):
            if not self._done(course, evidence):
                yield _crystallise(course)

    def _done(self, course: Course, evidence: Evidence) -> bool:
        """Whether a skill came from it that stands or waits, or too little has come since one was rejected.

        A skill in a canary stands on a line of its own; one that was rolled back is among the rejected edits.
        """
        ids, visible = {trace.episode.id for trace in course.traces}, evidence.context.by_id
        rejected = evidence.tried("reject")
        back = {one.edit_key for one in rejected}
        for one, edit in self._own(evidence.tried("defer", "accept")):
            waits = one.verdict.decision == "defer" or (one.verdict.share < 1 and one.edit_key not in back)
            if (waits or any(_id(op) in visible for op in edit.ops)) and not ids.isdisjoint(edit.evidence):
                return True
        return _nothing_new(course.traces[-MAX_SHOWN:], [edit for _, edit in self._own(rejected)])

    def _splits(self, evidence: Evidence) -> Iterator[_Task]:
        used = activation(evidence.episodes.values(), evidence.feedback, evidence.context)
        imported = {name_of(one) for one in evidence.context.entries if file_of(one)}
        floor = min(level_of(evidence), Origin.AGENT)
        for entry in skills_in(evidence.context.entries):
            found = used[entry.id]
            enough = min(found.right, found.wrong) >= LEAST and (found.precision or 0.0) < LOST
            mine = entry.status is Status.ACTIVE and entry.origin >= floor and name_of(entry) not in imported
            if enough and mine:
                task = _split(entry, evidence)
                attempts = self._own(evidence.tried("reject", "defer"))
                tried = [edit for _, edit in attempts if entry.id in map(_id, edit.ops)]
                if not _nothing_new(task.shown.values(), tried):
                    yield task

    def _own(self, attempts: Iterable[Attempt]) -> list[tuple[Attempt, Edit]]:
        return [(one, one.edit) for one in attempts if one.proposer == self.name and one.edit is not None]


def _nothing_new(shown: Iterable[Trace], tried: Iterable[Edit]) -> bool:
    """Whether an edit came of some of these episodes before, and too few of them are new since."""
    ids = {trace.episode.id for trace in shown}
    seen = {id for edit in tried for id in (*edit.evidence, *edit.read)}
    return not ids.isdisjoint(seen) and len(ids - seen) < LEAST


def schema(shown: Sequence[str], *, least: int, skills: int) -> Mapping[str, Any]:
    """What an answer must be: at most so many skills, each because of `least` or more of these handles."""
    line = {"type": "string", "minLength": 1, "maxLength": MAX_LINE_CHARS}
    parameter = _object({"name": {"type": "string", "minLength": 1, "maxLength": 60}, "meaning": line})
    fields = {
        "name": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 64},
        "description": {"type": "string", "minLength": 1, "maxLength": MAX_DESCRIPTION_CHARS},
        "parameters": {"type": "array", "items": parameter, "maxItems": 8},
        "preconditions": {"type": "array", "items": line, "maxItems": 6},
        "steps": {"type": "array", "items": line, "minItems": 1, "maxItems": MAX_STEPS},
        "because": {"type": "array", "items": {"enum": list(shown)}, "minItems": least, "uniqueItems": True},
    }
    made = {"type": "array", "items": _object(fields), "maxItems": skills}
    return _object({"reason": {"type": "string", "maxLength": 600}, "skills": made})


def _object(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


# ── the two tasks ───────────────────────────────────────────────────────────────────────────


def _crystallise(course: Course) -> _Task:
    shown = handles("s", course.traces[-MAX_SHOWN:])

    def told(chars: int) -> Mapping[str, Any]:
        successes = [{"id": name, **success_told(trace, chars)} for name, trace in shown.items()]
        return {"task": "crystallise", "course": list(course.tools), "successes": successes}

    return _Task(told=told, shown=shown, least=LEAST, skills=1, about=_about(course.traces))


def _split(entry: Entry, evidence: Evidence) -> _Task:
    right = turned_out(evidence.feedback)
    active = [trace for trace in traces(evidence) if trace.episode.id in right and _active(entry, trace)]
    good = handles("r", [trace for trace in active if right[trace.episode.id]][-MAX_SHOWN:])
    bad = handles("w", [trace for trace in active if not right[trace.episode.id]][-MAX_SHOWN:])

    def told(chars: int) -> Mapping[str, Any]:
        skill = {"name": name_of(entry), "description": about(entry), "text": cut(entry.text, 4 * chars)}
        return {"task": "split", "skill": skill, "right": _requests(good, chars), "wrong": _requests(bad, chars)}

    again = (entry.id, *_about(active))
    return _Task(told=told, shown={**good, **bad}, least=1, skills=2, about=again, old=entry)


def _about(some: Sequence[Trace]) -> tuple[str, ...]:
    """The episodes in the order of their coming, without the newest that are too few to ask again for."""
    return tuple(trace.episode.id for trace in some[: len(some) - len(some) % LEAST])


def _active(entry: Entry, trace: Trace) -> bool:
    read = name_of(entry) in opened_by_name(trace.episode.run.tool_calls)
    return entry.id in trace.episode.shown and (read or (opens(entry) and is_open(entry, trace.episode.shown)))


def _requests(some: Mapping[str, Trace], chars: int) -> list[Mapping[str, str]]:
    return [{"id": name, "request": cut(trace.episode.request.query, chars)} for name, trace in some.items()]


# ── what comes of it ────────────────────────────────────────────────────────────────────────


def _known(evidence: Evidence) -> list[Entry]:
    """The skills that a model may be told of: of no lower origin than what it writes will have."""
    floor = min(level_of(evidence), Origin.AGENT)
    active = (one for one in skills_in(evidence.context.entries) if one.status is Status.ACTIVE)
    return [one for one in active if one.origin >= floor]


def _entry(said: Mapping[str, Any], evidence: Evidence) -> Entry:
    name = said["name"]
    if any(name_of(one) == name for one in evidence.context.entries if one.kind is Kind.SKILL):
        raise InvalidEdit(f"there is a skill {name} already", hint="give it another name")
    return Entry(
        kind=Kind.SKILL, doc=f"{FOLDER}{name}", trigger=one_line(said["description"]), text=_body(said),
        origin=Origin.AGENT,
    )  # fmt: skip


def _body(said: Mapping[str, Any]) -> str:
    """The skill's text, in Markdown."""
    parameters = [f"- {one_line(one['name'])}: {one_line(one['meaning'])}" for one in said["parameters"]]
    before = [f"- {one_line(one)}" for one in said["preconditions"]]
    steps = [f"{number}. {one_line(one)}" for number, one in enumerate(said["steps"], start=1)]
    parts = [("Find out first:", parameters), ("Before you begin:", before), ("Steps:", steps)]
    title = f"# {str(said['name']).replace('-', ' ').capitalize()}"
    return "\n\n".join([title, *(f"{head}\n\n{chr(10).join(lines)}" for head, lines in parts if lines)])


def _edit(task: _Task, entries: Sequence[Entry], cited: set[str], read: set[str], reason: str) -> Edit:
    ops: list[Op] = [Put(entry=entry) for entry in entries]
    if len({entry.doc for entry in entries}) < len(entries):
        raise InvalidEdit("two skills have one name", hint="give each its own")
    if task.old is not None:
        ops.append(Drop(id=task.old.id))
        read = {*read, task.old.id}
    read_ids = tuple(sorted(read - cited))
    made = Edit(ops=tuple(ops), rationale=cut(one_line(reason), 300), evidence=tuple(sorted(cited)), read=read_ids)
    validate(made)
    return made


def _id(op: Op) -> str:
    return op.entry.id if isinstance(op, Put) else op.id


def _rejected_told(attempt: Attempt) -> Mapping[str, Any]:
    made = [op.entry for op in (attempt.edit.ops if attempt.edit else ()) if isinstance(op, Put)]
    skills = [{"name": name_of(one), "description": cut(about(one), MAX_DESCRIPTION_CHARS)} for one in made]
    return {"skills": skills, "reason": cut(attempt.verdict.reason, 200)}
