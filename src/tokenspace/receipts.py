"""Receipts of erasure: what was erased where, what could not be reached, when and by whom, signed.

A receipt outlives what it is about, so it holds nothing of it: the subject and the ids stand in it as HMAC-SHA256 under
a random salt, which is handed out once and kept nowhere. Who has the salt, and knows what was erased, can show that
this receipt is about it; who has only the receipt cannot guess it, however short it was.

The signature is Ed25519 (RFC 8032) over the canonical JSON of the receipt: keys sorted, no white space, UTF-8, no
fractions. The signing key stands beside the keys of users, wrapped like them. A receipt says what this program did; it
is no proof about machines that it cannot see.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from tokenspace.domain.erasure import Erasure, Subject
from tokenspace.errors import BadData, StoreUnavailable
from tokenspace.protocols import Store
from tokenspace.store.keyfiles import SIGNING, KeyFolder

VERSION: Final = 1
UNREACHED: Final = (
    "what providers of models keep of the requests that were sent to them",
    "exports, copies and printouts that users made, and training data that was exported",
    "backups and replicas until their retention ends: sealed bodies in them are unreadable once their key is destroyed",
    "copies of the key folder",
)
"""What nobody here can erase, unless more is known."""
OUTSIDE: Final = {"spool": "spool file", "job": "queue"}
"""Where rows were that are in no table of the database."""
_DOMAIN: Final = b"tokenspace receipt of erasure\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What went from one table of one store: how many rows, and the ids of those that had one of their own."""

    table: str
    rows: int
    store: str = "database"
    ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A receipt, and the salt that opens it: 32 hexadecimal digits, to be shown once and kept nowhere."""

    receipt: dict[str, Any]
    salt: str

    @property
    def text(self) -> str:
        """The receipt as a journal keeps it."""
        return canonical(self.receipt).decode()


class Signer:
    """Signs receipts. `public_key` is what others check them with: 64 hexadecimal digits."""

    def __init__(self, secret: bytes) -> None:
        """`secret` are the 32 bytes of an Ed25519 private key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public_key = self._key.public_key().public_bytes_raw().hex()

    def sign(self, body: bytes) -> str:
        """128 hexadecimal digits."""
        return self._key.sign(_DOMAIN + body).hex()


def signer(folder: KeyFolder) -> Signer:
    """The signer of a key folder, which is made when it is first asked for. Raises `StoreUnavailable`."""
    return Signer((folder.find(SIGNING) or folder.make(SIGNING)).secret)


def signer_of(store: Store) -> Signer | None:
    """The signer of a store; None for one without a folder of keys. Raises `StoreUnavailable` if one is needed."""
    from tokenspace.store.sql import SqlStore

    folder = store.db.seals.folder if isinstance(store, SqlStore) else None
    if folder is None:
        return None
    try:
        return signer(folder)
    except StoreUnavailable:
        if folder.needed:
            raise
        return None


# ── making ──────────────────────────────────────────────────────────────────────────────────


def issue(
    by: Signer | None,
    subject: str,
    gone: Iterable[Gone],
    *,
    at: datetime,
    who: str,
    exact: bool,
    erasure: str = "",
    keys: Iterable[str] = (),
    remarks: Iterable[str] = (),
    unreached: Iterable[str] = UNREACHED,
) -> Issued:
    """A receipt; unsigned where there is no signer, and then it only tells.

    `subject` says canonically what was forgotten (see `subject_name`), `keys` are the ids of the keys that were
    destroyed (they name nobody), `erasure` is the id in the store's journal. `remarks` say in words what was kept,
    marked or scrubbed; they must hold no text of the subject.
    """
    salt = os.urandom(16).hex()
    body = {
        "version": VERSION,
        "erasure": erasure,
        "at": at.astimezone(UTC).isoformat(timespec="seconds"),
        "by": who,
        "mode": "exact" if exact else "default",
        "subject": commitment(salt, "subject", subject),
        "erased": [_line(salt, one) for one in sorted(gone, key=lambda one: (one.store, one.table))],
        "keys_destroyed": sorted(keys),
        "remarks": list(remarks),
        "not_reached": list(unreached),
    }
    told = {"receipt": body, "public_key": by.public_key if by else "", "signature": ""}
    if by:
        told["signature"] = by.sign(canonical(body))
    return Issued(receipt=told, salt=salt)


