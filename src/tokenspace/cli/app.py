"""The group of all commands, and the one place where errors become words and exit codes."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from tokenspace.cli.options import Verb, add_global_options, format_global_options
from tokenspace.errors import BudgetError, EditConflict, ModelError, NotFound, StaleHead, StoreError, TokenspaceError

SECTIONS: Final = {
    "Begin": {"init": "project", "demo": "demo", "models": "surroundings", "doctor": "surroundings"},
    "Every day": {"ask": "act", "feedback": "act", "learn": "learning", "sleep": "learning", "review": "review"},
    "See what was learned": {
        "status": "project",
        "context": "text",
        "log": "history",
        "show": "history",
        "diff": "history",
        "blame": "history",
        "why": "why",
    },
    "Change it": {"edit": "text", "tools": "tools", "revert": "history", "branch": "branching", "skills": "skills"},
    "The gate": {"gate": "gate"},
    "Compare": {"stream": "stream"},
    "Serve": {"serve": "serve", "mcp": "mcp", "worker": "worker", "jobs": "worker"},
    "Upkeep": {
        "verify": "upkeep",
        "backup": "upkeep",
        "move": "upkeep",
        "forget": "forget",
        "receipts": "receipts",
        "seal": "seal",
        "scan": "scan",
        "keys": "keys",
        "audit": "audit",
    },
}
"""The commands in the order of `--help`, each with the module of this package that holds it."""

MODULES: Final = {name: module for commands in SECTIONS.values() for name, module in commands.items()}

FOUND_A_PROBLEM, USAGE, NOT_FOUND, CONFLICT, STORE, BUDGET, MODEL, BUG, INTERRUPTED, PIPE = (
    1, 2, 3, 4, 5, 6, 7, 70, 130, 141,
)  # fmt: skip
EXIT_CODES: Final = """\
Exit codes: 0 done (a refused edit is an answer, too); 1 a problem was found (verify, doctor, gate release); 2 usage, or
input that cannot be read; 3 not found; 4 conflict, or somebody else was quicker; 5 store or file; 6 budget; 7 model; 70
a defect of tokenspace; 130 interrupted; 141 the reader of a pipe went away. TOKENSPACE_DEBUG=1 adds the traceback of an
error.
"""
_CODES: Final[tuple[tuple[type[TokenspaceError], int], ...]] = (
    (NotFound, NOT_FOUND), (StaleHead, CONFLICT), (EditConflict, CONFLICT), (StoreError, STORE),
    (BudgetError, BUDGET), (ModelError, MODEL),
)  # fmt: skip
"""The first class that fits decides; whatever else we raise is about usage."""


class App(click.Group):
    """Loads a command's module when the command is named; see the module docstring for errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of `SECTIONS`."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None for an unknown one."""
        if cmd_name not in MODULES:
            return None
        found: Verb = getattr(import_module(f"tokenspace.cli.{MODULES[cmd_name]}"), cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first argument, or an error that names those that are alike."""
        if args and args[0] not in MODULES and not args[0].startswith("-"):
            alike = get_close_matches(args[0], MODULES, n=3)
            hint = f"did you mean {' or '.join(alike)}?" if alike else "`tokenspace --help` lists the commands"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                commands = ((name, self.get_command(ctx, name)) for name in names)
                formatter.write_dl([(name, one.get_short_help_str(90)) for name, one in commands if one])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of all commands, then the commands."""
        format_global_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that went away is told apart from other errors of the system."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a command line and end the process with its exit code."""
        args = list(sys.argv[1:] if args is None else args)
        try:
            result: Any = super().main(
                args=args,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except _ReaderGone:
            _close_stdout()
            sys.exit(PIPE)
        except Exception as error:  # noqa: BLE001 - the top-level handler of the command line
            sys.exit(_report(error, as_json="--json" in args[: args.index("--")] if "--" in args else "--json" in args))
        sys.exit(result if isinstance(result, int) else 0)


class _ReaderGone(BaseException):
    """Standard output is a pipe that nobody reads any more."""


def _close_stdout() -> None:
    """Nothing may be flushed into the closed pipe when the interpreter ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _report(error: Exception, *, as_json: bool) -> int:
    """Say what went wrong and what to do; returns the exit code."""
    if os.environ.get("TOKENSPACE_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    name, message, hint, code = _explain(error)
    if as_json:
        told = {"error": name, "message": message, "hint": hint}
        click.echo(json.dumps(told, ensure_ascii=False), err=True)
        return code
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {hint}", err=True)
    return code


def _explain(error: Exception) -> tuple[str, str, str, int]:
    """Class name, message, hint and exit code."""
    if isinstance(error, TokenspaceError):
        code = next((code for kind, code in _CODES if isinstance(error, kind)), USAGE)
        return type(error).__name__, str(error), error.hint, code
    if isinstance(error, click.Abort):
        return "Interrupted", "interrupted", "what was finished is kept; run it again to go on", INTERRUPTED
    if isinstance(error, click.ClickException):
        ctx = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"`{ctx.command_path} --help` says how it is used" if ctx else ""
        return "UsageError", error.format_message().rstrip("."), hint, USAGE
    if isinstance(error, OSError):
        full = error.errno == errno.ENOSPC
        hint = "free some space and try again" if full else "check the path and what you may do there"
        where = f"{error.filename}: " if error.filename else ""
        return type(error).__name__, f"{where}{error.strerror or error}", hint, STORE
    hint = "this is a defect of tokenspace: please report it with the output of TOKENSPACE_DEBUG=1"
    return type(error).__name__, f"{type(error).__name__}: {error}", hint, BUG


@click.group("tokenspace", cls=App, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """Agents that learn: the gate and the ledger for everything in an agent's context.

    The model's weights stay frozen. What learns is the text that conditions it: proposed from feedback, tested by a
    gate, committed with its proof, and undone in one step. Begin with `tokenspace demo`.
    """


add_global_options(app)
