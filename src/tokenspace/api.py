"""The Python API: one agent in one scope, with git's verbs for what it has learned.

    desk = tokenspace.open("support-desk", model="local")
    episode = desk.act("Where is my parcel?", choices=["Kestrel", "Basalt"])
    desk.observe(episode, correction="Kestrel")
    desk.learn()

Methods block. Inside a running event loop use `tokenspace.loop` with `desk.parts`, which is what they call.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.config import Parts, build, load
from tokenspace.context import diff_text, from_markdown, inherited, new_texts, revert_ops, tally, to_markdown
from tokenspace.context.check import objection
from tokenspace.domain import (
    Attempt,
    Blame,
    Canary,
    Context,
    Edit,
    Episode,
    Feedback,
    Heads,
    Message,
    Op,
    Origin,
    Put,
    Request,
    Revision,
    Scope,
    Signal,
    Usage,
    Verdict,
)  # fmt: skip
from tokenspace.errors import BadData, BudgetExceeded, EditConflict, ModelTimeout, NotFound, RateLimited, UsageError
from tokenspace.gates import REPLAYS, Cause, Release, why
from tokenspace.interop import MemoryFiles
from tokenspace.oversight import Oversight
from tokenspace.protocols import Agent, Model, Store
from tokenspace.stats import Lift
from tokenspace.watching import Learned, learned, observed, slept

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepReport:
    """What was tried, in order, with its verdicts, and what all of it cost.

    `canaries` are those that were widened, promoted or taken back; `release` is the release check, where one was due.
    `stopped` says why it ended before it was done, if it did.
    """

    attempts: tuple[Attempt, ...]
    usage: Usage
    canaries: tuple[Canary, ...] = ()
    release: Release | None = None
    stopped: str = ""


class Bridge:
    """Runs coroutines of one agent on one event loop, so that connections survive from call to call."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result. Raises `UsageError` inside a running event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with self._lock:
                if self._runner is None:
                    self._runner = asyncio.Runner()
                    # An agent that nobody closes leaves no open event loop behind.
                    weakref.finalize(self, self._runner.close)
                return self._runner.run(_attentive(work))
        work.close()
        raise UsageError(
            "this call blocks, and an event loop is running", hint="await tokenspace.loop's functions with .parts"
        )

    def close(self) -> None:
        """End the loop."""
        if self._runner is not None:
            self._runner.close()


async def _attentive(work: Coroutine[Any, Any, T]) -> T:
    """The result, unless somebody wanted to stop: asyncio forgets an interrupt of work that awaits nothing after it."""
    result, task = await work, asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return result


