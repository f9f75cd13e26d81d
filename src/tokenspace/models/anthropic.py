"""Anthropic's Messages API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from tokenspace.budget import Budget
from tokenspace.domain import Message, Profile, Prompt, Run, ToolCall, Usage
from tokenspace.errors import BadCompletion, Refused
from tokenspace.models.call import MILLION, cost_usd, reserve, shortened, truncated, usable
from tokenspace.models.http import Endpoint, Retry
from tokenspace.models.profiles import profile_of

ANTHROPIC: Final = "https://api.anthropic.com"
VERSION: Final = "2023-06-01"
MAX_BREAKPOINTS: Final = 4
CACHE_WRITE: Final = 1.25
"""Price of input that is written to the five-minute cache, relative to plain input."""
FORCED_TOOL_TOKENS: Final = 800
"""Upper bound of the system text that the provider adds when tools are used, and of the call around an answer."""
ANSWER_TOOL: Final = "answer"


class AnthropicModel:
    """Answers over HTTP by the Messages API.

    Choices and schemas become a tool that the model is forced to call, whose input is the answer; where the prompt has
    tools of its own, it is forced to call one of them or that. No temperature is sent, because newer models reject one,
    so answers vary. The prompt's cache breakpoints become `cache_control` marks: the last four, which is what the API
    takes. Retryable errors are tried `attempts` times in all, each attempt within the budget; `sleep` waits between
    them.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str = ANTHROPIC,
        profile: Profile | None = None,
        timeout_s: float = 120.0,
        attempts: int = 2,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        headers = {"x-api-key": api_key, "anthropic-version": VERSION}
        retry = Retry(attempts=attempts, sleep=sleep)
        self._endpoint = Endpoint(base_url=base_url, headers=headers, timeout_s=timeout_s, retry=retry)
        self._model = model
        self._profile = profile or profile_of(model)

    @property
    def profile(self) -> Profile:
        """What is known about this model."""
        return self._profile

    async def complete(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """One completion; the API takes no seed."""
        del seed
        forced = answer_schema(prompt)
        extra = FORCED_TOOL_TOKENS if forced or prompt.tools else 0
        if forced:
            extra += self._profile.count_tokens(json.dumps(forced))
        dearest = CACHE_WRITE if prompt.cache_breakpoints else 1.0
        began = time.perf_counter()
        answer, reserved = await self._endpoint.post(
            "/v1/messages",
            body(self._model, prompt),
            budget=budget,
            reserve=lambda: reserve(budget, prompt, self._profile, extra_tokens=extra, dearest=dearest),
        )
        latency_s = time.perf_counter() - began
        usage = read_usage(answer, self._profile)
        if usage is not None:
            budget.settle(reserved, usage)
        run = read_run(answer, prompt)
        run = replace(run, usage=usage or Usage(calls=1), latency_s=latency_s, model=self._profile.model)
        return usable(run, prompt)


# ── prompt → body ───────────────────────────────────────────────────────────────────────────


def body(model: str, prompt: Prompt) -> dict[str, Any]:
    """The request's JSON."""
    marks = sorted(set(prompt.cache_breakpoints))[-MAX_BREAKPOINTS:]
    system = [prompt.system, *(message.text for message in prompt.messages if message.role in ("system", "developer"))]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in system if text.strip()]
    if 0 in marks and blocks:
        blocks[-1]["cache_control"] = {"type": "ephemeral"}
    made: dict[str, Any] = {
        "model": model,
        "max_tokens": prompt.max_output_tokens,
        "messages": _messages(prompt.messages, marks),
    }
    if blocks:
        made["system"] = blocks
    tools = [_tool(tool) for tool in prompt.tools]
    forced = answer_schema(prompt)
    if forced:
        tools.append({"name": ANSWER_TOOL, "description": "Give the final answer.", "input_schema": forced})
        made["tool_choice"] = {"type": "any"} if prompt.tools else {"type": "tool", "name": ANSWER_TOOL}
        made["max_tokens"] += FORCED_TOOL_TOKENS // 8  # room for the call around the answer
    if tools:
        made["tools"] = tools
    return made


def answer_schema(prompt: Prompt) -> dict[str, Any] | None:
    """The input schema of the tool that the model must call; None for free text."""
    if prompt.choices is not None:
        return _wrapped({"type": "string", "enum": list(prompt.choices)})
    if prompt.schema is not None:
        return dict(prompt.schema) if _is_object(prompt.schema) else _wrapped(dict(prompt.schema))
    return None


