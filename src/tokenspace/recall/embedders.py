"""Texts to vectors without a network: word vectors from a wheel, or feature hashing when the wheel is absent.

A vector is a unit vector times 127, rounded to int8, so one byte for each dimension. A text gets the same bytes
alone and in any batch. A text that says nothing (empty, blanks) gets the zero vector, which is similar to none.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

from tokenspace.errors import UsageError
from tokenspace.protocols import Embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

MAX_EMBEDDED_CHARS: Final = 8_000
"""What stands after these characters is not embedded: a mean over more words says less, and costs more."""

_NEEDED: Final = ("wordllama", "tokenizers", "safetensors")
_WEIGHTS: Final = "weights/l2_supercat_256.safetensors"
_TOKENIZER: Final = "tokenizers/l2_supercat_tokenizer_config.json"


def default_embedder() -> Embedder:
    """Word vectors if the extra `[local]` is installed, else feature hashing. Loads nothing before its first use."""
    return WordLlamaEmbedder() if WordLlamaEmbedder.available() else HashEmbedder()


def quantise(rows: NDArray[np.float32]) -> list[bytes]:
    """Rows of any length to int8 unit vectors: component × 127, rounded; a zero row stays zero."""
    import numpy as np

    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return [row.tobytes() for row in np.rint(unit * 127).astype(np.int8)]


def clean(text: str) -> str:
    """The part of a text that is embedded, with lone surrogates (which no tokenizer takes) replaced."""
    return text[:MAX_EMBEDDED_CHARS].encode("utf-8", "replace").decode("utf-8")


class WordLlamaEmbedder:
    """The mean of trained word-piece vectors (256 dimensions), from the `wordllama` wheel.

    Texts are embedded in lower case: capitals are rare words to this model, and a shouted text would be like no other.
    The files are read from the wheel by way of `tokenizers` and `safetensors`: importing `wordllama` itself would
    configure the root logger, import an HTTP client and look for its tokenizer in the wrong folder. Loading takes
    a quarter of a second and happens at the first `embed`. Raises `UsageError` if the extra `[local]` is missing.
    """

    def __init__(self) -> None:
        if not self.available():
            raise UsageError(
                "the word-vector embedder is not installed", hint="pip install 'tokenspace[local]', or use HashEmbedder"
            )
        self._name = f"wordllama-{metadata.version('wordllama')}-l2_supercat-256-lower"
        self._lock = threading.Lock()
        self._loaded: tuple[Tokenizer, NDArray[np.float32]] | None = None

    @staticmethod
    def available() -> bool:
        """Whether the packages and the model files inside them are here."""
        return all(util.find_spec(name) for name in _NEEDED) and (_folder() / _WEIGHTS).is_file()

    @property
    def name(self) -> str:
        """Package, its version, weights and dimensions."""
        return self._name

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """One vector of 256 bytes for each text."""
        import numpy as np

        tokenizer, table = self._load()
        rows = np.zeros((len(texts), table.shape[1]), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            # One at a time: the tokenizer's batches start a thread pool, which forked processes cannot use.
            ids = tokenizer.encode(clean(text).lower(), add_special_tokens=False).ids
            if ids and not text.isspace():
                row[:] = table[ids].sum(axis=0)
        return quantise(rows)

    def _load(self) -> tuple[Tokenizer, NDArray[np.float32]]:
        with self._lock:
            if self._loaded is None:
                import numpy as np
                from safetensors.numpy import load
                from tokenizers import Tokenizer

                tensors = load((_folder() / _WEIGHTS).read_bytes())
                table = tensors["embedding.weight"].astype(np.float32)
                tokenizer = Tokenizer.from_file(str(_folder() / _TOKENIZER))
                tokenizer.no_padding()
                tokenizer.no_truncation()
                self._loaded = tokenizer, table
            return self._loaded


def _folder() -> Path:
    spec = util.find_spec("wordllama")
    assert spec is not None
    return Path((spec.submodule_search_locations or [""])[0])


class HashEmbedder:
    """Words and their character trigrams, hashed into `dims` signed buckets: NumPy only, nothing learned.

    Trigrams make misspellings and inflections similar. Long words count more than short ones, since they are rarer,
    and the n-th mention of a feature less than the first (square root). Signed feature hashing after Weinberger et
    al. 2009.
    """

    def __init__(self, *, dims: int = 256) -> None:
        if dims < 1:
            raise UsageError(f"{dims} is not a number of dimensions", hint="use 256")
        self._dims = dims

    @property
    def name(self) -> str:
        """Method, its version and dimensions."""
        return f"hash@1-{self._dims}"

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """One vector of `dims` bytes for each text."""
        import numpy as np

        rows = np.zeros((len(texts), self._dims), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in _WORD.findall(clean(text).casefold()):
                for bucket, weight in _features(word, self._dims):
                    row[bucket] += weight
        return quantise(np.sign(rows) * np.sqrt(np.abs(rows)))


_WORD: Final = re.compile(r"\w+")


@lru_cache(maxsize=4_096)
def _features(word: str, dims: int) -> tuple[tuple[int, float], ...]:
    """Buckets and signed weights of a word and of the trigrams of `<word>`; as vectors, both sides weigh the same."""
    padded = f"<{word}>"
    grams = [padded[i : i + 3] for i in range(len(padded) - 2)]
    weight = (min(len(word), 8) / 8) ** 2
    share = weight / len(grams) ** 0.5
    return tuple(_bucket(text, value, dims) for text, value in [(word, weight), *((gram, share) for gram in grams)])


def _bucket(feature: str, weight: float, dims: int) -> tuple[int, float]:
    # CRC-32 because Python's own hash of a string differs from process to process.
    value = crc32(feature.encode())
    return (value >> 1) % dims, weight if value & 1 else -weight
