"""The page about tools: its example runs, and its definition is one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import tokenspace
from tokenspace.context import from_markdown, from_single_text, single_text
from tokenspace.context.definitions import definitions_in, imported
from tokenspace.context.notes import SORTS
from tokenspace.context.tools import audit
from tokenspace.domain import Edit, Origin
from tokenspace.models import ScriptedModel
from tokenspace.recall import HashEmbedder

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text("utf-8")
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(DEFINITION,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tokenspace.recall.default_embedder", HashEmbedder)


def test_the_example_runs_with_the_adapter_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    (made,), _ = definitions_in(json.loads(DEFINITION))
    assert made.failures() == []
    assert audit([made]) == []
    desk = tokenspace.open("desk", model=ScriptedModel("."))
    desk.commit(Edit(ops=imported(desk.context(), [made], origin=Origin.OPERATOR)))
    assert from_markdown(from_single_text(single_text(desk.context())), desk.context()).ops == ()
    desk.close()
    names: dict[str, object] = {}
    exec(compile(CODE, "tools.md", "exec"), names)
    names["desk"].close()
    assert capsys.readouterr().out == '{"order_no": "7"} → {"id": 7, "at": "dock"}\n'


def test_the_page_names_every_sort_of_note() -> None:
    assert all(f"`{words.strip()}`" in PAGE for words in SORTS.values())
