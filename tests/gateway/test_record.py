"""What is kept of the traffic, and what becomes of it when the queue, the database or the disk give way."""

from __future__ import annotations

import gzip
import json
import stat
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tokenspace.config import utc_now
from tokenspace.context import case_from
from tokenspace.domain import Feedback, Heads, Message, Request, Scope, Signal, new_id
from tokenspace.errors import NotFound, StoreUnavailable, UsageError
from tokenspace.gateway import record as recording
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.errors import IdTaken
from tokenspace.gateway.kept import keep, plain_body
from tokenspace.gateway.record import EpisodeRecorder
from tokenspace.gateway.said import Listener, Said
from tokenspace.gateway.spool import Spool
from tokenspace.gateway.wire import Asked, Caller, Injection, Record
from tokenspace.loop import Runtime
from tokenspace.store import MemoryStore, open_store
from tokenspace.store.codec import dumps, loads

RECORDINGS = Path(__file__).parent / "recordings"
SCOPE = Scope(agent="desk", tenant="acme", user="alice")
NOW = utc_now().replace(microsecond=0)
GOOD = json.dumps({
    "id": "chatcmpl-1", "model": "m-1", "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Kestrel"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}).encode()  # fmt: skip
CALL = (
    b'data: {"id":"chatcmpl-2","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"c1",'
    b'"type":"function","function":{"name":"find","arguments":"{\\"order\\":"}}]}}]}\n\n'
    b'data: {"id":"chatcmpl-2","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"7}"}}]}}]}\n\n'
)


def asked(text="my parcel never came", **more):
    request = Request(messages=(Message(role="user", text=text),), **more)
    return Asked(model="m", stream=False, request=request, chain=("c",), anchors=(0,))


def record(body=GOOD, *, id=None, scope=SCOPE, key="k1", session=None, text="my parcel never came", **more):
    given = {
        "episode": id or new_id(), "caller": Caller(key=key, rights=frozenset({"infer"}), scope=scope, session=session),
        "dialect": "chat", "asked": asked(text), "injection": Injection(heads=Heads(base="b" * 32), shown=("e1",)),
        "status": 200, "ended": "done", "body": body, "latency_s": 0.5, "at": NOW,
    }  # fmt: skip
    return Record(**{**given, **more})


def said(target, value="Kestrel", signal=Signal.CORRECTION, scope=SCOPE, **more):
    given = {"scope": scope, "episode": "", "principal": "p", "signal": signal, "value": value, "at": NOW}
    return Said(target=target, feedback=Feedback(**{**given, **more}))


def listener(store):
    runtime = Runtime(store=store, recall=None, agent=None, clock=utc_now)
    return Listener(store, lambda: SimpleNamespace(runtime=runtime, watch=None))


def recorder(store, **more):
    return EpisodeRecorder(store, DIALECTS, listen=listener(store), **more)


def run(recorder, *records, close=True):
    recorder.start()
    told = [recorder.put(one) for one in records]
    if close:
        assert recorder.close(deadline_s=20)
    return told


class Flaky:
    """A store that is away for a while."""

    def __init__(self, store):
        self.store, self.gone, self.calls = store, False, 0

    def __getattr__(self, name):
        if name not in {"record_all", "episode_of", "episode", "feedback", "add_feedback"}:
            return getattr(self.store, name)

        def call(*args, **named):
            self.calls += 1
            if self.gone:
                raise StoreUnavailable("gone", hint="wait")
            return getattr(self.store, name)(*args, **named)

        return call


def eventually(check, timeout_s=20):
    end = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


# ── what is kept ────────────────────────────────────────────────────────────────────────────


def test_i13_an_episode_holds_the_request_without_what_was_injected_and_the_answer_as_parsed():
    store, one = MemoryStore(), record(session="s1")
    run(recorder(store), one)
    kept = store.episode(SCOPE, one.episode)
    assert kept.request == one.asked.request
    assert (kept.output, kept.run.model, kept.run.usage.input_tokens, kept.run.usage.calls) == ("Kestrel", "m-1", 9, 1)
    assert (kept.heads.base, kept.shown, kept.session, kept.run.latency_s) == ("b" * 32, ("e1",), "s1", 0.5)
    assert store.episode_of(SCOPE, "chatcmpl-1") == one.episode


