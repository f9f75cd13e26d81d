"""Skills in a context: what of them a prompt shows when, and how often that was right.

A skill is shown in three steps. Its line in the index, name and description, is part of the core. Its body comes to the
tail of a request that its description matches, or when an agent that can opens it by name. Further files come by name
only. So a skill is one entry of the place "skills/NAME", whose trigger is the description and whose text is the body,
and each further file is one entry of the place "skills/NAME/FILE", which is never shown unasked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from tokenspace.context.clusters import loss_of
from tokenspace.domain import Context, Entry, Episode, Feedback, Kind, Profile, Ranked, Status, ToolCall

FOLDER: Final = "skills/"
READ_SKILL: Final = "read_skill"
"""The tool that opens a skill; an agent that has it says so in its profile (`reads_skills`)."""
MOST_OPEN: Final = 1
"""So many bodies are recalled for one request."""
FLOOR: Final = 0.25
"""A description must score so much. docs/skills.md says what it was chosen on."""
UNREAD: Final = "error:"
"""How the result of a call begins that opened nothing."""


# ── what an entry is ────────────────────────────────────────────────────────────────────────


def name_of(entry: Entry) -> str:
    """The skill that an entry is, or is a file of: what follows "skills/" up to the next slash.

    >>> name_of(Entry(kind=Kind.SKILL, doc="skills/refunds/references/limits.md", text="…"))
    'refunds'
    """
    inside = entry.doc.startswith(FOLDER)
    return entry.doc.removeprefix(FOLDER).split("/", 1)[0] if inside else entry.doc.rsplit("/", 1)[-1]


def file_of(entry: Entry) -> str:
    """The path of a further file inside its skill; "" for the skill itself and for what is no skill."""
    if entry.kind is not Kind.SKILL or not entry.doc.startswith(FOLDER):
        return ""
    return entry.doc.removeprefix(FOLDER).partition("/")[2]


def about(entry: Entry) -> str:
    """When to use a skill, on one line: its description, or the first line of a body that has none."""
    said = entry.text if entry.trigger is None else " ".join(entry.trigger.split())
    first = next((line for line in said.splitlines() if line.strip()), "")
    return first.strip().lstrip("#").strip()


def opens(entry: Entry) -> bool:
    """Whether an entry is a skill with a body beside its line in the index."""
    return entry.kind is Kind.SKILL and entry.trigger is not None and not file_of(entry)


def skills_in(entries: Iterable[Entry]) -> list[Entry]:
    """The skills among these entries, without their further files."""
    return [entry for entry in entries if entry.kind is Kind.SKILL and not file_of(entry)]


# ── what is shown ───────────────────────────────────────────────────────────────────────────


def worth_opening(entries: Iterable[Entry], ranked: Sequence[Ranked], profile: Profile) -> list[Entry]:
    """Of these entries, the skills whose bodies a request should see, best first.

    They are few, their descriptions match at least at the floor, and each body takes no more tokens than the core may:
    a longer one has to be opened by name.
    """
    known = {entry.id: entry for entry in entries if opens(entry)}
    best = [known.pop(one.id) for one in ranked if one.id in known and one.score >= FLOOR][:MOST_OPEN]
    return [entry for entry in best if profile.count_tokens(entry.text) <= profile.core_tokens]


def is_open(entry: Entry, shown: Sequence[str]) -> bool:
    """Whether a prompt or an episode that showed these ids had the skill's body: its id is there a second time then."""
    return shown.count(entry.id) > (1 if opens(entry) else 0)


def kept_in_session(old: Entry, new: Entry | None) -> Entry:
    """A skill in a running session: its index line as the session began, its body as it is now (I14).

    One that is gone since keeps its line and has no body any more.
    """
    if new is None or new.status is not Status.ACTIVE or not opens(new):
        return replace(old, trigger=None, text=about(old))
    return old if new.text == old.text else replace(old, text=new.text)


def read_tool(names: Iterable[str]) -> Mapping[str, Any]:
    """The definition of the tool that opens one of these skills."""
    properties = {
        "name": {"type": "string", "enum": sorted(set(names))},
        "file": {"type": "string", "description": "A further file of the skill; leave it out for its instructions."},
        "offset": {"type": "integer", "minimum": 0, "description": "Go on reading from this character."},
    }
    parameters = {"type": "object", "properties": properties, "required": ["name"], "additionalProperties": False}
    description = "Read the instructions of a skill before doing what it is for."
    function = {"name": READ_SKILL, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def openable(skills: Iterable[Entry], files: Iterable[Entry]) -> tuple[tuple[str, str], ...]:
    """What can be opened of these skills, by path: "refunds" for a body, "refunds/limits.md" for a file, sorted.

    Several entries in one place are one text, in their order. Files of other skills are left out.
    """
    texts: dict[str, list[str]] = {}
    for entry in skills:
        texts.setdefault(name_of(entry), []).append(entry.text)
    names = frozenset(texts)
    for entry in files:
        if name_of(entry) in names:
            texts.setdefault(f"{name_of(entry)}/{file_of(entry)}", []).append(entry.text)
    return tuple((path, "\n\n".join(parts)) for path, parts in sorted(texts.items()))


# ── how often it was right ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """How often a skill was in the index (`offered`), and how often its body was recalled or opened (`activated`).

    Of the activations that feedback measured, `right` and `wrong` count those in episodes that turned out so. That
    says how well the trigger chooses, not what the skill is good for: its lift comes from replays.
    """

    offered: int = 0
    activated: int = 0
    right: int = 0
    wrong: int = 0

    @property
    def precision(self) -> float | None:
        """The share of measured activations in episodes that turned out right; None if none was measured."""
        judged = self.right + self.wrong
        return self.right / judged if judged else None


def activation(episodes: Iterable[Episode], feedback: Iterable[Feedback], context: Context) -> Mapping[str, Activation]:
    """How each visible skill was used in these episodes, by the id of its entry."""
    right = turned_out(feedback)
    counts = {entry.id: [0, 0, 0, 0] for entry in skills_in(context.entries)}
    for episode in episodes:
        shown, called = set(episode.shown), opened_by_name(episode.run.tool_calls)
        for id in counts.keys() & shown:
            entry, found = context.by_id[id], counts[id]
            active = (opens(entry) and is_open(entry, episode.shown)) or name_of(entry) in called
            found[0] += 1
            found[1] += active
            found[2] += active and right.get(episode.id) is True
            found[3] += active and right.get(episode.id) is False
    return {
        id: Activation(offered=found[0], activated=found[1], right=found[2], wrong=found[3])
        for id, found in counts.items()
    }


def turned_out(feedback: Iterable[Feedback]) -> Mapping[str, bool]:
    """Whether each episode turned out right, by what was measured: its mean loss is below one half."""
    losses: dict[str, list[float]] = {}
    for item in feedback:
        loss = loss_of(item)
        if loss is not None:
            losses.setdefault(item.episode, []).append(loss)
    return {id: sum(found) / len(found) < 0.5 for id, found in losses.items()}


def opened_by_name(calls: Iterable[ToolCall]) -> frozenset[str]:
    """The skills that these calls of `read_skill` opened."""
    made = (call for call in calls if call.name == READ_SKILL and not (call.result or UNREAD).startswith(UNREAD))
    return frozenset(name for call in made if (name := _named(call.arguments)))


def _named(arguments: str) -> str:
    try:
        said: Any = json.loads(arguments)
    except (ValueError, RecursionError):
        return ""
    name: Any = cast("dict[str, Any]", said).get("name") if isinstance(said, dict) else None
    return name if isinstance(name, str) else ""
