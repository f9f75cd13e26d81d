"""An existing client changes one line, and learns: two processes of ours, the official client, the embedded model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from tokenspace.models import LlamaModel
from tokenspace.models.llama import grammar
from tokenspace.streams.desk import SYSTEM, TEACHERS
from tokenspace.streams.items import Item, draw, read_items

TEAMS = ("Juniper", "Kestrel", "Cobalt")
ANSWERS = {"grammar": grammar(TEAMS), "guided_choice": list(TEAMS), "cache_prompt": False}


def surroundings() -> dict[str, str]:
    """This process's, without what would name another store, model or key."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TOKENSPACE_", "OPENAI_"))}


@contextmanager
def served(folder: Path, *more: str) -> Generator[dict[str, str]]:
    """`tokenspace serve` in a process of its own, and what it says first: its base URL and the operator's key."""
    command = [sys.executable, "-m", "tokenspace", "serve", "--json", "--port", "0", *more]
    with (folder / "serve.log").open("ab") as log:
        child = subprocess.Popen(command, cwd=folder, env=surroundings(), stdout=subprocess.PIPE, stderr=log)
        try:
            assert child.stdout is not None
            told = b"".join(iter(child.stdout.readline, b"}\n"))
            yield json.loads(told + b"}")
        finally:
            child.terminate()
            child.communicate(timeout=40)


def ask(client: openai.OpenAI, item: Item) -> ChatCompletion:
    """One message to the desk, as any program that knows nothing of us would ask it."""
    messages: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": item.text}]
    return client.chat.completions.create(
        model="desk", messages=messages, max_tokens=16, temperature=0, seed=0, extra_body=ANSWERS
    )


def correction(id: str, label: str) -> dict[str, str]:
    """What the answer with this id of the provider should have been."""
    return {"target": id, "value": label, "kind": "correction"}


def accuracy(client: openai.OpenAI, items: Sequence[Item]) -> float:
    return sum(ask(client, item).choices[0].message.content == item.label for item in items) / len(items)


def tokenspace(folder: Path, *arguments: str) -> str:
    """What a command of ours says, in a process of its own."""
    command = [sys.executable, "-m", "tokenspace", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=surroundings(), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def until_served(client: openai.OpenAI, item: Item, *, bare_tokens: int) -> int:
    """Ask until the prompt is longer than it was before anything was learned; how many calls that took.

    Snapshots and recall are loaded beside the requests, which do not wait for them.
    """
    for calls in range(1, 9):
        usage = ask(client, item).usage
        if usage is not None and usage.prompt_tokens > bare_tokens:
            return calls
        time.sleep(0.5)
    raise AssertionError("what was learned is never served")


@pytest.mark.slow
def test_an_unmodified_client_gets_better_because_its_corrections_are_learned(tmp_path: Path) -> None:
    if problem := LlamaModel.available():
        pytest.skip(problem)
    items = [item for item in read_items() if item.label in TEAMS]
    lessons = draw(items, seed=1, teachers=TEACHERS, careless=TEACHERS[0], teach=16, exam=10)
    tokenspace(tmp_path, "init")
    # On a machine that others use, too, the 20 ms of production would measure the machine.
    (tmp_path / ".tokenspace" / "gateway.toml").write_text("recall_deadline_s = 5.0\n", "utf-8")
    with served(tmp_path) as told, openai.OpenAI(base_url=told["base_url"], api_key=told["key"]) as client:
        bare = ask(client, lessons.exam[0]).usage
        assert bare is not None
        before = accuracy(client, lessons.exam)
        for lesson in lessons.lessons:
            answer = ask(client, lesson.item)
            said: Any = client.post("/feedback", body=correction(answer.id, lesson.item.label), cast_to=object)
            assert (said["status"], said["source"]) == ("kept", "operator")
        report = json.loads(tokenspace(tmp_path, "--json", "learn", "--tenant", "default", "--calls", "0"))
        assert report["counts"]["accept"] >= 12
        calls = until_served(client, lessons.exam[0], bare_tokens=bare.prompt_tokens)
        after = accuracy(client, lessons.exam)
    total = 1 + 2 * len(lessons.exam) + len(lessons.lessons) + calls
    sys.stdout.write(f"accuracy {before:.2f} before, {after:.2f} after {len(lessons.lessons)} lessons, {total} calls\n")
    assert after >= max(0.7, before + 0.3)
