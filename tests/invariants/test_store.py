"""Invariants that hold between the loop and a real store."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import event
from tests.world import BASE, World, rule

from tokenspace.domain import Prompt, Signal


def test_i11_no_model_call_and_no_embedding_happens_inside_a_transaction(tmp_path: Path) -> None:
    open_transactions: list[int] = [0]
    seen: list[int] = []

    def answer(prompt: Prompt, seed: int) -> str:
        seen.append(open_transactions[0])
        return "Kestrel"

    world = World(answer, teachers=["ana"], store=f"sqlite:///{tmp_path}/store.db")
    engine = world.store.db.engine
    event.listen(engine, "begin", lambda connection: open_transactions.__setitem__(0, open_transactions[0] + 1))
    for end in ("commit", "rollback"):
        event.listen(engine, end, lambda connection: open_transactions.__setitem__(0, open_transactions[0] - 1))
    embed = world.recall._embedder.embed

    def watched(texts):
        seen.append(open_transactions[0])
        return embed(texts)

    world.recall._embedder.embed = watched
    for text in ("where is my parcel", "my parcel is late", "the parcel never came"):
        world.teach(text, "Kestrel")
    said = world.say(world.act("hello", choices=None), "words", Signal.TEXT)
    world.judge(rule("Be brief."), said)
    world.sleep(scope=BASE)
    assert len(seen) > 10
    assert set(seen) == {0}
    world.store.close()
