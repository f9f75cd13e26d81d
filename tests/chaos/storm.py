"""Processes that commit until they are killed; run as a script, so that importing is paid for once.

`storm.py kill URL ACKS KILLS SEED`: forks pairs of committers and kills each with SIGKILL at a random moment, be it
while opening, inside a transaction, at an fsync or between commits. `storm.py race URL ACKS COMMITS NUMBER`: commits
so often, rebasing when another process was quicker. Every acknowledged revision is appended to ACKS as one line.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from typing import BinaryIO

from tokenspace.domain import Drop, Patch, Put, Scope, new_id
from tokenspace.errors import EditConflict, StaleHead
from tokenspace.store import open_store
from tokenspace.testing.samples import a_case, a_feedback, an_attempt, commit, rule

SCOPES = [Scope(agent="storm"), Scope(agent="storm", tenant="t"), Scope(agent="storm", tenant="t", user="u")]
LONGEST_LIFE_S = 0.06  # after opening: some ten commits


def main() -> None:
    mode, url, acks, count, number = sys.argv[1:]
    file = os.open(acks, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    if mode == "race":
        race(url, file, int(count), int(number))
    else:
        kill_all(url, file, int(count), random.Random(int(number)))


def acknowledge(file: int, scope: Scope, made) -> None:
    os.write(file, f"{SCOPES.index(scope)} {made.id}\n".encode())  # one append: whole or not at all


def race(url: str, file: int, count: int, number: int) -> None:
    store = open_store(url)
    for turn in range(count):
        while True:
            try:
                acknowledge(file, SCOPES[0], commit(store, SCOPES[0], Put(entry=rule(f"{number}.{turn}"))))
                break
            except StaleHead:
                continue
    store.close()


def kill_all(url: str, file: int, kills: int, chance: random.Random) -> None:
    warm(url)
    for left in range(kills, 0, -2):
        for child, ready in [born(url, file, chance.randrange(2**32)) for _ in range(min(2, left))]:
            if chance.random() < 0.8:
                ready.read(1)  # it has opened the store; the others are killed while they do
            time.sleep(chance.uniform(0, LONGEST_LIFE_S))
            os.kill(child, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "a committer ended by itself"
            ready.close()


def warm(url: str) -> None:
    """Compile the statements once, before the forks; no connection stays open."""
    store = open_store(url)
    for scope in SCOPES:
        store.context(scope, store.heads(scope))
        store.add_feedback(a_feedback(scope=scope), a_case(scope=scope))
        commit(store, scope, Put(entry=rule("warm")), attempt=an_attempt(new_id(), scope=scope, decision="accept"))
    store.close()


def born(url: str, file: int, seed: int) -> tuple[int, BinaryIO]:
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, os.fdopen(reader, "rb", buffering=0)
    try:
        work(url, file, writer, random.Random(seed))
    except Exception as error:  # noqa: BLE001 - the last handler of a process that must not return
        sys.stderr.write(f"committer: {error!r}\n")
        sys.stderr.flush()
    os._exit(1)


def work(url: str, file: int, ready: int, chance: random.Random) -> None:
    parent, store = os.getppid(), open_store(url)
    os.write(ready, b"!")
    while os.getppid() == parent:  # so that none is left behind if the test fails
        scope = chance.choice(SCOPES)
        own = list(store.context(scope, store.heads(scope)).layers[-1].own)
        op = Put(entry=rule("x" * chance.choice([10, 100, 9_000])))
        if len(own) > 20:
            op = Drop(id=own[0])
        elif own and chance.random() < 0.5:
            op = Patch(id=chance.choice(own), changes={"pos": chance.randint(0, 99)})
        attempt = an_attempt(new_id(), scope=scope, decision="accept")
        store.add_feedback(a_feedback(scope=scope), a_case(scope=scope))
        try:
            made = commit(store, scope, op, attempt=attempt, evidence=(new_id(),), vectors={new_id(): b"1"})
        except (StaleHead, EditConflict):  # another committer was quicker
            continue
        acknowledge(file, scope, made)


if __name__ == "__main__":
    main()
