"""An agent that is your own function."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from tokenspace.agents.foreign import call
from tokenspace.budget import Budget, Reservation
from tokenspace.domain import Profile, Prompt, Run, ToolCall, Usage
from tokenspace.errors import ModelError, TokenspaceError

Said = str | Run
Act = Callable[[Prompt], Said | Awaitable[Said]]
Again = Callable[[Prompt, Sequence[ToolCall]], Said | Awaitable[Said | None] | None]


class FunctionAgent:
    """Acts by calling your function with the prompt; it answers with text or, to report usage, with a `Run`.

    A plain function runs in a thread, so that it may block; a coroutine function runs on the event loop. One call is
    reserved with the prompt's tokens and maximum output at the profile's prices, and settled with the run's usage.
    Whatever the function raises becomes a `ModelError`, so that a broken replay is a failed measurement.

    `replay` says how a case is run again. True: by calling the function again, which is right as long as it changes
    nothing in the world. False: not at all, for a function with effects (it sends, pays, deletes). Or another function,
    of the prompt and of the tool calls that were recorded with their results, which acts without effects; it answers
    None for what it cannot replay.
    """

    def __init__(self, fn: Act, profile: Profile, *, replay: bool | Again = True) -> None:
        self._fn = fn
        self._profile = profile
        self._replay = replay

    @property
    def profile(self) -> Profile:
        """The profile that it was given."""
        return self._profile

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """Call the function once. An error of the function keeps its reservation: it may have spent it."""
        del seed
        run = await self._act(prompt, budget, self._fn, prompt)
        if run is None:
            raise _broken("answered with None, not with text or a Run")
        return run

    async def replay(
        self, prompt: Prompt, *, recorded: Sequence[ToolCall], budget: Budget, seed: int = 0
    ) -> Run | None:
        """Call the function, or that for replays, once; None if it must not or cannot be replayed."""
        if self._replay is True:
            return await self.run(prompt, budget=budget, seed=seed)
        if self._replay is False:
            return None
        return await self._act(prompt, budget, self._replay, prompt, tuple(recorded))

    async def _act(self, prompt: Prompt, budget: Budget, fn: Callable[..., object], *args: object) -> Run | None:
        reserved = budget.reserve(self._dearest(prompt))
        began = time.perf_counter()
        try:
            said = await call(fn, *args)
        except TokenspaceError:
            raise
        except Exception as error:  # the top of foreign code: anything may come out of it
            raise _broken(f"raised {type(error).__name__}: {error}") from error
        if said is not None and not isinstance(said, str | Run):
            raise _broken(f"answered with {type(said).__name__}, not with text or a Run")
        run = said if isinstance(said, Run) else Run(output=said or "")
        run = replace(
            run, usage=run.usage if run.usage.calls else Usage(calls=1), model=run.model or self._profile.model
        )
        budget.settle(reserved, run.usage)
        if said is None:
            return None
        return run if run.latency_s else replace(run, latency_s=time.perf_counter() - began)

    def _dearest(self, prompt: Prompt) -> Reservation:
        usd = prompt.tokens * self._profile.usd_per_million_input
        usd += prompt.max_output_tokens * self._profile.usd_per_million_output
        return Reservation(tokens=prompt.tokens + prompt.max_output_tokens, usd=usd / 1_000_000)


def _broken(what: str) -> ModelError:
    hint = "see the error that caused this one, if there is one; fix the function and run again"
    return ModelError(f"the agent's function {what}", hint=hint)
