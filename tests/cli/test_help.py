"""Every command and option says what it is for, and help is quick because it imports little."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from tests.cli.commands import invoke

from tokenspace import __version__
from tokenspace.cli.app import MODULES, app

NAMES = list(MODULES)
HEAVY = ("numpy", "sqlalchemy", "httpx", "rich", "asyncio", "matplotlib", "wordllama", "xllamacpp", "jsonschema")


def _commands() -> list[click.Command]:
    context = click.Context(app)
    found = [app.get_command(context, name) for name in app.list_commands(context)]
    return [app, *(one for one in found if one)]


def test_all_verbs_are_there() -> None:
    wanted = (
        "init ask feedback learn sleep log show diff blame revert edit branch context status review models verify "
        "backup move forget scan audit demo doctor why gate keys tools skills mcp serve worker jobs stream receipts seal"
    )
    assert set(NAMES) == set(wanted.split())


@pytest.mark.parametrize("command", _commands(), ids=lambda command: command.name)
def test_every_command_and_option_has_help(command: click.Command) -> None:
    assert command.help
    assert command.get_short_help_str().endswith(".")
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.name
            assert param.help.rstrip(")").endswith("."), param.help


@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_the_options_of_all_commands(name: str) -> None:
    told = invoke(name, "--help").stdout
    for option in ("--agent", "--tenant", "--user", "--store", "--model", "--branch", "--json", "--quiet", "--version"):
        assert option in told
    assert invoke(name, "--version").stdout == f"tokenspace {__version__}\n"


def test_help_names_all_commands_and_the_exit_codes() -> None:
    told = " ".join(invoke("--help").stdout.split())
    assert all(f" {name} " in told for name in NAMES)
    assert all(f"{code} " in told for code in (0, 1, 2, 3, 4, 5, 6, 7, 70, 130, 141))


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom tokenspace.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "tokenspace", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tokenspace {__version__}\n"
