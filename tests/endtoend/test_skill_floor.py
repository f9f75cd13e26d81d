"""The floor of docs/skills.md: how often the default embedder recalls the right body, a wrong one, or one for nothing."""

from __future__ import annotations

from itertools import combinations

import pytest

from tokenspace.context.skills import FLOOR
from tokenspace.domain import Entry, Kind
from tokenspace.recall import HybridRecall, default_embedder

DESCRIPTIONS = {
    "refunds": (
        "Handle a refund request: check the order, the payment and the return window, then pay back. "
        "Use when a customer wants money back."
    ),
    "pdf-forms": "Fill in PDF forms. Use when the user asks to fill, complete or sign a form in a PDF file.",
    "release-notes": (
        "Write release notes from merged pull requests and the changelog. "
        "Use when the user prepares a release or asks what changed."
    ),
    "sql-review": (
        "Review SQL queries for missing indices, injections and slow joins. "
        "Use when a query is slow or a migration is reviewed."
    ),
    "meeting-minutes": "Turn a transcript of a meeting into minutes with decisions and action items.",
    "card-lost": ("Block a lost or stolen bank card and order a replacement. Use when a customer reports a lost card."),
    "travel-booking": "Book flights and hotels within the company's travel policy. Use when an employee plans a trip.",
    "data-cleaning": "Clean a CSV file: types, missing values, duplicates. Use before analysis of tabular data.",
    "incident": (
        "Run an incident: severity, roles, timeline, status page and postmortem. Use when production is down."
    ),
    "translate-ui": (
        "Translate user interface strings into other languages, with placeholders kept. Use for localisation files."
    ),
}
REQUESTS = {
    "refunds": [
        "I want my money back for order 1123",
        "Please refund the shoes, they do not fit",
        "can I return this and be paid back?",
    ],
    "pdf-forms": [
        "Fill in this PDF form with my address",
        "Complete the attached tax form pdf for me",
        "sign page 3 of contract.pdf",
    ],
    "release-notes": [
        "Write release notes for version 2.3",
        "What changed since the last release? prepare the changelog",
        "summarise merged PRs for the new release",
    ],
    "sql-review": [
        "This query is slow, can you look at the join?",
        "Review the SQL of this migration",
        "does this select need an index",
    ],
    "meeting-minutes": [
        "Here is the transcript of our call, make minutes",
        "List the decisions and action items of this meeting",
    ],
    "card-lost": ["I lost my card yesterday", "my bank card was stolen, block it", "I need a replacement for my card"],
    "travel-booking": ["Book me a flight to Lisbon on Monday", "I need a hotel in Berlin for the offsite"],
    "data-cleaning": ["Clean up this csv, it has duplicates", "the table has missing values and wrong types, fix it"],
    "incident": ["Production is down, what do we do?", "write the postmortem of last night's outage"],
    "translate-ui": ["Translate these UI strings into German", "localise the strings file to French"],
}
OTHERS = [
    "What is the capital of France?",
    "Hello, how are you?",
    "Write a poem about autumn",
    "Explain how photosynthesis works",
    "What's 17 times 23?",
    "Tell me a joke",
    "Who won the world cup in 2014?",
    "Convert 5 miles to kilometres",
    "Refactor this python class into two",
    "why is the sky blue",
    "give me a recipe for lentil soup",
    "How do I open a bank account?",
    "recommend a book on history",
    "what time is it in Tokyo",
    "sort a list in rust",
]


def counts(size: int) -> tuple[int, int, int, int, int]:
    """Right, of how many; wrong; for nothing, of how many: over up to 60 sets of so many of the skills."""
    recall = HybridRecall(default_embedder())
    entries = [Entry(id=name, kind=Kind.SKILL, doc="", text="b", trigger=said) for name, said in DESCRIPTIONS.items()]
    right = fits = wrong = nothing = others = 0
    for some in list(combinations(entries, size))[:60]:
        vectors, names = recall.index(some), {entry.id for entry in some}
        asked = [(name, text) for name, texts in REQUESTS.items() for text in texts] + [("", text) for text in OTHERS]
        for name, text in asked:
            top = recall.rank(some, vectors, text)[0]
            opened = top.score >= FLOOR
            fits, others = fits + (name in names), others + (name not in names)
            right += opened and top.id == name
            wrong += opened and name in names and top.id != name
            nothing += opened and name not in names
    return right, fits, wrong, nothing, others


@pytest.mark.slow
@pytest.mark.parametrize(("size", "share"), [(10, 0.9), (5, 0.9), (3, 0.9), (1, 0.8)])
def test_the_floor_lets_bodies_in_that_fit_and_no_others(size: int, share: float) -> None:
    right, fits, wrong, nothing, others = counts(size)
    assert right >= share * fits
    assert (wrong, nothing) == (0, 0), f"of {fits} and {others}"
