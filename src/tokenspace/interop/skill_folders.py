"""Agent Skills on disk: folders with a `SKILL.md` and further files, read strictly, written as other clients load them.

Reading trusts nothing: no symbolic link is followed, nothing is run, and what cannot be kept exactly is refused or left
out by name. `SKILL.md` is YAML between two lines of three hyphens, then Markdown; its keys are those of the format
(agentskills.io), and keys that it does not know are kept as they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from tokenspace.context import is_safe_doc
from tokenspace.errors import BadData, NotFound, UsageError

SKILL_FILE: Final = "SKILL.md"
MAX_NAME_CHARS: Final = 64
MAX_DESCRIPTION_CHARS: Final = 1_024
MAX_COMPATIBILITY_CHARS: Final = 500
MAX_FRONT_BYTES: Final = 16_384
MAX_TEXT_BYTES: Final = 131_072
"""Of `SKILL.md`, and of each further text; the format advises 5,000 tokens."""
MAX_FOLDER_BYTES: Final = 16_777_216
MAX_FILES: Final = 256
MAX_DEPTH: Final = 6

_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_FRONT: Final = re.compile(r"---\r?\n(.*?)^---\r?\n", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFolder:
    """A skill as it is on disk.

    `front` is the YAML between the hyphens, `body` what follows them and `files` the further texts by path, all as they
    are, line for line. `left_out` are paths that are no text and are not kept, `sha256` is of every file, kept or not.
    """

    name: str
    description: str
    front: str
    body: str
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    left_out: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def skill_file(self) -> str:
        """The whole text of `SKILL.md`."""
        end = "\r\n" if self.front.endswith("\r\n") else "\n"
        return f"---{end}{self.front}---{end}{self.body}"


def check_name(name: object) -> str:
    """A skill's name, if the format allows it; raises `BadData`."""
    if isinstance(name, str) and len(name) <= MAX_NAME_CHARS and _NAME.fullmatch(name):
        return name
    raise BadData(
        f"{str(name)[:80]!r} is no name of a skill",
        hint=f"use 1 to {MAX_NAME_CHARS} of a-z, 0-9 and single hyphens between them",
    )


def front_matter(text: str, where: str) -> Mapping[str, Any]:
    """What the YAML of a front matter says; raises `BadData` for what is no plain mapping of lawful keys."""
    import yaml as library

    yaml: Any = library  # its stubs leave types open
    if len(text.encode()) > MAX_FRONT_BYTES:
        raise BadData(f"{where}: the front matter is too long", hint=f"keep it below {MAX_FRONT_BYTES:,} bytes")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise BadData(f"{where}: the front matter refers to itself", hint="write values out, without * and &")
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
        said: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        hint = 'put quotes around a value that holds ": " or " #", or that begins with a mark'
        raise BadData(f"{where}: the front matter is no YAML: {why}", hint=hint) from error
    if not isinstance(said, dict):
        raise BadData(f"{where}: the front matter says nothing", hint="begin with the lines: name: …, description: …")
    keys: list[str] = [key.value for key, _ in node.value]
    if len(set(keys)) < len(keys):
        raise BadData(f"{where}: the front matter says something twice", hint="keep one line for each key")
    found = cast("dict[str, Any]", said)
    _check_fields(found, where)
    return found


def _check_fields(said: Mapping[str, Any], where: str) -> None:
    name, description = check_name(said.get("name")), said.get("description")
    if not isinstance(description, str) or not 0 < len(description.strip()) <= MAX_DESCRIPTION_CHARS:
        raise BadData(
            f"{where}: the skill {name} has no usable description",
            hint=f"say in 1 to {MAX_DESCRIPTION_CHARS:,} characters what it does and when to use it",
        )
    compatibility, metadata, tools = said.get("compatibility"), said.get("metadata"), said.get("allowed-tools")
    if compatibility is not None and not (
        isinstance(compatibility, str) and 0 < len(compatibility) <= MAX_COMPATIBILITY_CHARS
    ):
        raise BadData(
            f"{where}: compatibility is no short text", hint=f"use 1 to {MAX_COMPATIBILITY_CHARS} characters in quotes"
        )
    if metadata is not None and not isinstance(metadata, dict):
        raise BadData(f"{where}: metadata is no mapping", hint="write lines such as: author: ana, indented below it")
    if not isinstance(said.get("license", ""), str):
        raise BadData(f"{where}: license is no text", hint="put it in quotes")
    if tools is not None and not _texts(tools):
        raise BadData(f"{where}: allowed-tools is no list of names", hint="write them on one line, with spaces between")


