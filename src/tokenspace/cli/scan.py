"""`scan`: personal data and secrets in files, in standard input, or in all that is served."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokenspace.cli.options import open_agent, verb
from tokenspace.cli.output import emit, note
from tokenspace.errors import NotFound

if TYPE_CHECKING:
    from tokenspace.context.scanner import Finding
    from tokenspace.context.screening import Sign

_SHOWN_CHARS = 4


@verb("scan")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--context", "served", is_flag=True, help="Look into all that is served, entry by entry.")
@click.pass_context
def scan(ctx: click.Context, files: tuple[str, ...], *, served: bool) -> None:
    """Look for personal data, secrets and injected instructions.

    Reads the files, or standard input if none is named (or by -). What is found is shown by its kind and first
    characters only. Exit code 1 if something is found. Finding nothing proves nothing: it finds what has a form.
    """
    from tokenspace.context.scanner import scan as look
    from tokenspace.context.screening import screened

    texts = [*(_served() if served else ()), *_read(files or (() if served else ("-",)))]
    found = [(name, text, look(text), screened(text)) for name, text in texts]
    emit(
        lambda: {
            "found": [
                {"in": name, "findings": [_shown(text, one) for one in findings], "signs": signs}
                for name, text, findings, signs in found
                if findings or signs
            ],
            "texts": len(found),
        },
        lambda: "\n".join(line for one in found for line in _lines(*one)),
    )
    total = Counter(one.kind for _, _, findings, _ in found for one in findings)
    total.update(one.kind for *_, signs in found for one in signs)
    note(f"{sum(total.values())} found in {len(found)} text(s)")
    if total:
        ctx.exit(1)


def _served() -> Iterator[tuple[str, str]]:
    agent = open_agent()
    for entry in agent.context().entries:
        yield f"entry {entry.id}", f"{entry.trigger or ''}\n{entry.text}".lstrip("\n")


def _read(files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each file's name and text; bytes that are no UTF-8 are replaced."""
    for file in files:
        if file == "-":
            yield "-", sys.stdin.buffer.read().decode("utf-8", "replace")
            continue
        try:
            yield file, Path(file).read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            raise NotFound(f"there is no file {file}", hint="name one, or pipe the text in") from None


def _shown(text: str, one: Finding) -> dict[str, object]:
    """A finding without what was found: what is printed ends in logs."""
    return {
        "kind": one.kind, "sort": one.sort, "line": _line(text, one.start), "start": one.start, "end": one.end,
        "score": one.score,
    }  # fmt: skip


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _lines(name: str, text: str, findings: list[Finding], signs: tuple[Sign, ...]) -> Iterator[str]:
    from tokenspace.cli.output import safe
    from tokenspace.context.scanner import words_for

    for one in findings:
        first = safe(text[one.start : one.start + _SHOWN_CHARS]).replace("\n", " ")
        yield f"{name}:{_line(text, one.start)}: {words_for(one.kind)} ({one.sort}, {one.score:.2f}): {first}…"
    for sign in signs:
        yield f"{name}:{_line(text, sign.start)}: a sign of injected instructions ({sign.kind})"
