"""`audit`: who wrote, read, approved and erased what; and that looking leaves a trace of its own."""

from __future__ import annotations

import json

import pytest
from tests.cli.commands import QUESTION, json_of

from tokenspace.errors import StoreUnavailable
from tokenspace.store import open_store


def deeds(**asked: str) -> set[tuple[str, str, str]]:
    options = [part for name, value in asked.items() for part in (f"--{name}", value)]
    return {(one["who"], one["deed"], one["kind"]) for one in json_of("audit", *options)["events"]}


def test_it_says_who_did_what_from_the_ledger(run, project) -> None:
    told = run("audit").stdout
    assert deeds(what="wrote") == {("ana", "wrote", "feedback"), ("remember@1", "wrote", "revision")}
    assert ("desk", "read", "context") in deeds(what="read")
    assert QUESTION not in told
    assert "Kestrel" not in told


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("log",), "revision"), (("log", "--episodes"), "episode"), (("log", "--attempts"), "attempt"),
        (("show", "last"), "episode"), (("diff",), "revision"), (("blame",), "entry"), (("context",), "entry"),
        (("review",), "attempt"), (("gate", "explain", "last"), "attempt"), (("gate", "cases"), "case"),
        (("gate", "canaries"), "canary"), (("keys",), "key"), (("audit",), "event"),
    ],
)  # fmt: skip
def test_what_a_command_shows_is_noted(run, project, command, kind) -> None:
    run(*command)
    assert ("ana", "read", kind) in deeds(what="read")


def test_a_persons_decisions_are_told_with_their_name(run, project) -> None:
    made = json_of("log")["revisions"][0]["id"]
    run("revert", made, "--reason", "a reason that stays in the ledger")
    assert ("ana", "approved", "revision") in deeds(what="approved")
    case = json_of("gate", "cases")["cases"][0]["id"]
    run("gate", "cases", "--pin", case)
    assert ("ana", "approved", "case") in deeds(what="approved", object=case)
    assert "a reason that stays" not in run("audit").stdout


def test_keys_that_are_made_and_ended_are_told_without_their_secret(run, project) -> None:
    key = json_of("keys", "create", "--operator")
    run("keys", "revoke", key["id"])
    found = json_of("audit", "--object", key["id"])["events"]
    assert [(one["deed"], one["kind"]) for one in found] == [("wrote", "key")] * 2
    assert key["secret"] not in run("audit").stdout


def test_an_object_is_named_by_a_part_of_its_id(run, project) -> None:
    entry = json_of("blame")["entries"][0]["entry"]["id"]
    assert {("remember@1", "wrote", "revision")} == deeds(what="wrote", object=entry[-8:])
    run("audit", "--object", "nothing", code=3)


def test_pages_are_as_long_as_asked_for(run, project) -> None:
    first = json_of("audit", "-n", "1")
    assert first["more"]
    assert len(first["events"]) == 1
    assert "--offset 1" in run("audit", "-n", "1").stderr


def test_what_was_before_a_day_is_left_out(run, project) -> None:
    assert json_of("audit", "--since", "2999-01-01")["events"] == []
    assert "nothing is known" in run("audit", "--since", "2999-01-01").stdout
    run("audit", "--since", "soon", code=2)


def test_what_is_dropped_leaves_a_note(run, project) -> None:
    run("log")
    assert json_of("audit", "--drop-before", "2999-01-01")["dropped"] > 0
    assert {(one["who"], one["deed"], one["kind"]) for one in json_of("audit", "--what", "erased")["events"]} == {
        ("ana", "erased", "access")
    }
    assert deeds(what="wrote")  # the ledger is not touched


def test_where_nothing_can_be_noted_the_command_goes_on_and_says_so(run, project, monkeypatch) -> None:
    def full(*_args: object) -> None:
        raise StoreUnavailable("the disk is full", hint="free some space")

    monkeypatch.setattr("tokenspace.store.access.AccessRoom.note_access", full)
    shown = run("log")
    assert "remember" in shown.stdout
    assert "could not be noted for the audit: the disk is full" in shown.stderr


def test_a_person_of_one_tenant_sees_nothing_of_another(run, project) -> None:
    run("log", "--tenant", "globex")
    run("log", "--tenant", "acme")
    store = open_store(f"sqlite:///{project}/.tokenspace/store.db")
    assert {row.tenant for row in store.admin.accesses(tenant="globex")} == {"globex"}
    store.close()
    assert {one["tenant"] for one in json_of("audit", "--tenant", "acme")["events"]} == {"acme"}


def test_an_erased_user_leaves_a_pseudonym_and_who_had_erased_them(run, project) -> None:
    whose = ("--tenant", "acme", "--user", "alice")
    run("ask", QUESTION, "--choice", "Kestrel", "--choice", "Basalt", *whose)
    run("log", "--episodes", *whose)
    assert {one["user"] for one in json_of("audit", *whose)["events"]} == {"alice"}
    done = json_of("forget", "--whole-user", "--yes", *whose)
    told = json_of("audit", "--tenant", "acme")["events"]
    name = f"erased-{done['id'][-8:]}"
    assert ("ana", "erased", "user", name) in {(one["who"], one["deed"], one["kind"], one["user"]) for one in told}
    assert ("ana", "read", "episode", name) in {(one["who"], one["deed"], one["kind"], one["user"]) for one in told}
    assert "alice" not in json.dumps(told)


def test_what_would_be_erased_is_a_look_and_no_erasure(run, project) -> None:
    run("forget", "--episode", "last")
    assert deeds(what="erased") == set()
    assert ("ana", "read", "erasure") in deeds(what="read")
