"""The measures of a run, on figures that a person can check."""

import math
from pathlib import Path

import pytest

from tokenspace.streams import plot, stream_report
from tokenspace.streams.config import StreamConfig
from tokenspace.streams.metrics import against, curve, recovery, summary, transfer
from tokenspace.streams.run import Cell, Results, Track

CONFIG = StreamConfig(tasks=4, window=2, arms=("tokenspace", "none"), seeds=(1,))


def track(right: str, **more: object) -> Track:
    n = len(right)
    usage = {"calls": n, "input_tokens": 10 * n, "output_tokens": n, "usd": 0.0}
    made = Track(right=[one == "1" for one in right], stage=[0] * n, tokens=[100] * n, shown=[0] + [1] * (n - 1),
                 entries=list(range(n)), usage=usage)  # fmt: skip
    for name, value in more.items():
        setattr(made, name, value)
    return made


def results(ours: str, none: str, **more: object) -> Results:
    return {
        Cell(arm="tokenspace", order=0, seed=1): track(ours, **more),
        Cell(arm="none", order=0, seed=1): track(none),
    }


def test_accuracy_curve_regret_and_cost() -> None:
    found = summary(CONFIG, results("0111", "0010", hindsight=1.0))
    ours = found["arms"]["tokenspace"]
    assert ours["accuracy"] == 0.75
    assert ours["curve"] == [0.5, 1.0]
    assert ours["regret_no_memory"] == -2
    assert ours["regret_hindsight"] == 1
    assert ours["calls_per_improvement"] == 2
    assert ours["activation"] == 0.75
    assert found["gain_over_best_baseline"] == 0.5
    assert "calls_per_improvement" not in found["arms"]["none"]


def test_differences_are_paired_by_task() -> None:
    same = against(results("0101" * 20, "0101" * 20), "tokenspace", "none")
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)
    better = against(results("1111" * 20, "0101" * 20), "tokenspace", "none")
    assert better["difference"] == 0.5
    assert 0.3 < better["low"] < 0.5 < better["high"] < 0.7


def test_transfer_and_forgetting_of_a_matrix() -> None:
    found = transfer([[0.0, 0.0, 0.2], [0.8, 0.1, 0.2], [0.9, 0.7, 0.4], [0.6, 0.7, 0.9]])
    assert found["final_average"] == pytest.approx(2.2 / 3)
    assert found["backward_transfer"] == pytest.approx((-0.2 + 0.0) / 2)
    assert found["forgetting"] == pytest.approx((0.3 + 0.0) / 2)
    assert found["forward_transfer"] == pytest.approx((0.1 + 0.2) / 2)
    assert transfer([[0.1], [0.9]])["forgetting"] == 0


def test_windows_may_end_with_a_shorter_one() -> None:
    assert curve([track("11100"), track("10100")], 2) == [0.75, 0.5, 0.0]


def test_recovery_counts_the_tasks_until_it_is_as_good_as_before() -> None:
    made = track("1" * 60 + "0" * 30 + "1" * 40)
    assert recovery([made], 60) == 29
    assert recovery([track("1" * 60 + "0" * 60)], 60) is None


def test_the_report_names_every_arm_and_its_files_repeat(tmp_path: Path) -> None:
    figures = summary(CONFIG, results("0111", "0010"))
    words = stream_report.text(CONFIG, figures)
    assert "no memory" in words
    assert "+50.0 points" in words
    assert not any(math.isnan(value) for value in figures["against"]["none"].values())
    one = stream_report.write(CONFIG, figures, tmp_path)
    before = [path.read_bytes() for path in one]
    assert [path.read_bytes() for path in stream_report.write(CONFIG, figures, tmp_path)] == before
    assert len(one) == (4 if plot.available() else 2)