def _wrapped(answer: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"answer": answer}, "required": ["answer"], "additionalProperties": False}


def _is_object(schema: Mapping[str, Any]) -> bool:
    """Whether a schema can be a tool's input as it is, which also keeps its own references right."""
    return schema.get("type") == "object"


def _messages(messages: tuple[Message, ...], marks: list[int]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        if message.role == "tool" and index and messages[index - 1].role == "tool":
            made[-1]["content"] += _blocks(message)  # results of calls made together have to come back together
        elif message.role not in ("system", "developer"):
            made.append({"role": "assistant" if message.role == "assistant" else "user", "content": _blocks(message)})
        if index + 1 in marks and made:
            made[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
    return made


def _blocks(message: Message) -> list[dict[str, Any]]:
    # The API rejects text without a visible character, and an assistant's last text that ends in space.
    text = message.text.rstrip() if message.role == "assistant" else message.text
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": message.text}]
    said: list[dict[str, Any]] = [{"type": "text", "text": text}] if text.strip() else []
    said += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _arguments(call)} for call in message.tool_calls
    ]
    return said or [{"type": "text", "text": "(empty)"}]


def _arguments(call: ToolCall) -> dict[str, Any]:
    """A recorded call's arguments, which the API wants as an object whatever a model once wrote."""
    try:
        told: Any = json.loads(call.arguments)
    except ValueError:
        told = call.arguments
    return told if isinstance(told, dict) else {"arguments": told}  # pyright: ignore[reportUnknownVariableType] — JSON


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function") or (tool if "parameters" in tool else None)
    if function is None:
        return dict(tool)
    schema: Any = function.get("parameters") or {"type": "object", "properties": {}}
    return {"name": function["name"], "description": function.get("description", ""), "input_schema": schema}


# ── answer → run ────────────────────────────────────────────────────────────────────────────


def read_usage(answer: Mapping[str, Any], profile: Profile) -> Usage | None:
    """What the call used. The API counts cached input apart; here it is part of `input_tokens`."""
    used: Any = answer.get("usage")
    try:
        fresh, said = int(used["input_tokens"]), int(used["output_tokens"])
        read = int(used.get("cache_read_input_tokens") or 0)
        written = int(used.get("cache_creation_input_tokens") or 0)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    entered = fresh + read + written
    usd = cost_usd(profile, input_tokens=entered, output_tokens=said, cached_tokens=read)
    usd += written * (CACHE_WRITE - 1) * profile.usd_per_million_input / MILLION
    return Usage(calls=1, input_tokens=entered, output_tokens=said, cached_tokens=read, usd=usd)


def read_run(answer: Mapping[str, Any], prompt: Prompt) -> Run:
    """Text and tool calls; the input of the answer tool is the text. Raises Refused or BadCompletion."""
    try:
        blocks: list[Any] = list(answer["content"])
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        used = [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    except (KeyError, TypeError) as error:
        raise BadCompletion(
            f"the answer is not of the Messages API: {shortened(str(dict(answer)))}", hint="check the base URL"
        ) from error
    stop = answer.get("stop_reason")
    if stop == "refusal":
        raise Refused("the model declined to answer", hint="rephrase the request, or use another model")
    if stop in ("max_tokens", "model_context_window_exceeded"):
        raise truncated(prompt.max_output_tokens)
    answered = [told for _, name, told in used if name == ANSWER_TOOL] if answer_schema(prompt) else []
    if answered:
        return Run(output=_answer(answered[0], prompt))
    calls = tuple(ToolCall(id=id, name=name, arguments=json.dumps(told, ensure_ascii=False)) for id, name, told in used)
    return Run(output=text, tool_calls=calls)


def _answer(told: Any, prompt: Prompt) -> str:
    """The answer as text: a choice as it is, anything of a schema as JSON."""
    if prompt.choices is None and prompt.schema is not None and _is_object(prompt.schema):
        return json.dumps(told, ensure_ascii=False)
    try:
        answer: Any = told["answer"]
    except (KeyError, TypeError) as error:
        said = shortened(str(told))
        raise BadCompletion(f"there is no answer in {said}", hint="try again, or use another model") from error
    return answer if prompt.choices is not None and isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
