"""The examples of docs/wrap.md run as they are, against a provider on this machine."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.gateway.provider import Answer, Asked, Provider

from tokenspace.domain import Scope
from tokenspace.store import open_store

PAGE = (Path(__file__).parents[2] / "docs" / "wrap.md").read_text("utf-8")


def answered(asked: Asked) -> Answer:
    if asked.target.endswith("/messages"):
        return Answer.recording("messages_plain.sse")
    word = "Kestrel" if b"Kestrel" in asked.body else "Basalt"
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": word}}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return Answer(pieces=(json.dumps(body).encode(),))


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider in a thread."""
    made, up, down = Provider(), threading.Event(), asyncio.Event()
    made.choose = answered
    loop = asyncio.new_event_loop()

    async def main() -> None:
        async with made:
            up.set()
            await down.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert up.wait(20)
    yield made
    loop.call_soon_threadsafe(down.set)
    thread.join(20)
    loop.close()


@pytest.mark.slow
def test_the_examples_run_as_they_are(provider, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    root = provider.url.removesuffix("/v1")
    for name, value in {"OPENAI": provider.url, "ANTHROPIC": root}.items():
        monkeypatch.setenv(f"{name}_BASE_URL", value)
        monkeypatch.setenv(f"{name}_API_KEY", "k")
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 2
    for number, code in enumerate(examples):
        script = tmp_path / f"example_{number}.py"
        script.write_text(code, "utf-8")
        runpy.run_path(str(script))
    assert capsys.readouterr().out == "Kestrel\n"
    store = open_store(f"sqlite:///{tmp_path}/.tokenspace/store.db")
    assert [one.value for one in store.feedback(Scope(agent="desk", tenant="acme", user="bob"))] == [
        "Ask for the order number first."
    ]
    store.close()
