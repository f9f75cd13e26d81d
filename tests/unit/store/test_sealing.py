"""Sealed bodies: bound to their row, useless without their key, and what happens when a key is destroyed or missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tokenspace.domain import (
    Attempt,
    Case,
    Episode,
    Feedback,
    GraderSpec,
    Heads,
    Message,
    Outcome,
    Request,
    Run,
    Scope,
    Signal,
    Verdict,
)
from tokenspace.domain.erasure import Subject
from tokenspace.errors import CorruptLedger, NotFound, StoreUnavailable, UsageError
from tokenspace.store import open_store
from tokenspace.store.bodies import SEALED, count_sealed, seal_older, texts
from tokenspace.store.copying import backup, move
from tokenspace.store.keyfiles import SIGNING, KeyFolder, MasterKey
from tokenspace.store.schema import metadata
from tokenspace.store.sealing import as_text, is_sealed
from tokenspace.testing.samples import BASE, NOW, TENANT, USER

CANARY = "marmalade-7731"
OTHER = Scope(agent=USER.agent, tenant=USER.tenant, user="bert")


def an_episode(scope=USER, id="e", text=CANARY):
    asked = Request(messages=(Message(role="user", text=f"{text} ✓"),))
    return Episode(id=id, scope=scope, heads=Heads(), request=asked, run=Run(output=f"about {text}"), at=NOW)


def fill(store, scope=USER):
    """One row in every table whose bodies are sealed, each with the canary."""
    store.record(an_episode(scope))
    said = Feedback(id="f", scope=scope, episode="e", principal="p", signal=Signal.TEXT, value=CANARY, at=NOW)
    case = Case(
        id="c", scope=scope, request=an_episode(scope).request, grader=GraderSpec(name="exact", expected=CANARY),
        cluster="c", sources=("f", "e"), at=NOW,
    )  # fmt: skip
    store.add_feedback(said, case)
    store.save_attempt(
        Attempt(scope=scope, key="k", proposer="p@1", heads=Heads(), verdict=Verdict(reason=CANARY), at=NOW)
    )
    store.save_outcome(scope, Outcome(key="o", case="c", run=Run(output=CANARY)))
    store.save_anchor(scope, "a", CANARY)


def read(store, scope=USER):
    """All of it, through the store's protocol."""
    outcome = store.outcome(scope, "o")
    return [
        [one.request.messages[0].text for one in store.episodes(scope)],
        [one.value for one in store.feedback(scope)],
        [one.grader.expected for one in store.cases(scope)],
        [one.verdict.reason for one in store.attempts(scope)],
        [] if outcome is None else [outcome.run.output],
        list(store.anchors(scope, ["a"]).values()),
    ]


WHOLE = [[f"{CANARY} ✓"], *[[CANARY]] * 5]
NOTHING = [[]] * 6


def url(folder, name="s.db"):
    return f"sqlite:///{folder}/{name}"


def keys(folder):
    return KeyFolder(folder / "keys").names()


def traces(folder, word=CANARY):
    """Files of a folder that hold a word, their write-ahead logs included."""
    return sorted(path.name for path in Path(folder).glob("*.db*") if word.encode() in path.read_bytes())


