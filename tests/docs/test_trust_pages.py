"""The pages on trust name files, settings and commands: all of them exist."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tokenspace.cli.app import MODULES
from tokenspace.gateway.wire import GatewaySettings
from tokenspace.store.schema import metadata

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("audit", "threat-model", "privacy")}


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    for path in re.findall(r"`((?:tests|benchmarks|src)/[\w/.-]+)", PAGES[page]):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_named_exist(page: str) -> None:
    for command in re.findall(r"\btokenspace ([a-z]+)\b", PAGES[page]):
        assert command in MODULES, command


def test_every_actor_has_a_mechanism_and_something_that_checks_it() -> None:
    table = PAGES["threat-model"].split("## Who attacks", 1)[1].split("## What is not covered", 1)[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| **")]
    assert len(rows) >= 11
    for actor, _, holds, checked in rows:
        assert holds.strip(), actor
        assert re.search(r"`(tests|benchmarks|src)/", checked), actor


def test_the_retention_on_the_pages_is_the_default() -> None:
    assert GatewaySettings().keep_access_s == 400 * 86_400
    assert GatewaySettings().keep_anchors_s == 2 * 86_400
    for page in ("audit", "privacy"):
        assert "400 days" in PAGES[page]


def test_settings_that_are_named_exist() -> None:
    known = {one.name for one in fields(GatewaySettings)}
    for page in PAGES.values():
        assert set(re.findall(r"`(keep_\w+)`", page)) <= known


def test_every_table_that_holds_something_of_a_person_is_named() -> None:
    impersonal = {"head", "tomb", "provenance", "canary", "reading", "worker", "job_step", "account", "keyring"}
    named = set(re.findall(r"`(\w+)`", PAGES["privacy"]))
    assert set(metadata.tables) - impersonal <= named
