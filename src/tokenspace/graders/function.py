"""Your own function as a grader."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tokenspace.budget import Budget
from tokenspace.domain import Case, GraderSpec
from tokenspace.errors import BudgetExceeded, UsageError
from tokenspace.graders.options import as_score, read_options

GraderFunction = Callable[[Case, str], "float | bool | Awaitable[float | bool | None] | None"]
"""(case, output) → score in [0, 1], or whether it is right, or None where that cannot be said; may be async."""

DEFAULT_FUNCTION_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """What the function says. None if it raises, takes longer than `timeout_s`, or says what is no score.

    A plain function runs in a thread of its own and so must not touch what is bound to the caller's thread. One that
    never returns keeps that thread until the process ends: Python has no way to stop it.
    """

    function: GraderFunction
    timeout_s: float = DEFAULT_FUNCTION_TIMEOUT_S

    @classmethod
    def from_spec(cls, spec: GraderSpec, functions: Mapping[str, GraderFunction]) -> Self:
        """Options: function (the name that it was registered under), timeout_s. Expected: whatever it reads of it."""
        options = read_options(spec, {"function": "", "timeout_s": DEFAULT_FUNCTION_TIMEOUT_S})
        name = options["function"]
        if name not in functions:
            known = ", ".join(sorted(functions)) or "none"
            raise UsageError(
                f"no grading function is registered as {name!r}",
                hint=f'name it in options={{"function": …}} and register it; registered are: {known}',
            )
        return cls(function=functions[name], timeout_s=options["timeout_s"])

    async def grade(self, case: Case, output: str, *, budget: Budget) -> float | None:
        """Costs what the function costs. Only `BudgetExceeded` passes through."""
        try:
            return as_score(await asyncio.wait_for(self._call(case, output), self.timeout_s))
        except BudgetExceeded:
            raise
        except Exception:  # noqa: BLE001 (top-level handler of foreign code: its failure is a failed measurement)
            return None

    async def _call(self, case: Case, output: str) -> object:
        if inspect.iscoroutinefunction(self.function):
            return await self.function(case, output)
        said = await _in_daemon_thread(lambda: self.function(case, output))
        return await said if inspect.isawaitable(said) else said


async def _in_daemon_thread(work: Callable[[], Any]) -> Any:
    """Like `asyncio.to_thread`, but work that never returns does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: Exception | None) -> None:
        if done.done():
            return  # it took too long, and nobody waits any more
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = context.run(work)
        except Exception as raised:  # noqa: BLE001 (carried over to the caller, who handles it)
            error = raised
        if isinstance(error, StopIteration):
            error = RuntimeError("the function raised StopIteration")  # no future may hold that one
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="tokenspace-grader", daemon=True).start()
    return await done
