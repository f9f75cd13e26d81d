"""`verify`, `backup` and `move`: what an operator does with a whole store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import click

from tokenspace.cli.options import given, project, sql_store, sqlite_path, verb
from tokenspace.cli.output import emit, note, without_password
from tokenspace.errors import UsageError


@verb("verify")
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Check the whole history for damage.

    Derives every commitment of every scope again from the rows. Exit code 1 if anything is not as it was committed.
    """
    admin = sql_store().admin
    problems = admin.verify()
    scopes, erased = len(admin.scopes()) if not problems else 0, admin.erased() if not problems else []
    emit(
        lambda: {"ok": not problems, "problems": problems, "erased": [id for _, id in erased]},
        lambda: "\n".join(problems) or f"everything is as it was committed, in {scopes} scope(s)",
    )
    if erased:
        note(f"{len(erased)} revision(s) were erased and keep their place: {', '.join(id for _, id in erased[:9])}")
    if problems:
        note("restore a backup, or ask for help before anything else is written")
        ctx.exit(1)


@verb("backup")
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Copy the store into a new file.

    Safe while others work with it. The copy is a SQLite file, whatever the store is; use it with --store
    sqlite:///FILE.
    """
    from tokenspace.store.copying import backup as copy

    store = sql_store()
    with _progress("copying") as progress:
        copy(store, file, progress=progress)
    size = file.stat().st_size
    emit(lambda: {"file": str(file), "bytes": size}, lambda: f"{file}: {size / 1024:,.0f} KB")


@verb("move")
@click.argument("url")
def move(url: str) -> None:
    """Copy everything to another database.

    URL is an empty or missing one: sqlite:///new.db or postgresql://user@host/database. All or nothing, every id
    kept; the old store stays as it is.
    """
    from tokenspace.store import open_store
    from tokenspace.store.copying import move as copy
    from tokenspace.store.sql import SqlStore

    source = sql_store()
    path = sqlite_path(url)
    if path is not None and path.exists() and path.samefile(sqlite_path(project().store) or Path("/")):
        raise UsageError("that is the store itself", hint="name another file or database")
    target = open_store(url, keys=project().keys_of(url))
    click.get_current_context().call_on_close(target.close)
    if not isinstance(target, SqlStore):
        raise UsageError("a store in memory is gone when the command ends", hint="name a file or a database")
    with _progress("copying") as progress:
        rows = copy(source, target, progress=progress)
    shown = f"sqlite:///{path.absolute()}" if path else without_password(url)
    emit(
        lambda: {"store": shown, "rows": rows},
        lambda: f'{rows:,} rows copied and verified. Switch to it in .tokenspace/config.toml:\nstore = "{shown}"',
    )


@contextmanager
def _progress(title: str) -> Generator[Callable[[str, int, int], None]]:
    """A progress bar on a terminal; yields `progress(table, rows done, rows of that table)`."""
    if given().json or given().quiet or not sys.stderr.isatty():
        yield lambda _table, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title)
        yield lambda table, done, total: bars.update(task, description=f"{title} {table}", completed=done, total=total)
