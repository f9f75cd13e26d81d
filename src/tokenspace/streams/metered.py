"""An agent that counts what it is asked, keeps every answer on disk, and never asks for the same answer twice.

A run that was killed is run again: what was asked already is read, so nothing is paid for twice, and as all else in
a run repeats, the result is the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tokenspace.budget import Budget
from tokenspace.domain import Profile, Prompt, Run, ToolCall, Usage
from tokenspace.protocols import Agent


class Metered:
    """One cell's way to the model.

    `limit` is the token budget of a prompt, `recalled` how many recalled entries it shows at most; 0 for the model's
    own. `usage` is what the cell's answers cost, whoever paid for them: an answer that is read from `journal` costs
    what it cost then. A deterministic model is charged once for each prompt, another one for each time that it is
    asked.
    """

    def __init__(self, agent: Agent, *, limit: int, recalled: int = 0, journal: Path | None = None) -> None:
        self._agent = agent
        known = agent.profile
        most = min(known.context_tokens, limit or known.context_tokens)
        self._profile = replace(
            known, context_tokens=most, core_tokens=min(known.core_tokens, most), recalled=recalled or known.recalled
        )
        self._journal, self._kept, self._unsaved = journal, _read(journal), list[str]()
        self._asked: Counter[str] = Counter()
        self.usage = Usage()
        self.asked_now = 0
        self.last: Prompt | None = None

    @property
    def profile(self) -> Profile:
        """The model's, with the budget of the run."""
        return self._profile

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """See `tokenspace.protocols.Agent`."""
        self.last = prompt
        done = await self._once(prompt, budget=budget, seed=seed, recorded=None)
        assert done is not None
        return done

    async def replay(
        self, prompt: Prompt, *, recorded: Sequence[ToolCall], budget: Budget, seed: int = 0
    ) -> Run | None:
        """See `tokenspace.protocols.Agent`."""
        return await self._once(prompt, budget=budget, seed=seed, recorded=recorded)

    async def _once(
        self, prompt: Prompt, *, budget: Budget, seed: int, recorded: Sequence[ToolCall] | None
    ) -> Run | None:
        key = f"{prompt.compiled_hash}/{seed}"
        again = self._asked[key] > 0
        if not self._profile.deterministic:
            key, again = f"{key}/{self._asked[key]}", False
        self._asked[f"{prompt.compiled_hash}/{seed}"] += 1
        if key in self._kept:
            done = self._kept[key]
        else:
            asked = self._agent.run(prompt, budget=budget, seed=seed) if recorded is None else self._agent.replay(
                prompt, recorded=recorded, budget=budget, seed=seed)  # fmt: skip
            found = await asked
            if found is None:
                return None
            self._kept[key] = done = found
            self.asked_now += 1
            self._unsaved.append(json.dumps([key, done.output, asdict(done.usage), done.model]))
        self.usage = self.usage if again else self.usage + done.usage
        return done

    def save(self) -> None:
        """Append what was asked since the last time to the journal."""
        if self._journal is not None and self._unsaved:
            with self._journal.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in self._unsaved))
        self._unsaved.clear()


def _read(journal: Path | None) -> dict[str, Run]:
    """The answers of an earlier run; the last line may be cut off."""
    kept: dict[str, Run] = {}
    for line in journal.read_text("utf-8").splitlines() if journal is not None and journal.exists() else ():
        try:
            key, output, usage, model = json.loads(line)
        except ValueError:
            break
        known: dict[str, Any] = usage
        kept[key] = Run(output=output, usage=Usage(**known), model=model)
    return kept
