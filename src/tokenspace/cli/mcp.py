"""`mcp`: what was learned, for any client of the Model Context Protocol."""

from __future__ import annotations

from importlib.util import find_spec

from tokenspace.cli.options import open_with_model, verb
from tokenspace.errors import UsageError


@verb("mcp")
def mcp() -> None:
    r"""Serve what was learned to an MCP client.

    Speaks on standard input and output, for one agent in one scope: those of this folder's settings or of the options.
    The client gets the tools recall, feedback, outcome, lessons and memory, revisions as resources and skills as
    prompts. It asks no model: what only replays can settle waits for `tokenspace sleep`.

    \b
    claude mcp add tokenspace -- tokenspace mcp --agent support
    """
    if find_spec("mcp") is None:
        raise UsageError("the MCP library is not installed", hint='install it: pip install "tokenspace[gateway]"')
    import asyncio

    from tokenspace.gateway.mcp_server import serve_stdio
    from tokenspace.gateway.wire import Caller

    agent = open_with_model()
    caller = Caller(rights=frozenset({"read", "feedback"}), scope=agent.scope)
    asyncio.run(serve_stdio(agent.parts, caller, principal=agent.principal))
