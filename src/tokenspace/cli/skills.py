"""`skills`: what an agent can look up how to do, how often it did, and Agent Skills folders in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tokenspace.cli.options import open_agent, project, verb, verb_group
from tokenspace.cli.output import emit, note, one_line, safe, table
from tokenspace.errors import BadData, NotFound, UsageError

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.context.skills import Activation
    from tokenspace.domain import Context, Entry
    from tokenspace.interop.skill_folders import SkillFolder
    from tokenspace.interop.skills import Allowed

ALLOW_FILE: Final = "skills.allow"
PLACES: Final = (".agents/skills", ".claude/skills")


@verb_group("skills")
@click.pass_context
def skills(ctx: click.Context) -> None:
    """List, import and export skills.

    Without a command: every skill that is visible here, and how well its description chooses: in how many episodes of
    this scope it was in the index, in how many its body was read, and how many of those turned out right.
    """
    if ctx.invoked_subcommand is None:
        agent = open_agent()
        rows = _listed(agent)
        emit(lambda: {"skills": rows}, lambda: _told(rows) or "there is no skill here")


def _listed(agent: LearningAgent) -> list[dict[str, Any]]:
    from tokenspace.context.skills import activation, skills_in

    context = agent.context()
    used = activation(agent.store.episodes(agent.scope), agent.store.feedback(agent.scope), context)
    return [_row(entry, used[entry.id], context) for entry in skills_in(context.entries)]


def _row(entry: Entry, used: Activation, context: Context) -> dict[str, Any]:
    from tokenspace.context.skills import about, file_of, name_of
    from tokenspace.interop.skill_folders import SKILL_FILE
    from tokenspace.interop.skills import split_front, tools_of

    name = name_of(entry)
    files = {file_of(one): one.text for one in context.entries if file_of(one) and name_of(one) == name}
    front, ours = split_front(files.pop(SKILL_FILE, ""))
    return {
        "name": name,
        "description": about(entry),
        "entry": entry.id,
        "status": entry.status.value,
        "origin": entry.origin.name.lower(),
        "files": sorted(files),
        "declared_tools": tools_of(front),
        "imported_as": ours.get("digest"),
        "offered": used.offered,
        "activated": used.activated,
        "right": used.right,
        "wrong": used.wrong,
        "precision": used.precision,
    }


def _told(rows: list[dict[str, Any]]) -> str:
    lines = [["skill", "status", "offered", "read", "right", "when to use it"]] if rows else []
    for one in rows:
        judged = one["right"] + one["wrong"]
        right = "–" if one["precision"] is None else f"{one['precision']:.0%} of {judged}"
        lines.append(
            [
                one_line(one["name"], 40), one["status"], str(one["offered"]), str(one["activated"]), right,
                one_line(one["description"], 80),
            ]
        )  # fmt: skip
    return table(lines)


# ── in ──────────────────────────────────────────────────────────────────────────────────────


@verb("import")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR]...")
@click.option("--pin", metavar="DIGEST", help="Trust the one skill that has this sha256 digest.")
def import_(folders: tuple[Path, ...], pin: str | None) -> None:
    r"""Take skills in from folders with a SKILL.md.

    DIR is a skill, or holds skills. Without DIR: those in .agents/skills and .claude/skills, of this folder and of your
    home, where this folder wins. A skill that nobody vouches for is quarantined: kept and not shown. Read it, then
    vouch for these very bytes with --pin, or list digests and folders that you trust in .tokenspace/skills.allow.
    Scripts are kept as texts; nothing is ever run.

    \b
    tokenspace skills import ./refunds
    tokenspace skills import ./refunds --pin sha256:9f86d081…
    """
    from tokenspace.interop.skill_folders import find_skills

    agent, lenient = open_agent(), not folders
    found = _scanned() if lenient else [one for folder in folders for one in find_skills(folder)]
    if pin and len(found) != 1:
        raise UsageError(f"a pin is for one skill, and these are {len(found)}", hint="name the folder of the skill")
    done: list[dict[str, Any]] = []
    for folder in found:
        try:
            done.append(_import(agent, folder, pin))
        except (BadData, UsageError) as error:
            if not lenient:
                raise
            note(f"left out {folder}: {error}; {error.hint}")
    emit(lambda: {"imported": done}, lambda: "\n".join(map(_imported, done)) or "there is nothing to import")


def _scanned() -> list[Path]:
    """The skills in the usual places, each name once: the project's before those of the home."""
    from tokenspace.interop.skill_folders import find_skills

    found: dict[str, Path] = {}
    for place in (base / inside for base in (Path.cwd(), Path.home()) for inside in PLACES):
        try:
            for folder in find_skills(place):
                found.setdefault(folder.name, folder)
        except NotFound:
            continue
    return [found[name] for name in sorted(found)]


