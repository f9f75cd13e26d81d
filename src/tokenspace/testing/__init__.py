"""Public test tools: a scripted model, and the conformance suites that make a plug-in done."""

from __future__ import annotations

from tokenspace.testing.gate import check_gate
from tokenspace.testing.jobs import check_jobs
from tokenspace.testing.model import ScriptedModel
from tokenspace.testing.proposer import check_proposer
from tokenspace.testing.store import check_store

__all__ = ["ScriptedModel", "check_gate", "check_jobs", "check_proposer", "check_store"]
