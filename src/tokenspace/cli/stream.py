"""`stream`: compare what learns with what only remembers, on a stream of tasks."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokenspace.cli.options import given, verb
from tokenspace.cli.output import emit, note

if TYPE_CHECKING:
    from tokenspace.streams.run import Cell, OnTask

EVERY = 50


@verb("stream")
@click.argument("file", metavar="RUN.toml", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where results go (default: RUN beside RUN.toml)."
)
@click.pass_context
def stream(ctx: click.Context, file: Path, *, out: Path | None) -> None:
    r"""Run arms over a stream of tasks, and measure what learning is worth.

    Every answer is scored before anything is learned from it. RUN.toml names the data (a CSV file, banking77, clinc150
    or memprompt), the model, the arms, orders and seeds; docs/streams.md explains its settings, examples/ has some.
    An interrupted run goes on where it was: no model call is made twice, and the result is the same.

    \b
    tokenspace stream examples/domains.toml
    """
    from dataclasses import replace

    from tokenspace.agents import ChatAgent
    from tokenspace.models import resolve
    from tokenspace.streams import plot, stream_report
    from tokenspace.streams.config import read_config
    from tokenspace.streams.metrics import summary
    from tokenspace.streams.run import run_stream

    config = read_config(file)
    config = replace(config, model=given().model or config.model)
    folder = out or file.parent / file.stem
    agent = ChatAgent(resolve(config.model))
    try:
        with _progress() as on_task:
            results = run_stream(config, agent, folder=folder, on_task=on_task)
    except KeyboardInterrupt:
        click.echo(f"\ninterrupted; run it again to go on (what was asked is in {folder})", err=True)
        ctx.exit(130)
    figures = summary(config, results)
    files = stream_report.write(config, figures, folder)
    told = "\n".join([stream_report.text(config, figures), "", "Files: " + " ".join(map(str, files))])
    emit(lambda: {**figures, "files": [str(one) for one in files]}, lambda: told)
    if not plot.available():
        note("no picture of the curves: pip install 'tokenspace[plot]'")


@contextmanager
def _progress() -> Generator[OnTask]:
    """A bar for the cell that is running on a terminal, otherwise a line now and then; silent with --json."""
    if given().json or given().quiet:
        yield lambda _cell, _done, _total, _right: None
    elif sys.stdout.isatty():
        from rich.progress import Progress

        with Progress(transient=True) as bars:
            bar = bars.add_task("")

            def show(cell: Cell, done: int, total: int, right: int) -> None:
                bars.update(bar, description=f"{cell.name}, {right} right", completed=done, total=total)

            yield show
    else:

        def line(cell: Cell, done: int, total: int, right: int) -> None:
            if done % EVERY == 0 or done == total:
                click.echo(f"{cell.name:<24}{done:>6}/{total}, {right} right")

        yield line
