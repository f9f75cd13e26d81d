"""Forgetting what waits in a spool, in any process, while the gateway goes on."""

from __future__ import annotations

import time

import pytest

from tests.gateway.test_admin import World
from tests.gateway.test_record import SCOPE, record, recorder, said
from tokenspace.domain import Scope
from tokenspace.domain.erasure import Subject
from tokenspace.errors import StoreUnavailable
from tokenspace.gateway import spool as spools
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.kept import keep
from tokenspace.gateway.record import _line
from tokenspace.gateway.spool import Spool, guard_of, open_here, purge
from tokenspace.gateway.spooled import lines_about, spool_eraser
from tokenspace.recall import HashEmbedder
from tokenspace.store import MemoryStore

BOB = Scope(agent="desk", tenant="acme", user="bob")
TENANT = Scope(agent="desk", tenant="acme")
USER = Subject(kind="user", scope=SCOPE)


def line(scope=SCOPE, text="my parcel never came", **more) -> str:
    return _line(keep(record(scope=scope, text=text, **more), DIALECTS))


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "spool.jsonl")
    yield made
    made.close()


def test_lines_are_overwritten_where_they_stand_and_no_other_moves(spool):
    lines = [line(), line(BOB), line(), line(BOB, "the last")]
    spool.append(lines)
    size = spool.path.stat().st_size
    assert purge(spool.path, lines_about(USER), dry_run=True) == 2
    assert spool.path.read_bytes().count(b"alice") == 2
    assert purge(spool.path, lines_about(USER)) == 2
    assert (spool.path.stat().st_size, spool.path.read_bytes().count(b"alice")) == (size, 0)
    assert [text for _, text in spool.next(10)] == [lines[1], lines[3]]
    assert purge(spool.path.with_name("none.jsonl"), lines_about(USER)) == 0


def test_reading_goes_past_what_is_gone_however_much_it_is(spool, monkeypatch):
    monkeypatch.setattr(spools, "_CHUNK", 64)
    lines = [line() for _ in range(5)] + [line(BOB)]
    spool.append(lines)
    purge(spool.path, lines_about(USER))
    ((end, text),) = spool.next(10)
    assert text == lines[-1]
    spool.done(end)
    assert spool.size_bytes == 0
    spool.append([line()])
    purge(spool.path, lines_about(USER))
    assert spool.next(10) == []


def test_what_the_reader_has_in_hand_is_waited_for(spool, monkeypatch):
    monkeypatch.setattr(spools, "PATIENCE_S", 0.0)
    spool.append([line(), line(BOB)])
    ((end, _),) = spool.next(1)
    with pytest.raises(StoreUnavailable, match="is being written"):
        purge(spool.path, lines_about(USER))
    spool.append([line(BOB)])  # the reader's own lines do not end it
    with pytest.raises(StoreUnavailable, match="is being written"):
        purge(spool.path, lines_about(USER))
    spool.done(end)
    assert purge(spool.path, lines_about(USER)) == 1
    assert guard_of(spool.path).stat().st_size == 0


def test_whose_a_line_is(spool):
    episode = "e" * 32
    about = Subject(kind="episode", scope=SCOPE, roots={SCOPE: {"episode": frozenset({episode})}})
    mine, other = line(id=episode), line(id="f" * 32)
    on_it, above = _line(said(episode, "yes")), _line(said("f" * 32, scope=TENANT, principal="alice"))
    base = _line(said("f" * 32, scope=Scope(agent="desk"), principal="alice"))  # somebody of that name
    seen = {
        name: [text for text in (mine, other, on_it, above, base) if lines_about(subject, what)(text.encode())]
        for name, subject, what in (
            ("user", USER, ""),
            ("episode", about, ""),
            ("text", Subject(kind="text", scope=TENANT), "PARCEL  never"),
            ("elsewhere", Subject(kind="text", scope=BOB), "parcel never"),
        )
    }
    assert seen == {
        "user": [mine, other, on_it, above], "episode": [mine, on_it], "text": [mine, other], "elsewhere": [],
    }  # fmt: skip


@pytest.mark.parametrize("damaged", ["{", "[]", '{"kept": {"episode": {"scope": {"agent": ""}}}}', '{"kept": 1}'])
def test_a_damaged_line_goes_with_any(spool, damaged):
    spool.append([damaged, line(BOB)])
    assert purge(spool.path, lines_about(USER)) == 1
    assert len(spool.next(10)) == 1


def test_what_was_purged_is_not_written_when_the_database_is_back(spool):
    store, gone = MemoryStore(), record()
    spool.append([_line(keep(gone, DIALECTS)), line(BOB)])
    assert spool_eraser(spool.path)(USER, "", False) == {"spool": 1}
    made = recorder(store, spool=spool)
    made.start()
    made.put(record(scope=BOB))
    until = time.monotonic() + 30
    while spool.size_bytes and time.monotonic() < until:
        time.sleep(0.01)
    assert made.close()
    assert store.admin.scopes() == [BOB]
    assert made.stats().failed == 0


def test_the_admin_api_forgets_what_waits_in_the_spool_of_its_gateway(spool, request, monkeypatch):
    monkeypatch.setattr("tokenspace.recall.default_embedder", HashEmbedder)
    spool.append([line(), line(BOB)])
    assert spool.path in open_here()
    world = World()
    for close in (world.bridge.close, world.app.state.close):
        request.addfinalizer(close)
    world.agent(tenant="acme", user="alice").act("where is it", choices=["Kestrel", "Basalt"])
    for dry_run in (True, False):
        answer = world.call(
            "POST", "/forget", params={"user": "alice"}, json={"kind": "user", "dry_run": dry_run}
        ).json()
        assert answer["rows"]["spool"] == 1
    assert b"alice" not in spool.path.read_bytes()
