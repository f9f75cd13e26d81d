"""Prompts of random contexts: within the budget, complete in what they account for, deterministic."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenspace.context import compile_context, in_force, recallable
from tokenspace.context.skills import opens
from tokenspace.domain import (
    Context,
    Entry,
    Heads,
    Kind,
    Layer,
    Message,
    Origin,
    Profile,
    Ranked,
    Request,
    Scope,
    Status,
)  # fmt: skip
from tokenspace.errors import BudgetTooSmall

SETTINGS = settings(max_examples=150)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
TEXTS = st.text(st.sampled_from("ab `\n-#é"), min_size=1, max_size=40)
TOOLS = ({"type": "function", "function": {"name": "t"}}, {"name": "u", "description": "d"}, {"odd": 1})


@st.composite
def entries(draw, id: str) -> Entry:
    return Entry(
        id=id,
        kind=draw(st.sampled_from(list(Kind))),
        doc=draw(st.sampled_from(["rules", "tools/t", "tools/u", "skills/s", "skills/s/f.md"])),
        text=draw(TEXTS),
        trigger=draw(st.none() | TEXTS),
        origin=draw(st.sampled_from(list(Origin))),
        status=draw(st.sampled_from([Status.ACTIVE, Status.ACTIVE, Status.ACTIVE, *Status])),
        pos=draw(st.integers(0, 3)),
        valid_until=draw(st.sampled_from([None, None, NOW, NOW + timedelta(days=1)])),
        supersedes=draw(st.sampled_from([None, None, "a", "b"])),
        key=draw(st.sampled_from(["", "", "k", "l"])),
        valid_from=draw(st.sampled_from([None, None, NOW, NOW + timedelta(days=1)])),
    )


@st.composite
def contexts(draw) -> Context:
    ids = st.sets(st.sampled_from("abcdefghijkl"))
    layers = tuple(Layer(own={id: draw(entries(id)) for id in sorted(draw(ids))}) for _ in range(3))
    return Context(scope=Scope(agent="a", tenant="t", user="u"), heads=Heads(), layers=layers)


ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
REQUESTS = st.builds(
    Request,
    messages=st.lists(st.builds(Message, role=ROLES, text=TEXTS), max_size=4).map(tuple),
    tools=st.sampled_from([(), TOOLS]),
)
PROFILES = st.builds(
    Profile,
    model=st.just("m"),
    style=st.sampled_from(["turns", "text"]),
    recalled=st.integers(0, 5),
    reads_skills=st.booleans(),
    core_tokens=st.integers(0, 200),
    tokens_per_byte=st.sampled_from([0.1, 0.25, 0.3, 1.0]),
    tokens_per_message=st.integers(0, 8),
)


@SETTINGS
@given(st.data(), contexts(), REQUESTS, PROFILES, st.integers(0, 1_000))
def test_i5_i6_prompts_fit_account_for_every_entry_and_are_deterministic(
    data, context, request, profile, budget
) -> None:
    ids = data.draw(st.permutations([one.id for one in recallable(context)]))
    ranking = [Ranked(id=id, score=1 - 0.1 * i) for i, id in enumerate(ids)]
    try:
        prompt = compile_context(context, ranking, request, profile=profile, budget=budget, now=NOW)
    except BudgetTooSmall:
        bare = replace(profile, core_tokens=0)
        assert compile_context(context, [], request, profile=bare, budget=10**9, now=NOW).tokens > budget
        return
    assert prompt.tokens <= budget
    assert prompt.tokens >= _count(prompt, profile)
    dropped = dict(prompt.dropped)
    assert not set(prompt.included) & dropped.keys()
    shown = [*dict.fromkeys(prompt.included)]
    assert sorted([*shown, *dropped]) == sorted(context.by_id)
    twice = [id for id in shown if prompt.included.count(id) > 1]
    assert all(opens(context.by_id[id]) and prompt.included.count(id) == 2 for id in twice), "more than a body"
    assert len(twice) <= 1
    assert all(dropped.values())
    again = compile_context(context, ranking, request, profile=profile, budget=budget, now=NOW)
    assert again == prompt
    assert again.compiled_hash == prompt.compiled_hash
    _says_only_what_it_may(context, request, prompt, dropped)


def _count(prompt, profile) -> int:
    texts = [prompt.system, *(message.text for message in prompt.messages)]
    size = sum(len(text.encode()) for text in texts)
    size += len(json.dumps(prompt.tools, ensure_ascii=False).encode()) if prompt.tools else 0
    return int(size * profile.tokens_per_byte) + profile.tokens_per_message * len(texts)


def _says_only_what_it_may(context, request, prompt, dropped) -> None:
    assert not any("budget" in dropped.get(one.id, "") for one in context.entries if one.kind == Kind.INSTRUCTION)
    now = [one for one in context.entries if one.status is Status.ACTIVE and in_force(one, NOW)]
    instructions = {one.id for one in now if one.kind is Kind.INSTRUCTION and one.origin >= Origin.AGENT}
    assert instructions <= {*prompt.included}
    assert prompt.system.startswith("\n\n".join(_leading(request)))
    own = next((message.text for message in reversed(request.messages) if message.role == "user"), None)
    shown = [message.text for message in prompt.messages if message.role == "user"]
    assert own is None or any(_is_fenced(text, own) for text in shown)


def _is_fenced(text: str, own: str) -> bool:
    """Whether a message is one's own words after fenced lists, none of whose lines could close a fence."""
    rest = text
    while rest != own:
        block = re.match(r"[A-Z][^\n]*:\n(`{3,})\n(.*?)\n\1\n\n", rest, re.DOTALL)
        if block is None or not all(line.startswith(("- ", "  ")) for line in block[2].split("\n")):
            return False
        rest = rest[block.end() :]
    return True


def _leading(request) -> list[str]:
    found = []
    for message in request.messages:
        if message.role != "system":
            break
        found.append(message.text)
    return found
