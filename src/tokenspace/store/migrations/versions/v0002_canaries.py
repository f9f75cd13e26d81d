"""Canaries and their readings: see `tokenspace.store.schema`. What an older store holds stays as it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    _create_canary()
    _create_reading()


def _branch() -> sa.Column[int]:
    return sa.Column("branch", sa.Integer(), autoincrement=False, nullable=False)


def _create_canary() -> None:
    op.create_table(
        "canary",
        _branch(),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.SmallInteger(), nullable=False),
        sa.Column("revision", sa.LargeBinary(), nullable=False),
        sa.Column("promoted", sa.LargeBinary(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("branch", "id", name="pk_canary"),
        sa.ForeignKeyConstraint(["branch"], ["branch.id"], name="fk_canary_branch"),
    )
    live = sa.text("live = 1")
    op.create_index("ix_canary_live", "canary", ["branch"], sqlite_where=live, postgresql_where=live)


def _create_reading() -> None:
    op.create_table(
        "reading",
        _branch(),
        sa.Column("canary", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("episode", sa.LargeBinary(), nullable=False),
        sa.Column("treated", sa.SmallInteger(), nullable=False),
        sa.Column("score", sa.Float(53), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("branch", "canary", "seq", name="pk_reading"),
        sa.ForeignKeyConstraint(["branch"], ["branch.id"], name="fk_reading_branch"),
        sa.ForeignKeyConstraint(["branch", "canary"], ["canary.branch", "canary.id"], name="fk_reading_branch_canary"),
        sa.UniqueConstraint("branch", "canary", "episode", name="uq_reading_branch_canary_episode"),
        sqlite_with_rowid=False,
    )
