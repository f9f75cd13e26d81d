"""Feedback on its way: said about an episode that may not be written yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tokenspace.domain import Feedback, Signal
from tokenspace.errors import NotFound, UsageError
from tokenspace.gateway.errors import IdTaken

if TYPE_CHECKING:
    from tokenspace.config import Parts
    from tokenspace.protocols import Store

_APPROVALS: Final = (Signal.LABEL, Signal.SCORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Feedback whose episode is still to be found: `target` is our episode id or a provider's response id.

    Until then `feedback.episode` is "".
    """

    target: str
    feedback: Feedback


class Listener:
    """Finds the episode, keeps the feedback, and takes back a canary that harms. Blocking: for a thread.

    `parts` are made by the first feedback: a gateway that only relays does without them.
    """

    def __init__(self, store: Store, parts: Callable[[], Parts]) -> None:
        self._store = store
        self._parts = parts

    def __call__(self, said: Said) -> tuple[Feedback, bool]:
        """The feedback as kept, and whether it is new: saying the same again changes nothing.

        Raises `NotFound` where exactly this scope has no such episode, `UsageError` for approval of a run that
        failed, `IdTaken` if the id was used for other feedback, `BadData` for a value that cannot be meant.
        """
        store, scope = self._store, said.feedback.scope
        feedback = replace(said.feedback, episode=self._find(said))
        known = store.feedback(scope, ids=[feedback.id])
        if known:
            if replace(known[0], at=feedback.at) != feedback:
                raise IdTaken("this id was used for other feedback", hint="give every piece of feedback its own id")
            return known[0], False
        episode = store.episode(scope, feedback.episode)
        if episode.run.error and feedback.signal in _APPROVALS and feedback.value:
            raise UsageError(
                f"there is nothing to approve: {episode.run.error}", hint="send a correction or a demonstration"
            )
        from tokenspace.watching import observed

        observed(self._parts(), feedback)
        return feedback, True

    def _find(self, said: Said) -> str:
        store, scope = self._store, said.feedback.scope
        found = store.episode_of(scope, said.target)
        if found is not None:
            return found
        try:
            return store.episode(scope, said.target).id
        except NotFound:
            raise NotFound(
                "there is no such episode in the scope of this key, agent and user",
                hint="name agent and user as in the request; the target is x-tokenspace-episode or the response's id",
            ) from None
