"""The servers that `gateway.py` measures, each in a process of its own, and what such a process costs."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from _load import WORDS, Target
from tokenspace.domain import Edit, Entry, Kind, Origin, Put, Scope, Verdict
from tokenspace.store import open_store

RULES, EXAMPLES = 40, 200
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(kw_only=True)
class Arm:
    """A server under test: where it is, its process (None for the provider itself), and what was measured.

    `seconds` are times of single requests by load and round, `cpu_s` CPU time for a request by load and round.
    """

    name: str
    target: Target
    pid: int | None = None
    slow: bool = False
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)
    cpu_s: dict[str, list[float]] = field(default_factory=dict)
    asked: int = 0


# ── processes ───────────────────────────────────────────────────────────────────────────────


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """CPU time, user and system, that a family of processes has taken so far."""
    total = 0.0
    for member in family(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def resident_mb(pid: int) -> float:
    """Resident memory of a family of processes."""
    total = 0
    for member in family(pid):
        lines = Path(f"/proc/{member}/status").read_text().splitlines()
        total += next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
    return total / 1_024


def quiet(pid: int, *, within_s: float = 20.0) -> None:
    """Wait until a family of processes does no more than it does when nobody asks."""
    until = time.monotonic() + within_s
    before = cpu_s(pid)
    while time.monotonic() < until:
        time.sleep(0.2)
        now = cpu_s(pid)
        if now - before <= 2 / TICKS:
            return
        before = now


@contextmanager
def process(command: Sequence[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended with us, and only that one."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


def free_port() -> int:
    """A port that was free a moment ago, for servers that cannot choose their own."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def get(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers or {})), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def wait_for(url: str, *, within_s: float, step_s: float = 0.1) -> None:
    """Wait until an address answers with a success."""
    until = time.monotonic() + within_s
    while get(url)[0] != 200:
        if time.monotonic() > until:
            raise TimeoutError(f"{url} does not answer")
        time.sleep(step_s)


# ── the arms ────────────────────────────────────────────────────────────────────────────────


def taught(path: Path, *, examples: bool) -> str:
    """The URL of a store that has learned: rules and instructions, and on demand examples to recall."""
    url = f"sqlite:///{path}"
    store = open_store(url)
    chance = random.Random(3)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    entries = [
        Entry(kind=Kind.INSTRUCTION if at % 10 == 0 else Kind.RULE, doc="rules", pos=at, text=text(14),
              origin=Origin.OPERATOR) for at in range(RULES)
    ]  # fmt: skip
    if examples:
        entries += [
            Entry(kind=Kind.EXAMPLE, doc="examples", pos=at, trigger=text(12), text=text(4), origin=Origin.OPERATOR)
            for at in range(EXAMPLES)
        ]
    scope = Scope(agent="default", tenant="default")
    store.commit(
        scope, Edit(ops=tuple(Put(entry=entry) for entry in entries)),
        Verdict(decision="accept", basis="policy", reason="benchmark"),
        expect=store.heads(scope).of(scope), author="benchmark",
    )  # fmt: skip
    store.close()
    return url


@dataclass(frozen=True, kw_only=True)
class Ours:
    """A gateway of ours that runs: its process, address and key, and how long it took to be ready."""

    child: subprocess.Popen[str]
    url: str
    key: str
    ready_s: float
    ready_cpu_s: float

    @property
    def target(self) -> Target:
        """Where requests go, with the key."""
        return Target(port=int(self.url.rpartition(":")[2]), headers={"authorization": f"Bearer {self.key}"})


@contextmanager
def ours(folder: Path, provider: int, *, store: str, key: str = "") -> Iterator[Ours]:
    """Start `tokenspace serve`; from a second start on, `key` is the one that the first start made."""
    command = [
        sys.executable, "-m", "tokenspace", "--json", "--store", store, "serve", "--port", "0",
        "--upstream", f"fake=http://127.0.0.1:{provider}/v1",
    ]  # fmt: skip
    began = time.perf_counter()
    with process(command, cwd=folder) as child:
        assert child.stdout is not None
        lines: list[str] = []
        while not lines or (lines[-1] and lines[-1] != "}\n"):
            lines.append(child.stdout.readline())
        if not lines[-1]:
            raise RuntimeError("the gateway did not start")
        told = json.loads("".join(lines))
        wait_for(f"{told['url']}/readyz", within_s=20, step_s=0.005)
        ready_s = time.perf_counter() - began
        yield Ours(child=child, url=told["url"], key=told["key"] or key, ready_s=ready_s, ready_cpu_s=cpu_s(child.pid))


NGINX: Final = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 32m; client_body_buffer_size 512k; keepalive_requests 1000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream provider {{ server 127.0.0.1:{provider}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@contextmanager
def nginx(program: str, folder: Path, provider: int) -> Iterator[Arm]:
    """Start nginx as a plain reverse proxy that keeps its connections and passes chunks on at once."""
    folder.mkdir()
    port = free_port()
    settings = folder / "nginx.conf"
    settings.write_text(NGINX.format(folder=folder, provider=provider, port=port))
    with process([program, "-p", str(folder), "-c", str(settings), "-e", str(folder / "error.log")]) as child:
        wait_for(f"http://127.0.0.1:{port}/", within_s=10)
        yield Arm(name="nginx", target=Target(port=port), pid=child.pid)


LITELLM: Final = """\
model_list:
{models}
litellm_settings: {{telemetry: false, num_retries: 0, request_timeout: 600, drop_params: false}}
general_settings: {{disable_spend_logs: true}}
"""


@contextmanager
def litellm(python: str, folder: Path, provider: int) -> Iterator[Arm]:
    """LiteLLM's proxy without database and callbacks: its fastest ordinary set-up with one worker."""
    folder.mkdir()
    key = "sk-" + secrets.token_hex(32)
    port = free_port()
    root = f"http://127.0.0.1:{provider}/v1"
    models = "\n".join(
        f"  - {{model_name: {name}, litellm_params: {{model: openai/{name}, api_base: '{root}', api_key: none}}}}"
        for name in ("fake", "paced")
    )
    settings = folder / "litellm.yaml"
    settings.write_text(LITELLM.format(models=models))
    quietly = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
               "LITELLM_MASTER_KEY": key}  # fmt: skip
    command = [str(Path(python).parent / "litellm"), "--config", str(settings), "--host", "127.0.0.1",
               "--port", str(port), "--num_workers", "1", "--telemetry", "False"]  # fmt: skip
    log = (folder / "log").open("w")
    with log, process(command, cwd=folder, env=os.environ | quietly, stderr=log) as child:
        wait_for(f"http://127.0.0.1:{port}/health/liveliness", within_s=240)
        target = Target(port=port, headers={"authorization": f"Bearer {key}"})
        yield Arm(name="litellm", target=target, pid=child.pid, slow=True)
