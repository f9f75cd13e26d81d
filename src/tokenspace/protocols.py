"""The seams of tokenspace. Each is small, has no optional members, and has a conformance suite or a reference.

Everything here may be replaced: a plug-in is done when it passes `tokenspace.testing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Literal, Protocol

from tokenspace.budget import Budget
from tokenspace.domain import (
    ApiKey,
    Attempt,
    Blame,
    Canary,
    Case,
    Context,
    Decision,
    Edit,
    Entry,
    Episode,
    Evidence,
    Feedback,
    Heads,
    Outcome,
    Profile,
    Prompt,
    Proposal,
    Ranked,
    Reading,
    Revision,
    Run,
    Scope,
    Session,
    ToolCall,
    Verdict,
)


class Model(Protocol):
    """Something that answers a prompt. Raises only `ModelError`s (and `BudgetExceeded` before the call)."""

    @property
    def profile(self) -> Profile:
        """What is known about this model."""
        ...

    async def complete(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """One completion. Reserves `prompt.tokens + max_output_tokens` first and settles after.

        `seed` is the run index of a replay; a deterministic model may ignore it.
        """
        ...


class Agent(Protocol):
    """A way to act on a prompt: one call, a tool loop, your function."""

    @property
    def profile(self) -> Profile:
        """The profile of the model underneath, which decides how prompts are rendered."""
        ...

    async def run(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """Act once. Same errors as `Model.complete`."""
        ...

    async def replay(
        self, prompt: Prompt, *, recorded: Sequence[ToolCall], budget: Budget, seed: int = 0
    ) -> Run | None:
        """Act once more on a case, without any effect on the world: tools answer what they answered then.

        None if that is not possible, because a call was not recorded or the agent cannot be run without effects: the
        case is then *not replayable*, and nobody guesses. Same errors as `run`.
        """
        ...


class Embedder(Protocol):
    """Texts to unit vectors, quantised to int8 (component × 127, rounded)."""

    @property
    def name(self) -> str:
        """Names model and version: vectors of different names never meet."""
        ...

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """One vector for each text, all of one length; no network inside a transaction (I11)."""
        ...


class Recall(Protocol):
    """Which entries matter for a request. Pure: it ranks what it is given, committed or only proposed."""

    @property
    def name(self) -> str:
        """Names the ranking and its embedder; part of every replay's identity."""
        ...

    def index(self, entries: Sequence[Entry]) -> Mapping[str, bytes]:
        """The vectors of these entries by id; called outside transactions, before a judgement."""
        ...

    def rank(self, entries: Sequence[Entry], vectors: Mapping[str, bytes], query: str) -> list[Ranked]:
        """Entries by falling relevance, ties by id; those without a vector are ranked by words alone."""
        ...


class Grader(Protocol):
    """Output → score in [0, 1], or None when it could not be measured (never for a wrong answer)."""

    async def grade(self, case: Case, output: str, *, budget: Budget) -> float | None:
        """Higher is better. Whatever goes wrong inside is None, not an exception, except BudgetExceeded."""
        ...


class Proposer(Protocol):
    """Evidence → edit."""

    reach: ClassVar[Literal["one", "all"]]
    """Whether it is asked about one piece of feedback at a time, or about all of a scope until it is done."""

    name: ClassVar[str]
    """Name and version, such as "remember@1": a new version tries again what an old one tried."""

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """An edit of the evidence's scope, or None if there is nothing to propose.

        Raises `InvalidEdit` for a proposal that cannot be used: it is recorded as a rejected attempt.
        """
        ...


class Gate(Protocol):
    """Proposal → verdict. The only way to a head."""

    @property
    def name(self) -> str:
        """Name and digest of all settings that may change a verdict."""
        ...

    async def judge(self, proposal: Proposal, *, budget: Budget) -> Verdict:
        """Accept, reject or defer, with the numbers. A budget that runs out is a defer."""
        ...


