"""Canaries in a database: what they cost, and several writers at once. Their rules are in `tokenspace.testing`."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from tokenspace.domain import Reading, new_id
from tokenspace.store import canaries, open_store
from tokenspace.testing.samples import BASE, NOW, TENANT, USER, a_canary


@pytest.fixture
def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    yield store
    store.close()


def test_looking_for_live_canaries_reads_none_that_has_ended(store):
    sql, defaults, order = store.db.compiled(canaries._canaries(ended=False))
    with store.db.administering() as connection:
        names = {**defaults, "agent": "desk", "tenant": "acme", "user": "alice"}
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", tuple(names[name] for name in order)).all()
    steps = [row[-1] for row in plan]
    assert any("canary USING INDEX ix_canary_live" in step for step in steps), steps
    assert not any(step.startswith("SCAN") for step in steps), steps


def test_a_canary_takes_at_most_200_bytes(store):
    canary = a_canary(store, TENANT, share=0.25, rate=0.7132486701, state="stopped", promoted=new_id(),
                      reason="e-value 41.2 against harm")  # fmt: skip
    store.save_canary(canary)
    size = "length(id) + 8 + 2 + length(revision) + length(promoted) + length(CAST(body AS BLOB))"
    with store.db.administering() as connection:
        assert connection.exec_driver_sql(f"SELECT {size} FROM canary").scalar() <= 200


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_readings_that_come_at_once_are_numbered_one_after_another(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    store, errors = open_store(url), []
    canary = a_canary(store, BASE)
    store.save_canary(canary)
    shared = new_id()

    def work(number):
        try:
            for turn in range(10):
                store.add_reading(canary, Reading(episode=f"{number}.{turn}", treated=True, score=1.0, at=NOW))
                store.add_reading(canary, Reading(episode=shared, treated=True, score=number / 4, at=NOW))
        except Exception as error:  # noqa: BLE001 - for the main thread to see
            errors.append(error)

    _at_once(work)
    assert errors == []
    episodes = [reading.episode for reading in store.readings(canary)]
    assert sorted(episodes) == sorted([shared, *(f"{number}.{turn}" for number in range(4) for turn in range(10))])
    for number in range(4):
        mine = [episode for episode in episodes if episode.startswith(f"{number}.")]
        assert mine == [f"{number}.{turn}" for turn in range(10)]
    assert store.admin.verify() == []
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_several_ends_at_once_one_stays(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    store, seen = open_store(url), []
    canary = a_canary(store, USER)
    store.save_canary(canary)

    def work(number):
        store.save_canary(replace(canary, state="stopped", reason=f"said {number}"))
        seen.append(store.canaries(USER, ended=True))

    _at_once(work)
    assert len(seen) == 4
    assert all(found == seen[0] for found in seen)
    assert store.canaries(USER) == []
    store.close()


def _at_once(work):
    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
