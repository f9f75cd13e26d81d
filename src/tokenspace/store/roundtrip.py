"""A read on PostgreSQL in one round trip: whose it is, and the statement, are sent together.

In libpq's pipeline mode, all that is sent up to a synchronisation point is one implicit transaction: settings made for
the transaction hold for the statement behind them and for nothing after it, and if they fail the server skips the
statement. So a connection never carries a scope over, and no BEGIN or COMMIT is waited for. Each statement is prepared
when a connection first runs it.
"""

from __future__ import annotations

import re
import select
from functools import lru_cache
from typing import Any, Final

MAX_PREPARED: Final = 256
"""Statements that are kept prepared on one connection; the store has about a hundred. What comes later is not kept."""
_PARAMETER: Final = re.compile(r"%(?:\((\w+)\)s|%)")


class Rows:
    """What a statement found, as a cursor of the DB-API tells it."""

    def __init__(self, rows: list[tuple[Any, ...]], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows."""
        return self._rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first row, if there is one."""
        return self._rows[0] if self._rows else None


class RoundTrips:
    """Reads on connections of psycopg that are in autocommit mode, and idle."""

    def __init__(self, psycopg: Any) -> None:
        from psycopg.adapt import PyFormat, Transformer

        self._psycopg, self._status = psycopg, psycopg.pq.ExecStatus
        self._fine = {self._status.COMMAND_OK, self._status.TUPLES_OK}
        self._transformer: Any = Transformer
        self._format = PyFormat.AUTO

    def read(self, raw: Any, settings: dict[str, str], sql: str, values: Any) -> Rows:
        """Run a statement with these settings of the server, which end with it.

        Raises the driver's errors, after which the connection is not to be used again.
        """
        connection = raw.driver_connection
        pg, prepared = connection.pgconn, raw.info.setdefault("prepared", {})
        query, names = _numbered(sql)
        transformer = self._transformer(connection)
        sent = transformer.dump_sequence([values[name] for name in names], [self._format] * len(names))
        pg.enter_pipeline_mode()
        if settings:
            given = [word.encode() for pair in settings.items() for word in pair]
            _send(pg, prepared, _settings(len(settings)), given)
        _send(pg, prepared, query, sent, types=transformer.types, formats=transformer.formats)
        pg.pipeline_sync()
        result = self._last(pg)
        pg.exit_pipeline_mode()
        transformer.set_pgresult(result)
        return Rows(transformer.load_rows(0, result.ntuples, tuple), result.command_tuples or 0)

    def _last(self, pg: Any) -> Any:
        """The last result before the synchronisation point. Raises for the first that is an error."""
        last: Any = None
        while True:
            _wait(pg)
            result = pg.get_result()
            if result is None:  # the end of a command's results
                if pg.status != self._psycopg.pq.ConnStatus.OK:
                    raise self._psycopg.OperationalError("the connection was lost")
            elif result.status == self._status.PIPELINE_SYNC:
                return last
            elif result.status in self._fine:
                last = result
            else:
                raise failure(self._psycopg, pg, result)


def failure(psycopg: Any, pg: Any, result: Any) -> Exception:
    """The driver's error for a result that is none."""
    if pg.status != psycopg.pq.ConnStatus.OK:
        return psycopg.OperationalError(result.error_message.decode("utf-8", "replace"))
    return psycopg.errors.error_from_result(result)


def _send(
    pg: Any, prepared: dict[Any, bytes], query: bytes, sent: Any, *, types: Any = (), formats: Any = None
) -> None:
    """Queue a statement, and before it that it be prepared, where this connection has not yet."""
    name = prepared.get((query, types))
    if name is None:
        if len(prepared) >= MAX_PREPARED:
            pg.send_query_params(query, sent, types or None, formats)
            return
        name = prepared[query, types] = b"tokenspace_%d" % len(prepared)
        pg.send_prepare(name, query, types or None)
    pg.send_query_prepared(name, sent, formats)


def _wait(pg: Any) -> None:
    """Until all is sent and a result is here. Python waits, not libpq: so a signal interrupts it."""
    poll = select.poll()
    while (unsent := pg.flush()) or pg.is_busy():
        poll.register(pg.socket, select.POLLIN | select.POLLOUT if unsent else select.POLLIN)
        poll.poll()
        pg.consume_input()


@lru_cache(maxsize=8)
def _settings(many: int) -> bytes:
    """SET LOCAL as a query, which takes parameters, and warns of nothing before the second statement of a pipeline."""
    made = ", ".join(f"set_config(${2 * each + 1}, ${2 * each + 2}, true)" for each in range(many))
    return f"SELECT {made}".encode()


@lru_cache(maxsize=1_024)
def _numbered(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """A statement of the driver's style, `%(name)s`, as the server takes it, `$1`, and the names in order."""
    names = list(dict.fromkeys(found for found in _PARAMETER.findall(sql) if found))
    numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}" if found[1] else "%", sql)
    return numbered.encode(), tuple(names)
