"""`tokenspace worker` and `tokenspace jobs`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
from tests.cli.commands import QUESTION, invoke, json_of


def test_without_a_worker_there_is_no_queue(project):
    result = invoke("jobs", code=5)
    assert "tokenspace worker" in result.stderr


@pytest.mark.parametrize("args", [("--sleep-cron", "every night"), ("--concurrency", "0"), ("--branch", "draft")])
def test_what_cannot_be_is_refused(project, args):
    if args[0] == "--branch":
        invoke("branch", "draft")
    invoke("worker", *args, code=2)


@pytest.mark.slow
def test_it_learns_until_it_is_told_to_stop(project):
    invoke("ask", QUESTION, "--choice", "Kestrel", "--choice", "Basalt")
    invoke("feedback", "last", "--correct", "Basalt")
    command = [sys.executable, "-m", "tokenspace", "worker", "--json", "--every", "0.1", "--takeover", "1"]
    environment = {**os.environ, "TOKENSPACE_MODEL": "nearest"}
    events = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        for line in child.stdout or ():
            events.append(json.loads(line))
            if events[-1]["event"] == "learned":
                child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=60) == 0
    assert (events[0]["event"], events[-1]["event"]) == ("began", "ended")
    listed = json_of("jobs", "list", "--all")["jobs"]
    assert [(one["kind"], one["state"]) for one in listed] == [("learn", "done")]
    assert "no job waits or runs" in invoke("jobs").stdout


@pytest.mark.slow
def test_a_job_that_waits_can_be_cancelled(project):
    from tokenspace.jobs.dbos import DbosJobs
    from tokenspace.store import open_store

    url = f"sqlite:///{project}/.tokenspace/store.db"
    store = open_store(url)

    async def main():
        async with DbosJobs(url, store.workroom, {}, poll_s=60) as jobs:
            await asyncio.to_thread(jobs.enqueue, "sleep", ["desk", "", ""], key="k", partition="desk", after_s=600)

    asyncio.run(main())
    store.close()
    [job] = json_of("jobs")["jobs"]
    assert (job["state"], job["kind"], job["ids"]) == ("later", "sleep", ["desk", "", ""])
    assert job["id"][-12:] in invoke("jobs", "list").stdout
    assert json_of("jobs", "cancel", job["id"][-12:])["cancelled"] is True
    invoke("jobs", "cancel", job["id"], code=3)
