"""A project with one lesson learned, in a folder of its own, and a function that runs commands in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.cli.commands import QUESTION, Run, invoke

from tokenspace.recall import HashEmbedder


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the machine, and an embedder that has nothing to load."""
    for name in [
        name for name in os.environ if name.startswith("TOKENSPACE_") or name in {"VISUAL", "EDITOR", "PAGER"}
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("tokenspace.recall.default_embedder", HashEmbedder)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    """`run("log", "-n", "1", code=0)`."""
    return invoke


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that learned one correction, to be copied."""
    folder, before = tmp_path_factory.mktemp("project"), Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tokenspace.recall.default_embedder", HashEmbedder)
        patch.setenv("TOKENSPACE_PRINCIPAL", "ana")
        os.chdir(folder)
        try:
            invoke("init", "--model", "nearest", "--agent", "desk")
            invoke("ask", QUESTION, "--choice", "Kestrel", "--choice", "Basalt")
            invoke("feedback", "last", "--correct", "Kestrel", "--comment", "parcels are theirs")
            invoke("learn")
        finally:
            os.chdir(before)
    config = folder / ".tokenspace" / "config.toml"
    config.write_text(config.read_text().replace('# principal = "ana"', 'principal = "ana"'))
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the template, and the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    return folder
