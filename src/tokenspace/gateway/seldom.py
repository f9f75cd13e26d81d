"""Log lines that would come with every request are said once, and then now and then with how many there were.

While a database is away or the disk is full, the same thing goes wrong thousands of times a second. Counts
of all of it are in the metrics.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

EVERY_S: Final = 60.0
"""At most one line of a kind in so many seconds."""
MAX_KINDS: Final = 256


@dataclass(slots=True)
class _Line:
    """When a line of this kind was said last, and how many were not since."""

    said: float
    unsaid: int = 0


class Seldom(logging.Filter):
    """Lets through the first line of a kind, and after `every_s` the next one with the number of those between.

    Lines of the same level and template, whatever is put into it, are of one kind. Safe to use from any thread.
    """

    def __init__(self, *, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s, self._clock = every_s, clock
        self._lines: OrderedDict[tuple[int, str], _Line] = OrderedDict()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is said; it is told how many like it were not."""
        kind, now = (record.levelno, str(record.msg)), self._clock()
        with self._lock:
            line = self._lines.get(kind)
            if line is not None and now - line.said < self._every_s:
                line.unsaid += 1
                return False
            unsaid = line.unsaid if line is not None else 0
            self._lines[kind] = _Line(said=now)
            self._lines.move_to_end(kind)
            while len(self._lines) > MAX_KINDS:
                self._lines.popitem(last=False)
        if unsaid:
            record.msg = f"{record.getMessage()} ({unsaid:,} more like it since the last line)"
            record.args = ()
        return True


SELDOM: Final = Seldom()


def speak_seldom(log: logging.Logger) -> None:
    """Have a logger throttled from now on; doing it again changes nothing."""
    log.addFilter(SELDOM)