def _texts(value: object) -> bool:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return all(isinstance(one, str) for one in items)


def declared_tools(said: Mapping[str, Any]) -> tuple[str, ...]:
    """The tools that a front matter declares with `allowed-tools`, in its order."""
    tools = said.get("allowed-tools") or ""
    return tuple(tools.replace(",", " ").split()) if isinstance(tools, str) else tuple(map(str, tools))


# ── reading ─────────────────────────────────────────────────────────────────────────────────


def find_skills(folder: Path) -> list[Path]:
    """The folder, if it is a skill, or else the skills right in it, sorted. Raises `NotFound` for none."""
    if os.path.lexists(folder / SKILL_FILE):
        return [folder]
    found = [one for one in sorted(folder.iterdir()) if os.path.lexists(one / SKILL_FILE)] if folder.is_dir() else []
    if not found:
        hint = f"name a folder that holds a {SKILL_FILE}, or folders that do"
        raise NotFound(f"there is no skill in {folder}", hint=hint)
    return found


def read_folder(folder: Path) -> SkillFolder:
    """A skill from its folder. Raises `BadData` with what to do about it for one that cannot be kept as it is."""
    if folder.is_symlink():
        raise BadData(f"{folder} is a symbolic link", hint="name the folder that it leads to")
    texts, left_out, sha256 = _read_all(folder)
    where = str(folder / SKILL_FILE)
    if SKILL_FILE not in texts:
        raise BadData(f"{where} is missing or no UTF-8 text", hint="save it as UTF-8")
    whole = texts.pop(SKILL_FILE)
    if whole.startswith("\ufeff"):
        raise BadData(f"{where} begins with a byte order mark", hint="save it as UTF-8 without one")
    split = _FRONT.match(whole)
    if split is None:
        raise BadData(f"{where} has no front matter", hint="begin it with ---, the name and description, and ---")
    said = front_matter(split[1], where)
    if said["name"] != folder.resolve().name:
        raise BadData(
            f"{where}: the skill is called {said['name']}, but its folder {folder.resolve().name}",
            hint="give both the same name",
        )
    body = whole[split.end() :]
    if not body.strip():
        raise BadData(f"{where} has no instructions", hint="write below the front matter what to do")
    found = SkillFolder(
        name=said["name"], description=said["description"].strip(), front=split[1], body=body,
        files=MappingProxyType(texts), left_out=left_out, sha256=sha256,
    )  # fmt: skip
    if found.skill_file != whole:
        raise BadData(f"{where} mixes two kinds of line ends", hint="save it with one kind")
    return found


def _read_all(folder: Path) -> tuple[dict[str, str], tuple[str, ...], str]:
    """All texts of a folder by path, the paths of all else, and the digest of everything."""
    texts, left_out, digest, size = dict[str, str](), list[str](), hashlib.sha256(), 0
    for count, path in enumerate(_files(folder, folder)):
        if count >= MAX_FILES:
            raise BadData(f"{folder} holds more than {MAX_FILES} files", hint="is it a skill? keep what it needs only")
        raw = _bytes(path, MAX_FOLDER_BYTES - size)
        size += len(raw)
        inside = path.relative_to(folder).as_posix()
        digest.update(f"{inside}\0{len(raw)}\0".encode("utf-8", "surrogateescape"))
        digest.update(raw)
        text = _text(raw)
        if text is None:
            left_out.append(inside)
            continue
        if len(raw) > MAX_TEXT_BYTES:
            hint = f"split it: a text may have {MAX_TEXT_BYTES:,}"
            raise BadData(f"{path} has {len(raw):,} bytes", hint=hint)
        if not is_safe_doc(f"skills/s/{inside}"):
            hint = "rename it: letters, digits, . _ - and inner spaces"
            raise BadData(f"{inside[:200]!r} is no usable path of a file", hint=hint)
        texts[inside] = text
    return texts, tuple(left_out), f"sha256:{digest.hexdigest()}"


