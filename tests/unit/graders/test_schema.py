from __future__ import annotations

import socket

import pytest

from tokenspace.errors import UsageError

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "output", "score"),
    [
        (PERSON, '{"name": "Ada", "age": 36}', 1),
        (PERSON, '{"name": "Ada", "age": -1}', 0),
        (PERSON, '{"age": 36}', 0),
        (PERSON, "Ada", 0),
        (PERSON, "", 0),
        (PERSON, '{"name": "Ada"', 0),
        ({}, "NaN", 0),
        ({}, "0", 1),
        ({"type": "integer"}, "true", 0),
        ({"$defs": {"n": {"type": "number"}}, "items": {"$ref": "#/$defs/n"}}, "[1, 2.5]", 1),
        ({"$defs": {"n": {"type": "number"}}, "items": {"$ref": "#/$defs/n"}}, '["x"]', 0),
        ({"properties": {"id": {"pattern": "^[A-Z]{2}[0-9]+$"}}}, '{"id": "AB12"}', 1),
        ({"properties": {"id": {"pattern": "^[A-Z]{2}[0-9]+$"}}}, '{"id": "12"}', 0),
    ],
)
def test_schema(grade, schema, output, score):
    assert grade("schema", schema, output) == score


def test_a_fence_is_forgiven_only_on_request(grade):
    assert grade("schema", PERSON, '```json\n{"name": "Ada"}\n```') == 0
    assert grade("schema", PERSON, '```json\n{"name": "Ada"}\n```', fenced=True) == 1


def test_a_pattern_in_a_schema_that_never_ends_is_killed(grade, monkeypatch):
    monkeypatch.setattr("tokenspace.graders.schema._START_S", 1.0)
    assert grade("schema", {"patternProperties": {"(a+)+b": {}}}, '{"' + "a" * 60 + '": 1}', timeout_s=0.2) is None


def test_a_reference_never_leaves_the_schema(grade, monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert grade("schema", {"$ref": "http://example.com/schema.json"}, "1") is None
    assert grade("schema", {"$ref": "#/$defs/absent"}, "1") is None


def test_a_schema_that_never_ends_is_a_failed_measurement(grade):
    assert grade("schema", {"$ref": "#"}, "1") is None


@pytest.mark.parametrize("schema", ["object", None, [], 3, True, {"type": "thing"}, {"properties": 3}])
def test_what_is_no_schema_is_refused_when_built(grade, schema):
    with pytest.raises(UsageError):
        grade("schema", schema, "1")
