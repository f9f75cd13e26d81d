"""The admin API: what it tells, and above all to whom. Routes are enumerated from their own table."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tokenspace.api import Bridge, LearningAgent
from tokenspace.config import Settings, build
from tokenspace.domain import Edit, Entry, Kind, Put, Scope
from tokenspace.gateway.admin import PREFIX, admin_app, openapi
from tokenspace.gateway.admin_routes import ENDPOINTS
from tokenspace.gateway.keys import RIGHTS, KeyRing, make_key, revoke_key
from tokenspace.gateway.wire import GatewaySettings
from tokenspace.recall import HashEmbedder
from tokenspace.store import MemoryStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEAMS = ["Kestrel", "Basalt"]
SECRET_WORDS = "acme confidential"


class World:
    """Two tenants that have learned something, a key for each, and a client."""

    def __init__(self) -> None:
        self.store, self.seconds = MemoryStore(clock=self.now), 0
        settings = Settings(agent="desk", model="nearest", principal="ana", teachers=frozenset({"ana"}))
        self.parts = build(settings, store=self.store, clock=self.now)
        self.bridge = Bridge()
        self.ring = KeyRing(self.store.admin, clock=lambda: NOW, cache_s=0)
        self.app = admin_app(self.parts, self.ring, GatewaySettings(agent="desk"))
        self.secrets = {
            "acme": self.make(tenant="acme"), "globex": self.make(tenant="globex"), "operator": self.make(tenant=""),
        }  # fmt: skip
        acme = self.agent(tenant="acme")
        self.episode = acme.act(f"{SECRET_WORDS}: where is my parcel", choices=TEAMS)
        acme.observe(self.episode, correction="Kestrel", comment=SECRET_WORDS)
        acme.learn()
        acme.commit(
            Edit(ops=(Put(entry=Entry(kind=Kind.RULE, doc="rules", text=SECRET_WORDS)),), rationale=SECRET_WORDS)
        )
        self.revision = acme.log(limit=1)[0]
        self.attempt = self.store.attempts(acme.scope, decision="accept")[-1]
        self.waiting = replace(
            self.attempt, id="d" * 32, key="waits", revision=None, verdict=replace(self.attempt.verdict, decision="defer")
        )  # fmt: skip
        self.store.save_attempt(self.waiting)
        self.store.note_answer(acme.scope, "chatcmpl-1", self.episode.id)
        self.agent(tenant="globex").act("a refund", choices=TEAMS)

    def now(self) -> datetime:
        self.seconds += 1
        return NOW + timedelta(seconds=self.seconds)

    def agent(self, **scope) -> LearningAgent:
        return LearningAgent(self.parts, Scope(agent="desk", **scope), principal="ana", bridge=self.bridge)

    def make(self, **given) -> str:
        return make_key(self.store.admin, **{"at": NOW, "rights": RIGHTS, **given})[1]

    def call(self, method: str, path: str, key: str = "acme", *, headers=None, **more) -> httpx.Response:
        if headers is None:
            headers = {"authorization": f"Bearer {self.secrets.get(key, key)}"} if key else {}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                return await client.request(method, PREFIX + path, headers=headers, **more)

        return asyncio.run(send())

    def get(self, path: str, key: str = "acme", **query):
        found = self.call("GET", path, key, params=query)
        assert found.status_code == 200, found.text
        return found.json()

    def path_of(self, endpoint) -> str:
        """The endpoint's path with an id that exists in acme."""
        room = endpoint.path.split("/")[1]
        ids = {"revisions": self.revision.id, "attempts": self.attempt.id, "review": self.waiting.id,
               "episodes": self.episode.id, "keys": self.store.admin.keys()[0].id}  # fmt: skip
        return endpoint.path.replace("{id}", ids.get(room, ""))


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr("tokenspace.recall.default_embedder", HashEmbedder)
    made = World()
    yield made
    made.app.state.close()
    made.bridge.close()


def refused(response: httpx.Response, status: int) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == status
    assert {"type", "title", "detail", "hint", "instance"} <= set(told)
    assert SECRET_WORDS not in response.text
    if status == 401:
        assert response.headers["www-authenticate"].startswith("Bearer")


