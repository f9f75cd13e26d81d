"""Every way in, enumerated: the Python API, the command line, the admin API, feedback, MCP and injection.

One user's context is full; somebody else comes by each way with that user's ids: another user of the tenant, another
tenant, and nobody. Nothing of it may be told, an id must be as unknown as one that nobody has, and nothing may change.
A new method, command, route or tool without a row in its table here fails.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner

from tokenspace.api import Bridge, LearningAgent
from tokenspace.cli.app import app
from tokenspace.config import Settings, build
from tokenspace.domain import Edit, Put, Scope
from tokenspace.errors import NotFound, TokenspaceError
from tokenspace.gateway.admin import PREFIX, admin_app
from tokenspace.gateway.admin_routes import ENDPOINTS
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.inject import LedgerInjector
from tokenspace.gateway.keys import RIGHTS, KeyRing, make_key
from tokenspace.gateway.mcp_tools import TOOLS, Desk
from tokenspace.gateway.wire import Caller, GatewaySettings
from tokenspace.interop.memory_files import MemoryFiles
from tokenspace.oversight import Oversight
from tokenspace.recall import HashEmbedder
from tokenspace.store import open_store
from tokenspace.testing.isolation import NOBODY, UNKNOWN, Planted, all_of, plant
from tokenspace.testing.samples import USER, an_attempt, commit, rule

OTHERS = (Scope(agent="desk", tenant="acme", user="bob"), Scope(agent="desk", tenant="globex", user="alice"), NOBODY)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
MARK = "canary-desk-acme-alice-end"


@pytest.fixture(autouse=True)
def _no_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenspace.recall.default_embedder", HashEmbedder)


class World:
    """A store in which one user has something of everything, and an agent for whoever comes."""

    def __init__(self, url: str = "memory:") -> None:
        self.seconds = 0
        self.store = open_store(url, clock=self.clock)
        settings = Settings(agent="desk", model="nearest", principal="ana", teachers=frozenset({"ana"}))
        self.parts = build(settings, store=self.store, clock=self.clock)
        self.bridge = Bridge()
        self.it = plant(self.store, USER)
        self.whole = all_of(self.store, USER)

    def clock(self) -> datetime:
        self.seconds += 1
        return NOW + timedelta(seconds=self.seconds)

    def agent(self, scope: Scope) -> LearningAgent:
        return LearningAgent(self.parts, scope, principal="ana", bridge=self.bridge)

    def untouched(self) -> bool:
        return all_of(self.store, USER) == self.whole

    def close(self) -> None:
        self.bridge.close()
        self.store.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def said_by(call: Callable[[], Any]) -> str:
    try:
        return repr(call())
    except TokenspaceError as error:
        return f"{type(error).__name__}: {error} {error.hint}"


def check(world: World, name: str, call: Callable[[Planted], Any]) -> None:
    """Nothing of the user's is told or changed, and their ids are as unknown as any."""
    told = said_by(lambda: call(world.it))
    assert MARK not in told, f"{name} told {told[:300]}"
    nobody = replace(world.it, revision=UNKNOWN, watched=UNKNOWN)
    unknown = said_by(lambda: call(nobody))
    for id in (world.it.revision, world.it.watched):
        told = told.replace(id, UNKNOWN).replace(id[:12], UNKNOWN[:12])
    assert steady(told) == steady(unknown), name
    assert world.untouched(), f"{name} changed what is somebody else's"


def steady(words: str) -> str:
    """Without ids that are new at every call, and times."""
    words = re.sub(r"datetime\.datetime\([^)]*\)", "then", words)
    return re.sub("[0-9a-f]{32}", "id", words.replace(UNKNOWN, "id"))


# ── the Python API ──────────────────────────────────────────────────────────────────────────


def _edit(it: Planted) -> Edit:
    return Edit(ops=(Put(entry=rule("mine")),), evidence=(it.revision,))


