"""The benchmark of contradictions runs, small, and finds what its page claims."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_right_one_is_served_and_nothing_that_passed_is_believed(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    script = ROOT / "benchmarks" / "contradictions.py"
    subprocess.run([sys.executable, script, "--quick", "--out", out], check=True, capture_output=True, cwd=ROOT)
    figures = json.loads(out.read_text("utf-8"))["figures"]
    assert figures["contradictions_right"] >= 0.98
    assert figures["transient_believed"] == 0
    assert figures["transient_standing_lost"] == 0
    assert figures["transient_renewed"] == figures["transient_lasting"]
    assert figures["append_transient_believed"] == figures["transient_planted"]