def test_every_recorded_answer_of_every_dialect_can_be_kept():
    for path in sorted(RECORDINGS.iterdir()):
        dialect, stream = path.name.split("_")[0], path.suffix == ".sse"
        body = path.read_bytes()
        status = 429 if "_429" in path.name else 200
        kept = keep(record(body, dialect=dialect, stream=stream, status=status), DIALECTS)
        assert loads(type(kept), dumps(kept)) == kept
        failed = any(word in path.name for word in ("429", "broken", "error", "failed"))
        assert bool(kept.episode.run.error) == failed, path.name
        if failed:
            assert kept.episode.output == ""


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"status": 500, "body": b"oh no"}, True),
        ({"status": 0, "ended": "broken", "body": b""}, True),
        ({"ended": "broken", "body": CALL, "stream": True}, True),
        ({"ended": "gone", "body": CALL[:200], "stream": True}, True),
        ({"ended": "done", "body": b"", "stream": True}, True),
        ({"ended": "gone", "body": CALL, "stream": True}, False),
        ({"ended": "gone"}, False),
        ({"ended": "done"}, False),
    ],
)
def test_only_a_delivered_run_has_an_answer_and_leaving_after_a_whole_tool_call_is_delivered(more, error):
    episode = keep(record(**more), DIALECTS).episode
    assert bool(episode.run.error) == error
    assert bool(episode.output or episode.run.tool_calls) != error


def test_what_came_of_a_broken_run_stays_readable():
    episode = keep(record(CALL, ended="broken", stream=True), DIALECTS).episode
    assert episode.run.messages[0].tool_calls[0].arguments == '{"order":7}'


def test_a_failed_run_is_never_evidence_of_success():
    store, one = MemoryStore(), record(status=500, body=b"oh no")
    run(recorder(store), one)
    listen = listener(store)
    for signal, value in ((Signal.LABEL, True), (Signal.SCORE, 1.0)):
        with pytest.raises(UsageError, match="nothing to approve"):
            listen(said(one.episode, value, signal))
        approval = Feedback(scope=SCOPE, episode=one.episode, principal="p", signal=signal, value=value, at=NOW)
        assert case_from(approval, store.episode(SCOPE, one.episode)) is None
    assert listen(said(one.episode))[1]
    assert listen(said(one.episode, False, Signal.LABEL))[1]


def test_whoever_the_provider_does_not_let_in_writes_nothing_through_an_open_door():
    store = MemoryStore()
    guest, known = record(key="", status=401, ended="refused"), record(key="k1", status=401, ended="refused")
    made = recorder(store)
    run(made, guest, known)
    assert [one.id for one in store.episodes(SCOPE)] == [known.episode]
    assert made.stats().skipped == 1


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
        ("", bytes),
    ],
)
def test_compressed_answers_are_read(encoding, pack):
    assert keep(record(pack(GOOD), encoding=encoding), DIALECTS).episode.output == "Kestrel"


def test_an_encoding_that_cannot_be_read_is_said_and_kept_as_no_answer():
    episode = keep(record(b"\x1b\x00", encoding="br"), DIALECTS).episode
    assert (episode.output, episode.request) == ("", asked().request)
    assert "'br' cannot be read" in episode.run.error
    assert plain_body(b"no gzip", "gzip") is None


def test_an_answer_that_would_fill_the_memory_is_not_unpacked():
    bomb = zlib.compressobj(wbits=31)
    data = b"".join(bomb.compress(bytes(1_000_000)) for _ in range(70)) + bomb.flush()
    assert plain_body(data, "gzip") is None


def test_no_secret_that_can_be_seen_is_recorded():
    secret = "sk-proj-" + "a1" * 20
    body = GOOD.replace(b"Kestrel", f"use {secret}".encode())
    one = record(body, text=f"my key is {secret}")
    one = replace(one, asked=replace(one.asked, request=replace(one.asked.request, tools=({"name": secret},))))
    kept = keep(one, DIALECTS)
    assert secret not in dumps(kept)
    assert "[redacted: an API key]" in kept.episode.output