# ── who may ask what: every route, enumerated ───────────────────────────────────────────────


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_i8_every_route_refuses_whoever_may_not(world, endpoint) -> None:
    path, before = world.path_of(endpoint), len(world.agent(tenant="acme").log())
    count = len(world.store.admin.keys())
    expired = world.make(tenant="acme", expires=NOW)
    revoked = world.make(tenant="acme")
    revoke_key(world.store.admin, world.store.admin.keys()[-1], at=NOW)
    for headers in (
        {}, {"authorization": "Bearer wrong"}, {"authorization": "Basic abc"}, {"x-api-key": ""},
        {"authorization": f"Bearer {expired}"}, {"authorization": f"Bearer {revoked}"}, {"x-api-key": revoked},
        {"cookie": f"key={world.secrets['acme']}"},
    ):  # fmt: skip
        refused(world.call(endpoint.method, path, headers=headers), 401)
    for right in set(RIGHTS) - {endpoint.need}:
        refused(world.call(endpoint.method, path, world.make(tenant="acme", rights=[right])), 403)
    assert len(world.agent(tenant="acme").log()) == before
    assert len(world.store.admin.keys()) == count + 2 + 3
    assert endpoint.need in ("read", "admin")
    assert endpoint.method == "GET" or endpoint.need == "admin", "what changes something needs the right to"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_i8_no_route_tells_or_changes_anything_of_another_tenant(world, endpoint) -> None:
    path, acme = world.path_of(endpoint), world.agent(tenant="acme")
    before = (acme.heads, acme.waiting(), world.store.admin.keys()[0])
    plain = world.call(endpoint.method, path, "globex")
    if "{id}" in endpoint.path:
        refused(plain, 404)
    assert SECRET_WORDS not in plain.text
    assert "acme" not in plain.text
    if endpoint.scoped:
        refused(world.call(endpoint.method, path, "globex", params={"tenant": "acme"}), 404)
        refused(world.call(endpoint.method, path, "globex", params={"tenant": "acme", "user": "alice"}), 404)
    assert (acme.heads, acme.waiting(), world.store.admin.keys()[0]) == before


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_every_route_answers_its_own_tenant_as_described(world, endpoint) -> None:
    found = world.call(endpoint.method, world.path_of(endpoint))
    assert found.status_code == endpoint.status, found.text
    assert found.headers["content-type"] == "application/json"
    assert found.headers["cache-control"] == "no-store"
    hashes = [key.hash for key in world.ring.admin.keys()]  # noqa: SIM118 - a method, not a mapping
    assert not any(hashed in found.text for hashed in hashes)


def test_a_key_of_one_agent_sees_no_other(world) -> None:
    key = world.make(tenant="acme", agent="desk")
    other = world.make(tenant="acme", agent="other")
    assert world.get("/episodes", key)["items"]
    assert world.get("/episodes", other)["items"] == []
    for path in ("/context", "/episodes", "/revisions"):
        refused(world.call("GET", path, other, params={"agent": "desk"}), 404)
    assert world.get("/scopes", other)["items"] == []
    assert [one["agent"] for one in world.get("/keys", other)["items"]] == ["other"]


def test_an_operator_sees_every_tenant_that_it_names(world) -> None:
    assert world.get("/episodes", "operator")["items"] == []
    assert len(world.get("/episodes", "operator", tenant="acme")["items"]) == 1
    tenants = {one["scope"]["tenant"] for one in world.get("/scopes", "operator")["items"]}
    assert tenants == {"acme", "globex"}
    assert {one["scope"]["tenant"] for one in world.get("/scopes")["items"]} == {"acme"}
    assert world.get("/agents")["items"] == [{"agent": "desk", "scopes": 1}]


# ── what it tells ───────────────────────────────────────────────────────────────────────────


def test_the_context_comes_with_blame_and_lift_and_as_text(world) -> None:
    found = world.get("/context")
    by_text = {one["entry"]["text"]: one for one in found["items"]}
    assert by_text[SECRET_WORDS]["blame"]["revision"] == world.revision.id
    assert by_text[SECRET_WORDS]["blame"]["author"] == "ana"
    assert found["heads"]["tenant"] == world.revision.id
    assert all(one["lift"] == {} or "mean" in next(iter(one["lift"].values())) for one in found["items"])
    assert SECRET_WORDS in world.get("/context/text")["documents"]["rules.md"]
    assert world.revision.id in world.get("/context/text", blame="true")["documents"]["rules.md"]
    first = world.agent(tenant="acme").log()[-1].id
    assert SECRET_WORDS not in {one["entry"]["text"] for one in world.get("/context", revision=first)["items"]}


