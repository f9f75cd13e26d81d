"""What a scope has tried and recorded, as far as one sleep has read it: each thing is read once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import wraps
from typing import Any, Final, ParamSpec, cast

from tokenspace.domain import Attempt, Decision, Episode, Feedback, Scope, Verdict, new_id
from tokenspace.errors import Forgotten
from tokenspace.protocols import Store

DECISIONS: Final[tuple[Decision, ...]] = ("reject", "defer", "accept")
"""Verdicts on edits; an attempt that proposed nothing is no part of the memory of edits."""


OVERTAKEN: Final = "what it rests on was erased meanwhile"
P = ParamSpec("P")


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
        self._since: tuple[int, int] | None = None

    @contextmanager
    def steady(self) -> Generator[None]:
        """See `Store.steady`; of what was read before an erasure nothing is known any more."""
        with self._store.steady(self.scope) as since:
            if since != self._since:
                self._since, self._attempts, self._episodes = since, None, {}
            yield

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


def steadily(work: Callable[P, Coroutine[Any, Any, Attempt]]) -> Callable[P, Coroutine[Any, Any, Attempt]]:
    """Reading, thinking and writing that an erasure in its scope ends: nothing is recorded of it then (I10).

    `work` is about the attempt that it is given, or about `feedback`; of that, what is erased already is left out. What
    it was about, and is left, no attempt is on record for: so it is taken up again.
    """

    @wraps(work)
    async def undisturbed(*args: Any, **given: Any) -> Attempt:
        run, held = args[0], next((one for one in args if isinstance(one, Attempt)), None)
        scope: Scope = held.scope if held else given["feedback"][0].scope
        past = run.past if run.past and run.past.scope == scope else Past(run.store, scope)
        with suppress(Forgotten), past.steady():
            if held is None:
                left = {item.id for item in run.store.feedback(scope, ids=[item.id for item in given["feedback"]])}
                given["feedback"] = [item for item in given["feedback"] if item.id in left]
            # One that was judged before is on record, unless it was erased between being read and now.
            stands = not held or not held.edit_key or run.store.attempts(scope, key=held.key)
            if stands and (held or given["feedback"]):
                return await cast("Any", work)(replace(run, past=past), *args[1:], **given)
        at, heads = run.clock(), run.store.heads(scope)
        none = held or Attempt(scope=scope, key=new_id(), proposer="", heads=heads, branch=run.branch, at=at)
        return replace(none, edit=None, at=at, verdict=Verdict(decision="abstain", reason=OVERTAKEN))

    return undisturbed


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
