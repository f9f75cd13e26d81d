"""Workers that are killed while they sleep: others go on, nothing finished is paid for again, nothing is lost or doubled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.chaos.sleeping import BATCH, CASES, CONCURRENCY, scopes, teach, texts

from tokenspace.jobs.queue import DbosQueue
from tokenspace.store import open_store

SLEEPING = Path(__file__).parent / "sleeping.py"
KILLS = int(os.environ.get("TOKENSPACE_SLEEP_KILLS", "20"))
SCOPES = max(4, KILLS // 4)


@pytest.mark.slow
@pytest.mark.timeout(120 + 8 * KILLS)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_i3_sleep_survives_kill_9(kind, tmp_path, request) -> None:
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    calls = tmp_path / "calls"
    teach(url, os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT), SCOPES)
    done = subprocess.run(
        [sys.executable, SLEEPING, url, calls, str(SCOPES), str(KILLS), "1"], capture_output=True, text=True,
        check=False, timeout=100 + 8 * KILLS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    paid_once(calls)
    everything_once(url)


def paid_once(calls: Path) -> None:
    """A finished call is repeated only where the kill came before it could be kept: those in flight at that moment."""
    lives: dict[str, list[str]] = {}
    for line in calls.read_text().splitlines():
        life, call = line.split(maxsplit=1)
        lives.setdefault(life, []).append(call)
    asked = Counter(call for life in lives.values() for call in life)
    later: set[str] = set()
    for life, calls_made in reversed(lives.items()):
        lost = later & set(calls_made)
        assert len(lost) <= BATCH * CONCURRENCY, f"{len(lost)} calls of worker {life} were made again"
        assert len(set(calls_made)) == len(calls_made), "a worker asked twice"
        later.update(calls_made)
    last = list(lives)[-1]
    repeated = sum(count - 1 for count in asked.values())
    print(f"{len(asked)} calls, {repeated} of them twice, by {len(lives)} workers; {len(lives[last])} by the last")  # noqa: T201
    assert len(lives) > KILLS // 3, "most workers were killed before they asked anything"
    assert len({call.split()[0] for call in asked}) == SCOPES, "a scope was forgotten"


def everything_once(url: str) -> None:
    """Every scope has learned what helps, each in one revision, and keeps all that it was told."""
    store = open_store(url)
    for scope in scopes(SCOPES):
        context = store.context(scope, store.heads(scope))
        assert sorted(entry.text for entry in context.entries) == texts()[::2]
        assert len(store.log(scope)) == len(texts()[::2]), "a revision was made twice"
        committed = [one.revision for one in store.attempts(scope) if one.revision]
        assert sorted(committed) == sorted(one.id for one in store.log(scope))
        assert len(store.episodes(scope)) == len(store.feedback(scope)) == len(store.cases(scope)) == CASES
    assert store.admin.verify() == []
    queue = DbosQueue(url, store.workroom)
    listed = queue.jobs(limit=10 * SCOPES)
    assert {one.state for one in listed} == {"done"}
    assert len({one.ids for one in listed}) == SCOPES, "a job was lost"
    queue.close()
    store.close()
