"""A cheap frozen reader: it answers like the most similar example in its prompt.

It learns nothing itself and reads nothing but the prompt, so that whatever improves over a stream is the context.
Microseconds for each answer: for tests, and for streams too long for a language model.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tokenspace.budget import Budget
from tokenspace.domain import Profile, Prompt, Run, Usage
from tokenspace.models.call import cost_usd, last_user_text, message_text, reserve, usable

NEAREST: Final = Profile(
    model="nearest@1",
    style="turns",
    recalled_rules=1,  # it follows one turn: a second rule could only mislead it
    context_tokens=1_000_000,
    core_tokens=100_000,
    deterministic=True,
)
UNSURE: Final = "I do not know."

_WORD: Final = re.compile(r"\w+")


class NearestModel:
    """Answers with the assistant turn whose user turn is most like the last user message.

    Likeness is the cosine of word counts, each word weighted by log(1 + n / examples that have it), so that words that
    every example shares count little. Only examples whose answer is one of the choices are looked at. Where no
    example shares a word with the message, the answer is a choice picked by a stable hash of the message, or, without
    choices, "I do not know.". One token is one word.
    """

    def __init__(self, *, profile: Profile = NEAREST) -> None:
        self._profile = profile

    @property
    def profile(self) -> Profile:
        """The profile that it was given."""
        return self._profile

    async def complete(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """The nearest example's answer; a seed changes nothing."""
        del seed
        reserved = reserve(budget, prompt, self._profile)
        output = _answer(prompt)
        read = sum(len(text.split()) for text in (prompt.system, *map(message_text, prompt.messages)))
        said = min(len(output.split()), prompt.max_output_tokens)
        usd = cost_usd(self._profile, input_tokens=read, output_tokens=said)
        usage = Usage(calls=1, input_tokens=read, output_tokens=said, usd=usd)
        budget.settle(reserved, usage)
        return usable(Run(output=output, usage=usage, model=self._profile.model), prompt)


def _answer(prompt: Prompt) -> str:
    query = last_user_text(prompt)
    examples = [pair for pair in _examples(prompt) if prompt.choices is None or pair[1] in prompt.choices]
    best = nearest(query, [trigger for trigger, _ in examples])
    if best is not None:
        return examples[best][1]
    if not prompt.choices:
        return UNSURE
    stable = hashlib.sha256(query.encode("utf-8", "surrogatepass")).digest()
    return prompt.choices[int.from_bytes(stable[:8], "big") % len(prompt.choices)]


def _examples(prompt: Prompt) -> list[tuple[str, str]]:
    turns = zip(prompt.messages, prompt.messages[1:], strict=False)
    return [(ask.text, say.text.strip()) for ask, say in turns if (ask.role, say.role) == ("user", "assistant")]


def nearest(query: str, texts: Sequence[str]) -> int | None:
    """The index of the text most like the query, the first of equals; None if none shares a word with it."""
    bags = [Counter(_words(text)) for text in texts]
    having = Counter(word for bag in bags for word in bag)
    weight = {word: math.log(1 + len(texts) / count) for word, count in having.items()}
    asked = Counter(_words(query))
    scores = [_cosine(asked, bag, weight) for bag in bags]
    best = max(range(len(texts)), key=scores.__getitem__, default=None)
    return best if best is not None and scores[best] > 0 else None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _cosine(one: Counter[str], other: Counter[str], weight: Mapping[str, float]) -> float:
    # Words in sorted order: a sum of floats must not depend on the order of a hash table.
    shared = sorted(one.keys() & other.keys())
    dot = math.fsum(one[word] * other[word] * weight[word] ** 2 for word in shared)
    return dot / (_norm(one, weight) * _norm(other, weight)) if dot else 0.0


def _norm(bag: Counter[str], weight: Mapping[str, float]) -> float:
    squares: Iterable[float] = ((count * weight.get(word, 1.0)) ** 2 for word, count in bag.items())
    return math.sqrt(math.fsum(squares))
