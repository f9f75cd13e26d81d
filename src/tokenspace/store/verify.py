"""Re-deriving the ledger from its rows.

Each revision's commitment is computed again from the rows that it wrote, and each link of the chain from the one
before. A revision whose texts were erased has nothing to compare, and holds its place in the chain. Rows that no
revision wrote, lives that do not end where the next one begins, heads that point nowhere, sources that are listed
wrongly and canaries that miss a revision or a reading are found besides. What cannot be found from inside is a
history whose tail was cut off cleanly, head included, unless an attempt or a canary still names what is gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, bindparam, func, or_, select

from tokenspace.domain import Scope
from tokenspace.domain.erasure import ERASED
from tokenspace.store import chain
from tokenspace.store.codec import Effect, split_ids, unpack_id
from tokenspace.store.schema import (
    attempt,
    branch,
    canary,
    entry,
    head,
    name,
    provenance,
    reading,
    revision,
    tomb,
    vector,
)

MARK_ERASED: Final = 1
MARK_WITHDRAWN: Final = 2
Row = dict[str, Any]
Rows = list[Row]


def _of_line(table: Table) -> Any:
    return select(table).where(table.c.branch == bindparam("line")).order_by(*table.primary_key.columns)


_TABLES: Final = {table.name: _of_line(table) for table in (head, revision, entry, tomb, vector, provenance)}
_LOST: Final = (
    select(attempt.c.id, attempt.c.revision)
    .outerjoin(revision, revision.c.uid == attempt.c.revision)
    .where(attempt.c.revision.is_not(None), revision.c.uid.is_(None))
)
_MISLED: Final = tuple(
    select(canary.c.id, column)
    .outerjoin(revision, revision.c.uid == column)
    .where(column.is_not(None), revision.c.uid.is_(None))
    for column in (canary.c.revision, canary.c.promoted)
)
_UNEVEN: Final = (
    select(reading.c.canary, func.count())
    .group_by(reading.c.branch, reading.c.canary)
    .having(or_(func.max(reading.c.seq) != func.count(), func.min(reading.c.seq) != 1))
)


def verify(connection: Connection) -> list[str]:
    """All problems of all lines, in words."""
    problems: list[str] = []
    tails: dict[tuple[int, int], Row] = {}
    lines = _rows(connection, select(branch).order_by(branch.c.id))
    names = {row.id: row.text for row in connection.execute(select(name))}
    forks = {(line["parent"], line["fork"]) for line in lines if line["parent"] is not None}
    for line in lines:
        rows = {table: _rows(connection, query.params(line=line["id"])) for table, query in _TABLES.items()}
        tails.update({key: row for row in rows["revision"] if (key := (line["id"], row["seq"])) in forks})
        begun = tails.get((line["parent"], line["fork"]))
        problems += [f"{_name(line)}: {problem}" for problem in _line_problems(line, begun, rows, names)]
    for id, lost in connection.execute(_LOST):
        problems.append(f"attempt {unpack_id(id)} led to revision {unpack_id(lost)}, which is missing")
    return problems + list(_canaries(connection))


def _canaries(connection: Connection) -> Iterator[str]:
    for query in _MISLED:
        for id, lost in connection.execute(query):
            yield f"canary {unpack_id(id)} watches revision {unpack_id(lost)}, which is missing"
    for id, count in connection.execute(_UNEVEN):
        yield f"canary {unpack_id(id)}: its {count} readings are not numbered 1 to {count}: some are missing"


def _rows(connection: Connection, query: Select[*tuple[Any, ...]]) -> Rows:
    return [dict(row) for row in connection.execute(query).mappings()]


def _name(line: Row) -> str:
    scope = "/".join(line[part] for part in ("agent", "tenant", "user") if line[part])
    return f"{scope} (branch {line['name']})" if line["name"] else scope


def _line_problems(line: Row, begun: Row | None, rows: Mapping[str, Rows], names: Mapping[int, str]) -> Iterator[str]:
    if line["fork"] and begun is None:
        yield f"the revision {line['fork']} that it forked from is missing"
    yield from _head(line, rows)
    yield from _chain(line, begun, rows, names)
    yield from _lives(rows)
    yield from _sources(rows)
    yield from _strays(rows)


def _head(line: Row, rows: Mapping[str, Rows]) -> Iterator[str]:
    last = rows["revision"][-1]["seq"] if rows["revision"] else line["fork"]
    heads = [row["seq"] for row in rows["head"]]
    if not heads:
        yield "its head is missing"
    elif heads[0] > last:
        yield f"its head is at revision {heads[0]}, beyond the last one, {last}"
    elif heads[0] < last:
        yield f"its head is at revision {heads[0]}, before the last one, {last}"


def _chain(line: Row, begun: Row | None, rows: Mapping[str, Rows], names: Mapping[int, str]) -> Iterator[str]:
    scope = {part: line[part] for part in ("agent", "tenant", "user")}
    previous = chain.genesis(Scope(**scope), line["name"], None if begun is None else begun["chain"])
    parent: bytes | None = None if begun is None else begun["uid"]
    ops: defaultdict[int, list[list[Any]]] = defaultdict(list)
    for row in rows["entry"]:
        ops[row["born"]].append(chain.op_of_entry(row))
    for row in rows["tomb"]:
        ops[row["born"]].append(chain.op_of_tomb(row))
    expected = line["fork"] + 1
    for row in rows["revision"]:
        for missing in range(expected, row["seq"]):
            yield f"revision {missing} is missing"
        expected = row["seq"] + 1
        what = f"revision {row['seq']} ({row['uid'].hex()})"
        if row["mark"] == MARK_ERASED:  # nothing is left to compare; the chain goes on from what it came to
            wrote = [op[0] for op in ops.pop(row["seq"], [])]
            if "put" in wrote or row["salt"] or row["message"] != ERASED or row["evidence"] or row["read"]:
                yield f"{what}: it is marked as erased, and says something"
            previous, parent = row["chain"], row["uid"]
            continue
        spelled: Row = {**row, "author": names.get(row["author"], ""), "gate": names.get(row["gate"], "")}
        written = chain.Written(*(spelled[field] for field in chain.Written._fields))
        if chain.commitment(row["salt"], ops.pop(row["seq"], []), written) != row["commitment"]:
            yield f"{what}: its text, message or evidence was altered after it was committed"
        # A verdict whose evidence is gone may have lost its reason, which the link is of; its text is compared above.
        unsaid = row["mark"] == MARK_WITHDRAWN and not row["reason"]
        if not unsaid and chain.link(previous, parent, written, row["commitment"]) != row["chain"]:
            yield f"{what}: the chain is broken: its id, time, parent, author, verdict or commitment was altered"
        previous, parent = row["chain"], row["uid"]
    for seq in sorted(ops):
        yield f"rows were written by revision {seq}, which does not exist"


def _lives(rows: Mapping[str, Rows]) -> Iterator[str]:
    """Each row about an entry ends where the next one about it begins, and the last one does not end."""
    states: defaultdict[bytes, list[Row]] = defaultdict(list)
    for row in (*rows["entry"], *rows["tomb"]):
        states[row["id"]].append(row)
    for id, lives in states.items():
        lives.sort(key=lambda row: row["born"])
        ends = [*(row["born"] for row in lives[1:]), None]
        for row, end in zip(lives, ends, strict=True):
            if row["died"] != end:
                yield f"entry {unpack_id(id)}: its state of revision {row['born']} ends at {row['died']}, not at {end}"
    yield from (
        f"entry {unpack_id(row['id'])}: unknown effect of a tomb"
        for row in rows["tomb"]
        if row["effect"] not in list(Effect)
    )


def _sources(rows: Mapping[str, Rows]) -> Iterator[str]:
    listed = {(row["seq"], row["source"], row["role"]) for row in rows["provenance"]}
    cited = {
        (row["seq"], id, role)
        for row in rows["revision"]
        for role, column in enumerate(("evidence", "read"))
        for id in split_ids(row[column])
    }
    for seq, source, _role in sorted(cited - listed):
        yield f"revision {seq} cannot be found by its source {unpack_id(source)}"
    for seq, source, _role in sorted(listed - cited):
        yield f"revision {seq} is listed under {unpack_id(source)}, which it does not cite"


def _strays(rows: Mapping[str, Rows]) -> Iterator[str]:
    entries = {(row["born"], row["id"]) for row in rows["entry"]}
    for row in rows["vector"]:
        if (row["born"], row["id"]) not in entries:
            yield f"a vector belongs to no entry: {unpack_id(row['id'])} of revision {row['born']}"
