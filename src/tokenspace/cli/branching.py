"""`branch`: lines of history beside the one that is served."""

from __future__ import annotations

import click

from tokenspace.cli.options import given, open_agent, verb
from tokenspace.cli.output import Short, emit, note, safe, table, told_edit
from tokenspace.errors import NotFound, UsageError


@verb("branch")
@click.argument("name", required=False)
@click.option("-d", "--delete", is_flag=True, help="Stop offering the branch NAME; its history stays.")
@click.option("--publish", is_flag=True, help="Commit to the served line what the branch NAME changed.")
def branch(name: str | None, *, delete: bool, publish: bool) -> None:
    r"""List, make, publish or delete branches.

    Without NAME: all branches. A branch begins at what is served now; every command works on it with --branch NAME,
    and nothing that happens there is served.

    \b
    tokenspace branch trial
    tokenspace edit --branch trial
    tokenspace branch --publish trial
    """
    if (delete or publish) and not name:
        raise UsageError("which branch?", hint=f"tokenspace branch {'-d' if delete else '--publish'} NAME")
    if delete and publish:
        raise UsageError("publish or delete, one at a time", hint="publish first, then delete")
    selected, given().branch = given().branch, ""
    agent = open_agent()
    known = agent.branches()
    if name is None:
        served = agent.heads.of(agent.scope)
        short = Short(head for head in (served, *known.values()) if head)
        rows = [[" " if selected else "*", "(served)", short(served)]]
        rows += [["*" if one == selected else " ", safe(one), short(head)] for one, head in sorted(known.items())]
        emit(lambda: {"served": served, "branches": known}, lambda: table(rows))
        return
    if (delete or publish) and name not in known:
        raise NotFound(f"{agent.scope} has no branch {name!r}", hint="tokenspace branch lists them")
    if delete:
        agent.drop_branch(name)
        emit(lambda: {"deleted": name}, lambda: f"branch {safe(name)} is no longer offered; its revisions stay")
    elif publish:
        made = agent.publish(name)
        emit(
            lambda: {"published": name, "revision": made},
            lambda: f"committed as {made.id[-8:]}: {told_edit(made.edit)}" if made else "nothing to publish",
        )
    else:
        fork = agent.create_branch(name)
        emit(lambda: {"created": name, "fork": fork}, lambda: f"made branch {safe(name)} at {Short()(fork)}")
        note(f"work on it: tokenspace edit --branch {name}")
