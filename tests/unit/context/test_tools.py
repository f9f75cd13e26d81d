"""Tool definitions: every form in, one canonical text; the audit; adapters; notes that touch descriptions only."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenspace.context.definitions import (
    Adapter,
    Definition,
    adapters_in,
    canonical,
    definitions_in,
    imported,
    read_definition,
)
from tokenspace.context.notes import SORTS, note_text, sort_of, unplaced, with_notes
from tokenspace.context.tools import at, audit, fidelity
from tokenspace.domain import Context, Entry, Heads, Kind, Layer, Origin, Scope
from tokenspace.errors import BadData

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The order."},
        "to": {
            "type": "object",
            "description": "Where.",
            "properties": {"city": {"type": "string", "description": "The city."}},
        },
        "lines": {
            "type": "array",
            "description": "What.",
            "items": {"type": "object", "properties": {"sku": {"type": "string", "description": "The article."}}},
        },
    },
    "required": ["id"],
}
AUTHORED = {"name": "orders", "description": "Finds orders.", "parameters": SCHEMA}
NESTED = {"type": "function", "function": {**AUTHORED, "strict": True}}
FLAT = {"type": "function", **AUTHORED}
ANTHROPIC = {"name": "orders", "description": "Finds orders.", "input_schema": SCHEMA}
MCP = {"name": "orders", "title": "Orders", "description": "Finds orders.", "inputSchema": SCHEMA, "annotations": {}}
FORMS = [NESTED, FLAT, ANTHROPIC, MCP, AUTHORED]
USER = Scope(agent="desk", tenant="acme", user="alice")


def tool(text="Finds orders.", name="orders", **properties):
    return Definition(name=name, description=text, parameters={"type": "object", "properties": properties})


def context(*entries):
    return Context(scope=USER, heads=Heads(), layers=(Layer(own={one.id: one for one in entries}), Layer(), Layer()))


def note(text, field="", id="n"):
    doc = f"tools/orders/{field}".rstrip("/")
    return Entry(id=id, kind=Kind.TOOL_NOTE, doc=doc, text=text, origin=Origin.USER)


def problems(findings):
    return {(one.path, one.severity): one.problem for one in findings}


# ── forms ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: {"tools": [one]},
                                  lambda one: {"jsonrpc": "2.0", "id": 1, "result": {"tools": [one]}}])  # fmt: skip
def test_every_form_makes_the_same_text_which_reads_back(form, wrap):
    ((made,), left_out) = definitions_in(wrap(form))
    assert (made.text, left_out) == (canonical(AUTHORED), [])
    assert read_definition(made.text) == made


def test_tools_of_the_provider_are_left_out_and_said():
    memory = {"type": "memory_20250818", "name": "memory"}
    found, left_out = definitions_in([{"type": "web_search"}, memory, NESTED])
    assert [one.name for one in found] == ["orders"]
    assert [words.split(":")[0] for words in left_out] == ["web_search", "memory"]


def test_a_tool_without_parameters_has_an_empty_schema():
    ((made,), _) = definitions_in({"name": "now", "description": "The time."})
    assert made.parameters == {"type": "object", "properties": {}}
    assert fidelity([made], [{"name": "now", "description": "The time."}]) == []


deep = {"type": "object"}
for _ in range(80):
    deep = {"type": "object", "properties": {"a": deep}}


@pytest.mark.parametrize(
    "said",
    [None, 7, "x", [], {}, {"tools": {}}, [7], {"name": "a/b"}, {"name": ""}, {"name": ".."}, {"name": "a" * 129},
     {"name": "a", "description": 7}, {"name": "a", "parameters": []}, {"name": "a", "parameters": deep},
     {"name": "a", "parameters": SCHEMA, "input_schema": SCHEMA}, [AUTHORED, {**AUTHORED, "description": "Other."}],
     *({**AUTHORED, "adapter": one} for one in (
         [], {"eval": "1"}, {"rename": {"no": "nothing"}}, {"rename": {"no": 7}}, {"coerce": {"id": "code"}},
         {"coerce": {"id": []}}, {"default": {"nothing": 1}}, {"drop_unknown": 1}, {"rename": "id"})),
     *({**AUTHORED, "contract": one} for one in ({}, [7], [{"in": {}}], [{"in": {}, "out": 7}], [{"in": {}, "out": {}, "x": 1}]))],
)  # fmt: skip
def test_what_is_no_definition_is_bad_data_with_a_hint(said):
    with pytest.raises(BadData) as caught:
        definitions_in(said)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "7"])
def test_an_unreadable_text_is_bad_data(text):
    with pytest.raises(BadData):
        read_definition(text)


# ── fidelity ────────────────────────────────────────────────────────────────────────────────


def changed(path, value):
    """The nested form with one value changed; `...` removes it."""
    made = json.loads(json.dumps(NESTED))
    place = made["function"]
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return made


def test_what_is_delivered_as_authored_has_no_findings_in_any_form_or_order():
    (authored,), _ = definitions_in(NESTED)
    reordered = {**ANTHROPIC, "input_schema": dict(reversed(SCHEMA.items()))}
    assert fidelity([authored], [*FORMS, reordered]) == []


@pytest.mark.parametrize(
    ("path", "value", "where", "words"),
    [
        (("description",), "Finds", "$.description", "cut off after 5 of 13"),
        (("description",), "Finds all orders.", "$.description", 'authored "Finds orders."'),
        (("description",), ..., "$.description", "delivered"),
        (("parameters", "required"), ..., "$.parameters.required", "authored, and not delivered"),
        (("parameters", "required"), ["id", "to"], "$.parameters.required", 'delivered ["id","to"]'),
        (("parameters", "required"), ["to"], "$.parameters.required[0]", 'delivered "to"'),
        (("parameters", "strict"), True, "$.parameters.strict", "delivered, and not authored"),
        (("parameters", "properties", "id", "type"), "number", "$.parameters.properties.id.type", '"number"'),
        (("parameters", "properties", "to", "properties", "city", "description"), "The city",
         "$.parameters.properties.to.properties.city.description", "cut off"),
        (("parameters", "properties", "a b"), {}, "$.parameters.properties['a b']", "not authored"),
    ],
)  # fmt: skip
def test_every_difference_is_named_by_its_path(path, value, where, words):
    (authored,), _ = definitions_in(NESTED)
    (found,) = fidelity([authored], [changed(path, value)] * 2)
    assert (found.tool, found.path, found.severity) == ("orders", where, "error")
    assert words in found.problem
    assert found.todo


def test_numbers_and_truth_are_compared_by_their_text():
    authored = tool(n={"type": "integer", "default": 1})
    delivered = [{"name": "orders", "description": "Finds orders.",
                  "parameters": {"type": "object", "properties": {"n": {"type": "integer", "default": one}}}}
                 for one in (1, 1.0, True)]  # fmt: skip
    assert [fidelity([authored], [one]) != [] for one in delivered] == [False, True, True]


def test_unknown_tools_are_a_warning_and_the_providers_own_are_none():
    (found,) = fidelity([], [NESTED, {"type": "web_search"}, {"type": "memory_20250818", "name": "memory"}])
    assert (found.tool, found.severity) == ("orders", "warning")


def test_notes_of_a_compiled_prompt_are_no_difference_and_other_text_is():
    (authored,), _ = definitions_in(NESTED)
    noted = with_notes([NESTED], [note("a"), note("b", "id", "m"), note("c", "to/city", "o")])
    assert fidelity([authored], noted, noted=True) == []
    assert len(fidelity([authored], noted)) == 3
    assert fidelity([authored], [changed(("description",), "Finds orders. Notes:")], noted=True)


# ── ambiguity ───────────────────────────────────────────────────────────────────────────────

GOOD = {"type": "string", "description": "The order."}


@pytest.mark.parametrize(
    ("definition", "path", "severity", "words"),
    [
        (tool("", id=GOOD), "$.description", "error", "no description"),
        (tool(" \n", id=GOOD), "$.description", "error", "no description"),
        (tool("Finds orders of the", id=GOOD), "$.description", "warning", "cut off"),
        (tool("Finds orders, …", id=GOOD), "$.description", "warning", "cut off"),
        (tool(id={"type": "string"}), "$.parameters.properties.id.description", "warning", "no description"),
        (tool(id={"description": "The order."}), "$.parameters.properties.id", "warning", "no type"),
        (tool(id=True), "$.parameters.properties.id", "warning", "anything"),
        (tool(id={**GOOD, "enum": ["open", "Open"]}), "$.parameters.properties.id.enum", "error", "but for case"),
        (tool(id={**GOOD, "enum": ["a"], "default": "b"}), "$.parameters.properties.id.default", "error", "none of"),
        (tool(order_id=GOOD, OrderIds=GOOD), "$.parameters.properties", "warning", "case or plural"),
        (tool(query=GOOD, queries=GOOD), "$.parameters.properties", "warning", "case or plural"),
        (tool(a={**GOOD, "type": "object", "properties": {"b": {}}}),
         "$.parameters.properties.a.properties.b", "warning", "no type"),
        (tool(a={**GOOD, "type": "array", "items": {}}), "$.parameters.properties.a.items", "warning", "items"),
        (tool(a={**GOOD, "type": "array", "items": {"type": "object", "properties": {"b": GOOD}, "required": ["c"]}}),
         "$.parameters.properties.a.items.required", "error", "not described"),
        (Definition(name="x", description="Does.", parameters={"type": "array"}), "$.parameters.type", "error", "object"),
        (Definition(name="x", description="Does.", parameters={"properties": []}), "$.parameters.properties", "error", "no"),
        (Definition(name="x", description="Does.", parameters={"properties": {}, "required": ["y"]}),
         "$.parameters.required", "error", '"y" is required'),
        (Definition(name="x", description="Does.", contract=({"in": {"a": 1}, "out": {}},)), "$.contract[0]", "error", "makes"),
    ],
)  # fmt: skip
def test_what_leaves_a_model_to_guess_is_found(definition, path, severity, words):
    found = problems(audit([definition]))
    assert words in found[path, severity]
    assert all(one.todo for one in audit([definition]))


def test_a_clear_definition_has_no_findings():
    (clear,), _ = definitions_in(NESTED)
    assert audit([clear]) == []
    assert (
        audit([tool(id=GOOD, ids_of_parts={**GOOD, "enum": ["a", "b"], "default": "a"}, address=GOOD, addresses2=GOOD)])
        == []
    )
    assert audit([tool(a={"$ref": "#/x", "description": "Y."}, b={"anyOf": [], "description": "Y."})]) == []


def test_tools_that_can_hardly_be_told_apart_are_found():
    one = tool("Finds the orders of a customer by name.", "find_order", id=GOOD)
    other = tool("Finds the order of a customer by name", "FindOrders", id=GOOD)
    third = tool("Sends a letter.", "send", id=GOOD)
    found = audit([one, other, third])
    assert {(one.tool, one.path) for one in found} == {("FindOrders", "$.name")}
    near = tool("Finds the orders of a customer by its name.", "look_up", id=GOOD)
    assert {(one.tool, one.path) for one in audit([one, near])} == {("look_up", "$.description")}


def test_paths():
    assert at(at("$", "a"), "b c") == "$.a['b c']"


# ── adapters ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("adapter", "given_", "made"),
    [
        ({"rename": {"no": "id"}}, {"no": "7", "x": 1}, {"id": "7", "x": 1}),
        ({"rename": {"no": "id"}}, {"no": "7", "id": "8"}, {"no": "7", "id": "8"}),
        ({"default": {"n": [1]}}, {}, {"n": [1]}),
        ({"default": {"n": 1}}, {"n": None}, {"n": None}),
        ({"coerce": {"n": "number"}}, {"n": " 12 "}, {"n": 12}),
        ({"coerce": {"n": "number"}}, {"n": "-1.50"}, {"n": -1.5}),
        ({"coerce": {"n": "number"}}, {"n": "1e99"}, {"n": 1e99}),
        ({"coerce": {"n": "number"}}, {"n": "twelve"}, {"n": "twelve"}),
        ({"coerce": {"n": "number"}}, {"n": "9" * 5_000}, {"n": "9" * 5_000}),
        ({"coerce": {"n": "number"}}, {"n": "NaN"}, {"n": "NaN"}),
        ({"coerce": {"n": "number"}}, {"n": True}, {"n": True}),
        ({"coerce": {"n": "boolean"}}, {"n": "TRUE"}, {"n": True}),
        ({"coerce": {"n": "boolean"}}, {"n": "no"}, {"n": False}),
        ({"coerce": {"n": "boolean"}}, {"n": "maybe"}, {"n": "maybe"}),
        ({"coerce": {"n": "array"}}, {"n": "a, b,"}, {"n": ["a", "b"]}),
        ({"coerce": {"n": "array"}}, {"n": "[1, 2]"}, {"n": [1, 2]}),
        ({"coerce": {"n": "array"}}, {"n": 7}, {"n": 7}),
        ({"drop_unknown": True, "known": frozenset("n")}, {"n": 1, "m": 2}, {"n": 1}),
        ({"rename": {"no": "n"}, "coerce": {"n": "number"}, "drop_unknown": True, "known": frozenset("n")},
         {"no": "7", "m": 2}, {"n": 7}),
    ],
)  # fmt: skip
def test_what_an_adapter_makes_of_arguments(adapter, given_, made):
    before = json.dumps(given_)
    assert Adapter(**adapter).adapt(given_) == made
    assert json.dumps(given_) == before


def test_a_default_is_not_shared_between_calls():
    adapter = Adapter(default={"n": []})
    adapter.adapt({})["n"].append(1)
    assert adapter.adapt({}) == {"n": []}


def test_i9_adapters_of_low_origin_and_unreadable_ones_are_not_used():
    (made,), _ = definitions_in({**AUTHORED, "adapter": {"rename": {"no": "id"}}})
    puts = imported(context(), [made], origin=Origin.USER)
    entry = puts[0].entry
    assert (entry.doc, entry.kind) == ("definitions/orders", Kind.TOOL)
    assert adapters_in(context(entry))["orders"].adapt({"no": "7"}) == {"id": "7"}
    assert imported(context(entry), [made], origin=Origin.USER) == ()
    low = Entry(id="a", kind=Kind.TOOL, doc=entry.doc, text=entry.text, origin=Origin.TOOL)
    broken = Entry(id="b", kind=Kind.TOOL, doc="definitions/x", text="{", origin=Origin.USER)
    assert dict(adapters_in(context(low, broken))) == {}


# ── notes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", FORMS)
def test_notes_on_a_parameter_stand_at_the_end_of_its_description(form):
    notes = [note("Whole."), note("First.", "id", "a"), note("Second\nline.", "id", "b"), note("In.", "to/city", "c"),
             note("Item.", "lines/sku", "d")]  # fmt: skip
    ((made,), _) = definitions_in(with_notes([form], notes)[0])
    assert made.description == "Finds orders.\n\nNotes:\n- Whole."
    properties = made.parameters["properties"]
    assert properties["id"]["description"] == "The order.\n\nNotes:\n- First.\n- Second\n  line."
    assert properties["to"]["properties"]["city"]["description"] == "The city.\n\nNotes:\n- In."
    assert properties["lines"]["items"]["properties"]["sku"]["description"] == "The article.\n\nNotes:\n- Item."
    assert SCHEMA["properties"]["id"]["description"] == "The order."


def test_a_note_without_a_place_says_why():
    assert unplaced(note("x"), [NESTED]) == unplaced(note("x", "lines/sku"), [NESTED]) == ""
    assert unplaced(note("x"), []) == unplaced(note("x"), [{"type": "web_search"}]) == "no such tool"
    assert unplaced(note("x", "nothing"), [NESTED]) == unplaced(note("x", "id/deeper"), [NESTED]) == "no such parameter"
    assert with_notes([NESTED], [note("x", "nothing")]) == (NESTED,)
    odd = {"name": "orders", "parameters": {"properties": {"id": True}}}
    assert unplaced(note("x", "id"), [odd]) == "no such parameter"
    assert with_notes([odd], [note("x", "id")]) == (odd,)


def test_the_sort_of_a_note_is_how_it_begins():
    assert [sort_of(note_text(sort, "x")) for sort in SORTS] == list(SORTS)
    assert sort_of("Free words.") == ""


SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {}, optional={"type": st.sampled_from(["string", "number"]), "description": st.text(max_size=5) | st.none(),
                      "enum": st.lists(st.text(max_size=3), max_size=3), "default": st.integers()},
    ) | st.booleans(),
    lambda inner: st.fixed_dictionaries(
        {"properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)},
        optional={"required": st.lists(st.sampled_from("abc")), "type": st.just("object")},
    ) | st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"description": st.text(max_size=5)}),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.lists(st.sampled_from("abc"), max_size=3).map("/".join)


def bare(value):
    """A definition without descriptions, and the descriptions by place."""
    if isinstance(value, dict):
        return {key: bare(one) for key, one in value.items() if key != "description" or isinstance(one, dict)}
    return [bare(one) for one in value] if isinstance(value, list) else value


@settings(max_examples=300)
@given(
    SCHEMAS, st.sampled_from(["parameters", "input_schema", "inputSchema"]), st.booleans(), st.lists(FIELDS, max_size=4)
)
def test_rendering_notes_never_changes_a_schema(schema, key, nested, fields):
    """Types, required parameters, everything but descriptions: as authored; descriptions begin as authored."""
    function = {"name": "orders", key: schema, "description": "Does."}
    form = {"type": "function", "function": function} if nested else function
    before = json.dumps(form)
    notes = [note(f"text {place}", field, str(place)) for place, field in enumerate(fields)]
    (made,) = with_notes([form], notes)
    assert json.dumps(form) == before
    assert bare(json.loads(json.dumps(made))) == bare(json.loads(before))
    placed = [one for one in notes if not unplaced(one, [form])]
    told = json.dumps(made)
    assert all((f"- {one.text}" in told) == (one in placed) for one in notes)
    if isinstance(schema, dict):
        (authored,), _ = definitions_in(form)
        assert fidelity([authored], [made], noted=True) == []
