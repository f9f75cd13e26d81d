"""Ways to act on a prompt: one chat call, a tool loop, your function."""

from __future__ import annotations

from tokenspace.agents.chat import ChatAgent
from tokenspace.agents.function import FunctionAgent
from tokenspace.agents.tool_loop import ToolLoopAgent

__all__ = ["ChatAgent", "FunctionAgent", "ToolLoopAgent"]