def issue_for(
    by: Signer | None,
    erasure: Erasure,
    *,
    who: str,
    what: str = "",
    ids: Mapping[str, Iterable[str]] | None = None,
    keys: Iterable[str] = (),
) -> Issued:
    """The receipt of an erasure; `what` is the id or the text that was asked for, `ids` those that went, by table."""
    known: Mapping[str, Iterable[str]] = {} if ids is None else ids
    gone = [
        Gone(table=name, rows=rows, store=OUTSIDE.get(name, "database"), ids=tuple(known.get(name, ())))
        for name, rows in erasure.rows.items()
    ]
    told = (
        [f"{len(erasure.withdrawn)} verdicts are marked as resting on withdrawn evidence"] if erasure.withdrawn else []
    )
    told += [f"{len(erasure.unshared)} shared lessons were taken back"] if erasure.unshared else []
    return issue(
        by, subject_name(erasure.subject, what), gone, at=erasure.at, who=who, exact=erasure.exact,
        erasure=erasure.id, keys=keys, remarks=[*erasure.remarks, *told, *filter(None, [erasure.scrubbed])],
        unreached=erasure.unreached,
    )  # fmt: skip


def _line(salt: str, gone: Gone) -> dict[str, Any]:
    ids = sorted(commitment(salt, gone.table, id)[:32] for id in gone.ids)
    return {"store": gone.store, "table": gone.table, "rows": gone.rows, "ids": ids}


def subject_name(subject: Subject, what: str = "") -> str:
    """What was forgotten, said in one way only: its kind, whose it is, and the id or the text."""
    scope = subject.scope
    return canonical([subject.kind, scope.agent, scope.tenant, scope.user, what]).decode()


def commitment(salt: str, kind: str, what: str) -> str:
    """HMAC-SHA256 of a kind and a text under the salt, as 64 hexadecimal digits; receipts hold 32 of an id's."""
    return hmac.new(bytes.fromhex(salt), f"{kind}\0{what}".encode(), hashlib.sha256).hexdigest()


def canonical(value: object) -> bytes:
    """JSON in one form only. Raises `BadData` for fractions, which have no such form, and for what is no JSON."""
    _no_fractions(value)
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (TypeError, ValueError) as error:
        raise BadData(f"this is no JSON: {error}", hint="give texts, whole numbers, lists and objects") from error


def _no_fractions(value: object) -> None:
    if isinstance(value, float):
        raise BadData("a receipt holds a fraction", hint="receipts count whole rows")
    if isinstance(value, Mapping):
        for item in cast("Mapping[Any, Any]", value).values():
            _no_fractions(item)
    elif isinstance(value, (list, tuple)):
        for item in cast("Sequence[Any]", value):
            _no_fractions(item)


# ── checking ────────────────────────────────────────────────────────────────────────────────


def read_receipt(text: str) -> dict[str, Any]:
    """A receipt from its text. Raises `BadData` for anything else."""
    try:
        found: Any = json.loads(text)
        body: Any = found["receipt"]
        if body["version"] != VERSION or not isinstance(found["signature"], str):
            raise BadData("this receipt is of another version", hint="check it with the tokenspace that made it")
    except (ValueError, KeyError, TypeError) as error:
        raise BadData("this is no receipt of erasure", hint="`tokenspace receipts show ID` prints one") from error
    return cast("dict[str, Any]", found)


def verify_receipt(receipt: Mapping[str, Any], public_key: str) -> Mapping[str, Any]:
    """What a receipt says, if the holder of `public_key` (64 hexadecimal digits) signed exactly this.

    The key that the receipt itself names counts for nothing: anybody can write one there. Raises `BadData`.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(str(receipt["signature"])), _DOMAIN + canonical(receipt["receipt"]))
    except (ValueError, KeyError, InvalidSignature) as error:
        raise BadData(
            "the receipt was not signed with this key, or was altered since",
            hint="ask whoever gave it to you for their public key: `tokenspace receipts key` prints it",
        ) from error
    return cast("Mapping[str, Any]", receipt["receipt"])


def is_about(receipt: Mapping[str, Any], subject: str, salt: str) -> bool:
    """Whether a receipt is about this subject: see `subject_name`."""
    return hmac.compare_digest(str(receipt["receipt"]["subject"]), commitment(salt, "subject", subject))


def names_id(receipt: Mapping[str, Any], table: str, id: str, salt: str) -> bool:
    """Whether a receipt says that this row of a table was erased."""
    wanted = commitment(salt, table, id)[:32]
    return any(wanted in line["ids"] for line in receipt["receipt"]["erased"] if line["table"] == table)
