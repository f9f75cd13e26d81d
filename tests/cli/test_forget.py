"""`tokenspace forget`, and whoever finishes what it was killed over."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos import forgetting
from tests.chaos.test_forgetting import ANN, fill, residue
from tests.cli.commands import QUESTION, invoke, json_of

from tokenspace import forget
from tokenspace.domain import Episode, Feedback, Heads, Message, Request, Run, Scope, Signal
from tokenspace.gateway.kept import Kept
from tokenspace.gateway.record import _line
from tokenspace.gateway.said import Said
from tokenspace.gateway.spool import Spool
from tokenspace.store import open_store
from tokenspace.testing.histories import Stage

WHO = ("--agent", "desk", "--tenant", "acme", "--user", "ann")
WHOLE = ("forget", *WHO, "--whole-user")


@pytest.fixture
def store(project, monkeypatch):
    """The project's store with a user in it, and nobody who is waited for."""
    monkeypatch.setattr(forget, "GRACE_S", 0.0)
    path = project / ".tokenspace" / "store.db"
    fill(f"sqlite:///{path}", rows=12)
    return path


def kill(path: Path, verb: str) -> None:
    """Forget the user in a process that dies at a verb of the operator's."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, forgetting.__file__, f"sqlite:///{path}", verb], input=b"\n", capture_output=True,
        check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr.decode()
    assert residue(path) > 0


def test_status_says_what_is_unfinished_and_what_to_run(store):
    assert json_of("status")["unfinished_erasures"] == []
    kill(store, "erase")
    assert len(json_of("status")["unfinished_erasures"]) == 1
    assert len(json_of("status", *WHO)["unfinished_erasures"]) == 1
    assert json_of("status", "--tenant", "globex")["unfinished_erasures"] == []
    assert "tokenspace forget --resume" in invoke("status").stdout
    invoke("forget", "--resume")
    assert "unfinished" not in invoke("status").stdout
    assert residue(store) == 0


@pytest.mark.parametrize("verb", ["erase", "scrub"])
def test_i10_the_next_forget_finishes_what_was_killed(store, verb):
    kill(store, verb)
    invoke("ask", QUESTION, "--choice", "Kestrel")
    done = invoke("forget", "--episode", "last", "--yes")
    assert "was finished" in done.stderr
    assert residue(store) == 0
    states = [one["finished"] for one in json_of("receipts")["erasures"]]
    assert len(states) == 2
    assert all(states)


def test_a_dry_run_finishes_nothing(store):
    kill(store, "erase")
    invoke("ask", QUESTION, "--choice", "Kestrel")
    invoke("forget", "--episode", "last")
    assert residue(store) > 0


@pytest.mark.slow
@pytest.mark.parametrize("command", [("learn", "--watch", "--until-eof"), ("worker", "--sleep-cron", "")])
def test_whoever_goes_on_learning_finishes_it_first(store, command):
    kill(store, "erase")
    said = []
    with subprocess.Popen(
        [sys.executable, "-m", "tokenspace", *command, "--model", "nearest", "--json"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        for line in child.stdout or ():
            said.append(line)
            child.terminate()
        child.wait(timeout=60)
    assert said
    assert residue(store) == 0
    assert json_of("status")["unfinished_erasures"] == []


def test_what_cannot_be_finished_is_said_and_waits(store, monkeypatch):
    from tokenspace.errors import StoreUnavailable
    from tokenspace.store.admin import SqlAdmin

    kill(store, "erase")

    def busy(self):
        raise StoreUnavailable("somebody reads", hint="wait")

    monkeypatch.setattr(SqlAdmin, "scrub", busy)
    invoke("ask", QUESTION, "--choice", "Kestrel")
    told = invoke("forget", "--episode", "last", "--yes", code=5)
    assert "not finished: somebody reads" in told.stderr
    assert len(json_of("status")["unfinished_erasures"]) == 2  # its own waits for the files, too


# ── beside the store ────────────────────────────────────────────────────────────────────────


def spooled(project: Path, *, agent: str = "desk") -> Spool:
    """A spool of the project's gateway, in which two users wait."""
    spool = Spool(project / ".tokenspace" / "spool.jsonl")
    stage = Stage("memory:")
    for name in ("ann", "bob"):
        scope = Scope(agent=agent, tenant="acme", user=name)
        request = Request(messages=(Message(role="user", text=f"words of {name}"),))
        one = Episode(scope=scope, heads=Heads(), request=request, run=Run(output="yes"), at=stage.now)
        said = Feedback(scope=scope, episode="", principal=name, signal=Signal.TEXT, value=f"{name} says", at=stage.now)
        spool.append([_line(Kept(episode=one)), _line(Said(target=one.id, feedback=said))])
    return spool


