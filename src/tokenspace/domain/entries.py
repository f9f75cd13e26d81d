"""What is learned: entries, the edits that change them, and the context that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any

from tokenspace.domain.identity import Scope, new_id


class Origin(IntEnum):
    """Who authored a text, by authority: a summary never has more than what it was made from (I9)."""

    UNKNOWN = 0
    WEB = 1
    TOOL = 2
    AGENT = 3
    USER = 4
    OPERATOR = 5


class Kind(StrEnum):
    """What an entry is; decides its place in the prompt and how strictly a change of it is judged.

    A tool is a definition as its author wrote it, with an adapter if it has one; a renderer says how the others are
    shown. Neither is a text of the prompt.
    """

    INSTRUCTION = "instruction"
    RULE = "rule"
    FACT = "fact"
    EXAMPLE = "example"
    TOOL_NOTE = "tool_note"
    SKILL = "skill"
    TOOL = "tool"
    RENDERER = "renderer"


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

    `key` names what a fact is about, "" for none: of the facts of one key only one is shown, the one that holds (see
    `tokenspace.context.settled`). An entry holds from `valid_from` (None: always did) until before `valid_until`.
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
    key: str = ""
    valid_from: datetime | None = None

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

    def at(self, scope: Scope, revision: str | None) -> Heads:
        """These heads with the scope's own layer at another revision of it."""
        return replace(self, **{("base", "tenant", "user")[len(scope.layers) - 1]: revision})


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

    @cached_property
    def plain(self) -> Mapping[str, Entry]:
        """Visible examples of which relevance alone decides, by id: active, valid at all times, in nobody's place."""
        return MappingProxyType({id: entry for id, entry in self.by_id.items() if _is_plain(entry)})

    @cached_property
    def special(self) -> tuple[Entry, ...]:
        """The other visible entries, in their order: few, where there are many."""
        return tuple(entry for entry in self.entries if entry.id not in self.plain)


def _is_plain(entry: Entry) -> bool:
    dated = entry.valid_from is not None or entry.valid_until is not None
    return entry.kind is Kind.EXAMPLE and entry.status is Status.ACTIVE and not (dated or entry.supersedes or entry.key)
