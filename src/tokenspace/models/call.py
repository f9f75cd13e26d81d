"""What every model does around a call: reserve, price, and decide whether an answer can be used.

Kept apart from the providers so that the rules on budgets and on usable answers exist once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from tokenspace.budget import Budget, Reservation
from tokenspace.domain import Message, Profile, Prompt, Run, ToolCall, Usage
from tokenspace.errors import BadCompletion

MILLION: Final = 1_000_000
NOT_BILLED: Final = Usage(calls=1)
"""Settles a call that reached nobody, or that was turned away: it counts as a call and costs nothing."""


def bound_tokens(prompt: Prompt, profile: Profile) -> int:
    """An upper bound of a prompt's tokens: what it was compiled with, or, for one made by hand, counted here."""
    if prompt.tokens:
        return prompt.tokens
    texts = [prompt.system, *(message_text(message) for message in prompt.messages)]
    parts: list[Any] = [dict(tool) for tool in prompt.tools]
    parts += [list(prompt.choices or ()), dict(prompt.schema or {})]
    texts += [json.dumps(part, ensure_ascii=False) for part in parts if part]
    return sum(profile.count_tokens(text) for text in texts) + profile.tokens_per_message * len(texts)


def message_text(message: Message) -> str:
    """All text of one message that a model reads, tool calls included."""
    calls = [call.name + call.arguments for call in message.tool_calls]
    return "".join([message.text, *calls])


def last_user_text(prompt: Prompt) -> str:
    """The last user message, or nothing."""
    return next((message.text for message in reversed(prompt.messages) if message.role == "user"), "")


def reserve(
    budget: Budget, prompt: Prompt, profile: Profile, *, extra_tokens: int = 0, dearest: float = 1.0
) -> Reservation:
    """Set aside one call at its dearest; raises BudgetExceeded and sets nothing aside if that does not fit (I12).

    `extra_tokens` are what the provider's protocol adds, such as an answer schema, counted at the output price or
    the input price, whichever is higher. `dearest` multiplies the input price (writing to a cache costs more).
    """
    entered = bound_tokens(prompt, profile)
    input_usd, output_usd = profile.usd_per_million_input * dearest, profile.usd_per_million_output
    usd = entered * input_usd + prompt.max_output_tokens * output_usd + extra_tokens * max(input_usd, output_usd)
    return budget.reserve(Reservation(tokens=entered + prompt.max_output_tokens + extra_tokens, usd=usd / MILLION))


def cost_usd(profile: Profile, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
    """Dollars for one call by the profile's prices; `cached_tokens` are part of `input_tokens`."""
    fresh = max(0, input_tokens - cached_tokens)
    total = fresh * profile.usd_per_million_input + output_tokens * profile.usd_per_million_output
    return (total + cached_tokens * profile.usd_per_million_cached) / MILLION


def usable(run: Run, prompt: Prompt) -> Run:
    """The run if its answer is what the prompt asked for, else BadCompletion.

    Asked for means: not empty, one of the choices, JSON where there is a schema. The output of choices is given
    back as the choice itself, without surrounding space.
    """
    if not run.output.strip() and not run.tool_calls:
        raise BadCompletion("the answer is empty", hint="try again, or use another model")
    if run.tool_calls:
        return run
    if prompt.choices is not None:
        return replace(run, output=check_choice(run.output, prompt.choices))
    if prompt.schema is not None:
        check_json(run.output)
    return run


def check_choice(answer: str, choices: Sequence[str]) -> str:
    """The answer itself if it is one of the choices, surrounding space aside; else BadCompletion."""
    if answer in choices:
        return answer
    stripped = answer.strip()
    if stripped in choices:
        return stripped
    raise BadCompletion(
        f"the answer {shortened(answer)} is none of the {len(choices)} choices",
        hint="use a model that can be constrained to choices, or ask for fewer and clearer ones",
    )


def check_json(answer: str) -> Any:
    """The JSON value of an answer that was to be JSON; else BadCompletion."""
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise BadCompletion(
            f"the answer {shortened(answer)} is not JSON: {error}",
            hint="raise max_output_tokens, or use a model that supports structured output",
        ) from error


def truncated(max_output_tokens: int) -> BadCompletion:
    """The error for an answer that was cut at its limit."""
    return BadCompletion(
        f"the answer was cut off at {max_output_tokens} tokens",
        hint="raise max_output_tokens, or ask for a shorter answer",
    )


def tool_calls(calls: Sequence[Any]) -> tuple[ToolCall, ...]:
    """Chat Completions tool calls as ours; raises KeyError or TypeError for what is not one.

    The arguments are JSON text by the protocol, but some servers send the object itself.
    """
    return tuple(
        ToolCall(id=call["id"], name=call["function"]["name"], arguments=_text(call["function"]["arguments"]))
        for call in calls
    )


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)


def shortened(text: str, limit_chars: int = 60) -> str:
    """A text quoted for an error message."""
    return repr(text if len(text) <= limit_chars else text[:limit_chars] + "…")
