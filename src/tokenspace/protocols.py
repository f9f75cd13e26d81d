"""The seams of tokenspace. Each is small, has no optional members, and has a conformance suite or a reference.

Everything here may be replaced: a plug-in is done when it passes `tokenspace.testing`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Literal, Protocol

from tokenspace.budget import Budget, Reservation
from tokenspace.domain import (
    Access,
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
    Job,
    Json,
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
from tokenspace.domain.erasure import Cut, Lineage, Pending, Rebuilt, Subject


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


Reach = Literal["one", "cluster", "all"]
"""One piece of feedback at a time; a cluster of requests that are alike, with failures among them (see
`context.failure_clusters`); or all feedback of a scope, until there is nothing more to propose."""


class Proposer(Protocol):
    """Evidence → edit."""

    @property
    def reach(self) -> Reach:
        """What it is asked about; the same for every instance."""
        ...

    @property
    def name(self) -> str:
        """Name and version, such as "remember@1": a new version tries again what an old one tried."""
        ...

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

    def together(self) -> AbstractContextManager[None]:
        """What this thread writes within the block goes into one transaction, where the store has any.

        If anything is raised in it, nothing of it stands there.
        """
        ...

    def steady(self, scope: Scope) -> AbstractContextManager[tuple[int, int]]:
        """Once anything of the scope is erased, what this task writes there within the block raises `Forgotten` (I10).

        So nothing comes back by somebody who has read it. An outer block of the same scope holds on. Gives what tells
        one time without erasures from another.
        """
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

    def note_access(self, access: Access) -> None:
        """Keep who did what to what, for good. Raises `BadData` for anything longer than an id or a name."""
        ...

    def accesses(
        self, *, agent: str = "", tenant: str = "", user: str = "", since: datetime = ..., limit: int | None = None
    ) -> list[Access]:
        """What was noted of an agent or of none in particular, of a tenant, of a user, newest first; "" for all."""
        ...

    def drop_accesses(self, before: datetime) -> int:
        """Drop what is older; returns how many rows that were."""
        ...

    def disown_accesses(self, scope: Scope, pseudonym: str) -> int:
        """Put a pseudonym in the place of an erased user's name, in the rows about their own scope; returns how many.

        Who looked into that scope under another name answers for it under that name. Raises `UsageError` for a scope
        of no user.
        """
        ...

    # ── forgetting ──────────────────────────────────────────────────────────────────────────
    def lineage(self, scope: Scope, *, contains: Callable[[str], bool] | None = None) -> Lineage:
        """What hangs on what in a scope, by ids; with `contains`, the records whose texts it is true of are named."""
        ...

    def erase(
        self,
        cuts: Sequence[Cut],
        *,
        rebuilt: Sequence[Rebuilt] = (),
        journal: str = "",
        ids: Mapping[str, Iterable[str]] | None = None,
        seen: Mapping[Scope, Lineage] | None = None,
        dry_run: bool = False,
    ) -> Mapping[str, int]:
        """Erase, and put other histories in the place of some, in one transaction; the rows that went, by table.

        The journal's entry of that id is marked as done in the same transaction, and keeps the rows and `ids`, those
        of what goes, by table, until it is ended. With `dry_run` nothing is changed. Raises `StaleHead`, having done
        nothing, where anything hangs on what goes that was not there when the lineages in `seen` were read.
        """
        ...

    def begin_erasure(self, subject: Subject, *, exact: bool, at: datetime) -> str:
        """Note in the journal what is to be erased, in ids, before it is; returns the id of the erasure.

        Of a user the id of their key is noted, too.
        """
        ...

    def pending_erasures(self) -> list[Pending]:
        """Erasures that were begun and not ended, oldest first."""
        ...

    def end_erasure(self, id: str, *, at: datetime, receipt: str = "") -> None:
        """Note that nothing of an erasure is left to do; its ids go from the journal, and its receipt is kept."""
        ...

    def destroy_key(self, scope: Scope, *, only: str = "") -> str | None:
        """Destroy the key that a user's bodies are sealed with, which covers backups; its id, None for none.

        With `only`, the key of that id, and no later one.
        """
        ...

    def erased(self) -> list[tuple[str, str]]:
        """The revisions whose texts were erased, oldest first: whose they are, and their ids."""
        ...

    def scrub(self) -> str:
        """Let nothing of deleted rows be left in files, as far as that can be had; returns what was done, in words.

        Raises `StoreUnavailable` where it cannot be finished now.
        """
        ...


class Jobs(Protocol):
    """Work that is done later, perhaps by another process, and at least once: what a job does must bear repetition.

    That is no burden here: attempts have keys and model calls are remembered (I3), so a repeated job finds its work
    done. An implementation is given a handler for each kind; it calls it with the `Job`, which is done when None comes
    back, and goes on after so many seconds when a number does. Jobs of one partition never run two at once, and a
    job of a worker that died is taken over.
    """

    def enqueue(self, kind: str, ids: Sequence[str], *, key: str, partition: str, after_s: float = 0.0) -> str:
        """Ask for a job about these ids (never texts), not before some seconds have passed; returns its id.

        Kind and key name it within its partition: asking again, even after it was done, changes nothing.
        """
        ...

    async def step(self, job: Job, name: str, work: Callable[[], Awaitable[Json]]) -> Json:
        """What `work` returns, or what it returned before, if this step of the job was finished already."""
        ...

    def commit_tx(self, job: Job, name: str, work: Callable[[], None]) -> bool:
        """Run what writes to the store in one transaction with its checkpoint, once; False if that was done before."""
        ...

    def schedule(self, name: str, cron: str, kind: str, *, ids: Sequence[str], partition: str) -> None:
        """Ask for such a job whenever a cron expression (in UTC) says so, once however many workers there are.

        The same name replaces the schedule; an empty expression ends it. Raises `UsageError` for one that is none.
        """
        ...

    def cancel(self, id: str) -> bool:
        """Let a job not begin, or stop it where it is; what it finished is kept. False if it is over, or unknown."""
        ...

    def erase(self, partition: str) -> int:
        """Cancel and forget all jobs of a partition, with their ids, steps and schedules; returns how many jobs."""
        ...


class Workroom(Protocol):
    """What the workers of a store share beside their queue: checkpoints, heartbeats, accounts."""

    def done(self, job: str, name: str) -> str | None:
        """The result of a job's step; None if it was never finished."""
        ...

    def check_off(self, job: str, name: str, result: str = "", *, work: Callable[[], None] | None = None) -> bool:
        """Keep a step's result, and what `work` writes to the same store, in one transaction; False if it is there."""
        ...

    def drop_steps(self, prefix: str) -> int:
        """Forget the steps of all jobs whose ids begin so; returns how many."""
        ...

    def enter(self, worker: str) -> None:
        """A worker begins to live."""
        ...

    def beat(self, worker: str) -> bool:
        """Count that it still lives; False if it was taken for dead, and others have its jobs."""
        ...

    def leave(self, worker: str) -> None:
        """It is dead, and its jobs are taken over."""
        ...

    def beats(self) -> Mapping[str, int]:
        """The count of every worker: one that stands still for long belongs to a dead one. No clocks are compared."""
        ...

    def take(self, account: str, asked: Reservation, *, slot: int, since: int, limits: Mapping[str, float]) -> None:
        """Charge to a slot of time, if what is charged since a slot stays within the limits by unit; atomically.

        Raises BudgetExceeded, having charged nothing.
        """
        ...

    def give(self, account: str, unused: Reservation, *, slot: int) -> None:
        """Take back from a slot; negative amounts are charged without asking."""
        ...

    def charged(self, account: str, *, since: int) -> Reservation:
        """What is charged to slots from `since` on."""
        ...
