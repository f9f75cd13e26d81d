"""Who is calling: virtual keys, and the door that asks for them.

A secret is 256 random bits, shown once; what is kept is its SHA-256. The key decides the tenant. Agent, user and
session are what the client says, and only correlate under that tenant: they never authorise. A look-up is remembered
for a few seconds, so a revoked key is refused within seconds, and a database that is gone stops nobody who was known.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from tokenspace.domain import ApiKey, Right, Scope
from tokenspace.errors import NotFound, StoreUnavailable, UsageError
from tokenspace.gateway.errors import KeyRefused, RightMissing
from tokenspace.gateway.who import name as usable
from tokenspace.gateway.wire import Caller, GatewaySettings
from tokenspace.protocols import Admin

PREFIX: Final = "tsk-"
"""Every secret of ours begins so, which tells it from a provider's key and lets scanners for secrets find it."""

RIGHTS: Final[tuple[Right, ...]] = ("infer", "feedback", "read", "admin")
MAX_SECRET_CHARS: Final = 512
CACHE_S: Final = 3.0
CACHED_KEYS: Final = 4_096
_LOOPBACK: Final = ("127.", "::1", "localhost")
_SESSIONS: Final = ("x-tokenspace-session", "x-claude-code-session-id")


# ── making and ending ───────────────────────────────────────────────────────────────────────


def hash_of(secret: str) -> str:
    """SHA-256 of a secret, as 64 hexadecimal digits. No slow hash is needed: nobody guesses 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def make_key(
    admin: Admin,
    *,
    at: datetime,
    tenant: str,
    agent: str = "",
    label: str = "",
    rights: Iterable[Right] = ("infer", "feedback"),
    expires: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key with its secret, which is kept nowhere. Raises `UsageError` for names that no scope may have."""
    if tenant:
        Scope(agent=agent or "any", tenant=tenant)
    elif agent:
        Scope(agent=agent)
    if not (granted := frozenset(rights)):
        raise UsageError("a key without any right opens nothing", hint=f"grant one of {', '.join(RIGHTS)}")
    secret = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        hash=hash_of(secret), label=label, tenant=tenant, agent=agent, rights=granted, expires=expires, at=at
    )  # fmt: skip
    admin.save_key(key)
    return key, secret


def first_key(admin: Admin, *, at: datetime, tenant: str) -> str | None:
    """The secret of the first key of a store, with all rights in one tenant; None if there ever was a key."""
    if admin.keys():
        return None
    return make_key(admin, at=at, tenant=tenant, label="first", rights=RIGHTS)[1]


def find_key(admin: Admin, part: str, *, tenant: str | None = None) -> ApiKey:
    """The key that a unique beginning or end of an id names; of one tenant, or of all. Raises `NotFound`."""
    everything = admin.keys()
    known = [key for key in everything if tenant is None or key.tenant == tenant]
    found = [key for key in known if key.id == part] or [
        key for key in known if part and (key.id.startswith(part) or key.id.endswith(part))
    ]
    if not found:
        raise NotFound(f"there is no key {part[:40]!r}", hint="`tokenspace keys list` shows them")
    if len(found) > 1:
        raise UsageError(f"{part!r} names {len(found)} keys", hint="give more digits")
    return found[0]


def revoke_key(admin: Admin, key: ApiKey, *, at: datetime) -> ApiKey:
    """Refuse a key from now on, for ever; one that was revoked before stays as it was."""
    admin.save_key(replace(key, revoked=at))
    return find_key(admin, key.id)


# ── looking up ──────────────────────────────────────────────────────────────────────────────