def _files(folder: Path, top: Path) -> Iterator[Path]:
    """Every file below, sorted; hidden ones and caches are none of the skill's. Raises `BadData` for a link."""
    if len(folder.relative_to(top).parts) > MAX_DEPTH:
        raise BadData(f"{folder} is too deep", hint=f"keep files at most {MAX_DEPTH} folders below the skill")
    try:
        found = sorted(os.scandir(folder), key=lambda one: one.name)
    except NotADirectoryError:
        raise BadData(f"{folder} is no folder", hint=f"name the folder that holds {SKILL_FILE}") from None
    for one in found:
        if one.name.startswith(".") or one.name == "__pycache__":
            continue
        if one.is_symlink():
            raise BadData(f"{one.path} is a symbolic link", hint="put the file itself there")
        if one.is_dir(follow_symlinks=False):
            yield from _files(Path(one.path), top)
        else:
            yield Path(one.path)


def _bytes(path: Path, most: int) -> bytes:
    """A regular file's bytes; a link that somebody put there since is not followed, and nothing is waited for."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadData(f"{path} is no regular file", hint="remove it")
        raw = file.read(most + 1)
    if len(raw) > most:
        raise BadData(f"the skill has more than {MAX_FOLDER_BYTES:,} bytes, with {path}", hint="remove large files")
    return raw


def _text(raw: bytes) -> str | None:
    """The text of a file; None for one that is none, or that says nothing."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text or not text.strip() else text


# ── writing ─────────────────────────────────────────────────────────────────────────────────


def front_text(said: Mapping[str, Any]) -> str:
    """A front matter as YAML, in the order of its keys."""
    import yaml

    return yaml.safe_dump(dict(said), sort_keys=False, allow_unicode=True, width=10_000)


def write_folder(skill: SkillFolder, parent: Path, *, replace: bool = False) -> Path:
    """Write a skill into a folder of its name below `parent`; returns that.

    No file that reads otherwise is overwritten unless `replace`, and no link is written through: `UsageError`. Nothing
    is made executable, and nothing is removed.
    """
    folder = parent / check_name(skill.name)
    texts = {SKILL_FILE: skill.skill_file, **skill.files}
    for inside, text in texts.items():
        if not is_safe_doc(f"skills/{skill.name}/{inside}"):
            raise BadData(f"{inside[:200]!r} is no usable path of a file", hint="rename the entry's place")
        path = folder / inside
        steps = (folder.joinpath(*path.relative_to(folder).parts[:n]) for n in range(len(path.parts)))
        linked = next((step for step in steps if step.is_symlink()), None)
        if linked:
            raise UsageError(f"{linked} is a symbolic link", hint="export into another folder")
        if path.exists() and not replace and path.read_bytes() != text.encode():
            raise UsageError(f"{path} is there already and reads otherwise", hint="look at it, then use --replace")
    for inside, text in texts.items():
        path = folder / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def left_behind(skills: Iterable[SkillFolder], parent: Path) -> list[str]:
    """What stands below `parent` as a skill, or in the folder of one, and is not of these skills; sorted paths.

    An earlier export is not undone by what was forgotten since: whoever exports again is to be told.
    """
    known = {one.name: {SKILL_FILE, *one.files, *one.left_out} for one in skills}
    found = list[str]()
    for folder in sorted(path for path in parent.iterdir() if (path / SKILL_FILE).is_file()) if parent.is_dir() else ():
        inside = [path for path in folder.rglob("*") if path.is_file()] if folder.name in known else []
        said = {path.relative_to(folder).as_posix() for path in inside} - known.get(folder.name, set())
        found += [f"{folder.name}/{path}" for path in sorted(said)] if folder.name in known else [folder.name]
    return found
