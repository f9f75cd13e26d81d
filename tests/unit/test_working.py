"""Workers ask for each job once, do it in turn, and go on where they were stopped."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tests.cli.test_watch import OTHER, USERS, teach

from tokenspace.budget import Budget
from tokenspace.config import Settings, build
from tokenspace.domain import Job, Scope
from tokenspace.errors import AuthFailed, BudgetExceeded, NotFound, StaleHead, StoreUnavailable
from tokenspace.jobs import InlineJobs
from tokenspace.jobs import inline as inline_module
from tokenspace.store import MemoryStore
from tokenspace.working import LEARN, SLEEP, SLEEP_ALL, TURNS, Plan, Worker


class World:
    def __init__(self, **plan):
        self.store, self.told, self.put = MemoryStore(), [], []
        self.parts = build(Settings(agent="desk", principal="ana"), model="nearest", store=self.store)
        self.plan = Plan(**{"every_s": 0.01, **plan})

    def worker(self, agent="desk"):
        return Worker(
            self.parts, self.store.admin, self.store.workroom, agent=agent, plan=self.plan, tell=self.told.append
        )

    def run(self, until, agent="desk", worker=None):
        async def main():
            one = worker or self.worker(agent)

            @asynccontextmanager
            async def make(handlers):
                async with InlineJobs(self.store.workroom, handlers, concurrency=2) as jobs:
                    enqueue = jobs.enqueue

                    def noted(kind, ids, **more):
                        self.put.append((kind, tuple(ids), more["key"]))
                        return enqueue(kind, ids, **more)

                    jobs.enqueue = noted
                    yield jobs

            work = asyncio.create_task(one.run(make))
            async with asyncio.timeout(30):
                while not until():  # noqa: ASYNC110 - what is told has no event
                    await asyncio.sleep(0.01)
                one.stop()
                await work

        asyncio.run(main())

    def count(self, kind):
        return sum(one.kind == kind for one in self.told)


def test_it_learns_in_every_scope_of_its_agent_and_asks_for_each_job_once():
    world = World()
    for scope in (*USERS, OTHER):
        teach(world.store, scope)
    world.run(lambda: world.count("learned") == 2)
    assert [len(world.store.log(scope)) for scope in (*USERS, OTHER)] == [1, 1, 0]
    assert (world.told[0].kind, world.told[-1].kind) == ("began", "ended")
    asked = [job for job in world.put if job[0] == LEARN]
    assert {ids for _, ids, _ in asked} == {("desk", "acme", "alice"), ("desk", "acme", "bob")}
    assert len(asked) == len(set(asked)) == 2
    world.run(lambda: world.count("learned") == 3, agent=None)
    assert len(world.store.log(OTHER)) == 1


def test_it_sleeps_after_so_many_pieces_of_feedback():
    world = World(sleep_after=2)
    for answer in ("Kestrel", "Basalt", "Kestrel"):
        teach(world.store, USERS[0], right=answer)
    teach(world.store, USERS[1])
    world.run(lambda: {job[0] for job in world.put} == {LEARN, SLEEP})
    slept = {job for job in world.put if job[0] == SLEEP}
    assert slept == {(SLEEP, ("desk", "acme", "alice"), "after 2")}


def test_everybody_sleeps_when_the_schedule_says_so(monkeypatch):
    class Soon(datetime):
        """A clock just before three at night."""

        began = time.monotonic()

        @classmethod
        def now(cls, tz=None):
            since = timedelta(seconds=time.monotonic() - cls.began)
            return datetime(2026, 1, 1, 2, 59, 59, 800_000, tzinfo=UTC) + since

    monkeypatch.setattr(inline_module, "datetime", Soon)
    world = World(sleep_cron="0 3 * * *", every_s=60)
    for scope in USERS:
        teach(world.store, scope)
    world.run(lambda: sum(job[0] == SLEEP for job in world.put) == 2)
    assert [job[1] for job in world.put if job[0] == SLEEP_ALL] == [("desk",)]


def test_a_finished_job_is_not_done_again():
    world = World()
    teach(world.store, USERS[0])
    world.run(lambda: world.count("learned") == 1)
    job = Job(id="x", kind=LEARN, ids=("desk", "acme", "alice"), partition="p")
    worker, made = world.worker(), []

    async def main():
        async with InlineJobs(world.store.workroom, {}) as jobs:
            worker._jobs = jobs
            worker._ready.set()

            async def work():
                made.append(1)

            await worker._once(job, work)
            await worker._once(job, work)

    asyncio.run(main())
    assert made == [1]


def test_a_worker_that_is_stopped_leaves_the_rest_to_the_next_turn():
    world = World()
    for question in ("my parcel never came", "a stone of mine is missing", "where is it?"):
        teach(world.store, USERS[0], question)
    worker, job = world.worker(), Job(id="x", kind=LEARN, ids=("desk", "acme", "alice"), partition="p")
    worker.stop()
    from tokenspace.watching import learned

    assert asyncio.run(worker._work(job, learned, "learned")) == 0.0
    assert len(world.store.log(USERS[0])) == 1
    assert world.count("learned") == 1


@pytest.mark.parametrize(
    ("error", "turn", "expected"),
    [
        (BudgetExceeded(spent=1, asked=1, limit=1, unit="calls"), 1, 300.0),
        (StaleHead("moved"), 1, 1.0),
        (AuthFailed("no key"), 1, 60.0),
        (AuthFailed("no key"), 3, 180.0),
        (StoreUnavailable("gone"), 1, 60.0),
        (AuthFailed("no key"), TURNS, None),
        (NotFound("erased"), 1, None),
    ],
)
def test_after_an_error_a_job_goes_on_later_and_not_for_ever(error, turn, expected):
    world = World()

    async def failing(parts, scope, *, budget):
        assert scope == USERS[0]
        raise error
        yield

    job = Job(id="x", kind=LEARN, ids=("desk", "acme", "alice"), partition="p", turn=turn)
    assert asyncio.run(world.worker()._work(job, failing, "learned")) == expected
    assert world.count("waiting") == 1


def test_i12_all_scopes_of_an_agent_can_share_a_limit():
    world = World(calls=3, whole_agent=True)
    spent = []

    async def spending(parts, scope, *, budget):
        from tokenspace.budget import Reservation
        from tokenspace.domain import Usage

        budget.settle(budget.reserve(Reservation(calls=2)), Usage(calls=2))
        spent.append(scope)
        return
        yield

    for scope in USERS:
        job = Job(id=str(scope), kind=LEARN, ids=(scope.agent, scope.tenant, scope.user), partition="p")
        asyncio.run(world.worker()._work(job, spending, "learned"))
    assert spent == [USERS[0]]
    assert world.told[-1].kind == "waiting"


def test_a_store_that_is_away_is_waited_for():
    world = World()

    class Away(MemoryStore):
        def scopes(self, agent=None):
            raise StoreUnavailable("gone for now")

    worker = Worker(world.parts, Away(), world.store.workroom, agent="desk", plan=world.plan, tell=world.told.append)
    world.run(lambda: world.count("waiting") == 1, worker=worker)
    assert world.told[-1].kind == "ended"


def test_a_plan_without_limits_shares_nothing():
    from tokenspace.working import hourly

    assert type(hourly(MemoryStore().workroom, Scope(agent="a"), Plan().limits)) is Budget


@pytest.mark.slow
def test_a_users_jobs_are_erased_from_a_queue_on_postgresql(postgresql_url):
    from tokenspace.domain.erasure import Subject
    from tokenspace.jobs.dbos import DbosJobs
    from tokenspace.jobs.queue import DbosQueue, has_queue
    from tokenspace.store import open_store
    from tokenspace.working import queue_eraser

    store = open_store(postgresql_url)
    scope = Scope(agent="desk", tenant="acme", user="ann")
    erase, subject = queue_eraser(store), Subject(kind="user", scope=scope)
    assert not has_queue(postgresql_url)
    assert erase(subject, "", False) == {}

    async def main():
        async with DbosJobs(postgresql_url, store.workroom, {}, poll_s=60) as jobs:
            for name in ("ann", "bob"):
                ids = ["desk", "acme", name]
                await asyncio.to_thread(jobs.enqueue, "learn", ids, key="k", partition=f"desk/acme/{name}", after_s=600)

    asyncio.run(main())
    assert erase(subject, "", True) == {"job": 1}
    assert erase(subject, "", False) == {"job": 1}
    queue = DbosQueue(postgresql_url, store.workroom)
    assert [one.ids for one in queue.jobs()] == [("desk", "acme", "bob")]
    queue.close()
    store.close()
