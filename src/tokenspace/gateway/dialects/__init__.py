"""The three provider protocols: what is asked, where learned context goes in, what was answered. Pure and quick.

Nothing is translated between them: a body stays in the dialect that it came in.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tokenspace.gateway.dialects.chat import Chat
from tokenspace.gateway.dialects.messages import Messages
from tokenspace.gateway.dialects.responses import Responses
from tokenspace.gateway.dialects.sse import Event, EventParser
from tokenspace.gateway.wire import Dialect

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {dialect.name: dialect for dialect in (Chat(), Responses(), Messages())}
)

__all__ = ["DIALECTS", "Chat", "Event", "EventParser", "Messages", "Responses"]
