"""`context` and `edit`: what was learned as Markdown, to read and to change by hand."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tokenspace.cli.options import open_agent, project, verb
from tokenspace.cli.output import emit, note, told_edit
from tokenspace.cli.seen import seen
from tokenspace.errors import BadData, NotFound, TokenspaceError, UsageError

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.domain import Context

_SINCE: Final = re.compile(r"<!-- revision ([0-9a-f]{32}|none) -->\n")


@verb("context")
@click.option("--blame", is_flag=True, help="Say beside each entry where it comes from.")
@click.option("--at", "revision", metavar="REVISION", help="As of a past revision.")
def context(*, blame: bool, revision: str | None) -> None:
    """Print the learned context as Markdown.

    It is what `edit` opens: save it, change it, and give it back with `edit --from FILE`.
    """
    from tokenspace.context import single_text, to_markdown

    agent = open_agent()
    found = agent.context(revision)
    seen(agent, "entry", count=len(found.entries))
    why = agent.store.blame(agent.scope, found.heads) if blame else None
    emit(
        lambda: {
            "heads": found.heads,
            "entries": found.entries,
            "documents": to_markdown(found, blame=why),
            "blame": why,
        },
        lambda: _since_line(found) + single_text(found, blame=why) if found.entries else "",
    )
    if not found.entries:
        note("nothing was learned yet")


@verb("edit")
@click.option(
    "--from",
    "source",
    metavar="FILE",
    help="Take the changed text from a file instead of an editor; - reads standard input.",
)
@click.option("-m", "--reason", default="edited by hand", metavar="WORDS", help="Why it is changed.")
def edit(source: str | None, reason: str) -> None:
    """Change the learned context by hand.

    Opens it as Markdown in $VISUAL or $EDITOR and commits what you changed on your authority: a revision like any
    other. A text that cannot be read is kept in a file.
    """
    from tokenspace.context import from_single_text, single_text

    agent = open_agent()
    now = agent.context()
    if source is None:
        seen(agent, "entry", count=len(now.entries))
        text, since = _edited(_since_line(now) + single_text(now)), now
    else:
        text = _read(source)
        since = _since(agent, text)
    if text is None:
        emit(lambda: {"revision": None}, lambda: "nothing changed")
        return
    try:
        made = agent.edit(from_single_text(text), reason=reason, since=since)
    except TokenspaceError as error:
        if source is None or source == "-":
            error.hint = _kept(text, error.hint)
        raise
    emit(
        lambda: {"revision": made},
        lambda: f"committed as {made.id[-8:]}: {told_edit(made.edit)}" if made else "nothing changed",
    )
    if made:
        note(f"undo this: tokenspace revert {made.id[-8:]}")


def _since_line(now: Context) -> str:
    """Says what a text was made from, so that what is learned while somebody edits it is not lost."""
    return f"<!-- revision {now.heads.of(now.scope) or 'none'} -->\n"


def _since(agent: LearningAgent, text: str) -> Context | None:
    found = _SINCE.match(text)
    return agent.context(found[1]) if found and found[1] != "none" else None


def _edited(text: str) -> str | None:
    if not sys.stdin.isatty() and not (os.environ.get("VISUAL") or os.environ.get("EDITOR")):
        raise UsageError("there is no terminal to edit in", hint="use: tokenspace edit --from FILE")
    return click.edit(text, extension=".md")


def _read(source: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {source}", hint="make one: tokenspace context > FILE") from None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BadData(f"{source} is not UTF-8: {error}", hint="save it as UTF-8") from error


def _kept(text: str, hint: str) -> str:
    """Keep a text that could not be used; returns the hint that says where."""
    folder = project().home or Path.cwd()
    number = next(n for n in range(1, 10_000) if not (folder / f"unused-edit-{n}.md").exists())
    path = folder / f"unused-edit-{number}.md"
    path.write_text(text, "utf-8")
    return f"{hint}; your text is kept: mend it and run `tokenspace edit --from {path}`".removeprefix("; ")
