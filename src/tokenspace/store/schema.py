"""The tables, once, for SQLite and PostgreSQL alike.

Keys are small integers inside, opaque ids outside. A *branch* is one line of one layer: the served line has the
empty name, and a named one (a draft, a canary) forks from it at a revision number. Revisions count 1, 2, 3 … along a
line, and a fork goes on counting from its fork point, so a pair (branch, seq) names a state for ever.

An `entry` row says what an entry was from revision `born` until revision `died`; a `tomb` row says the same of its
absence. Every change of an entry's state writes exactly one new row, born at the revision that made it: so the rows
born at a revision *are* its edit, and reading a state is one range of one key.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    literal_column,
)
from sqlalchemy import UniqueConstraint as Unique

SCHEMA_VERSION: Final = "0009"
VERSION_TABLE: Final = "tokenspace_version"

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def _branch() -> Column[int]:
    return Column("branch", Integer, ForeignKey("branch.id"), primary_key=True, autoincrement=False)


def _key(name: str, *, primary: bool = True) -> Column[bytes]:
    """An id as bytes: see `codec.pack_id`."""
    return Column(name, LargeBinary, primary_key=primary, nullable=False)


def _seq(name: str, *, primary: bool = True) -> Column[int]:
    return Column(name, Integer, primary_key=primary, nullable=False, autoincrement=False)


def _name(column: str) -> Column[int]:
    return Column(column, Integer, ForeignKey("name.id"), nullable=False)


def _at(name: str = "at") -> Column[int]:
    """Milliseconds since 1970 in UTC."""
    return Column(name, BigInteger, nullable=False)


branch = Table(
    "branch",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column(
        "dropped", Integer, nullable=False, comment="0 while offered; afterwards its id, so that a name is free again"
    ),
    Column("parent", Integer, ForeignKey("branch.id")),
    Column("fork", Integer, nullable=False, comment="the revision number of the parent that it began at"),
    Unique("agent", "tenant", "user", "name", "dropped"),
)

head = Table(
    "head",
    metadata,
    _branch(),
    _seq("seq", primary=False),
    Column("erasures", Integer, comment="how often text of it was erased: what was read before is not to be kept"),
)

name = Table(
    "name",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", Text, nullable=False),
    Unique("text"),
    comment="authors and gates, which repeat in every revision",
)

revision = Table(
    "revision",
    metadata,
    _branch(),
    _seq("seq"),
    _key("uid", primary=False),
    _at(),
    _name("author"),
    _name("gate"),
    Column("basis", SmallInteger, nullable=False, comment="codec.BASES"),
    Column("reason", Text, nullable=False),
    Column("numbers", Text, nullable=False, comment="the verdict's other fields as JSON, without defaults"),
    Column("cases", LargeBinary, nullable=False, comment="codec.pack_ids, in the order given"),
    Column("message", Text, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("read", LargeBinary, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("mark", SmallInteger, comment="1: its texts were erased, 2: evidence of its verdict was; NULL: neither"),
    Unique("uid"),
)

entry = Table(
    "entry",
    metadata,
    _branch(),
    _seq("born"),
    _key("id"),
    Column("died", Integer),
    Column("kind", SmallInteger, nullable=False, comment="codec.KINDS"),
    Column("doc", Text, nullable=False),
    Column("pos", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("trigger", Text),
    Column("origin", SmallInteger, nullable=False),
    Column("status", SmallInteger, nullable=False, comment="codec.STATUSES"),
    Column("valid_until", BigInteger),
    Column("supersedes", LargeBinary),
    Column("key", Text, comment="NULL for none"),
    Column("valid_from", BigInteger),
    sqlite_with_rowid=False,
)

tomb = Table(
    "tomb",
    metadata,
    _branch(),
    _seq("born"),
    _key("id"),
    Column("died", Integer),
    Column("effect", SmallInteger, nullable=False, comment="codec.Effect"),
    sqlite_with_rowid=False,
)

vector = Table(
    "vector",
    metadata,
    _branch(),
    _seq("born"),
    _key("id"),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

provenance = Table(
    "provenance",
    metadata,
    _branch(),
    _key("source"),
    _seq("seq"),
    Column("role", SmallInteger, primary_key=True, autoincrement=False, comment="0 evidence, 1 read"),
    sqlite_with_rowid=False,
)

session = Table("session", metadata, _branch(), _key("id"), _at("last_seen"), Column("heads", Text, nullable=False))

episode = Table("episode", metadata, _branch(), _key("id"), _at(), Column("body", Text, nullable=False))
feedback = Table("feedback", metadata, _branch(), _key("id"), _at(), Column("body", Text, nullable=False))
case = Table("replay_case", metadata, _branch(), _key("id"), _at(), Column("body", Text, nullable=False))

attempt = Table(
    "attempt",
    metadata,
    _branch(),
    _key("key"),
    _key("id", primary=False),
    _key("edit_key", primary=False),
    Column("decision", Text, nullable=False),
    Column("revision", LargeBinary),
    _at(),
    Column("body", Text, nullable=False),
)

outcome = Table("outcome", metadata, _branch(), _key("key"), Column("body", Text, nullable=False))

canary = Table(
    "canary",
    metadata,
    _branch(),
    _key("id"),
    _at(),
    Column("live", SmallInteger, nullable=False, comment="1 while it is watched, then 0 for ever"),
    _key("revision", primary=False),
    Column("promoted", LargeBinary),
    Column("body", Text, nullable=False),
)

LIVE: Final = canary.c.live == literal_column("1")
"""Word for word the condition of the index below: so a query that says it reads no canary that has ended."""

Index("ix_canary_live", canary.c.branch, sqlite_where=LIVE, postgresql_where=LIVE)

reading = Table(
    "reading",
    metadata,
    _branch(),
    _key("canary"),
    _seq("seq"),
    _key("episode", primary=False),
    Column("treated", SmallInteger, nullable=False),
    Column("score", Float(53), nullable=False),
    _at(),
    ForeignKeyConstraint(["branch", "canary"], ["canary.branch", "canary.id"]),
    Unique("branch", "canary", "episode"),
    sqlite_with_rowid=False,
    comment="numbered 1, 2, 3 … as they came",
)

answer_id = Table(
    "answer_id",
    metadata,
    _branch(),
    _key("id"),
    _key("episode", primary=False),
    sqlite_with_rowid=False,
    comment="providers' response ids",
)

injection = Table(
    "injection",
    metadata,
    _branch(),
    _key("chain"),
    _at(),
    Column("body", Text, nullable=False),
    comment="what was injected at a place of a conversation; at: when it was last saved",
)

api_key = Table(
    "api_key",
    metadata,
    _key("id"),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the secret"),
    Column("label", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("rights", SmallInteger, nullable=False, comment="a bit for each of codec.RIGHTS"),
    Column("expires", BigInteger),
    Column("revoked", BigInteger),
    _at(),
    Unique("hash"),
    comment="of the whole store, not of a scope",
)

worker = Table(
    "worker",
    metadata,
    _key("id"),
    Column("beats", Integer, nullable=False, comment="counts up while it lives"),
    comment="of the whole store: who works on its jobs",
)

job_step = Table(
    "job_step",
    metadata,
    Column("job", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("result", Text, nullable=False),
    sqlite_with_rowid=False,
    comment="checkpoints of jobs: ids and numbers, never texts",
)

account = Table(
    "account",
    metadata,
    Column("name", Text, primary_key=True),
    Column("slot", BigInteger, primary_key=True, autoincrement=False, comment="of time; -1 is the account's lock"),
    Column("calls", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("usd", Float(53), nullable=False),
    sqlite_with_rowid=False,
    comment="what was charged to a limit that workers share",
)

keyring = Table(
    "keyring",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("id", LargeBinary, nullable=False),
    comment="of the whole store: random bytes that name its keys in their folder; a copy of the store has the same",
)

erasure = Table(
    "erasure",
    metadata,
    _key("id"),
    _at(),
    Column("finished", BigInteger, comment="NULL while something is left to do"),
    Column("plan", Text, nullable=False, comment="ids of what is to go and how far it got, as JSON; '' once finished"),
    Column("receipt", Text, nullable=False, comment="signed, without any text of the subject; '' until finished"),
    comment="of the whole store: what was forgotten, so that it goes on after a crash",
)

access = Table(
    "access",
    metadata,
    _key("id"),
    _at(),
    Column("agent", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("deed", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("object", LargeBinary, nullable=False),
    Column("count", Integer, nullable=False),
    Column("ended", Text, nullable=False),
    comment="of the whole store: who did what to what; names instead of a line, which it outlives",
)

Index(None, access.c.at)

for _timed in (episode, feedback, case, attempt, injection):
    Index(None, _timed.c.branch, _timed.c.at)
