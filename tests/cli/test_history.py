"""log, show, diff, blame, revert, context, edit, branch."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import QUESTION, Run, json_of


def _editor(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An editor that runs a shell script on the file."""
    path = folder / "editor.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.setenv("EDITOR", str(path))


def test_log_lists_what_changed(run: Run, project: Path) -> None:
    told = run("log").stdout
    assert "remember" in told
    assert f"“{QUESTION}” → “Kestrel”" in told
    assert QUESTION in run("log", "--episodes").stdout
    assert "accepted" in run("log", "--attempts").stdout
    assert len(json_of("log", "--episodes")["episodes"]) == 1
    assert json_of("log", "--attempts")["attempts"][0]["edit"]["ops"][0]["op"] == "put"


def test_ids_are_printed_as_short_as_is_unique_and_understood(run: Run, project: Path) -> None:
    printed = run("log").stdout.split()[0]
    assert len(printed) == 8
    assert json_of("show", printed)["id"].endswith(printed)


def test_show_tells_what_why_the_verdict_and_the_evidence(run: Run, project: Path) -> None:
    revision = json_of("log")["revisions"][0]["id"]
    told = run("show", revision).stdout
    for part in (
        revision,
        "parcels are theirs",
        "accepted (policy",
        "+ Answer Kestrel",
        "evidence:",
        QUESTION,
        "by ana",
    ):
        assert part in told
    attempt = json_of("log", "--attempts")["attempts"][0]["id"]
    assert f"made   revision {revision}" in run("show", attempt).stdout
    episode = run("show", "last").stdout
    assert "answer: " in episode
    assert "correction by ana" in episode
    assert json_of("show", "last")["feedback"][0]["value"] == "Kestrel"


def test_diff_and_blame(run: Run, project: Path) -> None:
    assert run("diff").stdout == f"examples.md\n+ When {QUESTION}\n+ Answer Kestrel\n"
    assert run("diff", json_of("log")["revisions"][0]["id"][-8:]).stdout == "nothing changed\n"
    assert json_of("diff")["diff"].startswith("examples.md")
    told = run("blame").stdout
    assert "remember" in told
    assert "policy" in told
    assert json_of("blame", "examples.md")["entries"][0]["blame"]["author"] == "remember@1"
    assert run("blame", "rules").stdout == "nothing was learned yet\n"


def test_revert_is_a_revision_that_can_be_reverted(run: Run, project: Path) -> None:
    first = json_of("log")["revisions"][0]["id"]
    assert "undo this" in run("revert", first[-8:], "-m", "a slip").stderr
    assert json_of("context")["entries"] == []
    last = json_of("log")["revisions"][0]
    assert (last["edit"]["rationale"], last["verdict"]["basis"]) == ("a slip", "human")
    run("revert", last["id"])
    assert len(json_of("context")["entries"]) == 1


def test_context_is_markdown(run: Run, project: Path) -> None:
    told = run("context").stdout
    assert "# file: examples.md" in told
    assert f"- **When** {QUESTION}" in told
    assert "by remember@1 in" in run("context", "--blame").stdout
    assert json_of("context", "--blame")["blame"]
    before = json_of("log")["revisions"][0]["id"]
    run("revert", before)
    assert run("context").stdout == ""
    assert QUESTION in run("context", "--at", before).stdout


