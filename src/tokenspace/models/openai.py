"""Any OpenAI-compatible Chat Completions endpoint: OpenAI, Ollama, vLLM, llama.cpp, LM Studio, OpenRouter."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from tokenspace.budget import Budget
from tokenspace.domain import Profile, Prompt, Run, Usage
from tokenspace.errors import BadCompletion
from tokenspace.models.call import check_json, reserve, shortened, usable
from tokenspace.models.chat_completions import chat_messages, function_tool, json_schema, read_run, read_usage
from tokenspace.models.http import BadRequest, Endpoint, Retry
from tokenspace.models.profiles import profile_of

OPENAI: Final = "https://api.openai.com/v1"
ENVELOPE_TOKENS: Final = 32
"""Output that `{"answer": …}` adds to a choice, spread over lines as small models do."""


class OpenAIModel:
    """Answers over HTTP by the Chat Completions protocol.

    Choices are asked for as JSON of an enumeration; where the server does not take that (400), they are written into
    the system prompt and the answer is checked strictly, from then on. Retryable errors are tried `attempts` times in
    all, each attempt within the budget; `sleep` waits between them. Without a `profile`, that of a well-known name is
    used, or a careful one. The temperature is 0, except for OpenAI's own reasoning models, which take none.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = OPENAI,
        api_key: str = "",
        profile: Profile | None = None,
        timeout_s: float = 60.0,
        attempts: int = 2,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        retry = Retry(attempts=attempts, sleep=sleep)
        self._endpoint = Endpoint(base_url=base_url, headers=headers, timeout_s=timeout_s, retry=retry)
        self._model = model
        self._profile = profile or profile_of(model)
        self._is_openai = urlsplit(base_url).hostname == urlsplit(OPENAI).hostname
        self._takes_schema = True

    @property
    def profile(self) -> Profile:
        """What is known about this model."""
        return self._profile

    async def complete(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """One completion; `seed` is passed on, which most servers honour and none promises."""
        if prompt.choices is not None and self._takes_schema:
            try:
                return await self._ask(prompt, budget, seed, enumerated=True)
            except BadRequest:
                run = await self._ask(prompt, budget, seed, enumerated=False)
                self._takes_schema = False  # only now: a request that fails either way says nothing about schemas
                return run
        return await self._ask(prompt, budget, seed, enumerated=False)

    async def _ask(self, prompt: Prompt, budget: Budget, seed: int, *, enumerated: bool) -> Run:
        body = self._body(prompt, seed, enumerated=enumerated)
        extra = 0
        if prompt.choices is not None:
            extra = ENVELOPE_TOKENS + self._profile.count_tokens(json.dumps(enumeration(prompt.choices)))
        began = time.perf_counter()
        answer, reserved = await self._endpoint.post(
            "/chat/completions",
            body,
            budget=budget,
            reserve=lambda: reserve(budget, prompt, self._profile, extra_tokens=extra),
        )
        latency_s = time.perf_counter() - began
        usage = read_usage(answer, self._profile)
        if usage is not None:
            budget.settle(reserved, usage)  # else the reservation stays: a server that does not say may have billed
        run = read_run(answer, max_output_tokens=prompt.max_output_tokens)
        run = replace(run, usage=usage or Usage(calls=1), latency_s=latency_s, model=self._profile.model)
        if enumerated and not run.tool_calls and run.output.strip():
            run = replace(run, output=_chosen(run.output))
        return usable(run, prompt)

    def _body(self, prompt: Prompt, seed: int, *, enumerated: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "messages": chat_messages(prompt), "seed": seed, "stream": False}
        if not (self._is_openai and self._model.startswith(("o1", "o3", "o4", "gpt-5"))):
            body["temperature"] = 0
        room = prompt.max_output_tokens + (ENVELOPE_TOKENS if enumerated else 0)
        body["max_completion_tokens" if self._is_openai else "max_tokens"] = room
        if prompt.tools:
            body["tools"] = [function_tool(tool) for tool in prompt.tools]
        if enumerated and prompt.choices is not None:
            body["response_format"] = json_schema(enumeration(prompt.choices), strict=True)
        elif prompt.choices is not None:
            told = "Answer with exactly one of these and nothing else: " + json.dumps(
                prompt.choices, ensure_ascii=False
            )
            system = f"{prompt.system}\n\n{told}" if prompt.system else told
            body["messages"] = chat_messages(replace(prompt, system=system))
        elif prompt.schema is not None:
            # Not strict: strict mode takes only a part of JSON Schema, and the schema is the caller's.
            body["response_format"] = json_schema(prompt.schema, strict=False)
        return body


def enumeration(choices: tuple[str, ...]) -> Mapping[str, Any]:
    """A JSON Schema for an object whose `answer` is one of the choices, within what strict modes allow."""
    return {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(choices)}},
        "required": ["answer"],
        "additionalProperties": False,
    }


def _chosen(text: str) -> str:
    """The choice inside `{"answer": …}`. A bare one passes: a server may ignore the schema."""
    if not text.lstrip().startswith("{"):
        return text
    told = check_json(text)
    answer = told.get("answer")
    if not isinstance(answer, str):
        raise BadCompletion(f"there is no answer in {shortened(text)}", hint="use a model with structured output")
    return answer
