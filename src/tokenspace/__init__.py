"""tokenspace: LLM agents that learn, with frozen weights and a context that is gated and kept in a ledger."""

from __future__ import annotations

__version__ = "0.1.0"
