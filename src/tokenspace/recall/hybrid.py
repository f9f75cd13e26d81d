"""The ranking that the product uses: shared words (BM25) and similar meaning (cosine of vectors) in one score.

Scores are added with a weight, not by rank: equal-weight rank fusion lowers a good embedder. `benchmarks/recall.py`
measures this and says what the settings were chosen on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from tokenspace.domain import Entry, Kind, Ranked
from tokenspace.errors import UsageError
from tokenspace.protocols import Embedder
from tokenspace.recall.words import bm25

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHT: Final = 0.6
K1: Final = 0.6
B: Final = 0.3
CENTRE_AFTER: Final = 20
"""With this many vectors, half of their mean is taken away from each; with many more, nearly all of it."""


def searched_text(entry: Entry) -> str:
    """What a request is compared with: the trigger, which is written like a request, or else the text.

    A fact is searched by both, because a request may name the thing it is about or ask for what it says.
    """
    if entry.trigger is None:
        return entry.text
    return f"{entry.trigger}\n{entry.text}" if entry.kind is Kind.FACT else entry.trigger


class HybridRecall:
    """Ranks the entries it is given, exactly and purely: same arguments, same ranking.

    A score is `weight` × cosine (0 if negative) + (1 − `weight`) × words, in [0, 1]: 1 if the query is what the
    entry is searched by, 0 if they share neither words nor meaning. It is a similarity, so scores of different
    queries to the same entries may be compared and thresholded; other entries shift the scale a little, because
    rarity of words and centre of vectors are those of the entries given. An entry without a usable vector (none
    yet, of another length, or of a text that says nothing) is scored by words alone, on the same scale.
    """

    def __init__(self, embedder: Embedder, *, weight: float = WEIGHT, k1: float = K1, b: float = B) -> None:
        if not (0 <= weight <= 1 and 0 <= b <= 1 and k1 >= 0):
            raise UsageError("recall needs weight and b within [0, 1] and k1 of at least 0", hint="use the defaults")
        self._embedder = embedder
        self._weight, self._k1, self._b = weight, k1, b
        # A gate ranks one query for two contexts, one after the other.
        self._query_vector = lru_cache(maxsize=256)(self._embed)

    @property
    def name(self) -> str:
        """Method, version, settings and embedder: whatever may change a ranking."""
        return f"hybrid@1({self._embedder.name},{self._weight:g},{self._k1:g},{self._b:g})"

    def index(self, entries: Sequence[Entry]) -> Mapping[str, bytes]:
        """The vectors of what these entries are searched by, by id."""
        vectors = self._embedder.embed([searched_text(entry) for entry in entries])
        return {entry.id: vector for entry, vector in zip(entries, vectors, strict=True)}

    def rank(self, entries: Sequence[Entry], vectors: Mapping[str, bytes], query: str) -> list[Ranked]:
        """All entries by falling score, ties by id."""
        import numpy as np

        words = bm25(query, [searched_text(entry) for entry in entries], k1=self._k1, b=self._b)
        cosines, speaks = self._cosines(entries, vectors, query)
        scores = np.where(speaks, self._weight * cosines + (1 - self._weight) * words, words)
        order = sorted([(-score, entry.id) for score, entry in zip(scores.tolist(), entries, strict=True)])
        return [Ranked(id=name, score=-negative) for negative, name in order]

    def _embed(self, query: str) -> bytes:
        return self._embedder.embed([query])[0]

    def _cosines(
        self, entries: Sequence[Entry], vectors: Mapping[str, bytes], query: str
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Similarity of meaning in [0, 1] of each entry, and whether it has any to speak of."""
        import numpy as np

        asked = np.frombuffer(self._query_vector(query) if vectors else b"", dtype=np.int8)
        if not asked.any():
            return np.zeros(len(entries)), np.zeros(len(entries), dtype=np.bool_)
        size, nothing = len(asked), bytes(len(asked))
        held = [vectors.get(entry.id, nothing) for entry in entries]
        joined = b"".join([vector if len(vector) == size else nothing for vector in held])
        return centred_cosines(np.frombuffer(joined, dtype=np.int8).reshape(-1, size), asked)


def centred_cosines(rows: NDArray[np.int8], asked: NDArray[np.int8]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosines of rows with a vector, clipped to [0, 1], after taking the rows' own mean away from both.

    What all entries of a scope share (a subject, a date format, a name in each line) says nothing about which of
    them matters. The mean is shrunk towards zero where rows are few: m = Σ rows / (n + 20). Zero rows do not
    count; the second value says which are not zero. All sums are of integers that their type holds (unit vectors
    keep products of two rows below 2²⁴, and the sum of 130,000 rows too), so they are exact in whatever order they
    are added, and only single operations round: same bits on every machine. `einsum` keeps to this thread; a
    threaded BLAS spends more on waking its threads than on the sums.
    """
    import numpy as np

    wide = rows.astype(np.float32)
    squares = np.einsum("ij,ij->i", wide, wide).astype(np.float64)
    dots = np.einsum("ij,j->i", wide, asked.astype(np.float32)).astype(np.float64)
    n = np.count_nonzero(squares) + CENTRE_AFTER
    total = wide.sum(axis=0).astype(np.float64)
    with_total = np.einsum("ij,j->i", rows, total, dtype=np.float64)
    asked_total, mean_square = float((total * asked).sum()), float((total * total).sum()) / n**2
    asked_square = float((asked.astype(np.float64) ** 2).sum()) - 2 * asked_total / n + mean_square
    lengths = np.sqrt(np.maximum(0.0, squares - 2 * with_total / n + mean_square) * max(0.0, asked_square))
    centred = dots - (with_total + asked_total) / n + mean_square
    cosines = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    return np.clip(cosines, 0.0, 1.0), squares > 0
