"""PostgreSQL keeps scopes apart by itself: raw statements by the application's role, and what the store refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from tokenspace.domain import Put, Scope
from tokenspace.errors import StoreUnavailable, UsageError
from tokenspace.store import open_store, rowlevel
from tokenspace.store.schema import branch, metadata
from tokenspace.testing.isolation import BASE, FILLED, OTHERS, TENANT, USER, plant
from tokenspace.testing.samples import commit, rule, texts

SPELLED = {scope: f"{scope.agent}/{scope.tenant}/{scope.user}" for scope in FILLED}
LINED = [table.name for table in metadata.sorted_tables if "branch" in table.c]


@pytest.fixture
def filled(postgresql_url: str) -> str:
    """A store with something of everything in every scope."""
    store = open_store(postgresql_url)
    for scope in FILLED:
        plant(store, scope)
    store.close()
    return postgresql_url


def raw(url: str, role: str = rowlevel.APP) -> Any:
    """A connection that writes its own SQL, as a role."""
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("SET search_path TO tokenspace")
    if role:
        connection.execute(f"SET ROLE {role}")
    return connection


def seen(connection: Any, spelled: str | None) -> dict[str, set[tuple[str, str, str]]]:
    """Whose rows of each table a raw SELECT shows; the numbers of lines are told by a superuser beforehand."""
    whose = connection.whose
    found: dict[str, set[tuple[str, str, str]]] = {}
    with connection.transaction():
        if spelled is not None:
            connection.execute("SELECT set_config('tokenspace.scope', %s, true)", (spelled,))
        for table in LINED:
            found[table] = {whose[row[0]] for row in connection.execute(f"SELECT branch FROM {table}")}
        found["branch"] = {whose[row[0]] for row in connection.execute("SELECT id FROM branch")}
    return found


class Numbered:
    """A raw connection that knows whose each line is."""

    def __init__(self, url: str) -> None:
        with raw(url, "") as owner:
            self.whose = {
                id: tuple(names) for id, *names in owner.execute('SELECT id, agent, tenant, "user" FROM branch')
            }
        self.connection = raw(url)
        self.execute, self.transaction = self.connection.execute, self.connection.transaction

    def lines(self, names: tuple[str, str, str]) -> str:
        """The numbers of a scope's lines, as SQL lists them."""
        return ",".join(str(id) for id, found in self.whose.items() if found == names)


def leaks(there: Numbered) -> list[str]:
    """Rows that a raw SELECT of a scope shows and should not, and those that it should and does not."""
    wrong: list[str] = []
    for scope in FILLED:
        own = (scope.agent, scope.tenant, scope.user)
        layers = {(one.agent, one.tenant, one.user) for one in scope.layers}
        for table, shown in seen(there, SPELLED[scope]).items():
            wanted = layers if table in rowlevel.LAYERED | {"branch"} else {own}
            wanted = wanted & set(there.whose.values()) if table != "tomb" else shown & layers
            if shown != wanted:
                wrong.append(f"{table} shows {sorted(shown)} in {scope}")
    for nothing in (None, "", "/", "//", "desk", "%/%/%", "/acme/alice", "desk//alice2"):
        shown = {table: rows for table, rows in seen(there, nothing).items() if rows}
        expected = {("desk", "", "")} if nothing in {"desk", "desk//alice2"} else set()
        wrong += [f"{table} shows {rows} in {nothing!r}" for table, rows in shown.items() if not rows <= expected]
    return wrong


def changes(there: Numbered) -> list[str]:
    """What raw statements of a scope change of others and of the layers that it only inherits, or would but for a key.

    Rows of others must not even be found (nothing is changed, and nothing complained of); rows may not be put there
    (the server refuses before it looks at any key).
    """
    wrong: list[str] = []
    for scope in (USER, OTHERS[1], TENANT):
        own = there.lines((scope.agent, scope.tenant, scope.user))
        for other in _others(scope):
            foreign = there.lines(other)
            for table in ("branch", *LINED):
                line = "id" if table == "branch" else "branch"
                mine, theirs = f"{line} IN ({own})", f"{line} IN ({foreign})"
                found = (f"UPDATE {table} SET {line} = {line} WHERE {theirs}", f"DELETE FROM {table} WHERE {theirs}")
                first = foreign.split(",")[0]
                put = (f"INSERT INTO {table} {_copied(table, first, f'FROM {table} WHERE {mine}')}",
                       f"UPDATE {table} SET {_moved(table, first)} WHERE {mine}")  # fmt: skip
                wrong += [f"{words} in {scope}" for words in found if _tried(there, scope, words) != "0"]
                wrong += [f"{words} in {scope}" for words in put if _tried(there, scope, words) not in {"refused", "0"}]
    return wrong


