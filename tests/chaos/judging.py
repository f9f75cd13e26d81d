"""A process that judges edits until all are settled, to be killed at any moment: python judging.py URL CALLS.

Every call of the model leaves a byte in the file CALLS. Edits with an even number help, for a user and for everybody.
"""

from __future__ import annotations

import os
import sys
import time

from tokenspace.gates import GateSettings, ReplayGate, Watch
from tokenspace.graders import build
from tokenspace.testing.arena import RIGHT, SCOPES, WRONG, Arena, rule

EDITS, CASES, CALL_S = 8, 16, 0.003
TIERS = (2, 4)
SETTINGS = GateSettings(operators=frozenset({"bob"}), alpha={2: 0.2, 3: 0.2, 4: 0.2})


def arena(url: str, tier: int, calls: int) -> Arena:
    def answer(prompt, _):
        time.sleep(CALL_S)
        os.write(calls, b".")
        asked = int(prompt.messages[-1].text.split()[-1]) % (EDITS // 2)
        return RIGHT if f"help {asked}." in prompt.system else WRONG

    return Arena(answer, scope=SCOPES[tier], store=url)


def texts() -> list[str]:
    return [f"help {number // 2}." if number % 2 == 0 else f"nothing {number}." for number in range(EDITS)]


def settled(world: Arena, text: str) -> bool:
    key = world.attempt(rule(text)).key
    known = world.run.store.attempts(world.scope, key=key)
    return bool(known) and known[0].verdict.decision != "defer"


def work(url: str, calls: int) -> None:
    for tier in TIERS:
        world = arena(url, tier, calls)
        store = world.run.store
        gate = ReplayGate(world.run, build, settings=SETTINGS)
        watch = Watch(world.run, gate)
        for text in texts():
            watch.step(world.scope)
            for canary in store.canaries(world.scope):
                watch.stop(canary, "the next one's turn")
            if not settled(world, text):
                world.judge(gate, rule(text))
        store.close()


if __name__ == "__main__":
    work(sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT))
