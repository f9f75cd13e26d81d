"""The page about proposers: what it shows runs, and what it counts is true."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

import tokenspace
from tokenspace import domain, proposers
from tokenspace.budget import Budget
from tokenspace.models import ScriptedModel
from tokenspace.proposers import contrast, rewrite, shown
from tokenspace.testing import check_proposer

PAGE = (Path(__file__).parents[2] / "docs" / "proposers.md").read_text("utf-8")


SELF, OWN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_an_agent_gets_its_own_tools_as_the_page_says(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"tokenspace": tokenspace, "model": ScriptedModel("fine")}
    exec(SELF, names)
    names["desk"].close()


def test_the_proposer_on_the_page_is_done() -> None:
    names = {"Budget": Budget}
    names |= {name: getattr(domain, name) for name in domain.__all__}
    exec(OWN, names)
    assert check_proposer(names["Apologise"]) == 0, "the samples of the suite are all answered"


@pytest.mark.parametrize("file", [one.name for one in files("tokenspace.proposers").joinpath("prompts").iterdir()])
def test_every_file_of_words_belongs_to_a_proposer_on_the_page(file: str) -> None:
    assert f"`{file.partition('@')[0]}`" in PAGE


def test_every_proposer_has_a_line() -> None:
    kinds = [getattr(proposers, name) for name in proposers.__all__]
    for kind in (one for one in kinds if hasattr(one, "propose")):
        assert f"`{kind.__module__.rpartition('.')[2]}`" in PAGE, kind


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    words = " ".join(PAGE.split())
    assert (
        f"at most {shown.MAX_FAILURES} failures, {shown.MAX_SUCCESSES} successes, {shown.MAX_ENTRIES} active entries "
        f"and {shown.MAX_REJECTED} rejected edits" in words
    )
    assert f"cut after {shown.CUTS[0]:,} characters" in words
    assert f"grows by {rewrite.GROWTH_CHARS} characters" in words
    assert (
        f"At most {contrast.MAX_GROUPS} such requests with {contrast.MAX_EACH} good and {contrast.MAX_EACH} bad"
        in words
    )
