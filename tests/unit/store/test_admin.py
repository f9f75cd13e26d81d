"""Across scopes: listing, verifying, backing up, moving."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from tokenspace.domain import ApiKey, Drop, Edit, Heads, Patch, Put, Reading, Restore
from tokenspace.errors import StoreUnavailable, UsageError
from tokenspace.store import open_store
from tokenspace.store.copying import backup, move
from tokenspace.testing.programs import check_random_programs
from tokenspace.testing.samples import (
    ACCEPT,
    BASE,
    NOW,
    OTHERS,
    TENANT,
    USER,
    a_canary,
    a_case,
    a_feedback,
    an_attempt,
    an_episode,
    commit,
    rule,
    texts,
)  # fmt: skip


@pytest.fixture
def filled(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/filled.db")
    fill(store)
    yield store
    store.close()


def fill(store):
    shared, own = rule("shared"), rule("own")
    commit(store, BASE, Put(entry=shared), Put(entry=own), vectors={shared.id: b"\x01"}, evidence=("e",))
    commit(store, TENANT, Drop(id=shared.id))
    commit(store, USER, Patch(id=own.id, changes={"text": "as alice says"}), evidence=("e", "f"), read=("g",))
    commit(store, USER, Restore(id=own.id), attempt=an_attempt("k", decision="accept"))
    commit(store, USER, Put(entry=rule("more")))
    store.create_branch(USER, "draft")
    commit(store, USER, Put(entry=rule("on the draft")), branch="draft")
    store.record(an_episode())
    store.add_feedback(a_feedback(), a_case())
    canary = a_canary(store, TENANT, promoted=store.heads(TENANT).tenant)
    store.save_canary(canary)
    for number in range(3):
        store.add_reading(canary, Reading(episode=f"{number}", treated=number > 0, score=number / 3, at=NOW))
    store.save_canary(replace(canary, state="stopped", reason="it harmed"))
    store.save_canary(a_canary(store, TENANT))
    commit(store, OTHERS[2], Put(entry=rule("elsewhere")))
    store.note_answer(USER, "chatcmpl-1", "e")
    store.save_anchor(USER, "chain", "recalled")
    store.admin.save_key(ApiKey(id="key", hash="a" * 64, rights=frozenset({"infer"}), tenant="acme", at=NOW))


def test_scopes_are_listed_of_one_agent_or_all(empty_store):
    store = empty_store()
    assert store.admin.scopes() == []
    fill(store)
    assert store.admin.scopes() == sorted([BASE, TENANT, USER, OTHERS[2]])
    assert store.admin.scopes("other") == [OTHERS[2]]
    assert store.admin.verify() == []
    store.close()


TAMPERING = {
    "text": ("UPDATE entry SET text = text || '.' WHERE text = 'more'", "altered after it was committed"),
    "trigger": ("UPDATE entry SET trigger = 'x' WHERE text = 'more'", "altered after"),
    "origin": ("UPDATE entry SET origin = 5 WHERE text = 'more'", "altered after"),
    "status": ("UPDATE entry SET status = 1 WHERE text = 'more'", "altered after"),
    "message": ("UPDATE revision SET message = 'x' WHERE seq = 2", "altered after"),
    "evidence": ("UPDATE revision SET evidence = x'' WHERE length(evidence) > 4", "altered after"),
    "salt": ("UPDATE revision SET salt = zeroblob(16) WHERE seq = 2", "altered after"),
    "commitment": ("UPDATE revision SET commitment = zeroblob(16) WHERE seq = 2", "altered after"),
    "a tomb's effect": ("UPDATE tomb SET effect = 1 WHERE effect = 0", "altered after"),
    "author": ("UPDATE name SET text = 'x' WHERE text = 'tester'", "the chain is broken"),
    "basis": ("UPDATE revision SET basis = 0 WHERE seq = 2", "the chain is broken"),
    "reason": ("UPDATE revision SET reason = 'x' WHERE seq = 2", "the chain is broken"),
    "numbers": ("UPDATE revision SET numbers = '{\"tier\":1}' WHERE seq = 2", "the chain is broken"),
    "time": ("UPDATE revision SET at = at + 1 WHERE seq = 2", "the chain is broken"),
    "id": ("UPDATE revision SET uid = zeroblob(16) WHERE seq = 3", "the chain is broken"),
    "chain": ("UPDATE revision SET chain = zeroblob(16) WHERE seq = 2", "the chain is broken"),
    "scope": ("UPDATE branch SET \"user\" = 'mallory' WHERE \"user\" = 'alice' AND agent = 'desk'", "the chain is broken"),
    "name": ("UPDATE branch SET name = 'release' WHERE name = 'draft'", "the chain is broken"),
    "fork": ("UPDATE branch SET fork = 2 WHERE name = 'draft'", "is missing"),
    "a life cut short": ("UPDATE entry SET died = 9 WHERE text = 'more'", "ends at 9, not at None"),
    "a life prolonged": ("UPDATE entry SET died = NULL WHERE text = 'as alice says'", "ends at None, not at 2"),
    "an entry gone": ("DELETE FROM entry WHERE text = 'more'", "altered after"),
    "an entry moved": ("UPDATE entry SET born = 7 WHERE text = 'more'", "written by revision 7, which does not exist"),
    "a tomb gone": ("DELETE FROM tomb WHERE effect = 0", "altered after"),
    "a revision gone": ("DELETE FROM revision WHERE seq = 2", "revision 2 is missing"),
    "the tail gone": ("DELETE FROM revision WHERE seq = 3", "its head is at revision 3, beyond the last one, 2"),
    "a head moved back": ("UPDATE head SET seq = 1 WHERE seq = 3", "before the last one, 3"),
    "a head gone": ("DELETE FROM head WHERE seq = 3", "its head is missing"),
    "a source gone": ("DELETE FROM provenance WHERE role = 0", "cannot be found by its source e"),
    "a source added": ("UPDATE provenance SET source = x'0078' WHERE role = 1", "is listed under x"),
    "a vector astray": ("UPDATE vector SET born = 5", "a vector belongs to no entry"),
    "an attempt astray": ("UPDATE attempt SET revision = zeroblob(16)", "led to revision"),
    "a canary astray": ("UPDATE canary SET revision = zeroblob(16)", "watches revision 00000000000000000000000000000000,"),
    "a canary's promotion": ("UPDATE canary SET promoted = zeroblob(16)", "watches revision 00"),
    "a reading gone": ("DELETE FROM reading WHERE seq = 2", "its 2 readings are not numbered 1 to 2"),
    "the first reading gone": ("DELETE FROM reading WHERE seq = 1", "its 2 readings are not numbered"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERING)
def test_i4_verify_names_what_was_altered(filled, what):
    statement, problem = TAMPERING[what]
    assert filled.admin.verify() == []
    with filled.db.administering() as connection:
        assert connection.exec_driver_sql(statement).rowcount > 0
    problems = filled.admin.verify()
    assert any(problem in found for found in problems), problems


def test_verify_reports_a_file_that_cannot_even_be_read(tmp_path):
    path = tmp_path / "s.db"
    store = open_store(f"sqlite:///{path}")
    fill(store)
    with store.db.administering() as connection:
        connection.exec_driver_sql("UPDATE revision SET message = CAST(x'ff41' AS TEXT)")
    (problem,) = store.admin.verify()
    assert "is damaged" in problem
    store.close()


def everything(store):
    seen = {}
    for scope in store.admin.scopes():
        for branch in ("", *store.branches(scope)):
            heads = store.heads(scope, branch=branch)
            context = store.context(scope, heads)
            watched = [(canary, store.readings(canary)) for canary in store.canaries(scope, ended=True)]
            evidence = [
                store.episodes(scope),
                store.feedback(scope),
                store.cases(scope),
                store.attempts(scope),
                watched,
                [store.episode_of(scope, "chatcmpl-1"), store.anchors(scope, ["chain"]), store.admin.keys()],
            ]
            seen[scope, branch] = [heads, context.entries, dict(context.vectors), store.log(scope, branch=branch),
                                   store.blame(scope, heads), evidence]  # fmt: skip
    return seen


def test_a_store_moves_to_postgresql_and_back(filled, postgresql_url, tmp_path):
    there, back = open_store(postgresql_url), open_store(f"sqlite:///{tmp_path}/back.db")
    steps = []
    rows = move(filled, there, progress=lambda table, done, total: steps.append((table, done, total)))
    assert everything(there) == everything(filled)
    assert sum(done for _, done, _ in steps) == rows
    assert all(done == total for _, done, total in steps)
    assert move(there, back) == rows
    assert everything(back) == everything(filled)
    for store in (there, back):  # ids go on after those that were copied
        commit(store, replace(USER, user="newcomer"), Put(entry=rule("hello")))
        store.commit(
            USER, Edit(ops=(Put(entry=rule("again")),)), ACCEPT, expect=store.heads(USER).user, author="another"
        )
        assert store.admin.verify() == []
        store.close()


def test_a_move_is_refused_by_a_store_that_holds_anything(filled, tmp_path):
    target = open_store(f"sqlite:///{tmp_path}/target.db")
    target.create_branch(USER, "draft")
    with pytest.raises(UsageError, match="not empty"):
        move(filled, target)
    target.close()


def test_a_move_that_fails_leaves_nothing_behind(filled, tmp_path):
    target = open_store(f"sqlite:///{tmp_path}/target.db")

    def fail(table, _done, _total):
        if table == "revision":
            raise StoreUnavailable("unplugged", hint="plug it in")

    with pytest.raises(StoreUnavailable):
        move(filled, target, progress=fail)
    assert target.admin.scopes() == []
    move(filled, target)
    assert everything(target) == everything(filled)
    target.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_is_a_store_of_its_own(filled, kind, tmp_path, request):
    store = filled
    if kind == "postgresql":
        store = open_store(request.getfixturevalue("postgresql_url"))
        move(filled, store)
    before = everything(store)
    backup(store, tmp_path / "backup.db")
    commit(store, BASE, Put(entry=rule("later")))
    copy = open_store(f"sqlite:///{tmp_path}/backup.db")
    assert everything(copy) == before
    assert copy.admin.verify() == []
    assert stat.S_IMODE((tmp_path / "backup.db").stat().st_mode) == 0o600
    copy.close()
    with pytest.raises(UsageError, match="exists already"):
        backup(store, tmp_path / "backup.db")
    if kind == "postgresql":
        store.close()


def test_random_histories_verify(tmp_path):
    stores = []

    def make():
        stores.append(f"sqlite:///{tmp_path}/{len(stores)}.db")
        return open_store(stores[-1])

    check_random_programs(make, programs=4, seed=100)
    for url in stores:
        store = open_store(url)
        assert store.admin.verify() == []
        store.close()


def test_states_are_read_again_after_the_cache_forgot_them(filled, monkeypatch):
    from tokenspace.store import states

    monkeypatch.setattr(states, "MAX_CACHED_ENTRIES", 2)
    before = [made.id for made in filled.log(USER)]
    for id in before * 2:
        filled.context(USER, Heads(user=id))
    assert texts(filled, USER) == ["more", "own"]


def test_erasing_an_entry_is_one_delete_and_leaves_all_ids_valid(filled):
    """What a later capability builds on: the text goes, the chain holds, and verify says what is missing."""
    with filled.db.administering() as connection:
        connection.exec_driver_sql("DELETE FROM entry WHERE text = 'as alice says'")
    problems = filled.admin.verify()
    assert all("altered" in problem or "state of" in problem for problem in problems)
    assert not any("chain" in problem for problem in problems)
    assert [made.seq for made in filled.log(USER)] == [3, 2, 1]
