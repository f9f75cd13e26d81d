"""Vectors from any OpenAI-compatible embedding endpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from tokenspace.errors import AuthFailed, BadCompletion, ModelError, ModelTimeout, ModelUnavailable, RateLimited
from tokenspace.recall.embedders import clean, quantise

if TYPE_CHECKING:
    import httpx

BATCH_TEXTS: Final = 96


class EndpointEmbedder:
    """`POST {base_url}/embeddings` with a model's name; texts go in batches of 96.

    Uses the network, so never call it inside a transaction (I11). Raises `ModelError`s: `AuthFailed`, `RateLimited`,
    `ModelTimeout`, `ModelUnavailable`, or `BadCompletion` for an answer that is not one vector for each text.
    `transport` replaces the network in tests.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str = "",
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/embeddings"
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s
        self._transport = transport

    @property
    def name(self) -> str:
        """The model's name; the address is left out, so that moving a server keeps its vectors."""
        return f"endpoint-{self._model}"

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """One vector for each text, as long as the model makes them."""
        import httpx
        import numpy as np

        rows: list[list[float]] = []
        with httpx.Client(headers=self._headers, timeout=self._timeout_s, transport=self._transport) as client:
            for start in range(0, len(texts), BATCH_TEXTS):
                # Endpoints refuse an empty input; a space means the same.
                batch = [clean(text) or " " for text in texts[start : start + BATCH_TEXTS]]
                rows += _vectors(self._ask(client, batch), len(batch))
        return quantise(np.array(rows, dtype=np.float32)) if rows else []

    def _ask(self, client: httpx.Client, batch: list[str]) -> object:
        import httpx

        try:
            answer = client.post(self._url, json={"model": self._model, "input": batch, "encoding_format": "float"})
        except httpx.TimeoutException as error:
            raise ModelTimeout(f"no embedding within {self._timeout_s:g} s", hint="try again") from error
        except httpx.HTTPError as error:
            raise ModelUnavailable(f"{self._url} cannot be reached: {error}", hint="is the server running?") from error
        if not answer.is_success:
            raise _failure(self._url, answer)
        try:
            return answer.json()
        except ValueError as error:
            raise BadCompletion(f"{self._url} did not answer in JSON", hint="check the base URL") from error


def _failure(url: str, answer: httpx.Response) -> ModelError:
    status, said = answer.status_code, f"{url} answered {answer.status_code}: {answer.text[:200]}"
    if status in {401, 403}:
        return AuthFailed(said, hint="check the API key and what it may use")
    if status == 429:
        after = answer.headers.get("retry-after", "")
        return RateLimited(said, hint="wait and try again", retry_after_s=float(after) if after.isdigit() else None)
    if status in {408, 504}:
        return ModelTimeout(said, hint="try again")
    if status >= 500:
        return ModelUnavailable(said, hint="try again later")
    return BadCompletion(said, hint="check the base URL and the model's name")


def _vectors(answer: object, expected: int) -> list[list[float]]:
    """The vectors in the order of the inputs; every one finite and all of one length."""
    try:
        items = cast("list[dict[str, Any]]", cast("dict[str, Any]", answer)["data"])
        ordered = sorted(items, key=lambda item: int(item["index"]))
        rows = [[float(value) for value in item["embedding"]] for item in ordered]
    except (KeyError, TypeError, ValueError) as error:
        raise BadCompletion("the answer has no embeddings", hint="is this model an embedding model?") from error
    whole = len(rows) == expected and len({len(row) for row in rows}) == 1 and len(rows[0]) > 0
    if not whole or not all(math.isfinite(value) for row in rows for value in row):
        raise BadCompletion("the answer is not one vector for each text", hint="is this model an embedding model?")
    return rows
