"""The simplest agent: one chat call."""

from __future__ import annotations

from collections.abc import Sequence

from tokenspace.budget import Budget
from tokenspace.domain import Profile, Prompt, Run, ToolCall
from tokenspace.protocols import Model


class ChatAgent:
    """Acts by asking its model once; tool calls of the answer are returned and not executed."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def profile(self) -> Profile:
        """The model's profile."""
        return self._model.profile

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """One completion. Same errors as `Model.complete`."""
        return await self._model.complete(prompt, budget=budget, seed=seed)

    async def replay(
        self, prompt: Prompt, *, recorded: Sequence[ToolCall], budget: Budget, seed: int = 0
    ) -> Run | None:
        """The same: one completion has no effect on the world."""
        del recorded
        return await self.run(prompt, budget=budget, seed=seed)