@pytest.fixture(params=["sqlite", "postgresql"])
def sealed(request, tmp_path):
    """A store on each database, with its own folder of keys."""
    where = url(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    store = open_store(where, keys=tmp_path / "keys")
    yield store
    store.close()


# ── what is kept ────────────────────────────────────────────────────────────────────────────


def test_what_a_user_says_is_read_back_and_is_nowhere_in_the_database(sealed):
    fill(sealed)
    assert read(sealed) == WHOLE
    with sealed.db.administering() as connection:
        held = [str(row) for table in metadata.sorted_tables for row in connection.execute(table.select())]
    assert held
    assert not [row for row in held if CANARY in row]
    assert sealed.admin.verify() == []


def test_no_file_of_a_sqlite_store_holds_a_word_of_it(tmp_path):
    store = open_store(url(tmp_path))
    fill(store)
    assert traces(tmp_path) == []
    store.close()
    assert traces(tmp_path) == []
    again = open_store(url(tmp_path))
    assert read(again) == WHOLE
    again.close()


def test_a_pinned_case_stays_sealed(sealed):
    fill(sealed)
    assert sealed.pin(USER, "c").pinned
    (case,) = sealed.cases(USER)
    assert case.pinned
    assert count_sealed(sealed.db, USER)["replay_case"] == (1, 1)


def test_what_is_shared_is_not_sealed_and_makes_no_key(sealed, tmp_path):
    for scope in (BASE, TENANT):
        fill(sealed, scope)
        assert set(count_sealed(sealed.db, scope).values()) == {(0, 1)}
        assert read(sealed, scope) == WHOLE
    assert keys(tmp_path) == []


def test_each_user_has_an_own_key_whose_file_names_nobody(sealed, tmp_path):
    fill(sealed)
    fill(sealed, OTHER)
    found = keys(tmp_path)
    assert len(found) == 2
    assert not any(part in name for name in found for part in (USER.user, OTHER.user))


def test_every_body_of_a_scope_can_be_looked_through_in_the_clear(sealed):
    fill(sealed)
    found = list(texts(sealed.db, USER))
    assert [(one.table, one.id) for one in found] == [
        (table.name, id) for table, id in zip(SEALED, ["e", "f", "c", "k", "o", "a"], strict=True)
    ]
    assert all(CANARY in one.text for one in found)
    assert list(texts(sealed.db, OTHER)) == []


# ── bound to their row ──────────────────────────────────────────────────────────────────────


def _body(store, table, id):
    with store.db.administering() as connection:
        query = f"SELECT body FROM {table} WHERE id = :id"
        return connection.exec_driver_sql(
            query.replace(":id", "%s" if _pg(store) else "?"), (b"\0" + id.encode(),)
        ).scalar()


def _pg(store):
    return store.db.engine.dialect.name == "postgresql"


def _put(store, table, id, body):
    mark = "%s" if _pg(store) else "?"
    with store.db.administering() as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET body = {mark} WHERE id = {mark}", (body, b"\0" + id.encode()))


def test_a_body_in_another_row_is_refused(sealed):
    sealed.record(an_episode(id="one"))
    sealed.record(an_episode(id="two"))
    _put(sealed, "episode", "two", _body(sealed, "episode", "one"))
    assert sealed.episode(USER, "one").id == "one"
    with pytest.raises(CorruptLedger, match="altered or moved"):
        sealed.episode(USER, "two")
    with pytest.raises(CorruptLedger):
        sealed.episodes(USER)


def test_a_body_of_another_table_or_another_user_is_refused(tmp_path):
    store = open_store(url(tmp_path))
    seals = store.db.seals
    body = seals.seal(USER, "episode", b"id", "text")
    for scope, table, id in ((USER, "feedback", b"id"), (USER, "episode", b"ix"), (USER, "episode", b"")):
        with pytest.raises(CorruptLedger):
            seals.unseal(scope, table, id, body)
    seals.seal(OTHER, "episode", b"id", "text")
    with pytest.raises(NotFound):  # it names a key that is not this user's
        seals.unseal(OTHER, "episode", b"id", body)
    assert seals.unseal(USER, "episode", b"id", body) == "text"
    store.close()


@pytest.mark.parametrize("length", [7, 8, 9])
def test_bits_that_base64_does_not_need_are_not_free(length, tmp_path):
    store = open_store(url(tmp_path))
    seals = store.db.seals
    seals._binary = False
    body = seals.seal(USER, "episode", b"id", "x" * length)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(body.rstrip("=")) - 1
    for other in alphabet.replace(body[at], ""):
        with pytest.raises((CorruptLedger, NotFound)):
            seals.unseal(USER, "episode", b"id", body[:at] + other + body[at + 1 :])


@pytest.mark.parametrize("binary", [True, False])
def test_any_byte_that_is_altered_is_found(binary, tmp_path):
    store = open_store(url(tmp_path))
    seals = store.db.seals
    seals._binary = binary
    body = seals.seal(USER, "episode", b"id", '{"output":"x"}')
    assert isinstance(body, bytes if binary else str)
    for at in range(len(body)):
        if binary:
            changed = body[:at] + bytes((body[at] ^ 1,)) + body[at + 1 :]
        else:
            changed = body[:at] + ("A" if body[at] != "A" else "B") + body[at + 1 :]
        if not binary and at == 0:
            continue  # without its version it is no sealed body, and no JSON either
        with pytest.raises((CorruptLedger, NotFound)):
            seals.unseal(USER, "episode", b"id", changed)
    for short in (body[:1], body[:9], body[:21], body[:-1]):
        with pytest.raises((CorruptLedger, NotFound)):
            seals.unseal(USER, "episode", b"id", short)
    store.close()


def test_a_body_is_read_in_each_form_that_a_database_keeps(tmp_path):
    seals = (store := open_store(url(tmp_path))).db.seals
    kept = seals.seal(USER, "episode", b"id", "text")
    forms = (kept, as_text(kept), "text", "\x02\x01", "")
    assert [is_sealed(body) for body in forms] == [True, True, False, False, False]
    rows = [(b"id", at, body) for at, body in enumerate(forms)]
    opened = seals.opened(USER, "episode", rows)
    assert opened == [(b"id", at, text) for at, text in enumerate(("text", "text", "text", "\x01", ""))]
    for wrong in (as_text(kept)[:-4] + "!" + as_text(kept)[-4:], "\x01", "\x01é"):
        with pytest.raises((CorruptLedger, NotFound)):
            seals.unseal(USER, "episode", b"id", wrong)
    store.close()


def test_no_two_bodies_are_alike(tmp_path):
    store = open_store(url(tmp_path))
    assert len({store.db.seals.seal(USER, "episode", b"id", "same") for _ in range(1_000)}) == 1_000
    store.close()


@pytest.mark.parametrize("text", ["", "plain", "\x01not sealed", "\x02", "\x02\x01", "\x03", "✓"])
@pytest.mark.parametrize("scope", [USER, BASE])
@pytest.mark.parametrize("binary", [True, False])
def test_every_text_comes_back(text, scope, binary, tmp_path):
    store = open_store(url(tmp_path))
    seals = store.db.seals
    seals._binary = binary
    assert seals.unseal(scope, "injection", b"id", seals.seal(scope, "injection", b"id", text)) == text
    store.close()


# ── keys that were destroyed ────────────────────────────────────────────────────────────────


def test_without_the_key_a_backup_made_before_is_useless(tmp_path):
    store = open_store(url(tmp_path))
    fill(store)
    fill(store, OTHER)
    backup(store, tmp_path / "backup.db")
    assert store.db.seals.destroy(USER)
    copy = open_store(url(tmp_path, "backup.db"))
    assert read(copy) == NOTHING
    with pytest.raises(NotFound, match="was destroyed"):
        copy.episode(USER, "e")
    assert read(copy, OTHER) == WHOLE
    assert traces(tmp_path) == []
    assert copy.admin.verify() == []
    copy.close()
    store.close()


def test_a_copied_file_is_useless_too_and_holds_no_plain_text(tmp_path):
    store = open_store(url(tmp_path))
    fill(store)
    store.close()
    shutil.copy(tmp_path / "s.db", tmp_path / "copy.db")
    store = open_store(url(tmp_path))
    store.db.seals.destroy(USER)
    store.close()
    copy = open_store(url(tmp_path, "copy.db"))
    assert read(copy) == NOTHING
    copy.close()
    assert traces(tmp_path) == []


def test_the_file_of_a_destroyed_key_is_overwritten_before_it_goes(tmp_path):
    folder = KeyFolder(tmp_path)
    key = folder.make("k" * 64)
    os.link(tmp_path / ("k" * 64), tmp_path / "another-name")
    assert folder.destroy("k" * 64) == key.id
    assert not any((tmp_path / "another-name").read_bytes())
    assert folder.names() == []
    assert folder.is_gone(key.id)
    assert folder.destroy("k" * 64) is None


def test_a_user_who_comes_back_gets_another_key(sealed):
    fill(sealed)
    first = sealed.db.seals.destroy(USER)
    sealed.record(an_episode(id="new", text="hello"))
    assert [one.id for one in sealed.episodes(USER)] == ["new"]
    assert sealed.db.seals.destroy(USER) not in {first, None}
    assert sealed.episodes(USER) == []


def test_another_process_notices_at_once_that_a_key_was_destroyed(tmp_path):
    one, two = open_store(url(tmp_path)), open_store(url(tmp_path))
    fill(one)
    assert read(two) == WHOLE
    one.db.seals.destroy(USER)
    assert read(two) == NOTHING
    two.record(an_episode(id="new"))
    assert [each.id for each in one.episodes(USER)] == ["new"]
    one.close()
    two.close()


def test_a_crash_in_the_middle_of_destroying_leaves_no_usable_key(tmp_path):
    folder = KeyFolder(tmp_path)
    name = "k" * 64
    key = folder.make(name)
    (tmp_path / "gone" / key.id.hex()).touch()  # the first step; the key itself is still there
    assert folder.find(name) is None
    assert folder.make(name).id != key.id
    size = (tmp_path / name).stat().st_size
    (tmp_path / name).write_bytes(bytes(size))  # overwritten, and not removed
    assert folder.find(name) is None
    assert folder.make(name).id != key.id


@pytest.mark.parametrize("rest", [bytes, os.urandom])
def test_i14_a_key_that_was_half_overwritten_is_destroyed_and_its_user_gets_a_new_one(rest, tmp_path):
    store = open_store(url(tmp_path))
    fill(store)
    (name,) = keys(tmp_path)
    path = tmp_path / "keys" / name
    (tmp_path / "keys" / "gone" / path.read_bytes()[2:10].hex()).touch()
    path.write_bytes(bytes(2) + rest(path.stat().st_size - 2))  # what either pass of overwriting leaves
    store.record(an_episode(id="x"))
    assert [one.id for one in store.episodes(USER)] == ["x"]
    path.write_bytes(bytes(2) + rest(path.stat().st_size - 2))
    noted = set((tmp_path / "keys" / "gone").iterdir())
    assert store.db.seals.destroy(USER) is None  # whose id is not to be read any more
    assert not path.exists()
    assert set((tmp_path / "keys" / "gone").iterdir()) == noted
    store.close()


def test_i14_to_put_a_damaged_key_back_from_a_copy_undoes_no_erasure(tmp_path):
    folder, name = KeyFolder(tmp_path), "k" * 64
    folder.make(name)
    copy = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"\x07" + copy[1:])
    with pytest.raises(StoreUnavailable) as told:
        folder.find(name)
    assert "leave gone as it is" in told.value.hint
    (tmp_path / name).write_bytes(copy)
    assert folder.find(name) is not None
    folder.destroy(name)
    (tmp_path / name).write_bytes(copy)
    assert folder.find(name) is None


