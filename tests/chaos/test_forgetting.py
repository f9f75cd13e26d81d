"""A crash during forget: it resumes, and no byte is left."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tokenspace.domain import Put, Scope
from tokenspace.forget import find, forget, resume
from tokenspace.testing.histories import Happening, Stage
from tokenspace.testing.samples import commit, rule

KILLS = int(os.environ.get("TOKENSPACE_KILLS", "20"))
ANN = Scope(agent="desk", tenant="acme", user="ann")
ACME = Scope(agent="desk", tenant="acme")
CANARY = "canary-81f3"


def fill(url: str, *, rows: int = 60) -> None:
    """A user whose words are in their own scope and, through provenance, in the tenant's."""
    stage = Stage(url)
    for number in range(rows):
        act, say = f"{number:032x}", f"{number + 5000:032x}"
        text = f"{CANARY}-{number} " + "word " * 20
        stage.play([Happening("act", ANN, act, text=text), Happening("say", ANN, say, (act,), text, "ann"),
                    Happening("learn", ANN, say, (say,), by="note@1")])  # fmt: skip
        if number % 10 == 0:
            commit(stage.store, ACME, Put(entry=rule(text)), evidence=(say,))
    stage.store.close()


def residue(path: Path) -> int:
    """How often the canary is in the store's files, as bytes."""
    return sum(one.read_bytes().count(CANARY.encode()) for one in path.parent.rglob("*") if one.is_file())


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_and_leaves_no_byte(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    fill(f"sqlite:///{whole}/store.db")
    chance = random.Random(1)
    script = Path(__file__).with_name("forgetting.py")
    interrupted = 0
    for number in range(KILLS):
        path = tmp_path / str(number) / "store.db"
        shutil.copytree(whole, path.parent)
        assert residue(path) > 0
        with subprocess.Popen(
            [sys.executable, script, f"sqlite:///{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("\n")
            process.stdin.flush()
            time.sleep(chance.random() * 0.25)
            process.kill()
            process.wait()
        stage = Stage(f"sqlite:///{path}")
        pending = stage.store.admin.pending_erasures()
        interrupted += bool(pending)
        asyncio.run(resume(stage.parts, stage.store.admin))
        if ANN in stage.store.admin.scopes():  # killed before it was in the journal: nobody was promised anything
            assert not pending
            asyncio.run(forget(stage.parts, stage.store.admin, find(stage.store.admin, ANN, "user")))
        assert stage.store.admin.pending_erasures() == []
        assert stage.store.admin.verify() == []
        stage.store.close()
        assert residue(path) == 0
    assert interrupted > 0
