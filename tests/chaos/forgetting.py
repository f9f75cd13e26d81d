"""A process that forgets a user of the store named on the command line, and is killed by whoever started it."""

from __future__ import annotations

import asyncio
import sys

from tokenspace.domain import Scope
from tokenspace.forget import find, forget
from tokenspace.testing.histories import Stage

if __name__ == "__main__":
    stage = Stage(sys.argv[1])
    scope = Scope(agent="desk", tenant="acme", user="ann")
    subject = find(stage.store.admin, scope, "user")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    asyncio.run(forget(stage.parts, stage.store.admin, subject))
