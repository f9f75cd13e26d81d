"""`tokenspace skills`: from a folder to the index of a prompt, to the body for a request that fits, and out again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import Run, invoke, json_of

import tokenspace
from tokenspace.agents import FunctionAgent
from tokenspace.domain import Profile, Prompt

TEXT = """\
---
name: refunds
description: Pay back an order. Use when a customer wants money back for an order.
allowed-tools: find_order
---

# Refunds

1. Ask for the number of the order.
"""


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    """A folder of skills by somebody else."""
    place = tmp_path / "vendor" / "refunds"
    (place / "scripts").mkdir(parents=True)
    (place / "SKILL.md").write_text(TEXT)
    (place / "scripts" / "run.sh").write_text("echo never\n")
    (place / "logo.png").write_bytes(b"\x89PNG\0")
    return place


def test_a_skill_comes_in_is_used_is_counted_and_goes_out_as_it_was(
    project: Path, vendor: Path, tmp_path: Path, run: Run
) -> None:
    waits = run("skills", "import", vendor)
    assert "refunds: quarantined" in waits.stdout
    assert "never run: scripts/run.sh" in waits.stderr
    assert "not texts" in waits.stderr or "no texts" in waits.stderr
    assert "run.sh" not in run("context").stdout.split("Skill")[0]
    (listed,) = json_of("skills")["skills"]
    assert (listed["status"], listed["declared_tools"], listed["files"]) == (
        "quarantined", ["find_order"], ["scripts/run.sh"]
    )  # fmt: skip
    run("skills", "import", vendor, "--pin", "sha256:00", code=2)
    assert "refunds: served" in run("skills", "import", vendor, "--pin", listed["imported_as"]).stdout
    assert "as it was" in run("skills", "import", vendor, "--pin", listed["imported_as"]).stdout

    prompts: list[Prompt] = []

    def answer(prompt: Prompt) -> str:
        prompts.append(prompt)
        return "Which order?"

    agent = FunctionAgent(answer, Profile(model="f"))
    desk = tokenspace.open("desk", model=agent, store=f"sqlite:///{project}/.tokenspace/store.db", principal="ana")
    try:
        desk.observe(desk.act("I want my money back for order 7"), label=True)
        desk.observe(desk.act("Please give me money back for my order"), label=False)
        desk.act("What is the capital of France?")
    finally:
        desk.close()
    assert all("- refunds: Pay back an order." in prompt.system for prompt in prompts)
    assert ["1. Ask for the number" in prompt.messages[-1].text for prompt in prompts] == [True, True, False]
    (listed,) = json_of("skills")["skills"]
    assert [listed[key] for key in ("offered", "activated", "right", "wrong", "precision")] == [3, 2, 1, 1, 0.5]
    assert "50% of 2" in run("skills").stdout

    out = tmp_path / "out"
    run("skills", "export", out, "refunds")
    assert (out / "refunds" / "SKILL.md").read_text() == TEXT
    assert (out / "refunds" / "scripts" / "run.sh").read_bytes() == b"echo never\n"
    run("skills", "export", out, "nothing", code=3)
    (out / "refunds" / "SKILL.md").write_text("mine")
    run("skills", "export", out, code=2)
    run("skills", "export", out, "--replace")
    assert (out / "refunds" / "SKILL.md").read_text() == TEXT


def test_i14_what_an_earlier_export_left_of_a_forgotten_skill_is_told(
    project: Path, vendor: Path, tmp_path: Path, run: Run
) -> None:
    (project / ".tokenspace" / "skills.allow").write_text(f"{vendor.parent}\n")
    run("skills", "import", vendor.parent)
    out = tmp_path / "out"
    assert "not served" not in run("skills", "export", out).stderr
    (out / "refunds" / "scripts" / "old.sh").write_text("echo old\n")
    told = run("skills", "export", out).stderr
    assert "refunds/scripts/old.sh" in told
    assert "refunds/SKILL.md" not in told
    run("forget", "--text", "Pay back an order", "--yes")
    again = run("skills", "export", out)
    assert again.stdout == "there is no skill to write\n"
    assert f"left in {out}: refunds." in again.stderr
    assert run("skills", "export", tmp_path / "new").stdout == "there is no skill to write\n"
    assert not (tmp_path / "new").exists()


def test_what_is_listed_as_allowed_is_served_at_once(project: Path, vendor: Path, run: Run) -> None:
    (project / ".tokenspace" / "skills.allow").write_text(f"# ours\n{vendor.parent}\n")
    assert "refunds: served" in run("skills", "import", vendor.parent).stdout


def test_the_usual_places_are_scanned_leniently_and_the_projects_win(
    project: Path, vendor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert run("skills", "import").stdout == "there is nothing to import\n"
    mine, theirs = project / ".agents" / "skills", tmp_path / "home" / ".claude" / "skills"
    for place, words in ((mine, "of the project"), (theirs, "of the home")):
        (place / "refunds").mkdir(parents=True)
        (place / "refunds" / "SKILL.md").write_text(TEXT.replace("# Refunds", f"# Refunds {words}"))
    (theirs / "broken").mkdir()
    (theirs / "broken" / "SKILL.md").write_text("no front matter")
    told = run("skills", "import")
    assert told.stdout == "refunds: quarantined, 1 text(s)\n"
    assert "left out" in told.stderr
    assert "of the project" in run("context").stdout
    run("skills", "import", theirs, code=2)


def test_without_skills_there_is_nothing_to_list_or_write(project: Path, tmp_path: Path, run: Run) -> None:
    assert run("skills").stdout == "there is no skill here\n"
    assert run("skills", "export", tmp_path / "out").stdout == "there is no skill to write\n"
    assert json_of("skills") == {"skills": []}
    invoke("skills", "import", tmp_path / "none", code=3)
