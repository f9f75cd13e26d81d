"""The command line: git's verbs for what an agent has learned.

One file for each group of commands, imported when one of them is used. Commands only present: what they do is in
`tokenspace.api` and below. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations


def main() -> None:
    """The console script; ends the process with an exit code (see `tokenspace.cli.app`)."""
    from tokenspace.cli.app import app

    app.main(prog_name="tokenspace")
