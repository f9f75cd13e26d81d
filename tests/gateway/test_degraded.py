"""What is beside the relay breaks, one thing after the other: requests flow with the original bytes, and it is counted.

Cells for the parts alone are in test_relay, test_inject and test_record, and for the end of a process in
tests/cli/test_serve; here is the whole gateway.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest

from tests.gateway.provider import JSON_ANSWER, Provider, gateway, run
from tokenspace.config import Settings
from tokenspace.domain import Entry, Kind, Origin, Put, Ranked, Scope
from tokenspace.gateway.build import build_gateway
from tokenspace.gateway.inject import LedgerInjector
from tokenspace.gateway.wire import GatewaySettings, Upstream
from tokenspace.store import open_store
from tokenspace.testing.samples import commit

CHAT = "/v1/chat/completions"
WORDS = b"my parcel never came " * 2_000
RAW = b'{ "model":"m",  "messages":[ {"role":"user", "content":"caf\\u00e9 ' + WORDS + b'"}], "x": 1.50 }'
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("TOKENSPACE_")}


# ── a process ───────────────────────────────────────────────────────────────────────────────


class Served:
    """A gateway in a process of its own, before a provider in a thread."""

    def __init__(self, child: subprocess.Popen[bytes], home: Path, provider: Provider, told: Mapping[str, str]) -> None:
        self.child, self.home, self.provider = child, home, provider
        self.client = httpx2.Client(
            base_url=told["url"], headers={"authorization": f"Bearer {told['key']}"}, trust_env=False, timeout=30
        )

    def ask(self) -> None:
        """One request, which arrives as it was sent, and whose answer comes as it was given."""
        answer = self.client.post(CHAT, content=RAW, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.content) == (200, JSON_ANSWER)
        assert self.provider.asked[-1].body == RAW

    def gauge(self, name: str) -> float:
        text = self.client.get("/metrics").text
        found = re.search(rf"^tokenspace_recorder_{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, text
        return float(found[1])

    def learner(self) -> int | None:
        tasks = Path(f"/proc/{self.child.pid}/task").glob("*/children")
        return next((int(one) for task in tasks for one in task.read_text().split()), None)


@contextmanager
def provider() -> Generator[Provider]:
    import asyncio

    made, ready, end = list[Provider](), threading.Event(), list[Any]()

    async def main() -> None:
        async with Provider() as one:
            over = asyncio.Event()
            made.append(one)
            end.append((asyncio.get_running_loop(), over))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(20)
    yield made[0]
    loop, over = end[0]
    loop.call_soon_threadsafe(over.set)
    thread.join(20)


@contextmanager
def served(folder: Path) -> Generator[Served]:
    with provider() as upstream:
        command = [sys.executable, "-m", "tokenspace", "serve", "--json", "--port", "0", "--learn", "--quiet"]
        command += ["--model", "nearest", "--upstream", f"fake={upstream.url}"]
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(command, cwd=folder, env=CLEAN, stdout=subprocess.PIPE, stderr=log)
        assert child.stdout is not None
        told = json.loads(b"".join(iter(child.stdout.readline, b"}\n")) + b"}")
        made = Served(child, folder / ".tokenspace", upstream, told)
        try:
            yield made
        finally:
            made.client.close()
            child.terminate()
            child.communicate(timeout=40)


def eventually(check: Callable[[], Any]) -> Any:
    for _ in range(800):
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError("it never came to be")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sets the limit of another process")
@pytest.mark.parametrize("trouble", ["database gone", "disk full", "learner killed"])
def test_requests_flow_with_the_original_bytes_whatever_breaks_beside_them(trouble: str, tmp_path: Path) -> None:
    with served(tmp_path) as there:
        unlimited = resource.prlimit(there.child.pid, resource.RLIMIT_FSIZE)
        there.ask()
        eventually(lambda: there.gauge("written") == 1)
        if trouble == "database gone":
            for path in there.home.glob("store.db*"):
                path.rename(path.with_name(f"moved-{path.name}"))
            counted = "spooled"
        elif trouble == "disk full":
            resource.prlimit(there.child.pid, resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
            counted = "unspooled"
        else:
            os.kill(eventually(there.learner), signal.SIGKILL)
            counted = "written"
        for _ in range(3):
            there.ask()
        eventually(lambda: there.gauge(counted) >= 3)
        told = there.client.get("/readyz").json()["records"]
        assert ("cannot be written" in told) == (trouble != "learner killed")
        assert told.endswith(" 3 lost" if trouble == "disk full" else " 0 lost")
        if trouble == "disk full":
            resource.prlimit(there.child.pid, resource.RLIMIT_FSIZE, unlimited)
            eventually(lambda: not there.gauge("away"))
            there.ask()
            eventually(lambda: there.gauge("written") == 2)


# ── recall ──────────────────────────────────────────────────────────────────────────────────


class Slow:
    """A recall that answers when it may."""

    name = "slow@test"

    def __init__(self) -> None:
        self.open = threading.Event()

    def index(self, entries: Sequence[Entry]) -> Mapping[str, bytes]:
        return {}

    def rank(self, entries: Sequence[Entry], vectors: Mapping[str, bytes], query: str) -> list[Ranked]:
        self.open.wait(20)
        return [Ranked(id=entry.id, score=0.9) for entry in entries]


def test_a_recall_that_is_slow_holds_up_no_request_and_leaves_its_bytes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url)
    learned = Entry(
        kind=Kind.EXAMPLE, doc="examples", trigger="my parcel never came", text="Kestrel", origin=Origin.OPERATOR
    )
    commit(store, Scope(agent="default"), Put(entry=learned))
    recall = Slow()

    async def main() -> None:
        async with Provider() as upstream:
            settings = GatewaySettings(
                upstreams=(Upstream(name="main", url=upstream.url),), open_door=True, recall_deadline_s=0.2
            )
            built = build_gateway(Settings(store=url, principal="ana"), settings, spool=None)
            injector = LedgerInjector(store, settings=settings, recall=lambda: recall)
            injector.warm().result()
            parts = {one.name: getattr(built.parts, one.name) for one in fields(built.parts)} | {"injector": injector}
            headers = {"content-type": "application/json"}
            async with gateway(settings, **parts) as server, aiohttp.ClientSession(server.address) as client:
                async with client.post(CHAT, data=RAW, headers=headers) as answer:
                    assert await answer.read() == JSON_ANSWER
                assert upstream.asked[-1].body == RAW
                assert injector.counts["recall_late"] == 1
                recall.open.set()
                other = RAW.replace(b"never came", b"is late", 1)
                async with client.post(CHAT, data=other, headers=headers) as answer:
                    assert await answer.read() == JSON_ANSWER
                assert b"Kestrel" in upstream.asked[-1].body
            injector.close()

    run(main())
    store.close()
