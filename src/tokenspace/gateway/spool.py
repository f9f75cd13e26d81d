"""What could not be written to the database, on disk until it can: one text a line, oldest first.

The file is for its owner's eyes only and never grows beyond its limit. A line counts when it is on the disk with its
newline; a line that a crash cut off is passed over. Reading goes on from where it was in this process, and from the
beginning in the next: whoever reads must not mind to see a line twice.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tokenspace.errors import StoreUnavailable

SPOOL_BYTES: Final = 256_000_000


class Spool:
    """A file of waiting lines, made when the first line comes and locked against other processes from then on.

    Safe to use from several threads. Every method raises `StoreUnavailable` where the file cannot be used.
    """

    def __init__(self, path: Path, *, limit_bytes: int = SPOOL_BYTES) -> None:
        self.path = path
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._read = 0

    def open(self) -> int:
        """Look for lines of an earlier process; returns the bytes that wait."""
        with self._lock:
            if self._file is None and not self.path.exists():
                return 0
            self._opened()
            return self._size

    def append(self, lines: Sequence[str]) -> None:
        """Write lines, all of them or none, and see them onto the disk."""
        data = "".join(f"{line}\n" for line in lines).encode()
        with self._lock:
            file = self._opened()
            if self._size + len(data) > self._limit:
                raise StoreUnavailable(
                    f"the spool {self.path} is full at {self._size:,} bytes", hint="bring the database back"
                )
            try:
                _write(file, data, self._size)
            except OSError as error:
                _cut(file, self._size)
                raise _unusable(self.path, error) from error
            self._size += len(data)

    def next(self, most: int) -> list[tuple[int, str]]:
        """Up to `most` lines that were not read yet, each with where it ends."""
        with self._lock:
            if self._read >= self._size:
                return []
            try:
                data = os.pread(self._opened(), min(self._size - self._read, _CHUNK), self._read)
                while b"\n" not in data and self._read + len(data) < self._size:
                    data += os.pread(self._opened(), _CHUNK, self._read + len(data))
            except OSError as error:
                raise _unusable(self.path, error) from error
            found, at = list[tuple[int, str]](), self._read
            for line in data.split(b"\n")[:-1][:most]:
                at += len(line) + 1
                found.append((at, line.decode(errors="replace")))
            return found

    def done(self, end: int) -> None:
        """Lines up to `end` need not be read again; when that is all of them, the file is emptied."""
        with self._lock:
            self._read = end
            if end < self._size:
                return
            try:
                os.ftruncate(self._opened(), 0)
            except OSError as error:
                raise _unusable(self.path, error) from error
            self._size = self._read = 0

    @property
    def size_bytes(self) -> int:
        """What waits, read lines of an unfinished round included."""
        return self._size

    def close(self) -> None:
        """Let go of the file; what waits is read by the next process."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _opened(self) -> int:
        if self._file is not None:
            return self._file
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(file, 0o600)  # it may have been there before
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                os.pwrite(file, b"\n", size)  # what a crash cut off is a line of its own, and damaged
                size += 1
        except OSError as error:
            os.close(file)
            raise _unusable(self.path, error) from error
        self._file, self._size, self._read = file, size, 0
        return file


_CHUNK: Final = 1 << 20


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        wrote = os.pwrite(file, view, at)
        view, at = view[wrote:], at + wrote
    os.fsync(file)


def _cut(file: int, size: int) -> None:
    """Take back half a line; where even that fails, the next writer writes over it."""
    try:
        os.ftruncate(file, size)
    except OSError:
        return


def _unusable(path: Path, error: OSError) -> StoreUnavailable:
    if isinstance(error, BlockingIOError):
        return StoreUnavailable(
            f"{path} is the spool of another process", hint="give each gateway a --spool of its own"
        )
    return StoreUnavailable(
        f"cannot spool to {path}: {error.strerror}", hint="free some space there, or name another file with --spool"
    )
