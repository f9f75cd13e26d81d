"""Skills of a context from and to Agent Skills folders, without loss of a text.

A skill is one entry "skills/NAME": its trigger is the description, its text the body. Each further text is one entry
"skills/NAME/PATH". The front matter is kept, as it was written, in an entry "skills/NAME/SKILL.md", which ends with a
comment of ours: the digest of the folder that was imported, what was left out, and how the texts began and ended, so
that entries need not hold such things.

Whose word an imported skill is, is the importing person's to say, by a pin on the digest or a list of places: see
`Allowed`. Any other skill is quarantined, of origin web, until somebody has read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from tokenspace.context.render import TRUSTED
from tokenspace.context.scanner import secret_in
from tokenspace.context.skills import FOLDER, about, file_of, name_of, skills_in
from tokenspace.domain import Context, Drop, Edit, Entry, Kind, Op, Origin, Put, Status, new_id
from tokenspace.errors import BadData, UsageError
from tokenspace.interop.skill_folders import (
    MAX_DESCRIPTION_CHARS,
    MAX_NAME_CHARS,
    SKILL_FILE,
    SkillFolder,
    declared_tools,
    front_matter,
    front_text,
)

_OURS: Final = "# tokenspace: "
_LEAD: Final = re.compile(r"(?:\r?\n)*")
_NO_NAME: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What a person vouches for: digests of folders ("sha256:…"), and folders whose skills are all trusted."""

    pins: frozenset[str] = frozenset()
    places: tuple[Path, ...] = ()

    @classmethod
    def of(cls, lines: Iterable[str], *, base: Path) -> Allowed:
        """From lines of a file: a digest or a folder each, relative to `base`; # begins a comment."""
        said = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        places = tuple((base / Path(one).expanduser()).resolve() for one in said if not one.startswith("sha256:"))
        return cls(pins=frozenset(one.split()[0] for one in said if one.startswith("sha256:")), places=places)

    def vouches(self, skill: SkillFolder, folder: Path) -> bool:
        """Whether these very bytes, or everything at that place, is trusted."""
        real = folder.resolve()
        return skill.sha256 in self.pins or any(real == place or place in real.parents for place in self.places)


# ── in ──────────────────────────────────────────────────────────────────────────────────────


def import_edit(skill: SkillFolder, context: Context, *, origin: Origin | None) -> Edit:
    """The edit that makes a context's skill of this name read as the folder does; no operation if it does already.

    `origin` is that of the person who vouches for it; None if nobody does. What an earlier import had and this one has
    not is dropped. Raises `BadData` for a skill that holds a secret, and `UsageError` for one without a voucher that
    would take the place of a served one.
    """
    for inside, text in {SKILL_FILE: skill.skill_file, **skill.files}.items():
        if found := secret_in(text):
            raise BadData(f"{skill.name}/{inside} contains {found}", hint="remove it: a context is no place for it")
    level, status = (Origin.WEB, Status.QUARANTINED) if origin is None else (origin, Status.ACTIVE)
    wanted = _wanted(skill)
    old = [entry for entry in context.entries if entry.kind is Kind.SKILL and name_of(entry) == skill.name]
    if origin is None and any(entry.status is Status.ACTIVE and entry.origin >= TRUSTED for entry in old):
        raise UsageError(
            f"a skill {skill.name} is served already, and nobody vouches for this one ({skill.sha256})",
            hint="read what it says, then import it with that digest as its pin",
        )
    by_doc = {entry.doc: entry for entry in reversed(old)}
    ops: list[Op] = []
    for doc, text in wanted.items():
        before = by_doc.get(doc)
        trigger = skill.description if doc == FOLDER + skill.name else None
        if before and (before.text, before.trigger, before.origin, before.status) == (text, trigger, level, status):
            continue
        id = before.id if before else new_id()
        entry = Entry(id=id, kind=Kind.SKILL, doc=doc, text=text, trigger=trigger, origin=level, status=status)
        ops.append(Put(entry=entry))
    kept = {by_doc[doc].id for doc in wanted if doc in by_doc}
    ops += [Drop(id=entry.id) for entry in old if entry.id not in kept]
    return Edit(ops=tuple(ops), rationale=f"import skill {skill.name}, {skill.sha256}")


def _wanted(skill: SkillFolder) -> dict[str, str]:
    """The texts of a skill's entries by place."""
    place = FOLDER + skill.name
    lead = _LEAD.match(skill.body)
    begun = lead[0] if lead else ""
    marks: dict[str, str] = {"lead": begun} if begun != "\n" else {}
    parts = {place: skill.body.removeprefix(begun), **{f"{place}/{path}": text for path, text in skill.files.items()}}
    plain: dict[str, str] = {}
    for doc, text in parts.items():
        plain[doc], how = _plain(text)
        if how:
            marks[doc.removeprefix(place)] = how
    front, how = _plain(skill.front)
    ours: dict[str, Any] = {"digest": skill.sha256, "left_out": list(skill.left_out), "marks": marks, "front": how}
    said = {key: value for key, value in ours.items() if value}
    plain[f"{place}/{SKILL_FILE}"] = f"{front}\n{_OURS}{json.dumps(said, ensure_ascii=True)}"
    return plain


