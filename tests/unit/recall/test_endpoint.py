"""The embedding endpoint, over a transport without a network."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from tokenspace.errors import AuthFailed, BadCompletion, ModelError, ModelTimeout, ModelUnavailable, RateLimited
from tokenspace.recall import EndpointEmbedder


def embedder(answer: Callable[[httpx.Request], httpx.Response]) -> EndpointEmbedder:
    return EndpointEmbedder("http://test/v1/", "small", api_key="k", transport=httpx.MockTransport(answer))


def by_length(request: httpx.Request) -> httpx.Response:
    asked = json.loads(request.content)
    items = [{"index": i, "embedding": [float(len(text)), 0.0, 3.0]} for i, text in enumerate(asked["input"])]
    return httpx.Response(200, json={"data": items[::-1]})


def test_texts_go_in_batches_and_come_back_in_their_order():
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return by_length(request)

    vectors = embedder(answer).embed(["x" * 4] * 100 + [""])
    assert vectors == [bytes([102, 0, 76])] * 100 + [bytes([40, 0, 120])]
    assert [len(json.loads(request.content)["input"]) for request in seen] == [96, 5]
    assert str(seen[0].url) == "http://test/v1/embeddings"
    assert seen[0].headers["authorization"] == "Bearer k"
    assert json.loads(seen[0].content)["model"] == "small"


def test_no_text_is_no_call():
    assert embedder(lambda _: httpx.Response(500)).embed([]) == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthFailed),
        (403, AuthFailed),
        (429, RateLimited),
        (504, ModelTimeout),
        (503, ModelUnavailable),
        (404, BadCompletion),
    ],
)
def test_a_refusal_is_a_typed_error_with_a_hint(status, error):
    with pytest.raises(error) as raised:
        embedder(lambda _: httpx.Response(status, text="no", headers={"retry-after": "7"})).embed(["x"])
    assert raised.value.hint
    if isinstance(raised.value, RateLimited):
        assert raised.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("cause", "error"), [(httpx.ReadTimeout, ModelTimeout), (httpx.ConnectError, ModelUnavailable)]
)
def test_a_failing_line_is_a_typed_error(cause, error):
    def answer(request: httpx.Request) -> httpx.Response:
        raise cause("broken", request=request)

    with pytest.raises(error):
        embedder(answer).embed(["x"])


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[]",
        '{"data": []}',
        '{"data": [{"index": 0}]}',
        '{"data": [{"index": 0, "embedding": []}]}',
        '{"data": [{"index": 0, "embedding": [NaN]}]}',
        '{"data": [{"index": 0, "embedding": "AAAA"}]}',
        '{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]}]}',
    ],
)
def test_an_answer_that_is_not_one_vector_for_each_text_is_refused(body):
    with pytest.raises(ModelError) as raised:
        embedder(lambda _: httpx.Response(200, text=body)).embed(["x"])
    assert isinstance(raised.value, BadCompletion)
