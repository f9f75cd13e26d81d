"""Bodies of a user's rows, sealed with a key of that user.

AES-256-GCM with a random nonce of 96 bits; the scope, the table, the column and the row's id are authenticated too, so
that what stands in one row can stand in no other. A sealed body is one byte of version, the id of its key (8 bytes),
the nonce (12) and what is encrypted with its tag (16). SQLite keeps these bytes in the column of texts, PostgreSQL the
version as a character and the rest in base64. A body without that version was written unsealed, and is read as it is.

Only users have keys: what an agent or a tenant shares belongs to nobody whose key could be destroyed. A body whose key
was destroyed is as good as erased: single reads say `NotFound`, lists leave it out. One whose key is merely not here
stops lists, too, because learning from a part of the evidence without a word would be worse. Recording goes on with a
new key: every row names its own, so those of before can be read as soon as the folder is back.
"""

from __future__ import annotations

import binascii
import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from tokenspace.domain import Scope
from tokenspace.errors import CorruptLedger, NotFound, StoreUnavailable
from tokenspace.store.keyfiles import ID_BYTES, NONCE_BYTES, Cipher, KeyFolder, Mark, Ring, cipher, refusals

Body = str | bytes
"""What a column of bodies holds."""

MAX_KEYS: Final = 4_096
"""Keys that are kept in memory: about 1 KB each."""
LOG: Final = logging.getLogger(__name__)
_VERSION: Final = b"\x01"
_SEALED: Final = _VERSION.decode()
_ESCAPE: Final = "\x02"
"""Before a text that is kept unsealed and begins like a sealed body: no JSON does."""
_MARKS: Final = frozenset({_SEALED, _ESCAPE})
_HEAD: Final = 1 + ID_BYTES
_TEXT_AT: Final = _HEAD + NONCE_BYTES


class Erased(NotFound):
    """The key of this body was destroyed: nobody can read it again."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A scope's key, ready to use. `context` is what every body of the scope authenticates."""

    name: str
    context: bytes
    mark: Mark | None
    id: bytes = b""
    cipher: Cipher | None = None
    refusals: tuple[type[Exception], ...] = ()