class LearningAgent:
    """An agent in a scope: acts, takes feedback, learns, and shows its history. Made by `tokenspace.open`."""

    def __init__(self, parts: Parts, scope: Scope, *, principal: str, bridge: Bridge | None = None) -> None:
        self.parts = parts
        self.scope = scope
        self.principal = principal
        self._bridge = bridge or Bridge()

    # ── whose context ───────────────────────────────────────────────────────────────────────
    def at(self, tenant: str = "", user: str = "") -> LearningAgent:
        """The same agent for one tenant, or for one user of a tenant; reads what that scope inherits."""
        scope = Scope(agent=self.scope.agent, tenant=tenant, user=user)
        return LearningAgent(self.parts, scope, principal=user or self.principal, bridge=self._bridge)

    def on(self, branch: str) -> LearningAgent:
        """The same scope on a branch of it."""
        parts = replace(self.parts, runtime=replace(self.parts.runtime, branch=branch))
        return LearningAgent(parts, self.scope, principal=self.principal, bridge=self._bridge)

    @property
    def branch(self) -> str:
        """The branch that is read and written; "" is the served line."""
        return self.parts.runtime.branch

    @property
    def store(self) -> Store:
        """The store underneath."""
        return self.parts.runtime.store

    @property
    def gate(self) -> Oversight:
        """What an operator does beside the loop: canaries, release checks, noise, pinned cases."""
        return Oversight(self.parts, self.scope, principal=self.principal, wait=self.wait)

    @property
    def memory(self) -> MemoryFiles:
        """This context as the agent's own files, for `interop.self_tools`: what it writes goes through the gate."""
        return MemoryFiles(self.parts.runtime, self.parts.gate, self.scope, principal=self.principal)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of this agent's parts to its end, from code that is not asynchronous."""
        return self._bridge.run(work)

    # ── the loop ────────────────────────────────────────────────────────────────────────────
    def act(
        self,
        request: str | Request,
        *,
        choices: Sequence[str] | None = None,
        session: str | None = None,
        budget: Budget | None = None,
    ) -> Episode:
        """Answer a request with the learned context, and record the episode. `choices` constrains the answer.

        A plain text is asked with the project's own system message and choices, if its settings have any.
        """
        if isinstance(request, str):
            request = self._request(request, choices)
        elif choices is not None:
            request = replace(request, choices=tuple(choices))
        run = self.parts.runtime
        work = loop.act(run, self.scope, request, budget=budget or Budget(), session=session)
        return self.wait(work)

    def _request(self, text: str, choices: Sequence[str] | None) -> Request:
        found = objection(text)
        if found:
            raise BadData(f"the request {found[0]}", hint=found[1])
        system = (Message(role="system", text=self.parts.system),) if self.parts.system else ()
        allowed = tuple(choices or self.parts.choices) or None
        return Request(messages=(*system, Message(role="user", text=text)), choices=allowed)

    def observe(
        self,
        episode: Episode | str,
        *,
        correction: str | None = None,
        label: bool | None = None,
        score: float | None = None,
        text: str | None = None,
        trigger: str | None = None,
        comment: str = "",
        by: str | None = None,
    ) -> Feedback:
        """Say about an episode, now or weeks later, exactly one thing.

        That is what would have been right, whether it was right, how good it was (0 to 1), or something in words
        (`trigger`: about which kind of request). An episode may be named by the provider's response id.

        `by` is the authenticated principal (default: who opened this agent). Raises `UsageError` for none or several.
        """
        said = {Signal.CORRECTION: correction, Signal.LABEL: label, Signal.SCORE: score, Signal.TEXT: text}
        given = {signal: value for signal, value in said.items() if value is not None}
        if len(given) != 1:
            raise UsageError("feedback is one of correction, label, score or text", hint="give exactly one of them")
        ((signal, value),) = given.items()
        feedback = Feedback(
            scope=self.scope,
            episode=self._named(episode) if isinstance(episode, str) else episode.id,
            principal=by or self.principal,
            signal=signal,
            value=value,
            comment=comment,
            trigger=trigger,
            source=Origin.USER if self.scope.user else Origin.OPERATOR,
            at=self.parts.runtime.clock(),
        )
        observed(self.parts, feedback)
        return feedback

    def _named(self, id: str) -> str:
        """An episode's own id for a provider's response id, where this scope has noted it; any other as it is."""
        return self.store.episode_of(self.scope, id) or id

    def learn(
        self, *, budget: Budget | None = None, on_attempt: Callable[[Attempt], None] = lambda _: None
    ) -> SleepReport:
        """Learn from the feedback that was not learned from yet, and look again, for free, at what was held back."""
        budget = budget or Budget()
        return self.wait(self._told(learned(self.parts, self.scope, budget=budget), budget, on_attempt))

    def sleep(
        self, *, budget: Budget | None = None, on_attempt: Callable[[Attempt], None] = lambda _: None
    ) -> SleepReport:
        """Learn over all evidence: judge again by replay what was held back, retire what was contradicted.

        Then canaries move on, and after every `release_every` revisions the whole is checked against the last release.
        """
        budget = budget or Budget()
        return self.wait(self._told(slept(self.parts, self.scope, budget=budget), budget, on_attempt))

    async def _told(
        self, work: AsyncIterator[Learned], budget: Budget, on_attempt: Callable[[Attempt], None]
    ) -> SleepReport:
        """The report of what learning yields; a budget that ends stops it, and so does a model that is not there."""
        done, moved, release, stopped = list[Attempt](), list[Canary](), None, ""
        spent = budget.usage
        try:
            async for one in work:
                match one:
                    case Attempt():
                        done.append(one)
                        on_attempt(one)
                    case Canary():
                        moved.append(one)
                    case Release():
                        release = one
        except (BudgetExceeded, RateLimited, ModelTimeout) as error:
            stopped = f"{error}; what was judged is kept, and nothing is paid for twice: run it again"
        return SleepReport(
            attempts=tuple(done), canaries=tuple(moved), release=release, usage=budget.usage - spent, stopped=stopped
        )

    # ── what was learned ────────────────────────────────────────────────────────────────────
    @property
    def heads(self) -> Heads:
        """What is served now."""
        return self.store.heads(self.scope, branch=self.branch)

    def context(self, revision: str | None = None) -> Context:
        """The learned context as served now, or as of a past revision of this scope's own layer."""
        heads = self.heads
        if revision is not None:
            heads = heads.at(self.scope, self._resolve(revision).id)
        return self.store.context(self.scope, heads)

    def text(self, *, blame: bool = False) -> dict[str, str]:
        """The context as Markdown documents by file name, with where each line came from if `blame`."""
        return to_markdown(self.context(), blame=self.blame() if blame else None)

    def log(self, *, limit: int | None = None) -> list[Revision]:
        """Revisions of this scope's own layer, newest first."""
        return self.store.log(self.scope, branch=self.branch, limit=limit)

    def show(self, revision: str) -> Revision:
        """One revision; a unique beginning or end of its id is enough."""
        return self._resolve(revision)

    def diff(self, older: str | None = None, newer: str | None = None) -> str:
        """What changed between two revisions, as text; by default what the newest revision changed."""
        new = self._resolve(newer) if newer else None
        if older is None:
            head = new or next(iter(self.log(limit=1)), None)
            if head is None:
                return ""
            return diff_text(self._before(head), self.context(head.id))
        return diff_text(self.context(older), self.context(new.id if new else None))

    def blame(self) -> Mapping[str, Blame]:
        """Where each visible entry comes from, by entry id."""
        return self.store.blame(self.scope, self.heads)

    def lift(self) -> Mapping[str, Mapping[str, Lift]]:
        """What the gate's tests have shown of each entry that is visible here, by entry id and model."""
        tried = [one for scope in self.scope.layers for one in self.store.attempts(scope)]
        visible = self.context().by_id
        return {
            id: {model: Lift(**counts._asdict()) for model, counts in tests.items()}
            for id, tests in tally(tried).items()
            if id in visible
        }

    def why(
        self,
        episode: Episode | str,
        *,
        shows: Callable[[str], bool] | None = None,
        replays: int = REPLAYS,
        budget: Budget | None = None,
    ) -> Cause:
        """The entry that caused an episode's answer or, with `shows`, something in it; found by replay."""
        about = self.episode(episode) if isinstance(episode, str) else episode
        run = self.parts.runtime
        return self.wait(why(run, about, shows=shows, replays=replays, budget=budget or Budget()))

    def revert(self, revision: str, *, reason: str = "") -> Revision:
        """Take back what one revision changed, as a new revision; `EditConflict` if it was changed again since."""
        bad = self._resolve(revision)
        before, after, now = self._before(bad), self.context(bad.id), self.context()
        layers = [one.layers[-1] for one in (before, after, now)]
        ops = revert_ops(layers[0], layers[1], layers[2], inherited(now))
        if not ops:
            raise UsageError(f"{bad.id} was taken back already", hint="`tokenspace log` shows what is served")
        sources = self._sources(ops, before)
        edit = Edit(ops=ops, rationale=reason or f"revert {bad.id}", evidence=sources, read=(bad.id,))
        return self.commit(edit, upon=now)

    def edit(
        self, docs: Mapping[str, str], *, reason: str = "edited by hand", since: Context | None = None
    ) -> Revision | None:
        """Commit what a person changed in the Markdown of `text()`; None if nothing changed.

        `since` is the context that the text was made from: what came after it stays, and `EditConflict` is raised
        where both changed the same entry. Without it, an entry that is not in the text is dropped.
        """
        edit, now = from_markdown(docs, since or self.context()), self.context()
        touched = {op.entry.id if isinstance(op, Put) else op.id for op in edit.ops}
        both = sorted(id for id in touched if since and since.by_id.get(id) != now.by_id.get(id))
        if both:
            raise EditConflict(
                f"changed by somebody else meanwhile: {', '.join(both)}", hint="look at the context as it is now"
            )
        return self.commit(replace(edit, rationale=reason), upon=now) if edit.ops else None

    # ── branches ────────────────────────────────────────────────────────────────────────────
    def branches(self) -> Mapping[str, str | None]:
        """Branches of this scope's own layer beside the served line, with their heads."""
        return self.store.branches(self.scope)

    def create_branch(self, name: str) -> str | None:
        """Fork the served line; returns the revision at which it forks."""
        return self.store.create_branch(self.scope, name)

    def drop_branch(self, name: str) -> None:
        """Stop offering a branch; its revisions stay in the history."""
        self.store.drop_branch(self.scope, name)

    def publish(self, name: str) -> Revision | None:
        """Commit to the served line what a branch changed since it forked; None if that is nothing.

        A person's revision like any other. Raises `EditConflict` where the served line changed the same entries.
        """
        served, branch = self.on(""), self.on(name)
        history = branch.log()
        fork = next((one.id for one in history if one.branch != name), None)
        before = self.store.context(self.scope, served.heads.at(self.scope, fork))
        after, now = branch.context(), served.context()
        try:
            ops = revert_ops(after.layers[-1], before.layers[-1], now.layers[-1], inherited(now))
        except EditConflict as error:
            raise EditConflict(
                f"the served line changed the same entries as branch {name}: {error}",
                hint="make the branch's change by hand with `tokenspace edit`, or revert the served one first",
            ) from None
        made = tuple(one.id for one in history if one.branch == name)
        edit = Edit(ops=ops, rationale=f"publish branch {name}", evidence=self._sources(ops, after), read=made)
        return served.commit(edit, upon=now) if ops else None

    def commit(self, edit: Edit, *, upon: Context | None = None) -> Revision:
        """Commit a person's own edit on their authority: recorded as such, and undone like any other.

        `upon` is the context that it was made from (default: what stands now); `StaleHead` if that has moved.
        """
        verdict = Verdict(decision="accept", basis="human", reason=f"by {self.principal}")
        run, context = self.parts.runtime, upon or self.context()
        vectors = run.recall.index(new_texts(context, edit))
        made = run.store.commit(
            self.scope, edit, verdict,
            expect=context.heads.of(self.scope), author=self.principal, branch=self.branch, vectors=vectors,
        )  # fmt: skip
        if not self.branch and self.store.canaries(self.scope):
            self.parts.watch.step(self.scope)  # what a person changes must reach the canary's sessions, too
        return made

    def _sources(self, ops: Sequence[Op], origin: Context) -> tuple[str, ...]:
        """What had caused the entries that are put back, so that they keep their provenance (I13)."""
        blame = self.store.blame(self.scope, origin.heads)
        put = (op.entry.id for op in ops if isinstance(op, Put))
        return tuple(sorted({source for id in put if id in blame for source in blame[id].sources}))

    # ── waiting for a person ────────────────────────────────────────────────────────────────
    def waiting(self) -> list[Attempt]:
        """Deferred attempts, oldest first: drafts that wait for evidence or for a person."""
        return self.store.attempts(self.scope, decision="defer")

    def approve(self, attempt: str) -> Revision:
        """Commit a deferred attempt on a person's authority."""
        found = self._attempt(attempt)
        assert found.edit is not None
        run, context, reason = self.parts.runtime, self.context(), f"approved by {self.principal}"
        verdict = replace(found.verdict, decision="accept", basis="human", reason=reason, share=1.0)
        vectors = run.recall.index(new_texts(context, found.edit))
        return run.store.commit(
            self.scope, found.edit, verdict, expect=context.heads.of(self.scope), author=found.proposer,
            branch=self.branch, vectors=vectors, attempt=replace(found, verdict=verdict),
        )  # fmt: skip

    def decline(self, attempt: str, *, reason: str = "") -> Attempt:
        """Reject a deferred attempt on a person's authority; proposers are shown it."""
        found = self._attempt(attempt)
        words = f"declined by {self.principal}{': ' + reason if reason else ''}"
        declined = replace(found, verdict=replace(found.verdict, decision="reject", basis="human", reason=words))
        self.store.save_attempt(declined)
        return declined

    def close(self) -> None:
        """Release the store and the event loop."""
        self._bridge.close()
        self.store.close()

    # ── finding ─────────────────────────────────────────────────────────────────────────────
    def episode(self, id: str = "last") -> Episode:
        """An episode of this scope by a unique beginning or end of its id; "last" is the newest."""
        if id == "last":
            newest = self.store.episodes(self.scope, limit=1)
            if not newest:
                raise NotFound(f"{self.scope} has no episode yet", hint="make one: tokenspace ask TEXT")
            return newest[0]
        return _unique(id, self.store.episodes(self.scope), lambda one: one.id, "episode")

    def find(self, id: str) -> Revision | Episode | Attempt:
        """The revision, episode or attempt of this scope that a unique beginning or end of an id names."""
        things = [*self.log(), *self.store.episodes(self.scope), *self.store.attempts(self.scope)]
        return _unique(id, things, lambda one: one.id, "revision, episode or attempt")

    def unlearned(self) -> list[Feedback]:
        """Feedback that no attempt was about yet, oldest first."""
        seen = {id for attempt in self.store.attempts(self.scope) for id in attempt.evidence}
        return [item for item in self.store.feedback(self.scope) if item.id not in seen]

    def _attempt(self, id: str) -> Attempt:
        return _unique(id, self.waiting(), lambda one: one.id, "deferred attempt")

    def _resolve(self, id: str) -> Revision:
        return _unique(id, self.log(), lambda one: one.id, "revision")

    def _before(self, revision: Revision) -> Context:
        return self.store.context(self.scope, self.heads.at(self.scope, revision.parent))


