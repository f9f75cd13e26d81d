"""A model that answers by script: deterministic, offline, and honest about budgets like a real one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tokenspace.budget import Budget
from tokenspace.domain import Message, Profile, Prompt, Run, Usage
from tokenspace.errors import BadCompletion, ModelError
from tokenspace.models.call import NOT_BILLED, cost_usd, last_user_text, message_text, reserve, truncated, usable

Answer = str | Run | ModelError
Script = Callable[[Prompt, int], Answer] | Mapping[str, Answer] | Sequence[Answer]

SCRIPTED: Final = Profile(model="scripted", context_tokens=1_000_000, core_tokens=100_000, deterministic=True)


class ScriptedModel:
    """Answers from a script and remembers what it was asked.

    The script is a function of the prompt and the seed, a mapping from the last user message to the answer (under
    the key "*" the answer to everything else), a sequence of answers to be given one after the other, or one
    string that is always the answer. An answer is a text, a `Run` for its text and tool calls, or a `ModelError`, which
    is raised. What it says is checked as a real model's answer would be: outside `choices`, not JSON where a schema
    asks for it, empty, or longer than `max_output_tokens` is `BadCompletion`. One token is one word.

    >>> import asyncio
    >>> from tokenspace.domain import Message
    >>> model = ScriptedModel({"2 + 2?": "4"})
    >>> ask = Prompt(system="", messages=(Message(role="user", text="2 + 2?"),))
    >>> asyncio.run(model.complete(ask, budget=Budget(calls=1))).output
    '4'
    """

    def __init__(self, answer: Script, *, profile: Profile = SCRIPTED, latency_s: float = 0.0) -> None:
        self._answer = answer
        self._profile = profile
        self._latency_s = latency_s
        self._lock = threading.Lock()
        self._asked: list[tuple[Prompt, int]] = []

    @property
    def profile(self) -> Profile:
        """The profile that it was given."""
        return self._profile

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Every prompt that was paid for, oldest first."""
        return tuple(prompt for prompt, _ in self._asked)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of `prompts`."""
        return tuple(seed for _, seed in self._asked)

    async def complete(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """The script's answer; an error of the script is settled as a call that cost nothing."""
        reserved = reserve(budget, prompt, self._profile)
        with self._lock:
            turn = len(self._asked)
            self._asked.append((prompt, seed))
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        try:
            answer = self._say(prompt, seed, turn)
            if isinstance(answer, ModelError):
                raise answer
        except ModelError:
            budget.settle(reserved, NOT_BILLED)
            raise
        run = answer if isinstance(answer, Run) else Run(output=answer)
        words = message_text(Message(role="assistant", text=run.output, tool_calls=run.tool_calls)).split()
        usage = self._usage(prompt, len(words))
        budget.settle(reserved, usage)
        if len(words) > prompt.max_output_tokens:
            raise truncated(prompt.max_output_tokens)
        return usable(replace(run, usage=usage, latency_s=self._latency_s, model=self._profile.model), prompt)

    def _say(self, prompt: Prompt, seed: int, turn: int) -> Answer:
        script = self._answer
        if callable(script):
            return script(prompt, seed)
        if isinstance(script, str):
            return script
        if isinstance(script, Mapping):
            query = last_user_text(prompt)
            answer = script.get(query, script.get("*"))
            return _silent(f"to {query[:60]!r}") if answer is None else answer
        return script[turn] if turn < len(script) else _silent(f"number {turn + 1}")

    def _usage(self, prompt: Prompt, words: int) -> Usage:
        read = [prompt.system, *(message_text(message) for message in prompt.messages)]
        entered, said = sum(len(text.split()) for text in read), min(words, prompt.max_output_tokens)
        usd = cost_usd(self._profile, input_tokens=entered, output_tokens=said)
        return Usage(calls=1, input_tokens=entered, output_tokens=said, usd=usd)


def _silent(what: str) -> BadCompletion:
    return BadCompletion(f"the script has no answer {what}", hint='add it to the script, or an answer under "*"')