# ── keys that are missing ───────────────────────────────────────────────────────────────────


def test_a_lost_folder_is_an_error_that_says_what_to_do_and_recording_goes_on(sealed, tmp_path):
    fill(sealed)
    (tmp_path / "keys").rename(tmp_path / "elsewhere")
    for reading in (sealed.episodes, sealed.feedback, sealed.cases, sealed.attempts):
        with pytest.raises(NotFound, match="is not in") as caught:
            reading(USER)
        assert "put the key folder back" in caught.value.hint
    with pytest.raises(NotFound):
        sealed.episode(USER, "e")
    sealed.record(an_episode(id="later"))
    assert sealed.episode(USER, "later").id == "later"
    shutil.rmtree(tmp_path / "keys")
    (tmp_path / "elsewhere").rename(tmp_path / "keys")
    assert sealed.episode(USER, "e").id == "e"


def test_without_any_folder_sealed_bodies_are_not_found_and_new_ones_are_plain(tmp_path):
    store = open_store(url(tmp_path))
    fill(store)
    store.close()
    store = open_store(url(tmp_path), keys="off")
    with pytest.raises(NotFound, match="no key folder is set"):
        store.episode(USER, "e")
    store.record(an_episode(id="plain"))
    assert store.episode(USER, "plain").id == "plain"
    store.close()
    assert traces(tmp_path) == ["s.db"]


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKENSPACE_KEYS", str(tmp_path / "there"))
    store = open_store(url(tmp_path))
    fill(store)
    store.close()
    assert len(KeyFolder(tmp_path / "there").names()) == 1
    monkeypatch.setenv("TOKENSPACE_KEYS", "off")
    store = open_store(url(tmp_path, "plain.db"))
    fill(store)
    assert read(store) == WHOLE
    store.close()


