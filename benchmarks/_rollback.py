"""How long it takes from a canary's alarm until nobody is served it any more, in a layer of 1,000 entries."""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from _harm import ByHand
from store import BASE, postgresql, sentence
from tokenspace import loop
from tokenspace.agents import ChatAgent
from tokenspace.budget import Budget
from tokenspace.canary import assigned
from tokenspace.context import edit_key
from tokenspace.domain import (
    Attempt,
    Canary,
    Context,
    Edit,
    Entry,
    Heads,
    Kind,
    Origin,
    Patch,
    Put,
    Reading,
    Verdict,
    digest,
    new_id,
)  # fmt: skip
from tokenspace.gates import ReplayGate, Watch
from tokenspace.graders import build
from tokenspace.loop import Runtime
from tokenspace.models import ScriptedModel
from tokenspace.recall import HashEmbedder, HybridRecall
from tokenspace.store import open_store

ENTRIES, CHANGED, READINGS = 1_000, 5, 200


def rollback_figures(times: int) -> dict[str, float]:
    """Milliseconds of `Watch.step` from its first look until the heads are read back, median and maximum.

    Half of the `times` abort a trial, half take back a promotion by an inverse revision. Each edit changes five entries
    of 1,000 and adds one; 200 outcomes were read before. Keys: rollback_ms and rollback_max_ms on a SQLite file,
    rollback_trial_ms and rollback_promoted_ms of the two kinds, and rollback_postgresql_ms and …_max_ms.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        trial, promoted = _times(f"sqlite:///{folder}/s.db", times)
        figures = {
            "rollback_ms": statistics.median(trial + promoted), "rollback_max_ms": max(trial + promoted),
            "rollback_trial_ms": statistics.median(trial), "rollback_promoted_ms": statistics.median(promoted),
        }  # fmt: skip
        with postgresql(folder) as url:
            trial, promoted = _times(url, times)
            both = trial + promoted
        return figures | {"rollback_postgresql_ms": statistics.median(both), "rollback_postgresql_max_ms": max(both)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _times(url: str, times: int) -> tuple[list[float], list[float]]:
    seconds, chance = count(), random.Random(1)

    def clock() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))

    store = open_store(url, clock=clock)
    agent = ChatAgent(ScriptedModel("nothing"))
    run = Runtime(store=store, recall=HybridRecall(HashEmbedder()), agent=agent, clock=clock)
    entries = [
        Entry(id=new_id(), kind=Kind.RULE, doc="rules", text=sentence(chance, 100), trigger=sentence(chance, 40),
              origin=Origin.OPERATOR)
        for _ in range(ENTRIES)
    ]  # fmt: skip
    store.commit(
        BASE, Edit(ops=tuple(Put(entry=one) for one in entries)), Verdict(decision="accept", basis="human"),
        expect=None, author="ana", vectors=run.recall.index(entries),
    )  # fmt: skip
    watch, found = Watch(run, ReplayGate(run, build)), ([], [])
    for number in range(times):
        before = store.context(BASE, store.heads(BASE))
        found[number % 2].append(_once(run, watch, _edit(chance, entries), promoted=number % 2 == 1))
        assert _same(before, store.context(BASE, store.heads(BASE))), "a roll-back left something behind"
    store.close()
    return found


def _edit(chance: random.Random, entries: list[Entry]) -> Edit:
    changed = chance.sample(entries, CHANGED)
    new = Entry(id=new_id(), kind=Kind.RULE, doc="rules", text=sentence(chance, 100))
    return Edit(ops=(Put(entry=new), *(Patch(id=one.id, changes={"text": sentence(chance, 100)}) for one in changed)))


def _once(run: Runtime, watch: Watch, edit: Edit, *, promoted: bool) -> float:
    canary = _begun(run, watch, edit, promoted=promoted)
    for number in range(READINGS):
        run.store.add_reading(canary, Reading(episode=new_id(), treated=number % 2 == 0, score=0.0, at=run.clock()))
    began = time.perf_counter()
    (stopped,) = watch.step(BASE)
    heads = assigned(run.store, BASE, branch="", unit="anybody")
    took = time.perf_counter() - began
    assert stopped.state == "stopped", stopped
    assert heads == Heads(base=run.store.log(BASE)[0].id)
    return took * 1_000


def _begun(run: Runtime, watch: Watch, edit: Edit, *, promoted: bool) -> Canary:
    """A canary that every session is served, or one that is promoted already; nobody looked since."""
    first = _judged(run, edit, share=0.5, key="canary")
    (canary,) = run.store.canaries(BASE)
    assert canary.revision == first.revision
    canary = replace(canary, rate=0.8, share=1.0)
    run.store.save_canary(canary)
    if not promoted:
        return canary
    made = _judged(run, edit, share=1.0, key="served")
    assert made.revision is not None
    return watch.served(canary, made.revision)


def _judged(run: Runtime, edit: Edit, *, share: float, key: str) -> Attempt:
    attempt = Attempt(
        scope=BASE, key=digest([edit_key(edit), key]), proposer="bench@1", heads=run.store.heads(BASE), edit=edit,
        at=run.clock(),
    )  # fmt: skip
    return asyncio.run(loop.judge(run, ByHand(share), attempt, budget=Budget()))


def _same(one: Context, other: Context) -> bool:
    return one.entries == other.entries and dict(one.vectors) == dict(other.vectors)
