"""The embedded model behind the gateway: an upstream without an address."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.gateway.provider import Kept, gateway, run
from tokenspace.errors import ModelUnavailable
from tokenspace.gateway.embedded import Embedded
from tokenspace.gateway.upstream import Upstreams
from tokenspace.gateway.wire import GatewaySettings, Upstream

SETTINGS = GatewaySettings(upstreams=(Upstream(name="local", dialects=("chat", "responses", "messages")),))
BODY = {"model": "any", "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 4, "temperature": 0}


@pytest.mark.slow
def test_it_is_started_by_its_first_request_speaks_three_dialects_and_ends_with_the_gateway() -> None:
    embedded = Embedded()
    kept = Kept()

    async def main() -> None:
        upstreams = Upstreams(SETTINGS, embedded=embedded)
        async with gateway(SETTINGS, recorder=kept, upstreams=upstreams) as server:
            assert embedded._child is None
            async with aiohttp.ClientSession(server.address) as client:
                async with client.post("/v1/chat/completions", json=BODY) as answer:
                    told = await answer.json()
                    assert told["choices"][0]["message"]["content"]
                    assert "/" not in told["model"]
                async with client.post("/v1/chat/completions", json={**BODY, "stream": True}) as answer:
                    assert (await answer.read()).endswith(b"data: [DONE]\n\n")
                async with client.post("/v1/messages", json=BODY) as answer:
                    assert (await answer.json())["role"] == "assistant"
                async with client.post("/v1/responses", json={"input": "Say hello", "max_output_tokens": 4}) as answer:
                    assert (await answer.json())["object"] == "response"
                for _ in range(20):  # a connection that ends with a stream is no matter of the next request
                    async with client.post("/v1/chat/completions", json={**BODY, "stream": True}) as answer:
                        await answer.read()
                    async with client.post("/v1/messages", json=BODY) as answer:
                        assert answer.status == 200
                async with client.get("/v1/models") as answer:
                    assert answer.status == 200
            assert embedded._child is not None
            child = embedded._child
        assert child.returncode is not None

    run(main(), limit_s=100)
    assert [record.ended for record in kept] == ["done"] * 44


@pytest.mark.slow
def test_it_is_started_once_for_all_who_ask_and_ends_when_its_parent_does() -> None:
    async def main() -> None:
        embedded = Embedded()
        impatient = asyncio.create_task(embedded.address())
        await asyncio.sleep(0.05)
        impatient.cancel()  # a client that left while the weights were loaded takes nothing away from the next one
        await embedded.address()
        assert embedded._child is not None
        assert embedded._child.stdin is not None
        embedded._child.stdin.close()  # which is what the system does for a parent that was killed
        await asyncio.wait_for(embedded._child.wait(), 10)
        first = embedded._where
        await embedded.address()
        assert embedded._where != first
        await embedded.close()

    run(main(), limit_s=100)


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_told_as_unavailable(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ModelUnavailable, match="no file"):
            await Embedded(tmp_path / "none.gguf").address()
        upstreams = Upstreams(SETTINGS, embedded=Embedded(tmp_path / "none.gguf"))
        async with (
            gateway(SETTINGS, upstreams=upstreams) as server,
            aiohttp.ClientSession(server.address) as client,
            client.post("/v1/messages", json=BODY) as answer,
        ):
            assert answer.status == 503
            assert (await answer.json())["type"] == "error"

    run(main(), limit_s=60)
