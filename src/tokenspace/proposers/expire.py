"""`expire`: what was learned from a failure that passes is put to the test again when its time is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from tokenspace.budget import Budget
from tokenspace.context import edit_key
from tokenspace.context.facts import expired
from tokenspace.context.transient import BELIEF_DAYS, born_of_failure
from tokenspace.domain import Edit, Entry, Evidence, Patch, Status
from tokenspace.protocols import Reach, Store


class Expire:
    """Proposes to renew one own entry that was born of a passing failure and has ended, for `days` more.

    The gate decides by fresh replays, with the entry and without (see `gates.renewal`): one whose cases pass without it
    is not renewed, nor is one that no case can test. So nothing has to happen for a belief to end. Needs no model.
    """

    reach: Reach = "all"

    def __init__(self, *, store: Store, clock: Callable[[], datetime], days: int = BELIEF_DAYS) -> None:
        self._store, self._clock, self._days = store, clock, days

    @property
    def name(self) -> str:
        """With the day: what there is to do changes with time alone, and an attempt of another day is another one."""
        return f"expire@1/{self._clock():%Y-%m-%d}"

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """A renewal that was not tried since the entry ended; None if there is nothing to renew."""
        now = self._clock()
        tried = {one.edit_key for one in evidence.tried()}
        for entry in ended_beliefs(evidence, self._store, now):
            edit = Edit(
                ops=(Patch(id=entry.id, changes={"valid_until": self._end(entry, now)}),),
                rationale="does it still hold?",
                read=(entry.id,),
            )
            if edit_key(edit) not in tried:
                return edit
        return None

    def _end(self, entry: Entry, now: datetime) -> datetime:
        """The first end after now in whole steps from the old one: the same test is not tried twice in one step."""
        assert entry.valid_until is not None, "only what has ended is renewed"
        step = timedelta(days=self._days)
        return entry.valid_until + ((now - entry.valid_until) // step + 1) * step


def ended_beliefs(evidence: Evidence, store: Store, now: datetime) -> list[Entry]:
    """Own active entries that were born of a passing failure and have ended, in the order of their ids."""
    own = evidence.context.layers[-1].own
    ended = [own[id] for id in sorted(own) if own[id].status is Status.ACTIVE and expired(own[id], now)]
    if not ended:
        return []
    blame = store.blame(evidence.scope, evidence.context.heads)
    found: list[Entry] = []
    for entry in ended:
        sources = set(blame[entry.id].sources) if entry.id in blame else set[str]()
        said = [item for item in evidence.feedback if item.id in sources]
        episodes = [episode for id, episode in evidence.episodes.items() if id in sources]
        if born_of_failure(entry, said, episodes):
            found.append(entry)
    return found
