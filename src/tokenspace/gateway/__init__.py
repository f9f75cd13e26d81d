"""The HTTP face of tokenspace: an existing agent changes one line, and starts to learn."""

from __future__ import annotations
