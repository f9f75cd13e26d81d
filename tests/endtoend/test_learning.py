"""The whole of it through the real parts: the embedded model, the real recall, both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenspace.agents import ChatAgent
from tokenspace.api import LearningAgent
from tokenspace.config import build, load
from tokenspace.domain import Scope
from tokenspace.models import LlamaModel
from tokenspace.streams.desk import CARELESS, TEACHERS, CountingAgent, run_desk
from tokenspace.streams.items import draw, read_items

TEAMS = ("Juniper", "Kestrel", "Cobalt")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_real_model_with_frozen_weights_gets_better_because_its_context_learns(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if problem := LlamaModel.available():
        pytest.skip(problem)
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    items = [item for item in read_items() if item.label in TEAMS]
    lessons = draw(items, seed=1, teachers=TEACHERS, careless=CARELESS, teach=12, exam=6)
    counter = CountingAgent(ChatAgent(LlamaModel()))
    settings = load({"agent": "desk", "store": url, "principal": "desk", "teachers": [*TEACHERS, CARELESS]})
    desk = LearningAgent(build(settings, model=counter), Scope(agent="desk"), principal="desk")
    result = run_desk(desk, counter, lessons, on_event=lambda _: None)
    assert result.exam["learned"] >= result.exam["frozen"] + 0.3
    assert counter.usage.calls <= 90
    assert desk.store.admin.verify() == []
    assert len(desk.log()) >= 8
    assert all(blame.sources for blame in desk.blame().values()), "every learned line names what caused it"
    last = desk.log()[0]
    desk.revert(last.id)
    assert desk.store.admin.verify() == []
    desk.close()
