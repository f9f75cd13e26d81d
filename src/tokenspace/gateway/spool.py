"""What could not be written to the database, on disk until it can: one text a line, oldest first.

The file is for its owner's eyes only and never grows beyond its limit. A line counts when it is on the disk with its
newline; a line that a crash cut off is passed over. Reading goes on from where it was in this process, and from the
beginning in the next: whoever reads must not mind to see a line twice.

Any process may `purge` lines, whoever has the spool open: they are overwritten with spaces where they stand, so that no
other line moves. A second file, a guard, keeps them from one another. From `next` to `done` the reader has it, so that
what was purged is not on its way into the database.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tokenspace.errors import StoreUnavailable

SPOOL_BYTES: Final = 256_000_000
PATIENCE_S: Final = 5.0
"""So long a purge waits for lines that are being written to the database."""


class Spool:
    """A file of waiting lines, made when the first line comes and locked against other processes from then on.

    Safe to use from several threads. Every method raises `StoreUnavailable` where the file cannot be used.
    """

    def __init__(self, path: Path, *, limit_bytes: int = SPOOL_BYTES) -> None:
        self.path = path
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._file: int | None = None
        self._guard = -1
        self._reading = False
        self._size = 0
        self._read = 0
        _OPEN.add(self)

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
                with self._guarded():
                    _write(file, data, self._size)
            except OSError as error:
                _cut(file, self._size)
                raise _unusable(self.path, error) from error
            self._size += len(data)

    def next(self, most: int) -> list[tuple[int, str]]:
        """Up to `most` lines that were not read yet, each with where it ends; they are the reader's until `done`."""
        with self._lock:
            found = list[tuple[int, str]]()
            try:
                while not found and self._read < self._size:
                    self._take()
                    found = self._lines(most)
            except OSError as error:
                raise _unusable(self.path, error) from error
            return found

    def _lines(self, most: int) -> list[tuple[int, str]]:
        """From the next piece of the file; lines that were purged are passed over."""
        data = os.pread(self._opened(), min(self._size - self._read, _CHUNK), self._read)
        while b"\n" not in data and self._read + len(data) < self._size:
            data += os.pread(self._opened(), _CHUNK, self._read + len(data))
        found, at = list[tuple[int, str]](), self._read
        for line in data.split(b"\n")[:-1]:
            at += len(line) + 1
            if line.strip():
                found.append((at, line.decode(errors="replace")))
            elif not found:
                self._read = at
            if len(found) == most:
                break
        return found

    def done(self, end: int) -> None:
        """Lines up to `end` need not be read again; when that is all of them, the file is emptied."""
        with self._lock:
            self._read = end
            try:
                if end >= self._size:
                    with self._guarded():
                        os.ftruncate(self._opened(), 0)
                    self._size = self._read = 0
            except OSError as error:
                raise _unusable(self.path, error) from error
            finally:
                self._let_go()

    @property
    def size_bytes(self) -> int:
        """What waits, read lines of an unfinished round included."""
        return self._size

    def close(self) -> None:
        """Let go of the file; what waits is read by the next process."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                os.close(self._guard)
                self._file, self._reading = None, False

    @contextmanager
    def _guarded(self) -> Generator[None]:
        """Nobody purges in the block."""
        had = self._reading
        self._take()
        try:
            yield
        finally:
            if not had:
                self._let_go()

    def _take(self) -> None:
        self._opened()
        if not self._reading:
            fcntl.flock(self._guard, fcntl.LOCK_EX)
            self._reading = True

    def _let_go(self) -> None:
        if self._reading:
            fcntl.flock(self._guard, fcntl.LOCK_UN)
            self._reading = False

    def _opened(self) -> int:
        if self._file is not None:
            return self._file
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, _FLAGS, 0o600)
        except OSError as error:
            raise _unusable(self.path, error) from error
        guard = -1
        try:
            guard = os.open(guard_of(self.path), _FLAGS, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(file, 0o600)  # it may have been there before
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                os.pwrite(file, b"\n", size)  # what a crash cut off is a line of its own, and damaged
                size += 1
        except OSError as error:
            for one in (file, guard):
                if one >= 0:
                    os.close(one)
            raise _unusable(self.path, error) from error
        self._file, self._guard, self._size, self._read = file, guard, size, 0
        return file


def guard_of(path: Path) -> Path:
    """The file whose lock keeps readers and purges of a spool from one another; it holds nothing."""
    return path.with_name(f"{path.name}.guard")


def open_here() -> list[Path]:
    """The spools of this process."""
    return sorted({one.path for one in _OPEN})


def purge(path: Path, wanted: Callable[[bytes], bool], *, dry_run: bool = False) -> int:
    """Overwrite the lines of a spool that are `wanted`, and see that onto the disk; returns how many.

    With `dry_run` they are only counted. Raises `StoreUnavailable` where the file cannot be used, or is being read for
    so long that what is in it may be in the database by now.
    """
    if not path.is_file():
        return 0
    opened = list[int]()
    try:
        for each in (guard_of(path), path):
            opened.append(os.open(each, _FLAGS, 0o600))
        _wait_for(opened[0], path)
        return _purged(opened[1], wanted, dry_run=dry_run)
    except OSError as error:
        raise _unusable(path, error) from error
    finally:
        for one in opened:
            os.close(one)


def _wait_for(guard: int, path: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise StoreUnavailable(
                    f"{path} is being written to the database", hint="forget again when a gateway has emptied it"
                ) from None
            time.sleep(_PAUSE_S)


def _purged(file: int, wanted: Callable[[bytes], bool], *, dry_run: bool) -> int:
    count, at = 0, 0
    with os.fdopen(os.dup(file), "rb") as lines:
        for line in lines:
            if line.strip() and wanted(line):
                count += 1
                if not dry_run:
                    _write(file, b" " * len(line.rstrip(b"\n")), at)
            at += len(line)
    return count


_OPEN: Final[weakref.WeakSet[Spool]] = weakref.WeakSet()
_CHUNK: Final = 1 << 20
_PAUSE_S: Final = 0.05
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


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
