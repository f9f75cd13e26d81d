"""PostgreSQL's row-level security: two roles, a policy for every table, and a check that all of it is in force.

`tokenspace_app` runs whatever names a scope; policies show it the rows that the transaction's `tokenspace.scope`
(agent/tenant/user, which no name can contain a slash of) reaches, and none while that is unset or empty.
`tokenspace_admin` runs an operator's verbs. Neither owns a table, is a superuser or may bypass policies, and neither
can log in: the user of the URL is a member of both, or the owner, who makes them. Policies are forced, so they bind
the owner too.
"""

from __future__ import annotations

import hashlib
from typing import Final

from sqlalchemy import Connection, Table, text

from tokenspace.store.schema import branch, metadata, name

SCHEMA: Final = "tokenspace"
APP: Final = "tokenspace_app"
ADMIN: Final = "tokenspace_admin"
SETTING: Final = "tokenspace.scope"

LAYERED: Final = frozenset({"head", "revision", "entry", "tomb", "vector", "canary"})
"""What a scope reads of the layers that it inherits: entries with their history and what is on trial, no evidence."""


def _part(number: int) -> str:
    """A part of the scope; NULL, which equals nothing, while the setting is unset, and '' while it is empty."""
    return f"split_part(current_setting('{SETTING}', true), '/', {number})"


_AGENT: Final = f"agent = nullif({_part(1)}, '')"
_VISIBLE: Final = f"{_AGENT} AND tenant IN ('', {_part(2)}) AND \"user\" IN ('', {_part(3)})"
_EXACT: Final = f'{_AGENT} AND tenant = {_part(2)} AND "user" = {_part(3)}'
_SOME: Final = f"current_setting('{SETTING}', true) <> ''"


def policies() -> dict[str, dict[str, tuple[str, str]]]:
    """By table and by name of the policy: the command, and the condition that a row must meet for `tokenspace_app`.

    A table that is not named here has none, so nobody but an operator's verb sees a row of it: what is added to the
    schema later is closed until somebody opens it, except that rows which hang on a line are their scope's own.
    """
    return {table.name: made for table in metadata.sorted_tables if (made := _of(table))}


def _of(table: Table) -> dict[str, tuple[str, str]]:
    if table is branch:
        return _split(_VISIBLE, _EXACT)
    if table is name:
        return {"read": ("SELECT", _SOME), "add": ("INSERT", _SOME)}
    if "branch" not in table.c:
        return {}
    mine = _in(f"SELECT id FROM {SCHEMA}.branch WHERE {_EXACT}")  # noqa: S608 - our own names
    line = _in(f"SELECT id FROM {SCHEMA}.branch")  # noqa: S608 - what the policy of branch shows
    return _split(line, mine) if table.name in LAYERED else {"own": ("ALL", mine)}


def _in(lines: str) -> str:
    """A row of these lines, which are looked up once for a statement.

    IS TRUE changes nothing of what is shown (NULL is refused, too) but keeps the condition from being looked up in an
    index: so rows are found by the statement's own conditions, as without policies, and these are then compared.
    """
    return f"(branch = ANY (ARRAY({lines}))) IS TRUE"


def _split(read: str, write: str) -> dict[str, tuple[str, str]]:
    return {
        "read": ("SELECT", read),
        "add": ("INSERT", write),
        "change": ("UPDATE", write),
        "remove": ("DELETE", write),
    }


