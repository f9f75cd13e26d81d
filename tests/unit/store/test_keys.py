"""Virtual keys in the store: across scopes, and so behind `admin`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tokenspace.domain import ApiKey, new_id
from tokenspace.errors import BadData, UsageError
from tokenspace.testing.samples import NOW


def a_key(letter="a", **fields):
    given = {"hash": letter * 64, "rights": frozenset({"infer"}), "at": NOW, **fields}
    return ApiKey(**given)


def test_keys_read_back_whole_and_oldest_first(empty_store):
    store = empty_store()
    rights = frozenset({"infer", "feedback", "read", "admin"})
    second = a_key("b", at=NOW + timedelta(seconds=1), expires=NOW + timedelta(days=1, microseconds=1), rights=rights,
                   label="ana's é", tenant="acme", agent="desk", id="ops")  # fmt: skip
    first = a_key("a")
    for key in (second, first):
        store.admin.save_key(key)
    second = replace(second, expires=NOW + timedelta(days=1))
    assert store.admin.keys() == [first, second]
    assert store.admin.key_by_hash("b" * 64) == second
    assert store.admin.key_by_hash("c" * 64) is None
    assert store.admin.verify() == []
    assert store.admin.scopes() == []
    store.close()


def test_a_key_is_updated_but_never_unrevoked_nor_moved_to_another_tenant(empty_store):
    store = empty_store()
    key = a_key(tenant="acme")
    store.admin.save_key(key)
    store.admin.save_key(replace(key, label="new", expires=NOW, hash="e" * 64, tenant="globex", agent="x"))
    assert store.admin.keys() == [replace(key, label="new", expires=NOW)]
    store.admin.save_key(replace(key, revoked=NOW))
    store.admin.save_key(key)
    store.admin.save_key(replace(key, revoked=NOW + timedelta(days=1)))
    assert store.admin.keys() == [replace(key, revoked=NOW)]
    store.close()


def test_what_is_no_key_is_refused(empty_store):
    store = empty_store()
    store.admin.save_key(a_key())
    with pytest.raises(UsageError, match="has this hash"):
        store.admin.save_key(a_key(id=new_id()))
    for wrong in ({"hash": "secret"}, {"rights": frozenset({"root"})}, {"label": "a\0"}):
        with pytest.raises(BadData):
            store.admin.save_key(a_key("f", **wrong) if "hash" not in wrong else a_key(**wrong))
    assert len(store.admin.keys()) == 1
    store.close()
