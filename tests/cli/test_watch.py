"""`tokenspace learn --watch`: learns in every scope by itself, within a budget, and can be killed at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.cli.commands import invoke

from tokenspace import loop
from tokenspace.budget import Budget, Reservation
from tokenspace.config import Settings, build, utc_now
from tokenspace.domain import Attempt, Feedback, Heads, Message, Request, Scope, Signal, Usage, Verdict
from tokenspace.errors import AuthFailed, StoreUnavailable
from tokenspace.store import MemoryStore
from tokenspace.testing.samples import an_episode
from tokenspace.watching import Pace, Watcher, fresh, spent

USERS = [Scope(agent="desk", tenant="acme", user=name) for name in ("alice", "bob")]
OTHER = Scope(agent="other", tenant="acme", user="alice")


def teach(store, scope, question="my parcel never came", right="Kestrel"):
    request = Request(messages=(Message(role="user", text=question),), choices=("Kestrel", "Basalt"))
    episode = an_episode(scope=scope, request=request)
    store.record(episode)
    said = Feedback(
        scope=scope, episode=episode.id, principal="p", signal=Signal.CORRECTION, value=right, at=utc_now()
    )  # fmt: skip
    run = loop.Runtime(store=store, recall=None, agent=None, clock=utc_now)
    loop.observe(run, said)
    return said


class World:
    def __init__(self, **pace):
        self.store, self.told = MemoryStore(), []
        self.parts = build(Settings(agent="desk", principal="ana"), model="nearest", store=self.store)
        self.pace = Pace(**{"every_s": 0.01, "sleep_every_s": 0, **pace})

    def watch(self, agent="desk", until=lambda told: True, parts=None, admin=None, limit_s=30):
        async def main():
            watcher = Watcher(
                parts or self.parts, admin or self.store.admin, agent=agent, pace=self.pace, tell=self.told.append
            )
            work = asyncio.create_task(watcher.run())
            async with asyncio.timeout(limit_s):
                while not until(self.told):  # noqa: ASYNC110 - what is told has no event
                    await asyncio.sleep(0.01)
                watcher.stop()
                await work

        asyncio.run(main())
        return [one.kind for one in self.told]


def learned(count):
    return lambda told: sum(one.kind == "learned" for one in told) >= count


def test_it_learns_in_every_scope_of_its_agent_and_of_no_other():
    world = World()
    for scope in (*USERS, OTHER):
        teach(world.store, scope)
    kinds = world.watch(until=learned(2))
    assert (kinds[0], kinds[-1], kinds.count("learned")) == ("began", "ended", 2)
    assert [len(world.store.log(scope)) for scope in (*USERS, OTHER)] == [1, 1, 0]
    world.watch(agent=None, until=learned(3))
    assert len(world.store.log(OTHER)) == 1


def test_where_nothing_is_new_nothing_is_tried():
    world = World()
    teach(world.store, USERS[0])
    world.watch(until=learned(1))
    before = world.store.attempts(USERS[0])
    assert not fresh(world.parts, USERS[0])
    asyncio.run(Watcher(world.parts, world.store.admin, agent="desk", pace=world.pace).look())
    assert world.store.attempts(USERS[0]) == before


def test_it_sleeps_now_and_then():
    world = World(sleep_every_s=0.05)
    teach(world.store, USERS[0])
    teach(world.store, USERS[0], right="Basalt")
    world.watch(until=lambda told: any(one.kind in ("slept", "learned") for one in told))
    assert world.store.attempts(USERS[0])


def test_i12_what_an_hour_has_cost_is_read_from_the_attempts_and_so_outlives_the_process():
    world = World(calls=5)
    now, verdict = utc_now(), Verdict(decision="reject", usage=Usage(calls=2, input_tokens=3))
    for number, age in enumerate((timedelta(minutes=5), timedelta(minutes=50), timedelta(minutes=70))):
        world.store.save_attempt(
            Attempt(scope=USERS[0], key=str(number), proposer="p", heads=Heads(), verdict=verdict, at=now - age)
        )
    assert spent(world.store, USERS[0], since=now - timedelta(hours=1)).calls == 4
    watcher = Watcher(world.parts, world.store.admin, agent="desk", pace=world.pace)
    assert watcher._budget(USERS[0]).left("calls") == 1
    assert watcher._budget(USERS[1]).left("calls") == 5


def test_a_budget_that_is_spent_stops_its_scope_and_no_other():
    world = World(calls=0)
    proposer = world.parts.proposers[0]

    class Costly(type(proposer)):
        async def propose(self, evidence, *, budget: Budget):
            if evidence.scope == USERS[0]:
                budget.reserve(Reservation(calls=1))
            return await super().propose(evidence, budget=budget)

    for scope in USERS:
        teach(world.store, scope)
    kinds = world.watch(until=learned(1), parts=replace(world.parts, proposers=(Costly(),)))
    assert "waiting" in kinds
    assert [len(world.store.log(scope)) for scope in USERS] == [0, 1]


def test_a_model_that_refuses_its_key_holds_up_one_scope_for_a_while():
    world = World()

    class Locked(type(world.parts.proposers[0])):
        async def propose(self, evidence, *, budget):
            if evidence.scope == USERS[0]:
                raise AuthFailed("no key", hint="give one")
            return await super().propose(evidence, budget=budget)

    for scope in USERS:
        teach(world.store, scope)
    world.watch(until=learned(1), parts=replace(world.parts, proposers=(Locked(),)))
    waits = [one for one in world.told if one.kind == "waiting"]
    assert [one.scope for one in waits] == [USERS[0]]


def test_a_database_that_restarts_is_waited_for(monkeypatch):
    monkeypatch.setattr("tokenspace.watching.AGAIN_S", 0.05)
    world = World()
    teach(world.store, USERS[0])
    gone = [True, True]

    class Admin:
        def scopes(self, agent):
            if gone:
                gone.pop()
                raise StoreUnavailable("gone", hint="wait")
            return world.store.admin.scopes(agent)

    kinds = world.watch(until=learned(1), admin=Admin())
    assert kinds[:4] == ["began", "waiting", "waiting", "learned"]
    assert "back" in kinds


# ── as a process ────────────────────────────────────────────────────────────────────────────


def begin(folder, *args, **more):
    command = [sys.executable, "-m", "tokenspace", "learn", "--watch", "--every", "0.1", "--json", *args]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


@pytest.mark.slow
def test_as_a_process_it_tells_in_lines_of_json_and_ends_in_order_on_sigterm(project: Path):
    child = begin(project)
    assert json.loads(child.stdout.readline())["event"] == "began"
    invoke("ask", "where is my card", "--choice", "Kestrel", "--choice", "Basalt", "--tenant", "acme", "--user", "bob")
    invoke("feedback", "last", "--correct", "Basalt", "--tenant", "acme", "--user", "bob")
    told = json.loads(child.stdout.readline())
    assert (told["event"], told["scope"], told["decision"]) == ("learned", "desk/acme/bob", "accept")
    assert told["revision"]
    child.send_signal(signal.SIGTERM)
    rest, errors = child.communicate(timeout=60)
    assert (child.returncode, errors) == (0, "")
    assert json.loads(rest.splitlines()[-1])["event"] == "ended"


@pytest.mark.slow
def test_it_ends_with_whoever_started_it(project: Path):
    child = begin(project, "--until-eof", stdin=subprocess.PIPE)
    child.stdout.readline()
    child.communicate(timeout=60)  # closes standard input
    assert child.returncode == 0


@pytest.mark.slow
def test_i3_killed_at_any_moment_it_goes_on_and_commits_nothing_twice(project: Path):
    from tokenspace.store import open_store

    store = open_store(f"sqlite:///{project}/.tokenspace/store.db")
    scope = Scope(agent="desk", tenant="acme", user="carol")
    said = [teach(store, scope, f"question number {number}") for number in range(60)]
    rounds = 0
    while len(store.log(scope)) < len(said):
        assert (rounds := rounds + 1) < 40, "it does not come on"
        child = begin(project, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        before, end = len(store.log(scope)), time.monotonic() + 60
        while len(store.log(scope)) < min(before + 7, len(said)):
            assert time.monotonic() < end
            time.sleep(0.005)
        child.kill()
        child.communicate()
    assert rounds > 3
    taught = [one.edit.evidence[0] for one in store.log(scope)]
    assert sorted(taught) == sorted(one.id for one in said)
    assert store.admin.verify() == []
    store.close()


def test_every_agent_goes_with_watch(project: Path):
    assert "goes with --watch" in invoke("learn", "--every-agent", code=2).stderr
