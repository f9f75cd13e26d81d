"""How a proposer asks its model: structured output against a JSON schema, one repair, then failure as data.

The words that a model is asked with are files in `prompts/`, named `NAME@VERSION.md`. What is asked about goes beside
them as one JSON object in the user's message: data, and never a part of the instructions. Nor does a repair quote the
answer that it is about: that may repeat what somebody planted in the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final, cast

from tokenspace.budget import Budget
from tokenspace.context.check import objection
from tokenspace.domain import Message, Outcome, Prompt, Run, Scope, digest
from tokenspace.errors import BadCompletion, InvalidEdit, Refused
from tokenspace.protocols import Model, Store

MAX_OUTPUT_TOKENS: Final = 1_024

MAX_ANSWER_CHARS: Final = 100_000
"""A longer answer, of a server that ignores the limit of output tokens, is not even read."""

_PARTS: Final = 4
"""A prompt of these many parts at most is sent: the words, what is told, the schema, a repair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The words of one prompt file. `cited` names the file and its bytes, such as "reflect@1/3f2a9c01"."""

    name: str
    text: str
    cited: str


@cache
def wording(name: str) -> Wording:
    """The prompt file of this name and version, such as "reflect@1"."""
    text = files("tokenspace.proposers").joinpath(f"prompts/{name}.md").read_text("utf-8")
    return Wording(name=name, text=text, cited=f"{name}/{digest(text)[:8]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Asks `model`, and keeps every answer in `store`, so that no finished call is paid for twice (I3)."""

    model: Model
    store: Store
    max_output_tokens: int = field(default=MAX_OUTPUT_TOKENS)

    def fits(self, words: Wording, told: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
        """Whether the question, with a repair and the longest answer, is within the model's context."""
        profile = self.model.profile
        texts = (words.text, _text(told), json.dumps(schema, ensure_ascii=False), _REPAIR.format(problem="?" * 200))
        needed = sum(map(profile.count_tokens, texts)) + _PARTS * profile.tokens_per_message
        return needed + self.max_output_tokens <= profile.context_tokens

    async def ask(
        self, scope: Scope, words: Wording, told: Mapping[str, Any], schema: Mapping[str, Any], *, budget: Budget
    ) -> Mapping[str, Any]:
        """The model's answer, an object that `schema` allows.

        An answer that is not is asked for once more, with what was wrong with it. Raises `InvalidEdit` if the second
        is none either, if the model declines, or if the question does not fit into its context, which costs nothing;
        `BudgetExceeded` before a call that is not paid for. Whatever else the model raises is the caller's, and asking
        again goes on where it stopped.
        """
        if not self.fits(words, told, schema):
            raise InvalidEdit(
                f"{words.name}: the question is too long for the {self.model.profile.context_tokens:,} tokens of "
                f"{self.model.profile.model}",
                hint="show it less, or use a model with a longer context",
            )
        asked, problem = Message(role="user", text=_text(told)), ""
        for attempt in range(2):
            repair = (Message(role="user", text=_REPAIR.format(problem=problem)),) if problem else ()
            prompt = Prompt(
                system=words.text, messages=(asked, *repair), schema=schema, max_output_tokens=self.max_output_tokens
            )
            try:
                return _read(await self._answer(scope, words, prompt, attempt, budget), schema)
            except _Unusable as error:
                problem = str(error)
        raise InvalidEdit(
            f"{words.name}: {self.model.profile.model} gave no usable answer: {problem}",
            hint="use a model that supports structured output, or a larger one",
        )

    def declined(self, scope: Scope, words: Wording, about: Sequence[str]) -> bool:
        """Whether this model had nothing to say `about` these ids (see `decline`): then it is not asked again."""
        return self.store.outcome(scope, self._about(words, about)) is not None

    def decline(self, scope: Scope, words: Wording, about: Sequence[str]) -> None:
        """Keep that the model had nothing to say about these, whatever it was told beside them."""
        done = Run(output="", error="declined", model=self.model.profile.model)
        self.store.save_outcome(scope, Outcome(key=self._about(words, about), case=words.name, run=done))

    def _about(self, words: Wording, about: Sequence[str]) -> str:
        return digest(["declined", words.cited, self.model.profile.model, about])

    async def _answer(self, scope: Scope, words: Wording, prompt: Prompt, seed: int, budget: Budget) -> Run:
        key = digest(["proposer", words.cited, prompt.compiled_hash, self.model.profile.model, seed])
        known = self.store.outcome(scope, key)
        if known is not None:
            return known.run
        try:
            done = _kept(await self.model.complete(prompt, budget=budget, seed=seed))
        except (BadCompletion, Refused, RecursionError) as error:
            # Paid for like any other answer, and given again to whoever asks again. What nests too deeply to be read
            # is one of them: no answer may end the sleep that it was asked for in.
            done = Run(output="", error="the model declined" if isinstance(error, Refused) else _NOTHING)
        self.store.save_outcome(scope, Outcome(key=key, case=words.name, run=done))
        return done


_REPAIR: Final = (
    "Your answer could not be used: {problem}.\n"
    "Answer again with one JSON object that follows the schema, and nothing else."
)


_NOTHING: Final = "it was empty, cut off or not JSON"

_NO_TEXT: Final = "it holds characters that are no text"


class _Unusable(ValueError):
    """What was said is not what was asked for; never leaves this module."""


def _text(told: Mapping[str, Any]) -> str:
    """The data as JSON; what is no valid Unicode in it becomes a question mark, which every provider takes."""
    text = json.dumps(told, ensure_ascii=False, indent=1, sort_keys=True)
    return text.encode("utf-8", "replace").decode("utf-8")


def _kept(done: Run) -> Run:
    """What a store can keep of an answer: not one that is endless, or no text."""
    output, problem = done.output, "" if done.output.strip() else _NOTHING
    if len(output) > MAX_ANSWER_CHARS:
        output, problem = "", f"it is longer than {MAX_ANSWER_CHARS:,} characters"
    elif objection(output or "-"):
        output, problem = "", problem or _NO_TEXT
    return Run(output=output, usage=done.usage, latency_s=done.latency_s, model=done.model, error=problem)


def _read(answer: Run, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was said, checked; `_Unusable` says what is wrong in words of our own."""
    import jsonschema

    if answer.error:
        raise _Unusable(answer.error)
    try:
        said: Any = json.loads(answer.output, parse_constant=_not_json)
        check: Any = jsonschema.Draft202012Validator(dict(schema))  # its stubs leave types open
        problem = next(iter(check.iter_errors(said)), None)
    except json.JSONDecodeError as error:
        raise _Unusable(f"it is not JSON: {error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise _Unusable("it is not JSON that can be read") from error
    if problem is not None:
        raise _Unusable(f"{problem.json_path[:100]} breaks {problem.validator!r} of the schema")
    if not isinstance(said, dict):
        raise _Unusable("it is no object")
    if not _is_text(said):
        raise _Unusable(_NO_TEXT)
    return cast("Mapping[str, Any]", said)


def _is_text(said: Any) -> bool:
    """Whether a store can keep every text in it: JSON writes what it cannot as escapes, NUL and lone surrogates."""
    text = json.dumps(said, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\\u0000" not in text


def _not_json(name: str) -> None:
    raise ValueError(name)
