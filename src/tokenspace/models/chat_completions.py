"""The Chat Completions format, as data: prompts to bodies, answers to runs. No I/O.

Spoken by OpenAI and by nearly everybody else: Ollama, vLLM, llama.cpp, LM Studio, OpenRouter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenspace.domain import Message, Profile, Prompt, Run, Usage
from tokenspace.errors import BadCompletion, Refused
from tokenspace.models.call import cost_usd, shortened, tool_calls, truncated

REPHRASE = "rephrase the request, or use another model"


def chat_messages(prompt: Prompt, *, always_system: bool = False) -> list[dict[str, Any]]:
    """The prompt as messages, system first.

    With `always_system` an empty system message is sent too, for templates that would otherwise put in their own.
    """
    head = [{"role": "system", "content": prompt.system}] if prompt.system or always_system else []
    return [*head, *(_message(message) for message in prompt.messages)]


def _message(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    return made


def function_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as a function, whichever of the common formats it is written in: nested, or flat with its schema."""
    schema = tool.get("input_schema", tool.get("parameters"))
    if "function" in tool or schema is None:
        return dict(tool)
    function = {"name": tool["name"], "description": tool.get("description", ""), "parameters": schema}
    return {"type": "function", "function": function}


def json_schema(schema: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """A `response_format` that constrains the answer to a JSON Schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": strict, "schema": dict(schema)}}


def read_usage(answer: Mapping[str, Any], profile: Profile) -> Usage | None:
    """What the provider says the call used; None if it does not say it usably."""
    used = answer.get("usage")
    try:
        entered, said = int(used["prompt_tokens"]), int(used["completion_tokens"])  # type: ignore[index]
        details: Any = used.get("prompt_tokens_details") or {}  # type: ignore[union-attr]
        cached = int(details.get("cached_tokens") or 0)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    usd = cost_usd(profile, input_tokens=entered, output_tokens=said, cached_tokens=cached)
    return Usage(calls=1, input_tokens=entered, output_tokens=said, cached_tokens=cached, usd=usd)


def read_run(answer: Mapping[str, Any], *, max_output_tokens: int) -> Run:
    """The answer's text and tool calls; raises Refused for declined content, BadCompletion for a cut answer."""
    try:
        choice: Any = answer["choices"][0]
        message: Any = choice["message"]
        text, calls = message.get("content") or "", tool_calls(message.get("tool_calls") or ())
        refusal, finish = message.get("refusal"), choice.get("finish_reason")
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise BadCompletion(
            f"the answer is not a chat completion: {shortened(str(dict(answer)))}",
            hint="check that the base URL is that of an OpenAI-compatible server, usually ending in /v1",
        ) from error
    if refusal or finish == "content_filter":
        raise Refused(f"the model declined to answer: {shortened(str(refusal or finish), 200)}", hint=REPHRASE)
    if finish == "length":
        raise truncated(max_output_tokens)
    if not isinstance(text, str):
        raise BadCompletion("the answer's content is not text", hint="use a model that answers in text")
    return Run(output=text, tool_calls=calls)
