"""Calling functions that are not ours: plain or coroutine, and free to block and to raise anything."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any


async def call(fn: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
    """What the function answers; raises what it raises.

    A plain function runs in a thread, so that it may block; a coroutine function runs on the event loop. There is no
    time limit: a function that may hang has to bring its own.
    """
    if inspect.iscoroutinefunction(fn):
        said = fn(*args, **named)
    else:
        said = await asyncio.to_thread(_finish, fn, args, named)
    return await said if inspect.isawaitable(said) else said


def _finish(fn: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    try:
        return fn(*args, **named)
    except StopIteration as error:
        # `next` without a default is easily written, and asyncio cannot carry its error out of a thread: it would wait
        # for ever (seen on Python 3.11.7).
        raise RuntimeError("StopIteration") from error
