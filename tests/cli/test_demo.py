"""The demo from end to end with the reader that needs no weights, shortened; what it leaves can be used."""

from __future__ import annotations

import csv
import functools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.commands import Run, invoke, json_of

from tokenspace.recall import HashEmbedder
from tokenspace.streams import items

KEYS = (
    "frozen_exam appended_exam learned_exam thirds thirds_frozen wrong_corrections wrong_served right_kept_out calls "
    "seconds resident_mb seed labels model rule corrections"
)
SHORT = functools.partial(items.draw, teach=24, exam=8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A finished run's folder, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tokenspace.recall.default_embedder", HashEmbedder)
        patch.setattr(items, "draw", SHORT)
        yield folder, invoke("demo", "--model", "nearest", "--out", folder).stdout


def test_it_reports_what_it_measured(finished: tuple[Path, str]) -> None:
    folder, told = finished
    report = json.loads((folder / "report.json").read_text())
    assert set(KEYS.split()) <= set(report)
    assert len(report["thirds"]) == len(report["thirds_frozen"]) == 3
    assert all(0 <= report[f"{arm}_exam"] <= 1 for arm in ("frozen", "appended", "learned"))
    assert report["wrong_corrections"] == sum(one["taught"] != one["right"] for one in report["corrections"]) == 2
    assert len(report["corrections"]) == 24
    assert {one["fate"] for one in report["corrections"]} <= {"served", "retired", "kept out", "not proposed"}
    served = [one for one in report["corrections"] if one["fate"] == "served"]
    assert sum(one["taught"] != one["right"] for one in served) == report["wrong_served"]
    assert sum(count["served"] for count in report["teachers"].values()) == len(served)
    assert set(report["rule"]) >= {"decision", "reason", "fixes", "breaks", "pairs"}
    assert 0 < report["calls"] <= 420
    assert (folder / "report.txt").read_text().strip() in told


def test_it_shows_progress_line_by_line_without_a_terminal(finished: tuple[Path, str]) -> None:
    _, told = finished
    assert "  8/24  right of the last 8" in told
    assert " 24/24  right of the last 24" in told
    assert "exam, frozen context: " in told
    assert len(told.splitlines()) < 100


def test_it_leaves_pictures_and_text(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    assert (folder / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "learning-curve.svg").read_text()
    assert "**When**" in (folder / "context" / "examples.md").read_text()


def test_the_next_commands_work_in_its_folder(
    finished: tuple[Path, str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told = finished
    monkeypatch.chdir(folder)
    after = [line.strip() for line in told.splitlines()[-4:]]
    assert after[0] == f"cd {folder}"
    assert [line.split(" ", 1)[1] for line in after[1:]] == ["log", "context --blame", "ask 'my parcel never came'"]
    run("verify")
    assert "remember" in run("log").stdout
    assert "by remember@1" in run("context", "--blame").stdout
    report = json.loads((folder / "report.json").read_text())
    assert run("ask", "my parcel never came").stdout.strip() in report["labels"]
    assert json_of("status")["agent"] == "support-desk"


def test_a_correction_after_the_demo_is_learned(
    finished: tuple[Path, str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = finished
    monkeypatch.chdir(folder)
    run("ask", "the frobnicator wobbles")
    run("feedback", "last", "--correct", "Quill")
    assert "the frobnicator wobbles" in run("learn").stdout


def test_the_same_run_gives_the_same_report_and_pictures(
    finished: tuple[Path, str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "draw", SHORT)
    told = json_of("demo", "--model", "nearest", "--out", "again")
    first, again = json.loads((finished[0] / "report.json").read_text()), tmp_path / "again"
    for key in ("files", "seconds", "resident_mb"):
        first.pop(key, None), told.pop(key)
    assert told == first
    for name in ("learning-curve.svg", "learning-curve.png"):
        assert (again / name).read_bytes() == (finished[0] / name).read_bytes()


def test_it_runs_on_anybodys_data_without_matplotlib(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "draw", functools.partial(items.draw, teach=12, exam=4))
    monkeypatch.setattr("tokenspace.streams.plot.available", lambda: False)
    with (tmp_path / "own.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "category"])
        rows.writerows([f"word{number % 4} question number {number}", f"class {number % 4}"] for number in range(60))
    done = run("demo", "--model", "nearest", "--data", "own.csv", "--labels", "3", "--seed", "2", "-q")
    assert "question number" in done.stdout.splitlines()[-1]
    report = json.loads((tmp_path / "tokenspace-demo" / "report.json").read_text())
    assert len(report["labels"]) == 3
    assert not any(label.startswith("class") for label in report["labels"])
    assert not (tmp_path / "tokenspace-demo" / "learning-curve.png").exists()


def test_an_earlier_demo_is_replaced_and_a_foreign_folder_is_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "draw", functools.partial(items.draw, teach=8, exam=2))
    run("demo", "--model", "nearest", "--out", "out", "-q")
    (tmp_path / "out" / "mine.txt").write_text("keep")
    run("demo", "--model", "nearest", "--out", "out", "-q", "--seed", "2")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["seed"] == 2
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "report.json").write_text("[]")
    assert "no demo made it" in run("demo", "--model", "nearest", "--out", "foreign", code=2).stderr
    assert [path.name for path in foreign.iterdir()] == ["report.json"]
    run("demo", "--model", "nearest", "--out", "foreign/report.json", code=2)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"text,label\na\0b,c\n", "NUL"),
        (b"\xff\xfe\xff", "UTF-8"),
        (b"a,b\n1,2\n", "no column `text`"),
        (b"", "no column `text`"),
        (b"text,label\nhello,one\nhi,two\n", "too few"),
    ],
)
def test_files_that_cannot_be_read(run: Run, tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "bad.csv").write_bytes(content)
    told = run("demo", "--model", "nearest", "--data", "bad.csv", code=2).stderr
    assert part in told
    assert "hint: " in told
    assert not (tmp_path / "tokenspace-demo").exists()


def test_a_missing_file_and_a_wrong_number_of_labels(run: Run) -> None:
    run("demo", "--model", "nearest", "--data", "none.csv", code=2)
    run("demo", "--model", "nearest", "--labels", "1", code=2)
    run("demo", "--model", "none", code=2)


def test_interrupted_it_says_what_was_finished(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "tokenspace", "demo", "--model", "nearest", "--out", "out"]
    # Whoever runs the tests in the background has its children ignore the signal.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **heard) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 96 messages answered and corrected" in told
    assert "Traceback" not in told
    monkeypatch.chdir(tmp_path / "out")
    run("verify")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(items, "draw", functools.partial(items.draw, teach=8, exam=2))
    run("demo", "--model", "nearest", "--out", "out", "-q")


def test_an_attacked_run_reports_with_and_without_the_gate(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenspace.recall.default_embedder", HashEmbedder)
    monkeypatch.setattr("tokenspace.cli.demo.ATTACKED_QUICK", {"teach": 24, "exam": 8})
    report = json_of("demo", "--attack", "--quick", "--model", "nearest", "--out", "out")
    assert {"clean_exam", "attacked_gated_exam", "attacked_ungated_exam", "gated_loss", "ungated_loss"} <= set(report)
    assert report["headline"] == "insider"
    assert report["sabotage"] == len(report["sabotaged"]) == 8
    assert all(one["decision"] != "accept" for one in report["instructions"]["insider"])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["clean_exam"] == report["clean_exam"]
    assert "Unseen exam of 8 messages" in (tmp_path / "out" / "report.txt").read_text()
    told = run("demo", "--attack", "--quick", "--model", "nearest", "--out", "out").stdout
    assert "saboteur is a teacher, gated   exam" in told
    assert "The instructions" in told
    monkeypatch.chdir(tmp_path / "out")
    run("verify")
    assert "remember" in run("log").stdout


def test_a_quick_demo_is_half_as_long(run: Run, tmp_path: Path) -> None:
    run("demo", "--quick", "--model", "nearest", "--out", "out", "-q")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["messages"], report["exam"]) == (48, 24)
