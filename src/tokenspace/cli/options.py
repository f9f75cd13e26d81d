"""The options that every command takes, before or after its name, and the agent that they select."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tokenspace.errors import ModelError, NotFound, UsageError

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.budget import Budget
    from tokenspace.config import Settings
    from tokenspace.store.sql import SqlStore

_META: Final = "tokenspace.given"
_VALUES: Final = (
    ("--agent", "NAME", "The agent whose context it is."),
    ("--tenant", "NAME", "The tenant of that agent."),
    ("--user", "NAME", "The user of that tenant."),
    ("--store", "URL", "The store, as sqlite:///file.db or postgresql://host/database."),
    ("--model", "NAME", "The model to ask; `tokenspace models` lists them."),
    ("--branch", "NAME", "A branch in place of what is served."),
)
_FLAGS: Final = (
    ("--json", "json", "One JSON document on standard output."),
    ("--quiet", "quiet", "Only results, no remarks."),
)


@dataclass(slots=True, kw_only=True)
class Given:
    """What was said on the command line; "" where nothing was."""

    agent: str | None = None
    tenant: str | None = None
    user: str | None = None
    store: str | None = None
    model: str | None = None
    branch: str = ""
    json: bool = False
    quiet: bool = False


def given() -> Given:
    """What was said on the command line so far, shared by the group and its commands."""
    found: Given = click.get_current_context().meta.setdefault(_META, Given())
    return found


# ── the options ─────────────────────────────────────────────────────────────────────────────


class Verb(click.Command):
    """A command with the options of all commands, listed apart in its help."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Raw docstrings write click's mark for "leave these lines as they are" as two characters.
        self.help = (self.help or "").replace(r"\b", "\b")
        add_global_options(self)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options first."""
        own = [param.get_help_record(ctx) for param in self.get_params(ctx) if not _is_global(param)]
        if records := [record for record in own if record]:
            with formatter.section("Options"):
                formatter.write_dl(records)
        format_global_options(self, ctx, formatter)


class VerbGroup(click.Group):
    """A command with commands of its own; it takes the options of all commands, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        add_global_options(self)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The group's commands, then the options of all commands."""
        self.format_commands(ctx, formatter)
        format_global_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in the order in which they were made."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(90)) for name, one in self.commands.items()])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were made."""
        return list(self.commands)


def verb_group(name: str) -> Callable[[Callable[..., Any]], VerbGroup]:
    """Decorator: a command of `tokenspace` that has commands of its own; named alone, its function runs."""
    settings = {"help_option_names": ["-h", "--help"]}
    return click.group(name, cls=VerbGroup, context_settings=settings, invoke_without_command=True)


def verb(name: str) -> Callable[[Callable[..., Any]], Verb]:
    """Decorator: a command of `tokenspace`."""
    return click.command(name, cls=Verb, context_settings={"help_option_names": ["-h", "--help"]})


def add_global_options(command: click.Command) -> None:
    """Let a command take the options of all commands."""
    for flag, metavar, help in _VALUES:
        command.params.append(
            _Global([flag], metavar=metavar, help=help, expose_value=False, callback=_note, default=None)
        )
    for flag, name, help in _FLAGS:
        names = [flag, name, "-q"] if name == "quiet" else [flag, name]
        command.params.append(_Global(names, is_flag=True, help=help, expose_value=False, callback=_note))
    command.params.append(
        _Global(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say which version."
        )
    )


def format_global_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The help section of the options of all commands."""
    records = [param.get_help_record(ctx) for param in command.get_params(ctx) if _is_global(param)]
    with formatter.section("Options of every command"):
        formatter.write_dl([record for record in records if record])


class _Global(click.Option):
    """Marks an option of all commands."""


def _is_global(param: click.Parameter) -> bool:
    return isinstance(param, _Global) or param.name == "help"


def _note(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value:
        setattr(ctx.meta.setdefault(_META, Given()), param.name or "", value)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    if value and not ctx.resilient_parsing:
        from tokenspace import __version__

        click.echo(f"tokenspace {__version__}")
        ctx.exit()


def budgeted(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: options that limit what a command may spend."""
    for name, kind, what in (
        ("--usd", click.FloatRange(min=0), "dollars"),
        ("--tokens", click.IntRange(min=0), "tokens"),
        ("--calls", click.IntRange(min=0), "model calls"),
    ):
        command = click.option(name, type=kind, metavar="N", help=f"Spend at most N {what}.")(command)
    return command


def budget_of(calls: int | None, tokens: int | None, usd: float | None) -> Budget:
    """The budget that `budgeted` options ask for."""
    from tokenspace.budget import Budget

    limits = [math.inf if limit is None else limit for limit in (calls, tokens, usd)]
    return Budget(calls=limits[0], tokens=limits[1], usd=limits[2])


# ── what they select ────────────────────────────────────────────────────────────────────────


def settings() -> Settings:
    """The settings with what was said on the command line; there need be no store."""
    from tokenspace.config import load

    said = given()
    return load({name: getattr(said, name) for name in ("agent", "tenant", "user", "store", "model")})


def project() -> Settings:
    """The settings of a project that has a store. Raises `NotFound`: only `init`, `demo` and `serve` make one.

    `serve` writes no settings; then the store's own place in this folder is enough.
    """
    found = settings()
    path, named = sqlite_path(found.store), given().store or os.environ.get("TOKENSPACE_STORE")
    if found.home is None and not named and not (path and path.is_file()):
        raise NotFound("there is no store here or in a folder above", hint="make one: tokenspace init")
    if path is not None and not path.is_file():
        raise NotFound(f"there is no store at {path}", hint="make it: tokenspace init, with the same --store if any")
    return found


def sqlite_path(url: str) -> Path | None:
    """The file of a store in a file, None for any other."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def open_agent(*, acting: bool = False) -> LearningAgent:
    """The agent in the scope and on the branch that the options select; closed when the command ends.

    The model is only looked up for commands that act, so that what was learned can be read without it.
    """
    from tokenspace.agents.none import NoAgent
    from tokenspace.api import LearningAgent
    from tokenspace.config import build
    from tokenspace.domain import Scope

    found = project()
    whose = Scope(agent=found.agent, tenant=found.tenant, user=found.user)
    parts = build(found, model=None if acting else NoAgent())
    agent = LearningAgent(parts, Scope(agent=found.agent), principal=found.principal)
    click.get_current_context().call_on_close(agent.close)
    if whose.tenant:
        agent = agent.at(whose.tenant, whose.user)
    branch = given().branch
    if branch and branch not in agent.branches():
        raise NotFound(f"{agent.scope} has no branch {branch!r}", hint=f"make it: tokenspace branch {branch}")
    return agent.on(branch) if branch else agent


def open_with_model() -> LearningAgent:
    """The agent with its model, which decides how prompts look and so which replays are remembered; else without."""
    try:
        return open_agent(acting=True)
    except (ModelError, UsageError):
        return open_agent()


def sql_store() -> SqlStore:
    """The project's store, for upkeep; closed when the command ends."""
    from tokenspace.store import open_store
    from tokenspace.store.sql import SqlStore

    found = project()
    store = open_store(found.store, keys=found.keys_of(found.store))
    click.get_current_context().call_on_close(store.close)
    if not isinstance(store, SqlStore):
        raise UsageError("a store in memory is gone when the command ends", hint="name one with --store sqlite:///…")
    return store
