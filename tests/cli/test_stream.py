"""`tokenspace stream`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.commands import invoke, json_of


def written(folder: Path) -> Path:
    rows = [f"where is parcel {n},Kestrel\nplease refund order {n},Basalt" for n in range(30)]
    (folder / "tickets.csv").write_text("text,label\n" + "\n".join(rows))
    path = folder / "run.toml"
    arms = '[run]\narms = ["tokenspace", "none"]\nwindow = 6\nhindsight = false\n'
    path.write_text(f'[data]\nsource = "tickets.csv"\ntasks = 12\n{arms}')
    return path


def test_a_run_ends_with_a_table_and_files_and_is_not_run_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    first = invoke("stream", path)
    assert "tokenspace-1-0" in first.stdout
    assert "no memory" in first.stdout
    assert (tmp_path / "run" / "report.json").is_file()
    again = json_of("stream", path)
    assert set(again["arms"]) == {"tokenspace", "none"}
    assert again["arms"]["tokenspace"]["accuracy"] > again["arms"]["none"]["accuracy"]


def test_results_go_where_they_are_wanted_and_a_bad_file_is_said(tmp_path: Path) -> None:
    path = written(tmp_path)
    invoke("stream", path, "--out", tmp_path / "there", "--quiet")
    assert (tmp_path / "there" / "report.txt").is_file()
    path.write_text("[data]\nsauce = 1")
    assert "sauce" in invoke("stream", path, code=2).output
