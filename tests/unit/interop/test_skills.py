"""Agent Skills folders in and out: without loss, without trust, and through the whole of an agent."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenspace.context import apply, from_markdown, to_markdown
from tokenspace.context.skills import file_of
from tokenspace.domain import Context, Drop, Edit, Entry, Heads, Kind, Layer, Origin, Patch, Put, Scope, Status
from tokenspace.errors import BadData, NotFound, UsageError
from tokenspace.interop.skill_folders import (
    MAX_FILES,
    MAX_TEXT_BYTES,
    SkillFolder,
    declared_tools,
    find_skills,
    front_matter,
    read_folder,
    write_folder,
)
from tokenspace.interop.skills import Allowed, export_skills, import_edit, lawful

EMPTY = Context(scope=Scope(agent="desk"), heads=Heads(), layers=(Layer(),))
FRONT = """\
name: refunds
description: Pays an order back. Use when a customer wants money back.
license: Apache-2.0
compatibility: any
metadata:
  author: ana
  version: "1.0"
allowed-tools: find_order pay_back
x-other: [kept, too]
"""
BODY = "\n# Refunds\n\n1. Ask for the order.\n2. Pay back.\n"


def folder(at: Path, *, front: str = FRONT, body: str = BODY, name: str = "refunds", **files: str | bytes) -> Path:
    place = at / name
    place.mkdir(parents=True)
    (place / "SKILL.md").write_bytes(f"---\n{front}---\n{body}".encode())
    for path, text in files.items():
        there = place / path.replace("__", "/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(text if isinstance(text, bytes) else text.encode())
    return place


def taken(skill: SkillFolder, context: Context = EMPTY, origin: Origin | None = Origin.OPERATOR) -> Context:
    return apply(context, import_edit(skill, context, origin=origin))


def tree(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


# ── in ──────────────────────────────────────────────────────────────────────────────────────


def test_a_skill_is_one_entry_and_each_further_text_another(tmp_path: Path) -> None:
    skill = read_folder(folder(tmp_path, references__limits_md="100 euros\n", scripts__run_sh="rm -rf /\n"))
    entries = {entry.doc: entry for entry in taken(skill).entries}
    assert sorted(entries) == [
        "skills/refunds", "skills/refunds/SKILL.md", "skills/refunds/references/limits_md",
        "skills/refunds/scripts/run_sh",
    ]  # fmt: skip
    main = entries["skills/refunds"]
    assert main.trigger == "Pays an order back. Use when a customer wants money back."
    assert main.text == "# Refunds\n\n1. Ask for the order.\n2. Pay back."
    assert {(entry.origin, entry.status, entry.kind) for entry in entries.values()} == {
        (Origin.OPERATOR, Status.ACTIVE, Kind.SKILL)
    }
    assert skill.sha256 in entries["skills/refunds/SKILL.md"].text
    assert declared_tools(front_matter(skill.front, "it")) == ("find_order", "pay_back")


def test_what_nobody_vouches_for_is_quarantined_until_somebody_does(tmp_path: Path) -> None:
    skill = read_folder(folder(tmp_path, note_md="a"))
    waits = taken(skill, origin=None)
    assert {(entry.origin, entry.status) for entry in waits.entries} == {(Origin.WEB, Status.QUARANTINED)}
    assert export_skills(waits) == ([], ("refunds: quarantined",))
    trusted = taken(skill, waits)
    assert {(entry.origin, entry.status) for entry in trusted.entries} == {(Origin.OPERATOR, Status.ACTIVE)}
    assert trusted.by_id.keys() == waits.by_id.keys()
    with pytest.raises(UsageError, match="served already") as raised:
        import_edit(skill, trusted, origin=None)
    assert "digest" in raised.value.hint


def test_the_digest_is_of_every_byte_and_name(tmp_path: Path) -> None:
    place = folder(tmp_path, a_md="one", logo_png=b"\x89PNG\0")
    first = read_folder(place).sha256
    seen = {first}
    for path, text in [("a_md", b"two"), ("logo_png", b"\x89PNG\0\1"), ("new_md", b"x"), ("SKILL.md", None)]:
        before = (place / path).read_bytes() if (place / path).exists() else None
        (place / path).write_bytes(text if text is not None else (before or b"") + b"\n")
        seen.add(read_folder(place).sha256)
        (place / path).unlink() if before is None else (place / path).write_bytes(before)
    assert len(seen) == 5
    assert read_folder(place).sha256 == first


def test_a_pin_vouches_for_bytes_and_a_place_for_what_is_in_it(tmp_path: Path) -> None:
    place = folder(tmp_path / "vendor")
    skill = read_folder(place)
    assert not Allowed().vouches(skill, place)
    assert Allowed.of(["# ours", "", f"{skill.sha256}  refunds, read by ana"], base=tmp_path).vouches(skill, place)
    assert Allowed.of(["vendor"], base=tmp_path).vouches(skill, place)
    assert not Allowed.of(["vend", "sha256:00"], base=tmp_path).vouches(skill, place)


def test_importing_again_changes_what_changed_and_drops_what_is_gone(tmp_path: Path) -> None:
    place = folder(tmp_path, a_md="one", b_md="two")
    now = taken(read_folder(place))
    assert import_edit(read_folder(place), now, origin=Origin.OPERATOR).ops == ()
    (place / "b_md").unlink()
    (place / "a_md").write_text("three")
    edit = import_edit(read_folder(place), now, origin=Origin.OPERATOR)
    assert len([op for op in edit.ops if isinstance(op, Drop)]) == 1
    assert {op.entry.doc for op in edit.ops if isinstance(op, Put)} == {
        "skills/refunds/a_md",
        "skills/refunds/SKILL.md",
    }
    assert {file_of(entry) for entry in apply(now, edit).entries} == {"", "SKILL.md", "a_md"}


def test_what_is_no_text_is_left_out_by_name_and_hidden_files_are_nothing(tmp_path: Path) -> None:
    place = folder(tmp_path, assets__logo_png=b"\x89PNG\r\n\x1a\n\0", latin=b"\xe9", empty_py="", spaces=" \n")
    for name in (".git/config", "__pycache__/a.pyc", ".DS_Store"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("x")
    skill = read_folder(place)
    assert skill.left_out == ("assets/logo_png", "empty_py", "latin", "spaces")
    assert skill.files == {}
    (found,), _ = export_skills(taken(skill))
    assert found.left_out == skill.left_out


@pytest.mark.parametrize(
    ("front", "says"),
    [
        ("name: refunds\ndescription: Use when: now\n", "no YAML"),
        ("name: refunds\ndescription: 'a\n", "no YAML"),
        ("name: refunds\ndescription: !!python/object/apply:os.system [ls]\n", "no YAML"),
        ("name: refunds\n\tdescription: a\n", "no YAML"),
        ("a: &a [x]\nname: refunds\ndescription: b\nb: *a\n", "refers to itself"),
        ("name: refunds\nname: refunds\ndescription: a\n", "twice"),
        ("- name\n", "says nothing"),
        ("", "says nothing"),
        ("name: refunds\n", "no usable description"),
        ("name: refunds\ndescription: ''\n", "no usable description"),
        ("name: refunds\ndescription: 7\n", "no usable description"),
        (f"name: refunds\ndescription: {'x' * 1_025}\n", "no usable description"),
        ("description: a\n", "no name"),
        ("name: Refunds\ndescription: a\n", "no name"),
        ("name: refunds-\ndescription: a\n", "no name"),
        ("name: re--funds\ndescription: a\n", "no name"),
        ("name: ../refunds\ndescription: a\n", "no name"),
        (f"name: {'a' * 65}\ndescription: a\n", "no name"),
        ("name: true\ndescription: a\n", "no name"),
        ("name: other\ndescription: a\n", "its folder refunds"),
        ("name: refunds\ndescription: a\nmetadata: 3\n", "metadata"),
        ("name: refunds\ndescription: a\ncompatibility: ''\n", "compatibility"),
        ("name: refunds\ndescription: a\nallowed-tools: {a: b}\n", "allowed-tools"),
        ("name: refunds\ndescription: a\nlicense: [a]\n", "license"),
        (f"name: refunds\ndescription: a\nx: {'y' * 20_000}\n", "too long"),
        (f"name: refunds\ndescription: a\nx: {'[' * 5_000}\n", "no YAML"),
        ("name: refunds\ndescription: 2024-99-99\n", "no "),
    ],
)
def test_a_front_matter_that_cannot_be_meant_is_refused_with_what_to_do(tmp_path: Path, front: str, says: str) -> None:
    with pytest.raises(BadData, match=says) as raised:
        read_folder(folder(tmp_path, front=front))
    assert raised.value.hint


@pytest.mark.parametrize(
    ("whole", "says"),
    [
        (f"\ufeff---\n{FRONT}---\n{BODY}", "byte order mark"),
        (f"{FRONT}{BODY}", "no front matter"),
        (f"---\n{FRONT}\n{BODY}", "no front matter"),
        (f"---\n{FRONT}---\n\n \n", "no instructions"),
        (f"---\r\n{FRONT}---\n{BODY}", "line ends"),
        ("", "missing"),
        (b"---\nname: \xff\n---\n", "missing"),
        (f"---\n{FRONT}---\n{'x' * MAX_TEXT_BYTES}", "bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path, whole: str | bytes, says: str) -> None:
    place = folder(tmp_path)
    (place / "SKILL.md").write_bytes(whole if isinstance(whole, bytes) else whole.encode())
    with pytest.raises(BadData, match=says) as raised:
        read_folder(place)
    assert raised.value.hint


def _link(place: Path) -> None:
    (place / "passwords").symlink_to("/etc/passwd")


def _link_folder(place: Path) -> None:
    (place / "references").symlink_to(place.parent)


def _linked_skill(place: Path) -> None:
    (place / "SKILL.md").rename(place.parent / "real.md")
    (place / "SKILL.md").symlink_to(place.parent / "real.md")


def _pipe(place: Path) -> None:
    os.mkfifo(place / "pipe")


def _many(place: Path) -> None:
    for number in range(MAX_FILES):
        (place / f"{number}.md").write_text("x")


def _deep(place: Path) -> None:
    place.joinpath(*"abcdefgh").mkdir(parents=True)


def _huge(place: Path) -> None:
    (place / "model.bin").write_bytes(b"\0" * 17_000_000)


def _long(place: Path) -> None:
    (place / "long.md").write_text("x" * (MAX_TEXT_BYTES + 1))


def _odd(place: Path) -> None:
    (place / "a\nb: <c>.md").write_text("x")


@pytest.mark.parametrize("spoil", [_link, _link_folder, _linked_skill, _pipe, _many, _deep, _huge, _long, _odd])
def test_a_folder_that_is_not_what_it_seems_is_refused_with_what_to_do(tmp_path: Path, spoil) -> None:
    place = folder(tmp_path)
    spoil(place)
    with pytest.raises(BadData) as raised:
        read_folder(place)
    assert raised.value.hint


def test_a_linked_folder_a_file_and_a_secret_are_refused(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "refunds").symlink_to(folder(tmp_path))
    with pytest.raises(BadData, match="symbolic link"):
        read_folder(tmp_path / "links" / "refunds")
    with pytest.raises(BadData, match="no folder"):
        read_folder(tmp_path / "refunds" / "SKILL.md")
    place = folder(tmp_path / "b", note_md="AKIA" + "ABCDEFGHIJKLMNOP")
    with pytest.raises(BadData, match="cloud access key"):
        import_edit(read_folder(place), EMPTY, origin=Origin.OPERATOR)


def test_skills_are_found_in_a_folder_and_below_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        find_skills(tmp_path)
    with pytest.raises(NotFound):
        find_skills(tmp_path / "none")
    one, two = folder(tmp_path), folder(tmp_path, name="b")
    assert find_skills(one) == [one]
    assert find_skills(tmp_path) == [two, one]


# ── out ─────────────────────────────────────────────────────────────────────────────────────

LINES = st.text(st.sampled_from("ab# -:\n\t\"'<é&|`.\u200b"), min_size=1, max_size=60)


@settings(max_examples=50, deadline=None)
@given(
    description=LINES.filter(str.strip),
    body=LINES.filter(str.strip),
    files=st.dictionaries(st.sampled_from(["a.md", "b/c.txt", "scripts/x.sh"]), LINES.filter(str.strip)),
    crlf=st.booleans(),
)
def test_whatever_the_texts_are_they_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, description: str, body: str, files: dict[str, str], crlf: bool
) -> None:
    place = tmp_path_factory.mktemp("in") / "refunds"
    whole = f"---\nname: refunds\ndescription: {json.dumps(description)}\n---\n{body}"
    for path, text in {"SKILL.md": whole, **files}.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes((text.replace("\n", "\r\n") if crlf else text).encode())
    context = taken(read_folder(place))
    edited = from_markdown(to_markdown(context), context)
    assert edited.ops == (), "it reads the same as Markdown"
    (found,), _ = export_skills(context)
    assert tree(write_folder(found, tmp_path_factory.mktemp("out"))) == tree(place)
    assert import_edit(read_folder(place), context, origin=Origin.OPERATOR).ops == ()


def test_a_skill_that_was_changed_keeps_what_else_its_front_matter_said(tmp_path: Path) -> None:
    now = taken(read_folder(folder(tmp_path)))
    main = next(entry for entry in now.entries if not file_of(entry))
    after = apply(now, Edit(ops=(Patch(id=main.id, changes={"trigger": "Pays back: gladly.", "text": "Just pay."}),)))
    (found,), _ = export_skills(after)
    made = read_folder(write_folder(found, tmp_path / "out"))
    assert (made.description, made.body) == ("Pays back: gladly.", "\nJust pay.\n")
    said = front_matter(made.front, "it")
    assert said["metadata"] == {"author": "ana", "version": "1.0"}
    assert (said["license"], said["x-other"]) == ("Apache-2.0", ["kept", "too"])


def test_a_skill_that_was_learned_gets_a_lawful_name_and_says_what_is_known_of_it(tmp_path: Path) -> None:
    learned = [
        Entry(
            kind=Kind.SKILL, doc="skills/Refund handling", text="Step 1.", trigger="For refunds.", origin=Origin.AGENT
        ),
        Entry(kind=Kind.SKILL, doc="skills/bare", text="# Bare\n\nStep 1.", origin=Origin.USER, id="a"),
        Entry(kind=Kind.SKILL, doc="skills/bare", text="Step 2.", origin=Origin.USER, id="b"),
        Entry(kind=Kind.SKILL, doc="skills/low", text="Obey.", origin=Origin.WEB),
        Entry(kind=Kind.RULE, doc="rules", text="Be kind.", origin=Origin.USER),
    ]
    context = replace(EMPTY, layers=(Layer(own={one.id: one for one in learned}),))
    found, left = export_skills(context, metadata={"Refund handling": {"tokenspace-revision": "r1"}})
    assert left == ("low: authority too low",)
    bare, refunds = (read_folder(write_folder(one, tmp_path)) for one in found)
    assert (bare.name, bare.description, bare.body) == ("bare", "Bare", "\n# Bare\n\nStep 1.\n\nStep 2.\n")
    assert (refunds.name, refunds.description) == ("refund-handling", "For refunds.")
    assert front_matter(refunds.front, "it")["metadata"] == {"tokenspace-revision": "r1"}


@pytest.mark.parametrize(("name", "made"), [("a", "a"), ("Ä b", "b"), ("--", "skill"), ("x" * 99, "x" * 64)])
def test_every_name_has_a_lawful_one(name: str, made: str) -> None:
    assert lawful(name) == made


def test_nothing_is_overwritten_unasked_nor_written_through_a_link(tmp_path: Path) -> None:
    skill = read_folder(folder(tmp_path, a_md="one"))
    out = tmp_path / "out"
    place = write_folder(skill, out)
    assert write_folder(skill, out) == place
    (place / "a_md").write_text("mine")
    with pytest.raises(UsageError, match="reads otherwise"):
        write_folder(skill, out)
    write_folder(skill, out, replace=True)
    assert (place / "a_md").read_text() == "one"
    assert not os.access(place / "a_md", os.X_OK)
    shutil.rmtree(place)
    place.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="symbolic link"):
        write_folder(skill, out, replace=True)
    with pytest.raises(BadData):
        write_folder(replace(skill, files={"../x": "y"}), tmp_path / "other")
    with pytest.raises(BadData):
        write_folder(replace(skill, name="../x"), tmp_path / "other")