def test_a_folder_that_cannot_be_made_stops_who_asked_for_it_and_warns_who_did_not(tmp_path, caplog):
    (tmp_path / "keys").write_text("a file")
    asked = open_store(url(tmp_path), keys=tmp_path / "keys")
    with pytest.raises(StoreUnavailable, match="key folder cannot be used") as caught:
        asked.record(an_episode())
    assert "TOKENSPACE_KEYS" in caught.value.hint
    asked.close()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "keys").write_text("a file")
    store = open_store(url(tmp_path / "b"))
    fill(store)
    assert read(store) == WHOLE
    assert "unencrypted" in caplog.text
    store.close()


def test_the_folder_and_its_files_are_for_their_owner_only(tmp_path):
    store = open_store(url(tmp_path))
    fill(store)
    store.close()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_may_not_be_read_is_an_error_not_a_new_key(tmp_path):
    store = open_store(url(tmp_path))
    fill(store)
    (tmp_path / "keys" / keys(tmp_path)[0]).chmod(0)
    store.close()
    store = open_store(url(tmp_path))
    with pytest.raises(StoreUnavailable):
        store.record(an_episode(id="x"))
    store.close()


def test_a_key_file_that_is_damaged_is_an_error_not_a_new_key(tmp_path):
    store = open_store(url(tmp_path))
    fill(store)
    (name,) = keys(tmp_path)
    for content in (b"", b"\x01\x00short", b"\x07" + bytes(60)):
        (tmp_path / "keys" / name).write_bytes(content)
        if content:
            with pytest.raises(StoreUnavailable, match="is no key"):
                store.record(an_episode(id="x"))
    store.close()


