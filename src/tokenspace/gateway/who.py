"""Whose conversation a body is, where neither header nor path says so. What it says correlates and never authorises.

The fields are those that the two big providers define: `safety_identifier` and `user`, `metadata.user_id`, and
`prompt_cache_key`. Claude Code packs device, account and session into `metadata.user_id`, as one word with
underscores or as a string of JSON: both are taken apart, or every session would be another user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from tokenspace.domain import MAX_NAME_CHARS, digest
from tokenspace.gateway.wire import Body, Caller


def refine(caller: Caller, body: Body) -> Caller:
    """The caller with the user and the session that the body names, as far as they are not known yet."""
    user, session = _packed(_text(_mapping(body.get("metadata")).get("user_id")))
    user = _text(body.get("safety_identifier")) or _text(body.get("user")) or user
    session = _text(body.get("prompt_cache_key")) or session
    scope = caller.scope
    if user and scope.tenant and not scope.user:
        scope = replace(scope, user=name(user))
    if scope is caller.scope and (caller.session or not session):
        return caller
    return replace(caller, scope=scope, session=caller.session or (name(session) if session else None))


def name(text: str) -> str:
    """A name that a client sent, as a scope can have it: itself, or its digest where it is too long or odd."""
    text = text.strip()
    odd = len(text) > MAX_NAME_CHARS or "/" in text or not text.isprintable()
    return digest(text) if odd else text


def _packed(value: str) -> tuple[str, str]:
    """User and session out of a `metadata.user_id`; a plain one is the user."""
    if value.startswith("{"):
        fields = _json(value)
        user = _text(fields.get("account_uuid")) or _text(fields.get("device_id"))
        return user or value, _text(fields.get("session_id"))
    user, mark, session = value.rpartition("_session_")
    return (user, session) if mark and user else (value, "")


def _json(text: str) -> Mapping[str, Any]:
    import orjson

    try:
        return _mapping(orjson.loads(text))
    except orjson.JSONDecodeError:
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
