"""BM25 over the entries at hand, against a direct reading of the formula."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenspace.recall.words import MAX_SEARCHED_CHARS, Vocabulary, bm25, split, stem

TEXTS = st.text(st.sampled_from("abc ABC ,.'_\0\n’é—日1"), max_size=30)


def plain_bm25(query: str, texts: list[str], *, k1: float, b: float) -> list[float]:
    def terms(text: str) -> list[str]:
        return [stem(word) for word in split([text]) if word != "\0"]

    asked, found = terms(query), [terms(text) for text in texts]
    mean = sum(map(len, found)) / len(found) or 1.0

    def score(text: list[str]) -> float:
        total = 0.0
        for term in set(asked) & set(text):
            held = sum(term in other for other in found)
            idf = math.log(1 + (len(found) - held + 0.5) / (held + 0.5))
            times = Counter(text)[term]
            total += idf * times * (k1 + 1) / (times + k1 * (1 - b + b * len(text) / mean))
        return total

    best = score(asked)
    return [min(1.0, score(text) / best) if best else 0.0 for text in found]


@given(query=TEXTS, texts=st.lists(TEXTS, min_size=1, max_size=6), k1=st.sampled_from([0.0, 0.6, 2.0]))
def test_scores_are_those_of_the_formula(query, texts, k1):
    assert bm25(query, texts, k1=k1, b=0.3).tolist() == pytest.approx(plain_bm25(query, texts, k1=k1, b=0.3))


def test_a_text_that_is_the_query_scores_one_and_a_text_without_its_words_zero():
    scores = bm25("Where is my card?", ["where is MY cards", "a parcel", ""], k1=0.6, b=0.3).tolist()
    assert scores == [1.0, 0.0, 0.0]


def test_a_word_in_every_text_weighs_less_than_a_rare_one():
    common, rare, *_ = bm25("card lost", ["card here", "card lost", "card there"], k1=0.6, b=0.3).tolist()
    assert rare > 5 * common > 0


def test_nothing_to_search_or_to_ask_is_no_error():
    assert bm25("card", [], k1=0.6, b=0.3).tolist() == []
    assert bm25("", ["card", ""], k1=0.6, b=0.3).tolist() == [0.0, 0.0]
    assert bm25("?!", ["card"], k1=0.6, b=0.3).tolist() == [0.0]


def test_words_of_every_script_are_split_at_whatever_is_no_letter_or_digit():
    texts = ["a_b “Hello”—wörld’s", "", "x\0y \ud800 日本 1.5€"]
    assert split(texts) == ["a", "b", "hello", "wörld", "s", "\0", "\0", "x", "y", "日本", "1", "5", "\0"]


def test_a_text_is_searched_up_to_a_bound():
    assert split(["x" * MAX_SEARCHED_CHARS + " tail"]) == ["x" * MAX_SEARCHED_CHARS, "\0"]


@pytest.mark.parametrize(
    ("words", "one"),
    [
        ("card cards", "card"),
        ("city cities", "citi"),
        ("class classes", "class"),
        ("make makes making", "mak"),
        ("run runs running", "run"),
        ("pay pays paying", "pay"),
        ("arrive arrives arrived arriving", "arriv"),
        ("call called calling", "call"),
        ("ring", "ring"),
        ("news", "new"),
        ("bus", "bus"),
        ("as", "as"),
        ("日本", "日本"),
    ],
)
def test_inflections_of_a_word_are_one_term(words, one):
    assert {stem(word) for word in words.split()} == {one}


def test_a_vocabulary_gives_one_number_to_each_stem_and_zero_to_the_end():
    vocabulary = Vocabulary()
    assert [vocabulary[word] for word in ["\0", "card", "cards", "lost", "card"]] == [0, 1, 1, 2, 1]
    assert vocabulary.size == 3
    assert vocabulary["x" * 64] == vocabulary["x" * 20_000]
    assert max(map(len, vocabulary)) == 64


def test_a_new_vocabulary_changes_no_score(monkeypatch):
    before = bm25("my card is lost", ["a lost card", "parcel"], k1=0.6, b=0.3).tolist()
    monkeypatch.setattr("tokenspace.recall.words._MAX_WORDS", 0)
    assert bm25("my card is lost", ["a lost card", "parcel"], k1=0.6, b=0.3).tolist() == before
