"""The nouns of tokenspace: frozen, slotted, keyword-only, standard library only.

Read `Scope`, `Entry`, `Edit`, `Verdict` and `Revision` first: the rest carries evidence to them.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal

from tokenspace.errors import UsageError

Json = str | int | float | bool | None | list[Any] | dict[str, Any]

MAX_NAME_CHARS: Final = 128
MAX_TEXT_BYTES: Final = 1_000_000


# ── identity ────────────────────────────────────────────────────────────────────────────────


class _Clock72:
    """Monotonic source of UUIDv7 prefixes: two ids made by one process sort as they were made."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        """Milliseconds and a 12-bit fraction of them, strictly increasing (RFC 9562, method 3)."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() * 4096 // 1_000_000)
            return self._last


_CLOCK: Final = _Clock72()


def new_id() -> str:
    """A UUIDv7 as 32 hexadecimal digits: opaque, unique, sorted by time of making."""
    stamp = _CLOCK.next()
    millis, fraction = stamp >> 12, stamp & 0xFFF
    tail = (0b10 << 62) | (int.from_bytes(os.urandom(8), "big") >> 2)
    return f"{millis & (1 << 48) - 1:012x}7{fraction:03x}{tail:016x}"


def digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON, as 32 hexadecimal digits (128 bits)."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise TypeError(f"{type(value).__name__} has no canonical form")


def _check_name(what: str, value: str) -> None:
    bad = not value or len(value) > MAX_NAME_CHARS or value != value.strip() or "/" in value or not value.isprintable()
    if bad:
        raise UsageError(
            f"{what} {value[:40]!r} is not a usable name",
            hint=f"use 1 to {MAX_NAME_CHARS} printable characters without '/' or surrounding space",
        )


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Scope:
    """Whose context: the agent's shared base, one tenant of it, or one user of that tenant.

    No read or write goes without one (I8). An empty string means "not narrowed to a tenant or user".
    """

    agent: str
    tenant: str = ""
    user: str = ""

    def __post_init__(self) -> None:
        _check_name("agent", self.agent)
        if self.tenant:
            _check_name("tenant", self.tenant)
        if self.user:
            _check_name("user", self.user)
            if not self.tenant:
                raise UsageError(f"user {self.user!r} needs a tenant", hint="name the tenant too: --tenant acme")

    @property
    def layers(self) -> tuple[Scope, ...]:
        """The scopes whose entries are visible here, base first, this one last."""
        base = Scope(agent=self.agent)
        if not self.tenant:
            return (base,)
        tenant = Scope(agent=self.agent, tenant=self.tenant)
        return (base, tenant) if not self.user else (base, tenant, self)

    def __str__(self) -> str:
        return "/".join(part for part in (self.agent, self.tenant, self.user) if part)


# ── context ─────────────────────────────────────────────────────────────────────────────────


class Origin(IntEnum):
    """Who authored a text, by authority: a summary never has more than what it was made from (I9)."""

    UNKNOWN = 0
    WEB = 1
    TOOL = 2
    AGENT = 3
    USER = 4
    OPERATOR = 5


class Kind(StrEnum):
    """What an entry is; decides its place in the prompt and how strictly a change of it is judged."""

    INSTRUCTION = "instruction"
    RULE = "rule"
    FACT = "fact"
    EXAMPLE = "example"
    TOOL_NOTE = "tool_note"
    SKILL = "skill"


class Status(StrEnum):
    """Only active entries are rendered."""

    ACTIVE = "active"
    DRAFT = "draft"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The smallest unit of learned context.

    `doc` is its place as a path without suffix, such as "rules" or "skills/refunds". `trigger` says when it
    applies: for an example it is the input and `text` is the right output; for a triggered rule it is the
    kind of request; None applies always. Entries are shown in the order of (doc, pos, id).
    """

    id: str = field(default_factory=new_id)
    kind: Kind
    doc: str
    text: str
    trigger: str | None = None
    origin: Origin = Origin.UNKNOWN
    status: Status = Status.ACTIVE
    pos: int = 0
    valid_until: datetime | None = None
    supersedes: str | None = None

    @property
    def order(self) -> tuple[str, int, str]:
        """Sorting key of entries in a context."""
        return (self.doc, self.pos, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Add an entry, or replace the one with its id (an inherited one is overridden in this layer only)."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Change named fields of a visible entry; an inherited one is overridden in this layer only."""

    id: str
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Make an entry invisible here: an own one ends, an inherited one is hidden by a tomb."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Take back this layer's override or tomb, so that the inherited entry shows again."""

    id: str


