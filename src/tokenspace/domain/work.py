"""Work that is done later, perhaps by another process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work in a queue: what kind, about which ids (never texts), and in whose turn.

    Jobs of one `partition` are done one after the other, never two at once. `turn` counts 1, 2, 3 … where a job said
    that it should go on later.
    """

    id: str
    kind: str
    ids: tuple[str, ...]
    partition: str
    turn: int = 1
