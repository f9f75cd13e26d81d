"""A process that forgets a user of the store named on the command line, and is killed by whoever started it.

With a second argument it is killed by itself: before it erases (`erase`), or after that and before files are scrubbed
(`scrub`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from tokenspace.domain import Scope
from tokenspace.forget import find, forget
from tokenspace.testing.histories import Stage


def die_at(name: str) -> None:
    """Let a verb of the operator's be the last."""
    from tokenspace.store.admin import SqlAdmin

    setattr(SqlAdmin, name, lambda *_args, **_more: os.kill(os.getpid(), signal.SIGKILL))


if __name__ == "__main__":
    for verb in sys.argv[2:]:
        die_at(verb)
    stage = Stage(sys.argv[1])
    scope = Scope(agent="desk", tenant="acme", user="ann")
    subject = find(stage.store.admin, scope, "user")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    asyncio.run(forget(stage.parts, stage.store.admin, subject))
