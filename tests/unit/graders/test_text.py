"""exact, contains, number, json: what is right, what is wrong, what is nobody's fault."""

from __future__ import annotations

import time

import pytest

from tokenspace.errors import UsageError
from tokenspace.graders.number import numbers_in


@pytest.mark.parametrize(
    ("expected", "output", "options", "score"),
    [
        ("billing", "billing", {}, 1),
        ("billing", "  billing\n", {}, 1),
        (" billing", "billing", {}, 1),
        ("billing", " billing", {"strip": False}, 0),
        ("billing", "Billing", {}, 0),
        ("billing", "Billing", {"ignore_case": True}, 1),
        ("STRASSE", "straße", {"ignore_case": True}, 1),
        ("caf\u00e9", "cafe\u0301", {}, 1),
        ("billing", "", {}, 0),
        ("", "  ", {}, 1),
        ("a b", "a  b", {}, 0),
        (["yes", "yeah"], "yeah", {}, 1),
        (["yes", "yeah"], "no", {}, 0),
    ],
)
def test_exact(grade, expected, output, options, score):
    assert grade("exact", expected, output, **options) == score


@pytest.mark.parametrize(
    ("expected", "output", "options", "score"),
    [
        ("refund", "We refund you.", {}, 1),
        ("refund", "We Refund you.", {}, 0),
        ("refund", "We Refund you.", {"ignore_case": True}, 1),
        (["refund", "days"], "refund within days", {}, 1),
        (["refund", "days"], "refund", {}, 0),
        (["refund", "days"], "days", {"mode": "any"}, 1),
        (["refund", "days"], "", {"mode": "any"}, 0),
        (["password", "PIN"], "call us", {"mode": "none"}, 1),
        (["password", "PIN"], "your PIN please", {"mode": "none"}, 0),
    ],
)
def test_contains(grade, expected, output, options, score):
    assert grade("contains", expected, output, **options) == score


@pytest.mark.parametrize(
    ("expected", "output", "options", "score"),
    [
        (42, "42", {}, 1),
        (42, "The answer is 42.", {}, 1),
        (42, "42.0", {}, 1),
        (42, "43", {}, 0),
        (42, "forty-two", {}, 0),
        (42, "", {}, 0),
        (-3, "−3 °C", {}, 1),
        (-3, "3", {}, 0),
        (-5, "-$5.00", {}, 1),
        (1234.5, "€1,234.50", {}, 1),
        (1234567, "1 234 567 people".replace(" ", "\u202f", 2), {}, 1),
        (1234567, "1’234’567", {}, 1),
        (1234567, "1_234_567", {}, 1),
        (1234.5, "1.234,50 EUR", {"decimal": ","}, 1),
        (12, "12 %", {}, 1),
        (5, "5kg", {}, 1),
        (6.02e23, "6.02e23", {}, 1),
        (2, "H2O", {}, 0),
        (1.2, "1.2.3.4", {}, 0),
        (1, "1,2345", {}, 0),
        # several numbers: a range, a fraction and a date are not one number
        (5, "5-10", {}, 0),
        (1, "1/2", {}, 0),
        (2024, "2024-01-02", {}, 0),
        (3, "3 of 5", {"pick": "first"}, 1),
        (5, "3 of 5", {"pick": "last"}, 1),
        (5, "3 of 5", {}, 0),
        (100, "101", {"absolute": 1}, 1),
        (100, "101.5", {"absolute": 1}, 0),
        (100, "101", {"relative": 0.01}, 1),
        (-100, "-101", {"relative": 0.01}, 1),
        (100, "102", {"relative": 0.01}, 0),
        (0, "0.0000001", {"relative": 0.5}, 0),
        (0.3, "0.30000000000000004", {}, 1),
        ("1,250", "1250", {}, 1),
        (1, "1e9999", {}, 0),
        (1, "nan", {}, 0),
    ],
)
def test_number(grade, expected, output, options, score):
    assert grade("number", expected, output, **options) == score


def test_numbers_in_a_megabyte_take_no_longer_than_reading_it():
    began = time.process_time()
    for piece in ("1,111", "1", "1.2.3,", "-", "9’999", "1e", "$", "1,"):
        numbers_in(piece * (300_000 // len(piece)))
    # far from the hours that a backtracking pattern would take: no measure of speed
    assert time.process_time() - began < 60


@pytest.mark.parametrize(
    ("expected", "output", "options", "score"),
    [
        ({"a": 1, "b": [1, None]}, '{"b": [1.0, null], "a": 1}', {}, 1),
        ({"a": 1}, '{"a": 1, "b": 2}', {}, 0),
        ([1, 2], "[2, 1]", {}, 0),
        (True, "true", {}, 1),
        (True, "1", {}, 0),
        (0, "false", {}, 0),
        ({"a": [True]}, '{"a": [1]}', {}, 0),
        (None, "null", {}, 1),
        (None, "", {}, 0),
        ("x", '"x"', {}, 1),
        ("x", "x", {}, 0),
        ({"a": 1}, "not JSON", {}, 0),
        ({"a": 1}, '```json\n{"a": 1}\n```', {}, 0),
        ({"a": 1}, '```json\n{"a": 1}\n```', {"fenced": True}, 1),
        ({"a": 1}, 'Sure: {"a": 1}', {"fenced": True}, 0),
        (1, "NaN", {}, 0),
        ([], "[" * 100_000, {}, 0),
    ],
)
def test_json(grade, expected, output, options, score):
    assert grade("json", expected, output, **options) == score


@pytest.mark.parametrize(
    ("name", "expected", "options"),
    [
        ("exact", 5, {}), ("exact", None, {}), ("exact", [], {}), ("exact", ["a", 1], {}), ("exact", "a", {"strip": 1}),
        ("contains", "", {}), ("contains", ["a", ""], {}), ("contains", "a", {"mode": "some"}),
        ("number", "none", {}), ("number", "1 or 2", {}), ("number", True, {}), ("number", None, {}),
        ("number", float("nan"), {}), ("number", float("inf"), {}), ("number", 10**400, {}), ("number", "1e400", {}),
        ("number", 1, {"absolute": -1}), ("number", 1, {"absolute": "x"}), ("number", 1, {"pick": "middle"}),
        ("number", 1, {"decimal": ";"}), ("number", 1, {"relative": float("nan")}), ("json", 1, {"strict": True}),
    ],
)  # fmt: skip
def test_what_could_never_grade_anything_is_refused_when_built(grade, name, expected, options):
    with pytest.raises(UsageError) as refused:
        grade(name, expected, "x", **options)
    assert refused.value.hint
