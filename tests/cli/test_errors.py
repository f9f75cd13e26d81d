"""What goes wrong is said in two lines, with an exit code that scripts can trust."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pysqlite3.dbapi2 as sqlite
import pytest
from tests.cli.commands import QUESTION, Run, json_of

from tokenspace import errors
from tokenspace.cli.app import _explain

READING = ["status", "context", "log", "diff", "blame", "verify", "learn", "sleep", "review", "branch"]


@pytest.mark.parametrize("name", READING)
def test_without_a_store_nothing_is_made(run: Run, tmp_path: Path, name: str) -> None:
    told = run(name, code=3).stderr
    assert told == "error: there is no store here or in a folder above\nhint: make one: tokenspace init\n"
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_named_and_missing_is_not_made(run: Run, tmp_path: Path) -> None:
    assert "there is no store at" in run("ask", "hi", "--store", "sqlite:///none.db", code=3).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2), (errors.BadData, 2), (errors.InvalidEdit, 2), (errors.NotFound, 3),
        (errors.StaleHead, 4), (errors.EditConflict, 4), (errors.StoreError, 5), (errors.CorruptLedger, 5),
        (errors.SchemaMismatch, 5), (errors.StoreUnavailable, 5), (errors.BudgetTooSmall, 6), (errors.ModelTimeout, 7),
        (errors.RateLimited, 7), (errors.AuthFailed, 7), (errors.Refused, 7), (errors.BadCompletion, 7),
    ],
)  # fmt: skip
def test_every_error_has_its_exit_code(kind: type[errors.TokenspaceError], code: int) -> None:
    assert _explain(kind("what", hint="do")) == (kind.__name__, "what", "do", code)


def test_an_exceeded_budget_is_6() -> None:
    assert _explain(errors.BudgetExceeded(spent=1, asked=1, limit=1, unit="calls"))[-1] == 6


def test_errors_are_json_on_stderr_with_json(run: Run, project: Path) -> None:
    done = run("show", "zzz", "--json", code=3)
    assert done.stdout == ""
    told = json.loads(done.stderr)
    assert set(told) == {"error", "message", "hint"}
    assert told["error"] == "NotFound"
    assert json.loads(run("--json", "log", "--nope", code=2).stderr)["error"] == "UsageError"


def test_unknown_commands_and_options(run: Run) -> None:
    assert "did you mean log" in run("lgo", code=2).stderr
    assert "hint: `tokenspace log --help`" in run("log", "--nope", code=2).stderr
    run("feedback", code=2)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (b"a\0b", "NUL byte"),
        (b"\xff\xfea", "not UTF-8"),
        ("x" * 10_000_000, "10,000,000 bytes"),
    ],
    ids=["nothing", "blanks", "nul", "latin", "10 MB"],
)
def test_texts_that_cannot_be_asked(run: Run, project: Path, text: str | bytes, part: str) -> None:
    told = run("ask", "-", input=text, code=2).stderr
    assert part in told
    assert "\nhint: " in told
    assert len(json_of("log", "--episodes")["episodes"]) == 1
    run("verify")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "exactly one"),
        (["--correct", "Otter"], "choose one of: Kestrel, Basalt"),
        (["--correct", ""], "is empty"),
        (["--right", "--score", "1"], "exactly one"),
        (["--score", "7"], "from 0 (worst) to 1"),
    ],
)
def test_feedback_that_cannot_be_meant(run: Run, project: Path, options: list[str], part: str) -> None:
    assert part in run("feedback", "last", *options, code=2).stderr
    assert json_of("status")["unlearned"] == 0


def test_names_that_cannot_be_used(run: Run, project: Path) -> None:
    assert "--tenant acme" in run("log", "--user", "alice", code=2).stderr
    run("log", "--agent", "a/b", code=2)
    run("ask", "hi", "--choice", "", code=2)
    assert "ready here" in run("ask", "hi", "--model", "none", code=2).stderr
    run("log", "--store", "mysql://x", code=2)
    run("feedback", "zzz", "--right", code=3)


def test_an_ambiguous_id_asks_for_more_digits(run: Run, project: Path) -> None:
    assert "more digits" in run("show", "0", code=2).stderr


def test_reading_needs_no_model(run: Run, project: Path) -> None:
    run("log", "--model", "openai/gpt")
    assert "OPENAI_API_KEY" in run("ask", "hi", "--model", "openai/gpt", code=2).stderr


def test_a_model_that_does_not_answer(run: Run, project: Path) -> None:
    told = run("ask", QUESTION, "--model", "http://127.0.0.1:9/v1#m", code=7).stderr
    assert told.startswith("error: ")
    run("verify")


def test_a_file_that_is_no_store(run: Run, project: Path) -> None:
    (project / "junk.db").write_bytes(os.urandom(5_000))
    assert "is not a tokenspace store" in run("log", "--store", "sqlite:///junk.db", code=2).stderr


def test_a_store_of_a_newer_version(run: Run, project: Path) -> None:
    from tokenspace.store.schema import VERSION_TABLE

    with sqlite.connect(project / ".tokenspace" / "store.db") as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    connection.close()
    assert "upgrade" in run("log", code=5).stderr


def test_a_second_process_that_writes(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenspace.store import sqlite as ours

    monkeypatch.setattr(ours, "BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr(ours, "_PRAGMAS", ("PRAGMA busy_timeout = 50", *ours._PRAGMAS[1:]))
    other = sqlite.connect(project / ".tokenspace" / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "another process is writing" in run("feedback", "last", "--right", code=5).stderr
    other.execute("ROLLBACK")
    other.close()
    run("feedback", "last", "--right")


def test_a_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".tokenspace").write_text("a file")
    told = run("init", code=5).stderr
    assert told.startswith("error: ")
    assert "hint: " in told


def test_settings_that_cannot_be_read(run: Run, project: Path) -> None:
    config = project / ".tokenspace" / "config.toml"
    for text, part in (
        ("agent = \n", "cannot be read"),
        ("colour = 'red'\n", "unknown settings"),
        ("agent = 3\n", "text in quotes"),
    ):
        config.write_text(text)
        assert part in run("log", code=2).stderr


def test_a_defect_is_70_and_shows_its_traceback_only_on_demand(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("tokenspace.api.LearningAgent.log", broken)
    assert "TOKENSPACE_DEBUG=1" in run("log", code=70).stderr
    script = (
        "import tokenspace.api as api\n"
        "api.LearningAgent.log = lambda *_, **__: 1 / 0\n"
        "from tokenspace.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "log"], capture_output=True, text=True, check=False,
        env={**os.environ, "TOKENSPACE_DEBUG": "1"},
    )  # fmt: skip
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr


def test_an_interruption_is_130(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tokenspace.api.LearningAgent.learn", interrupted)
    assert "interrupted" in run("learn", code=130).stderr


def test_a_reader_that_went_away_is_quiet(project: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tokenspace", "log"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_what_others_wrote_cannot_steer_the_terminal(run: Run, project: Path) -> None:
    run("ask", "\x1b[2J\x1b]0;title\x07 hello", "--choice", "Kestrel", "--choice", "Basalt")
    for command in (["log", "--episodes"], ["show", "last"]):
        assert "\x1b" not in run(*command).stdout


def test_a_store_that_a_gateway_made_is_found_without_settings(run: Run, tmp_path: Path) -> None:
    from tokenspace.store import open_store

    (tmp_path / ".tokenspace").mkdir()
    open_store(f"sqlite:///{tmp_path / '.tokenspace' / 'store.db'}").close()
    run("keys", "list", code=0)
    run("status", code=0)
