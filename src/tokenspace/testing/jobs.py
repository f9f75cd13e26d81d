"""The conformance suite of jobs: an implementation is done when `check_jobs` passes.

Each check works with an implementation of its own; its docstring is the rule that it checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from tokenspace.domain import Job, new_id
from tokenspace.errors import UsageError
from tokenspace.protocols import Jobs

Make = Callable[[Mapping[str, Callable[[Job], Awaitable[float | None]]]], AbstractAsyncContextManager[Jobs]]
LONG_S: Final = 60.0


def check_jobs(make: Make) -> None:
    """Run every check. Raises AssertionError that names the rule that was broken.

    `make` is given handlers by kind and returns something that works on jobs, at least two at once, while it is
    entered. It may give the same queue to all checks: each has partitions of its own.
    """
    for name in JOB_CHECKS:
        run_job_check(name, make)


def run_job_check(name: str, make: Make) -> None:
    """One check by its name."""
    check = JOB_CHECKS[name]
    try:
        asyncio.run(_within(check(_Bench(make))))
    except AssertionError as error:
        raise AssertionError(f"{name}: {check.__doc__} {error}") from error


async def _within(work: Awaitable[None]) -> None:
    async with asyncio.timeout(LONG_S):
        await work


class _Bench:
    """Handlers that take notes. Kind "note" is done at once, "wait" when it is let go, "again" after two turns."""

    def __init__(self, make: Make) -> None:
        self.make = make
        self.partition = new_id()
        self.seen: list[Job] = []
        self.busy: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.go = asyncio.Event()
        self.stopped = asyncio.Event()
        self.jobs: Any = None

    def entered(self) -> AbstractAsyncContextManager[Jobs]:
        return self.make({"note": self.note, "wait": self.wait, "again": self.again, "steps": self.steps})

    async def note(self, job: Job) -> None:
        self.seen.append(job)

    async def wait(self, job: Job) -> None:
        self.seen.append(job)
        self.busy[job.partition] = self.busy.get(job.partition, 0) + 1
        self.most[job.partition] = max(self.most.get(job.partition, 0), self.busy[job.partition])
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        finally:
            self.busy[job.partition] -= 1

    async def again(self, job: Job) -> float | None:
        self.seen.append(job)
        return None if job.turn == 3 else 0.0

    async def steps(self, job: Job) -> None:
        made: list[int] = []

        async def work() -> list[int]:
            made.append(1)
            return [len(made)]

        def write() -> None:
            made.append(1)

        first = await self.jobs.step(job, "one", work)
        assert first == await self.jobs.step(job, "one", work) == [1]
        done = [await asyncio.to_thread(self.jobs.commit_tx, job, "two", write) for _ in range(2)]
        assert done == [True, False]
        assert len(made) == 2, "a finished step was done again"
        self.seen.append(job)

    async def until(self, count: int) -> None:
        while len(self.seen) < count:  # noqa: ASYNC110 - what is seen has no event
            await asyncio.sleep(0.01)

    async def put(self, jobs: Jobs, kind: str, key: str, *, partition: str = "", after_s: float = 0.0) -> str:
        where = partition or self.partition
        return await asyncio.to_thread(jobs.enqueue, kind, ["a", "b"], key=key, partition=where, after_s=after_s)


# ── the rules ───────────────────────────────────────────────────────────────────────────────


async def a_job_is_done_with_its_ids(bench: _Bench) -> None:
    """A job reaches the handler of its kind with its ids, in its partition."""
    async with bench.entered() as jobs:
        id = await bench.put(jobs, "note", "k")
        await bench.until(1)
    assert bench.seen == [Job(id=id, kind="note", ids=("a", "b"), partition=bench.partition)], f"{bench.seen}"


async def a_key_is_one_job(bench: _Bench) -> None:
    """The same kind and key in the same partition is one job, also after it was done."""
    async with bench.entered() as jobs:
        first = await bench.put(jobs, "note", "k")
        assert first == await bench.put(jobs, "note", "k")
        await bench.until(1)
        assert first == await bench.put(jobs, "note", "k")
        other = await bench.put(jobs, "note", "k", partition=new_id())
        await bench.put(jobs, "note", "l")
        await bench.until(3)
    assert len({one.id for one in bench.seen}) == len(bench.seen) == 3, "a key was done twice"
    assert other != first


async def one_partition_is_done_in_turn(bench: _Bench) -> None:
    """Jobs of one partition never run two at once, those of several do."""
    other = new_id()
    async with bench.entered() as jobs:
        for key in "abc":
            await bench.put(jobs, "wait", key)
        await bench.put(jobs, "wait", "a", partition=other)
        await bench.until(2)
        await asyncio.sleep(0.3)
        assert {one.partition for one in bench.seen} == {bench.partition, other}
        assert len(bench.seen) == 2
        bench.go.set()
        await bench.until(4)
    assert set(bench.most.values()) == {1}


async def a_job_may_go_on_later(bench: _Bench) -> None:
    """A handler that returns seconds is called again with the next turn."""
    async with bench.entered() as jobs:
        await bench.put(jobs, "again", "k")
        await bench.until(3)
    assert [one.turn for one in bench.seen] == [1, 2, 3]


async def a_job_may_begin_later(bench: _Bench) -> None:
    """A job with a delay does not begin before it, and holds up nobody."""
    async with bench.entered() as jobs:
        await bench.put(jobs, "note", "later", after_s=0.5)
        now = await bench.put(jobs, "note", "now")
        await bench.until(2)
    assert bench.seen[0].id == now


async def a_finished_step_is_not_done_again(bench: _Bench) -> None:
    """A step gives back what it gave the first time; what was committed with its checkpoint is committed once."""
    async with bench.entered() as jobs:
        bench.jobs = jobs
        await bench.put(jobs, "steps", "k")
        await bench.until(1)


async def a_cancelled_job_stops(bench: _Bench) -> None:
    """A job that waits never begins once it is cancelled, one that runs is stopped, and one that is over is left."""
    async with bench.entered() as jobs:
        running = await bench.put(jobs, "wait", "k")
        waiting = await bench.put(jobs, "note", "k")
        await bench.until(1)
        assert await asyncio.to_thread(jobs.cancel, waiting)
        assert await asyncio.to_thread(jobs.cancel, running)
        await bench.stopped.wait()
        assert not await asyncio.to_thread(jobs.cancel, "unknown")
        after = await bench.put(jobs, "note", "after")
        await bench.until(2)
    assert [one.id for one in bench.seen] == [running, after], "a cancelled job began"


async def an_erased_partition_is_forgotten(bench: _Bench) -> None:
    """Erasing a partition forgets its jobs: the same key is a new job. Others stay."""
    other = new_id()
    async with bench.entered() as jobs:
        first = await bench.put(jobs, "note", "k")
        await bench.put(jobs, "note", "k", partition=other)
        await bench.until(2)
        assert await asyncio.to_thread(jobs.erase, bench.partition) == 1
        assert await asyncio.to_thread(jobs.erase, bench.partition) == 0
        assert first == await bench.put(jobs, "note", "k")
        await bench.until(3)
        await bench.put(jobs, "note", "k", partition=other)
    assert [one.partition for one in bench.seen].count(other) == 1


async def a_schedule_must_be_one(bench: _Bench) -> None:
    """What is no cron expression is refused; a schedule can be replaced and ended."""
    name = bench.partition
    async with bench.entered() as jobs:

        def schedule(cron: str) -> None:
            jobs.schedule(name, cron, "note", ids=[], partition=name)

        for cron in ("every day", "* * *", "99 * * * *"):
            try:
                await asyncio.to_thread(schedule, cron)
            except UsageError:
                continue
            raise AssertionError(f"{cron!r} was accepted")
        for cron in ("0 3 * * *", "0 4 * * *", ""):
            await asyncio.to_thread(schedule, cron)


JOB_CHECKS: Final[Mapping[str, Callable[[_Bench], Awaitable[None]]]] = {
    check.__name__: check
    for check in (
        a_job_is_done_with_its_ids,
        a_key_is_one_job,
        one_partition_is_done_in_turn,
        a_job_may_go_on_later,
        a_job_may_begin_later,
        a_finished_step_is_not_done_again,
        a_cancelled_job_stops,
        an_erased_partition_is_forgotten,
        a_schedule_must_be_one,
    )
}
"""Every rule by its name."""