def _plain(text: str) -> tuple[str, str]:
    """A text with plain line ends and without the last one, and how it was: "crlf", "open", both, or as usual ""."""
    how: list[str] = []
    if "\r\n" in text and text.count("\r") == text.count("\n") == text.count("\r\n"):
        text, how = text.replace("\r\n", "\n"), ["crlf"]
    if not text.endswith("\n"):
        how.append("open")
    return text.removesuffix("\n"), " ".join(how)


def _as_it_was(text: str, how: str) -> str:
    text += "" if "open" in how else "\n"
    return text.replace("\n", "\r\n") if "crlf" in how else text


# ── out ─────────────────────────────────────────────────────────────────────────────────────


def export_skills(
    context: Context, *, metadata: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[list[SkillFolder], tuple[str, ...]]:
    """The skills that are served, as folders sorted by name; and in words, which of the others are not, and why.

    A skill that was imported and not changed since reads as it did. One that was made here gets a front matter, with
    what `metadata` says about it by name (its revision, its lift).
    """
    served = [entry for entry in context.entries if entry.kind is Kind.SKILL and entry.status is Status.ACTIVE]
    served = [entry for entry in served if entry.origin >= TRUSTED]
    found: dict[str, SkillFolder] = {}
    for entry in skills_in(served):
        name = lawful(name_of(entry))
        if name not in found:
            found[name] = _folder(name, name_of(entry), served, dict((metadata or {}).get(name_of(entry), {})))
    others = [entry for entry in skills_in(context.entries) if entry not in served]
    left = tuple(f"{name_of(one)}: {_why(one)}" for one in others if lawful(name_of(one)) not in found)
    return [found[name] for name in sorted(found)], left


def lawful(name: str) -> str:
    """The nearest name that the format allows.

    >>> lawful("Refund handling (EU)")
    'refund-handling-eu'
    """
    made = _NO_NAME.sub("-", name.lower()).strip("-")[:MAX_NAME_CHARS].strip("-")
    return made or "skill"


def _why(entry: Entry) -> str:
    return entry.status.value if entry.status is not Status.ACTIVE else "authority too low"


def _folder(name: str, said: str, served: list[Entry], metadata: Mapping[str, str]) -> SkillFolder:
    mine = [entry for entry in served if name_of(entry) == said]
    bodies = skills_in(mine)
    files = {file_of(entry): entry.text for entry in mine if file_of(entry)}
    front, ours = split_front(files.pop(SKILL_FILE, ""))
    marks = cast("dict[str, str]", ours.get("marks", {}))
    description = next((entry.trigger for entry in bodies if entry.trigger), "") or about(bodies[0]) or said
    front = _as_it_was(_front(front, name, description[:MAX_DESCRIPTION_CHARS], metadata), str(ours.get("front", "")))
    body = marks.get("lead", "\n") + _as_it_was("\n\n".join(entry.text for entry in bodies), marks.get("", ""))
    return SkillFolder(
        name=name,
        description=description,
        front=front,
        body=body,
        files={path: _as_it_was(text, marks.get(f"/{path}", "")) for path, text in files.items()},
        left_out=tuple(cast("list[str]", ours.get("left_out", []))),
        sha256=str(ours.get("digest", "")),
    )


def split_front(text: str) -> tuple[str, Mapping[str, Any]]:
    """A kept front matter, and what our comment at its end says; nothing where a person has removed it."""
    front, mark, comment = text.rpartition(_OURS)
    if not mark:
        return text, {}
    try:
        said: Any = json.loads(comment)
    except ValueError:
        said = {}
    return front.removesuffix("\n"), cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def tools_of(front: str) -> tuple[str, ...]:
    """The tools that a kept front matter declares; none where it cannot be read any more."""
    try:
        return declared_tools(front_matter(front, SKILL_FILE)) if front else ()
    except BadData:
        return ()


def _front(front: str, name: str, description: str, metadata: Mapping[str, str]) -> str:
    """The front matter as it was, if it still says the same; else a new one with what else it said."""
    try:
        said = dict(front_matter(front, SKILL_FILE)) if front else {}
    except BadData:
        said = {}
    if said and (said["name"], said["description"].strip()) == (name, description):
        return front
    made: dict[str, Any] = {**said, "name": name, "description": description}
    if not said and metadata:
        made["metadata"] = dict(metadata)
    return front_text(made).removesuffix("\n")