def _others(scope: Scope) -> list[tuple[str, str, str]]:
    bob = ("desk", "acme", "bob")
    return [("desk", "", ""), bob if scope != OTHERS[0] else ("desk", "acme", "alice")]


def _copied(table: str, line: str, here: str) -> str:
    if table == "branch":
        return """(agent, tenant, "user", name, dropped, fork) VALUES ('desk', '', '', 'x', 0, 0)"""
    named = ", ".join(f'"{c.name}"' for c in metadata.tables[table].c if c.name != "branch")
    return f"(branch, {named}) SELECT {line}, {named} {here}"


def _moved(table: str, line: str) -> str:
    # Of lines, up into a layer that it sees: one that it does not see is refused by the policy of reading, too.
    return "tenant = '', \"user\" = '', name = 'y'" if table == "branch" else f"branch = {line}"


def _tried(there: Numbered, scope: Scope, words: str) -> str:
    """How many rows a statement changed, or that it was refused, or that a key was in its way; it is taken back."""
    there.execute("BEGIN")
    try:
        there.execute("SELECT set_config('tokenspace.scope', %s, true)", (SPELLED[scope],))
        return str(there.execute(words).rowcount)
    except psycopg.errors.InsufficientPrivilege:
        return "refused"
    except psycopg.errors.IntegrityError:
        return "a key"
    finally:
        there.execute("ROLLBACK")


def test_i8_raw_statements_see_and_change_what_the_scope_reaches(filled: str) -> None:
    there = Numbered(filled)
    assert leaks(there) == []
    assert changes(there) == []
    there.connection.close()


def test_i8_every_policy_that_is_taken_away_is_missed(filled: str) -> None:
    """Each policy of the application's role, opened to every row in turn, on its own reading or writing side."""
    with raw(filled, "") as owner:
        names = owner.execute(
            "SELECT tablename, policyname, qual IS NOT NULL, with_check IS NOT NULL FROM pg_policies "
            "WHERE schemaname = 'tokenspace' AND policyname <> 'operator' AND tablename <> 'name'"
        ).fetchall()
        assert {table for table, *_ in names} == {*LINED, "branch"}
        there, missed, total = Numbered(filled), [], 0
        for table, policy, using, check in names:
            for side in ["USING"] * using + ["WITH CHECK"] * check:
                total += 1
                owner.execute("BEGIN")
                column = {"USING": "qual", "WITH CHECK": "with_check"}[side]
                (was,) = owner.execute(
                    f"SELECT {column} FROM pg_policies WHERE tablename = %s AND policyname = %s AND schemaname = "
                    "'tokenspace'", (table, policy)).fetchone()  # fmt: skip
                owner.execute("COMMIT")
                owner.execute(f"ALTER POLICY {policy} ON {table} {side} (true)")
                if not (leaks(there) or changes(there)):
                    missed.append(f"{side} of {policy} on {table}")
                owner.execute(f"ALTER POLICY {policy} ON {table} {side} ({was})")
        there.connection.close()
    assert missed == []
    assert total > 50


def test_i8_every_table_forces_a_policy_and_keys_are_for_operators_alone(filled: str) -> None:
    with raw(filled) as application:
        for table in ("api_key", "worker", "job_step", "account"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute(f"SELECT * FROM {table}")
        assert application.execute("SELECT * FROM name").fetchall() == []
        forced = application.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'tokenspace'::regnamespace AND relkind = 'r' "
            "AND NOT (relrowsecurity AND relforcerowsecurity)"
        ).fetchall()
        assert forced == [("tokenspace_version",)]


def test_i8_a_pooled_connection_carries_no_scope_and_no_role_over(filled: str) -> None:
    store = open_store(filled)
    store.episodes(USER)
    store.admin.keys()
    store.record_all([], answers={})
    with store.together():
        commit(store, USER, Put(entry=rule("x")))
    for connection in list(store.db._idle):
        store.db.hooks.control(connection, "SELECT 1")
        found = connection.driver_connection.execute(
            "SELECT current_setting('tokenspace.scope', true), current_user, (SELECT count(*) FROM episode)"
        ).fetchone()
        assert found == ("", rowlevel.APP, 0)
    store.close()


