"""Relevance by shared words: BM25 over the entries at hand, as a share of what the query itself would score.

The rarity of a word is that among the entries given and nowhere else: nobody's words leave their scope (I8), and
words which stand in every entry weigh almost nothing, so no list of stop words is needed in any language.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_SEARCHED_CHARS: Final = 20_000
"""What stands after these characters of a text or a query is not searched: a bound on the time of one ranking."""

_MAX_WORDS: Final = 65_536
_MAX_WORD_CHARS: Final = 64
_END: Final = "\0"
_VOWEL: Final = re.compile(r"[aeiouy]")
_ASCII_SEPARATORS: Final = bytes(i if i >= 128 or i == 0 or chr(i).isalnum() else 32 for i in range(256))
_OTHER_SEPARATORS: Final = re.compile(r"[^\w\x00-\x7f]+")


class Vocabulary(dict[str, int]):
    """A number for each word met so far, the same for words of one stem; 0 ends a text.

    Numbers mean nothing outside one ranking: they only let NumPy do the counting. Words are told apart by their
    first 64 characters, so that what is remembered stays small.
    """

    def __init__(self) -> None:
        super().__init__({_END: 0})
        self._stems = {_END: 0}
        self._lock = threading.Lock()

    def __missing__(self, word: str) -> int:
        if len(word) > _MAX_WORD_CHARS:
            return self[word[:_MAX_WORD_CHARS]]
        with self._lock:
            self[word] = number = self._stems.setdefault(stem(word), len(self._stems))
        return number

    @property
    def size(self) -> int:
        """All numbers given so far are below this."""
        return len(self._stems)


_vocabularies: Final = [Vocabulary()]


def _vocabulary() -> Vocabulary:
    """The one in use; replaced, never emptied, when it is large, because a ranking may be using it."""
    if len(_vocabularies[0]) > _MAX_WORDS:
        _vocabularies[0] = Vocabulary()
    return _vocabularies[0]


def split(texts: Sequence[str]) -> list[str]:
    """The words of all texts in order, without case: runs of letters and digits of any script.

    NUL stands after each text. In one go over bytes, which takes a fifth of the time of a regular expression on
    each text: most separators are ASCII, whose UTF-8 bytes occur in no other character.
    """
    cut = [text[:MAX_SEARCHED_CHARS].replace(_END, " ").casefold() for text in texts]
    plain = [text if text.isascii() else _OTHER_SEPARATORS.sub(" ", text) for text in cut]
    return f" {_END} ".join([*plain, ""]).encode().translate(_ASCII_SEPARATORS).decode().split()


def stem(word: str) -> str:
    """An English word without its inflection, roughly: plural s, -ing, -ed, silent e.

    The plural rules are the S-stemmer of Harman 1991, the others the first steps of Porter 1980. Terms are only
    compared with one another, so "citi" for city and cities does no harm. Words of other languages mostly stay.
    """
    word = _singular(word)
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and _VOWEL.search(rest):
            doubled = len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "lsz"
            word = rest[:-1] if doubled else rest
            break
    if len(word) > 3 and word[-1] == "e":
        word = word[:-1]
    return word[:-1] + "i" if len(word) > 3 and word[-1] == "y" and not _VOWEL.match(word[-2]) else word


def _singular(word: str) -> str:
    if len(word) < 4 or word[-1] != "s":
        return word
    if word.endswith("ies"):
        return word if word[-4] in "ae" else word[:-3] + "y"
    if word.endswith("es"):
        return word if word[-3] in "aeo" else word[:-1]
    return word if word[-2] in "us" else word[:-1]


def bm25(query: str, texts: Sequence[str], *, k1: float, b: float) -> NDArray[np.float64]:
    """BM25 of each text divided by that of a text which equals the query; in [0, 1].

    `k1` is how soon repeating a term stops helping, `b` in [0, 1] how much long texts are discounted. Terms of the
    query that no text has count in the divisor, so a query about something else scores low everywhere.
    Formula: Robertson and Zaragoza 2009, with idf = ln(1 + (N − n + ½) / (n + ½)).
    """
    import numpy as np

    times, lengths = _occurrences(query, texts)
    held = np.count_nonzero(times[:, 1:], axis=1)
    idf = np.log1p((len(texts) - held + 0.5) / (held + 0.5))
    mean_length = lengths[1:].mean() if lengths[1:].any() else 1.0
    damped = times * (k1 + 1) / np.maximum(times + k1 * (1 - b + b * lengths / mean_length), 1e-9)
    scores = (idf[:, None] * damped).sum(axis=0)
    return np.minimum(1.0, scores[1:] / scores[0]) if scores[0] > 0 else np.zeros(len(texts))


def _occurrences(query: str, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each distinct term of the query occurs where, and the lengths of query and texts in terms.

    Rows are terms; column 0 is the query itself, the texts follow.
    """
    import numpy as np

    vocabulary = _vocabulary()
    words = split([query, *texts])
    numbers = np.fromiter(map(vocabulary.__getitem__, words), dtype=np.int64, count=len(words))
    ends = np.flatnonzero(numbers == 0)
    asked = np.unique(numbers[: ends[0]])
    row_of = np.full(vocabulary.size, -1)
    row_of[asked] = np.arange(len(asked))
    rows = row_of[numbers]
    hits = np.flatnonzero(rows >= 0)
    cells = rows[hits] * len(ends) + np.searchsorted(ends, hits)
    times = np.bincount(cells, minlength=len(asked) * len(ends)).reshape(len(asked), len(ends))
    return times, np.diff(ends, prepend=-1) - 1
