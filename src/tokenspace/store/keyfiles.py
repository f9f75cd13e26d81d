"""Keys in a folder apart from the database, one small file each: who destroys one makes all copies of its rows useless.

A file is written whole and then linked to its name, so that nobody sees half of it; who makes or destroys a key holds
the folder's lock. It holds a version, whether the key is wrapped, the key's own random id, and the key. What was
destroyed leaves its id in the folder `gone`: it names nobody, and tells a key that was destroyed from one that is lost.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol

from tokenspace.errors import StoreUnavailable, UsageError

MASTER: Final = "TOKENSPACE_MASTER_KEY"
"""The environment variable that holds the key which wraps the others: 64 hexadecimal digits."""
KEY_BYTES: Final = 32
ID_BYTES: Final = 8
NONCE_BYTES: Final = 12
_VERSION, _PLAIN, _WRAPPED = 1, 0, 1
_HEAD: Final = 2 + ID_BYTES
_GONE: Final = "gone"
SIGNING: Final = "signing"
"""The name of the key that receipts of erasure are signed with."""
_DAMAGED: Final = (
    f"put this one file back from a copy of the folder, and leave {_GONE} as it is: a key that is noted there stays "
    "destroyed. Without a copy remove it: a new key is made, and what this one opened stays closed"
)

Mark = tuple[int, int]
"""What changes when a file does: its inode and the time of its last change, in nanoseconds."""


class Wrapper(Protocol):
    """Encrypts keys with one that is kept elsewhere, such as by a key management service.

    `context` is no secret and must be the same both times. Both raise `StoreUnavailable` where it cannot be done.
    """

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """An encrypted key."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The inverse of `wrap`."""
        ...


class MasterKey:
    """A wrapper whose key is at hand: AES-256-GCM, the nonce before what it encrypts."""

    def __init__(self, key: bytes) -> None:
        """Raises `UsageError` unless the key has 32 bytes."""
        if len(key) != KEY_BYTES:
            raise UsageError("the master key has the wrong length", hint=_HOW)
        self._cipher = cipher(key)

    @classmethod
    def of(cls, text: str) -> MasterKey:
        """From 64 hexadecimal digits. Raises `UsageError` for anything else."""
        try:
            return cls(bytes.fromhex(text))
        except ValueError:
            raise UsageError("the master key is not hexadecimal", hint=_HOW) from None

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """See `Wrapper`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """See `Wrapper`; raises `StoreUnavailable` for what another master key wrapped."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except InvalidTag:
            raise StoreUnavailable(
                "the master key is not the one that the keys were wrapped with",
                hint=f"set {MASTER} to the master key that was in use when the keys were made",
            ) from None


_HOW: Final = f"set {MASTER} to 64 hexadecimal digits, such as those that `openssl rand -hex 32` prints"


class Cipher(Protocol):
    """Authenticated encryption under one key; `decrypt` raises cryptography's `InvalidTag`."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """What is encrypted, with its tag of 16 bytes."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The inverse."""
        ...


