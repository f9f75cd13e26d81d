"""Evidence → edit: one strategy per file, each behind `tokenspace.protocols.Proposer`."""

from __future__ import annotations

from tokenspace.proposers.adopt import Adopt
from tokenspace.proposers.asking import Asker
from tokenspace.proposers.consolidate import Consolidate
from tokenspace.proposers.contrast import Contrast
from tokenspace.proposers.expire import Expire
from tokenspace.proposers.fact import Fact
from tokenspace.proposers.reflect import Reflect
from tokenspace.proposers.remember import Remember
from tokenspace.proposers.rename import Rename
from tokenspace.proposers.renderer import Renderer
from tokenspace.proposers.retire import Retire
from tokenspace.proposers.rewrite import Rewrite
from tokenspace.proposers.skill import Skill
from tokenspace.proposers.tool_note import AskedToolNote, ToolNote

__all__ = [
    "Adopt",
    "AskedToolNote",
    "Asker",
    "Consolidate",
    "Contrast",
    "Expire",
    "Fact",
    "Reflect",
    "Remember",
    "Rename",
    "Renderer",
    "Retire",
    "Rewrite",
    "Skill",
    "ToolNote",
]
