"""A limit of calls, tokens and money: reserved before a call, settled after it, never exceeded (I12)."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Final, Protocol

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

    def close(self) -> None:
        """Give back what was set aside ahead of need, if anything was; nothing is reserved afterwards."""


# ── shared by many processes ────────────────────────────────────────────────────────────────


class Account(Protocol):
    """A limit that many processes spend from; it is kept where all of them see it, in slots of time."""

    def slot(self) -> int:
        """The slot of time that a charge made now belongs to."""
        ...

    def take(self, slot: int, asked: Reservation) -> None:
        """Charge to a slot; raises BudgetExceeded, having charged nothing, if the limit would be passed."""
        ...

    def give(self, slot: int, unused: Reservation) -> None:
        """Take back a charge, or charge more by negative amounts: what was used already is charged without asking."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn(Reservation):
    """A reservation with the slot that it was charged to."""

    slot: int = 0


class SharedBudget(Budget):
    """A budget that is also spent from an account, which other processes spend from at the same time.

    It draws for `AHEAD` calls like the one that is asked for, so that most reservations ask no database, and gives
    back what was not used when it is closed or when the account's next slot begins. Near the limit it draws for one.
    What a process that died had drawn stays charged (I12), and is forgotten with the slot.
    """

    AHEAD: Final = 16

    def __init__(
        self, account: Account, *, calls: float = math.inf, tokens: float = math.inf, usd: float = math.inf
    ) -> None:
        super().__init__(calls=calls, tokens=tokens, usd=usd)
        self._account = account
        self._drawing = threading.Lock()
        self._slot = 0
        self._pool = Reservation(calls=0)

    def reserve(self, asked: Reservation) -> Reservation:
        """Set aside here and in the account; raises BudgetExceeded, having set nothing aside."""
        super().reserve(asked)
        try:
            with self._drawing:
                return self._draw(asked)
        except BaseException:
            super().settle(asked, Usage())
            raise

    def settle(self, reserved: Reservation, usage: Usage) -> None:
        """Replace a reservation by what the call really used; what is left over of it serves the next call."""
        super().settle(reserved, usage)
        used = Reservation(calls=usage.calls, tokens=usage.input_tokens + usage.output_tokens, usd=usage.usd)
        over = _plus(reserved, used, sign=-1)
        with self._drawing:
            if not isinstance(reserved, Drawn) or reserved.slot != self._slot:
                # Of a slot that is over: its charge stays as it was, and only what exceeded it is added.
                over = Reservation(calls=min(0, over.calls), tokens=min(0, over.tokens), usd=min(0.0, over.usd))
            self._pool = _plus(self._pool, over)

    def close(self) -> None:
        """Give back what was drawn ahead."""
        with self._drawing:
            self._give_back()

    def _draw(self, asked: Reservation) -> Drawn:
        slot = self._account.slot()
        if slot != self._slot:
            self._give_back()
            self._slot = slot
        left = _plus(self._pool, asked, sign=-1)
        if min(left.calls, left.tokens, left.usd) < 0:
            self._pool = _plus(self._pool, self._more(slot, asked))
            left = _plus(self._pool, asked, sign=-1)
        self._pool = left
        return Drawn(calls=asked.calls, tokens=asked.tokens, usd=asked.usd, slot=slot)

    def _more(self, slot: int, asked: Reservation) -> Reservation:
        """Charge for some calls ahead, or else for what this one lacks."""
        ahead = Reservation(
            calls=asked.calls * self.AHEAD, tokens=asked.tokens * self.AHEAD, usd=asked.usd * self.AHEAD
        )
        lacks = _plus(asked, self._pool, sign=-1)
        lacks = Reservation(calls=max(0, lacks.calls), tokens=max(0, lacks.tokens), usd=max(0.0, lacks.usd))
        for wanted in (_plus(ahead, lacks), lacks):
            try:
                self._account.take(slot, wanted)
            except BudgetExceeded:
                if wanted is lacks:
                    raise
            else:
                return wanted
        raise AssertionError("the last one is returned or raises")

    def _give_back(self) -> None:
        if self._pool != Reservation(calls=0):
            self._account.give(self._slot, self._pool)
            self._pool = Reservation(calls=0)


def _plus(one: Reservation, other: Reservation, *, sign: int = 1) -> Reservation:
    return Reservation(
        calls=one.calls + sign * other.calls, tokens=one.tokens + sign * other.tokens, usd=one.usd + sign * other.usd
    )
