"""A read on PostgreSQL is one round trip, and leaves nothing behind on its connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tokenspace.errors import StoreUnavailable
from tokenspace.store import open_store, roundtrip, rowlevel
from tokenspace.store.scoped import EVERYWHERE
from tokenspace.testing.samples import OTHERS, USER, an_episode

WHOSE = "SELECT current_setting('tokenspace.scope', true), current_user"


@pytest.fixture
def store(postgresql_url: str) -> Iterator[Any]:
    made = open_store(postgresql_url)
    made.record(an_episode(USER, id="e"))
    yield made
    made.close()


def ask(store: Any, reach: Any, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    """Run words on a connection of the pool as `Cursor` does."""
    with store.db.reading(reach) as cursor:
        return store.db.hooks.read(cursor.raw, None, reach, sql, values).fetchall()


def test_i8_a_read_says_whose_it_is_and_nothing_is_left_of_it(store: Any) -> None:
    assert ask(store, USER, WHOSE) == [("desk/acme/alice", rowlevel.APP)]
    assert ask(store, OTHERS[1], WHOSE) == [("desk/globex/alice", rowlevel.APP)]
    assert ask(store, EVERYWHERE, WHOSE) == [("", rowlevel.ADMIN)]
    with store.db.reading(USER) as cursor:
        connection = cursor.raw.driver_connection
        assert connection.info.transaction_status.name == "IDLE"
        assert connection.execute(WHOSE).fetchone() == ("", rowlevel.APP)


def test_i8_a_scope_that_cannot_be_set_reads_nothing(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenspace.store.postgresql._settings", lambda _: {"no.such\nname": "x"})
    with pytest.raises(Exception, match="invalid configuration parameter name"):
        store.episodes(USER)
    monkeypatch.undo()
    assert len(store.episodes(USER)) == 1


def test_an_error_takes_its_connection_with_it_and_the_next_read_works(store: Any) -> None:
    before = list(store.db._idle)
    with pytest.raises(Exception, match="division by zero"):
        ask(store, USER, "SELECT 1 / %(by)s::int", by=0)
    assert not set(map(id, before)) & set(map(id, store.db._idle))
    assert len(store.episodes(USER)) == 1


def test_a_connection_that_the_server_closed_is_no_store(store: Any) -> None:
    with pytest.raises(StoreUnavailable, match="PostgreSQL"):
        ask(store, USER, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert len(store.episodes(USER)) == 1


def test_values_reach_the_server_as_they_are(store: Any) -> None:
    sql = "SELECT %(text)s::text, %(number)s::int8, %(raw)s::bytea, %(none)s::text, %(text)s::text, '50%%'"
    for number in (1, -(2**15) - 1, 2**40):
        text = "it's $1 %s \\ %(number)s é"
        (found,) = ask(store, USER, sql, text=text, number=number, raw=b"\0\xff", none=None)
        assert found == (text, number, b"\0\xff", None, text, "50%")


def test_a_large_statement_is_sent_whole(store: Any) -> None:
    text = "x" * 5_000_000
    assert ask(store, USER, "SELECT %(text)s::text", text=text) == [(text,)]


def test_statements_beyond_the_limit_are_run_unprepared(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roundtrip, "MAX_PREPARED", 3)
    for number in range(6):
        assert ask(store, USER, f"SELECT {number}, %(given)s::int", given=7) == [(number, 7)]
    with store.db.reading(USER) as cursor:
        found = cursor.raw.driver_connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert found[0] <= 3


def test_reads_warn_of_nothing(store: Any) -> None:
    heard: list[str] = []
    with store.db.reading(USER) as cursor:
        cursor.raw.driver_connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    store.episodes(USER)
    store.heads(USER)
    store.admin.keys()
    assert heard == []
