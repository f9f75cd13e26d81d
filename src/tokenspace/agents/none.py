"""No way to act: for reading and writing what was learned where there is no model."""

from __future__ import annotations

from collections.abc import Sequence

from tokenspace.budget import Budget
from tokenspace.domain import Profile, Prompt, Run, ToolCall
from tokenspace.errors import UsageError


class NoAgent:
    """Implements `protocols.Agent` and refuses to act."""

    @property
    def profile(self) -> Profile:
        """Names no model, so that nothing is judged in its name."""
        return Profile(model="none")

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """Raises `UsageError`."""
        raise UsageError("this asks no model", hint="use `tokenspace ask`, or name a model")

    async def replay(
        self, prompt: Prompt, *, recorded: Sequence[ToolCall], budget: Budget, seed: int = 0
    ) -> Run | None:
        """Nothing can be run again without a model."""
        return None
