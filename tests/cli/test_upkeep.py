"""verify, backup, move, models, doctor."""

from __future__ import annotations

from pathlib import Path

import pysqlite3.dbapi2 as sqlite
import pytest
from tests.cli.commands import Run, json_of


def test_verify_is_clean_and_finds_what_was_altered(run: Run, project: Path) -> None:
    assert "everything is as it was committed" in run("verify").stdout
    with sqlite.connect(project / ".tokenspace" / "store.db") as connection:
        connection.execute("UPDATE entry SET text = 'Basalt'")
    connection.close()
    assert "altered" in run("verify", code=1).stdout
    told = json_of("verify", code=1)
    assert not told["ok"]
    assert told["problems"]


def test_a_backup_can_be_used_and_is_never_overwritten(run: Run, project: Path) -> None:
    assert "KB" in run("backup", "copy.db").stdout
    store = f"sqlite:///{project}/copy.db"
    assert json_of("log", "--store", store) == json_of("log")
    run("verify", "--store", store)
    assert "never overwrites" in run("backup", "copy.db", code=2).stderr
    run("backup", "missing/copy.db", code=5)


def test_move_copies_everything_and_says_how_to_switch(run: Run, project: Path) -> None:
    told = run("move", "sqlite:///new.db").stdout
    line = told.splitlines()[-1]
    assert line == f'store = "sqlite:///{project}/new.db"'
    config = project / ".tokenspace" / "config.toml"
    before = json_of("log", "--attempts")
    config.write_text(f"{config.read_text()}\n{line}\n")
    assert json_of("status")["store"].endswith("new.db")
    assert json_of("log", "--attempts") == before
    run("verify")
    run("move", "sqlite:///new.db", code=2)
    run("move", "memory:", code=2)
    run("move", "mysql://x", code=2)


@pytest.mark.slow
def test_move_to_postgresql_and_back(run: Run, project: Path, postgresql_url: str) -> None:
    before = json_of("log")
    run("move", postgresql_url)
    run("verify", "--store", postgresql_url)
    assert json_of("log", "--store", postgresql_url) == before
    run("move", "sqlite:///back.db", "--store", postgresql_url)
    assert json_of("log", "--store", "sqlite:///back.db") == before


def test_models_marks_the_default_and_says_what_to_do(run: Run, project: Path) -> None:
    told = {one["name"]: one for one in json_of("models")["models"]}
    assert told["nearest"]["default"]
    assert told["nearest"]["ready"]
    assert all(one["what_to_do"] for one in told.values())
    assert "--model nearest" in run("models").stdout


def test_models_needs_no_store(run: Run) -> None:
    assert json_of("models")["default"] == "local"


def test_doctor_finds_nothing_wrong_here(run: Run, project: Path) -> None:
    told = json_of("doctor")
    states = {one["name"]: one["state"] for one in told["checks"]}
    assert told["ok"]
    assert set(states) >= {"Python", "SQLite", "config", "store", "disk", "model", "embedder", "PostgreSQL", "editor"}
    assert states["store"] == "ok"


def test_doctor_says_what_is_wrong_and_what_to_do(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenspace.cli.checks._embedded", lambda name: None)
    for path in (project / ".tokenspace").glob("store.db*"):
        path.unlink()
    told = run("doctor", "--model", "openai/gpt", code=1).stdout
    assert "→ tokenspace init" in told
    assert "OPENAI_API_KEY" in told


def test_doctor_finds_settings_that_cannot_be_read(run: Run, project: Path) -> None:
    (project / ".tokenspace" / "config.toml").write_text("agent = \n")
    assert "cannot be read" in run("doctor", code=1).stdout
