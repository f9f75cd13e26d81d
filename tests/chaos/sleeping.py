"""Workers that sleep until all is settled, each killed at a random moment: python sleeping.py URL CALLS SCOPES KILLS SEED.

Workers are forked, so that importing is paid for once. Every call of the model leaves a line in the file CALLS: who
asked (the process), and a digest of what (the prompt). A call takes some milliseconds, several are under way at once.
At last one worker is let finish.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import croniter  # noqa: F401 - paid for before the forks, as dbos is
import dbos  # noqa: F401

from tokenspace import loop
from tokenspace.agents import ChatAgent
from tokenspace.budget import Budget
from tokenspace.config import Parts, utc_now
from tokenspace.domain import Edit, Entry, Feedback, Kind, Message, Profile, Put, Request, Scope, Signal, digest
from tokenspace.gates import GateSettings, ReleaseCheck, ReplayGate, Watch
from tokenspace.graders import build
from tokenspace.jobs.dbos import DbosJobs
from tokenspace.loop import Runtime
from tokenspace.models import ScriptedModel
from tokenspace.store import open_store
from tokenspace.testing.arena import RIGHT, WRONG, NoRecall
from tokenspace.working import SLEEP, Plan, Worker

BATCH, CONCURRENCY, CALL_S = 4, 2, 0.1
CASES, EDITS = 24, 6
PROFILE = Profile(model="sleeper", context_tokens=1_000_000, core_tokens=500_000)
LONGEST_LIFE_S = float(os.environ.get("TOKENSPACE_SLEEP_LIFE_S", "0.4"))


class Ideas:
    """Proposes the next of its rules, from the first correction that it is about: those of even number help."""

    reach = "all"

    def __init__(self) -> None:
        self.name = "ideas@1"

    async def propose(self, evidence, *, budget):
        tried = {op.entry.text for one in (*evidence.rejected, *evidence.held, *evidence.accepted) if one.edit
                 for op in one.edit.ops if isinstance(op, Put)}  # fmt: skip
        for number, text in enumerate(texts()):
            if text not in tried:
                entry = Entry(id=digest([str(evidence.scope), text]), kind=Kind.RULE, doc="rules", text=text)
                return Edit(ops=(Put(entry=entry),), evidence=(evidence.feedback[number // 2].id,))
        return None


def scopes(count: int) -> list[Scope]:
    return [Scope(agent="desk", tenant="acme", user=f"user{number}") for number in range(count)]


def texts() -> list[str]:
    return [f"help {number // 2}." if number % 2 == 0 else f"nothing {number}." for number in range(EDITS)]


def parts(url: str, calls: int) -> Parts:
    def answer(prompt, seed):
        asked = prompt.messages[-1].text
        os.write(calls, f"{os.getpid()} {asked.split()[1]} {digest([prompt.system, asked, seed])}\n".encode())
        asked = int(asked.split()[-1]) % (EDITS // 2)
        return RIGHT if f"help {asked}." in prompt.system else WRONG

    model = ScriptedModel(answer, profile=PROFILE, latency_s=CALL_S)
    run = Runtime(store=open_store(url), recall=NoRecall(), agent=ChatAgent(model), clock=utc_now)
    rules = GateSettings(operators=frozenset({"eve"}), alpha={2: 0.2, 3: 0.2, 4: 0.2}, batch=BATCH)
    gate = ReplayGate(run, build, settings=rules)
    release = ReleaseCheck(run, build, settings=rules)
    return Parts(
        runtime=run, gate=gate, watch=Watch(run, gate), release=release, graders=build, proposers=(Ideas(),)
    )  # fmt: skip


def teach(url: str, calls: int, count: int) -> None:
    """Cases for every scope: what was asked, and what would have been right."""
    desk = parts(url, calls)
    run = replace(desk.runtime, agent=ChatAgent(ScriptedModel(lambda *_: WRONG, profile=PROFILE)))
    for scope in scopes(count):
        for number in range(CASES):
            request = Request(messages=(Message(role="user", text=f"of {scope.user} question {number}"),))
            episode = asyncio.run(loop.act(run, scope, request, budget=Budget()))
            loop.observe(run, Feedback(
                scope=scope, episode=episode.id, principal="eve", signal=Signal.CORRECTION, value=RIGHT, at=utc_now()
            ))  # fmt: skip
    run.store.close()


async def work(url: str, calls: int, count: int, *, to_the_end: bool) -> None:
    desk = parts(url, calls)
    store = desk.runtime.store
    worker = Worker(desk, store.admin, store.workroom, agent="desk", plan=Plan(every_s=60))

    @asynccontextmanager
    async def make(handlers):
        jobs = DbosJobs(
            url, store.workroom, handlers, concurrency=CONCURRENCY, poll_s=0.02, beat_s=0.05, dead_s=0.3,
            lost=worker.stop,
        )  # fmt: skip
        async with jobs:
            for scope in scopes(count):
                ids = (scope.agent, scope.tenant, scope.user)
                await asyncio.to_thread(jobs.enqueue, SLEEP, ids, key="night", partition=str(scope))
            watching = asyncio.create_task(until_done(jobs)) if to_the_end else None
            yield jobs
            if watching:
                await watching

    async def until_done(jobs: DbosJobs) -> None:
        while await asyncio.to_thread(lambda: jobs.jobs(running=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        worker.stop()

    await worker.run(make)
    store.close()


def main() -> None:
    url, path, count, kills, seed = sys.argv[1:]
    logging.getLogger("tokenspace.jobs").setLevel(logging.CRITICAL)  # what is killed here does not end well
    calls = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    chance, killed = random.Random(int(seed)), 0
    open_store(url).close()  # loads the driver
    for _ in range(int(kills)):
        child = born(url, calls, int(count))
        began, patience = os.fstat(calls).st_size, time.monotonic() + chance.choice([0.3, 5, 5, 5])
        while os.fstat(calls).st_size == began and time.monotonic() < patience:
            time.sleep(0.01)  # until it asks the model; or killed while it begins
        time.sleep(chance.uniform(0, LONGEST_LIFE_S))
        os.kill(child, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert killed == int(kills), "a worker ended by itself"
    asyncio.run(work(url, calls, int(count), to_the_end=True))


def born(url: str, calls: int, count: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        asyncio.run(work(url, calls, count, to_the_end=False))
    except Exception as error:  # noqa: BLE001 - the last handler of a process that must not return
        sys.stderr.write(f"worker: {error!r}\n")
        sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
