"""What a gateway does beside its requests: recall is there before it is wanted, and what is over is forgotten."""

from __future__ import annotations

import asyncio
import logging
import platform
import subprocess
import sys
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.gateway.test_inject import NOW, WordRecall, World, chat, example, said, user
from tokenspace.config import Settings
from tokenspace.domain import Put
from tokenspace.gateway import build, inject, resident
from tokenspace.gateway import upkeep as upkeep_module
from tokenspace.gateway.background import LOG
from tokenspace.gateway.seldom import Seldom
from tokenspace.gateway.upkeep import Upkeep
from tokenspace.gateway.wire import Caller, GatewaySettings, Upstream
from tokenspace.store import open_store
from tokenspace.testing.samples import USER, commit, rule

CALLER = Caller(rights=frozenset({"infer"}), scope=USER)


# ── recall ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def loads(monkeypatch):
    """How often recall was loaded."""
    made: list[WordRecall] = []

    def load() -> WordRecall:
        made.append(WordRecall())
        return made[-1]

    monkeypatch.setattr(build, "LedgerInjector", partial(inject.LedgerInjector, recall=load))
    return made


def built(path: Path, *entries) -> build.Built:
    url = f"sqlite:///{path}/store.db"
    store = open_store(url)
    commit(store, USER, *(Put(entry=entry) for entry in entries))
    store.close()
    settings = GatewaySettings(
        open_door=True, recall_deadline_s=5.0, upstreams=(Upstream(name="main", url="http://127.0.0.1:9/v1"),)
    )
    return build.build_gateway(Settings(store=url), settings, spool=None)


async def served(gateway: build.Built, work) -> None:
    for service in gateway.parts.services:
        await service.start()
    try:
        await work(gateway.parts.injector)
    finally:
        for service in reversed(gateway.parts.services):
            await service.stop()


async def until(check) -> None:
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 (there is no event)
            await asyncio.sleep(0.01)


def test_the_first_request_after_a_start_gets_what_is_recalled(tmp_path, loads):
    async def work(injector):
        await until(lambda: loads and injector.warm().done())
        asked = build.DIALECTS["chat"].read(chat(user("my parcel is lost")))
        injection = await injector.prepare(asked, CALLER)
        assert "Kestrel" in injection.anchors[0].text
        assert injector.counts["recall_not_ready"] == 0

    asyncio.run(served(built(tmp_path, example("lost parcel", "Kestrel")), work))
    assert len(loads) == 1


def test_a_relay_with_frozen_blocks_alone_never_loads_recall(tmp_path, loads, monkeypatch):
    looked = threading.Event()
    monkeypatch.setattr(Upkeep, "forget", lambda _: looked.set())  # what comes after it

    async def work(injector):
        await until(looked.is_set)
        await injector.prepare(build.DIALECTS["chat"].read(chat(user("hello"))), CALLER)

    asyncio.run(served(built(tmp_path, rule("Be brief.")), work))
    assert loads == []


def test_whoever_begins_to_teach_has_recall_loaded(tmp_path, loads):
    gateway = built(tmp_path)
    parts = gateway.recorder._listen._parts
    parts()
    assert gateway.parts.injector.warm().result(20) is loads[0]
    asyncio.run(gateway.parts.services[0].stop())


def test_starting_waits_for_nothing(tmp_path, loads):
    class Stuck:
        def __getattr__(self, _: str):
            raise AssertionError("it was asked before it was ready")

    async def work():
        upkeep = Upkeep(Stuck(), warm=lambda: None, keep_anchors_s=1, clock=lambda: NOW, after_s=3_600)
        await upkeep.start()
        await asyncio.sleep(0)
        await upkeep.stop()

    asyncio.run(work())


# ── anchors ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_was_injected_into_conversations_that_are_over_is_forgotten_and_others_are_kept(kind, tmp_path):
    world = World()
    if kind == "sqlite":
        world.store = open_store(f"sqlite:///{tmp_path}/s.db", clock=lambda: world.now)
        world.injector.close()
        world.injector = world.started()
    world.learn(example("lost parcel", "Kestrel"))
    old, new = chat(user("my parcel is lost")), chat(user("a parcel was lost"))
    assert world.sent(old) != old["messages"]
    world.injector.flush()
    upkeep = Upkeep(world.store, warm=lambda: None, keep_anchors_s=86_400, clock=lambda: world.now)
    world.later(86_000)
    running = world.sent(new)
    world.injector.flush()
    assert upkeep.forget() == 0
    world.later(1_000)
    assert upkeep.forget() == 1
    assert upkeep.forget() == 0
    world.restart()
    longer = chat(*new["messages"][1:], said("Kestrel"), user("thanks"))
    assert world.sent(longer)[: len(running)] == running
    world.injector.close()
    world.store.close()