AGENT: Mapping[str, Callable[[LearningAgent, Planted], Any]] = {
    "act": lambda agent, _: agent.act("canary", choices=["a", "b"], session="session").run,
    "observe": lambda agent, _: agent.observe("episode", correction="mine"),
    "learn": lambda agent, _: [one.verdict for one in agent.learn().attempts],
    "sleep": lambda agent, _: [one.verdict for one in agent.sleep().attempts],
    "heads": lambda agent, _: agent.heads,
    "context": lambda agent, it: [agent.context().entries, said_by(lambda: agent.context(it.revision))],
    "text": lambda agent, _: [agent.text(), agent.text(blame=True)],
    "log": lambda agent, _: agent.log(),
    "show": lambda agent, it: agent.show(it.revision),
    "diff": lambda agent, it: [said_by(lambda: agent.diff(it.revision)), said_by(lambda: agent.diff(None, it.watched))],
    "blame": lambda agent, _: agent.blame(),
    "lift": lambda agent, _: agent.lift(),
    "why": lambda agent, _: agent.why("episode"),
    "revert": lambda agent, it: agent.revert(it.revision),
    "edit": lambda agent, _: agent.edit({"rules.md": "- mine\n"}) and None,
    "branch": lambda agent, _: agent.on("draft").branch and said_by(lambda: agent.on("draft").context()),
    "branches": lambda agent, _: agent.branches(),
    "create_branch": lambda agent, _: said_by(lambda: agent.create_branch("draft")) and None,
    "publish": lambda agent, _: said_by(lambda: agent.publish("canary")),
    "drop_branch": lambda agent, _: said_by(lambda: agent.drop_branch("draft")) and None,
    "commit": lambda agent, it: said_by(lambda: agent.commit(_edit(it))) and None,
    "waiting": lambda agent, _: agent.waiting(),
    "approve": lambda agent, _: agent.approve("attempt"),
    "decline": lambda agent, _: agent.decline("attempt"),
    "episode": lambda agent, _: said_by(lambda: agent.episode("episode")),
    "find": lambda agent, it: [said_by(partial(agent.find, id)) for id in (it.revision, "episode", "attempt")],
    "unlearned": lambda agent, _: agent.unlearned(),
    "at": lambda agent, _: agent.at("acme").log(),
    "on": lambda agent, _: said_by(lambda: agent.on("draft").log()),
    "gate": lambda agent, _: agent.gate.report(),
    "memory": lambda agent, _: agent.wait(agent.memory.run({"command": "view", "path": "/memories"})),
    "store": lambda agent, _: agent.store.episodes(agent.scope),
}
PLAIN = {"wait", "close"}
"""Neither takes nor gives anything of a scope."""

GATE: Mapping[str, Callable[[Oversight, Scope, Planted], Any]] = {
    "report": lambda gate, _, it: gate.report(),
    "explain": lambda gate, scope, it: gate.explain(
        an_attempt("key", id="attempt", scope=scope, evidence=("feedback",))
    ),
    "evidence": lambda gate, scope, it: gate.evidence(an_attempt("key", id="attempt", scope=scope)),
    "canaries": lambda gate, _, it: [gate.canaries(), gate.canaries(ended=True)],
    "step": lambda gate, _, it: gate.step(),
    "stop": lambda gate, scope, it: [said_by(partial(gate.stop, one)) for one in _canaries(scope, it)],
    "promote": lambda gate, scope, it: [said_by(partial(gate.promote, one)) for one in _canaries(scope, it)],
    "release": lambda gate, _, it: gate.release().test,
    "noise": lambda gate, _, it: said_by(lambda: gate.noise(pairs=1)),
    "measure_renderers": lambda gate, _, it: said_by(gate.measure_renderers),
    "cases": lambda gate, _, it: gate.cases(),
    "pin": lambda gate, scope, it: said_by(lambda: gate.pin(_case(scope))),
}

FILES: Mapping[str, Callable[[LearningAgent], Any]] = {
    "run": lambda agent: [said_by(partial(_run, agent, one)) for one in (
        {"command": "view", "path": "/memories"}, {"command": "view", "path": "/memories/rules.md"},
        {"command": "view", "path": "/memories/../acme/alice/rules.md"}, {"command": "view", "path": "/memories/%2e%2e/x"},
    )],
    "note": lambda agent: said_by(lambda: agent.wait(agent.memory.note("mine"))) and None,
}  # fmt: skip


def _run(agent: LearningAgent, asked: Mapping[str, Any]) -> Any:
    return agent.wait(agent.memory.run(asked))


def _canaries(scope: Scope, it: Planted) -> list[Any]:
    """The user's canary as it is told of, with the caller's own scope put into it, and with none of ours."""
    return [replace(it.canary, scope=scope, reason="")]


