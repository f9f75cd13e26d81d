"""Receipts of erasure: what they hold, what they do not hold, and that nobody can alter one."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime

import pytest

from tokenspace.domain import Scope
from tokenspace.domain.erasure import Subject
from tokenspace.errors import BadData, StoreUnavailable
from tokenspace.receipts import (
    Gone,
    Signer,
    canonical,
    is_about,
    issue,
    names_id,
    read_receipt,
    signer,
    subject_name,
    verify_receipt,
)
from tokenspace.store.keyfiles import KeyFolder, MasterKey

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANN = Subject(kind="user", scope=Scope(agent="desk", tenant="acme", user="ann"))
TEXT = subject_name(Subject(kind="text", scope=ANN.scope), "12 High Street")


def a_receipt(by, subject=TEXT):
    gone = [Gone(table="episode", rows=2, ids=("e1", "e2")), Gone(table="vector", rows=3)]
    return issue(by, subject, gone, at=AT, who="ana", exact=True, erasure="0f" * 16, keys=["ab" * 8])


@pytest.fixture
def by(tmp_path):
    return signer(KeyFolder(tmp_path / "keys"))


def test_a_receipt_lists_what_went_what_was_not_reached_when_and_by_whom(by):
    issued = a_receipt(by)
    said = verify_receipt(read_receipt(issued.text), by.public_key)
    assert (said["at"], said["by"], said["mode"]) == ("2026-01-02T03:04:05+00:00", "ana", "exact")
    assert [(line["table"], line["rows"], len(line["ids"])) for line in said["erased"]] == [
        ("episode", 2, 2), ("vector", 3, 0)
    ]  # fmt: skip
    assert said["keys_destroyed"] == ["ab" * 8]
    for word in ("providers", "exports", "training data", "backups"):
        assert any(word in one for one in said["not_reached"])


def test_a_receipt_holds_neither_the_subject_nor_an_id_nor_the_salt(by):
    issued = a_receipt(by)
    for word in ("High Street", "ann", '"e1"', issued.salt):
        assert word not in issued.text


def test_who_has_the_salt_can_show_what_a_receipt_is_about(by):
    issued = a_receipt(by)
    assert is_about(issued.receipt, TEXT, issued.salt)
    assert not is_about(issued.receipt, TEXT + "x", issued.salt)
    assert not is_about(issued.receipt, TEXT, "00" * 16)
    assert names_id(issued.receipt, "episode", "e1", issued.salt)
    assert not names_id(issued.receipt, "vector", "e1", issued.salt)
    assert not names_id(issued.receipt, "episode", "e3", issued.salt)


def test_the_same_erasure_twice_gives_receipts_that_cannot_be_linked(by):
    first, second = a_receipt(by).receipt["receipt"], a_receipt(by).receipt["receipt"]
    assert first["subject"] != second["subject"]
    assert not set(first["erased"][0]["ids"]) & set(second["erased"][0]["ids"])


def _leaves(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _leaves(item, (*path, at))
    else:
        yield path


def test_whatever_is_altered_is_found(by):
    receipt = a_receipt(by).receipt
    for path in [("receipt", *rest) for rest in _leaves(receipt["receipt"])] + [("signature",)]:
        changed = copy.deepcopy(receipt)
        place = changed
        for key in path[:-1]:
            place = place[key]
        old = place[path[-1]]
        place[path[-1]] = old + 1 if isinstance(old, int) else f"{old}0" if path != ("signature",) else "00" * 64
        with pytest.raises(BadData, match="not signed with this key"):
            verify_receipt(changed, by.public_key)
    for line in (0, 1):
        changed = copy.deepcopy(receipt)
        del changed["receipt"]["erased"][line]
        with pytest.raises(BadData):
            verify_receipt(changed, by.public_key)


def test_the_key_that_a_receipt_names_counts_for_nothing(by, tmp_path):
    forged = a_receipt(Signer(b"x" * 32)).receipt
    forged["public_key"] = by.public_key
    with pytest.raises(BadData):
        verify_receipt(forged, by.public_key)


@pytest.mark.parametrize("key", ["", "zz", "00" * 31, "00" * 32])
def test_a_key_that_is_none_is_an_error_with_a_hint(by, key):
    with pytest.raises(BadData) as caught:
        verify_receipt(a_receipt(by).receipt, key)
    assert "public key" in caught.value.hint


def test_an_unsigned_receipt_never_verifies(by):
    receipt = a_receipt(None).receipt
    assert receipt["signature"] == receipt["public_key"] == ""
    with pytest.raises(BadData):
        verify_receipt(receipt, by.public_key)


def test_the_signing_key_stays_the_same_and_is_for_its_owner_only(tmp_path):
    folder = KeyFolder(tmp_path / "keys")
    assert signer(folder).public_key == signer(folder).public_key == signer(KeyFolder(tmp_path / "keys")).public_key
    assert (tmp_path / "keys" / "signing").stat().st_mode & 0o777 == 0o600


def test_a_wrapped_signing_key_needs_its_master_key(tmp_path):
    made = signer(KeyFolder(tmp_path, wrapper=MasterKey(b"a" * 32)))
    with pytest.raises(StoreUnavailable, match="master key"):
        signer(KeyFolder(tmp_path, wrapper=MasterKey(b"b" * 32)))
    assert signer(KeyFolder(tmp_path, wrapper=MasterKey(b"a" * 32))).public_key == made.public_key


def test_canonical_json_has_one_form_and_no_fractions():
    assert canonical({"b": 1, "a": ["é", None, True]}) == '{"a":["é",null,true],"b":1}'.encode()
    shuffled = json.loads('{ "b": 1, "a": ["\\u00e9", null, true] }')
    assert canonical(shuffled) == canonical({"a": ["é", None, True], "b": 1})
    for bad in (1.5, {"a": [2.0]}, float("nan"), {"a": object()}, "\ud800"):
        with pytest.raises(BadData):
            canonical(bad)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"receipt": 1}', '{"receipt": {"version": 1}}', "null"])
def test_what_is_no_receipt_is_refused(text):
    with pytest.raises(BadData, match="no receipt"):
        read_receipt(text)