def test_lists_come_in_pages(world) -> None:
    acme = world.agent(tenant="acme")
    for number in range(4):
        acme.act(f"question {number}", choices=TEAMS)
    seen, offset = [], 0
    while offset is not None:
        page = world.get("/episodes", limit=2, offset=offset)
        assert len(page["items"]) <= 2
        seen += [one["id"] for one in page["items"]]
        offset = page["next"]
    assert seen == [one.id for one in world.store.episodes(acme.scope)]
    assert len(seen) == 5
    for query in ({"limit": 0}, {"limit": 201}, {"limit": "x"}, {"offset": -1}, {"offset": 10**9}, {"limit": "٣"}):
        refused(world.call("GET", "/episodes", params=query), 400)


def test_history_can_be_read_compared_and_taken_back(world) -> None:
    log = world.get("/revisions")["items"]
    assert [one["id"] for one in log] == [one.id for one in world.agent(tenant="acme").log()]
    id = log[0]["id"]
    assert world.get(f"/revisions/{id}")["edit"]["rationale"] == SECRET_WORDS
    assert SECRET_WORDS in world.get(f"/revisions/{id}/diff")["diff"]
    assert SECRET_WORDS in world.get(f"/revisions/{id}/diff", since=log[-1]["id"])["diff"]
    made = world.call("POST", f"/revisions/{id}/revert", json={"reason": "wrong"})
    assert made.json()["edit"]["rationale"] == "wrong"
    assert made.json()["author"].startswith("key ")
    assert SECRET_WORDS not in {one["entry"]["text"] for one in world.get("/context")["items"]}
    refused(world.call("POST", f"/revisions/{id}/revert", json={}), 400)


def test_verdicts_are_explained_and_decided_by_a_person(world) -> None:
    tried = world.get("/attempts", decision="accept")["items"]
    assert [one["id"] for one in tried] == [world.attempt.id]
    assert world.get(f"/attempts/{world.attempt.id}/verdict")["lines"][0]["about"] == "verdict"
    assert world.get(f"/attempts/{world.attempt.id}/evidence") == {"items": []}
    (waiting,) = world.get("/review")["items"]
    assert waiting["feedback"][0]["comment"] == SECRET_WORDS
    assert world.get("/gate")["tiers"]
    gone = world.call("POST", f"/review/{world.waiting.id}/decline", json={"reason": "no"}).json()
    assert gone["verdict"]["decision"] == "reject"
    assert world.get("/review")["items"] == []
    refused(world.call("POST", f"/review/{world.waiting.id}/approve"), 404)


def test_a_waiting_change_can_be_approved(world) -> None:
    made = world.call("POST", f"/review/{world.waiting.id}/approve")
    assert made.status_code == 200, made.text
    assert made.json()["verdict"]["basis"] == "human"


def test_an_episode_is_found_by_the_providers_own_id_too(world) -> None:
    by_ours, by_theirs = world.get(f"/episodes/{world.episode.id}"), world.get("/episodes/chatcmpl-1")
    assert by_ours == by_theirs
    assert by_ours["feedback"][0]["value"] == "Kestrel"
    refused(world.call("GET", "/episodes/chatcmpl-1", "globex"), 404)


# ── keys ────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_made_used_and_revoked(world) -> None:
    made = world.call("POST", "/keys", json={"label": "dashboard", "rights": ["read"], "days": 1}).json()
    assert (made["tenant"], made["rights"], made["valid"]) == ("acme", ["read"], True)
    assert world.get("/health", made["secret"])["version"]
    assert made["secret"] not in json.dumps(world.get("/keys"))
    assert world.call("POST", f"/keys/{made['id']}/revoke").json()["valid"] is False
    refused(world.call("GET", "/health", made["secret"]), 401)


