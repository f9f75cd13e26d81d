"""Learning beside a gateway on one machine: `tokenspace learn --watch` as a child process, kept alive.

It may crash, be killed or hang: the gateway does not notice. It ends with the gateway, however that ends, because its
standard input does.
"""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Sequence
from typing import Final

LOG: Final = logging.getLogger("tokenspace.gateway")
AGAIN_S: Final = 1.0
MAX_AGAIN_S: Final = 60.0
LONG_S: Final = 60.0
"""A child that lived so long had begun well: the next failure is the first again."""
END_S: Final = 15.0
"""To finish the attempt that is being judged; after that it is killed, which loses nothing that was paid for."""


class Learner:
    """Runs a command again whenever it ends, until `stop`. Safe to use from any thread."""

    def __init__(self, command: Sequence[str], *, again_s: float = AGAIN_S, quiet: bool = False) -> None:
        self._command = command
        self._again_s = again_s
        self._quiet = quiet
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name="tokenspace-learner", daemon=True)
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The process that learns now."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, within_s: float = END_S) -> None:
        """Let it finish what is being judged; blocks until it has ended."""
        self._stop.set()
        child = self._child
        if child is not None and child.poll() is None:
            _end(child, within_s)
        self._thread.join(within_s)

    def _work(self) -> None:
        pause_s = self._again_s
        while not self._stop.is_set():
            try:
                # In a session of its own: an interrupt at the terminal is for the gateway, which then ends us.
                child = self._child = subprocess.Popen(  # noqa: S603 - our own interpreter with our own arguments
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL if self._quiet else None,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                LOG.error("learning cannot start: %s", error)  # noqa: TRY400 - the words suffice
            else:
                self.starts += 1
                if self._stop.is_set():
                    _end(child, END_S)
                try:
                    child.wait(LONG_S)
                except subprocess.TimeoutExpired:
                    pause_s = self._again_s
                    child.wait()
                _close(child)
                if not self._stop.is_set():
                    LOG.warning("learning ended with %s, it goes on in %g s", child.returncode, pause_s)
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, MAX_AGAIN_S)


def _end(child: subprocess.Popen[bytes], within_s: float) -> None:
    _close(child)  # that tells it
    try:
        child.wait(within_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _close(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        child.stdin.close()