def test_edit_opens_an_editor_and_commits_the_difference(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _editor(project, monkeypatch, "sed -i 's/Kestrel/Basalt/' \"$1\"")
    assert "committed as" in run("edit", "-m", "it moved").stdout
    last = json_of("log")["revisions"][0]
    assert (last["verdict"]["basis"], last["edit"]["rationale"], last["author"]) == ("human", "it moved", "ana")
    assert "+ Answer Basalt" in run("diff").stdout
    _editor(project, monkeypatch, "true")
    assert run("edit").stdout == "nothing changed\n"


def test_edit_keeps_a_text_that_it_cannot_read(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _editor(project, monkeypatch, "echo 'this belongs nowhere' >> \"$1\"")
    told = run("edit", code=2).stderr
    kept = project / ".tokenspace" / "unused-edit-1.md"
    assert f"tokenspace edit --from {kept}" in told
    assert "this belongs nowhere" in kept.read_text()
    kept.write_text(kept.read_text().replace("this belongs nowhere", "- **When** x\n  **Answer** Basalt"))
    assert "committed as" in run("edit", "--from", kept).stdout


def test_edit_from_standard_input_and_from_a_file(run: Run, project: Path) -> None:
    text = run("context").stdout
    assert run("edit", "--from", "-", input=text).stdout == "nothing changed\n"
    (project / "text.md").write_text(text + "\n# file: rules.md\n\n- Answer in one word.\n")
    assert "+ rule “Answer in one word.”" in run("edit", "--from", "text.md").stdout
    run("edit", "--from", "missing.md", code=3)
    (project / "text.md").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in run("edit", "--from", "text.md", code=2).stderr


def test_what_is_learned_while_somebody_edits_is_not_lost(run: Run, project: Path) -> None:
    text = run("context").stdout
    run("edit", "--from", "-", input=text + "\n# file: rules.md\n\n- Be brief.\n")
    run("edit", "--from", "-", input=text.replace("Kestrel", "Basalt"))
    assert {entry["text"] for entry in json_of("context")["entries"]} == {"Be brief.", "Basalt"}
    told = run("edit", "--from", "-", input=text.replace("Kestrel", "Otter"), code=4).stderr
    assert "changed by somebody else" in told
    assert "unused-edit-1.md" in told


def test_revert_of_what_changed_again_is_a_conflict(run: Run, project: Path) -> None:
    first = json_of("log")["revisions"][0]["id"]
    run("edit", "--from", "-", input=run("context").stdout.replace("Kestrel", "Basalt"))
    assert "changed again since" in run("revert", first, code=4).stderr


def test_a_branch_is_a_line_beside_what_is_served(run: Run, project: Path) -> None:
    assert "made branch trial" in run("branch", "trial").stdout
    changed = run("context").stdout.replace("Kestrel", "Basalt")
    run("edit", "--from", "-", "--branch", "trial", input=changed)
    assert json_of("context")["entries"][0]["text"] == "Kestrel"
    assert json_of("--branch", "trial", "context")["entries"][0]["text"] == "Basalt"
    assert json_of("branch")["branches"]["trial"] == json_of("log", "--branch", "trial")["revisions"][0]["id"]
    asked = ("ask", QUESTION, "--choice", "Kestrel", "--choice", "Basalt")
    assert run(*asked, "--branch", "trial").stdout == "Basalt\n"
    assert run(*asked).stdout == "Kestrel\n"
    assert "trial" in run("branch").stdout
    assert "committed as" in run("branch", "--publish", "trial").stdout
    assert json_of("context")["entries"][0]["text"] == "Basalt"
    assert json_of("log")["revisions"][0]["verdict"]["basis"] == "human"
    assert run("branch", "--publish", "trial").stdout == "nothing to publish\n"
    run("branch", "-d", "trial")
    assert json_of("branch")["branches"] == {}


def test_publishing_a_branch_keeps_what_was_learned_meanwhile(run: Run, project: Path) -> None:
    run("branch", "trial")
    text = run("context").stdout
    run("edit", "--from", "-", "--branch", "trial", input=text + "\n# file: rules.md\n\n- Be brief.\n")
    run("edit", "--from", "-", input=text.replace("Kestrel", "Basalt"))
    run("branch", "--publish", "trial")
    assert {entry["text"] for entry in json_of("context")["entries"]} == {"Be brief.", "Basalt"}


def test_publishing_a_branch_that_contradicts_the_served_line_is_a_conflict(run: Run, project: Path) -> None:
    run("branch", "trial")
    text = run("context").stdout
    run("edit", "--from", "-", "--branch", "trial", input=text.replace("Kestrel", "Otter"))
    run("edit", "--from", "-", input=text.replace("Kestrel", "Basalt"))
    assert "the same entries" in run("branch", "--publish", "trial", code=4).stderr


def test_branch_mistakes(run: Run, project: Path) -> None:
    run("branch", "trial")
    run("branch", "trial", code=2)
    run("branch", "-d", code=2)
    run("branch", "-d", "--publish", "trial", code=2)
    run("branch", "-d", "none", code=3)
    assert "tokenspace branch none" in run("log", "--branch", "none", code=3).stderr