# ── the master key ──────────────────────────────────────────────────────────────────────────


def test_a_master_key_wraps_keys_and_a_wrong_one_opens_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKENSPACE_MASTER_KEY", "aa" * 32)
    store = open_store(url(tmp_path))
    fill(store)
    key = store.db.seals.folder.find(keys(tmp_path)[0])
    store.close()
    assert key.secret not in (tmp_path / "keys" / keys(tmp_path)[0]).read_bytes()
    for wrong in ("bb" * 32, ""):
        monkeypatch.setenv("TOKENSPACE_MASTER_KEY", wrong)
        store = open_store(url(tmp_path))
        with pytest.raises(StoreUnavailable, match="master key") as caught:
            store.episodes(USER)
        assert "TOKENSPACE_MASTER_KEY" in caught.value.hint
        with pytest.raises(StoreUnavailable, match="master key"):
            store.record(an_episode(id="x"))
        store.close()
    monkeypatch.setenv("TOKENSPACE_MASTER_KEY", "aa" * 32)
    store = open_store(url(tmp_path))
    assert read(store) == WHOLE
    monkeypatch.setenv("TOKENSPACE_MASTER_KEY", "bb" * 32)
    assert open_store(url(tmp_path)).db.seals.destroy(USER)  # to destroy needs no master key
    assert read(store) == NOTHING
    store.close()