Op = Put | Patch | Drop | Restore


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A proposed change with its reason.

    `evidence` are the ids of the feedback and episodes that cause it, `read` those of everything else that
    its proposer saw (entries, cases, rejected edits). Outcomes of both are never used to judge it (I7).
    """

    ops: tuple[Op, ...]
    rationale: str = ""
    evidence: tuple[str, ...] = ()
    read: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one scope adds to what it inherits: its own entries by id, and tombs over inherited ones."""

    own: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """One revision id per layer: what is being served in a scope. None: that layer is still empty."""

    base: str | None = None
    tenant: str | None = None
    user: str | None = None

    @property
    def ids(self) -> tuple[str | None, str | None, str | None]:
        """The three ids, base first."""
        return (self.base, self.tenant, self.user)

    def of(self, scope: Scope) -> str | None:
        """The head of the scope's own layer, the one that a commit in that scope moves."""
        return self.ids[len(scope.layers) - 1]


@dataclass(frozen=True, kw_only=True)
class Context:
    """The entries visible in a scope at given heads, with the layers that they come from.

    `layers` are base, tenant, user, as many as the scope has. `vectors` holds the int8 embedding of each entry
    that has one, by id. Build candidates with `tokenspace.context.apply`, never by hand.
    """

    scope: Scope
    heads: Heads
    layers: tuple[Layer, ...]
    vectors: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def by_id(self) -> Mapping[str, Entry]:
        """Visible entries by id: a lower layer overrides or hides what it inherits."""
        seen: dict[str, Entry] = {}
        for layer in self.layers:
            for hidden in layer.hidden:
                seen.pop(hidden, None)
            seen.update(layer.own)
        return MappingProxyType(seen)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Visible entries in their order."""
        return tuple(sorted(self.by_id.values(), key=lambda entry: entry.order))


# ── evidence ────────────────────────────────────────────────────────────────────────────────

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that a model asked for; `arguments` is the JSON text as it came."""

    id: str
    name: str
    arguments: str
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an agent is asked, before any learned context is added; it can be replayed.

    `choices` constrains the answer to one of these strings, `schema` to JSON of that JSON Schema.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    choices: tuple[str, ...] | None = None
    schema: Mapping[str, Any] | None = None
    max_output_tokens: int = 256

    @property
    def query(self) -> str:
        """The text that recall searches with: the last user message."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run cost. Token counts are the provider's; `cached_tokens` are part of `input_tokens`."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            usd=self.usd + other.usd,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls - other.calls,
            input_tokens=self.input_tokens - other.input_tokens,
            output_tokens=self.output_tokens - other.output_tokens,
            cached_tokens=self.cached_tokens - other.cached_tokens,
            usd=self.usd - other.usd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What an agent did with a prompt, not yet recorded."""

    output: str
    messages: tuple[Message, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    latency_s: float = 0.0
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One recorded run: what was asked, on which heads, what was shown, done and answered."""

    id: str = field(default_factory=new_id)
    scope: Scope
    heads: Heads
    request: Request
    run: Run
    shown: tuple[str, ...] = ()
    session: str | None = None
    at: datetime

    @property
    def output(self) -> str:
        """The agent's answer."""
        return self.run.output


class Signal(StrEnum):
    """What form a piece of feedback has; decides what its value means."""

    TEXT = "text"
    CORRECTION = "correction"
    EDIT = "edit"
    DEMONSTRATION = "demonstration"
    SCORE = "score"
    LABEL = "label"
    TEST_LOG = "test_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What is said about an episode, now or weeks later.

    `value` by signal: correction, edit, demonstration: the output that would have been right; label: whether
    the output was right; score: a number from 0 (worst) to 1; text, test_log: the words. `comment` is free text
    beside it, `trigger` the kind of request a clarification is about. `principal` is authenticated by the
    caller, `source` is stamped by code and says with whose authority it speaks. `expects` is a grader for the
    case that it makes, when the default will not do.
    """

    id: str = field(default_factory=new_id)
    scope: Scope
    episode: str
    principal: str
    signal: Signal
    value: str | float | bool
    comment: str = ""
    trigger: str | None = None
    source: Origin = Origin.USER
    expects: GraderSpec | None = None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderSpec:
    """How to grade an output, as data: `name` is a registered grader, `options` its arguments."""

    name: str
    expected: Json = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A replayable request with a grader, made from feedback.

    `cluster` groups near copies: a cluster enters a test once. `sources` are the feedback and episode that it
    was made from. A `pinned` case is a regression test that every edit of the scope must pass.
    """

    id: str = field(default_factory=new_id)
    scope: Scope
    request: Request
    grader: GraderSpec
    cluster: str
    sources: tuple[str, ...] = ()
    principal: str = ""
    pinned: bool = False
    split: Literal["replay", "sealed"] = "replay"
    at: datetime


# ── judgement ───────────────────────────────────────────────────────────────────────────────

Decision = Literal["accept", "reject", "defer", "abstain"]
Basis = Literal["tested", "human", "policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate says about an edit, with the numbers that a person can check.

    An attempt whose proposer had nothing to propose is recorded as "abstain".

    `fixes` and `breaks` count discordant pairs, `pairs` all of them. `e_benefit`, `e_futility` and `e_harm` are
    e-values: evidence against "does not help", "may still help by the least effect of interest", "does not
    harm". `cases` are those that were replayed. `basis` says why a head may move (I1); "policy" means
    unverified until it is replayed.
    """

    decision: Decision = "defer"
    basis: Basis = "policy"
    reason: str = ""
    gate: str = ""
    tier: int = 0
    fixes: int = 0
    breaks: int = 0
    pairs: int = 0
    e_benefit: float = 1.0
    e_futility: float = 1.0
    e_harm: float = 1.0
    usage: Usage = Usage()
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A committed edit with its verdict: the unit of history. `seq` counts the revisions of its branch."""

    id: str
    scope: Scope
    branch: str
    seq: int
    parent: str | None
    edit: Edit
    verdict: Verdict
    author: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Where a visible entry comes from: the revision that last wrote it, and what caused that."""

    entry: str
    scope: Scope
    revision: str
    author: str
    at: datetime
    decision_basis: Basis
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to change a context, whatever came of it (I3).

    `key` names the try (heads, proposer, evidence, gate settings); `edit_key` names its operations, so that
    the same change proposed again continues instead of starting afresh. `evidence` are the ids of the feedback
    that it was about. `edit` is None when the proposer had
    nothing to propose or failed, which `verdict.reason` says.
    """

    id: str = field(default_factory=new_id)
    scope: Scope
    key: str
    edit_key: str = ""
    proposer: str
    heads: Heads
    branch: str = ""
    evidence: tuple[str, ...] = ()
    edit: Edit | None = None
    verdict: Verdict = Verdict()
    revision: str | None = None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A memoised replay: what a model answered to a compiled prompt, on a given run index.

    Made by replays only, never from live traffic (I7). `key` is a digest of (case, compiled prompt, model,
    sampling, run index).
    """

    key: str
    case: str
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation, whose prefix stays on the heads that it began with (I14)."""

    id: str
    scope: Scope
    heads: Heads
    last_seen: datetime


# ── prompts ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known about a model that matters for rendering and cost; every figure is measured.

    `style` is how examples and triggered rules are shown: "turns" as chat turns before the last user message,
    "text" inside it. `recalled` is how many recalled entries a request gets at most, `recalled_rules` how many of
    them may be rules, which must match with a score of at least `rule_floor`. Tokens are bounded above by
    bytes × `tokens_per_byte` + `tokens_per_message` for each message. Prices are dollars per million tokens.
    """

    model: str
    style: Literal["turns", "text"] = "text"
    recalled: int = 8
    recalled_rules: int = 2
    rule_floor: float = 0.1
    context_tokens: int = 8_192
    core_tokens: int = 2_000
    tokens_per_byte: float = 1.0
    tokens_per_message: int = 8
    deterministic: bool = False
    usd_per_million_input: float = 0.0
    usd_per_million_output: float = 0.0
    usd_per_million_cached: float = 0.0

    def count_tokens(self, text: str) -> int:
        """An upper bound of the tokens in a text."""
        return -int(-len(text.encode("utf-8", "surrogatepass")) * self.tokens_per_byte // 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is sent: compiled context and request, within a token budget.

    Every entry of the context is in `included` or, with the reason, in `dropped` (I5). `tokens` is the profile's
    upper bound. `cache_breakpoints` are indices into `messages` before which everything is stable; 0 means the
    system prompt only.
    """

    system: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    choices: tuple[str, ...] | None = None
    schema: Mapping[str, Any] | None = None
    max_output_tokens: int = 256
    tokens: int = 0
    included: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    cache_breakpoints: tuple[int, ...] = ()

    @property
    def compiled_hash(self) -> str:
        """Digest of the very bytes that a model conditions on: equal hashes, equal behaviour."""
        return digest([self.system, self.messages, self.tools, self.choices, self.schema, self.max_output_tokens])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An entry's relevance to a query; scores compare within one ranking only."""

    id: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a proposer may look at: its feedback with the episodes that it is about, and the context that stands.

    `rejected`, `held` and `accepted` are the newest of the scope's attempts by their verdict, oldest first.
    """

    scope: Scope
    context: Context
    feedback: Sequence[Feedback]
    episodes: Mapping[str, Episode]
    rejected: tuple[Attempt, ...] = ()
    held: tuple[Attempt, ...] = ()
    accepted: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a gate judges: an edit, the evidence for it and the context that would stand.

    `previous` is the deferred attempt of the same operations, whose e-values go on.
    """

    edit: Edit
    evidence: Evidence
    candidate: Context
    previous: Attempt | None = None

    @property
    def incumbent(self) -> Context:
        """The context that stands."""
        return self.evidence.context
