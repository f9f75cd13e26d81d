"""tokenspace: LLM agents that learn, with frozen weights and a context that is gated and kept in a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent, open  # noqa: A004 (the verb that every user expects)
    from tokenspace.budget import Budget
    from tokenspace.clients import feedback, wrap
    from tokenspace.domain import (
        Case,
        Context,
        Edit,
        Entry,
        Episode,
        Feedback,
        GraderSpec,
        Message,
        Prompt,
        Request,
        Revision,
        Scope,
        Verdict,
    )
    from tokenspace.errors import TokenspaceError

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Case",
    "Context",
    "Edit",
    "Entry",
    "Episode",
    "Feedback",
    "GraderSpec",
    "LearningAgent",
    "Message",
    "Prompt",
    "Request",
    "Revision",
    "Scope",
    "TokenspaceError",
    "Verdict",
    "feedback",
    "open",
    "wrap",
]

_HOMES = {
    "Budget": "budget", "LearningAgent": "api", "TokenspaceError": "errors", "feedback": "clients", "open": "api",
    "wrap": "clients",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that `import tokenspace` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'tokenspace' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"tokenspace.{_HOMES.get(name, 'domain')}"), name)
