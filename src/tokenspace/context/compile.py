"""Context → prompt, under a token budget and friendly to the prefix cache. Pure and deterministic (I5, I6).

What changes rarest comes first: tools, the client's own system messages, the core (base, tenant, skill index,
user), the conversation; what was recalled for this request comes last, at the last user message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from types import MappingProxyType
from typing import Any

from tokenspace.context.definitions import tool_name
from tokenspace.context.facts import early, in_force, unsettled
from tokenspace.context.notes import unplaced, with_notes
from tokenspace.context.render import (
    TRUSTED,
    TURNED,
    about_tool,
    core_block,
    core_line,
    is_turn,
    levels,
    message_tokens,
    prompt_tokens,
    rules_block,
    section,
    split_system,
    tail,
    tools_tokens,
)
from tokenspace.context.renderers import by_age, styled
from tokenspace.context.skills import (
    READ_SKILL,
    file_of,
    kept_in_session,
    name_of,
    openable,
    opens,
    read_tool,
    skills_in,
    worth_opening,
)
from tokenspace.context.taint import taint
from tokenspace.domain import Context, Entry, Kind, Layer, Message, Profile, Prompt, Ranked, Request, Status
from tokenspace.errors import BudgetTooSmall

# Parts are packed by the sum of their bounds; rounding in floating point may make the whole one token dearer.
_ROUNDING_TOKENS = 1
_BY_NAME = "opened by name only"
_USER = 2  # the layer of a user, as `levels` counts them


# ── what goes where ─────────────────────────────────────────────────────────────────────────


def recallable(context: Context) -> list[Entry]:
    """Active entries that are shown only where they are relevant, in their order: what recall has to rank.

    Examples and facts; rules and tool notes with a trigger; skills with a description, for their bodies.
    """
    active = [entry for entry in context.entries if entry.status == Status.ACTIVE]
    return [entry for entry in active if _waits(entry) or (opens(entry) and entry.origin >= TRUSTED)]


def _waits(entry: Entry) -> bool:
    if entry.kind in (Kind.EXAMPLE, Kind.FACT):
        return True
    return entry.kind in (Kind.RULE, Kind.TOOL_NOTE) and entry.trigger is not None


def splice(prefix: Context, tail: Context) -> Context:
    """What a running session reads: the core as it began (`prefix`), recalled entries as they are now (`tail`).

    A core entry that has gone since stays, unless its text was erased or the entry is quarantined now: erasure and
    harm do not wait (I14). A new core entry waits for the next session. The result is for rendering; its heads are
    those of the tail, and edits are not meant to be applied to it.
    """
    layers: list[dict[str, Entry]] = [{} for _ in tail.layers]
    vectors: dict[str, bytes] = {}
    begun, now = levels(prefix), levels(tail)
    for key in sorted(prefix.by_id.keys() | tail.by_id.keys()):
        old, new = prefix.by_id.get(key), tail.by_id.get(key)
        entry = _spliced(old, new)
        if entry is None:
            continue
        source, level = (tail, now[key]) if entry is new else (prefix, begun[key])
        layers[level][key] = entry
        if key in source.vectors:
            vectors[key] = source.vectors[key]
    return replace(
        tail, layers=tuple(Layer(own=MappingProxyType(own)) for own in layers), vectors=MappingProxyType(vectors)
    )


def _spliced(old: Entry | None, new: Entry | None) -> Entry | None:
    if old is not None and not old.text:
        old = None
    if new is not None and ((_waits(new) and (old is None or _waits(old))) or new.status == Status.QUARANTINED):
        return new
    if any(one is not None and file_of(one) for one in (old, new)):
        return new
    if old is not None and opens(old):
        return kept_in_session(old, new)
    if old is None or not _waits(old):
        return old
    if new is None:
        return None
    # It was recalled when the session began and is core now: until the next session it is recalled as it was.
    return old if new.status == Status.ACTIVE else new


# ── compiling ───────────────────────────────────────────────────────────────────────────────


def compile_context(
    context: Context, recalled: Sequence[Ranked], request: Request, *, profile: Profile, budget: int, now: datetime
) -> Prompt:
    """The prompt for one request.

    `budget` limits the prompt alone, in tokens by the profile's upper bound: room for the output is the caller's
    to leave. The request and the instructions (of origin agent or above) are never dropped or shortened:
    `BudgetTooSmall` instead (I6). The rest of the core fills what they leave of `profile.core_tokens`; recalled
    entries are packed by falling relevance, at most `profile.recalled` of them, the body of a skill before all others
    (see `skills`). Every visible entry is in `included`, in the order in which it is shown, or in `dropped` with the
    reason (I5); a skill whose body is shown is in `included` for that, too.
    """
    profile = styled(profile, context)
    dropped = _left_out(context, request, now, recalled)
    live = [entry for entry in context.special if entry.id not in dropped]
    client, messages = split_system(request.messages)
    reads = profile.reads_skills and READ_SKILL not in map(tool_name, request.tools)
    packing = _Packing(profile=profile, budget=budget, level=levels(context), dropped=dropped, reads=reads)
    packing.start([entry for entry in live if entry.kind == Kind.INSTRUCTION], client, messages, request)
    packing.add_core([entry for entry in live if not _waits(entry) and entry.kind != Kind.INSTRUCTION], request.tools)
    last = max((i for i, message in enumerate(messages) if message.role == "user"), default=None)
    waiting = _waiting(context, dropped)
    shown = () if last is None else packing.add_recalled(waiting, recalled, messages[last])
    dropped.update(dict.fromkeys(waiting.keys() - {entry.id for entry in shown} - dropped.keys(), "not relevant"))
    if last is not None:
        messages = (*messages[:last], *tail(messages[last], shown, profile.style), *messages[last + 1 :])
    tools = packing.tools(request.tools)
    files = [entry for entry in context.special if dropped.get(entry.id) == _BY_NAME] if reads else []
    core = core_block(packing.core, packing.level)
    system = _joined(client, core, rules_block(shown) if profile.style == "rules" else "")
    return Prompt(
        system=system,
        messages=messages,
        tools=tools,
        choices=request.choices,
        schema=request.schema,
        max_output_tokens=request.max_output_tokens,
        tokens=prompt_tokens(profile, system=system, messages=messages, tools=tools, request=request),
        included=tuple(entry.id for entry in (*packing.notes, *packing.core, *_in_shown_order(shown, profile))),
        taint=taint((*packing.notes, *packing.core, *shown, *files)),
        dropped=tuple((entry.id, dropped[entry.id]) for entry in context.entries if entry.id in dropped),
        cache_breakpoints=(0, last) if last else (0,),
        openable=openable(skills_in(packing.core), files) if reads else (),
    )


# ── for a gateway, which puts the parts of a prompt into somebody else's request ────────────


def core_blocks(context: Context, *, profile: Profile, now: datetime) -> tuple[str, str, tuple[str, ...]]:
    """The core as two texts, what is shared and what is the user's own, and the ids of the entries in them.

    Both are made before a request and its tools are known, so that they can be frozen for a session: a note on a tool
    stands among the rules. Chosen and budgeted as in `compile_context`; raises `BudgetTooSmall` if the instructions
    alone exceed the model's context.
    """
    told = replace(
        context,
        layers=tuple(
            replace(layer, own=MappingProxyType({key: _told(entry) for key, entry in layer.own.items()}))
            for layer in context.layers
        ),
    )
    request = Request(messages=())
    dropped = _left_out(told, request, now)
    core = [entry for entry in told.entries if entry.id not in dropped and entry.text and not _waits(entry)]
    packing = _Packing(profile=profile, budget=profile.context_tokens, level=levels(told), dropped=dropped)
    packing.start([entry for entry in core if entry.kind == Kind.INSTRUCTION], "", (), request)
    packing.add_core([entry for entry in core if entry.kind != Kind.INSTRUCTION], ())
    shared = [entry for entry in packing.core if packing.level[entry.id] < _USER]
    own = packing.core[len(shared) :]
    blocks = [core_block(part, packing.level) for part in (shared, own)]
    return blocks[0], blocks[1], tuple(entry.id for entry in packing.core)


def _told(entry: Entry) -> Entry:
    if entry.kind != Kind.TOOL_NOTE or entry.trigger is not None:
        return entry
    return replace(entry, kind=Kind.RULE, text=f"{about_tool(entry)}{entry.text}")


def worth_recalling(
    context: Context,
    ranked: Sequence[Ranked],
    request: Request,
    *,
    profile: Profile,
    now: datetime,
    said: Collection[str] = (),
) -> tuple[Entry, ...]:
    """What to put before the last user message of a conversation that goes on, least relevant first.

    Chosen as in `compile_context`, within `profile.core_tokens`. Entries that were `said` earlier in the conversation
    are not said again and use up its slots; what stands in it anyway is not said either, nor what is not related to
    the message at all.
    """
    out = {*_left_out(context, request, now, ranked), *said}
    waiting = _waiting(context, out)
    rules = sum(key in context.by_id and context.by_id[key].kind == Kind.RULE for key in said)
    left = replace(
        profile, recalled=max(0, profile.recalled - len(said)), recalled_rules=max(0, profile.recalled_rules - rules)
    )
    keys = _by_relevance(waiting, [one for one in ranked if one.score > 0], left)
    # Looked at one by one, since few are needed: a search in a long conversation for each entry would take long.
    text = "\n".join(message.text for message in request.messages)
    bodies = worth_opening((entry for entry in context.special if entry.id not in out), ranked, profile)
    found = (entry for entry in (*bodies, *(waiting[key] for key in keys)) if not _stands(entry, request, text))
    return _packed(found, Message(role="user", text=""), left, room=profile.core_tokens)[0]


def _stands(entry: Entry, request: Request, text: str) -> bool:
    """Whether a conversation says it anyway: an example as an exchange of its own, anything else word for word."""
    if entry.kind != Kind.EXAMPLE or entry.trigger is None:
        return (entry.text.strip() if opens(entry) else entry.text) in text
    if entry.trigger not in text:
        return False
    pairs = zip(request.messages, request.messages[1:], strict=False)
    return any(
        said.role == "user" and then.role == "assistant" and entry.trigger in said.text and entry.text in then.text
        for said, then in pairs
    )


# ── choosing ────────────────────────────────────────────────────────────────────────────────


def _left_out(context: Context, request: Request, now: datetime, ranked: Sequence[Ranked] = ()) -> dict[str, str]:
    """Entries that no budget could bring in, with the reason."""
    current = {entry.id for entry in context.special if entry.status == Status.ACTIVE and in_force(entry, now)}
    other_fact = unsettled(context, request.query, now, ranked=ranked)
    superseded = _superseded(context, current)
    reasons = dict.fromkeys(superseded & context.plain.keys(), "superseded")
    for entry in context.special:
        if entry.status != Status.ACTIVE:
            reasons[entry.id] = entry.status.value
        elif entry.id not in current:
            reasons[entry.id] = "not valid yet" if early(entry, now) else "expired"
        elif entry.kind in (Kind.TOOL, Kind.RENDERER):
            reasons[entry.id] = "no text of the prompt"
        elif entry.id in superseded:
            reasons[entry.id] = "superseded"
        elif entry.id in other_fact:
            reasons[entry.id] = other_fact[entry.id]
        elif entry.origin < TRUSTED and not _waits(entry):
            reasons[entry.id] = "authority too low"
        elif file_of(entry):
            reasons[entry.id] = _BY_NAME
        elif entry.kind == Kind.TOOL_NOTE and (missing := unplaced(entry, request.tools)):
            reasons[entry.id] = missing
    return reasons


def _waiting(context: Context, out: Collection[str]) -> dict[str, Entry]:
    """What may be recalled, by id."""
    found = dict(context.plain)
    for id in found.keys() & set(out):
        del found[id]
    return found | {entry.id: entry for entry in context.special if entry.id not in out and _waits(entry)}


def _superseded(context: Context, current: Collection[str]) -> set[str]:
    """What a current entry of the same kind and no lower origin stands for; never an instruction (I6)."""
    pairs = [(context.by_id.get(entry.supersedes or ""), entry) for entry in context.special if entry.id in current]
    return {
        old.id
        for old, new in pairs
        if old is not None
        and old.id != new.id
        and old.kind == new.kind
        and old.kind != Kind.INSTRUCTION
        and new.origin >= old.origin
    }


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _in_shown_order(shown: Sequence[Entry], profile: Profile) -> list[Entry]:
    turns = [entry for entry in shown if profile.style in TURNED and is_turn(entry)]
    return turns + [entry for entry in shown if entry not in turns]


@dataclass(kw_only=True)
class _Packing:
    """Counts down what is left of the prompt and of the core, in upper bounds of tokens."""

    profile: Profile
    budget: int
    level: Mapping[str, int]
    dropped: dict[str, str]
    left: int = 0
    core_left: int = 0
    reads: bool = False
    core: list[Entry] = field(default_factory=list[Entry])
    notes: list[Entry] = field(default_factory=list[Entry])

    def start(self, instructions: Sequence[Entry], client: str, messages: Sequence[Message], request: Request) -> None:
        """Set aside what must be there; raises `BudgetTooSmall` if that alone is too much."""
        self.core = sorted(instructions, key=self._place)
        block = core_block(self.core, self.level)
        system = _joined(client, block)
        needed = prompt_tokens(self.profile, system=system, messages=messages, tools=request.tools, request=request)
        taught = self.profile.count_tokens(block)
        if needed > self.budget:
            raise BudgetTooSmall(
                f"the prompt needs at least {needed:,} tokens, and {self.budget:,} are allowed: "
                f"{taught:,} for {len(self.core)} instructions, {needed - taught:,} for the request itself",
                hint="shorten the instructions or the request, or use a model or profile with more context_tokens",
            )
        self.left = self.budget - needed - _ROUNDING_TOKENS
        self.core_left = self.profile.core_tokens - taught

    def add_core(self, entries: Sequence[Entry], tools: Sequence[Mapping[str, object]]) -> None:
        """Pack rules, skills and tool notes in the order of their sections, as long as they fit."""
        opened: set[tuple[int, str]] = set()
        for entry in sorted(entries, key=self._place):
            cost = 0
            if entry.kind == Kind.TOOL_NOTE or (self.reads and entry.kind == Kind.SKILL):
                before, after = self.tools(tools), self.tools(tools, entry)
                cost = tools_tokens(self.profile, after) - tools_tokens(self.profile, before) + _ROUNDING_TOKENS
            if entry.kind != Kind.TOOL_NOTE:
                here = section(entry, self.level[entry.id])
                opening = "" if here in opened else f"\n\n{here[1]}"
                cost += self.profile.count_tokens(f"{opening}\n{core_line(entry)}")
            if cost > min(self.left, self.core_left):
                self.dropped[entry.id] = "over the core budget" if cost > self.core_left else "over the budget"
                continue
            self.left -= cost
            self.core_left -= cost
            if entry.kind == Kind.TOOL_NOTE:
                self.notes.append(entry)
            else:
                opened.add(section(entry, self.level[entry.id]))
                self.core.append(entry)
        self.core.sort(key=self._place)

    def tools(self, own: Sequence[Mapping[str, Any]], *more: Entry) -> tuple[Mapping[str, Any], ...]:
        """The request's tools with the notes on them, and that which opens skills; as if `more` were packed, too."""
        noted = with_notes(own, [*self.notes, *(entry for entry in more if entry.kind == Kind.TOOL_NOTE)])
        names = [name_of(entry) for entry in skills_in((*self.core, *more))] if self.reads else []
        return (*noted, read_tool(names)) if names else noted

    def add_recalled(self, waiting: Mapping[str, Entry], recalled: Sequence[Ranked], own: Message) -> tuple[Entry, ...]:
        """Pack what was recalled, most relevant first; returns what fits, least relevant first."""
        history = self.profile.style == "history"
        keys = by_age(waiting) if history else _by_relevance(waiting, recalled, self.profile)
        entries = chain(worth_opening(self.core, recalled, self.profile), (waiting[key] for key in keys))
        room = self.left + message_tokens(self.profile, [own])
        shown, over = _packed(entries, own, self.profile, room=room)
        self.dropped.update(dict.fromkeys(waiting.keys() & set(over), "over the budget"))
        return shown

    def _place(self, entry: Entry) -> tuple[int, str, int, str]:
        return (section(entry, self.level[entry.id])[0], *entry.order)


