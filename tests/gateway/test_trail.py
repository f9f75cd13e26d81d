"""The access log of the gateway: what was shown is noted before it is told, by the admin API and over MCP."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.gateway.test_admin import NOW, SECRET_WORDS, World, world  # noqa: F401 - a fixture
from tokenspace.domain import Access, Scope
from tokenspace.errors import StoreUnavailable
from tokenspace.gateway.admin_routes import ENDPOINTS
from tokenspace.gateway.keys import make_key
from tokenspace.gateway.mcp_tools import CONTEXT_URI, REVISION_URI, Desk
from tokenspace.gateway.upkeep import Upkeep
from tokenspace.gateway.wire import Caller

READS = [one for one in ENDPOINTS if one.method == "GET" and one.path != "/health"]


def rows(world: World, **asked) -> list[Access]:  # noqa: F811
    return world.store.admin.accesses(**asked)


@pytest.mark.parametrize("endpoint", READS, ids=lambda one: one.path)
def test_whatever_is_shown_is_noted_with_the_key_and_without_a_word(world, endpoint) -> None:  # noqa: F811
    world.get(world.path_of(endpoint))
    (row,) = rows(world)
    assert (row.deed, row.tenant, row.principal[:4], row.ended) == ("read", "acme", "key ", "done")
    everybody = world.store.admin.keys()
    assert row.principal[4:] in {key.id for key in everybody if key.tenant == "acme"}
    assert SECRET_WORDS not in repr(row)


def test_an_episode_is_noted_by_our_id_whatever_it_was_asked_for_by(world) -> None:  # noqa: F811
    world.get("/episodes/chatcmpl-1")
    assert [(row.kind, row.object) for row in rows(world)] == [("episode", world.episode.id)]


def test_what_is_refused_is_noted_in_the_keys_own_tenant(world) -> None:  # noqa: F811
    reader = make_key(world.store.admin, at=NOW, tenant="acme", rights=("read",))[1]
    assert world.call("POST", f"/revisions/{world.revision.id}/revert", reader, json={}).status_code == 403
    assert world.call("GET", "/context", "globex", params={"tenant": "acme"}).status_code == 404
    assert {(row.tenant, row.deed, row.ended) for row in rows(world)} == {
        ("globex", "read", "refused"),
        ("acme", "approved", "refused"),
    }


def test_whoever_has_no_key_cannot_fill_the_log(world) -> None:  # noqa: F811
    world.call("GET", "/context", "")
    world.call("GET", "/context", "tsk-unknown")
    assert rows(world) == []


def test_what_cannot_be_noted_is_not_told(world, monkeypatch) -> None:  # noqa: F811
    def full(_row: Access) -> None:
        raise StoreUnavailable("the disk is full", hint="free some space")

    monkeypatch.setattr(world.store.admin, "note_access", full)
    answer = world.call("GET", "/episodes")
    assert answer.status_code == 503
    assert SECRET_WORDS not in answer.text


def test_what_the_ledger_says_is_not_noted_twice(world) -> None:  # noqa: F811
    assert world.call("POST", f"/revisions/{world.revision.id}/revert", json={}).status_code == 200
    assert rows(world) == []
    (approved,) = world.get("/audit", what="approved", limit=1)["items"]
    assert approved["who"].startswith("key ")


def test_i8_a_tenant_is_told_of_itself_alone_and_an_operator_of_all(world) -> None:  # noqa: F811
    for key in ("acme", "globex", "operator"):
        world.get("/episodes", key)
    assert {one["tenant"] for one in world.get("/audit", "acme")["items"]} == {"acme"}
    assert {one["tenant"] for one in world.get("/audit", "globex")["items"]} == {"globex"}
    assert {one["tenant"] for one in world.get("/audit", "operator")["items"]} == {"", "acme", "globex"}


def test_the_operators_look_into_a_tenant_is_told_to_the_tenant(world) -> None:  # noqa: F811
    world.get("/episodes", "operator", tenant="acme")
    everybody = world.store.admin.keys()
    operator = next(key for key in everybody if not key.tenant)
    found = world.get("/audit", "acme", who=operator.id)["items"]
    assert [(one["kind"], one["count"]) for one in found] == [("episode", 1)]


def test_i8_a_key_of_one_agent_is_told_nothing_of_the_keys_of_others(world) -> None:  # noqa: F811
    world.get("/scopes", "acme")
    narrow = make_key(world.store.admin, at=NOW, tenant="acme", agent="desk", rights=("read", "admin"))[1]
    assert "scope" in {one["kind"] for one in world.get("/audit", "acme")["items"]}
    assert "scope" not in {one["kind"] for one in world.get("/audit", narrow)["items"]}


def test_it_is_paged(world) -> None:  # noqa: F811
    pages, at = [], 0
    while at is not None:
        told = world.get("/audit", what="wrote", limit=1, offset=at)
        pages += told["items"]
        at = told["next"]
    assert pages == world.get("/audit", what="wrote", limit=200)["items"]
    assert len(pages) >= 3


def test_what_is_forgotten_by_the_admin_api_is_told_and_a_dry_run_is_a_look(world) -> None:  # noqa: F811
    body = {"kind": "episode", "id": world.episode.id}
    assert world.call("POST", "/forget", json=body).status_code == 200
    assert [(row.deed, row.kind) for row in rows(world)] == [("read", "erasure")]
    assert world.call("POST", "/forget", json={**body, "dry_run": False}).status_code == 200
    (erased,) = world.get("/audit", what="erased")["items"]
    assert (erased["kind"], erased["tenant"], erased["who"][:4]) == ("episode", "acme", "key ")


@pytest.mark.parametrize("query", [{"since": "soon"}, {"what": "thought"}, {"who": "x" * 300}])
def test_a_question_that_is_none_is_refused(world, query) -> None:  # noqa: F811
    assert world.call("GET", "/audit", params=query).status_code in {400, 422}


def test_what_a_client_reads_over_mcp_is_noted(world) -> None:  # noqa: F811
    scope = Scope(agent="desk", tenant="acme")
    desk = Desk(world.parts, Caller(key="k", rights=frozenset({"read", "feedback"}), scope=scope))
    desk.call("recall", {"query": "parcel"})
    desk.call("lessons", {})
    desk.call("memory", {"command": "view", "path": "/memories"})
    desk.pages()
    desk.page(CONTEXT_URI)
    desk.page(f"{REVISION_URI}{world.revision.id}")
    desk.skills()
    found = rows(world, tenant="acme")
    assert {row.principal for row in found} == {"k"}
    assert sorted(row.kind for row in found) == [
        "entry", "entry", "entry", "memory", "revision", "revision", "skill"
    ]  # fmt: skip
    assert world.revision.id in {row.object for row in found}


def test_what_was_kept_for_long_enough_is_dropped_and_that_is_noted(world) -> None:  # noqa: F811
    world.get("/episodes")
    day = timedelta(days=1)
    upkeep = Upkeep(
        world.store, warm=lambda: None, keep_anchors_s=1, keep_access_s=day.total_seconds(), clock=lambda: NOW + day
    )
    assert upkeep.shorten() == 0
    upkeep = Upkeep(
        world.store, warm=lambda: None, keep_anchors_s=1, keep_access_s=1, clock=lambda: NOW + timedelta(seconds=9)
    )
    assert upkeep.shorten() == 1
    assert [(row.principal, row.deed, row.count) for row in rows(world)] == [("retention", "erased", 1)]
    assert upkeep.shorten() == 0