def test_texts_that_no_database_takes_are_mended():
    store = MemoryStore()
    one = record(text="a\0b" + "é" * 600_000)
    run(recorder(store), one)
    text = store.episode(SCOPE, one.episode).request.query
    assert text.startswith("a\N{REPLACEMENT CHARACTER}b")
    assert "bytes not kept" in text


# ── the queue ───────────────────────────────────────────────────────────────────────────────


def test_an_overflow_drops_the_record_and_counts_it():
    made = recorder(MemoryStore(), queue_records=2)
    assert [made.put(record()) for _ in range(4)] == [True, True, False, False]
    assert made.stats().dropped == 2
    made = recorder(MemoryStore(), queue_bytes=len(GOOD) * 2)
    assert [made.put(record()) for _ in range(3)] == [True, False, False]


def test_one_record_that_cannot_be_kept_takes_no_other_along():
    store = MemoryStore()
    made, bad, good = recorder(store), record(dialect="klingon"), record()
    run(made, bad, good)
    assert [one.id for one in store.episodes(SCOPE)] == [good.episode]
    assert (made.stats().failed, made.stats().written) == (1, 1)
    assert made.stats().last_error


def test_feedback_on_an_episode_in_the_queue_is_kept_after_it():
    store, made, one = MemoryStore(), None, record()
    made = recorder(store)
    made.put(one)
    assert made.behind(SCOPE)
    first, second = made.hold(said(one.episode)), made.hold(said("chatcmpl-1", False, Signal.LABEL))
    nobody = made.hold(said("chatcmpl-9"))
    made.start()
    assert first.result(20)[0].episode == second.result(20)[0].episode == one.episode
    with pytest.raises(NotFound):
        nobody.result(20)
    assert made.close()
    assert not made.behind(SCOPE)
    assert len(store.feedback(SCOPE)) == 2


def test_records_wait_for_company_but_neither_feedback_nor_the_end_waits_with_them(monkeypatch):
    monkeypatch.setattr(recording, "LINGER_S", 600.0)
    store, ones = MemoryStore(), [record() for _ in range(3)]
    made = recorder(store)
    run(made, *ones[:2], close=False)
    assert made.hold(said(ones[0].episode)).result(20)
    assert {one.id for one in store.episodes(SCOPE)} == {one.episode for one in ones[:2]}
    made.put(ones[2])
    assert made.close(deadline_s=20)
    assert len(store.episodes(SCOPE)) == 3


def test_a_crowded_queue_does_not_wait_for_company(monkeypatch):
    monkeypatch.setattr(recording, "LINGER_S", 600.0)
    made = recorder(MemoryStore(), queue_records=2)
    run(made, record(), record(), close=False)
    eventually(lambda: made.stats().written == 2)
    assert made.close()


def test_the_same_feedback_twice_is_kept_once_and_its_id_stands_for_nothing_else():
    store, one = MemoryStore(), record()
    run(recorder(store), one)
    listen, first = listener(store), said(one.episode, id="f" * 32)
    assert [listen(first)[1], listen(first)[1]] == [True, False]
    with pytest.raises(IdTaken, match="used for other feedback"):
        listen(said(one.episode, "Basalt", id="f" * 32))
    assert len(store.feedback(SCOPE)) == 1


def test_closing_writes_what_waits_and_takes_nothing_more():
    store = MemoryStore()
    made = recorder(store)
    run(made, *(record() for _ in range(300)))
    assert len(store.episodes(SCOPE)) == 300
    assert not made.put(record())
    assert made.close()


# ── without a database ──────────────────────────────────────────────────────────────────────


