"""I10: what is left in exact mode is what would be if the subject had never been, on random histories."""

from __future__ import annotations

import asyncio
import os

import pytest

from tokenspace.forget import forget
from tokenspace.recall import HashEmbedder
from tokenspace.testing.desk import Desk, desk_history
from tokenspace.testing.histories import Stage, random_history, random_subject, scopes_of, state_of

HISTORIES = int(os.environ.get("TOKENSPACE_HISTORIES", "0"))


@pytest.fixture(autouse=True)
def nothing_to_load(monkeypatch):
    monkeypatch.setattr("tokenspace.recall.default_embedder", HashEmbedder)


def differences(url: str, seeds: range, *, kind=Stage, history_of=random_history, exact: bool = True) -> list[int]:
    """The histories that come out otherwise when their subject is forgotten than without it; on one store."""
    found: list[int] = []
    stage = kind(url)
    for seed in seeds:
        agent = f"desk{seed}"
        history = stage.play(history_of(seed, agent=agent))
        chosen = random_subject(history, seed)
        if chosen is None:
            continue
        subject, rest = chosen
        never = kind("memory:")
        never.play(rest)
        asyncio.run(forget(stage.parts, stage.store.admin, subject, exact=exact))
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


# ── the product's own proposers and gate ────────────────────────────────────────────────────


def of_the_product(url: str, seeds: range, **how: bool) -> list[int]:
    """As above, with everything that `config.build` composes."""
    return differences(url, seeds, kind=Desk, history_of=desk_history, **how)


def test_i10_with_the_real_gate_in_memory():
    assert of_the_product("memory:", range(20)) == []


def test_i10_with_the_real_gate_on_sqlite(tmp_path):
    assert of_the_product(f"sqlite:///{tmp_path}/store.db", range(300, 303)) == []


@pytest.mark.slow
def test_i10_with_the_real_gate_on_many_histories(tmp_path):
    for start in range(0, HISTORIES or 200, 50):
        assert of_the_product("memory:", range(start, start + 50)) == []
    assert of_the_product(f"sqlite:///{tmp_path}/store.db", range(1_000, 1_020)) == []


def test_the_real_gates_histories_hold_what_the_default_mode_leaves():
    assert len(of_the_product("memory:", range(20), exact=False)) > 5


def test_i10_what_comes_out_the_same_keeps_its_ids():
    """Entries have random ids: a survivor that says what it said is the same entry, in every revision of it."""
    stage = Desk("memory:")
    history = stage.play(desk_history(3))
    chosen = random_subject(history, 3)
    assert chosen is not None
    before = {one.id: one for scope in scopes_of("desk") for one in own(stage, scope)}
    asyncio.run(forget(stage.parts, stage.store.admin, chosen[0], exact=True))
    after = {one.id: one for scope in scopes_of("desk") for one in own(stage, scope)}
    said = {(one.trigger, one.text): id for id, one in before.items()}
    assert after
    assert all(said[one.trigger, one.text] == id for id, one in after.items() if (one.trigger, one.text) in said)
    assert len(after.keys() & before.keys()) >= len(after) - 1


def own(stage: Stage, scope):
    present = scope in stage.store.admin.scopes()
    return stage.store.context(scope, stage.store.heads(scope)).layers[-1].own.values() if present else ()
