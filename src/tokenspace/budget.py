"""A limit of calls, tokens and money: reserved before a call, settled after it, never exceeded (I12)."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from tokenspace.domain import Usage
from tokenspace.errors import BudgetExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What one call may cost at most. `tokens` counts prompt and output together."""

    calls: int = 1
    tokens: int = 0
    usd: float = 0.0


class Budget:
    """Spent down by concurrent work.

    A reservation that is never settled stays spent: after a crash or a lost answer we must assume that the
    provider billed it. A call that turns out dearer than reserved (a provider that ignores the output limit) is
    settled in full, so that the next reservation sees it.
    """

    def __init__(self, *, calls: float = math.inf, tokens: float = math.inf, usd: float = math.inf) -> None:
        self._limits = {"calls": calls, "tokens": tokens, "usd": usd}
        self._spent = dict.fromkeys(self._limits, 0.0)
        self._lock = threading.Lock()
        self.usage = Usage()

    def reserve(self, asked: Reservation) -> Reservation:
        """Set aside; raises BudgetExceeded, having set nothing aside, if any limit would be passed."""
        amounts = {"calls": asked.calls, "tokens": asked.tokens, "usd": asked.usd}
        with self._lock:
            for unit, amount in amounts.items():
                if self._spent[unit] + amount > self._limits[unit]:
                    raise BudgetExceeded(spent=self._spent[unit], asked=amount, limit=self._limits[unit], unit=unit)
            for unit, amount in amounts.items():
                self._spent[unit] += amount
        return asked

    def settle(self, reserved: Reservation, usage: Usage) -> None:
        """Replace a reservation by what the call really used."""
        with self._lock:
            self._spent["calls"] += usage.calls - reserved.calls
            self._spent["tokens"] += usage.input_tokens + usage.output_tokens - reserved.tokens
            self._spent["usd"] += usage.usd - reserved.usd
            self.usage = self.usage + usage

    def left(self, unit: str) -> float:
        """What remains of "calls", "tokens" or "usd"; infinite where there is no limit."""
        with self._lock:
            return self._limits[unit] - self._spent[unit]
