"""`rename` in the whole loop: right lessons come in again after names changed, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from tokenspace.agents import ChatAgent
from tokenspace.domain import Put
from tokenspace.models import resolve
from tokenspace.streams.arms import Learned
from tokenspace.streams.config import StreamConfig
from tokenspace.streams.metered import Metered
from tokenspace.streams.tasks import Stream, make_stream

pytestmark = pytest.mark.slow


def lived(config: StreamConfig) -> tuple[Learned, Stream]:
    stream = make_stream(config, order=0, seed=1)
    learner = Learned(config, stream, Metered(ChatAgent(resolve(config.model)), limit=config.context_tokens))
    for place, task in enumerate(stream.tasks, start=1):
        learner.teach(task, learner.answer(task))
        if place % config.sleep_every == 0:
            learner.rest()
    return learner, stream


def served(learner: Learned, ids: Collection[str]) -> dict[str, str]:
    return {entry.id: entry.text for entry in learner.context().entries if entry.id in ids}


@pytest.fixture
def config(tmp_path: Path) -> StreamConfig:
    words = {
        "Kestrel": "parcel box delivery lost",
        "Basalt": "refund money card paid",
        "Otter": "login password locked out",
    }
    rows = [
        f"{text.split()[n % 4]} {text.split()[(n + 1) % 4]} {text.split()[(n + 2) % 4]} no {n},{label}"
        for label, text in words.items() for n in range(60)
    ]  # fmt: skip
    path = tmp_path / "tickets.csv"
    path.write_text("\n".join(["text,label", *rows]))
    return StreamConfig(source=str(path), tasks=100, sleep_every=10, relabel=3, relabel_at=60)


def test_after_names_were_exchanged_every_example_has_its_new_name(config: StreamConfig) -> None:
    learner, stream = lived(config)
    right = {task.text: task.label for task in stream.tasks[60:]}
    names = {task.kind: task.label for task in stream.tasks[60:]}
    first = {task.text: names[task.kind] for task in stream.tasks[:60]}
    served = {entry.trigger: entry.text for entry in learner.context().entries}
    wrong = [text for text, label in (first | right).items() if served.get(text, label) != label]
    assert len(wrong) <= 2
    renamed = [one for one in learner.agent.log() if one.author.startswith("rename@")]
    assert len(renamed) == 3
    assert all(one.edit.evidence and one.edit.read for one in renamed)


def test_a_renaming_that_a_person_took_back_is_not_made_again(config: StreamConfig) -> None:
    learner, _ = lived(config)
    first, *others = [one for one in learner.agent.log() if one.author.startswith("rename@")]
    ids = {op.entry.id for op in first.edit.ops if isinstance(op, Put)}
    learner.agent.revert(first.id)
    before = served(learner, ids)
    learner.rest()
    assert before
    assert served(learner, ids).items() <= before.items()
    again = [one for one in learner.agent.log() if one.author.startswith("rename@")]
    assert [one.id for one in again] == [first.id, *(one.id for one in others)]


def test_without_a_change_nothing_is_renamed(config: StreamConfig) -> None:
    learner, _ = lived(replace(config, relabel=0, noise=0.15))
    assert not [one for one in learner.agent.log() if one.author.startswith("rename@")]
