"""`seal`: how much of what users said is encrypted, and the encryption of what was written before."""

from __future__ import annotations

from collections import Counter

import click

from tokenspace.cli.options import sql_store, verb
from tokenspace.cli.output import emit, note, table
from tokenspace.errors import UsageError


@verb("seal")
@click.option("--check", is_flag=True, help="Only say how much is sealed.")
def seal(*, check: bool) -> None:
    """Seal what users said before there were keys.

    Of all users of the store: episodes, feedback, cases, attempts, replays and injections, each user's with an own key.
    What is new is sealed as it comes; this is for rows of an older version, or of a time when keys were off. The store
    stays in use. Each line: the table, how many of its rows are sealed, of how many.
    """
    from tokenspace.store.bodies import count_sealed, seal_older

    store = sql_store()
    if store.db.seals.folder is None and not check:
        raise UsageError(
            "keys are off for this store", hint="name their folder with TOKENSPACE_KEYS, or `keys` in the settings"
        )
    users = [scope for scope in store.admin.scopes() if scope.user]
    made = 0 if check else sum(seal_older(store.db, scope) for scope in users)
    sealed, rows = Counter[str](), Counter[str]()
    for scope in users:
        for name, (some, every) in count_sealed(store.db, scope).items():
            sealed[name] += some
            rows[name] += every
    folder = store.db.seals.folder
    where = str(folder.path) if folder else "off"
    emit(
        lambda: {
            "keys": where, "users": len(users), "sealed_now": made,
            "tables": {name: {"sealed": sealed[name], "rows": every} for name, every in rows.items()},
        },
        lambda: table([[name, f"{sealed[name]:,}", f"of {every:,}"] for name, every in rows.items()]) or "no user yet",
    )  # fmt: skip
    note(f"{made:,} rows were sealed; keys: {where}" if made else f"keys: {where}")
    if made:
        note("older backups, and on PostgreSQL the file until VACUUM FULL, still hold them unsealed")