class Store(Protocol):
    """The ledger and its evidence. Every call names a scope (I8); no call runs foreign code in a transaction.

    Methods raise `NotFound` for what is not in the scope named, whether or not it exists in another.
    """

    # ── contexts and history ────────────────────────────────────────────────────────────────
    def heads(self, scope: Scope, *, branch: str = "") -> Heads:
        """What is served in this scope; with a branch name, its head replaces that of the scope's own layer."""
        ...

    def context(self, scope: Scope, heads: Heads) -> Context:
        """The context at any heads of this scope, past ones included, with the vectors of its entries."""
        ...

    def commit(
        self,
        scope: Scope,
        edit: Edit,
        verdict: Verdict,
        *,
        expect: str | None,
        author: str,
        branch: str = "",
        vectors: Mapping[str, bytes] | None = None,
        attempt: Attempt | None = None,
    ) -> Revision:
        """Apply an accepted edit to the scope's own layer and move its head from `expect` (I1, I2).

        The attempt, if given, is saved with the new revision's id in the same transaction (I3); one key commits
        at most once, and committing it again returns the revision that it made. Raises `InvalidEdit` without an
        accepting verdict, `EditConflict` where the edit does not apply, `StaleHead` if the head is not `expect`.
        """
        ...

    def revision(self, scope: Scope, id: str) -> Revision:
        """A revision of any layer that is visible in this scope."""
        ...

    def log(self, scope: Scope, *, branch: str = "", limit: int | None = None) -> list[Revision]:
        """Revisions of the scope's own layer, newest first; on a branch, down through its fork point."""
        ...

    def blame(self, scope: Scope, heads: Heads) -> Mapping[str, Blame]:
        """Where each visible entry comes from, by entry id."""
        ...

    def derived(self, scope: Scope, source: str) -> list[Revision]:
        """Revisions of the scope's own layer that cite or read a source (feedback, episode, entry, case)."""
        ...

    def branches(self, scope: Scope) -> Mapping[str, str | None]:
        """Branches of the scope's own layer beside the served one, with their heads."""
        ...

    def create_branch(self, scope: Scope, name: str) -> str | None:
        """Fork the served line of the scope's own layer; returns the fork point. `UsageError` if it exists."""
        ...

    def drop_branch(self, scope: Scope, name: str) -> None:
        """Stop offering a branch; its revisions stay in the history."""
        ...

    # ── evidence ────────────────────────────────────────────────────────────────────────────
    def record(self, episode: Episode) -> None:
        """Keep an episode; raw evidence is never rewritten. Recording the same id again changes nothing."""
        ...

    def record_all(self, episodes: Sequence[Episode], *, answers: Mapping[str, str]) -> None:
        """Keep several episodes, of any scopes, in one transaction, as `record` and `note_answer` do one by one.

        `answers` are providers' response ids by the id of their episode.
        """
        ...

    def episode(self, scope: Scope, id: str) -> Episode:
        """One episode of exactly this scope."""
        ...

    def episodes(self, scope: Scope, *, limit: int | None = None) -> list[Episode]:
        """Episodes of exactly this scope, newest first."""
        ...

    def add_feedback(self, feedback: Feedback, case: Case | None) -> None:
        """Keep feedback with the case made from it, in one transaction; the same id again changes nothing."""
        ...

    def feedback(self, scope: Scope, *, ids: Sequence[str] | None = None) -> list[Feedback]:
        """Feedback of exactly this scope, oldest first."""
        ...

    def cases(self, scope: Scope) -> list[Case]:
        """Cases of exactly this scope, oldest first."""
        ...

    def pin(self, scope: Scope, case: str, *, pinned: bool = True) -> Case:
        """Make a case a regression test that every edit must pass, or no longer; returns it. Raises `NotFound`."""
        ...

    # ── the memory of the gate ──────────────────────────────────────────────────────────────
    def save_attempt(self, attempt: Attempt) -> None:
        """Record or update (same key) what was tried; never touches one that has led to a revision."""
        ...

    def attempts(
        self,
        scope: Scope,
        *,
        key: str | None = None,
        edit_key: str | None = None,
        decision: Decision | None = None,
        limit: int | None = None,
    ) -> list[Attempt]:
        """Attempts of exactly this scope, oldest first, narrowed by what is given; at most the newest `limit`."""
        ...

    def unseen(self, scope: Scope, *, proposer: str, branch: str = "") -> list[Feedback]:
        """Feedback of exactly this scope, oldest first, that no attempt of a proposer was about.

        Attempts on the served line count, and those on `branch`; those on other branches do not.
        """
        ...

    def outcome(self, scope: Scope, key: str) -> Outcome | None:
        """A finished replay, if this scope has one of that key."""
        ...

    def save_outcome(self, scope: Scope, outcome: Outcome) -> None:
        """Keep a finished replay; the first of a key stays."""
        ...

    # ── canaries ────────────────────────────────────────────────────────────────────────────
    def canaries(self, scope: Scope, *, ended: bool = False) -> list[Canary]:
        """The live canaries of every layer that is visible in this scope, oldest first; with `ended`, all of them."""
        ...

    def save_canary(self, canary: Canary) -> None:
        """Keep or update a canary of its scope; one that has ended (kept, stopped) stays as it is."""
        ...

    def add_reading(self, canary: Canary, reading: Reading) -> None:
        """Keep how an episode ended under a canary; the first of an episode stays."""
        ...

    def readings(self, canary: Canary) -> list[Reading]:
        """All readings of a canary in the order in which they came."""
        ...

    # ── what the gateway keeps ──────────────────────────────────────────────────────────────
    def note_answer(self, scope: Scope, answer: str, episode: str) -> None:
        """Keep which episode a provider's response id belongs to; the first of an id stays."""
        ...

    def episode_of(self, scope: Scope, answer: str) -> str | None:
        """The episode of a provider's response id, if exactly this scope has noted it."""
        ...

    def anchors(self, scope: Scope, chains: Sequence[str]) -> Mapping[str, str]:
        """What was injected at these places of conversations of exactly this scope, by the digest of the place."""
        ...

    def save_anchor(self, scope: Scope, chain: str, body: str) -> None:
        """Keep what was injected at a place; the first body stays, and saving it again says that it is in use."""
        ...

    def drop_anchors(self, scope: Scope, before: datetime) -> int:
        """Forget what was injected and not saved again since a time; returns how many."""
        ...

    # ── sessions, upkeep ────────────────────────────────────────────────────────────────────
    def session(self, scope: Scope, id: str) -> Session | None:
        """A conversation of this scope, if it is known."""
        ...

    def save_session(self, session: Session) -> None:
        """Keep or update a conversation; its heads are those of the first save."""
        ...

    def close(self) -> None:
        """Release connections; using the store afterwards is an error."""
        ...


class Admin(Protocol):
    """What an operator may do across scopes; kept apart so that nothing else can (I8)."""

    def scopes(self, agent: str | None = None) -> list[Scope]:
        """Every scope that holds anything, sorted; of one agent, or of all."""
        ...

    def verify(self) -> list[str]:
        """Re-derive the whole ledger; the problems found, in words. Empty: every byte is as it was committed."""
        ...

    def keys(self) -> list[ApiKey]:
        """Every virtual key, expired and revoked ones included, oldest first."""
        ...

    def save_key(self, key: ApiKey) -> None:
        """Keep a key, or update the label, rights and ends of the one of its id; a revoked one stays revoked."""
        ...

    def key_by_hash(self, hash: str) -> ApiKey | None:
        """The key whose secret has this SHA-256, 64 hexadecimal digits."""
        ...
