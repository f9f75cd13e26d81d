"""Vectors: int8, unit length, the same bytes alone and in a batch, in every process."""

from __future__ import annotations

import logging
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from tokenspace.errors import UsageError
from tokenspace.recall import HashEmbedder, HybridRecall, WordLlamaEmbedder, default_embedder
from tokenspace.recall.embedders import MAX_EMBEDDED_CHARS, quantise

TEXTS = [
    "my card is lost",
    "MY CARD IS LOST!",
    "I lost my cards",
    "the exchange rate is wrong",
    "日本 🙂 \ud800 \0",
    "x" * 9_000,
]

needs_wordllama = pytest.mark.skipif(not WordLlamaEmbedder.available(), reason="the extra [local] is not installed")
EMBEDDERS = [
    pytest.param(HashEmbedder, id="hash"),
    pytest.param(WordLlamaEmbedder, id="wordllama", marks=needs_wordllama),
]


def cosine(a: bytes, b: bytes) -> float:
    x, y = (np.frombuffer(v, dtype=np.int8).astype(float) for v in (a, b))
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


@pytest.mark.parametrize("make", EMBEDDERS)
def test_vectors_are_int8_of_one_length_and_near_unit_length(make):
    vectors = make().embed(TEXTS)
    assert {len(vector) for vector in vectors} == {256}
    for vector in vectors:
        assert np.linalg.norm(np.frombuffer(vector, dtype=np.int8).astype(float)) == pytest.approx(127, abs=5)


@pytest.mark.parametrize("make", EMBEDDERS)
def test_i5_a_text_has_the_same_bytes_alone_and_in_any_batch(make):
    embedder = make()
    assert [embedder.embed([text])[0] for text in TEXTS] == embedder.embed(TEXTS)
    assert embedder.embed(TEXTS[::-1]) == embedder.embed(TEXTS)[::-1]
    assert embedder.embed([]) == []


@pytest.mark.parametrize("make", EMBEDDERS)
def test_texts_that_share_words_are_more_alike_than_others(make):
    lost, loud, again, rate, *_ = make().embed(TEXTS)
    assert cosine(lost, loud) > cosine(lost, again) > cosine(lost, rate)


@pytest.mark.parametrize("make", EMBEDDERS)
def test_a_text_that_says_nothing_has_the_zero_vector(make):
    assert make().embed(["", "  \n"]) == [bytes(256)] * 2


@pytest.mark.parametrize("make", EMBEDDERS)
def test_only_the_beginning_of_a_long_text_is_embedded(make):
    text = "lost card " * (MAX_EMBEDDED_CHARS // 10)
    assert make().embed([text]) == make().embed([text + " exchange rate"])


def test_hashing_is_the_same_in_every_process():
    code = "from tokenspace.recall import HashEmbedder as H; import sys; sys.stdout.buffer.write(H().embed(['my card'])[0])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert other == HashEmbedder().embed(["my card"])[0]
    assert sha256(other).hexdigest()[:16] == "43e9c83d9ab0cbfb"


def test_hashing_has_as_many_dimensions_as_asked_and_says_so():
    assert len(HashEmbedder(dims=64).embed(["x"])[0]) == 64
    assert HashEmbedder(dims=64).name != HashEmbedder().name
    with pytest.raises(UsageError):
        HashEmbedder(dims=0)


def test_quantising_rounds_unit_components_and_keeps_zero():
    assert quantise(np.array([[3.0, -4.0], [0.0, 0.0]], dtype=np.float32)) == [bytes([76, 256 - 102]), bytes(2)]


@needs_wordllama
def test_word_vectors_are_the_default_and_their_name_has_the_version_of_the_wheel():
    from importlib.metadata import version

    assert default_embedder().name == f"wordllama-{version('wordllama')}-l2_supercat-256-lower"


def test_without_the_extra_the_default_is_hashing_and_asking_for_word_vectors_says_what_to_install(monkeypatch):
    monkeypatch.setattr("tokenspace.recall.embedders.util.find_spec", lambda name: None)
    assert default_embedder().name == "hash@1-256"
    with pytest.raises(UsageError) as raised:
        WordLlamaEmbedder()
    assert "tokenspace[local]" in raised.value.hint


@needs_wordllama
def test_word_vectors_equal_those_of_their_own_package_to_one_step():
    level = logging.getLogger().level
    handlers = list(logging.getLogger().handlers)
    from pathlib import Path

    import wordllama

    logging.getLogger().setLevel(level)
    logging.getLogger().handlers[:] = handlers
    reference = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    expected = reference.embed([text.lower() for text in TEXTS[:4]], norm=True) * 127
    for row, vector in zip(expected, WordLlamaEmbedder().embed(TEXTS[:4]), strict=True):
        assert np.abs(row - np.frombuffer(vector, dtype=np.int8)).max() <= 0.51


def test_importing_recall_and_naming_the_default_loads_no_heavy_library():
    code = (
        "import sys, tokenspace.recall as r; r.HybridRecall(r.default_embedder()).name; "
        "print([m for m in ('numpy','wordllama','tokenizers','safetensors','httpx','requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


@needs_wordllama
def test_recall_with_word_vectors_finds_what_words_alone_cannot():
    from tokenspace.domain import Entry, Kind

    entries = [
        Entry(id=id, kind=Kind.EXAMPLE, doc="examples", text="", trigger=trigger)
        for id, trigger in [("a", "What is the exchange rate?"), ("b", "A thief took my wallet"), ("c", "Close it")]
    ]
    recall = HybridRecall(WordLlamaEmbedder())
    assert recall.rank(entries, recall.index(entries), "somebody stole the purse of mine")[0].id == "b"