def test_a_user_goes_from_the_spool_whoever_has_it_open(store, project):
    spool = spooled(project)  # as a gateway has it
    assert json_of(*WHOLE)["rows"]["spool"] == 2
    assert b"words of ann" in spool.path.read_bytes()
    done = json_of(*WHOLE, "--yes")
    assert done["rows"]["spool"] == 2
    assert b"ann" not in spool.path.read_bytes()
    assert [("bob" in line) for _, line in spool.next(9)] == [True, True]
    assert '"store":"spool file"' in done["receipt"]


def test_a_text_that_is_in_the_spool_alone_is_found(project):
    spool = spooled(project)
    done = json_of("forget", "--text", "WORDS of  ann", "--yes")
    assert done["rows"] == {"spool": 1}
    assert b"words of ann" not in spool.path.read_bytes()
    invoke("forget", "--text", "words of nobody", code=3)


def test_a_spool_that_is_being_read_is_named_as_out_of_reach(store, project, monkeypatch):
    monkeypatch.setattr("tokenspace.gateway.spool.PATIENCE_S", 0.0)
    spool = spooled(project)
    lines = spool.next(1)
    done = json_of(*WHOLE, "--yes")
    assert any("spool.jsonl" in words for words in done["unreached"])
    spool.done(lines[-1][0])
    assert json_of("forget", *WHO, "--whole-user", "--yes")["rows"] == {"spool": 2}  # she is nowhere else by now


def test_a_users_jobs_go_from_the_queue(store):
    pytest.importorskip("dbos")
    from tokenspace.jobs.dbos import DbosJobs

    url = f"sqlite:///{store}"
    opened = open_store(url)

    async def main():
        async with DbosJobs(url, opened.workroom, {}, poll_s=60) as jobs:
            for name in ("ann", "bob"):
                ids = ["desk", "acme", name]
                await asyncio.to_thread(jobs.enqueue, "learn", ids, key="k", partition=f"desk/acme/{name}", after_s=600)

    asyncio.run(main())
    opened.close()
    assert ANN.user == "ann"
    assert json_of(*WHOLE)["rows"]["job"] == 1
    assert json_of(*WHOLE, "--yes")["rows"]["job"] == 1
    assert [one["ids"] for one in json_of("jobs")["jobs"]] == [["desk", "acme", "bob"]]
    left = b"".join(one.read_bytes() for one in store.parent.glob("store.jobs.db*"))
    assert b'"ann"' not in left
    assert b'"bob"' in left


def test_i10_exact_mode_works_with_what_a_project_learns_by_itself(project):
    invoke("ask", QUESTION, "--choice", "Kestrel", "--choice", "Basalt")
    invoke("feedback", "last", "--correct", "Basalt")
    invoke("sleep")  # asks every proposer, some of which are named after the day
    (kept,) = json_of("context")["entries"][:1]
    done = json_of("forget", "--episode", "last", "--exact", "--yes")
    assert done["exact"]
    assert [one["id"] for one in json_of("context")["entries"]] == [kept["id"]]
    assert invoke("verify").exit_code == 0


def test_what_is_meant_may_be_named_as_other_commands_print_it(project):
    invoke("ask", QUESTION, "--choice", "Kestrel", "--choice", "Basalt")
    invoke("feedback", "last", "--correct", "Basalt")
    invoke("learn")
    (said,) = json_of("show", "last")["feedback"]
    assert said["id"][-8:] in invoke("show", "last").stdout
    entry = json_of("context")["entries"][0]
    assert json_of("forget", "--entry", entry["id"][-8:])["rows"]["entry"] >= 1
    for name in (said["id"][-8:], "last"):
        assert json_of("forget", "--feedback", name)["rows"]["feedback"] == 1
    assert "has no feedback" in invoke("forget", "--feedback", "00000000", code=3).stderr
