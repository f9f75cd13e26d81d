"""What `benchmarks/gate_recorded.py --pairs` says of a file, and that the modelled edits have the effects they claim."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SIX = [("0", "1")] * 6
HEADER = "item,before,after"


@pytest.fixture(autouse=True)
def benchmarks_are_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def written(path: Path, outcomes, header: str = HEADER) -> Path:
    lines = [header, *(f"task {number},{before},{after}" for number, (before, after) in enumerate(outcomes))]
    file = path / "pairs.csv"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def judged(file: Path, *options: str, capsys) -> tuple[str, str, int]:
    module = importlib.import_module("gate_recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gate_recorded.py", "--pairs", str(file), *options])
        with pytest.raises(SystemExit) as ended:
            module.main()
    printed = capsys.readouterr()
    return printed.out, printed.err, int(ended.value.code or 0)


def as_json(file: Path, *options: str, capsys):
    out, _, code = judged(file, *options, "--json", capsys=capsys)
    assert code == 0
    return json.loads(out)


def test_six_fixes_accept_and_say_so_on_one_line_each(tmp_path, capsys):
    out, err, code = judged(written(tmp_path, [("1", "1"), *SIX, ("0", "1")]), capsys=capsys)
    assert (code, err) == (0, "")
    verdict, items, value, path = out.splitlines()
    assert verdict.startswith("verdict: accept")
    assert items == "items used: 7 of 8; 6 fixed, 0 broken"
    assert "22.9 for benefit (20 accept)" in value
    assert "θ grid" in value
    assert path == "e-value path (item: value): 2: 1.59, 3: 2.59, 4: 4.34, 5: 7.43, 6: 12.9, 7: 22.9"


@pytest.mark.parametrize(
    ("outcomes", "options", "verdict"),
    [(SIX, (), "accept"), (SIX[:5], (), "defer"), ([("1", "0")] * 6, (), "reject"), ([("1", "1")] * 900, (), "defer"),
     ([("1", "1")] * 40, ("--futility",), "reject"), (SIX, ("--alpha", "0.01"), "defer"), (SIX, ("--cap", "4"), "reject"),
     ([*SIX, *[("1", "")] * 2], (), "defer"), ([("", "1")] * 2 + SIX, (), "defer")],
)  # fmt: skip
def test_verdicts(outcomes, options, verdict, tmp_path, capsys):
    assert as_json(written(tmp_path, outcomes), *options, capsys=capsys)["verdict"] == verdict


def test_random_orders_print_two_numbers_and_nothing_else(tmp_path, capsys):
    assert as_json(written(tmp_path, SIX), "--orders", "20", capsys=capsys) == {"accepted": 1.0, "items_median": 6}
    none = as_json(written(tmp_path, SIX[:3]), "--orders", "20", capsys=capsys)
    assert none == {"accepted": 0.0, "items_median": None}
    drift = [("0", "1")] * 10 + [("1", "0")] * 3 + [("1", "1")] * 151
    # 10 fixes and 3 breaks: exactly 53 of 286 orders reach 6 and no break, or 9 and one
    found = as_json(written(tmp_path, drift), "--orders", "2000", capsys=capsys)
    assert found["accepted"] == pytest.approx(53 / 286, abs=0.035)


def test_a_missing_incumbent_is_no_pair_and_a_missing_candidate_scores_nothing(tmp_path, capsys):
    many = [("1", "1")] * 30
    assert as_json(written(tmp_path, [("", "1"), *SIX, *many]), capsys=capsys)["items"] == 6
    assert as_json(written(tmp_path, [("1", "nan"), *many]), capsys=capsys)["path"][0][1] < 1


def test_an_item_enters_once_and_grades_decide_the_grid(tmp_path, capsys):
    file = tmp_path / "pairs.csv"
    file.write_text("item,before,after\na,0,1\na,1,1\nb,0,1\n", "utf-8")
    out, _, _ = judged(file, capsys=capsys)
    assert "items used: 2 of 2" in out
    assert "λ grid" in out
    assert "λ grid" in judged(written(tmp_path, [("0.5", "0.5")]), capsys=capsys)[0]


def test_graded_orders_end_as_the_test_says(tmp_path, capsys):
    module = importlib.import_module("_pairs")
    differences = [0.3, -0.1, 0.9, 0.25, 0.0, 0.7, -0.2, 0.8, 0.85, 0.6] * 4
    level = module.Level(graded=True)
    slow, quick = module.walk(differences, level), module._quick_walk(differences, level)
    assert (slow.finding, slow.items, slow.test.e_benefit) == (quick.finding, quick.items, quick.test.e_benefit)
    assert slow.finding == "accept"


@pytest.mark.parametrize(
    ("text", "words"),
    [("", ":1:"), ("item,before\n", ":1:"), (f"{HEADER}\n", "no pairs"), (f"{HEADER}\na,0,1\nb,0\n", ":3:"),
     (f"{HEADER}\na,0,1\nb,1.2,1\n", ":3: before"), (f"{HEADER}\n\na,0,yes\n", ":3: after"), (f"{HEADER}\n,0,1\n", ":2:")],
)  # fmt: skip
def test_bad_files_name_the_line_and_end_with_2(text, words, tmp_path, capsys):
    file = tmp_path / "bad.csv"
    file.write_text(text, "utf-8")
    out, err, code = judged(file, capsys=capsys)
    assert (out, code) == ("", 2)
    assert words in err


def test_without_the_data_it_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, FOLDER / "gate_recorded.py"], capture_output=True, text=True, check=True,
        env={"TOKENSPACE_DATA": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    assert done.stdout.count("is skipped") == 4
    assert str(tmp_path) in done.stdout


@pytest.mark.parametrize(("base", "noise"), [(0.5, 0.0), (0.8, 0.5)])
def test_modelled_edits_have_the_effect_that_they_claim(base, noise):
    numpy = importlib.import_module("numpy")
    world = importlib.import_module("_modelled").World(
        numpy.random.default_rng(1), base=base, noise=noise, cases=20_000
    )
    for effect in (0.0, 0.2, -0.4):
        change = world.propose(effect, 0.3)
        moved = (change.after - world.success)[change.affected].mean()
        assert moved == pytest.approx(effect, abs=0.02)
        assert (change.after == world.success)[~change.affected].all()


def test_no_rule_pays_twice_for_an_incumbent_run():
    numpy, rules = importlib.import_module("numpy"), importlib.import_module("_accept_rules")
    world = importlib.import_module("_modelled").World(numpy.random.default_rng(2), base=0.7, noise=0.0, cases=50)
    world.held = True
    for calls in (100, 50, 50):
        before = world.spent
        rules.better_mean(world, world.propose(0.0, 1.0), cases=50)
        assert world.spent - before == calls
