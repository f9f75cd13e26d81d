"""What the gateway keeps: keys, providers' response ids and the injection ledger. Older rows stay as they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the three tables."""
    _create_answer_id()
    _create_injection()
    _create_api_key()


def _branch() -> sa.Column[int]:
    return sa.Column("branch", sa.Integer(), autoincrement=False, nullable=False)


def _create_answer_id() -> None:
    op.create_table(
        "answer_id",
        _branch(),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("episode", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("branch", "id", name="pk_answer_id"),
        sa.ForeignKeyConstraint(["branch"], ["branch.id"], name="fk_answer_id_branch"),
        sqlite_with_rowid=False,
    )


def _create_injection() -> None:
    op.create_table(
        "injection",
        _branch(),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("branch", "chain", name="pk_injection"),
        sa.ForeignKeyConstraint(["branch"], ["branch.id"], name="fk_injection_branch"),
    )
    op.create_index("ix_injection_branch_at", "injection", ["branch", "at"])


def _create_api_key() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("rights", sa.SmallInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.UniqueConstraint("hash", name="uq_api_key_hash"),
    )
