"""Formats that others own: each adapter translates to edits, episodes and feedback, and none moves a head itself."""

from __future__ import annotations

from tokenspace.interop.memory_files import MemoryFiles, Told, served
from tokenspace.interop.self_tools import DEFINITIONS, self_tools

__all__ = ["DEFINITIONS", "MemoryFiles", "Told", "self_tools", "served"]
