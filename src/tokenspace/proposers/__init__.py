"""Evidence → edit: one strategy per file, each behind `tokenspace.protocols.Proposer`."""

from __future__ import annotations

from tokenspace.proposers.adopt import Adopt
from tokenspace.proposers.remember import Remember
from tokenspace.proposers.retire import Retire

__all__ = ["Adopt", "Remember", "Retire"]
