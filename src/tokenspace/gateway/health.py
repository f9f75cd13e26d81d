"""Whether this process lives, and whether it wants requests.

A database that is away does not make it unready: requests keep flowing, and records are spooled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Health:
    """`started` and `draining` are set by the server; `notes` are words of other rooms, such as how much is spooled.

    A note must hold nothing secret: whoever reaches the port may read it.
    """

    started: bool = False
    draining: bool = False
    notes: dict[str, Callable[[], str]] = field(default_factory=dict[str, Callable[[], str]])

    @property
    def ready(self) -> bool:
        """Whether new requests are wanted."""
        return self.started and not self.draining

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and JSON for `/livez` or `/readyz`."""
        import orjson

        if path == "/livez":
            return 200, b'{"alive":true}'
        body = {"ready": self.ready, **{name: read() for name, read in self.notes.items()}}
        return 200 if self.ready else 503, orjson.dumps(body)
