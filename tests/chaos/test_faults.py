"""What may go wrong around a store: processes killed at any moment, full disks, rivals. Nothing acknowledged is lost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tokenspace.domain import Put, Scope
from tokenspace.errors import StoreUnavailable
from tokenspace.store import open_store
from tokenspace.store.scoped import EVERYWHERE
from tokenspace.testing.samples import BASE, USER, commit, rule, texts

STORM = Path(__file__).parent / "storm.py"
KILLS = int(os.environ.get("TOKENSPACE_KILLS", "300"))
SCOPES = [Scope(agent="storm"), Scope(agent="storm", tenant="t"), Scope(agent="storm", tenant="t", user="u")]


def storm(*args, timeout_s):
    done = subprocess.run(
        [sys.executable, STORM, *map(str, args)], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stderr


def acknowledged(acks):
    lines = [line.split() for line in acks.read_text().splitlines()]
    return [(SCOPES[int(scope)], id) for scope, id in lines]


@pytest.mark.slow
@pytest.mark.timeout(120 + KILLS)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_i4_no_acknowledged_revision_is_lost_to_kill_9(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path}/storm.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    kills = KILLS if kind == "sqlite" else max(20, KILLS // 10)
    acks = tmp_path / "acks"
    storm("kill", url, acks, kills, 1, timeout_s=60 + kills)
    store = open_store(url)
    logs = {scope: store.log(scope) for scope in SCOPES}
    kept = {(scope, made.id) for scope, log in logs.items() for made in log}
    said = acknowledged(acks)
    assert len(said) >= kills // 2, "the committers hardly came to commit"
    assert set(said) <= kept, "an acknowledged revision is gone"
    assert len(kept) - len(said) <= kills + len(SCOPES), "more than one unacknowledged revision for a kill"
    assert store.admin.verify() == []
    attempts = {attempt.revision for scope in SCOPES for attempt in store.attempts(scope)}
    assert attempts == {id for _, id in kept}, "half a revision: attempts and revisions differ"
    for scope in SCOPES:
        assert len(store.feedback(scope)) == len(store.cases(scope)), "half of a feedback with its case"
    if kind == "sqlite":
        with store.db.administering() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    commit(store, SCOPES[2], Put(entry=rule("life goes on")))
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_i2_two_processes_lose_no_edit(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path}/race.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    acks, commits = tmp_path / "acks", 15
    command = [sys.executable, STORM, "race", url, acks, str(commits)]
    racers = [subprocess.Popen([*command, str(number)]) for number in range(2)]
    assert [racer.wait(timeout=100) for racer in racers] == [0, 0]
    store = open_store(url)
    assert texts(store, SCOPES[0]) == sorted(f"{number}.{turn}" for number in range(2) for turn in range(commits))
    assert {(SCOPES[0], made.id) for made in store.log(SCOPES[0])} == set(acknowledged(acks))
    assert store.admin.verify() == []
    store.close()


def test_a_full_disk_loses_nothing_acknowledged(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    commit(store, USER, Put(entry=rule("before")))
    with store.db.reading(EVERYWHERE) as cursor:  # the one connection that is idle, and is taken again
        (pages,) = cursor.rows(_sql("PRAGMA page_count"))[0]
        cursor.text(f"PRAGMA max_page_count = {pages + 4}")
    acknowledged = []
    with pytest.raises(StoreUnavailable, match="full") as caught:
        acknowledged.extend(commit(store, USER, Put(entry=rule("x" * 2_000))) for _ in range(50))
    assert "free some space" in caught.value.hint
    made = len(acknowledged) + 1
    assert len(store.log(USER)) == made
    assert store.admin.verify() == []
    commit(store, USER, Put(entry=rule("after")))  # on a new connection, which has no limit
    assert len(store.log(USER)) == made + 1
    store.close()


def _sql(statement):
    from sqlalchemy import text

    return text(statement)


_QUOTA = """
import resource, signal, sys
from tokenspace.domain import Put
from tokenspace.errors import StoreUnavailable
from tokenspace.store import open_store
from tokenspace.testing.samples import USER, commit, rule
store = open_store(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    for number in range(200):
        print(commit(store, USER, Put(entry=rule("x" * 3_000))).id, flush=True)
except StoreUnavailable as error:
    print("StoreUnavailable:", error.hint)
"""


def test_a_write_beyond_the_quota_fails_closed(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    done = subprocess.run(
        [sys.executable, "-c", _QUOTA, url, "400000"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    *ids, last = done.stdout.splitlines()
    assert last.startswith("StoreUnavailable:")
    assert ids
    store = open_store(url)
    assert {made.id for made in store.log(USER)} >= set(ids)
    assert store.admin.verify() == []
    commit(store, USER, Put(entry=rule("after")))
    store.close()


def test_a_read_only_store_can_be_read(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    commit(store, USER, Put(entry=rule("a")))
    with store.db.reading(EVERYWHERE) as cursor:
        cursor.text("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable, match="readonly") as caught:
        commit(store, USER, Put(entry=rule("b")))
    assert "writable" in caught.value.hint
    assert texts(store, USER) == ["a"]
    store.close()


def test_a_writer_that_holds_the_file_is_named(tmp_path, monkeypatch):
    from tokenspace.store import sqlite

    pragmas = tuple(each.replace("15000", "50") for each in sqlite._PRAGMAS)
    monkeypatch.setattr(sqlite, "_PRAGMAS", pragmas)
    one, two = open_store(f"sqlite:///{tmp_path}/s.db"), open_store(f"sqlite:///{tmp_path}/s.db")
    commit(one, BASE, Put(entry=rule("a")))
    with one.db.writing(EVERYWHERE):
        with pytest.raises(StoreUnavailable, match="locked") as caught:
            commit(two, BASE, Put(entry=rule("b")))
        assert texts(two, BASE) == ["a"], "readers do not wait for a writer"
    assert "another process" in caught.value.hint
    commit(two, BASE, Put(entry=rule("b")))
    one.close()
    two.close()


def test_a_server_that_went_away_is_named_and_may_come_back(postgresql_url):
    import psycopg

    store = open_store(postgresql_url)
    commit(store, BASE, Put(entry=rule("a")))
    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                      "WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
    with pytest.raises(StoreUnavailable, match="PostgreSQL"):
        commit(store, BASE, Put(entry=rule("b")))
    commit(store, BASE, Put(entry=rule("b")))
    assert texts(store, BASE) == ["a", "b"]
    store.close()


def test_limits_are_as_the_tests_need_them():
    """RLIMIT_FSIZE and SIGXFSZ exist here: otherwise the quota test tests nothing."""
    assert hasattr(resource, "RLIMIT_FSIZE")
    assert hasattr(signal, "SIGXFSZ")
