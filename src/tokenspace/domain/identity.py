"""Ids, digests and scopes: what names a thing, and whose it is."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, Final

from tokenspace.errors import UsageError

Json = str | int | float | bool | None | list[Any] | dict[str, Any]

MAX_NAME_CHARS: Final = 128
MAX_TEXT_BYTES: Final = 1_000_000


class _Clock72:
    """Monotonic source of UUIDv7 prefixes: two ids made by one process sort as they were made."""

    def __init__(self) -> None:
        self._last = 0
        self.lock = threading.Lock()

    def next(self) -> int:
        """Milliseconds and a 12-bit fraction of them, strictly increasing (RFC 9562, method 3)."""
        with self.lock:
            self._last = max(self._last + 1, time.time_ns() * 4096 // 1_000_000)
            return self._last


_CLOCK: Final = _Clock72()


_POOL: Final = bytearray()
"""Random bytes drawn ahead: every call of the system hands Python's lock to another thread."""
os.register_at_fork(after_in_child=_POOL.clear)


def _random64() -> int:
    with _CLOCK.lock:
        if not _POOL:
            _POOL.extend(os.urandom(4_096))
        drawn = int.from_bytes(_POOL[-8:], "big")
        del _POOL[-8:]
        return drawn


def new_id() -> str:
    """A UUIDv7 as 32 hexadecimal digits: opaque, unique, sorted by time of making."""
    stamp = _CLOCK.next()
    millis, fraction = stamp >> 12, stamp & 0xFFF
    tail = (0b10 << 62) | (_random64() >> 2)
    return f"{millis & (1 << 48) - 1:012x}7{fraction:03x}{tail:016x}"


def digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON, as 32 hexadecimal digits (128 bits)."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise TypeError(f"{type(value).__name__} has no canonical form")


def _check_name(what: str, value: str) -> None:
    if type(value) is not str:  # a subclass may compare, hash or format itself as somebody else's name
        raise UsageError(f"{what}: {type(value).__name__} is not plain text", hint="give a str, no subclass of it")
    bad = not value or len(value) > MAX_NAME_CHARS or value != value.strip() or "/" in value or not value.isprintable()
    if bad:
        raise UsageError(
            f"{what} {value[:40]!r} is not a usable name",
            hint=f"use 1 to {MAX_NAME_CHARS} printable characters without '/' or surrounding space",
        )


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Scope:
    """Whose context: the agent's shared base, one tenant of it, or one user of that tenant.

    No read or write goes without one (I8). An empty string means "not narrowed to a tenant or user". There is no other
    way to one than the constructor: a copy and an unpickled one pass it too, and nothing derives from it. Two names
    are the same only if they are the same code points: what merely looks alike is somebody else.
    """

    agent: str
    tenant: str = ""
    user: str = ""

    def __init_subclass__(cls) -> None:
        raise TypeError("nothing derives from Scope: a store trusts what it says")

    def __reduce__(self) -> tuple[Any, ...]:
        return _scope, (self.agent, self.tenant, self.user)

    def __post_init__(self) -> None:
        _check_name("agent", self.agent)
        if self.tenant or type(self.tenant) is not str:
            _check_name("tenant", self.tenant)
        if self.user or type(self.user) is not str:
            _check_name("user", self.user)
            if not self.tenant:
                raise UsageError(f"user {self.user!r} needs a tenant", hint="name the tenant too: --tenant acme")

    @property
    def layers(self) -> tuple[Scope, ...]:
        """The scopes whose entries are visible here, base first, this one last."""
        base = Scope(agent=self.agent)
        if not self.tenant:
            return (base,)
        tenant = Scope(agent=self.agent, tenant=self.tenant)
        return (base, tenant) if not self.user else (base, tenant, self)

    def __str__(self) -> str:
        return "/".join(part for part in (self.agent, self.tenant, self.user) if part)


def _scope(agent: str, tenant: str, user: str) -> Scope:
    """Unpickle through the constructor, which checks."""
    return Scope(agent=agent, tenant=tenant, user=user)
