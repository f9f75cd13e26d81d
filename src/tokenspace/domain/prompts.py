"""What a model is sent, and what a gate is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenspace.domain.entries import Context, Edit, Origin
from tokenspace.domain.evidence import Episode, Feedback, Message
from tokenspace.domain.identity import Scope, digest
from tokenspace.domain.judgement import Attempt, Decision

Style = Literal["turns", "text", "rules", "history"]
"""How recalled entries are shown: see `Profile`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known about a model that matters for rendering and cost; every figure is measured.

    `style` is how examples and triggered rules are shown: "turns" as chat turns before the last user message,
    "text" inside it, "rules" at the end of the system prompt, "history" as turns too, but the newest in the order of
    their making, whatever the request; a renderer in the context overrides it. `recalled` is how many recalled
    entries a request gets at most, `recalled_rules` how many of them may be rules, which must match with a score of
    at least `rule_floor`. `reads_skills` says that the agent can open a skill by its name, with the tool `read_skill`.
    Tokens are bounded above by bytes × `tokens_per_byte` + `tokens_per_message` for each
    message. Prices are dollars per million tokens.
    """

    model: str
    style: Style = "text"
    recalled: int = 8
    recalled_rules: int = 2
    rule_floor: float = 0.1
    reads_skills: bool = False
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

    Every entry of the context is in `included` or, with the reason, in `dropped` (I5); a skill whose body is shown, and
    not only its line in the index, is in `included` twice. `openable` are the texts that the tool `read_skill` answers
    with, by path, for an agent that has it; they are not sent. `tokens` is the profile's upper bound. `taint` is the
    least origin of what was learned and is in it, `OPERATOR` where nothing is: a host that lets its model act may ask
    for more than that. `cache_breakpoints` are indices into `messages` before which everything is stable; 0 means the
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
    openable: tuple[tuple[str, str], ...] = ()
    taint: Origin = Origin.OPERATOR

    @property
    def compiled_hash(self) -> str:
        """Digest of the very bytes that a model conditions on: equal hashes, equal behaviour."""
        sent = [self.system, self.messages, self.tools, self.choices, self.schema, self.max_output_tokens]
        return digest([*sent, self.openable] if self.openable else sent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An entry's relevance to a query; scores compare within one ranking only."""

    id: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a proposer may look at: its feedback with the episodes that it is about, and the context that stands.

    `rejected`, `held` and `accepted` are the newest of the scope's attempts by their verdict, oldest first: what may be
    shown. What was ever tried is told by `tried`, which reads `past`.
    """

    scope: Scope
    context: Context
    feedback: Sequence[Feedback]
    episodes: Mapping[str, Episode]
    rejected: tuple[Attempt, ...] = ()
    held: tuple[Attempt, ...] = ()
    accepted: tuple[Attempt, ...] = ()
    past: Callable[[], Iterable[Attempt]] | None = None

    def tried(self, *decisions: Decision) -> list[Attempt]:
        """All attempts of the scope with an edit that had one of these verdicts, or any, oldest first and unlimited.

        Without `past` these are the newest ones: there are no others to know of.
        """
        if self.past is None:
            every = sorted((*self.rejected, *self.held, *self.accepted), key=lambda one: (one.at, one.id))
        else:
            every = [one for one in self.past() if one.verdict.decision != "abstain"]
        return [one for one in every if not decisions or one.verdict.decision in decisions]


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
