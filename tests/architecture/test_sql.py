"""SQL is written in one place, and there nobody reaches across scopes but an operator's modules (I8)."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest
from sqlalchemy import Delete, Insert, MetaData, Select, Table, Update, bindparam, select, text, update
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.selectable import CompoundSelect

import tokenspace
import tokenspace.store
from tokenspace.errors import UsageError
from tokenspace.store import schema, scoped

SOURCE = Path(tokenspace.__file__).parent
STORE = SOURCE / "store"
OUTSIDE = [path for path in sorted(SOURCE.rglob("*.py")) if STORE not in path.parents]
INSIDE = [path for path in sorted(STORE.rglob("*.py")) if "migrations" not in path.parts]

OPERATORS = {
    "access.py", "admin.py", "bodies.py", "copying.py", "database.py", "erase.py", "journal.py", "lineage.py",
    "migrate.py", "postgresql.py", "rebuild.py", "rewriting.py", "rowlevel.py", "scoped.py", "sealing.py",
    "sqlite.py", "verify.py", "workroom.py",
}  # fmt: skip
"""Modules that may act for no scope, or for all: they serve `protocols.Admin` and `Workroom`, or open the database."""

ENGINES = {"jobs/queue.py"}
"""Makes the engine that the queue's own library is given; sends a pragma, and no statement about our tables."""


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    found = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {each.attr for each in found if isinstance(each, ast.Attribute)} | {
        each.id for each in found if isinstance(each, ast.Name)
    }


@pytest.mark.parametrize("path", OUTSIDE, ids=name_of)
def test_i8_no_sql_is_written_outside_the_store(path: Path) -> None:
    if name_of(path) in ENGINES:
        return
    drivers = ("sqlalchemy", "psycopg", "sqlite3", "pysqlite3", "alembic")
    bad = {name for name in imports(path) if name.split(".")[0] in drivers}
    assert not bad, f"{name_of(path)} imports {sorted(bad)}"
    forbidden = {"execute", "executemany", "executescript", "exec_driver_sql"} & calls(path)
    if name_of(path) == "cli/checks.py":
        forbidden -= {"exec_driver_sql"}  # asks for the journal mode
    assert not forbidden, f"{name_of(path)} calls {sorted(forbidden)}"


@pytest.mark.parametrize("path", OUTSIDE, ids=name_of)
def test_i8_nothing_outside_the_store_can_speak_for_all_scopes(path: Path) -> None:
    internal = {"tokenspace.store.scoped", "tokenspace.store.database", "tokenspace.store.schema"}
    assert not [name for name in imports(path) if any(name.startswith(each) for each in internal)]


@pytest.mark.parametrize("path", INSIDE, ids=name_of)
def test_i8_only_operators_modules_speak_for_all_scopes_or_write_raw_sql(path: Path) -> None:
    if path.name in OPERATORS:
        return
    assert "tokenspace.store.scoped.EVERYWHERE" not in imports(path)
    assert "sqlalchemy.text" not in imports(path)
    assert not {"exec_driver_sql", "execute", "administering", "raw_connection", "control"} & calls(path)


def store_statements() -> list[tuple[str, ClauseElement]]:
    """Every statement that a module of the store makes when it is imported."""
    found = []
    for module in pkgutil.iter_modules(tokenspace.store.__path__):
        if module.ispkg or f"{module.name}.py" in OPERATORS:
            continue
        loaded = importlib.import_module(f"tokenspace.store.{module.name}")
        values = [(name, value) for name, value in vars(loaded).items() if not isinstance(value, Table)]
        values += [(f"{name}.{key}", one) for name, value in values if type(value).__name__ == "_Kept"
                   for key, one in vars(value).items()]  # fmt: skip
        for name, value in values:
            if isinstance(value, (Select, CompoundSelect, Update, Delete, Insert)):
                found.append((f"{module.name}.{name}", value))
    return found


@pytest.mark.parametrize(
    "statement", [one for _, one in store_statements()], ids=[name for name, _ in store_statements()]
)
def test_i8_every_statement_of_the_store_says_whose_rows_it_means(statement: ClauseElement) -> None:
    scoped.check(statement)


HERE_ONLY = [scoped.branch.c.agent == bindparam("agent"), scoped.branch.c.tenant == bindparam("tenant")]
REFUSED = {
    "no predicate": select(schema.episode.c.body),
    "another column": select(schema.episode.c.body).where(schema.episode.c.id == bindparam("id")),
    "a line that nobody proves": select(schema.entry).where(schema.entry.c.branch == bindparam("line")),
    "without the user": select(schema.branch).where(*HERE_ONLY),
    "in an alternative": select(schema.branch).where(scoped.HERE | (schema.branch.c.name == "x")),
    "another table's predicate": select(schema.episode.c.body).where(scoped.own(schema.feedback)),
    "an unjoined table beside one": select(schema.episode.c.body, schema.feedback.c.body).where(scoped.own(schema.episode)),
    "nested": select(schema.name).where(schema.name.c.id.in_(select(schema.revision.c.author))),
    "a change": update(schema.case).values(body="x"),
    "a removal": schema.injection.delete(),
    "words": text("SELECT body FROM episode"),
    "one half of a union": select(schema.episode.c.body).where(scoped.own(schema.episode)).union_all(
        select(schema.feedback.c.body)),
    "a copy from everywhere": schema.outcome.insert().from_select(["branch"], select(schema.outcome.c.branch)),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_i8_a_statement_that_does_not_say_whose_rows_it_means_is_refused(what: str) -> None:
    with pytest.raises(UsageError, match="no scope for"):
        scoped.check(REFUSED[what])


def test_i8_a_cursor_cannot_be_had_without_a_scope(tmp_path: Path) -> None:
    store = tokenspace.store.open_store(f"sqlite:///{tmp_path}/s.db")
    for wrong in (None, "desk/acme/alice", ("desk", "acme", "alice"), object()):
        for opened in (store.db.reading, store.db.writing):
            with pytest.raises(UsageError, match="is not a scope"), opened(wrong):
                pass
    with pytest.raises(TypeError):
        store.db.reading()
    store.close()


def test_tables_without_a_line_are_known_to_be_of_the_whole_store() -> None:
    """A new table either hangs on a line, and is its scope's own, or is named here and open to operators only."""
    whole = {table.name for table in schema.metadata.tables.values()} - {table.name for table in scoped.OURS}
    known = {"name", "api_key", "worker", "job_step", "account", "access", "keyring", "erasure", "quota", "epoch"}
    assert whole <= known, whole - known
    assert isinstance(schema.metadata, MetaData)
