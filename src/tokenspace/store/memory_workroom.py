"""The workroom of a store in memory: the reference, for tests and for work within one process."""

# ruff: noqa: D102 - `protocols.Workroom` says what each method means

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Final

from tokenspace.budget import Reservation
from tokenspace.errors import BudgetExceeded

NOTHING: Final = Reservation(calls=0)


class MemoryWorkroom:
    """Implements `protocols.Workroom` within one process."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, str], str] = {}
        self._workers: dict[str, int] = {}
        self._accounts: dict[str, dict[int, Reservation]] = {}

    def done(self, job: str, name: str) -> str | None:
        return self._steps.get((job, name))

    def check_off(self, job: str, name: str, result: str = "", *, work: Callable[[], None] | None = None) -> bool:
        if (job, name) in self._steps:
            return False
        if work is not None:
            work()
        self._steps[job, name] = result
        return True

    def drop_steps(self, prefix: str) -> int:
        gone = [key for key in self._steps if key[0].startswith(prefix)]
        for key in gone:
            del self._steps[key]
        return len(gone)

    def enter(self, worker: str) -> None:
        self._workers.setdefault(worker, 0)

    def beat(self, worker: str) -> bool:
        if worker not in self._workers:
            return False
        self._workers[worker] += 1
        return True

    def leave(self, worker: str) -> None:
        self._workers.pop(worker, None)

    def beats(self) -> Mapping[str, int]:
        return dict(self._workers)

    def take(self, account: str, asked: Reservation, *, slot: int, since: int, limits: Mapping[str, float]) -> None:
        check(self.charged(account, since=since), asked, limits)
        slots = self._accounts.setdefault(account, {})
        slots[slot] = _sum([slots.get(slot, NOTHING), asked])

    def give(self, account: str, unused: Reservation, *, slot: int) -> None:
        slots = self._accounts.setdefault(account, {})
        back = Reservation(calls=-unused.calls, tokens=-unused.tokens, usd=-unused.usd)
        slots[slot] = _sum([slots.get(slot, NOTHING), back])

    def charged(self, account: str, *, since: int) -> Reservation:
        return _sum(amount for slot, amount in self._accounts.get(account, {}).items() if slot >= since)


def check(charged: Reservation, asked: Reservation, limits: Mapping[str, float]) -> None:
    """Raises BudgetExceeded if what is asked for would pass a limit; a unit without one is not limited."""
    for unit in ("calls", "tokens", "usd"):
        spent, amount, limit = getattr(charged, unit), getattr(asked, unit), limits.get(unit, math.inf)
        if amount > 0 and spent + amount > limit:
            raise BudgetExceeded(spent=spent, asked=amount, limit=limit, unit=unit)


def _sum(amounts: Iterable[Reservation]) -> Reservation:
    def plus(one: Reservation, other: Reservation) -> Reservation:
        return Reservation(calls=one.calls + other.calls, tokens=one.tokens + other.tokens, usd=one.usd + other.usd)

    return reduce(plus, amounts, NOTHING)