def test_i8_parts_of_one_transaction_each_see_their_own_scope(filled: str) -> None:
    store = open_store(filled)
    with store.together():
        with store.db.writing(USER) as cursor:
            mine = cursor.rows(branch.select().where(*_here()))
        with store.db.writing(OTHERS[1]) as cursor:
            others = cursor.rows(branch.select().where(*_here()))
        assert {row[1:4] for row in mine} == {("desk", "acme", "alice")}
        assert {row[1:4] for row in others} == {("desk", "globex", "alice")}
    store.close()


def _here() -> list[Any]:
    from tokenspace.store.scoped import HERE

    return [HERE]


# ── the check at the start ──────────────────────────────────────────────────────────────────


@pytest.fixture
def service(filled: str) -> Iterator[str]:
    """The URL of a user who owns nothing and may act as both roles."""
    name = make_url(filled).database
    user = f"svc_{name}"
    with raw(filled, "") as owner:
        owner.execute(f"CREATE ROLE {user} LOGIN")
        owner.execute(f"GRANT {rowlevel.APP}, {rowlevel.ADMIN} TO {user}")
    yield filled.replace("postgres:@", f"{user}:@", 1).replace("postgres@", f"{user}@", 1)
    with raw(filled, "") as owner:
        owner.execute(f"DROP OWNED BY {user} CASCADE")
        owner.execute(f"DROP ROLE {user}")


def test_i8_a_user_who_owns_nothing_serves(service: str) -> None:
    store = open_store(service)
    commit(store, USER, Put(entry=rule("by the service")))
    assert "by the service" in texts(store, USER)
    assert store.admin.verify() == []
    assert BASE in store.admin.scopes()
    store.close()


BROKEN = {
    "a table without force": ("ALTER TABLE episode NO FORCE ROW LEVEL SECURITY", "episode is not forced", "FORCE ROW"),
    "a table without policies in force": (
        "ALTER TABLE entry DISABLE ROW LEVEL SECURITY",
        "entry is not forced",
        "entry",
    ),
    "a policy that shows all": ("ALTER POLICY own ON episode USING (true)", "policies", "as its owner"),
    "a policy too many": ("CREATE POLICY more ON episode USING (true)", "policies", "as its owner"),
    "a policy gone": ("DROP POLICY own ON session", "policies", "as its owner"),
    "a role that bypasses": ("ALTER ROLE tokenspace_app BYPASSRLS", "may bypass", "NOBYPASSRLS"),
    "a role above all": ("ALTER ROLE tokenspace_app SUPERUSER", "is a superuser", "NOSUPERUSER"),
    "a role that owns": ("ALTER TABLE episode OWNER TO tokenspace_app", "owns tables", "REASSIGN"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_i8_a_store_that_does_not_keep_scopes_apart_is_not_served(what: str, service: str, filled: str) -> None:
    words, problem, hint = BROKEN[what]
    try:
        with raw(filled, "") as owner:
            owner.execute(words)
        with pytest.raises(StoreUnavailable, match=problem) as caught:
            open_store(service)
        assert hint in caught.value.hint
    finally:
        with raw(filled, "") as owner:
            owner.execute("ALTER ROLE tokenspace_app NOSUPERUSER NOBYPASSRLS")
            owner.execute("ALTER TABLE episode OWNER TO CURRENT_USER")


def test_i8_a_user_who_is_no_member_is_told_what_to_run(service: str, filled: str) -> None:
    user = make_url(service).username
    with raw(filled, "") as owner:
        owner.execute(f"REVOKE {rowlevel.APP} FROM {user}")
    with pytest.raises(StoreUnavailable) as caught:
        open_store(service)
    assert f"GRANT {rowlevel.APP}" in caught.value.hint


def test_i8_the_owner_puts_policies_back(filled: str) -> None:
    with raw(filled, "") as owner:
        owner.execute("DROP POLICY own ON episode")
        owner.execute("ALTER TABLE feedback NO FORCE ROW LEVEL SECURITY")
    open_store(filled).close()
    there = Numbered(filled)
    assert leaks(there) == []
    there.connection.close()


def test_i8_doing_without_must_be_said(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENSPACE_ROW_SECURITY", "off")
    store = open_store(filled)
    assert len(store.episodes(USER)) == 1
    with store.db.reading(USER) as cursor:
        assert cursor.raw.driver_connection.execute("SELECT current_user").fetchone() != (rowlevel.APP,)
    store.close()
    monkeypatch.setenv("TOKENSPACE_ROW_SECURITY", "perhaps")
    with pytest.raises(UsageError, match="perhaps"):
        open_store(filled)
