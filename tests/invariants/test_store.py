"""Invariants that hold between the loop and a real store."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.world import BASE, World, rule

from tokenspace.domain import Prompt, Signal
from tokenspace.store.scoped import EVERYWHERE


def test_i11_no_model_call_and_no_embedding_happens_inside_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions, open_now, seen = [0], [0], list[int]()

    def answer(prompt: Prompt, seed: int) -> str:
        seen.append(open_now[0])
        return "Kestrel"

    world = World(answer, teachers=["ana"], store=f"sqlite:///{tmp_path}/store.db")
    write, embed = world.store.db.writing, world.recall._embedder.embed

    @contextmanager
    def counted(reach):
        with write(reach) as cursor:
            transactions[0] += 1
            open_now[0] += 1
            try:
                yield cursor
            finally:
                open_now[0] -= 1

    def watched(texts):
        seen.append(open_now[0])
        return embed(texts)

    monkeypatch.setattr(world.store.db, "writing", counted)
    monkeypatch.setattr(world.recall._embedder, "embed", watched)
    for text in ("where is my parcel", "my parcel is late", "the parcel never came"):
        world.teach(text, "Kestrel")
    said = world.say(world.act("hello", choices=None), "words", Signal.TEXT)
    world.judge(rule("Be brief."), said)
    world.sleep(scope=BASE)
    assert transactions[0] > 10
    assert len(seen) > 10
    assert set(seen) == {0}
    with world.store.db.writing(EVERYWHERE):
        world.recall.index([])
    assert seen[-1] == 1, "the watch itself works"
    world.store.close()