def cipher(key: bytes) -> Cipher:
    """AES-256-GCM. Raises `StoreUnavailable` where the library is not installed."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise StoreUnavailable(
            "encryption needs the package cryptography", hint="pip install cryptography, or set TOKENSPACE_KEYS=off"
        ) from error
    return AESGCM(key)


def refusals() -> tuple[type[Exception], ...]:
    """What a cipher raises for what was not encrypted with its key, or was altered."""
    from cryptography.exceptions import InvalidTag

    return (InvalidTag,)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Key:
    """A key and its random id, which what was encrypted with it names. It is not shown in a traceback."""

    id: bytes
    secret: bytes


class KeyFolder:
    """A folder of keys, for its owner's eyes only; safe to use from several threads and processes.

    A file that cannot be read or written is a `StoreUnavailable`.
    """

    def __init__(self, path: Path, *, wrapper: Wrapper | None = None, needed: bool = True) -> None:
        """`wrapper` wraps the keys that are made; without one, the environment's master key does, if there is one.

        `needed` False: this is only where keys would be, and without it nothing is encrypted.
        """
        self.needed = needed
        self.path = path.expanduser().absolute()
        text = os.environ.get(MASTER, "")
        self._wrapper = wrapper or (MasterKey.of(text) if text else None)

    def prepare(self) -> None:
        """Make the folder, readable by its owner only, where there is none."""
        try:
            (self.path / _GONE).mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            _fail(self.path, error)

    def mark(self, name: str) -> Mark | None:
        """What says whether the key of this name is still the one that was read; None where there is none."""
        try:
            found = os.stat(f"{self.path}/{name}")  # noqa: PTH116 - for every row: without building a Path
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _fail(self.path / name, error)
        return found.st_ino, found.st_mtime_ns

    def find(self, name: str) -> Key | None:
        """The key of this name, None where there is none. `StoreUnavailable` for one that cannot be unwrapped."""
        try:
            raw = (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _fail(self.path / name, error)
        if _half_gone(raw):
            return None
        id = raw[2:_HEAD]
        if len(raw) < _HEAD + KEY_BYTES or raw[0] != _VERSION or raw[1] not in {_PLAIN, _WRAPPED}:
            raise StoreUnavailable(f"{self.path / name} is no key", hint=_DAMAGED)
        if self.is_gone(id):
            return None
        return Key(id=id, secret=raw[_HEAD:] if raw[1] == _PLAIN else self._unwrapped(raw, _context(name, id)))

    def make(self, name: str, *, secret: bytes = b"") -> Key:
        """The key of this name, a new one (or of this secret) where there is none; all who ask at once get the same."""
        self.prepare()
        with self._locked():
            found = self.find(name)
            if found is not None:
                return found
            self._remove(name)  # what a crash has left of one that was being destroyed
            id, secret = os.urandom(ID_BYTES), secret or os.urandom(KEY_BYTES)
            kept = secret if self._wrapper is None else self._wrapper.wrap(secret, _context(name, id))
            create(self.path / name, bytes((_VERSION, _PLAIN if self._wrapper is None else _WRAPPED)) + id + kept)
            return Key(id=id, secret=secret)

    def id_of(self, name: str) -> bytes | None:
        """The id of the key of this name, None where there is none. Needs no master key."""
        try:
            raw = (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _fail(self.path / name, error)
        return None if _half_gone(raw) else raw[2:_HEAD]

    def destroy(self, name: str, *, only: bytes | None = None) -> bytes | None:
        """Overwrite and remove a key for ever; returns its id, None where there was none. Needs no master key.

        With `only`, no key but the one of that id: a later one of the same name stays.
        """
        if self.mark(name) is None:
            return None
        self.prepare()
        with self._locked():
            try:
                raw = (self.path / name).read_bytes()
            except FileNotFoundError:
                return None
            except OSError as error:
                _fail(self.path / name, error)
            id = None if _half_gone(raw) else raw[2:_HEAD]
            if id is not None and only not in (None, id):
                return None
            if id is not None:
                create(self.path / _GONE / id.hex(), b"")
            self._remove(name)
            return id

    def is_gone(self, id: bytes) -> bool:
        """Whether the key with this id was destroyed here."""
        return (self.path / _GONE / id.hex()).exists()

    def inherit(self, other: KeyFolder) -> None:
        """Know what was destroyed in another folder, and sign as it does, unless this one signs already."""
        gone = sorted(path.name for path in (other.path / _GONE).glob("*")) if other.path != self.path else []
        signing = other.find(SIGNING) if other.path != self.path else None
        if gone or signing:
            self.prepare()
        try:
            for id in gone:
                (self.path / _GONE / id).touch(mode=0o600)
            if gone:
                sync_folder(self.path / _GONE)
        except OSError as error:
            _fail(self.path / _GONE, error)
        if signing:
            self.make(SIGNING, secret=signing.secret)

    def names(self) -> list[str]:
        """The names of all keys."""
        if not self.path.is_dir():
            return []
        return sorted(path.name for path in self.path.iterdir() if path.is_file() and len(path.name) == 64)

    def wrapped(self, name: str) -> bool:
        """Whether a key is kept wrapped; False where there is none."""
        try:
            return (self.path / name).read_bytes()[1:2] == bytes((_WRAPPED,))
        except FileNotFoundError:
            return False
        except OSError as error:
            _fail(self.path / name, error)

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Only one thread of one process at a time makes or destroys keys; a lock ends with its process."""
        try:
            descriptor = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            _fail(self.path, error)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unwrapped(self, raw: bytes, context: bytes) -> bytes:
        if self._wrapper is None:
            raise StoreUnavailable(
                f"the keys in {self.path} are wrapped with a master key, and none is given",
                hint=f"set {MASTER}, or open the store with the wrapper of your key management service",
            )
        return self._wrapper.unwrap(raw[_HEAD:], context)

    def _remove(self, name: str) -> None:
        path = self.path / name
        try:
            with path.open("r+b") as file:
                size = os.fstat(file.fileno()).st_size
                for fill in (os.urandom(max(size - 2, 0)), bytes(size)):  # what it ends as says that it is no key
                    file.seek(0)
                    file.write(bytes(size - len(fill)) + fill)
                    file.flush()
                    os.fsync(file.fileno())
            path.unlink()
            sync_folder(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            _fail(path, error)


def _half_gone(raw: bytes) -> bool:
    """Whether a file is one that `KeyFolder._remove` was overwriting when it was killed: its first bytes go first."""
    return not any(raw[:2])


def create(path: Path, content: bytes) -> bool:
    """Write a new file whole, for its owner only, and to the disk; False, and nothing done, where there is one."""
    part = path.with_name(f".{os.urandom(8).hex()}.part")
    try:
        _write(part, content, os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            os.link(part, path)  # never over one that is there, as a rename would be
        except FileExistsError:
            return False
        finally:
            part.unlink()
        sync_folder(path.parent)
    except OSError as error:
        _fail(path, error)
    return True


def _write(path: Path, content: bytes, descriptor: int) -> None:
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def sync_folder(path: Path) -> None:
    """See that the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _context(name: str, id: bytes) -> bytes:
    """What binds a wrapped key to its place: two files cannot be exchanged."""
    return b"tokenspace key\0" + name.encode() + b"\0" + id


def _fail(path: Path, error: OSError) -> NoReturn:
    raise StoreUnavailable(
        f"the key folder cannot be used: {path}: {error.strerror}",
        hint="let the owner of this process read and write it, or name another with TOKENSPACE_KEYS",
    ) from error


Ring = Callable[[], bytes]
"""Gives the random bytes that name a store's keys: two stores may share a folder, and a copy of a store its keys."""
