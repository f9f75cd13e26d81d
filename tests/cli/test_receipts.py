"""`receipts` and `seal`: what was erased can be checked, and what was written before can be sealed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests.cli.commands import invoke, json_of

from tokenspace.domain import Episode, Heads, Message, Request, Run, Scope
from tokenspace.domain.erasure import Subject
from tokenspace.receipts import Gone, issue, signer, subject_name
from tokenspace.store import open_store

ANN = Scope(agent="desk", tenant="acme", user="ann")
AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store(project):
    made = open_store(f"sqlite:///{project}/.tokenspace/store.db", keys="off")
    asked = Request(messages=(Message(role="user", text="marmalade"),))
    made.record(Episode(scope=ANN, heads=Heads(), request=asked, run=Run(output="x"), at=AT))
    yield made
    made.close()


def a_receipt(project):
    opened = open_store(f"sqlite:///{project}/.tokenspace/store.db")
    by = signer(opened.db.seals.folder)
    subject = Subject(kind="user", scope=ANN)
    made = issue(by, subject_name(subject), [Gone(table="episode", rows=2)], at=AT, who="ana", exact=False)
    id = opened.admin.begin_erasure(subject, exact=False, at=AT)
    opened.admin.end_erasure(id, at=AT, receipt=made.text)
    opened.close()
    return id, made


def test_what_was_written_before_is_sealed_on_request(project, store):
    checked = json_of("seal", "--check")
    assert checked["tables"]["episode"] == {"sealed": 0, "rows": 1}
    done = json_of("seal")
    assert done["sealed_now"] == 1
    assert done["tables"]["episode"] == {"sealed": 1, "rows": 1}
    assert "of 1" in invoke("seal", "--check").output


def test_without_keys_nothing_can_be_sealed(project, store, monkeypatch):
    monkeypatch.setenv("TOKENSPACE_KEYS", "off")
    assert "TOKENSPACE_KEYS" in invoke("seal", code=2).output
    assert json_of("seal", "--check")["keys"] == "off"


def test_keys_are_no_part_of_the_repository_of_a_project(project):
    assert "keys/" in (project / ".tokenspace" / ".gitignore").read_text().splitlines()


def test_receipts_are_listed_shown_and_checked(project, tmp_path):
    assert "nothing was erased" in invoke("receipts").output
    id, made = a_receipt(project)
    (one,) = json_of("receipts", "list")["erasures"]
    assert (one["id"], one["receipt"]) == (id, True)
    shown = tmp_path / "receipt.json"
    shown.write_text(invoke("receipts", "show", id[-6:]).stdout)
    key = json_of("receipts", "key")["public_key"]
    for more in ([], ["--key", key]):
        said = json_of("receipts", "verify", shown, *more)
        assert (said["valid"], said["receipt"]["by"]) == (True, "ana")
    assert "providers" in invoke("receipts", "verify", shown).output
    subject = json.dumps(["user", "desk", "acme", "ann", ""])
    assert json_of("receipts", "verify", shown, "--salt", made.salt, "--subject", subject)["about"] is True
    invoke("receipts", "verify", shown, "--salt", made.salt, "--subject", '["user","desk","acme","bob",""]', code=1)


def test_a_receipt_that_was_altered_or_is_none_is_an_error(project, tmp_path):
    _, made = a_receipt(project)
    file = tmp_path / "receipt.json"
    file.write_text(made.text.replace('"rows":2', '"rows":3'))
    assert "altered" in invoke("receipts", "verify", file, code=2).output
    file.write_text("hello")
    assert "no receipt" in invoke("receipts", "verify", file, code=2).output
    invoke("receipts", "verify", tmp_path / "missing", code=3)
    invoke("receipts", "show", "nothing", code=3)
    invoke("receipts", "verify", file, "--salt", "00", code=2)


def test_forgetting_a_user_destroys_the_key_and_gives_a_receipt_that_can_be_checked(project, store, tmp_path):
    invoke("seal")
    keys = project / ".tokenspace" / "keys"
    before = {one.name for one in keys.iterdir() if len(one.name) == 64}
    whose = ("--tenant", "acme", "--user", "ann", "--whole-user")
    assert json_of("forget", *whose)["receipt"] == ""
    assert {one.name for one in keys.iterdir() if len(one.name) == 64} == before != set()
    done = json_of("forget", *whose, "--yes")
    assert not [one.name for one in keys.iterdir() if len(one.name) == 64]
    file = tmp_path / "receipt.json"
    file.write_text(invoke("receipts", "show", done["id"][-8:]).stdout)
    assert json.loads(file.read_text()) == json.loads(done["receipt"])
    subject = json.dumps(["user", "desk", "acme", "ann", ""])
    said = json_of("receipts", "verify", file, "--salt", done["salt"], "--subject", subject)
    assert said["about"] is True
    assert {one["table"]: one["rows"] for one in said["receipt"]["erased"]}["episode"] == 1
    (key,) = said["receipt"]["keys_destroyed"]
    assert (keys / "gone" / key).exists()
    for word in ("marmalade", '"ann"', done["salt"]):
        assert word not in file.read_text()
