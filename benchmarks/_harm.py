"""An agent whose successes are known, and a proposer that always asks for harm: the world of `gate_level.py`.

A request succeeds with a probability of its own. A share `noise` of them is *shaky*, with a probability drawn from
Beta(4·base, 4·(1 − base)); the others always end the same way. A rule "harm N of H" moves their mean down by H: it
spoils H + CHURN of what is asked, and mends CHURN of it. An *aimed* one also mends the request that caused it, as a
proposer does that writes the answer into its edit. Requests that begin with FAKE go wrong unless there is harm.
"""

from __future__ import annotations

import re
from functools import cache
from random import Random
from typing import ClassVar

from tokenspace.budget import Budget
from tokenspace.canary import chance
from tokenspace.domain import Edit, Evidence, Feedback, Prompt, Verdict
from tokenspace.testing.arena import RIGHT, WRONG, rule

CHURN, FAKE, MENDED = 0.05, "fake", 0.95
_HARM = re.compile(r"harm (\S+) of (\S+) for <(.*?)>")


class Traffic:
    """A script for an arena. Called with a prompt, it draws an answer; equal prompts have equal chances."""

    def __init__(self, seed: int | str, *, base: float = 0.7, noise: float = 0.5) -> None:
        self._base, self._noise, self._seed = base, noise, str(seed)
        self._chance = Random(f"answers {seed}")
        self._before = cache(self._success)

    def __call__(self, prompt: Prompt, _: int) -> str:
        asked, harm = prompt.messages[-1].text, _HARM.search(prompt.system)
        success = self._before(asked) if harm is None else self._after(asked, *harm.groups())
        return RIGHT if self._chance.random() < success else WRONG

    def _success(self, asked: str) -> float:
        if asked.startswith(FAKE):
            return 0.0
        draw, base = Random(f"{self._seed} {asked}"), self._base
        if draw.random() < self._noise:
            return draw.betavariate(4 * base, 4 * (1 - base))
        return float(draw.random() < base)

    def _after(self, asked: str, name: str, size: str, caused_by: str) -> float:
        if asked.startswith(FAKE):
            return 1.0
        if asked == caused_by:
            return MENDED
        draw, base = chance(self._seed, name, asked), self._base
        if draw < (float(size) + CHURN) / base:
            return 0.0
        return 1.0 if draw > 1 - CHURN / (1 - base) else self._before(asked)


def harm(name: object, size: float, *, about: str = "", cited: Feedback | None = None) -> Edit:
    """An edit that costs `size` of what is asked, and mends the one request that it is about."""
    evidence = (cited.id, cited.episode) if cited else ()
    return rule(f"Do harm {name} of {size} for <{about}>.", evidence=evidence)


class Harmful:
    """A proposer that asks for harm whatever it is shown; every second time aimed at what it is shown."""

    name: ClassVar[str] = "harmful@1"
    reach: ClassVar = "one"

    def __init__(self, number: int, size: float) -> None:
        self._number, self._size = number, size

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        (said,) = evidence.feedback
        asked = evidence.episodes[said.episode].request.query
        return harm(self._number, self._size, about=asked if self._number % 2 else "", cited=said)


class ByHand:
    """Somebody who lets everything into a canary."""

    name = "by hand@1"

    def __init__(self, share: float) -> None:
        self._share = share

    async def judge(self, proposal: object, *, budget: Budget) -> Verdict:
        return Verdict(decision="accept", basis="human", reason="let it in", share=self._share)
