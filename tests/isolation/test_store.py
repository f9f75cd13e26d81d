"""One scope never learns of another, nor changes it: every method, random programs, and every predicate removed."""

from __future__ import annotations

import copy
import itertools
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tokenspace.domain import Scope
from tokenspace.errors import BadData, NotFound, UsageError
from tokenspace.protocols import Admin, Store
from tokenspace.store import open_store
from tokenspace.testing import isolation
from tokenspace.testing.isolation import NEITHER, READS, WRITES, check_methods, interferences
from tokenspace.testing.samples import OTHERS, USER, an_episode, commit

sys.path.insert(0, str(Path(__file__).parent))
import mutants

PROGRAMS = {"memory": 2_000, "sqlite": 2_000, "postgresql": 200}


def public(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_") and callable(getattr(protocol, name))}


def test_i8_every_method_of_the_store_is_asked() -> None:
    """A new method without a row in a table of `testing.isolation` fails here."""
    assert public(Store) == {*READS, *WRITES, *NEITHER}


def test_i8_no_operators_verb_is_a_method_of_the_store() -> None:
    from tokenspace.store.sql import SqlStore

    assert not public(Admin) & public(Store)
    assert not public(Admin) & {name for name in dir(SqlStore) if not name.startswith("_")}


def test_i8_no_method_tells_or_changes_anything_of_another_scope(empty_store: Callable[[], Any]) -> None:
    found = check_methods(empty_store, scopes=(USER, *OTHERS, isolation.TENANT, isolation.NOBODY))
    assert found.hits == []
    assert found.calls > 700


@pytest.mark.parametrize("forgotten", [{"user": "bob"}, {"tenant": "acme"}, {"agent": "desk"}], ids=str)
def test_i8_the_probe_notices_a_store_that_forgets_a_name(
    forgotten: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, forgets = open_store("memory:"), []
    peek, plant = store._peek, isolation.plant

    def planted(store: Any, scope: Scope) -> Any:
        forgets.clear()
        made = plant(store, scope)
        forgets.append(True)
        return made

    monkeypatch.setattr(isolation, "plant", planted)
    monkeypatch.setattr(store, "_peek", lambda one: peek(replace(one, **forgotten) if one.user and forgets else one))
    assert check_methods(lambda: store).hits


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROGRAMS)
def test_i8_answers_to_one_are_the_same_bytes_with_and_without_others(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    numbers = itertools.count()

    def make() -> Any:
        if kind == "memory":
            return open_store("memory:")
        if kind == "sqlite":
            store = open_store(f"sqlite:///{tmp_path}/{next(numbers)}.db")
            mutants.hasty(store)
            return store
        return open_store(urls.pop())

    urls = []
    if kind == "postgresql":
        import psycopg

        first = request.getfixturevalue("postgresql_url")
        urls = [first, first.replace("?", "b?", 1)]
        with psycopg.connect(request.getfixturevalue("postgresql_server"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {first.split('?')[0].rsplit('/', 1)[1]}b")
    assert interferences(make, programs=PROGRAMS[kind]) == []


def test_i8_a_few_programs_on_every_store(empty_store: Callable[[], Any], store_url: str) -> None:
    if store_url.startswith("postgresql"):
        pytest.skip("both stores would be one: the slow test makes two databases")
    made = iter([empty_store(), open_store("memory:")])
    assert interferences(lambda: next(made), programs=10) == []


def test_i8_a_program_that_sees_another_user_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "THEIRS", isolation.MINE)
    assert interferences(lambda: open_store("memory:"), programs=5)


def test_i8_every_statement_that_the_store_makes_at_import_is_run_by_the_probe(tmp_path: Path) -> None:
    """So each has its mutants. `testing.isolation` must call what uses a new one."""
    run: dict[Any, None] = {}
    list(mutants.transcript(mutants.numbered(tmp_path), run))
    made = {name: one for name, one in mutants.made_at_import().items() if mutants.predicates(one)}
    assert len(made) > 20
    nobody_runs = {
        f"tokenspace.store.evidence._{name}" for name in ("EPISODES.oldest", "FEEDBACK.newest", "CASES.newest")
    }
    assert {name for name, one in made.items() if one not in run} == nobody_runs


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_i8_every_predicate_that_is_taken_away_is_missed(tmp_path: Path) -> None:
    found = mutants.mutants(tmp_path)
    sys.stdout.write(f"{found.caught} of {found.total} mutants caught\n")
    assert found.missed == []
    assert found.total > 100


# ── a scope cannot be made up ───────────────────────────────────────────────────────────────


class Sly(str):
    """A name that is equal to every other."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("alice")


TRICKS = [
    "alice/", "/alice", "a/b", "", " alice", "alice ", "alice\0", "ali\0ce", "alice\n", "\u202ealice", "ali\u200bce",
    "x" * 129, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", TRICKS, ids=ascii)
@pytest.mark.parametrize("part", ["agent", "tenant", "user"])
def test_i8_a_name_that_could_be_taken_for_another_is_refused(part: str, name: str) -> None:
    names = {"agent": "desk", "tenant": "acme", "user": "alice", part: name}
    if not name and part == "user":
        return  # not narrowed to a user
    with pytest.raises(UsageError):
        Scope(**names)


@pytest.mark.parametrize("part", ["agent", "tenant", "user"])
def test_i8_a_text_that_behaves_like_another_is_refused(part: str) -> None:
    for name in (Sly("bob"), Sly(""), None, 7, b"alice", ["alice"]):
        with pytest.raises(UsageError, match="plain text"):
            Scope(**{"agent": "desk", "tenant": "acme", "user": "alice", part: name})


def test_i8_a_scope_is_made_by_its_constructor_alone() -> None:
    for other in (copy.copy(USER), copy.deepcopy(USER), pickle.loads(pickle.dumps(USER)), replace(USER)):
        assert other == USER
    with pytest.raises(UsageError):
        replace(USER, user="a/b")
    forged = pickle.dumps(USER).replace(b"alice", b"al/ce")
    with pytest.raises(UsageError):
        pickle.loads(forged)
    with pytest.raises(TypeError, match="nothing derives"):
        type("Mine", (Scope,), {})


class Lookalike:
    agent, tenant, user = "desk", "acme", "alice"

    @property
    def layers(self) -> tuple[Any, ...]:
        return (self,)

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(USER)


def test_i8_what_only_looks_like_a_scope_opens_nothing(empty_store: Callable[[], Any]) -> None:
    store = empty_store()
    store.record(an_episode(USER, id="e"))
    for wrong in (Lookalike(), "desk/acme/alice", ("desk", "acme", "alice"), None):
        for call in (store.episodes, store.heads, store.cases, store.canaries, store.log):
            with pytest.raises((UsageError, AttributeError, TypeError)):
                call(wrong)
    store.close()


ALIKE = ["Alice", "ALICE", "аlice", "ａlice", "alicé", "alice\u0301", "..", ".", "%", "_", "alic_", "%2e%2e", "alice'--",
         "' OR '1'='1", "\\", "alice\\", "alice;", '"', "alice|", "*", "alic", "alicee", "$user", "E'"]  # fmt: skip


def test_i8_a_name_that_looks_alike_is_somebody_else(empty_store: Callable[[], Any]) -> None:
    store = empty_store()
    store.record(an_episode(USER, id="e"))
    for name in ALIKE:
        for scope in (replace(USER, user=name), replace(USER, tenant=name), replace(USER, agent=name)):
            assert store.episodes(scope) == []
            store.record(an_episode(scope, id="e"))
            assert [one.scope for one in store.episodes(scope)] == [scope]
    assert len(store.admin.scopes()) == 1 + 3 * len(ALIKE)
    assert [one.scope for one in store.episodes(USER)] == [USER]
    store.close()


def test_i8_names_of_branches_and_sessions_reach_no_other_scope(empty_store: Callable[[], Any]) -> None:
    store = empty_store()
    commit(store, USER, isolation.Put(entry=isolation.rule("secret")))
    store.create_branch(USER, "draft")
    store.save_session(isolation.Session(id="s", scope=USER, heads=isolation.Heads(), last_seen=isolation.NOW))
    for other in OTHERS:
        for name in (
            "draft",
            "desk/acme/alice/draft",
            "../alice/draft",
            "acme/alice",
            "' OR ''='",
            "%",
            "alice\0draft",
        ):
            for call in (lambda: store.heads(other, branch=name), lambda: store.log(other, branch=name)):  # noqa: B023
                with pytest.raises((NotFound, BadData)):
                    call()
            if "\0" not in name:
                assert store.session(other, name) is None
    store.close()


def test_i8_what_belongs_to_others_is_unknown_in_the_same_words(empty_store: Callable[[], Any]) -> None:
    """Of `READS`, those that name one thing by its id; `check_methods` compares all of them."""
    store = empty_store()
    it = isolation.plant(store, USER)
    for other in (*OTHERS, isolation.NOBODY):
        for known in (it.revision, it.watched):
            said = []
            for id in (known, isolation.UNKNOWN):
                with pytest.raises(NotFound) as caught:
                    store.revision(other, id)
                said.append((str(caught.value).replace(id, "it"), caught.value.hint))
            assert said[0] == said[1]
        with pytest.raises(NotFound, match="has no episode episode"):
            store.episode(other, "episode")
        with pytest.raises(NotFound, match="has no case case"):
            store.pin(other, "case")
    store.close()