def _case(scope: Scope) -> Any:
    from tokenspace.testing.samples import a_case

    return a_case(scope=scope, id="case")


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_i8_every_public_method_is_in_a_table() -> None:
    assert public(LearningAgent) == {*AGENT, *PLAIN}
    assert public(Oversight) == set(GATE)
    assert public(MemoryFiles) == set(FILES)


@pytest.mark.parametrize("scope", OTHERS, ids=str)
def test_i8_no_method_of_an_agent_tells_or_changes_anything_of_another_scope(world: World, scope: Scope) -> None:
    agent = world.agent(scope)
    for name, call in AGENT.items():
        if name == "act":
            check(world, name, lambda it: call(agent, it).output)  # noqa: B023 - called at once
        else:
            check(world, name, lambda it: call(agent, it))  # noqa: B023
    for name, call in GATE.items():
        check(world, f"gate.{name}", lambda it: call(agent.gate, scope, it))  # noqa: B023
    for name, call in FILES.items():
        check(world, f"memory.{name}", lambda _: call(agent))  # noqa: B023


def test_i8_the_table_would_notice(world: World) -> None:
    """The same calls by the user themselves tell a lot."""
    agent = world.agent(USER)
    wanted = {"context", "text", "log", "show", "waiting", "episode", "find", "store"}
    assert {name for name in wanted if MARK in said_by(lambda: AGENT[name](agent, world.it))} == wanted  # noqa: B023


# ── the command line ────────────────────────────────────────────────────────────────────────

COMMANDS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("ask",): ("canary", "--choice", "a", "--choice", "b", "--session", "session"),
    ("feedback",): ("episode", "--correct", "mine"),
    ("learn",): (), ("sleep",): (), ("review",): ("attempt",), ("status",): (), ("context",): ("--blame",),
    ("log",): ("--episodes", "--attempts"), ("show",): ("REVISION",), ("diff",): ("REVISION",), ("blame",): (),
    ("why",): ("episode",), ("edit",): ("--from", "EMPTY"), ("tools", "list"): (), ("tools", "audit"): (),
    ("tools", "import"): ("EMPTY",), ("revert",): ("REVISION",), ("branch",): ("-d", "draft"),
    ("skills", "import"): ("EMPTY",), ("skills", "export"): ("OUT",), ("gate", "status"): (),
    ("gate", "explain"): ("attempt",), ("gate", "canaries"): ("--all", "--stop", "watch"), ("gate", "release"): (),
    ("gate", "noise"): ("--pairs", "1"), ("gate", "renderers"): (), ("gate", "cases"): ("--pin", "case"),
    ("forget",): ("--episode", "episode", "--yes"), ("scan",): ("--context",), ("audit",): ("--object", "REVISION"),
}  # fmt: skip
"""What each command is asked, of another scope, about somebody's things."""

OPERATORS: Mapping[tuple[str, ...], tuple[str, ...] | None] = {
    ("verify",): (), ("keys", "list"): (), ("keys", "create"): (), ("keys", "revoke"): ("nothing",),
    ("receipts", "list"): (), ("receipts", "show"): ("nothing",), ("receipts", "key"): (),
    ("receipts", "verify"): ("EMPTY",), ("seal",): ("--check",), ("jobs", "list"): (), ("jobs", "cancel"): ("nothing",),
    ("models",): (), ("doctor",): (),
    ("backup",): None, ("move",): None,  # copy the whole store to where whoever can read all of it says
    ("worker",): None, ("serve",): None, ("mcp",): None,  # run for ever; what they answer is asked below
    ("init",): None, ("demo",): None, ("stream",): None,  # make a store of their own
}  # fmt: skip
"""What is of the whole store: it tells no texts of anybody either, except where it copies them."""


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, (*path, name))
    else:
        yield path


def test_i8_every_command_is_in_a_table() -> None:
    assert set(leaves(app)) == {*COMMANDS, *OPERATORS}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, Path]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENSPACE_PRINCIPAL", "ana")
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(app, ["init", "--model", "nearest", "--agent", "desk"]).exit_code == 0
    made = World(f"sqlite:///{tmp_path}/.tokenspace/store.db")
    yield made, tmp_path
    made.close()


