"""Fixtures: a provider on loopback (real HTTP by the standard library) that answers by script and records what it got."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tokenspace.budget import Budget
from tokenspace.domain import Message, Profile, Prompt, Run


@dataclass
class Reply:
    """One answer. `body` is sent as it is if it is bytes, else as JSON; `cut` bytes of it never arrive."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    hold: threading.Event | None = None


@dataclass
class FakeProvider:
    url: str
    replies: list[Reply | Callable[[dict[str, Any]], Reply]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def provider(*replies: Reply | Callable[[dict[str, Any]], Reply]) -> Iterator[FakeProvider]:
    """Serves the replies one after the other, the last one for ever."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                reply = fake.replies[min(len(fake.requests), len(fake.replies) - 1)]
                fake.requests.append(sent)
                fake.headers.append({key.lower(): value for key, value in self.headers.items()})
                fake.paths.append(self.path)
            self._send(reply(sent) if callable(reply) else reply)

        def do_GET(self) -> None:
            fake.paths.append(self.path)
            reply = fake.replies[0]
            self._send(reply if isinstance(reply, Reply) else reply({}))

        def _send(self, reply: Reply) -> None:
            if reply.hold is not None:
                reply.hold.wait(10)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            try:
                self.send_response(reply.status)
                self.send_header("content-length", str(len(body)))
                for key, value in reply.headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body[: len(body) - reply.cut])
                self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake = FakeProvider(url=f"http://127.0.0.1:{server.server_port}", replies=list(replies))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        for reply in replies:
            if isinstance(reply, Reply) and reply.hold is not None:
                reply.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeProvider]]:
    """Starts a provider with these replies, or bodies of replies; it stops with the test."""
    with ExitStack() as stack:
        yield lambda *replies: stack.enter_context(
            provider(*(one if isinstance(one, Reply) or callable(one) else Reply(one) for one in replies))
        )


@pytest.fixture
def reply() -> type[Reply]:
    """The class of an HTTP answer."""
    return Reply


@pytest.fixture
def prompt() -> Callable[..., Prompt]:
    """Makes a prompt of one user message, after examples given as pairs."""

    def make(text: str = "Where is my card?", *examples: tuple[str, str], **fields: Any) -> Prompt:
        turns = [
            message
            for ask, say in examples
            for message in (Message(role="user", text=ask), Message(role="assistant", text=say))
        ]
        fields = {"system": "Name the team.", "max_output_tokens": 64, **fields}
        return Prompt(messages=(*turns, Message(role="user", text=text)), **fields)

    return make


@pytest.fixture
def ask() -> Callable[..., Run]:
    """Asks a model once, with a budget that is enough unless one is given."""
    return lambda model, prompt, budget=None, seed=0: asyncio.run(
        model.complete(prompt, budget=budget or Budget(), seed=seed)
    )


@pytest.fixture
def priced() -> Profile:
    """A profile whose costs are easy to check: 1, 10 and 0.1 dollars per million of input, output and cached tokens."""
    return Profile(model="m", usd_per_million_input=1.0, usd_per_million_output=10.0, usd_per_million_cached=0.1)
