"""`tokenspace serve` as a process of its own: it relays, records, takes feedback, learns beside it, and ends in order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from tests.cli.commands import invoke
from tests.gateway.provider import Answer, Provider

from tokenspace.domain import Scope
from tokenspace.store import open_store

pytestmark = pytest.mark.slow

BODY = {"model": "m", "messages": [{"role": "user", "content": "my parcel never came"}]}
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("TOKENSPACE_")}


class Served:
    """A running gateway and a client of it."""

    def __init__(self, child, told, client):
        self.child, self.url, self.key, self.client = child, told["url"], told["key"], client

    async def ask(self, key=None, user="alice", **more):
        headers = {"authorization": f"Bearer {key or self.key}", "x-tokenspace-user": user}
        return await self.client.post("/v1/chat/completions", json={**BODY, **more}, headers=headers)

    async def say(self, **body):
        headers = {"authorization": f"Bearer {self.key}", "x-tokenspace-user": "alice"}
        return await self.client.post("/v1/feedback", json=body, headers=headers)


async def started(folder, *args):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tokenspace", "serve", "--json", "--port", "0", *args, cwd=folder, env=CLEAN,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    data = b""
    async with asyncio.timeout(60):
        while not data.rstrip().endswith(b"}"):
            more = await child.stdout.read(1000)
            assert more, (await child.stderr.read()).decode()
            data += more
    return child, json.loads(data)


@asynccontextmanager
async def serving(folder, *args):
    child, told = await started(folder, *args)
    try:
        async with httpx.AsyncClient(base_url=told["url"], timeout=30) as client:
            yield Served(child, told, client)
    finally:
        with suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(40):
                await child.wait()
        except TimeoutError:
            child.kill()
            raise


async def eventually(check, timeout_s=40):
    async with asyncio.timeout(timeout_s):
        while not (found := check()):  # noqa: ASYNC110 - another process has no event for it
            await asyncio.sleep(0.05)
    return found


def run(main, limit_s=150):
    async def bounded():
        async with asyncio.timeout(limit_s):
            await main

    asyncio.run(bounded())


def children_of(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")  # a child belongs to the thread that started it
    return [int(one) for task in tasks for one in task.read_text().split()]


def test_i1_an_existing_client_is_served_recorded_and_heard_and_what_it_says_is_learned_beside_it(tmp_path):
    async def main():
        async with (
            Provider() as provider,
            serving(tmp_path, "--learn", "--model", "nearest", "--upstream", f"fake={provider.url}") as gateway,
        ):
            assert gateway.key.startswith("tsk-")
            answer = await gateway.ask()
            assert answer.json() == json.loads(Answer().pieces[0])
            asked = provider.asked[0]
            assert (asked.json(), asked.header("authorization")) == (BODY, None)
            told = await gateway.say(target=answer.json()["id"], value="Kestrel", kind="correction")
            assert told.status_code in (201, 202), told.text
            store = open_store(f"sqlite:///{tmp_path}/.tokenspace/store.db")
            alice = Scope(agent="default", tenant="default", user="alice")
            await eventually(lambda: store.log(alice))
            assert [one.value for one in store.feedback(alice)] == ["Kestrel"]

            async def taught():
                await gateway.ask()
                return "Kestrel" in json.dumps(provider.asked[-1].json())

            async with asyncio.timeout(40):
                while not await taught():  # noqa: ASYNC110 - nor here
                    await asyncio.sleep(0.2)
            assert provider.asked[-1].json()["messages"][-1]["content"].endswith("my parcel never came")
            gateway.child.terminate()
            assert await gateway.child.wait() == 0
            assert all("Kestrel" not in one.request.query for one in store.episodes(alice))
            store.close()

    run(main())


def test_the_first_key_is_shown_once_and_without_one_nobody_is_let_in(tmp_path):
    async def main():
        async with Provider() as provider, serving(tmp_path, "--upstream", f"fake={provider.url}") as gateway:
            key = gateway.key
            assert (await gateway.ask(key="sk-other")).status_code == 401
            assert (await gateway.client.get("/livez")).status_code == 200
            assert (await gateway.client.get("/readyz")).json()["records"].endswith(" 0 lost")
        async with Provider() as provider, serving(tmp_path, "--upstream", f"fake={provider.url}") as gateway:
            assert gateway.key is None
            assert (await gateway.ask(key=key)).status_code == 200
            admin = await gateway.client.get("/metrics", headers={"authorization": f"Bearer {key}"})
            assert "tokenspace_recorder_written" in admin.text

    run(main())


def test_an_open_door_passes_the_callers_own_key_on_and_stores_it_nowhere(tmp_path):
    async def main():
        secret = "sk-proj-" + "a1" * 20
        async with (
            Provider() as provider,
            serving(tmp_path, "--open-door", "--upstream", f"fake={provider.url}") as gateway,
        ):
            assert gateway.key is None
            assert (await gateway.ask(key=secret)).status_code == 200
            assert provider.asked[0].header("authorization") == f"Bearer {secret}"
        for path in (one for one in (tmp_path / ".tokenspace").rglob("*") if one.is_file()):
            assert secret.encode() not in path.read_bytes()

    run(main())


def test_a_learner_that_is_killed_comes_again_and_no_request_notices(tmp_path):
    async def main():
        async with (
            Provider() as provider,
            serving(tmp_path, "--learn", "--model", "nearest", "--upstream", f"fake={provider.url}") as gateway,
        ):
            [first] = await eventually(lambda: children_of(gateway.child.pid))
            os.kill(first, signal.SIGKILL)
            assert (await gateway.ask()).status_code == 200
            await eventually(lambda: [one for one in children_of(gateway.child.pid) if one != first])
            [second] = children_of(gateway.child.pid)
            gateway.child.kill()
            await gateway.child.wait()
            await eventually(lambda: not Path(f"/proc/{second}").exists() or _zombie(second))

    run(main())


def _zombie(pid):
    return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_the_database_is_away_at_the_end_and_nothing_is_lost(tmp_path):
    async def main():
        async with Provider() as provider, serving(tmp_path, "--upstream", f"fake={provider.url}") as gateway:
            home = tmp_path / ".tokenspace"
            assert (await gateway.ask()).status_code == 200
            store = open_store(f"sqlite:///{home}/store.db")
            alice = Scope(agent="default", tenant="default", user="alice")
            await eventually(lambda: store.episodes(alice))
            store.db.hooks.copy(home / "copy.db")
            store.close()
            for path in home.glob("store.db*"):
                path.unlink()
            answers = [await gateway.ask() for _ in range(3)]
            assert {one.status_code for one in answers} == {200}
            await eventually(lambda: (home / "spool.jsonl").exists() and (home / "spool.jsonl").stat().st_size)
            assert "cannot be written" in (await gateway.client.get("/readyz")).json()["records"]
        (home / "copy.db").rename(home / "store.db")
        async with Provider() as provider, serving(tmp_path, "--upstream", f"fake={provider.url}"):
            await eventually(lambda: (home / "spool.jsonl").stat().st_size == 0)
        store = open_store(f"sqlite:///{home}/store.db")
        assert len(store.episodes(alice)) == 4
        store.close()

    run(main())


def test_an_open_door_to_the_world_is_refused_unless_the_operator_says_so(tmp_path):
    refused = invoke("serve", "--open-door", "--host", "0.0.0.0", code=2)
    assert "lets in everybody" in refused.stderr
    assert "--expose" in refused.stderr
    assert not (tmp_path / ".tokenspace" / "store.db").exists()


def test_a_port_that_is_taken_is_said_with_what_to_do(tmp_path):
    async def main():
        async with Provider() as provider, serving(tmp_path, "--upstream", f"fake={provider.url}") as gateway:
            port = gateway.url.rsplit(":", 1)[1]
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tokenspace", "serve", "--port", port, cwd=tmp_path, env=CLEAN,
                stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            _, told = await child.communicate()
            assert child.returncode == 2
            assert b"choose another port" in told
            assert b"Traceback" not in told

    run(main())
