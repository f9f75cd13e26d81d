"""`tools`: the definitions of an agent's tools, as their author wrote them, and what is wrong with them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tokenspace.cli.options import open_agent, verb, verb_group
from tokenspace.cli.output import emit, note, one_line, safe, table
from tokenspace.errors import BadData, NotFound

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.context.tools import Finding

_ROOM: Final = 1_000_000_000
_COLOURS: Final = {"error": "red", "warning": "yellow"}


@verb_group("tools")
@click.pass_context
def tools(ctx: click.Context) -> None:
    """List, import and audit the definitions of tools.

    Without a command: all definitions (`tools list`).
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_tools)


@verb("list")
def list_tools() -> None:
    """List the definitions that are kept.

    Each line: the tool, its parameters, how many notes were learned on it, whether it has an adapter and how many tests
    its contract has, its description.
    """
    from tokenspace.context.definitions import parameters_of, readable_definitions
    from tokenspace.context.render import noted_tool
    from tokenspace.domain import Kind, Status

    context = open_agent().context()
    found = [one for _, one in readable_definitions(context)]
    notes = [noted_tool(one) for one in context.entries if one.kind is Kind.TOOL_NOTE and one.status is Status.ACTIVE]

    def words() -> str:
        rows = [
            [
                click.style(one.name, fg="yellow"),
                f"{len(parameters_of(one.parameters))} parameter(s)",
                f"{notes.count(one.name)} note(s)",
                f"adapter, {len(one.contract)} test(s)" if one.adapter else "",
                one_line(one.description),
            ]
            for one in found
        ]
        return table(rows) if rows else "no definition yet: tokenspace tools import FILE"

    told: list[dict[str, Any]] = [json.loads(one.text) | {"notes": notes.count(one.name)} for one in found]
    emit(lambda: {"tools": told}, words)


@verb("import")
@click.argument("source", metavar="FILE")
@click.option("-m", "--reason", default="tools imported", metavar="WORDS", help="Why they are changed.")
def import_tools(source: str, reason: str) -> None:
    r"""Keep definitions of tools as their author wrote them.

    FILE (- for standard input) is JSON with one tool, a list of them, or {"tools": […]}, in the form of OpenAI,
    Anthropic or MCP, or with an "adapter" and its "contract". Recorded as your edit, and undone like any other.

    \b
    tokenspace tools import tools.json
    """
    from tokenspace.context.definitions import definitions_in, imported
    from tokenspace.domain import Edit, Origin

    agent = open_agent()
    found, left_out = definitions_in(_read(source))
    now = agent.context()
    puts = imported(now, found, origin=Origin.OPERATOR)
    made = agent.commit(Edit(ops=puts, rationale=reason), upon=now) if puts else None
    names = [op.entry.doc.split("/", 1)[1] for op in puts]
    emit(
        lambda: {"revision": made, "tools": [one.name for one in found], "changed": names, "left_out": left_out},
        lambda: f"committed as {made.id[-8:]}: {', '.join(names)}" if made else "nothing changed",
    )
    for words in left_out:
        note(f"left out: {safe(words)}")
    if made:
        note("look for what a model could misunderstand: tokenspace tools audit")


@verb("audit")
@click.option(
    "-n", "--episodes", type=click.IntRange(min=0), default=200, show_default=True, metavar="N",
    help="Compare with what the newest N episodes carried.",
)  # fmt: skip
@click.pass_context
def audit(ctx: click.Context, episodes: int) -> None:
    """Check that models are told what was authored, and that it cannot be misunderstood.

    Needs no model. Each line: how bad it is, the tool, the place in its definition as a JSON path, what is wrong and
    what to do. Exit code 1 if there is an error.
    """
    agent = open_agent()
    found = _findings(agent, episodes)
    errors = sum(one.severity == "error" for one in found)

    def words() -> str:
        lines = [
            f"{click.style(one.severity, fg=_COLOURS[one.severity])}  {safe(one.tool)}  {safe(one.path)}\n"
            f"    {safe(one.problem)} → {safe(one.todo)}"
            for one in found
        ]
        return "\n".join(lines) or "nothing found"

    emit(lambda: {"ok": not errors, "findings": found}, words)
    if errors:
        ctx.exit(1)


def _findings(agent: LearningAgent, episodes: int) -> list[Finding]:
    """Unreadable definitions, differences in what was delivered and would be now, ambiguity; errors first."""
    from tokenspace import loop
    from tokenspace.context.definitions import read_definition, readable_definitions, tool_name
    from tokenspace.context.tools import Finding, audit, fidelity
    from tokenspace.domain import Kind, Status

    context, run, found = agent.context(), agent.parts.runtime, list[Finding]()
    for entry in context.entries:
        if entry.kind is Kind.TOOL and entry.status is Status.ACTIVE:
            try:
                read_definition(entry.text)
            except BadData as error:
                name = entry.doc.split("/", 1)[-1]
                found.append(Finding(tool=name, path="$", severity="error", problem=str(error), todo=error.hint))
    definitions = [one for _, one in readable_definitions(context)]
    carried = [one.request for one in agent.store.episodes(agent.scope, limit=episodes) if one.request.tools]
    found += fidelity(definitions, (tool for request in carried for tool in request.tools))
    if carried:
        profile = replace(run.agent.profile, context_tokens=_ROOM)  # how long it may be is not the question here
        prompt = loop.render(run.recall, context, carried[0], profile=profile, now=run.clock())
        asked_with = {
            tool_name(tool) for tool in carried[0].tools
        }  # others are ours, such as the one that reads skills
        ours = [tool for tool in prompt.tools if tool_name(tool) in asked_with]
        compiled = fidelity(definitions, ours, noted=True)
        found += [one for one in compiled if one not in found]
    found += audit(definitions)
    return sorted(found, key=lambda one: one.severity != "error")


def _read(source: str) -> Any:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {source}", hint="name a JSON file with tool definitions") from None
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{source} is not JSON: {error}", hint="save it as JSON in UTF-8") from error


for _command in (list_tools, import_tools, audit):
    tools.add_command(_command)
