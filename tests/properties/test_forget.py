"""I10: what is left in exact mode is what would be if the subject had never been, on random histories."""

from __future__ import annotations

import asyncio
import os

import pytest

from tokenspace.forget import forget
from tokenspace.testing.histories import Stage, random_history, random_subject, scopes_of, state_of

HISTORIES = int(os.environ.get("TOKENSPACE_HISTORIES", "0"))


def differences(url: str, seeds: range) -> list[int]:
    """The histories that come out otherwise when their subject is forgotten than without it; on one store."""
    found: list[int] = []
    stage = Stage(url)
    for seed in seeds:
        agent = f"desk{seed}"
        history = stage.play(random_history(seed, agent=agent))
        chosen = random_subject(history, seed)
        if chosen is None:
            continue
        subject, rest = chosen
        never = Stage("memory:")
        never.play(rest)
        asyncio.run(forget(stage.parts, stage.store.admin, subject, exact=True))
        seen, wanted = (state_of(each.store, each.store.admin, scopes_of(agent)) for each in (stage, never))
        found += [seed] if seen != wanted else []
    assert stage.store.admin.verify() == []
    stage.store.close()
    return found


def test_i10_in_memory():
    assert differences("memory:", range(60)) == []


def test_i10_on_sqlite(tmp_path):
    assert differences(f"sqlite:///{tmp_path}/store.db", range(100, 104)) == []


@pytest.mark.slow
def test_i10_in_memory_on_many_histories():
    for start in range(0, HISTORIES or 2_000, 100):
        assert differences("memory:", range(start, start + 100)) == []


@pytest.mark.slow
def test_i10_on_sqlite_on_many_histories(tmp_path):
    for start in range(0, HISTORIES or 200, 20):
        assert differences(f"sqlite:///{tmp_path}/{start}.db", range(start, start + 20)) == []


@pytest.mark.slow
def test_i10_on_postgresql_on_many_histories(postgresql_url):
    assert differences(postgresql_url, range(20)) == []


def test_the_comparison_finds_what_the_default_mode_leaves():
    """Without exact mode verdicts are only marked, so some histories must come out otherwise."""
    found = 0
    for seed in range(30):
        stage, never = Stage("memory:"), Stage("memory:")
        chosen = random_subject(stage.play(random_history(seed)), seed)
        if chosen is not None:
            never.play(chosen[1])
            asyncio.run(forget(stage.parts, stage.store.admin, chosen[0]))
            seen, wanted = (state_of(each.store, each.store.admin, scopes_of("desk")) for each in (stage, never))
            found += seen != wanted
    assert found > 5
