"""An agent that is your own function."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tokenspace.budget import Budget, Reservation
from tokenspace.domain import Profile, Prompt, Run, Usage
from tokenspace.errors import ModelError, TokenspaceError

Act = Callable[[Prompt], str | Run | Awaitable[str | Run]]


class FunctionAgent:
    """Acts by calling your function with the prompt; it answers with text or, to report usage, with a `Run`.

    A plain function runs in a thread, so that it may block; a coroutine function runs on the event loop. One call is
    reserved with the prompt's tokens and maximum output at the profile's prices, and settled with the run's usage.
    Whatever the function raises becomes a `ModelError`, so that a broken replay is a failed measurement.
    """

    def __init__(self, fn: Act, profile: Profile) -> None:
        self._fn = fn
        self._profile = profile

    @property
    def profile(self) -> Profile:
        """The profile that it was given."""
        return self._profile

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """Call the function once. An error of the function keeps its reservation: it may have spent it."""
        del seed
        reserved = budget.reserve(self._dearest(prompt))
        began = time.perf_counter()
        try:
            said = await self._call(prompt)
        except TokenspaceError:
            raise
        except Exception as error:  # the top of foreign code: anything may come out of it
            hint = "see the error that caused this one; fix the function and run again"
            raise ModelError(f"the agent's function raised {type(error).__name__}: {error}", hint=hint) from error
        run = said if isinstance(said, Run) else Run(output=said)
        run = replace(
            run, usage=run.usage if run.usage.calls else Usage(calls=1), model=run.model or self._profile.model
        )
        budget.settle(reserved, run.usage)
        return run if run.latency_s else replace(run, latency_s=time.perf_counter() - began)

    async def _call(self, prompt: Prompt) -> str | Run:
        said: Any
        if inspect.iscoroutinefunction(self._fn):
            said = self._fn(prompt)
        else:
            said = await asyncio.to_thread(self._fn, prompt)
        if inspect.isawaitable(said):
            said = await said
        if not isinstance(said, str | Run):
            raise TypeError(f"it answered with {type(said).__name__}, not with text or a Run")
        return said

    def _dearest(self, prompt: Prompt) -> Reservation:
        usd = prompt.tokens * self._profile.usd_per_million_input
        usd += prompt.max_output_tokens * self._profile.usd_per_million_output
        return Reservation(tokens=prompt.tokens + prompt.max_output_tokens, usd=usd / 1_000_000)
