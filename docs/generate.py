"""Writes docs/cli.md from the command line's own help: `make docs`. A test fails when the page is stale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from tokenspace.cli.app import app

PAGE = Path(__file__).parent / "cli.md"
WIDTH = 100


def page() -> str:
    """The whole page."""
    head = ["# The command line", "", "Generated from `--help` by `make docs`.", ""]
    return "\n".join([*head, *_sections(app)]).strip() + "\n"


def _sections(root: click.Group) -> Iterator[str]:
    top = click.Context(
        root, info_name="tokenspace", max_content_width=WIDTH, terminal_width=WIDTH, **root.context_settings
    )
    yield from ("```text", _help(root, top), "```", "")
    for name in root.list_commands(top):
        command = root.get_command(top, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=top, max_content_width=WIDTH, terminal_width=WIDTH)
        yield from (f"## {name}", "", "```text", _help(command, context), "```", "")


def _help(command: click.Command, context: click.Context) -> str:
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
