"""Domain values as JSON has them, for the command line and the admin API alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, cast

from tokenspace.domain.entries import Drop, Patch, Put, Restore


def plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses as objects, times in ISO 8601, operations with their name as `op`."""
    if is_dataclass(value) and not isinstance(value, type):
        told = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return {"op": type(value).__name__.lower(), **told} if isinstance(value, (Put, Patch, Drop, Restore)) else told
    if isinstance(value, tuple) and (names := getattr(cast("Any", value), "_fields", ())):
        return {name: plain(item) for name, item in zip(names, cast("tuple[Any, ...]", value), strict=True)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [plain(item) for item in cast("Iterable[Any]", value)]
        return items if isinstance(value, (list, tuple)) else sorted(items)
    if isinstance(value, datetime):
        return value.isoformat()
    return value.name.lower() if isinstance(value, IntEnum) else value
