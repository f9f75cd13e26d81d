"""What is decided: verdicts, revisions, attempts, and the replays that were paid for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tokenspace.domain.entries import Edit, Heads
from tokenspace.domain.evidence import Run, Usage
from tokenspace.domain.identity import Scope, new_id

Decision = Literal["accept", "reject", "defer", "abstain"]
Basis = Literal["tested", "human", "policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate says about an edit, with the numbers that a person can check.

    An attempt whose proposer had nothing to propose is recorded as "abstain".

    `fixes` and `breaks` count discordant pairs, `pairs` all of them. `e_benefit`, `e_futility` and `e_harm` are
    e-values: evidence against "does not help", "may still help by the least effect of interest", "does not
    harm". `cases` are those that were replayed on `model`, in order, and `differences` what the edit changed in each
    score, in [−1, 1]. `support` counts the distinct principals that the evidence for it came from. `basis` says why
    a head may move (I1); "policy" means unverified until it is replayed. An accepting verdict with a `share` below 1
    admits the edit to a canary of that share of the sessions, and not yet to the served line.

    `tested` is a digest of the prompts that were compared. Where they have changed since, a test of the same
    operations begins anew, and what the earlier ones came to is kept as a factor in `e_before`. `withdrawn` says that
    evidence that it rests on was erased since: the numbers are those of then, and cannot be checked any more.
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
    usage: Usage = field(default_factory=Usage)
    cases: tuple[str, ...] = ()
    differences: tuple[float, ...] = ()
    support: int = 0
    share: float = 1.0
    model: str = ""
    tested: str = ""
    e_before: float = 1.0
    withdrawn: bool = False


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
    that it was about, `usage` is what proposing cost. `edit` is None when the proposer had
    nothing to propose or failed, which `verdict.reason` says. `proposed` is the id of the latest try to make it, where
    that continued an earlier one. `earlier` are the moments at which it was judged before and deferred, each with the
    id of its try and its evidence then; the store keeps them.
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
    usage: Usage = field(default_factory=Usage)
    revision: str | None = None
    proposed: str = ""
    earlier: tuple[tuple[datetime, str, tuple[str, ...]], ...] = ()
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A memoised replay: what a model answered to a compiled prompt, on a given run index.

    Made by replays only, never from live traffic (I7). `key` is a digest of (case, compiled prompt, model,
    sampling, run index). Where the agent called for something that was not recorded, it is not `replayable`.
    """

    key: str
    case: str
    run: Run
    replayable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation, whose prefix stays on the heads that it began with (I14)."""

    id: str
    scope: Scope
    heads: Heads
    last_seen: datetime


CanaryState = Literal["trial", "served", "kept", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """An accepted edit under watch: first on a line of its own for some sessions, then on the served line.

    `scope` is the layer that it changes, `branch` the line that carries `revision`, `share` the part of the sessions
    that is served from that line; the others are the hold-back. `rate` is a lower bound of the success rate, in
    (0, 1), that was known when it began. In state "trial" it runs on its line; "served": promoted to the served line
    by the revision `promoted` and still watched; "kept": watched long enough; "stopped": rolled back, for `reason`.
    """

    id: str = field(default_factory=new_id)
    scope: Scope
    branch: str
    revision: str
    share: float
    rate: float
    state: CanaryState = "trial"
    promoted: str | None = None
    reason: str = ""
    at: datetime

    @property
    def live(self) -> bool:
        """Whether it is still being watched."""
        return self.state in ("trial", "served")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How one episode ended while a canary was live, as a score in [0, 1], and whether the canary served it.

    A bare number: nothing of what was said leaves the scope of the episode.
    """

    episode: str
    treated: bool
    score: float
    at: datetime