class KeyRing:
    """Secrets to keys, remembered for `cache_s` seconds. One for each process; used from its event loop."""

    def __init__(
        self,
        admin: Admin,
        *,
        clock: Callable[[], datetime],
        cache_s: float = CACHE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.admin = admin
        self.clock = clock
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, ApiKey | None]] = OrderedDict()

    async def key(self, secret: str) -> ApiKey:
        """The key of a secret. Raises `KeyRefused`, and `StoreUnavailable` if it cannot be looked up."""
        hashed = hash_of(secret)
        found = await self._find(hashed) if len(secret) <= MAX_SECRET_CHARS else None
        # The index found it by its hash; comparing again in constant time costs nothing and holds for any store.
        if found is None or not hmac.compare_digest(found.hash, hashed) or not found.valid(self.clock()):
            raise KeyRefused("this key opens nothing here", hint="make one with `tokenspace keys create`")
        return found

    def forget(self) -> None:
        """Look every key up again."""
        self._known.clear()

    async def _find(self, hashed: str) -> ApiKey | None:
        now = self._monotonic()
        until, known = self._known.get(hashed, (0.0, None))
        if now < until:
            self._known.move_to_end(hashed)
            return known
        if known is not None:  # whoever comes meanwhile takes the old one: one look-up for all
            self._remember(hashed, known, now)
        try:
            found = await asyncio.to_thread(self.admin.key_by_hash, hashed)
        except StoreUnavailable:
            if known is None:
                raise
            return known
        self._remember(hashed, found, now)
        return found

    def _remember(self, hashed: str, key: ApiKey | None, now: float) -> None:
        self._known[hashed] = (now + self._cache_s, key)
        self._known.move_to_end(hashed)
        while len(self._known) > CACHED_KEYS:
            self._known.popitem(last=False)


def secret_of(headers: Mapping[str, str]) -> str:
    """The key that a request shows, "" for none; `headers` have lower-case names."""
    if given := headers.get("x-tokenspace-key", "").strip():
        return given
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()


@lru_cache(maxsize=4_096)
def _scope(agent: str, tenant: str, user: str) -> Scope:
    """The scope of names as they were sent."""
    return Scope(agent=usable(agent) or "default", tenant=usable(tenant), user=usable(user) if tenant else "")


def need_right(key: ApiKey, need: Right) -> None:
    """Raises `RightMissing` if a key may not do this."""
    if need not in key.rights:
        raise RightMissing(f"this key may not {need}", hint=f"use a key with the right {need!r}")


class KeyDoor:
    """Implements `wire.Door`: lets in virtual keys or, with an open door, whoever brings a provider's key.

    An open door gives the right to infer and, on a loopback address, to give feedback; everything else needs a
    virtual key, which an open door knows by how it begins.
    """

    def __init__(self, ring: KeyRing, settings: GatewaySettings) -> None:
        self.ring = ring
        self._settings = settings
        local = settings.host.startswith(_LOOPBACK)
        self._open: frozenset[Right] = frozenset({"infer", "feedback"} if local else {"infer"})

    async def caller(self, headers: Mapping[str, str], *, agent: str, user: str, need: Right) -> Caller:
        """Who this is; see `wire.Door`."""
        key = await self.key(headers)
        if key is None:
            if need not in self._open:
                raise RightMissing(f"an open door does not {need}", hint="show a virtual key: x-tokenspace-key")
        else:
            need_right(key, need)
        settings = self._settings
        tenant = (key.tenant if key else "") or settings.tenant
        named = headers.get("x-tokenspace-agent", "") or agent or (key.agent if key else "") or settings.agent
        session = next((headers[name] for name in _SESSIONS if headers.get(name)), None)
        return Caller(
            key=key.id if key else "",
            rights=key.rights if key else self._open,
            scope=_scope(named, tenant, headers.get("x-tokenspace-user", "") or user),
            session=usable(session) or None if session else None,
        )

    async def key(self, headers: Mapping[str, str]) -> ApiKey | None:
        """The virtual key of a request; None for a guest at an open door. Raises `KeyRefused`."""
        secret = secret_of(headers)
        ours = secret.startswith(PREFIX) or "x-tokenspace-key" in headers
        if self._settings.open_door and not ours:
            return None
        if not secret:
            raise KeyRefused("this needs a key", hint="send it as `Authorization: Bearer …` or `x-api-key`")
        return await self.ring.key(secret)