class Seals:
    """Seals and opens the bodies of one store; safe to use from several threads.

    `folder` None: nothing is sealed. Where the folder cannot be made, that is an error if it is `needed`; if it is only
    the default, bodies are kept unsealed and a warning is logged. `binary` says whether the database takes bytes in a
    column of texts.
    """

    def __init__(self, folder: KeyFolder | None, ring: Ring, *, binary: bool) -> None:
        self.folder = folder
        self._ring = ring
        self._binary = binary
        self._off = folder is None
        self._held: OrderedDict[Scope, _Held] = OrderedDict()
        self._lock = threading.Lock()

    # ── one body ────────────────────────────────────────────────────────────────────────────

    def seal(self, scope: Scope, table: str, id: bytes, text: str) -> Body:
        """What to keep for a text: sealed for a user, as it is for a shared scope. Raises `StoreUnavailable`."""
        return self.sealer(scope, table)(id, text)

    def sealer(self, scope: Scope, table: str) -> Callable[[bytes, str], Body]:
        """As `seal` for many rows that are written at once: one look into the folder for all of them."""
        held = self._for_writing(scope) if scope.user and not self._off else None
        if held is None or held.cipher is None:
            return _unsealed
        head, bound, encrypt, binary = held.id, _bound(held, table, b""), held.cipher.encrypt, self._binary

        def sealed(id: bytes, text: str) -> Body:
            nonce = os.urandom(NONCE_BYTES)
            kept = encrypt(nonce, text.encode(), bound + id)
            made = b"%b%b%b%b" % (_VERSION, head, nonce, kept)
            return made if binary else as_text(made)

        return sealed

    def unseal(self, scope: Scope, table: str, id: bytes, body: Body) -> str:
        """The text of a body.

        Raises `Erased` if its key was destroyed, `NotFound` if its key is not here, `CorruptLedger` for a body that was
        altered or moved, `StoreUnavailable` where a key cannot be read.
        """
        if isinstance(body, str) and body[:1] != _SEALED:
            return body[1:] if body[:1] == _ESCAPE else body
        return self._opener(scope, table)(id, body)

    def _opener(self, scope: Scope, table: str) -> Callable[[bytes, Body], str]:
        """As `unseal` for many sealed bodies: one look into the folder for all of them."""
        held = self._current(scope)
        cipher, key, bound = held.cipher, held.id, _bound(held, table, b"")
        refused = (*held.refusals, ValueError)  # ValueError: it was cut off in its nonce

        def opened(id: bytes, body: Body) -> str:
            raw = _raw(body)
            if cipher is None or raw[1:_HEAD] != key:
                raise self._missing(scope, table, raw[1:_HEAD])
            try:
                return cipher.decrypt(raw[_HEAD:_TEXT_AT], raw[_TEXT_AT:], bound + id).decode()
            except refused:
                raise _altered(scope, table) from None

        return opened

    def opened(
        self, scope: Scope, table: str, rows: Iterable[tuple[Any, ...]], *, id: int = 0, body: int = 2
    ) -> list[tuple[Any, ...]]:
        """Rows with their bodies as texts, without those whose key was destroyed; `id` and `body` say which columns."""
        found: list[tuple[Any, ...]] = []
        unseal = None
        for row in rows:
            kept = row[body]
            mark = kept[:1] if isinstance(kept, str) else ""
            if mark == _ESCAPE:
                text = kept[1:]
            elif isinstance(kept, str) and mark != _SEALED:
                found.append(row)
                continue
            else:
                unseal = unseal or self._opener(scope, table)
                try:
                    text = unseal(row[id], kept)
                except Erased:
                    continue
            found.append((*row[:body], text, *row[body + 1 :]))
        return found

    # ── keys ────────────────────────────────────────────────────────────────────────────────

    def ready(self, scope: Scope, *, making: bool = False) -> None:
        """Have a user's key at hand before a transaction, or make it: to unwrap one may take a call over a network."""
        if scope.user and not self._off:
            (self._for_writing if making else self._current)(scope)

    def destroy(self, scope: Scope, *, only: str = "") -> str | None:
        """Destroy a user's key for ever: no copy of the database can be read without it.

        With `only`, the key of that id and no later one: whoever comes back has another. Returns the key's id (16
        hexadecimal digits, which name nobody), None where there is none. Harmless to repeat.
        """
        if self.folder is None or not scope.user:
            return None
        wanted = bytes.fromhex(only) or None
        id = self.folder.destroy(self._name(scope), only=wanted)
        with self._lock:
            self._held.pop(scope, None)
        if id is None and wanted is not None and self.folder.is_gone(wanted):
            id = wanted  # it was destroyed before
        return None if id is None else id.hex()

    def key_id(self, scope: Scope) -> str:
        """The id of a user's key; "" for none. Needs no master key."""
        id = self.folder.id_of(self._name(scope)) if self.folder is not None and scope.user else None
        return "" if id is None else id.hex()

    def inherit(self, other: Seals) -> None:
        """Know which keys of another store were destroyed, and sign as it does: for a copy that has keys of its own."""
        if self.folder is None or other.folder is None or self._off:
            return
        try:
            self.folder.inherit(other.folder)
        except StoreUnavailable:
            if self.folder.needed:
                raise

    def has_key(self, scope: Scope) -> bool:
        """Whether a user has a key here."""
        return self.folder is not None and bool(scope.user) and self.folder.mark(self._name(scope)) is not None

    def _for_writing(self, scope: Scope) -> _Held | None:
        held = self._current(scope)
        if held.cipher is not None or self.folder is None:
            return held
        try:
            self.folder.prepare()
        except StoreUnavailable as error:
            if self.folder.needed:
                raise
            self._off = True
            LOG.warning("what users say is kept unencrypted: %s (%s)", error, error.hint)
            return None
        self.folder.make(held.name)
        return self._read(scope, held.name)

    def _current(self, scope: Scope) -> _Held:
        """The key that is in the folder now, which another process may have destroyed."""
        held = self._held.get(scope)
        if held is None:
            return self._read(scope, self._name(scope))
        if self.folder is not None and self.folder.mark(held.name) != held.mark:
            return self._read(scope, held.name)
        return held

    def _read(self, scope: Scope, name: str) -> _Held:
        mark = None if self.folder is None else self.folder.mark(name)
        key = None if self.folder is None or mark is None else self.folder.find(name)
        held = _Held(name, _whose(scope), mark)
        if key is not None:
            held = replace(held, id=key.id, cipher=cipher(key.secret), refusals=refusals())
        with self._lock:
            self._held[scope] = held
            self._held.move_to_end(scope)
            if len(self._held) > MAX_KEYS:
                self._held.popitem(last=False)
        return held

    def _name(self, scope: Scope) -> str:
        """What a scope's key is called: a hash, so that the folder's listing names nobody who is not guessed."""
        return hashlib.sha256(b"tokenspace key name\0" + self._ring() + b"\0" + _whose(scope)).hexdigest()

    def _missing(self, scope: Scope, table: str, id: bytes) -> NotFound:
        if self.folder is not None and self.folder.is_gone(id):
            return Erased(
                f"a {table} of {scope} was erased: its key {id.hex()} was destroyed", hint="nothing is left of it"
            )
        where = "no key folder is set" if self.folder is None else f"it is not in {self.folder.path}"
        return NotFound(
            f"a {table} of {scope} is sealed with the key {id.hex()}, and {where}",
            hint="put the key folder back from its copy, without taking away what is noted in gone, or name it with "
            "TOKENSPACE_KEYS; if it is lost for good, tokenspace forget removes what nobody can read",
        )


