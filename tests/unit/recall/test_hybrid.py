"""The fused ranking: what is searched, what a score means, and that it is pure."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenspace.domain import Entry, Kind, Ranked
from tokenspace.errors import UsageError
from tokenspace.protocols import Recall
from tokenspace.recall import HashEmbedder, HybridRecall, searched_text
from tokenspace.recall.hybrid import CENTRE_AFTER, centred_cosines

TEXTS = ["my card is lost", "how do I close my account", "the exchange rate is wrong", "I cannot log in"]


def example(id: str, trigger: str) -> Entry:
    return Entry(id=id, kind=Kind.EXAMPLE, doc="examples", text="Juniper", trigger=trigger)


ENTRIES = [example(f"e{i}", text) for i, text in enumerate(TEXTS)]


@pytest.fixture
def recall() -> Recall:
    return HybridRecall(HashEmbedder())


def test_the_entry_that_is_like_the_query_comes_first(recall):
    ranked = recall.rank(ENTRIES, recall.index(ENTRIES), "I lost my cards")
    assert ranked[0].id == "e0"
    assert {item.id for item in ranked} == {entry.id for entry in ENTRIES}


def test_a_query_that_is_the_trigger_scores_one_with_and_without_a_vector(recall):
    for vectors in (recall.index(ENTRIES), {}):
        assert recall.rank(ENTRIES, vectors, TEXTS[1])[0] == Ranked(id="e1", score=pytest.approx(1.0))


def test_nothing_in_common_scores_zero_and_ties_are_broken_by_id(recall):
    entries = [example(id, "zzzz") for id in ["c", "a", "b"]]
    assert recall.rank(entries, {}, "my card") == [Ranked(id=id, score=0.0) for id in "abc"]
    assert [item.id for item in recall.rank(entries, recall.index(entries), "zzzz")] == ["a", "b", "c"]


def test_an_entry_is_searched_by_its_trigger_a_fact_by_both_and_others_by_their_text():
    fact = Entry(kind=Kind.FACT, doc="facts", text="is 4.50", trigger="fee of a transfer")
    assert searched_text(ENTRIES[0]) == TEXTS[0]
    assert searched_text(fact) == "fee of a transfer\nis 4.50"
    assert searched_text(Entry(kind=Kind.RULE, doc="rules", text="Be brief.")) == "Be brief."


@given(
    query=st.text(max_size=40),
    triggers=st.lists(st.text(max_size=40), max_size=8),
    with_vector=st.lists(st.booleans(), min_size=8, max_size=8),
    seed=st.randoms(use_true_random=False),
)
def test_i5_the_order_and_company_of_arguments_changes_no_score(query, triggers, with_vector, seed: random.Random):
    recall = HybridRecall(HashEmbedder(dims=64))
    entries = [example(f"{i:02}", trigger) for i, trigger in enumerate(triggers)]
    vectors = {
        id: vector for (id, vector), keep in zip(recall.index(entries).items(), with_vector, strict=False) if keep
    }
    ranked = recall.rank(entries, vectors, query)
    shuffled = seed.sample(entries, len(entries))
    assert HybridRecall(HashEmbedder(dims=64)).rank(shuffled, {**vectors, "another": b"x"}, query) == ranked
    assert [(-item.score, item.id) for item in ranked] == sorted((-item.score, item.id) for item in ranked)
    assert all(0 <= item.score <= 1 for item in ranked)


def test_i8_only_entries_that_were_given_are_ranked(recall):
    vectors = recall.index(ENTRIES)
    assert {item.id for item in recall.rank(ENTRIES[:2], vectors, TEXTS[3])} == {"e0", "e1"}
    assert recall.rank([], vectors, TEXTS[3]) == []


def test_vectors_of_another_embedder_are_left_aside(recall):
    other = HybridRecall(HashEmbedder(dims=32)).index(ENTRIES)
    assert recall.rank(ENTRIES, other, TEXTS[0]) == recall.rank(ENTRIES, {}, TEXTS[0])


def test_without_a_vector_an_entry_is_ranked_among_the_others(recall):
    vectors = {id: vector for id, vector in recall.index(ENTRIES).items() if id != "e0"}
    assert recall.rank(ENTRIES, vectors, "my card is lost, help")[0].id == "e0"


def test_an_empty_query_is_similar_to_nothing(recall):
    assert {item.score for item in recall.rank(ENTRIES, recall.index(ENTRIES), "")} == {0.0}


def test_a_huge_query_and_a_huge_entry_are_ranked(recall):
    entries = [*ENTRIES, example("huge", "card " * 2_000_000)]
    ranked = recall.rank(entries, recall.index(entries), "my card is lost " * 1_000_000)
    assert {item.id for item in ranked} == {entry.id for entry in entries}


def test_weights_of_zero_and_one_are_words_alone_and_vectors_alone():
    vectors = HybridRecall(HashEmbedder()).index(ENTRIES)
    words = HybridRecall(HashEmbedder(), weight=0).rank(ENTRIES, vectors, TEXTS[2])
    assert words == HybridRecall(HashEmbedder()).rank(ENTRIES, {}, TEXTS[2])
    meaning = HybridRecall(HashEmbedder(), weight=1).rank(ENTRIES, vectors, "lst crd")
    assert meaning[0].id == "e0"


def test_the_name_tells_settings_and_embedder_apart():
    names = {
        HybridRecall(HashEmbedder(dims=dims), weight=weight, k1=k1).name
        for dims in (64, 256)
        for weight in (0.4, 0.5)
        for k1 in (0.6, 0.9)
    }
    assert len(names) == 8


@pytest.mark.parametrize("settings", [{"weight": 1.5}, {"weight": -0.1}, {"k1": -1}, {"b": 2}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UsageError) as raised:
        HybridRecall(HashEmbedder(), **settings)
    assert raised.value.hint


@given(
    st.lists(st.lists(st.integers(-127, 127), min_size=4, max_size=4), min_size=1, max_size=6),
    st.lists(st.integers(-127, 127), min_size=4, max_size=4).filter(any),
)
def test_centred_cosines_are_those_of_the_definition(rows, asked):
    matrix, query = np.array(rows, dtype=np.int8), np.array(asked, dtype=np.int8)
    cosines, speaks = centred_cosines(matrix, query)
    mean = matrix.sum(axis=0) / (np.count_nonzero(matrix.any(axis=1)) + CENTRE_AFTER)
    for row, cosine, said in zip(matrix, cosines, speaks, strict=True):
        a, b = row - mean, query - mean
        assert said == row.any()
        if not (a.any() and b.any()):
            continue
        assert cosine == pytest.approx(max(0.0, a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), abs=1e-9)