def invoke(world: World, folder: Path, path: tuple[str, ...], words: tuple[str, ...], scope: Scope) -> str:
    known = {"REVISION": world.it.revision, "EMPTY": str(folder / "empty"), "OUT": str(folder / "out")}
    chosen = [known.get(word, word) for word in words]
    where = ["--tenant", scope.tenant] if scope.tenant else []
    where += ["--user", scope.user] if scope.user else []
    done = CliRunner().invoke(app, [*path, *chosen, *where], input="")
    assert done.exception is None or isinstance(done.exception, SystemExit), (path, done.output, done.exception)
    assert "Traceback" not in done.output
    return done.output


@pytest.mark.slow
@pytest.mark.parametrize("scope", [*OTHERS, Scope(agent="desk")], ids=str)
def test_i8_no_command_tells_or_changes_anything_of_another_scope(project: tuple[World, Path], scope: Scope) -> None:
    world, folder = project
    table = {**COMMANDS, **{path: words for path, words in OPERATORS.items() if words is not None}}
    for path, words in table.items():
        told = invoke(world, folder, path, words, scope)
        assert MARK not in told, f"{' '.join(path)} told {told}"
        if "REVISION" not in words:
            assert world.it.revision[:12] not in told, f"{' '.join(path)} told {told}"
        assert world.untouched(), f"{' '.join(path)} changed what is somebody else's"
    if (folder / "out").exists():
        assert not [one for one in (folder / "out").rglob("*") if one.is_file() and MARK in one.read_text("utf-8")]


@pytest.mark.slow
def test_i8_the_commands_would_notice(project: tuple[World, Path]) -> None:
    world, folder = project
    asked = [("context",), ("log",), ("show",), ("diff",), ("blame",), ("review",)]
    told = {path for path in asked if MARK in invoke(world, folder, path, COMMANDS[path], USER)}
    assert told >= {("context",), ("log",), ("show",)}


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────


