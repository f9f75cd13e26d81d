"""`serve`: the gateway."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokenspace.cli.options import given, settings, sqlite_path, verb
from tokenspace.cli.output import emit, note
from tokenspace.errors import UsageError

if TYPE_CHECKING:
    from tokenspace.config import Settings
    from tokenspace.gateway.learner import Learner


@verb("serve")
@click.option("--host", metavar="ADDRESS", help="Where to listen (default: 127.0.0.1, this machine only).")
@click.option("--port", type=click.IntRange(0, 65_535), metavar="N", help="The port (default: 8811; 0 for any).")
@click.option(
    "--upstream", "upstreams", multiple=True, metavar="NAME=URL",
    help="A provider; repeat it for each (default: the embedded model).",
)  # fmt: skip
@click.option("--open-door", is_flag=True, help="Let in callers with their own provider key, which is passed on.")
@click.option("--expose", is_flag=True, help="Allow an open door on an address that others can reach.")
@click.option("--learn", is_flag=True, help="Learn beside it, in a process of its own.")
@click.option("--spool", metavar="FILE", help="Where records wait while the database is away.")
def serve(
    *,
    host: str | None,
    port: int | None,
    upstreams: tuple[str, ...],
    open_door: bool,
    expose: bool,
    learn: bool,
    spool: str | None,
) -> None:
    r"""Serve the gateway: change one line, and an agent learns.

    Point a client's base URL here. Requests go to the provider with what was learned put in, answers come back byte
    for byte, and what happened is recorded. The settings are in .tokenspace/gateway.toml; what is said here wins. The
    first start makes a key and shows it once; `tokenspace keys` makes more. SIGTERM lets streams finish.

    \b
    tokenspace serve --learn
    tokenspace serve --upstream openai=https://api.openai.com/v1 --open-door
    """
    if find_spec("aiohttp") is None or find_spec("uvicorn") is None:
        raise UsageError("the gateway is not installed", hint='install it: pip install "tokenspace[gateway]"')
    from tokenspace.gateway import build
    from tokenspace.gateway.settings import FILE, load

    project = settings()
    home = _home(project)
    said: dict[str, Any] = {"host": host, "port": port, "spool": spool, "open_door": open_door or None}
    if given().agent or project.agent != "default":
        said["agent"] = project.agent
    if project.tenant:
        said["tenant"] = project.tenant
    wanted = load(home / FILE, said, upstreams=upstreams)
    build.check_exposure(wanted, exposed=expose)
    _log()
    built = build.build_gateway(project, wanted, spool=Path(wanted.spool) if wanted.spool else home / "spool.jsonl")
    learner = _learner(project) if learn else None
    try:
        build.run(built, ready=lambda url: _ready(url, built.first_key, learner))
    finally:
        if learner is not None:
            learner.stop()


def _home(project: Settings) -> Path:
    """The folder of the project's files; it and a store in a file are made where there are none."""
    from tokenspace.config import HOME

    path = sqlite_path(project.store)
    home = project.home or (path.parent if path else Path.cwd() / HOME)
    with suppress(FileExistsError):
        home.mkdir(parents=True)
        (home / ".gitignore").write_text("# What was said to the agent is nobody else's business.\n*\n", "utf-8")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    return home


def _ready(url: str, key: str | None, learner: Learner | None) -> None:
    if learner is not None:
        learner.start()
    told = {"url": url, "base_url": f"{url}/v1", "key": key}
    lines = [f"base URL  {url}/v1", *([f"key       {key}"] if key else [])]
    emit(lambda: told, lambda: "\n".join(lines))
    if key:
        note("this is the only time that the key is shown; `tokenspace keys` makes others")
    sys.stdout.flush()


def _learner(project: Settings) -> Learner:
    """The child gets by name what this process found, so that both mean the same store."""
    from tokenspace.gateway.learner import Learner

    command = [sys.executable, "-m", "tokenspace", "learn", "--watch", "--every-agent", "--until-eof"]
    command += ["--store", project.store, "--model", project.model, "--agent", project.agent]
    return Learner(command, quiet=given().quiet or given().json)


def _log() -> None:
    """Warnings of the gateway go to standard error, one line each."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("tokenspace")
    log.addHandler(handler)
    log.propagate = False
