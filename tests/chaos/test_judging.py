"""Processes that are killed while they judge: nothing is paid for twice, and nothing is committed twice or by accident."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.chaos.judging import CASES, TIERS, arena, texts

from tokenspace.store import open_store
from tokenspace.testing.arena import SCOPES

JUDGING = Path(__file__).parent / "judging.py"
KILLS = int(os.environ.get("TOKENSPACE_JUDGE_KILLS", "12"))


@pytest.fixture
def desk(tmp_path):
    """A store with cases for each tier, and the file that the calls of its model are counted in."""
    url, calls = f"sqlite:///{tmp_path}/s.db", tmp_path / "calls"
    file = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for tier in TIERS:
        world = arena(url, tier, file)
        world.taught(CASES)
        world.run.store.close()
    yield url, calls
    os.close(file)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_i3_judging_survives_kill_9(desk, tmp_path) -> None:
    (url, calls), chance, killed = desk, random.Random(1), 0
    command = [sys.executable, str(JUDGING), url, str(calls)]
    for _ in range(KILLS):
        child = subprocess.Popen(command)
        before, patience = calls.stat().st_size, time.monotonic() + 60
        while calls.stat().st_size == before and child.poll() is None and time.monotonic() < patience:
            time.sleep(0.005)  # until it has begun to judge, or is done with everything
        time.sleep(chance.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    assert subprocess.run(command, check=False, timeout=120).returncode == 0
    paid, outcomes = calls.stat().st_size, sum(len(rows(tmp_path, tier)) for tier in TIERS)
    assert outcomes <= paid <= outcomes + killed, f"{paid} calls for {outcomes} outcomes, and {killed} were killed"
    committed_once(url)


@pytest.mark.slow
def test_i2_two_processes_that_judge_the_same_edits_commit_each_once(desk) -> None:
    url, calls = desk
    rivals = [subprocess.Popen([sys.executable, str(JUDGING), url, str(calls)]) for _ in range(2)]
    assert [rival.wait(timeout=120) for rival in rivals] == [0, 0]
    committed_once(url)


def committed_once(url: str) -> None:
    """What helps is served to the user, and was on trial for everybody, once each; nothing else is anywhere."""
    helpful, (user, everybody) = texts()[::2], (SCOPES[tier] for tier in TIERS)
    store = open_store(url)
    context = store.context(user, store.heads(user))
    assert sorted(entry.text for entry in context.entries) == helpful
    assert len(store.log(user)) == len(helpful)
    assert store.log(everybody) == []
    canaries = store.canaries(everybody, ended=True)
    assert len({one.revision for one in canaries}) == len(canaries) == len(helpful), "an edit was admitted twice"
    assert store.admin.verify() == []
    store.close()


def rows(folder: Path, tier: int) -> list[tuple[object, ...]]:
    """Outcomes of a scope, as they lie in the file."""
    import pysqlite3.dbapi2 as driver

    scope = SCOPES[tier]
    with driver.connect(folder / "s.db") as raw:
        found = raw.execute(
            'SELECT o.key FROM outcome o JOIN branch b ON b.id = o.branch WHERE b.tenant = ? AND b."user" = ?',
            (scope.tenant, scope.user),
        ).fetchall()
    raw.close()
    return found
