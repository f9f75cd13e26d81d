"""What makes tampering show: a salted commitment to each edit, and a chain through each line's revisions.

A commitment is HMAC-SHA256 of the edit's canonical JSON under a random salt, and never a plain hash: the hash of a
short text that was erased could be guessed. With text and salt erased it says nothing, and the chain still holds,
because it goes through commitments and not through texts. All values are cut to 16 bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from tokenspace.domain import Scope

SIZE: Final = 16
ENTRY_FIELDS: Final = (
    "id", "kind", "doc", "text", "trigger", "origin", "status", "pos", "valid_until", "supersedes", "key", "valid_from",
)  # fmt: skip
_FIRST: Final = ENTRY_FIELDS[:10]
_LATER: Final = ENTRY_FIELDS[10:]
"""Fields that entries did not always have: one that says nothing in them commits to the same bytes as it did then."""


class Written(NamedTuple):
    """What a revision says, with its names spelled out; lists of ids are packed."""

    uid: bytes
    at: int
    author: str
    gate: str
    basis: int
    reason: str
    numbers: str
    cases: bytes
    message: str
    evidence: bytes
    read: bytes


def new_salt() -> bytes:
    """Sixteen random bytes."""
    return secrets.token_bytes(SIZE)


def commitment(salt: bytes, ops: Sequence[Sequence[Any]], written: Written) -> bytes:
    """Commits to the rows that an edit wrote (see `op_of_entry`, `op_of_tomb`), its message, evidence and read."""
    body = _json([sorted(ops, key=_id_of), written.message, written.evidence, written.read])
    return hmac.digest(salt, body, "sha256")[:SIZE]


def link(previous: bytes, parent: bytes | None, written: Written, commitment: bytes) -> bytes:
    """The chain's value at a revision."""
    verdict = [written.gate, written.basis, written.reason, written.numbers, written.cases]
    body = [previous, written.uid, written.at, parent, written.author, verdict, commitment]
    return hashlib.sha256(_json(body)).digest()[:SIZE]


def genesis(scope: Scope, name: str, fork: bytes | None) -> bytes:
    """The chain's value before a line's first revision; `fork` is its value where the line began, if it is a fork."""
    body = ["tokenspace", scope.agent, scope.tenant, scope.user, name, fork]
    return hashlib.sha256(_json(body)).digest()[:SIZE]


def op_of_entry(row: Mapping[str, Any]) -> list[Any]:
    """What an entry row commits to: all that the entry says."""
    later = [row[name] for name in _LATER]
    return ["put", *(row[name] for name in _FIRST), *(later if any(one is not None for one in later) else ())]


def op_of_tomb(row: Mapping[str, Any]) -> list[Any]:
    """What a tomb row commits to."""
    return ["tomb", row["id"], int(row["effect"])]


def _id_of(op: Sequence[Any]) -> bytes:
    return op[1]


def _json(value: list[Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=bytes.hex).encode()
