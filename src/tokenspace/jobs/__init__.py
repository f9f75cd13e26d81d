"""Background work behind one small port, `protocols.Jobs`: inline for tests, DBOS for workers in many processes."""

from __future__ import annotations

from tokenspace.jobs.inline import InlineJobs
from tokenspace.jobs.steps import Handler

__all__ = ["Handler", "InlineJobs"]
