"""What is peculiar to DBOS: its file, what it keeps, who is taken for dead."""

from __future__ import annotations

import asyncio
import logging
import stat

import pytest

from tokenspace.domain import new_id
from tokenspace.errors import StoreUnavailable, UsageError
from tokenspace.jobs.dbos import DbosJobs
from tokenspace.jobs.queue import DbosQueue, engine_of, queue_url
from tokenspace.store import open_store

pytestmark = pytest.mark.slow
QUICK = {"poll_s": 0.02, "beat_s": 0.05, "dead_s": 0.3}


@pytest.fixture
def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    yield store
    store.close()


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/s.db"


def working(url, store, handlers, work, **more):
    """Run `work(jobs)` while jobs are worked on."""

    async def main():
        async with DbosJobs(url, store.workroom, handlers, **{**QUICK, **more}) as jobs, asyncio.timeout(30):
            await work(jobs)

    asyncio.run(main())


def raw(url, sql):
    engine = engine_of(queue_url(url))
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql(sql).fetchall()
    finally:
        engine.dispose()


def everything(url):
    """All rows of all tables, as one text."""
    tables = [name for (name,) in raw(url, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert "workflow_status" in tables
    return str({name: raw(url, f"SELECT * FROM {name}") for name in tables})


async def until(true):
    while not true():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


def test_the_queue_is_a_file_beside_the_store_in_wal_mode_and_private(url, store, tmp_path):
    async def nothing(jobs):
        assert jobs.url == f"sqlite:///{tmp_path}/s.jobs.db"

    working(url, store, {}, nothing)
    assert raw(url, "PRAGMA journal_mode") == [("wal",)]
    assert stat.S_IMODE((tmp_path / "s.jobs.db").stat().st_mode) == 0o600
    with pytest.raises(UsageError):
        queue_url("memory:")


def test_without_a_queue_there_is_a_hint(url, store):
    with pytest.raises(StoreUnavailable) as caught:
        DbosQueue(url, store.workroom)
    assert "tokenspace worker" in caught.value.hint


def test_a_failed_job_keeps_the_class_of_its_error_and_nothing_that_was_said(url, store, caplog):
    caplog.set_level(logging.CRITICAL)

    async def failing(job):
        raise ValueError("the user's own words")

    async def work(jobs):
        await asyncio.to_thread(jobs.enqueue, "fail", ["a"], key="k", partition="p")
        await asyncio.to_thread(jobs.enqueue, "unknown", ["a"], key="k", partition="q")
        await until(lambda: {one.state for one in jobs.jobs()} == {"failed"})

    working(url, store, {"fail": failing}, work)
    kept = everything(url)
    assert "ValueError" in kept
    assert "own words" not in kept
    assert set(raw(url, "SELECT serialization FROM workflow_status")) == {("portable_json",)}, "nothing is pickled"


def test_a_worker_that_was_taken_for_dead_stops_its_jobs_and_says_so(url, store):
    lost, stopped = [], []

    async def waiting(job):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(job.id)
            raise

    async def work(jobs):
        id = await asyncio.to_thread(jobs.enqueue, "wait", [], key="k", partition="p")
        await until(lambda: jobs._running)
        store.workroom.leave(jobs.worker)
        await until(lambda: lost and stopped)
        assert stopped == [id]

    working(url, store, {"wait": waiting}, work, lost=lambda: lost.append(1))


def test_the_row_of_a_dead_worker_goes_when_its_jobs_are_taken_over(url, store):
    dead = new_id()
    store.workroom.enter(dead)

    async def work(jobs):
        await until(lambda: set(store.workroom.beats()) == {jobs.worker})

    working(url, store, {}, work)


def test_a_worker_that_lives_is_left_alone(url, store):
    other = new_id()
    store.workroom.enter(other)

    async def work(jobs):
        for _ in range(20):
            await asyncio.sleep(0.05)
            assert store.workroom.beat(other)

    working(url, store, {}, work)


def test_a_schedule_asks_for_its_job_in_its_partition(url, store):
    seen = []

    async def note(job):
        seen.append(job)

    async def work(jobs):
        await asyncio.to_thread(
            lambda: jobs.schedule("nightly", "0 3 * * *", "note", ids=["agent-x", ""], partition="everybody")
        )
        await asyncio.to_thread(jobs._client.trigger_schedule, "nightly")
        await until(lambda: seen)
        assert await asyncio.to_thread(jobs.erase, "everybody") == 1
        assert await asyncio.to_thread(jobs._client.list_schedules) == []

    working(url, store, {"note": note}, work)
    assert [(one.kind, one.ids, one.partition) for one in seen] == [("note", ("agent-x", ""), "everybody")]
    kept = everything(url)
    assert "agent-x" not in kept, "erasing left a trace"
    assert "everybody" not in kept


def test_leaving_lets_a_job_in_hand_finish(url, store):
    began, ended = asyncio.Event(), []

    async def slow(job):
        began.set()
        await asyncio.sleep(0.3)
        ended.append(job.id)

    async def work(jobs):
        await asyncio.to_thread(jobs.enqueue, "slow", [], key="k", partition="p")
        await began.wait()

    working(url, store, {"slow": slow}, work)
    assert len(ended) == 1
    assert raw(url, "SELECT status FROM workflow_status") == [("SUCCESS",)]


def test_jobs_that_are_long_over_are_forgotten(url, store):
    async def note(job):
        store.workroom.check_off(job.id, "one")

    async def work(jobs):
        id = await asyncio.to_thread(jobs.enqueue, "note", [], key="k", partition="p")
        await asyncio.to_thread(jobs.enqueue, "note", [], key="later", partition="p", after_s=600)
        await until(lambda: {one.state for one in jobs.jobs()} == {"done", "later"})
        assert await asyncio.to_thread(jobs.tidy) == 0
        assert await asyncio.to_thread(lambda: jobs.tidy(older_s=-1)) == 1
        assert store.workroom.done(id, "one") is None
        assert [one.state for one in jobs.jobs()] == ["later"]

    working(url, store, {"note": note}, work)