def test_upkeep_forgets_by_itself_and_a_store_that_fails_stops_nothing():
    world = World()
    world.learn(example("lost parcel", "Kestrel"))
    world.sent(chat(user("my parcel is lost")))
    world.injector.flush()
    places = build.DIALECTS["chat"].read(chat(user("my parcel is lost"))).chain
    assert world.store.anchors(USER, places)
    world.later(200_000)
    failures = iter([True, False])
    drop = world.store.drop_anchors

    def failing(*args):
        if next(failures, False):
            raise OSError("the disk is full")
        return drop(*args)

    world.store.drop_anchors = failing
    upkeep = Upkeep(
        world.store, warm=lambda: None, keep_anchors_s=172_800, clock=lambda: world.now, after_s=0, every_s=0.01
    )

    async def work():
        await upkeep.start()
        await until(lambda: not world.store.anchors(USER, places))
        await upkeep.stop()

    asyncio.run(work())
    world.injector.close()


def test_anchors_are_kept_for_two_days_and_never_less_than_a_conversation_may_last():
    assert timedelta(seconds=GatewaySettings().keep_anchors_s) == timedelta(days=2)
    assert GatewaySettings().keep_anchors_s > inject.MAX_SESSION_S


# ── memory ──────────────────────────────────────────────────────────────────────────────────


def test_free_memory_is_given_back_after_work_and_not_where_nothing_was_done(monkeypatch):
    given, clock = list[float](), [0.0]
    monkeypatch.setattr(upkeep_module, "give_back", lambda: given.append(clock[0]))
    monkeypatch.setattr(upkeep_module, "GIVE_BACK_S", 0.001)
    monkeypatch.setattr(upkeep_module.time, "process_time", lambda: clock[0])
    turns = iter(range(1_000))
    upkeep = Upkeep(open_store("memory:"), warm=lambda: None, keep_anchors_s=1, clock=lambda: NOW, after_s=0)

    async def work():
        await upkeep.start()
        await until(lambda: next(turns) > 5)
        assert given == []
        clock[0] = 1.0
        await until(lambda: given == [1.0])
        await until(lambda: next(turns) > 15)
        await upkeep.stop()

    asyncio.run(work())
    assert given == [1.0]


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc", reason="only glibc keeps it"
)
def test_memory_that_was_free_in_pieces_is_no_longer_resident():
    program = """
from tokenspace.gateway.resident import few_arenas, give_back
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4
assert few_arenas()
pieces = [bytes(50_000) for _ in range(2_000)]
kept = pieces[::20]
del pieces
before = resident()
assert give_back()
assert resident() < before - 50_000, (before, resident())
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(resident, "_glibc", lambda: None)
    assert not resident.give_back()
    assert not resident.few_arenas()


# ── log lines ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def log():
    """A logger with a clock, and what it said."""
    made, lines, now = logging.Logger("test"), list[str](), [0.0]  # noqa: LOG001 - one of its own for each test
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    made.addHandler(handler)
    made.addFilter(Seldom(every_s=60, clock=lambda: now[0]))
    return made, lines, now


def test_the_first_line_is_said_and_then_one_a_minute_with_the_count_of_the_others(log):
    logger, lines, now = log
    for number in range(1_000):
        logger.error("a record is lost: %s", number)
    assert lines == ["a record is lost: 0"]
    now[0] = 61
    logger.error("a record is lost: %s", "100 % of it")
    now[0] = 130
    logger.error("a record is lost: %s", "again")
    assert lines[1:] == [
        "a record is lost: 100 % of it (999 more like it since the last line)",
        "a record is lost: again",
    ]


def test_lines_of_other_kinds_are_not_held_back(log):
    logger, lines, _ = log
    logger.error("a record is lost: %s", 1)
    logger.warning("a record is lost: %s", 2)
    logger.error("recall failed")
    assert len(lines) == 3


def test_kinds_are_bounded(log):
    logger, lines, _ = log
    for number in range(1_000):
        logger.error(f"kind {number}")  # noqa: G004 - each is a template of its own
    assert len(lines) == 1_000
    assert len(logger.filters[0]._lines) <= 256


def test_failed_records_are_counted_each_and_said_once(caplog):
    from tests.gateway import test_record as records

    LOG.addFilter(Seldom())
    recorder = records.recorder(open_store("memory:"))
    recorder._kept = lambda _: 1 / 0
    records.run(recorder, *(records.record() for _ in range(20)))
    assert recorder.stats().failed == 20
    assert sum("a record is lost" in line for line in caplog.messages) == 1
