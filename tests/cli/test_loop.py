"""init, ask, feedback, learn, sleep, review, status."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from tests.cli.commands import QUESTION, Run, json_of


def test_init_makes_a_store_and_settings_that_explain_themselves(run: Run, tmp_path: Path) -> None:
    assert "is ready: agent desk" in run("init", "--agent", "desk", "--model", "nearest").stdout
    text = (tmp_path / ".tokenspace" / "config.toml").read_text()
    assert tomllib.loads(text) == {"agent": "desk", "model": "nearest"}
    assert all(
        f"# {key} = " in text for key in ("store", "teachers", "principal", "tenant", "user", "system", "choices")
    )
    assert (tmp_path / ".tokenspace" / "store.db").is_file()


def test_every_setting_that_init_explains_is_one(run: Run, tmp_path: Path) -> None:
    run("init", "--model", "nearest")
    path = tmp_path / ".tokenspace" / "config.toml"
    lines = [line.removeprefix("# ") if " = " in line else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(line for line in lines if not line.startswith("# store")))
    assert json_of("models")["default"] == "nearest"


def test_init_again_changes_nothing(run: Run, project: Path) -> None:
    before = (project / ".tokenspace" / "config.toml").read_text()
    assert "was here already" in run("init", "--agent", "other").stdout
    assert (project / ".tokenspace" / "config.toml").read_text() == before
    assert len(json_of("log")["revisions"]) == 1


def test_init_makes_a_store_that_is_missing(run: Run, project: Path) -> None:
    for path in (project / ".tokenspace").glob("store.db*"):
        path.unlink()
    assert "its store was missing" in run("init").stdout
    assert json_of("log") == {"revisions": []}


def test_the_answer_is_on_stdout_and_the_episode_on_stderr(run: Run, project: Path) -> None:
    done = run("ask", QUESTION, "--choice", "Kestrel", "--choice", "Basalt")
    assert done.stdout == "Kestrel\n"
    assert done.stderr.startswith("episode ")
    assert run("ask", "-q", QUESTION).stderr == ""


def test_ask_reads_standard_input_and_settings_give_system_and_choices(run: Run, project: Path) -> None:
    config = project / ".tokenspace" / "config.toml"
    config.write_text(config.read_text() + '\nsystem = "Route it."\nchoices = ["Kestrel", "Basalt"]\n')
    told = json_of("ask", "-", input=f"{QUESTION}\n")
    assert told["output"] == "Kestrel"
    assert len(told["shown"]) == 1
    shown = run("show", told["episode"][-8:]).stdout
    assert "system: Route it." in shown
    assert f"user: {QUESTION}\n" in shown


def test_a_correction_is_learned_and_served(run: Run, project: Path) -> None:
    told = json_of("ask", "my grinder is stuck", "--choice", "Kestrel", "--choice", "Basalt")
    said = json_of("feedback", told["episode"][-10:], "--correct", "Basalt", "--by", "ana")
    assert (said["signal"], said["value"], said["principal"]) == ("correction", "Basalt", "ana")
    assert json_of("status")["unlearned"] == 1
    learned = run("learn").stdout
    assert "accepted" in learned
    assert "1 accepted" in learned
    assert json_of("status")["unlearned"] == 0
    assert run("ask", "the grinder is stuck", "--choice", "Kestrel", "--choice", "Basalt").stdout == "Basalt\n"


@pytest.mark.parametrize(
    ("options", "signal", "value"),
    [
        (["--right"], "label", True),
        (["--wrong"], "label", False),
        (["--score", "0.5"], "score", 0.5),
        (["--text", "be brief", "--when", "parcels"], "text", "be brief"),
    ],
)
def test_feedback_of_every_kind(run: Run, project: Path, options: list[str], signal: str, value: object) -> None:
    said = json_of("feedback", "last", *options)
    assert (said["signal"], said["value"]) == (signal, value)


def test_nothing_to_learn_is_said(run: Run, project: Path) -> None:
    assert "no new feedback" in run("learn").stdout
    assert "all that was learned stands" in run("sleep", "--calls", "3", "--tokens", "1000", "--usd", "0").stdout
    assert json_of("sleep")["attempts"] == []


def test_a_deferred_change_waits_for_a_person(run: Run, project: Path) -> None:
    run("ask", "my grinder is stuck", "--choice", "Kestrel", "--choice", "Basalt")
    run("feedback", "last", "--correct", "Basalt", "--by", "a stranger")
    report = json_of("learn")
    assert [one["verdict"]["decision"] for one in report["attempts"]] == ["defer"]
    waiting = json_of("review")["waiting"]
    assert len(waiting) == 1
    told = run("review").stdout
    assert "held back" in told
    assert "a stranger" in told
    run("review", "--approve", waiting[0]["id"], "--decline", waiting[0]["id"], code=2)
    assert "committed as" in run("review", "--approve", waiting[0]["id"][-8:]).stdout
    assert json_of("log")["revisions"][0]["verdict"]["basis"] == "human"
    assert run("review").stdout == "nothing is held back\n"


def test_a_declined_change_stays_out(run: Run, project: Path) -> None:
    run("ask", "my grinder is stuck", "--choice", "Kestrel", "--choice", "Basalt")
    run("feedback", "last", "--correct", "Basalt", "--by", "a stranger")
    run("learn")
    id = json_of("review")["waiting"][0]["id"]
    assert "declined" in run("review", "--decline", id, "--reason", "not theirs").stdout
    assert "not theirs" in run("show", id).stdout
    assert len(json_of("log")["revisions"]) == 1
    run("review", "--decline", id, code=3)


def test_status_says_how_things_stand(run: Run, project: Path) -> None:
    told = json_of("status")
    assert (told["agent"], told["principal"], told["model"], told["entries"]) == (
        "desk",
        "ana",
        "nearest",
        {"example": 1},
    )
    assert "desk, as ana" in run("status").stdout
    assert "1 example(s)" in run("status").stdout


def test_options_are_taken_before_and_after_the_command(run: Run, project: Path) -> None:
    assert json_of("--tenant", "acme", "status")["tenant"] == "acme"
    assert json_of("status", "--tenant", "acme", "--user", "alice")["user"] == "alice"
    assert json_of("--agent", "one", "status", "--agent", "two")["agent"] == "two"


def test_i8_what_a_user_teaches_is_that_users(run: Run, project: Path) -> None:
    alice = ("--tenant", "acme", "--user", "alice")
    run("ask", "my grinder is stuck", "--choice", "Kestrel", "--choice", "Basalt", *alice)
    run("feedback", "last", "--correct", "Basalt", *alice)
    run("learn", *alice)
    assert len(json_of("log", *alice)["revisions"]) == 1
    assert len(json_of("context", *alice)["entries"]) == 2
    assert len(json_of("context")["entries"]) == 1
    assert len(json_of("context", "--tenant", "acme", "--user", "bob")["entries"]) == 1
