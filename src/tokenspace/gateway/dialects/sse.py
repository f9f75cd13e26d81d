"""Server-sent events: bytes in, events out, however the bytes are cut.

As the HTML standard's section 9.2.6 has it: lines end in LF, CR LF or CR, an empty line ends an event, data lines are
joined by LF, comments and unknown fields are passed over, and a byte order mark at the start is not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `name` is "" where the stream gives none."""

    name: str
    data: bytes


class EventParser:
    """Takes a stream in pieces of any size and gives its events as they end."""

    __slots__ = ("_after_cr", "_data", "_name", "_rest", "_started")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []
        self._name = b""
        self._after_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that end in this chunk."""
        if self._after_cr and chunk.startswith(b"\n"):  # the second half of a CR LF that was cut in two
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        self._rest.append(chunk)
        if b"\n" not in chunk and b"\r" not in chunk:  # no line ends here: joining now would cost quadratic time
            return []
        lines = b"".join(self._rest).splitlines(keepends=True)
        self._rest = [] if lines[-1].endswith((b"\n", b"\r")) else [lines.pop()]
        return [event for line in lines if (event := self._line(line.rstrip(b"\r\n"))) is not None]

    def close(self) -> list[Event]:
        """What is left at the end: an event without its empty line, which the standard drops and servers do send."""
        ended = self.feed(b"\n") if self._rest else []
        last = self._line(b"")
        return ended if last is None else [*ended, last]

    def _line(self, line: bytes) -> Event | None:
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if line:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                self._data.append(value)
            elif field == b"event":
                self._name = value
            return None
        event = Event(self._name.decode("utf-8", "replace"), b"\n".join(self._data)) if self._data else None
        self._data, self._name = [], b""
        return event


def events(data: bytes) -> Iterator[Event]:
    """All events of a whole stream."""
    parser = EventParser()
    yield from parser.feed(data)
    yield from parser.close()