def test_what_cannot_be_written_is_spooled_privately_and_written_once_in_order_when_the_database_is_back(tmp_path):
    store, path = Flaky(MemoryStore()), tmp_path / "deep" / "spool"
    made = recorder(store, spool=Spool(path))
    store.gone = True
    made.start()
    ones = [record() for _ in range(150)]
    for one in ones:
        made.put(one)
    held = made.hold(said(ones[0].episode))
    assert held.result(20) is None
    eventually(lambda: made.stats().spooled == 151)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.stats().away
    assert made.behind(Scope(agent="any"))
    store.gone = False
    eventually(lambda: not made.stats().away)
    assert {one.id for one in store.episodes(SCOPE)} == {one.episode for one in ones}
    assert [one.episode for one in store.feedback(SCOPE)] == [ones[0].episode]
    assert (path.stat().st_size, made.stats().replayed) == (0, 151)
    made.put(record())
    assert made.close()
    assert len(store.episodes(SCOPE)) == 151


def test_a_spool_outlives_the_process_and_a_line_that_was_cut_off_costs_only_itself(tmp_path):
    store, path = Flaky(MemoryStore()), tmp_path / "spool"
    store.gone = True
    ones = [record(), record()]
    made = recorder(store, spool=Spool(path))
    run(made, *ones)
    assert made.stats().spooled == 2
    lines = path.read_bytes()
    path.write_bytes(lines + lines.splitlines()[0][:100])
    store.gone = False
    again = recorder(store, spool=Spool(path))
    again.start()
    eventually(lambda: not again.stats().away)
    assert again.close()
    assert {one.id for one in store.episodes(SCOPE)} == {one.episode for one in ones}
    assert (again.stats().replayed, again.stats().failed) == (2, 1)


def test_writing_a_spool_twice_changes_nothing(tmp_path):
    store, path = Flaky(MemoryStore()), tmp_path / "spool"
    store.gone = True
    one = record()
    run(recorder(store, spool=Spool(path)), one)
    store.gone, lines = False, path.read_bytes()
    for _ in range(2):
        path.write_bytes(lines)
        made = recorder(store, spool=Spool(path))
        made.start()
        eventually(lambda made=made: not made.stats().away)
        made.close()
    assert [kept.id for kept in store.episodes(SCOPE)] == [one.episode]


def test_without_a_spool_or_with_a_full_one_the_loss_is_counted_and_said(tmp_path):
    store = Flaky(MemoryStore())
    store.gone = True
    for spool in (None, Spool(tmp_path / "small", limit_bytes=10), Spool(tmp_path / "small" / "no folder")):
        made = recorder(store, spool=spool)
        made.start()
        made.put(record())
        waiting = made.hold(said("x"))
        with pytest.raises(StoreUnavailable):
            waiting.result(20)
        eventually(lambda made=made: made.stats().unspooled == 2)
        assert "spool" in made.stats().last_error
        assert made.close()
        if spool and spool.path.name == "small":
            spool.path.touch()


def test_two_processes_never_share_a_spool(tmp_path):
    first, second = Spool(tmp_path / "spool"), Spool(tmp_path / "spool")
    first.append(["a"])
    with pytest.raises(StoreUnavailable, match="another process"):
        second.append(["b"])
    first.close()
    second.append(["b"])
    assert [line for _, line in second.next(10)] == ["a", "b"]
    second.close()


def test_a_long_spool_is_read_in_parts(tmp_path):
    spool = Spool(tmp_path / "spool")
    lines = [str(number) * 300_000 for number in range(10)]
    spool.append(lines)
    found = []
    while part := spool.next(2):
        found += [line for _, line in part]
        spool.done(part[-1][0])
    assert found == lines
    assert spool.size_bytes == 0
    spool.close()


# ── chaos on a real file ────────────────────────────────────────────────────────────────────