def _unique(part: str, things: Sequence[T], id_of: Callable[[T], str], what: str) -> T:
    """The thing whose id is, begins with or ends with `part`; `NotFound` for none, `UsageError` for several."""
    found = [thing for thing in things if id_of(thing) == part] or [
        thing for thing in things if part and (id_of(thing).startswith(part) or id_of(thing).endswith(part))
    ]
    if not found:
        raise NotFound(f"there is no {what} {part!r} in this scope", hint="`tokenspace log` lists what there is")
    if len(found) > 1:
        raise UsageError(f"{part!r} names {len(found)} of them", hint="give more digits")
    return found[0]


def open(
    agent: str,
    *,
    model: str | Model | Agent | None = None,
    store: str | Store | None = None,
    principal: str | None = None,
    teachers: Sequence[str] | None = None,
) -> LearningAgent:
    """Open an agent's learned context, and make it on first use.

    `model` is a name as in `tokenspace models` (default: the embedded one), a Model or an Agent. `store` is a URL
    such as `sqlite:///learned.db`, `postgresql://…` or `memory:` (default: `.tokenspace/store.db` here or above).
    `teachers` are the principals whose examples may enter shared layers (default: `principal` alone).
    """
    given = {"agent": agent, "store": store if isinstance(store, str) else None, "principal": principal,
             "teachers": teachers}  # fmt: skip
    settings = load(given)
    parts = build(settings, model=model, store=None if isinstance(store, str) else store)
    scope = Scope(agent=agent, tenant=settings.tenant, user=settings.user)
    return LearningAgent(parts, scope, principal=settings.principal)
