"""`benchmarks/reflector.py`, small and with a fixed seed: what it claims about reflectors and the gate holds."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    found = importlib.import_module("reflector")
    monkeypatch.setattr(found, "ROUNDS", 3)
    return found


@pytest.mark.slow
def test_under_the_gate_accuracy_rises_and_no_harm_is_served(bench) -> None:
    world = bench.World(1, bench.SKILL, gated=True).live()
    assert world.counts["harmful_proposed"] > 0
    assert world.counts["harmful_served"] == 0
    assert world.curve[-1] > world.curve[0]


@pytest.mark.slow
def test_without_a_gate_the_same_reflector_does_harm(bench) -> None:
    world = bench.World(1, bench.SKILL, gated=False).live()
    assert world.counts["harmful_served"] > 0
    assert world.counts["edits_served"] == world.counts["edits_proposed"]


def test_what_the_desk_says_is_what_its_model_says_it_would(bench) -> None:
    world = bench.World(2, bench.SKILL, gated=True)
    alone = (bench.KNOWN * bench.KNOWS + (len(bench.TOPICS) - bench.KNOWN) * bench.GUESSES) / len(bench.TOPICS)
    assert world.accuracy(world.served) == pytest.approx(alone)
    for _ in range(200):
        world.request()
    right = sum(item.value is True for item in world.run.store.feedback(bench.USER)) / 200
    assert right == pytest.approx(alone, abs=0.12)