def test_a_locked_database_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tokenspace.store.sqlite._PRAGMAS", ("PRAGMA busy_timeout = 100", "PRAGMA journal_mode = WAL"))
    monkeypatch.setattr("tokenspace.store.sqlite.BUSY_TIMEOUT_MS", 100)
    import pysqlite3.dbapi2 as sqlite

    store = open_store(f"sqlite:///{tmp_path}/store.db")
    made = recorder(store, spool=Spool(tmp_path / "spool"))
    made.start()
    other = sqlite.connect(str(tmp_path / "store.db"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    one = record()
    made.put(one)
    eventually(lambda: made.stats().spooled == 1)
    assert "locked" in made.stats().last_error
    other.execute("ROLLBACK")
    other.close()
    eventually(lambda: not made.stats().away)
    assert store.episode(SCOPE, one.episode).output == "Kestrel"
    assert made.close()
    store.close()


def test_a_database_that_is_deleted_and_restored_loses_nothing(tmp_path):
    path, away = tmp_path / "store.db", tmp_path / "away.db"
    store = open_store(f"sqlite:///{path}")
    made = recorder(store, spool=Spool(tmp_path / "spool"))
    made.start()
    ones = [record(), record(), record()]
    made.put(ones[0])
    eventually(lambda: made.stats().written == 1)
    store.db.hooks.copy(away)
    for name in tmp_path.glob("store.db*"):
        name.unlink()
    made.put(ones[1])
    eventually(lambda: made.stats().spooled == 1)
    assert "is gone" in made.stats().last_error
    away.rename(path)
    made.put(ones[2])
    eventually(lambda: not made.stats().away and made.stats().queued == 0)
    assert made.close()
    store.close()
    again = open_store(f"sqlite:///{path}")
    assert {one.id for one in again.episodes(SCOPE)} == {one.episode for one in ones}
    assert again.admin.verify() == []
    again.close()


@pytest.mark.slow
def test_a_database_server_that_throws_everybody_out_costs_nothing(tmp_path, postgresql_url, postgresql_server):
    import psycopg

    store = open_store(postgresql_url)
    made = recorder(store, spool=Spool(tmp_path / "spool"))
    made.start()
    ones = [record() for _ in range(6)]
    for one in ones:
        made.put(one)
        eventually(lambda: not made.stats().queued)
        with psycopg.connect(postgresql_server, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [postgresql_url.partition("?")[0].rpartition("/")[2]],
            )
    eventually(lambda: not made.stats().away)
    assert made.close()
    assert made.stats().spooled > 0
    assert {one.id for one in store.episodes(SCOPE)} == {one.episode for one in ones}
    store.close()


def test_a_writer_that_hangs_does_not_hold_up_the_end_and_nothing_is_lost(tmp_path):
    go, store = threading.Event(), MemoryStore()
    keep_one = store.record_all
    store.record_all = lambda some, answers: (go.wait(20), keep_one(some, answers=answers))
    made = recorder(store, spool=Spool(tmp_path / "spool"))
    ones = [record() for _ in range(3)]
    made.start()
    for one in ones:
        made.put(one)
    eventually(lambda: made._hand)
    assert made.close(deadline_s=0.1)
    go.set()
    made._thread.join(20)
    again = recorder(store, spool=made._spool)
    again.start()
    eventually(lambda: not again.stats().away)
    again.close()
    assert {one.id for one in store.episodes(SCOPE)} == {one.episode for one in ones}


FULL = """
import resource, sys, time
sys.path.insert(0, {tests!r})
from tests.gateway.test_record import MemoryStore, Spool, open_store, record, recorder, eventually, SCOPE
store = open_store("sqlite:///{folder}/store.db")
made = recorder(store, spool=Spool(__import__("pathlib").Path("{folder}/spool"))) if {spool} else recorder(store)
made.start()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
ones = [record(text="x" * 40_000) for _ in range(20)]
for one in ones:
    made.put(one)
eventually(lambda: made.stats().queued == 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
eventually(lambda: not made.stats().away)
last = record()
made.put(last)
made.close()
stats = made.stats()
kept = {{one.id for one in store.episodes(SCOPE)}}
assert last.episode in kept
assert len(kept) == 21 - stats.unspooled, (len(kept), stats)
assert stats.unspooled and stats.last_error
assert store.admin.verify() == []
print("ok", stats)
"""


@pytest.mark.slow
@pytest.mark.parametrize("spool", [True, False])
def test_a_full_disk_costs_records_that_are_counted_and_nothing_else(tmp_path, spool):
    root = Path(__file__).parents[2]
    code = FULL.format(tests=str(root), folder=tmp_path, spool=spool)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok")