def _packed(
    entries: Iterable[Entry], own: Message, profile: Profile, *, room: int
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Of entries by falling relevance, those that fit into `room` tokens with the message; ids of those too long."""
    shown: list[Entry] = []
    over: list[str] = []
    for entry in entries:
        if len(shown) >= profile.recalled:
            break
        longer = [entry, *shown]
        said = tail(own, longer, "text" if profile.style == "rules" else profile.style)
        if message_tokens(profile, said) > room:
            over.append(entry.id)
        else:
            shown = longer
    return tuple(shown), tuple(over)


def _by_relevance(waiting: Mapping[str, Entry], recalled: Sequence[Ranked], profile: Profile) -> Iterator[str]:
    """Ids to pack, most relevant first: the few rules that match at all, then everything else as it was ranked.

    A rule's trigger is general and short, so its score does not compare with that of an example: rules have slots
    of their own, and a floor.
    """
    said, rules = set[str](), {key for key, entry in waiting.items() if entry.kind == Kind.RULE}
    matching = (one.id for one in recalled if one.id in rules and one.score >= profile.rule_floor)
    yield from islice(dict.fromkeys(matching) if rules else (), profile.recalled_rules)
    for one in recalled:  # most relevant first, and few are asked for
        if one.id in waiting and one.id not in rules and one.id not in said:
            said.add(one.id)
            yield one.id
