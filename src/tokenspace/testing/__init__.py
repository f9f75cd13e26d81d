"""Public test tools: a scripted model, and the conformance suites that make a plug-in done."""

from __future__ import annotations

from tokenspace.testing.model import ScriptedModel
from tokenspace.testing.store import check_store

__all__ = ["ScriptedModel", "check_store"]
