"""The adapter for Presidio, against a stand-in that speaks `AnalyzerEngine.analyze` exactly; Presidio is not here."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import pytest

from tokenspace.context.scanner import Finding
from tokenspace.errors import UsageError
from tokenspace.interop.presidio import PresidioScanner


@dataclass
class RecognizerResult:
    entity_type: str
    start: int
    end: int
    score: float


class AnalyzerEngine:
    """Its signature as documented: `analyze(text, language, entities=None, …, score_threshold=None, …)`."""

    def __init__(self):
        self.asked = []

    def analyze(
        self, text, language, entities=None, correlation_id=None, score_threshold=None, return_decision_process=False
    ):
        self.asked.append((text, language, entities, score_threshold))
        all_found = [
            RecognizerResult("PHONE_NUMBER", 20, 30, 0.75),
            RecognizerResult("PERSON", 0, 4, 0.85),
            RecognizerResult("NRP", 5, 9, 0.3),
        ]
        return [
            one
            for one in all_found
            if (entities is None or one.entity_type in entities) and one.score >= (score_threshold or 0)
        ]


def test_findings_have_our_kinds_and_order():
    engine = AnalyzerEngine()
    assert PresidioScanner(engine).scan("Anna " * 8) == [
        Finding(kind="person", start=0, end=4, score=0.85, sort="personal"),
        Finding(kind="phone", start=20, end=30, score=0.75, sort="personal"),
    ]
    assert engine.asked == [("Anna " * 8, "en", None, 0.5)]


def test_kinds_are_asked_for_by_presidios_names():
    engine = AnalyzerEngine()
    assert [one.kind for one in PresidioScanner(engine, language="de").scan("x" * 40, kinds=["phone", "person"])] == [
        "person",
        "phone",
    ]
    assert engine.asked[0][1:3] == ("de", ["PHONE_NUMBER", "PERSON"])
    assert PresidioScanner(engine).scan("x", kinds=[]) == []
    assert len(engine.asked) == 1


def test_the_engine_is_made_by_the_library_and_without_it_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(UsageError) as caught:
        PresidioScanner()
    assert "tokenspace[privacy]" in caught.value.hint
    module = types.ModuleType("presidio_analyzer")
    module.AnalyzerEngine = AnalyzerEngine
    monkeypatch.setitem(sys.modules, "presidio_analyzer", module)
    assert len(PresidioScanner().scan("Anna")) == 2
