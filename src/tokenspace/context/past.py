"""What a scope has tried and recorded, as far as one sleep has read it: each thing is read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tokenspace.domain import Attempt, Decision, Episode, Feedback, Scope
from tokenspace.protocols import Store

DECISIONS: Final[tuple[Decision, ...]] = ("reject", "defer", "accept")
"""Verdicts on edits; an attempt that proposed nothing is no part of the memory of edits."""


class Past:
    """The whole history of a scope, read when it is asked for and then kept up to date by what is `newest`.

    What is shown to a model is limited; what must not be tried again is not (see `Evidence.tried`). Raw episodes are
    never rewritten, so that one that was read once holds. It lives no longer than a sleep.
    """

    def __init__(self, store: Store, scope: Scope) -> None:
        self.scope: Final = scope
        self._store = store
        self._attempts: dict[str, Attempt] | None = None
        self._episodes: dict[str, Episode] = {}

    def attempts(self) -> Iterable[Attempt]:
        """All attempts that had an edit to judge, oldest first."""
        if self._attempts is None:
            self._attempts = {}
            self._add(one for decision in DECISIONS for one in self._store.attempts(self.scope, decision=decision))
        return self._attempts.values()

    def newest(self, decision: Decision, limit: int) -> list[Attempt]:
        """So many of the newest attempts of a verdict at most, as the store has them now, oldest first."""
        found = self._store.attempts(self.scope, decision=decision, limit=limit)
        self._add(found)
        return found

    def _add(self, newest: Iterable[Attempt]) -> None:
        """Take in what was tried since, by anybody."""
        if self._attempts is not None:
            for one in sorted(newest, key=lambda one: (one.at, one.id)):
                known = self._attempts.get(one.key)
                if known != one:
                    self._attempts.pop(one.key, None)  # judged again: it is among the newest now
                    self._attempts[one.key] = one

    def episodes(self, feedback: Iterable[Feedback]) -> Mapping[str, Episode]:
        """The episodes that this feedback is about, by id. Raises `NotFound` where one is not in the scope."""
        wanted = {item.episode: self._episodes.get(item.episode) for item in feedback}
        found = {id: known or self._store.episode(self.scope, id) for id, known in wanted.items()}
        self._episodes.update(found)
        return found


def continued(judged: Attempt, earlier: Sequence[Attempt]) -> Attempt:
    """A judged attempt as the next state of a deferred one of the same edit, proposer and branch, if there is one.

    So an edit that waits is one attempt, and is judged once in a sleep, however often it is proposed. Feedback is never
    lost by that: an attempt that another piece of feedback caused stays on its own.
    """
    if any(one.key == judged.key for one in earlier):
        return judged
    for one in earlier:
        waits = one.verdict.decision == "defer" and (one.proposer, one.branch) == (judged.proposer, judged.branch)
        if waits and set(one.evidence) <= set(judged.evidence):
            return replace(judged, id=one.id, key=one.key, proposed=judged.id)
    return judged