def _import(agent: LearningAgent, folder: Path, pin: str | None) -> dict[str, Any]:
    from tokenspace.domain import Origin
    from tokenspace.interop.skill_folders import read_folder
    from tokenspace.interop.skills import import_edit

    skill = read_folder(folder)
    if pin and pin != skill.sha256:
        hint = "it is not what you have read: look at it again, then pin that digest"
        raise UsageError(f"{folder} has the digest {skill.sha256}", hint=hint)
    trusted = bool(pin) or _allowed().vouches(skill, folder)
    person = Origin.USER if agent.scope.user else Origin.OPERATOR
    now = agent.context()
    edit = import_edit(skill, now, origin=person if trusted else None)
    made = agent.commit(edit, upon=now) if edit.ops else None
    _remarks(skill, folder, trusted=trusted)
    return {
        "name": skill.name, "digest": skill.sha256, "trusted": trusted, "revision": made.id if made else None,
        "files": sorted(skill.files), "left_out": skill.left_out,
    }  # fmt: skip


def _allowed() -> Allowed:
    from tokenspace.interop.skills import Allowed

    home = project().home
    path = home / ALLOW_FILE if home else None
    if home is None or path is None or not path.is_file():
        return Allowed()
    return Allowed.of(path.read_text("utf-8").splitlines(), base=home.parent)


def _remarks(skill: SkillFolder, folder: Path, *, trusted: bool) -> None:
    if not trusted:
        note(f"{skill.name} is quarantined. Read it; then: tokenspace skills import {folder} --pin {skill.sha256}")
    if skill.left_out:
        note(f"{skill.name}: not kept, because they are no texts or are empty: {safe(', '.join(skill.left_out))}")
    if scripts := [path for path in skill.files if path.startswith("scripts/")]:
        note(f"{skill.name}: kept as texts and never run: {', '.join(scripts)}")


def _imported(one: dict[str, Any]) -> str:
    how = "served" if one["trusted"] else "quarantined"
    return f"{one['name']}: {how}{'' if one['revision'] else ', as it was'}, {1 + len(one['files'])} text(s)"


# ── out ─────────────────────────────────────────────────────────────────────────────────────


@verb("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--replace", is_flag=True, help="Overwrite files that read otherwise.")
def export(folder: Path, names: tuple[str, ...], replace: bool) -> None:
    r"""Write skills as folders that other clients load.

    Writes every served skill, or those named, to DIR/NAME/SKILL.md with its further files. A skill that was imported
    reads as it did, byte for byte; one that was learned says in its metadata which revision it is and what its tests
    have shown.

    \b
    tokenspace skills export .agents/skills
    """
    from tokenspace.interop.skill_folders import left_behind, write_folder
    from tokenspace.interop.skills import export_skills

    agent = open_agent()
    found, left = export_skills(agent.context(), metadata=_metadata(agent))
    unknown = sorted({*names} - {one.name for one in found})
    if unknown:
        raise NotFound(f"no skill {', '.join(unknown)} is served here", hint="`tokenspace skills` lists them")
    chosen = [one for one in found if not names or one.name in names]
    written = [str(write_folder(one, folder, replace=replace)) for one in chosen]
    emit(lambda: {"written": written, "left": left}, lambda: "\n".join(written) or "there is no skill to write")
    for one in chosen:
        if one.left_out:
            note(f"{one.name}: not here, because they were no texts: {safe(', '.join(one.left_out))}")
    for words in left:
        note(f"not written: {words}")
    if old := left_behind(found, folder):
        note(f"not served here (any more), and left in {folder}: {safe(', '.join(old))}. Remove what was forgotten")


def _metadata(agent: LearningAgent) -> dict[str, dict[str, str]]:
    """Revision, basis and lift of each skill, as its front matter says them."""
    from tokenspace.context.skills import name_of, skills_in

    blame, lift, found = agent.blame(), agent.lift(), dict[str, dict[str, str]]()
    for entry in skills_in(agent.context().entries):
        if entry.id in blame:
            said = {"tokenspace-revision": blame[entry.id].revision, "tokenspace-basis": blame[entry.id].decision_basis}
            tests = {f"tokenspace-lift-{model}": one.words for model, one in sorted(lift.get(entry.id, {}).items())}
            found.setdefault(name_of(entry), {**said, **tests})
    return found


for command in (import_, export):
    skills.add_command(command)
