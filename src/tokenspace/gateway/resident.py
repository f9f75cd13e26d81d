"""Giving memory back: what large bodies took, the C library keeps, in pieces between what is still in use.

Without this a gateway stays as large as its largest minute: after a load of bodies of 100 KB, half of what was resident
was free. Only glibc is known to need it; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any, Final

_ARENA_MAX: Final = -8
"""The number of `M_ARENA_MAX` in glibc's malloc.h."""
ARENAS: Final = 2
"""Python's lock lets one thread allocate at a time, so that more arenas are of no use here."""


@cache
def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
    except OSError:
        return None


def few_arenas() -> bool:
    """Have all threads share a few arenas; for the start of a process. Whether that could be done."""
    library = _glibc()
    return bool(library and library.mallopt(_ARENA_MAX, ARENAS))


def give_back() -> bool:
    """Return free pages to the system; takes some milliseconds, without Python's lock. Whether there were any."""
    library = _glibc()
    return bool(library and library.malloc_trim(0))