def off() -> Seals:
    """Seals nothing, and opens what is not sealed."""
    return Seals(None, lambda: b"", binary=True)


def as_text(body: Body) -> str:
    """A body as a database keeps it that takes only texts in a column of texts."""
    return body if isinstance(body, str) else _SEALED + _base64(body[1:])


def is_sealed(body: Body) -> bool:
    """Whether a body is sealed."""
    return isinstance(body, bytes) or body.startswith(_SEALED)


def _base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def _raw(body: Body) -> bytes:
    """The bytes of a sealed body."""
    if isinstance(body, str):
        try:
            raw = binascii.a2b_base64(body[1:], strict_mode=True)
        except ValueError:  # binascii.Error is one
            raise CorruptLedger("a sealed body is damaged", hint=_RESTORE) from None
        if body.endswith("=") and not body.endswith(_base64(raw[-(len(raw) % 3) :])):
            raise CorruptLedger("a sealed body is damaged in its last bits", hint=_RESTORE)
        return _VERSION + raw
    if not body.startswith(_VERSION):
        raise CorruptLedger("a body is in a form that nobody wrote", hint=_RESTORE)
    return body


_RESTORE: Final = "restore a backup (tokenspace backup makes them)"


def _unsealed(_: bytes, text: str) -> str:
    """A text as it is kept where nothing is sealed."""
    return _ESCAPE + text if text[:1] in _MARKS else text


def _whose(scope: Scope) -> bytes:
    return f"{scope.agent}\0{scope.tenant}\0{scope.user}".encode()


def _altered(scope: Scope, table: str) -> CorruptLedger:
    return CorruptLedger(f"a {table} of {scope} was altered or moved after it was sealed", hint=_RESTORE)


def _bound(held: _Held, table: str, id: bytes) -> bytes:
    """What a body is bound to. The names hold no NUL, and the id stands last."""
    return b"%b\0%b.body\0%b" % (held.context, table.encode(), id)
