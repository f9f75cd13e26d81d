"""What hangs on what in a scope, read from its rows as ids; and which records contain a text."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, select

from tokenspace.domain import Scope
from tokenspace.domain.erasure import Lineage, Tried, Written
from tokenspace.errors import NotFound
from tokenspace.store.codec import unpack_id, unpack_ids, unpack_time
from tokenspace.store.schema import (
    answer_id,
    attempt,
    branch,
    canary,
    case,
    entry,
    episode,
    feedback,
    injection,
    outcome,
    reading,
    revision,
    session,
)
from tokenspace.store.sealing import Seals
from tokenspace.store.texts import strings

Contains = Callable[[str], bool]
Body = dict[str, Any]

_TEXTS: Final = ("doc", "text", "trigger", "key")


def lines_of(connection: Connection, scope: Scope) -> dict[int, str]:
    """All lines of a scope, dropped ones included: name by id."""
    c = branch.c
    here = (c.agent == scope.agent, c.tenant == scope.tenant, c.user == scope.user)
    return {row.id: row.name for row in connection.execute(select(c.id, c.name).where(*here).order_by(c.id))}


def served_line(lines: Mapping[int, str]) -> int:
    """The line that a scope's evidence hangs on; 0, which no line has, for none."""
    return next((id for id, name in lines.items() if not name), 0)


def read_lineage(connection: Connection, seals: Seals, scope: Scope, contains: Contains | None = None) -> Lineage:
    """See `Lineage`. Of a body whose key is gone only the row's id is known."""
    lines, hits = lines_of(connection, scope), defaultdict[str, set[str]](set)
    line = served_line(lines)

    def rows(table: Table, *columns: Any) -> Iterable[Any]:
        return connection.execute(select(*columns).where(table.c.branch == line))

    def bodies(table: Table, kind: str) -> dict[str, Body]:
        """Bodies by id; where a text is looked for, they are read whole."""
        kept: Any = rows(table, table.c[_KEYS[kind]], table.c.body)
        found = {unpack_id(id): _opened(seals, scope, table.name, bytes(id), body) for id, body in kept}
        if contains is not None:
            hits[kind] |= {id for id, body in found.items() if any(map(contains, strings(body)))}
        return found

    episodes, said = bodies(episode, "episode"), bodies(feedback, "feedback")
    cases, outcomes = bodies(case, "case"), bodies(outcome, "outcome")
    if contains is not None:
        bodies(injection, "anchor")
        told: Any = rows(canary, canary.c.id, canary.c.body)
        hits["canary"] |= {unpack_id(id) for id, body in told if any(map(contains, strings(json.loads(body))))}
        hits["line"] |= {f"line {id}" for id, name in lines.items() if contains(name)}
    tried = tuple(_tried(rows(attempt, *_TRIED), seals, scope, contains, hits))
    written = tuple(sorted(_written(connection, lines, contains, hits), key=lambda one: (one.at, one.id)))
    readings = defaultdict[str, set[str]](set)
    for id, about in rows(reading, reading.c.canary, reading.c.episode):
        readings[unpack_id(id)].add(unpack_id(about))
    watching = rows(canary, canary.c.id, canary.c.revision, canary.c.promoted)
    return Lineage(
        scope=scope,
        written=written,
        tried=tried,
        episodes={id: body.get("session") for id, body in episodes.items()},
        shown={id: frozenset(body.get("shown", ())) for id, body in episodes.items()},
        feedback={id: (body.get("episode", ""), body.get("principal", "")) for id, body in said.items()},
        cases={id: frozenset(body.get("sources", ())) for id, body in cases.items()},
        outcomes={key: body.get("case", "") for key, body in outcomes.items()},
        canaries={unpack_id(id): frozenset(unpack_id(one) for one in made if one) for id, *made in watching},
        readings={id: frozenset(about) for id, about in readings.items()},
        answers={unpack_id(id): unpack_id(about) for id, about in rows(answer_id, answer_id.c.id, answer_id.c.episode)},
        sessions=frozenset(unpack_id(id) for (id,) in rows(session, session.c.id)),
        hits={kind: frozenset(ids) for kind, ids in hits.items() if ids},
    )


_KEYS: Final = {"episode": "id", "feedback": "id", "case": "id", "outcome": "key", "anchor": "chain"}


def _opened(seals: Seals, scope: Scope, table: str, id: bytes, body: Any) -> Body:
    """A body; nothing for one that nobody can read any more, or now: its row goes by its id all the same."""
    try:
        return json.loads(seals.unseal(scope, table, id, body))
    except NotFound:
        return {}


_TRIED: Final = (attempt.c.key, attempt.c.body, attempt.c.id, attempt.c.at, attempt.c.revision)


def _tried(
    rows: Iterable[Any], seals: Seals, scope: Scope, contains: Contains | None, hits: Mapping[str, set[str]]
) -> Iterable[Tried]:
    for key, text, id, at, made in sorted(rows, key=lambda row: (row[3], bytes(row[2]))):
        body = _opened(seals, scope, attempt.name, bytes(key), text)
        edit: Body = body.get("edit") or {}
        if contains is not None and any(map(contains, strings(body))):
            hits["attempt"].add(unpack_id(id))
        evidence = tuple(body.get("evidence", ()))
        yield Tried(
            key=unpack_id(key),
            id=unpack_id(id),
            at=unpack_time(at),
            proposer=body.get("proposer", ""),
            branch=body.get("branch", ""),
            evidence=evidence,
            sources=frozenset((*evidence, *edit.get("evidence", ()), *edit.get("read", ()))),
            cases=frozenset(body.get("verdict", {}).get("cases", ())),
            revision=None if made is None else unpack_id(made),
        )


def _written(
    connection: Connection, lines: Mapping[int, str], contains: Contains | None, hits: Mapping[str, set[str]]
) -> Iterable[Written]:
    c = revision.c
    columns = (c.seq, c.uid, c.at, c.evidence, c.read, c.cases, c.reason, c.message)
    for line, name in lines.items():
        puts, told = defaultdict[int, set[str]](set), defaultdict[int, bool](bool)
        texts = [entry.c[name] for name in _TEXTS] if contains is not None else []
        rows: Any = connection.execute(select(entry.c.born, entry.c.id, *texts).where(entry.c.branch == line))
        for born, id, *said in rows:
            puts[born].add(unpack_id(id))
            told[born] |= contains is not None and any(contains(text) for one in said if one for text in strings(one))
        for seq, uid, at, evidence, read, cases, *words in connection.execute(select(*columns).where(c.branch == line)):
            if contains is not None and (told[seq] or any(map(contains, strings(words)))):
                hits["revision"].add(unpack_id(uid))
            yield Written(
                id=unpack_id(uid),
                branch=name,
                seq=seq,
                at=unpack_time(at),
                sources=frozenset((*unpack_ids(evidence), *unpack_ids(read))),
                cases=frozenset(unpack_ids(cases)),
                puts=frozenset(puts[seq]),
            )
