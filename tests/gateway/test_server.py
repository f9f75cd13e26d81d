"""A gateway in a process of its own: what it loads, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.gateway.provider import Answer, Provider, chat_stream, run

PROGRAM = """
import sys
from tests.gateway.provider import OpenDoor, Kept
from tokenspace.gateway.app import Parts
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.server import serve
from tokenspace.gateway.wire import GatewaySettings, Upstream

class Writer(Kept):
    async def start(self): pass
    async def stop(self): print("flushed", len(self), self[0].ended, flush=True)

def ready(address):
    heavy = {"numpy", "sqlalchemy", "starlette", "mcp", "httpx", "anthropic", "openai", "jsonschema"} & set(sys.modules)
    print(address, *sorted(heavy), flush=True)

writer = Writer()
parts = Parts(door=OpenDoor(), dialects=DIALECTS, recorder=writer, services=(writer,))
serve(GatewaySettings(port=int(sys.argv[2]), upstreams=(Upstream(name="main", url=sys.argv[1]),)), parts, ready=ready)
"""
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}
SSE = chat_stream(["word "] * 30)


async def start(url: str, port: int = 0) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, url, str(port), stdout=pipe, stderr=pipe, env={**os.environ, "PYTHONPATH": "."}
    )


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_stays_small_and_ends_in_order_on_sigterm_with_a_stream_in_flight() -> None:
    async def main() -> None:
        async with Provider(Answer.stream(SSE, pieces=10, pause_s=0.1)) as provider:
            process = await start(provider.url)
            assert process.stdout is not None
            address, *heavy = (await process.stdout.readline()).decode().split()
            assert heavy == []
            async with (
                aiohttp.ClientSession(address) as client,
                client.post("/v1/chat/completions", json=BODY) as answer,
            ):
                assert resident_mb(process.pid) < 80
                process.send_signal(signal.SIGTERM)
                assert await answer.read() == SSE
            assert await process.wait() == 0
            out = (await process.stdout.read()).decode()
            assert json.dumps(out) == json.dumps("flushed 1 done\n")

    run(main(), limit_s=60)


@pytest.mark.slow
def test_a_port_that_is_taken_is_said() -> None:
    async def main() -> None:
        async with Provider() as provider:
            taken = int(provider.url.split(":")[2].split("/")[0])
            process = await start(provider.url, taken)
            _, told = await process.communicate()
            assert process.returncode == 1
            assert f"cannot serve on 127.0.0.1 port {taken}" in told.decode()

    run(main(), limit_s=60)
