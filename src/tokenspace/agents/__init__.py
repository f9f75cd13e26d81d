"""Ways to act on a prompt: one chat call, your function."""

from __future__ import annotations

from tokenspace.agents.chat import ChatAgent
from tokenspace.agents.function import FunctionAgent

__all__ = ["ChatAgent", "FunctionAgent"]
