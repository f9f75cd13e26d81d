"""The first schema: see `tokenspace.store.schema` for what the tables mean."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create all tables."""
    _create_lines()
    _create_history()
    _create_evidence()
    _create_memory_of_the_gate()


def _branch(table: str) -> list[SchemaItem]:
    return [
        sa.Column("branch", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["branch"], ["branch.id"], name=f"fk_{table}_branch"),
    ]


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("branch", *columns, name=f"pk_{table}")


def _bytes(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _int(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=nullable)


def _small(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger(), autoincrement=False, nullable=False)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _create_lines() -> None:
    names = [_text(name) for name in ("agent", "tenant", "user", "name")]
    op.create_table(
        "branch",
        sa.Column("id", sa.Integer(), nullable=False),
        *names,
        _int("dropped"),
        _int("parent", nullable=True),
        _int("fork"),
        sa.PrimaryKeyConstraint("id", name="pk_branch"),
        sa.ForeignKeyConstraint(["parent"], ["branch.id"], name="fk_branch_parent"),
        sa.UniqueConstraint(
            "agent", "tenant", "user", "name", "dropped", name="uq_branch_agent_tenant_user_name_dropped"
        ),
    )
    op.create_table("head", *_branch("head"), _int("seq"), _key("head"))


def _create_history() -> None:
    op.create_table(
        "name",
        sa.Column("id", sa.Integer(), nullable=False),
        _text("text"),
        sa.PrimaryKeyConstraint("id", name="pk_name"),
        sa.UniqueConstraint("text", name="uq_name_text"),
    )
    op.create_table(
        "revision",
        *_branch("revision"),
        _int("seq"),
        _bytes("uid"),
        _big("at"),
        _int("author"),
        _int("gate"),
        _small("basis"),
        _text("reason"),
        _text("numbers"),
        _bytes("cases"),
        _text("message"),
        *map(_bytes, ("evidence", "read", "salt", "commitment", "chain")),
        _key("revision", "seq"),
        sa.UniqueConstraint("uid", name="uq_revision_uid"),
        sa.ForeignKeyConstraint(["author"], ["name.id"], name="fk_revision_author"),
        sa.ForeignKeyConstraint(["gate"], ["name.id"], name="fk_revision_gate"),
    )
    op.create_table(
        "entry",
        *_branch("entry"),
        _int("born"),
        _bytes("id"),
        _int("died", nullable=True),
        _small("kind"),
        _text("doc"),
        _int("pos"),
        _text("text"),
        _text("trigger", nullable=True),
        _small("origin"),
        _small("status"),
        _big("valid_until", nullable=True),
        _bytes("supersedes", nullable=True),
        _key("entry", "born", "id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tomb",
        *_branch("tomb"),
        _int("born"),
        _bytes("id"),
        _int("died", nullable=True),
        _small("effect"),
        _key("tomb", "born", "id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "vector",
        *_branch("vector"),
        _int("born"),
        _bytes("id"),
        _bytes("data"),
        _key("vector", "born", "id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "provenance",
        *_branch("provenance"),
        _bytes("source"),
        _int("seq"),
        _small("role"),
        _key("provenance", "source", "seq", "role"),
        sqlite_with_rowid=False,
    )


def _create_evidence() -> None:
    op.create_table(
        "session", *_branch("session"), _bytes("id"), _big("last_seen"), _text("heads"), _key("session", "id")
    )
    for table in ("episode", "feedback", "replay_case"):
        op.create_table(table, *_branch(table), _bytes("id"), _big("at"), _text("body"), _key(table, "id"))
        op.create_index(f"ix_{table}_branch_at", table, ["branch", "at"])


def _create_memory_of_the_gate() -> None:
    op.create_table(
        "attempt",
        *_branch("attempt"),
        _bytes("key"),
        _bytes("id"),
        _bytes("edit_key"),
        _text("decision"),
        _bytes("revision", nullable=True),
        _big("at"),
        _text("body"),
        _key("attempt", "key"),
    )
    op.create_index("ix_attempt_branch_at", "attempt", ["branch", "at"])
    op.create_table("outcome", *_branch("outcome"), _bytes("key"), _text("body"), _key("outcome", "key"))
