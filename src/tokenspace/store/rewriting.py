"""PostgreSQL: what was erased leaves the files, too, as far as the user of the URL may see to it.

A deleted row stays in its page until the table is rewritten, in the server's statistics until they are made again, and
in the write-ahead log until its files are removed. The log belongs to the server: with `wal_recycle = off`, and nothing
that keeps old files (an archive, replication slots, `wal_keep_size`), they go at the checkpoint that is asked for here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_MAY: Final = """
    SELECT pg_has_role((SELECT datdba FROM pg_database WHERE datname = current_database()), 'MEMBER'),
           has_function_privilege('pg_switch_wal()', 'EXECUTE'),
           current_setting('is_superuser') = 'on'
           OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_checkpoint' AND pg_has_role(oid, 'MEMBER'))"""
_KEEPS: Final = """
    SELECT name || ' = ' || setting FROM pg_settings
    WHERE (name, setting) IN (('wal_recycle', 'on'), ('archive_mode', 'on'), ('archive_mode', 'always'))
       OR (name = 'wal_keep_size' AND setting <> '0')
    UNION ALL SELECT 'replication slot ' || slot_name FROM pg_replication_slots ORDER BY 1"""


def scrub(cursor: Any, tables: Sequence[str]) -> str:
    """Rewrite tables, statistics and log on a connection in autocommit mode; returns what was done, in words.

    Each table is locked while it is rewritten. Raises the driver's errors.
    """
    for table in tables:
        cursor.execute(f"VACUUM (FULL, ANALYZE) {table}")
    owns, switches, checkpoints = cursor.execute(_MAY).fetchone()
    told = ["the tables were rewritten"]
    if owns:
        cursor.execute("VACUUM (FULL) pg_catalog.pg_statistic")
    else:
        told.append("only the owner of the database can rewrite its statistics, which hold samples of names")
    keeps = [name for (name,) in cursor.execute(_KEEPS).fetchall()]
    if not (switches and checkpoints):
        keeps.append("this user may not switch it, which takes pg_switch_wal() and the role pg_checkpoint")
    else:
        cursor.execute("SELECT pg_switch_wal()")
        cursor.execute("CHECKPOINT")
    log = f"holds old pages until it is recycled ({', '.join(keeps)})" if keeps else "was begun anew, the old removed"
    return "; ".join([*told, f"the server's write-ahead log {log}"])
