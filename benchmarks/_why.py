"""Finding one planted line of 64 by replay, through `gates.why`, with an agent that misleads one time in ten."""

from __future__ import annotations

import asyncio
import random
import statistics
from datetime import UTC, datetime

from tokenspace import loop
from tokenspace.agents import ChatAgent
from tokenspace.budget import Budget
from tokenspace.domain import Edit, Entry, Kind, Message, Origin, Profile, Prompt, Put, Request, Scope, Verdict
from tokenspace.gates import Cause, why
from tokenspace.loop import Runtime
from tokenspace.models import ScriptedModel
from tokenspace.recall import HashEmbedder, HybridRecall
from tokenspace.store import open_store

LINES, NOISE = 64, 0.1
_PROFILE = Profile(model="scripted", context_tokens=100_000, core_tokens=50_000)
_SCOPE = Scope(agent="desk")


def why_figures(searches: int, *, seed: int = 1) -> dict[str, float]:
    """Share of searches that end with the planted line, confirmed, and the replays that they took.

    Keys: why_found, why_replays_median, why_replays_max, why_wrong (another line, confirmed).
    """
    draw = random.Random(seed)
    found = [asyncio.run(_search(draw.randrange(LINES), seed=draw.randrange(2**32))) for _ in range(searches)]
    right = [planted in cause.entries and cause.confirmed for planted, cause in found]
    wrong = [planted not in cause.entries and cause.confirmed for planted, cause in found]
    replays = [cause.replays for _, cause in found]
    return {
        "why_found": sum(right) / searches,
        "why_wrong": sum(wrong) / searches,
        "why_replays_median": statistics.median(replays),
        "why_replays_max": max(replays),
    }


async def _search(planted: int, *, seed: int) -> tuple[str, Cause]:
    draw = random.Random(seed)

    def answer(prompt: Prompt, index: int) -> str:
        there = f"Line {planted:02}:" in prompt.system
        misled = index > 0 and draw.random() < NOISE  # the episode itself, run 0, did what the line says
        return "Basalt" if there != misled else "Kestrel"

    recall = HybridRecall(HashEmbedder())
    store = open_store("memory:")
    run = Runtime(
        store=store, recall=recall, agent=ChatAgent(ScriptedModel(answer, profile=_PROFILE)),
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    rules = [
        Entry(id=f"line-{number:02}", kind=Kind.RULE, doc="rules", text=f"Line {number:02}: be careful.",
              origin=Origin.OPERATOR, pos=number)
        for number in range(LINES)
    ]  # fmt: skip
    edit = Edit(ops=tuple(Put(entry=rule) for rule in rules))
    store.commit(_SCOPE, edit, Verdict(decision="accept", basis="human"), expect=None, author="ana")
    request = Request(messages=(Message(role="user", text="Which team?"),))
    episode = await loop.act(run, _SCOPE, request, budget=Budget())
    assert len(episode.shown) == LINES
    cause = await why(run, episode, budget=Budget())
    store.close()
    return f"line-{planted:02}", cause
