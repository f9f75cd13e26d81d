"""Opening stores: addresses, files, schema versions, and what goes wrong."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tokenspace.domain import ApiKey, Heads, Outcome, Put, Reading, Run, Session, Usage, Verdict
from tokenspace.errors import BadData, SchemaMismatch, StoreUnavailable, UsageError
from tokenspace.store import MemoryStore, open_store
from tokenspace.store.copying import move
from tokenspace.store.verify import verify
from tokenspace.testing.samples import ACCEPT, BASE, NOW, TENANT, USER, a_canary, commit, rule, texts


def test_memory_is_a_url_too():
    assert isinstance(open_store("memory:"), MemoryStore)


@pytest.mark.parametrize("url", ["", "store.db", "mysql://x", "sqlite://", "sqlite:///", "sqlite:/x", "http://x"])
def test_another_url_is_refused_with_a_hint(url):
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert "sqlite:///" in caught.value.hint


def test_a_new_file_is_readable_by_its_owner_only(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/new.db")
    commit(store, BASE, Put(entry=rule("a")))
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    store.close()


def test_the_pragmas_are_set(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/new.db")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "busy_timeout": 15000}
    with store.db.administering() as connection:
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}
    assert found == wanted
    store.close()


def test_what_was_committed_is_there_after_reopening(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    store = open_store(url)
    made = commit(store, USER, Put(entry=rule("a")))
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.heads(USER)
    again = open_store(url)
    assert again.heads(USER) == Heads(user=made.id)
    assert again.revision(USER, made.id) == made
    again.close()


def test_an_old_sqlite_is_refused(tmp_path, monkeypatch):
    import pysqlite3.dbapi2

    monkeypatch.setattr(pysqlite3.dbapi2, "sqlite_version_info", (3, 51, 2))
    with pytest.raises(StoreUnavailable, match="may corrupt"):
        open_store(f"sqlite:///{tmp_path}/s.db")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreUnavailable, match="nowhere") as caught:
        open_store(f"sqlite:///{tmp_path}/nowhere/s.db")
    assert "directory" in caught.value.hint


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n" * 1000)
    with pytest.raises(BadData, match=r"notes\.txt is not a tokenspace store"):
        open_store(f"sqlite:///{path}")
    assert path.read_text() == "buy milk\n" * 1000


def _execute(url, *statements):
    store = open_store(url)
    with store.db.administering(owner=True) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    store.close()


def test_a_newer_schema_is_refused_and_not_touched(store_url, request):
    if store_url == "memory:":
        pytest.skip("it keeps nothing")
    if store_url.startswith("postgresql"):
        store_url = request.getfixturevalue("postgresql_url")
    _execute(store_url, "UPDATE tokenspace_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="9999") as caught:
        open_store(store_url)
    assert "upgrade" in caught.value.hint


def everything(store):
    """All that a store holds, read through its protocol."""
    seen = {}
    for scope in store.admin.scopes():
        for branch in ("", *store.branches(scope)):
            heads = store.heads(scope, branch=branch)
            context = store.context(scope, heads)
            kept = [store.episodes(scope), store.feedback(scope), store.cases(scope), store.attempts(scope)]
            seen[scope, branch] = [context, store.log(scope, branch=branch), store.blame(scope, heads), kept]
    return seen


@pytest.fixture
def old_url(tmp_path):
    """A file that version 0001 wrote."""
    return _written_by("0001", tmp_path)


def _written_by(version, folder):
    import pysqlite3.dbapi2

    old = pysqlite3.dbapi2.connect(str(folder / f"{version}.db"))
    old.executescript((Path(__file__).parent / "data" / f"v{version}.sql").read_text())
    old.close()
    return f"sqlite:///{folder}/{version}.db"


def test_i4_an_older_ledger_still_verifies_and_reads_as_it_was(old_url):
    store = open_store(old_url)
    assert store.admin.verify() == []
    assert texts(store, USER) == ["as alice says", "more"]
    assert texts(store, USER, branch="draft") == ["as alice says", "more", "on the draft"]
    last, first = store.log(USER)
    assert last.verdict == ACCEPT
    assert first.verdict == Verdict(
        decision="accept", basis="tested", reason="it helps", gate="replay@1", tier=2, fixes=4, pairs=5, e_benefit=5.3,
        usage=Usage(calls=13, input_tokens=6214, usd=0.25), cases=("0f" * 16, "by name"),
    )  # fmt: skip
    committed, held = store.attempts(USER)
    assert (committed.revision, held.verdict) == (last.id, replace(first.verdict, decision="defer"))
    assert [case.recorded for case in store.cases(USER)] == [()]
    assert store.outcome(USER, "o") == Outcome(key="o", case="c", run=Run(output="x"))
    assert store.session(USER, "s") == Session(id="s", scope=USER, heads=store.heads(USER), last_seen=NOW)
    assert store.canaries(USER, ended=True) == []
    assert [one.id for one in store.unseen(USER, proposer="p@1")] == ["g"]
    store.close()


def test_an_older_store_is_migrated_once_and_takes_canaries(old_url):
    open_store(old_url).close()
    store = open_store(old_url)
    canary = a_canary(store, TENANT)
    store.save_canary(canary)
    store.add_reading(canary, Reading(episode="e", treated=True, score=1.0, at=NOW))
    assert store.canaries(USER) == [canary]
    commit(store, USER, Put(entry=rule("new")))
    assert store.admin.verify() == []
    store.close()


@pytest.mark.parametrize("version", ["0001", "0002"])
def test_i4_an_older_store_takes_facts_and_what_it_committed_to_stays_valid(version, tmp_path):
    url = _written_by(version, tmp_path)
    open_store(url).close()
    store = open_store(url)
    assert store.admin.verify() == []
    old = store.context(USER, store.heads(USER)).entries
    assert {(one.key, one.valid_from) for one in old} == {("", None)}
    fact = replace(rule("We open at 9."), key="opening hours", valid_from=NOW)
    commit(store, USER, Put(entry=fact))
    assert store.context(USER, store.heads(USER)).by_id[fact.id] == fact
    assert store.admin.verify() == []
    for column, value in (("key", "'closing hours'"), ("key", "NULL"), ("valid_from", "1"), ("valid_from", "NULL")):
        with store.db.administering() as connection:
            connection.exec_driver_sql(f"UPDATE entry SET {column} = {value} WHERE key = 'opening hours'")
            assert verify(connection) != []
            connection.rollback()
    assert store.admin.verify() == []
    store.close()


@pytest.mark.parametrize("version", ["0001", "0002"])
def test_an_older_store_takes_what_the_gateway_keeps(version, tmp_path):
    url = _written_by(version, tmp_path)
    open_store(url).close()
    store = open_store(url)
    assert texts(store, USER)[:2] == ["as alice says", "more"]
    assert (store.admin.keys(), store.episode_of(USER, "a"), dict(store.anchors(USER, ["c"]))) == ([], None, {})
    store.note_answer(USER, "a", "e")
    store.save_anchor(USER, "c", "body")
    store.admin.save_key(ApiKey(hash="a" * 64, rights=frozenset({"infer"}), at=NOW))
    assert (store.episode_of(USER, "a"), dict(store.anchors(USER, ["c"]))) == ("e", {"c": "body"})
    assert store.admin.verify() == []
    store.close()


def test_i4_a_ledger_of_version_0002_keeps_its_canaries_and_evidence(tmp_path):
    store = open_store(_written_by("0002", tmp_path))
    (canary,) = store.canaries(USER, ended=True)
    assert (canary.state, canary.reason) == ("stopped", "it harmed")
    assert store.readings(canary) == [Reading(episode="e", treated=True, score=0.25, at=NOW)]
    assert [len(found) for found in (store.episodes(USER), store.feedback(USER), store.cases(USER))] == [1, 1, 1]
    assert store.session(USER, "s").heads == store.heads(USER)
    assert store.attempts(USER)[0].revision == store.heads(USER).user
    store.close()


def test_an_older_store_on_postgresql_is_migrated_with_all_that_it_holds(old_url, postgresql_url):
    source, target = open_store(old_url), open_store(postgresql_url)
    move(source, target)
    before = everything(source)
    with target.db.administering(owner=True) as connection:
        for statement in (
            "ALTER TABLE revision DROP COLUMN mark",
            "ALTER TABLE head DROP COLUMN erasures",
            "DROP TABLE keyring",
            "DROP TABLE erasure",
            "DROP TABLE access",
            "DROP TABLE worker",
            "DROP TABLE job_step",
            "DROP TABLE account",
            "DROP TABLE api_key",
            "DROP TABLE injection",
            "DROP TABLE answer_id",
            "DROP TABLE reading",
            "DROP TABLE canary",
            "ALTER TABLE entry DROP COLUMN key",
            "ALTER TABLE entry DROP COLUMN valid_from",
            "UPDATE tokenspace_version SET version_num = '0001'",
        ):
            connection.exec_driver_sql(statement)
    source.close()
    target.close()
    again = open_store(postgresql_url)
    assert everything(again) == before
    assert again.admin.verify() == []
    assert again.canaries(USER) == []
    again.close()


def test_a_database_of_another_program_is_refused(tmp_path):
    import pysqlite3.dbapi2

    other = pysqlite3.dbapi2.connect(str(tmp_path / "other.db"))
    other.execute("CREATE TABLE episode (title TEXT)")
    other.close()
    with pytest.raises(SchemaMismatch, match="another program: episode"):
        open_store(f"sqlite:///{tmp_path}/other.db")


def test_the_migrations_make_the_schema_that_the_code_knows(store_url, request):
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from tokenspace.store import schema

    if store_url == "memory:":
        pytest.skip("it has none")
    store = open_store(store_url)
    with store.db.administering() as connection:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata)
    store.close()
    assert [each for each in differences if "comment" not in str(each[0])] == []
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.SCHEMA_VERSION


def test_a_store_of_the_newest_schema_is_opened_without_the_library_that_migrates(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    open_store(url).close()
    code = (
        f"import sys; from tokenspace.store import open_store; open_store({url!r}); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_openers_at_the_same_moment_create_one_schema(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    errors = []

    def open_and_close():
        try:
            open_store(url).close()
        except Exception as error:  # noqa: BLE001 - for the main thread to see
            errors.append(error)

    threads = [threading.Thread(target=open_and_close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_an_unreachable_server_is_named(tmp_path):
    with pytest.raises(StoreUnavailable, match="PostgreSQL") as caught:
        open_store(f"postgresql://nobody@/none?host={tmp_path}")
    assert "server runs" in caught.value.hint


def test_threads_share_a_store_and_lose_nothing(empty_store):
    store = empty_store()
    errors = []

    def work(number):
        from tokenspace.errors import StaleHead

        for turn in range(5):
            while True:
                try:
                    commit(store, USER, Put(entry=rule(f"{number}.{turn}")))
                    break
                except StaleHead:
                    continue
                except Exception as error:  # noqa: BLE001 - for the main thread to see
                    errors.append(error)
                    return

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert texts(store, USER) == sorted(f"{number}.{turn}" for number in range(4) for turn in range(5))
    assert store.admin.verify() == []
    store.close()