class Server(World):
    """The admin API over the world's store, with a key for each tenant."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = KeyRing(self.store.admin, clock=lambda: NOW, cache_s=0)
        self.app = admin_app(self.parts, self.ring, GatewaySettings(agent="desk"))
        ends = {"expired": {"tenant": "acme", "expires": NOW}, "acme": {"tenant": "acme"}, "globex": {"tenant": "globex"},
                "initech": {"tenant": "initech"}}  # fmt: skip
        self.made = {name: make_key(self.store.admin, at=NOW, rights=RIGHTS, **more) for name, more in ends.items()}

    def call(self, endpoint: Any, ids: Mapping[str, str], key: str, **query: str) -> httpx.Response:
        path = endpoint.path.replace("{id}", ids.get(endpoint.path.split("/")[1], UNKNOWN))
        body = BODIES.get(endpoint.path, {}) if endpoint.body is not None else None

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                headers = {"authorization": f"Bearer {self.made[key][1]}"} if key else {}
                return await client.request(endpoint.method, PREFIX + path, headers=headers, params=query, json=body)

        return asyncio.run(send())


BODIES = {"/forget": {"kind": "episode", "id": "episode"}, "/keys": {"label": "mine"}}
WHO = {
    "another user": ("acme", {"user": "bob"}),
    "another tenant": ("globex", {}),
    "another tenant's user of that name": ("globex", {"user": "alice"}),
    "another tenant that says it is this one": ("globex", {"tenant": "acme", "user": "alice"}),
    "nobody": ("", {"tenant": "acme", "user": "alice"}),
    "an expired key": ("expired", {"tenant": "acme", "user": "alice"}),
}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.app.state.close()
    made.close()


@pytest.mark.parametrize("who", WHO)
def test_i8_no_route_tells_or_changes_anything_of_another_scope(server: Server, who: str) -> None:
    key, query = WHO[who]
    ids = {"revisions": server.it.revision, "attempts": "attempt", "review": "attempt", "episodes": "episode",
           "keys": server.made["acme"][0].id if key != "acme" else UNKNOWN}  # fmt: skip
    for endpoint in ENDPOINTS:
        asked = query if endpoint.scoped else {}
        found = server.call(endpoint, ids, key, **asked)
        where = f"{endpoint.method} {endpoint.path} for {who}: {found.status_code} {found.text[:300]}"
        assert MARK not in found.text, where
        # Else the caller said it, or may list its tenant's scopes, or reads in the log that it asked for it.
        if "{id}" not in endpoint.path and key != "acme" and endpoint.path != "/audit":
            assert server.it.revision not in found.text, where
        if endpoint.path == "/audit" and found.status_code == 200 and key == "globex":
            assert {one["tenant"] for one in found.json()["items"]} <= {"globex"}, where
        if key in {"", "expired"}:
            assert found.status_code == 401, where
        elif "{id}" in endpoint.path:
            assert found.status_code in {400, 403, 404}, where
            unknown = server.call(endpoint, {}, key, **asked)
            assert (found.status_code, worded(found, ids)) == (unknown.status_code, worded(unknown, ids)), where
        elif "tenant" in asked:
            assert found.status_code in {400, 403, 404}, where
        assert server.untouched(), where


def worded(response: httpx.Response, ids: Mapping[str, str]) -> str:
    """The problem in words, without the id that was asked for."""
    words = response.text
    for id in sorted({*ids.values(), UNKNOWN}, key=len, reverse=True):
        words = re.sub(rf"(?<=[/ ']){id}|{id[:12]}(?=[^0-9a-f])", "id", words)
    return re.sub(r'"request_id":"[^"]*"', "", words)


@pytest.mark.parametrize("scope", OTHERS, ids=str)
def test_i8_no_tool_or_resource_of_mcp_tells_or_changes_anything_of_another_scope(world: World, scope: Scope) -> None:
    desk = Desk(world.parts, Caller(scope=scope, rights=frozenset({"read", "feedback"})))
    asked: dict[str, list[dict[str, Any]]] = {
        "recall": [{"query": MARK}], "lessons": [{}],
        "memory": [{"command": "view", "path": "/memories"}, {"command": "view", "path": "/memories/rules.md"},
                   {"command": "delete", "path": "/memories/rules.md"}],
        "note_to_self": [{"text": "mine"}],
        "outcome": [{"episode": "episode", "success": True}],
        "feedback": [{"episode": "episode", "correction": "mine"}],
    }  # fmt: skip
    assert {tool.name for tool in TOOLS} == set(asked)
    for name, every in asked.items():
        for arguments in every:
            told = ""
            try:
                told = repr(desk.call(name, arguments))
            except (TokenspaceError, KeyError) as error:
                told = repr(error)
            assert MARK not in told.replace(repr(arguments.get("query", "")), ""), f"{name} told {told[:300]}"
            assert world.untouched(), name
    for uri in [page.uri for page in world_pages(world)]:
        if world.it.revision in uri:
            with pytest.raises(NotFound):
                desk.page(uri)
        else:
            assert MARK not in repr(desk.page(uri))
    assert MARK not in repr([desk.pages(), desk.skills()])


def world_pages(world: World) -> list[Any]:
    return Desk(world.parts, Caller(scope=USER, rights=frozenset({"read"}))).pages()


@pytest.mark.parametrize("name", DIALECTS)
def test_i8_nothing_of_another_scope_is_injected(world: World, name: str) -> None:
    """Whatever a body or a conversation says of itself, `previous` ids and sessions of others included."""
    commit(world.store, USER, Put(entry=rule(MARK)))
    world.store.save_canary(replace(world.it.canary, state="stopped"))  # else it may be served in place of this
    dialect = DIALECTS[name]
    injector = LedgerInjector(
        world.store, settings=GatewaySettings(snapshot_s=0.001, recall_deadline_s=5.0), recall=lambda: world.parts.runtime.recall,
        profiles=lambda _: world.parts.runtime.agent.profile, clock=world.clock,
    )  # fmt: skip
    injector.warm()
    items = [{"role": "user", "content": MARK}]
    body: dict[str, Any] = {"model": "m", "user": "alice", "metadata": {"user_id": "alice"}}
    body |= {"input": items, "previous_response_id": "a"} if name == "responses" else {"messages": items}
    body |= {"max_tokens": 10} if name == "messages" else {}
    try:
        sent = {scope: _sent(injector, dialect, body, scope) for scope in (USER, *OTHERS)}
    finally:
        injector.close()
    assert sent[USER].count(MARK) > 1, "the user's own entry is injected"
    for other in OTHERS:
        assert sent[other].count(MARK) == 1, "what the caller said"


def _sent(injector: LedgerInjector, dialect: Any, body: dict[str, Any], scope: Scope) -> str:
    caller = Caller(rights=frozenset({"infer"}), scope=scope, session=None)
    injection = asyncio.run(injector.prepare(dialect.read(body), caller))
    return repr(body if injection is None else dialect.inject(body, injection))
