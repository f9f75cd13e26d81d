"""`tools`: definitions imported as a person's edit, listed, audited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Run, json_of

from tokenspace import open as open_agent
from tokenspace.domain import Edit, Entry, Kind, Message, Origin, Put, Request
from tokenspace.models import ScriptedModel

SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string", "description": "The order, such as ORD-0007."}},
    "required": ["id"],
}
ORDERS = {"name": "orders", "description": "Finds an order by its id.", "parameters": SCHEMA}


@pytest.fixture
def file(tmp_path: Path):
    def write(said: object) -> Path:
        path = tmp_path / "tools.json"
        path.write_text(said if isinstance(said, str) else json.dumps(said), "utf-8")
        return path

    return write


def carry(project: Path, tool: dict[str, object]) -> None:
    """An episode whose request had this tool."""
    desk = open_agent("desk", model=ScriptedModel("done"), store=f"sqlite:///{project}/.tokenspace/store.db")
    desk.act(Request(messages=(Message(role="user", text="where is 7?"),), tools=(tool,)))
    desk.close()


def test_import_is_a_revision_that_is_undone_like_any_other(run: Run, project: Path, file) -> None:
    path = file([{"type": "function", "function": ORDERS}, {"type": "web_search"}])
    said = run("tools", "import", path, "-m", "our tools")
    assert "committed" in said.stdout
    assert "left out: web_search" in said.stderr
    assert "orders  1 parameter(s)  0 note(s)" in run("tools").stdout
    assert json_of("tools", "list")["tools"] == [{**ORDERS, "notes": 0}]
    newest = json_of("log", "-n", "1")["revisions"][0]
    assert (newest["edit"]["rationale"], newest["verdict"]["basis"], newest["author"]) == ("our tools", "human", "ana")
    entry = newest["edit"]["ops"][0]["entry"]
    assert (entry["kind"], entry["doc"], entry["origin"]) == ("tool", "definitions/orders", "operator")
    assert run("tools", "import", path).stdout == "nothing changed\n"
    assert "orders" in run("context").stdout
    run("revert", newest["id"])
    assert "no definition yet" in run("tools").stdout


def test_import_keeps_the_adapter_and_its_contract(run: Run, project: Path, file) -> None:
    whole = {**ORDERS, "adapter": {"rename": {"no": "id"}}, "contract": [{"in": {"no": "7"}, "out": {"id": "7"}}]}
    run("tools", "import", file(whole))
    run("tools", "import", file({**ORDERS, "description": "Finds one order by its id."}))
    (kept,) = json_of("tools")["tools"]
    assert kept == {**whole, "description": "Finds one order by its id.", "notes": 0}
    assert "adapter, 1 test(s)" in run("tools").stdout
    schema = {"type": "object", "properties": {"number": {"type": "string"}}}
    run("tools", "import", file({**ORDERS, "parameters": schema}), code=2)


@pytest.mark.parametrize(
    "said", ["{", "[]", "7", '{"tools": 3}', '[{"name": "a b"}]', '[{"name": "a", "parameters": 3}]']
)
def test_what_is_no_definition_is_refused(said: str, run: Run, project: Path, file) -> None:
    run("tools", "import", file(said), code=2)
    run("tools", "import", "nowhere.json", code=3)


def test_the_audit_compares_with_what_episodes_carried(run: Run, project: Path, file) -> None:
    run("tools", "import", "-", input=json.dumps(ORDERS))
    assert run("tools", "audit").stdout == "nothing found\n"
    carry(project, {"type": "function", "function": ORDERS})
    assert json_of("tools", "audit") == {"ok": True, "findings": []}
    carry(project, {"type": "function", "function": {**ORDERS, "description": "Finds an order"}})
    found = run("tools", "audit", code=1).stdout
    assert "error  orders  $.description\n    cut off after 14 of 25 characters →" in found
    (told,) = json_of("tools", "audit", code=1)["findings"]
    assert (told["tool"], told["path"], told["severity"]) == ("orders", "$.description", "error")
    assert run("tools", "audit", "-n", "0").stdout == "nothing found\n"


def test_notes_are_no_difference_and_an_unreadable_definition_is_found(run: Run, project: Path, file) -> None:
    run("tools", "import", file(ORDERS))
    carry(project, {"name": "orders", "description": ORDERS["description"], "input_schema": SCHEMA})
    desk = open_agent("desk", model=ScriptedModel("done"), store=f"sqlite:///{project}/.tokenspace/store.db")
    note = Entry(kind=Kind.TOOL_NOTE, doc="tools/orders/id", text="Format: four digits.", origin=Origin.OPERATOR)
    desk.commit(Edit(ops=(Put(entry=note),)))
    assert run("tools", "audit").stdout == "nothing found\n"
    broken = Entry(kind=Kind.TOOL, doc="definitions/broken", text="{", origin=Origin.OPERATOR)
    desk.commit(Edit(ops=(Put(entry=broken),)))
    desk.close()
    assert "error  broken  $\n    the definition is not JSON" in run("tools", "audit", code=1).stdout
    assert "1 note(s)" in run("tools").stdout
