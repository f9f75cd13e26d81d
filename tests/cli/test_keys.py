"""`keys`: made once, listed without its secret, revoked for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.cli.commands import Run, json_of

from tokenspace.config import utc_now
from tokenspace.gateway.keys import KeyRing
from tokenspace.store import open_store


def ring(project: Path, secret: str):
    store = open_store(f"sqlite:///{project}/.tokenspace/store.db")
    try:
        return asyncio.run(KeyRing(store.admin, clock=utc_now).key(secret))
    finally:
        store.close()


def test_a_secret_is_shown_once_and_opens_the_gateway(run: Run, project: Path) -> None:
    assert "no key yet" in run("keys").stdout
    made = run("keys", "create", "--label", "for the desk", "--days", "7")
    secret = made.stdout.strip()
    key = ring(project, secret)
    assert (key.tenant, key.agent, key.rights) == ("default", "", {"infer", "feedback"})
    assert round((key.expires - key.at).total_seconds()) == 7 * 24 * 3600
    assert "only time" in made.stderr
    listed = run("keys", "list").stdout
    assert "for the desk" in listed
    assert secret not in listed + run("keys", "--json").stdout
    assert key.hash not in run("keys", "--json").stdout


def test_whose_it_is_and_what_it_may_do_is_chosen(run: Run, project: Path) -> None:
    made = json_of("keys", "create", "--tenant", "acme", "--agent", "desk", "--right", "read")
    assert (made["tenant"], made["agent"], made["rights"], made["valid"]) == ("acme", "desk", ["read"], True)
    assert ring(project, made["secret"]).rights == {"read"}
    operator = json_of("keys", "create", "--operator", "--right", "admin")
    assert operator["tenant"] == ""
    assert "the operator" in run("keys").stdout
    run("keys", "create", "--operator", "--tenant", "acme", code=2)
    run("keys", "create", "--right", "root", code=2)


def test_a_revoked_key_stays_revoked(run: Run, project: Path) -> None:
    made = json_of("keys", "create")
    gone = json_of("keys", "revoke", made["id"][-8:])
    assert gone["revoked"] is not None
    assert gone["valid"] is False
    assert json_of("keys", "revoke", made["id"])["revoked"] == gone["revoked"]
    assert "revoked" in run("keys", "list").stdout
    run("keys", "revoke", "nope", code=3)
