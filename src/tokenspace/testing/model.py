"""A model for tests of agents: see `tokenspace.models.scripted`."""

from __future__ import annotations

from tokenspace.models.scripted import ScriptedModel

__all__ = ["ScriptedModel"]