@pytest.mark.parametrize("text", ["x", "aa", "zz" * 32])
def test_a_master_key_that_is_none_is_refused(text, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKENSPACE_MASTER_KEY", text)
    with pytest.raises(UsageError, match="master key"):
        open_store(url(tmp_path))


def test_a_wrapped_key_in_another_file_is_refused(tmp_path):
    folder = KeyFolder(tmp_path, wrapper=MasterKey(bytes(32)))
    folder.make("a" * 64)
    shutil.copy(tmp_path / ("a" * 64), tmp_path / ("b" * 64))
    with pytest.raises(StoreUnavailable):
        folder.find("b" * 64)


# ── rows written before, copies ─────────────────────────────────────────────────────────────


def test_rows_from_before_stay_readable_and_can_be_sealed_later(sealed, tmp_path):
    seals, plain = sealed.db.seals, open_store(sealed_url(sealed, tmp_path), keys="off")
    fill(plain)
    plain.close()
    assert read(sealed) == WHOLE
    assert set(count_sealed(sealed.db, USER).values()) == {(0, 1)}
    assert seal_older(sealed.db, USER) == len(SEALED)
    assert set(count_sealed(sealed.db, USER).values()) == {(1, 1)}
    assert read(sealed) == WHOLE
    assert seal_older(sealed.db, USER) == 0
    assert seals.has_key(USER)


def sealed_url(store, folder):
    return (
        url(folder)
        if not _pg(store)
        else store.db.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    )


def test_a_move_seals_with_the_keys_of_the_target(sealed, tmp_path):
    fill(sealed)
    (tmp_path / "new").mkdir()
    target = open_store(url(tmp_path / "new"))
    move(sealed, target)
    assert read(target) == WHOLE
    assert set(count_sealed(target.db, USER).values()) == {(1, 1)}
    sealed.db.seals.destroy(USER)
    assert read(target) == WHOLE
    assert traces(tmp_path / "new") == []
    target.close()


def test_i14_a_restored_backup_of_somebody_forgotten_stays_unreadable_when_it_is_moved(sealed, tmp_path):
    fill(sealed)
    backup(sealed, tmp_path / "before.db")
    gone = sealed.db.seals.destroy(USER)
    signing = sealed.db.seals.folder.make(SIGNING)
    (tmp_path / "new").mkdir()
    restored = open_store(url(tmp_path, "before.db"), keys=tmp_path / "keys")
    target = open_store(url(tmp_path / "new"))
    move(restored, target)
    assert read(target) == read(restored) == NOTHING  # and no error that a key is missing, which would stop learning
    folder = target.db.seals.folder
    assert folder.is_gone(bytes.fromhex(gone))
    assert folder.find(SIGNING).secret == signing.secret  # receipts that went along are still this store's
    assert target.admin.verify() == []
    restored.close()
    target.close()


def test_i14_a_store_with_an_unfinished_erasure_is_not_moved(sealed, tmp_path):
    fill(sealed)
    subject = Subject(kind="user", scope=USER)
    id = sealed.admin.begin_erasure(subject, exact=False, at=NOW)
    (tmp_path / "new").mkdir()
    target = open_store(url(tmp_path / "new"))
    with pytest.raises(UsageError, match="not finished"):
        move(sealed, target)
    sealed.admin.end_erasure(id, at=NOW)
    move(sealed, target)
    assert read(target) == WHOLE
    target.close()


def test_a_backup_of_either_database_holds_no_plain_text_and_no_key(sealed, tmp_path):
    fill(sealed)
    (tmp_path / "safe").mkdir()
    backup(sealed, tmp_path / "safe" / "b.db")
    assert traces(tmp_path / "safe") == []
    assert not (tmp_path / "safe" / "keys").exists()
    copy = open_store(url(tmp_path / "safe", "b.db"), keys=tmp_path / "keys")
    assert read(copy) == WHOLE
    copy.close()


def test_two_stores_may_share_a_folder_and_not_a_key(tmp_path):
    one, two = open_store(url(tmp_path)), open_store(url(tmp_path, "t.db"))
    fill(one)
    fill(two)
    assert len(keys(tmp_path)) == 2
    one.db.seals.destroy(USER)
    assert read(two) == WHOLE
    one.close()
    two.close()


# ── many at once ────────────────────────────────────────────────────────────────────────────


def test_threads_that_make_a_key_at_once_agree(tmp_path):
    folder = KeyFolder(tmp_path)
    start, made = threading.Barrier(8), []

    def make():
        start.wait()
        made.append(KeyFolder(tmp_path).make("k" * 64).secret)

    threads = [threading.Thread(target=make) for _ in range(8)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    assert len(set(made)) == 1
    assert folder.find("k" * 64).secret == made[0]


RECORDING = """
import sys
from datetime import UTC, datetime
from tokenspace.domain import Episode, Heads, Message, Request, Run, Scope
from tokenspace.store import open_store

store = open_store(sys.argv[1])
scope = Scope(agent="desk", tenant="acme", user="new")
asked = Request(messages=(Message(role="user", text="hello"),))
print("ready", flush=True)
sys.stdin.readline()
for turn in range(5):
    run = Run(output=f"{sys.argv[2]} {turn}")
    store.record(Episode(scope=scope, heads=Heads(), request=asked, run=run, at=datetime.now(UTC)))
"""


@pytest.mark.slow
def test_processes_that_record_for_a_new_user_at_once_agree_on_the_key(tmp_path):
    open_store(url(tmp_path)).close()
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([sys.executable, "-c", RECORDING, url(tmp_path), name], **pipe) for name in "abc"]
    assert [one.stdout.readline() for one in workers] == ["ready\n"] * 3
    for one in workers:
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in workers:
        one.communicate(timeout=60)
    assert [one.returncode for one in workers] == [0, 0, 0]
    store = open_store(url(tmp_path))
    assert len(store.episodes(Scope(agent="desk", tenant="acme", user="new"))) == 15
    assert len(keys(tmp_path)) == 1
    store.close()


def test_keys_in_memory_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("tokenspace.store.sealing.MAX_KEYS", 3)
    store = open_store(url(tmp_path))
    users = [Scope(agent="desk", tenant="acme", user=f"u{number}") for number in range(6)]
    for user in users:
        store.record(an_episode(user))
    assert len(store.db.seals._held) == 3
    assert all(len(store.episodes(user)) == 1 for user in users)
    store.close()