def test_a_key_makes_none_that_may_do_more_than_itself(world) -> None:
    admin_only = world.make(tenant="acme", rights=["admin"])
    for key, wish in (
        ("acme", {"tenant": "globex"}), ("acme", {"tenant": ""}), (admin_only, {"rights": ["infer"]}), (admin_only, {}),
        (world.make(tenant="acme", agent="desk"), {"agent": "other"}),
    ):  # fmt: skip
        refused(world.call("POST", "/keys", key, json=wish), 403)
    brief = world.make(tenant="acme", expires=NOW + timedelta(days=1))
    made = world.call("POST", "/keys", brief, json={"days": 30}).json()
    assert datetime.fromisoformat(made["expires"]) == NOW + timedelta(days=1)
    assert world.call("POST", "/keys", "operator", json={"tenant": "new"}).json()["tenant"] == "new"


# ── form ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"1", b'{"reason": 1}', b'{"more": ""}', b'{"reason": "\\ud800"}', b"[" * 5_000, b"\xff"]
)
def test_a_body_that_is_not_as_described_is_refused(world, body) -> None:
    refused(world.call("POST", f"/revisions/{world.revision.id}/revert", content=body), 400)


def test_a_body_that_is_too_large_is_refused(world) -> None:
    refused(world.call("POST", "/keys", content=b" " * 64_001), 413)


@pytest.mark.parametrize("path", ["/nothing", "/revisions/x/y/z", "/forgotten", "/../etc/passwd", "/keys/%00/x"])
def test_what_is_no_route_is_a_problem_too(world, path) -> None:
    refused(world.call("GET", path), 404)


def test_another_method_is_told_which_ones_there_are(world) -> None:
    found = world.call("DELETE", "/keys")
    assert found.status_code == 405
    assert {one.strip() for one in found.headers["allow"].split(",")} >= {"GET", "POST"}
    assert found.headers["content-type"] == "application/problem+json"


def test_i8_a_tenants_key_erases_nothing_of_the_base_by_a_users_name_or_by_what_was_made_of_theirs(world) -> None:
    """`ana` is the operator, too: anybody may call a user so."""
    base, mine = world.agent(), world.agent(tenant="acme", user="ana")
    base.observe(base.act("where is my parcel", choices=TEAMS), correction="Kestrel")
    base.learn()
    said = mine.observe(mine.act("hello", choices=TEAMS), correction="Basalt")
    rule = Entry(kind=Kind.RULE, doc="rules", text="of several")
    base.commit(Edit(ops=(Put(entry=rule),), rationale="shared", evidence=(said.id,)))
    before = {one.text for one in base.context().entries}
    wish = {"kind": "user", "dry_run": False}
    answer = world.call("POST", "/forget", params={"tenant": "acme", "user": "ana"}, json=wish).json()
    assert {one.text for one in base.context().entries} == before
    assert len(world.store.feedback(base.scope)) == 1
    assert answer["beyond"] == [rule.id]
    assert any("only an operator" in words for words in answer["unreached"])
    world.call("POST", "/forget", "operator", json={"kind": "entry", "id": rule.id[-8:], "dry_run": False})
    assert {one.text for one in base.context().entries} == before - {"of several"}


def test_a_defect_is_a_problem_without_words(world, monkeypatch, caplog) -> None:
    def broken(*_args, **_more):
        raise RuntimeError(SECRET_WORDS)

    monkeypatch.setattr(world.store, "episodes", broken)
    found = world.call("GET", "/episodes")
    assert found.status_code == 500
    assert SECRET_WORDS not in found.text
    assert "episodes failed" in caplog.text


def test_the_store_is_never_read_on_the_event_loop(world, monkeypatch) -> None:
    threads = []
    for name in ("heads", "context", "log", "episodes", "attempts", "feedback", "cases", "key_by_hash", "save_key"):
        real = getattr(world.store, name)
        monkeypatch.setattr(
            world.store, name, lambda *a, real=real, **b: threads.append(threading.current_thread()) or real(*a, **b)
        )
    for endpoint in ENDPOINTS:
        world.call(endpoint.method, world.path_of(endpoint))
    assert threads
    assert threading.main_thread() not in threads


def test_the_description_names_every_route_and_needs_no_key(world) -> None:
    told = world.call("GET", "/openapi.json", "")
    assert told.status_code == 200
    assert told.json() == openapi()
    described = {(method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods}
    assert described == {(one.method, PREFIX + one.path) for one in ENDPOINTS} | {("GET", f"{PREFIX}/openapi.json")}
    mounted = {(method, route.path) for route in world.app.routes for method in route.methods} - {
        (method, path) for method, path in {("HEAD", route.path) for route in world.app.routes}
    }
    assert mounted == described