def statements() -> list[str]:
    """All that the owner runs, each statement harmless to repeat: roles, rights, policies."""
    made = [_role(role) for role in (APP, ADMIN)]
    made += [f"GRANT USAGE ON SCHEMA {SCHEMA} TO {APP}, {ADMIN}"]
    made += [f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM PUBLIC, {APP}"]
    made += [f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {ADMIN}"]
    made += [f"GRANT SELECT ON {SCHEMA}.tokenspace_version TO {APP}"]
    made += [f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {ADMIN}"]
    made += [f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {APP}"]
    opened = policies()
    for table in metadata.sorted_tables:
        made += _table(table.name, opened.get(table.name, {}))
    return made


def _table(table: str, opened: dict[str, tuple[str, str]]) -> list[str]:
    where = f"{SCHEMA}.{table}"
    made = [f"ALTER TABLE {where} ENABLE ROW LEVEL SECURITY", f"ALTER TABLE {where} FORCE ROW LEVEL SECURITY"]
    if opened:
        made.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {where} TO {APP}")
    made += [f"DROP POLICY IF EXISTS {policy} ON {where}" for policy in ("read", "add", "change", "remove", "own")]
    for policy, (command, rule) in opened.items():
        using = f" USING ({rule})" if command != "INSERT" else ""
        check = f" WITH CHECK ({rule})" if command not in {"SELECT", "DELETE"} else ""
        made.append(f"CREATE POLICY {policy} ON {where} FOR {command} TO {APP}{using}{check}")
    made += [
        f"DROP POLICY IF EXISTS operator ON {where}",
        f"CREATE POLICY operator ON {where} TO {ADMIN} USING (true) WITH CHECK (true)",
    ]
    return made


def _role(role: str) -> str:
    """Roles are of the whole server: another database of it may have made them, or makes them at this moment."""
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN "
        f"CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOINHERIT; END IF; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )


DIGEST: Final = hashlib.sha256("\n".join(statements()).encode()).hexdigest()[:16]
"""Names what `statements` makes: the mark on a store says which of them it was secured with."""

_FOUND: Final = f"""
    SELECT md5(string_agg(concat_ws(' ', tablename, policyname, permissive, roles, cmd, qual, with_check), E'\\n'
                          ORDER BY tablename, policyname))
    FROM pg_policies WHERE schemaname = '{SCHEMA}'"""  # noqa: S608 - our own names
_MARK: Final = f"SELECT obj_description('{SCHEMA}'::regnamespace, 'pg_namespace')"


def install(connection: Connection) -> None:
    """Make roles, rights and policies, as the owner; the schema's comment says what the server made of them."""
    for statement in statements():
        connection.exec_driver_sql(statement)
    member = "SELECT pg_has_role(session_user, :role, 'MEMBER')"
    for role in (APP, ADMIN):
        if not connection.execute(text(member), {"role": role}).scalar():
            connection.exec_driver_sql(f"GRANT {role} TO SESSION_USER")
    found = connection.exec_driver_sql(_FOUND).scalar()
    connection.exec_driver_sql(f"COMMENT ON SCHEMA {SCHEMA} IS 'row-level security {DIGEST} {found}'")


_TABLES: Final = ", ".join(f"'{table}'" for table in metadata.tables)
_ROLES: Final = f"""
    SELECT rolname, rolsuper, rolbypassrls,
           EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = '{SCHEMA}'::regnamespace
                   AND pg_has_role(r.oid, c.relowner, 'MEMBER')),
           pg_has_role(session_user, r.oid, 'MEMBER')
    FROM pg_roles r WHERE rolname IN ('{APP}', '{ADMIN}') ORDER BY rolname DESC"""  # noqa: S608 - our own names
_LOOSE: Final = f"""
    SELECT relname FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace AND relname IN ({_TABLES})
    AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY relname"""  # noqa: S608 - our own names


def problems(connection: Connection) -> list[tuple[str, str]]:
    """Why this store must not be served, each with the SQL that mends it; empty when all is in force."""
    found: list[tuple[str, str]] = []
    roles = connection.exec_driver_sql(_ROLES).all()
    found += [(f"there is no role {role}", f"CREATE ROLE {role}") for role in {APP, ADMIN} - {row[0] for row in roles}]
    for role, above, bypasses, owns, member in roles:
        if above or bypasses:
            what = "is a superuser" if above else "may bypass row-level security"
            found.append((f"the role {role} {what}", f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS"))
        if owns:
            found.append((f"the role {role} owns tables of tokenspace", f"REASSIGN OWNED BY {role} TO another_role"))
        if not member:
            found.append((f"the user of the URL is not a member of {role}", f"GRANT {role} TO CURRENT_USER"))
    for (table,) in connection.exec_driver_sql(_LOOSE):
        found.append((f"row-level security of {table} is not forced",
                      f"ALTER TABLE {SCHEMA}.{table} FORCE ROW LEVEL SECURITY"))  # fmt: skip
    wanted = f"row-level security {DIGEST} {connection.exec_driver_sql(_FOUND).scalar()}"
    if connection.exec_driver_sql(_MARK).scalar() != wanted:
        found.append(("the policies are missing, or not those of this version", "open the store once as its owner"))
    return found
