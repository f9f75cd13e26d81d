"""Finding the line that did it: an episode is replayed with groups of its entries left out, until one is left.

The mathematics is `stats.ablation`; here a question becomes a replay. Only entries that the episode showed are in
play, in the order of relevance that they had then, so that nothing else is recalled into a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from tokenspace.budget import Budget
from tokenspace.context import compile_context, splice, without
from tokenspace.domain import Context, Episode, Prompt, Ranked, Usage
from tokenspace.errors import AuthFailed, BudgetExceeded, ModelError
from tokenspace.loop import Runtime
from tokenspace.stats import SURE, Ablation, settled

REPLAYS: Final = 35
"""Enough to find and confirm one of 64 entries in 19 of 20 tries at 10 % noise (benchmarks/canary.py)."""

NOISE: Final = 0.1
"""How often a replay shows the contrary of what its cause says, where nothing better is known."""

STILL: Final = 0.001
"""The noise of a deterministic model: not 0, so that one contradiction is not the end of the search."""

_FAILURES, _NAMED = 5, 5

Finding = Literal["entry", "several", "model", "gone", "unclear", "not replayable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What was found, with the numbers.

    `finding`: "entry": one entry causes it (where two are needed together, one of them); "several": each of several
    does, so that leaving out one alone changes nothing; "model": it shows without any entry; "gone": it does not happen
    again; "unclear": the replays or the budget did not suffice; "not replayable": the agent cannot be run again
    without effects. `entries` are the ids found, `probability` their posterior, and `suspects` the likeliest entries
    with the probability that each is involved. `confirmed` says that fresh replays with and without them, which
    decided nothing before, agree. `stopped` says what ended the search early, if anything did.
    """

    finding: Finding
    entries: tuple[str, ...] = ()
    probability: float = 0.0
    replays: int = 0
    confirmed: bool = False
    suspects: tuple[tuple[str, float], ...] = ()
    stopped: str = ""
    usage: Usage = field(default_factory=Usage)
    words: str = ""


async def why(
    run: Runtime,
    episode: Episode,
    *,
    shows: Callable[[str], bool] | None = None,
    budget: Budget,
    replays: int = REPLAYS,
    noise: float | None = None,
) -> Cause:
    """Which of the entries that an episode showed causes a behaviour, found and confirmed within so many replays.

    `shows` says whether an output has the behaviour (default: it is the episode's own output, whatever its case and
    white space). `noise` is how often a replay misleads, in (0, ½). A budget that runs out ends the search with what
    is known by then; a replay whose measurement fails counts and tells nothing.
    """
    seen = _seen(run, episode)
    if noise is None:
        noise = STILL if run.agent.profile.deterministic else NOISE
    search = _Search(
        run=run,
        episode=episode,
        context=seen,
        ids=tuple(id for id in dict.fromkeys(episode.shown) if id in seen.by_id),
        shows=shows or same_as(episode.output),
        budget=budget,
        most=replays,
        noise=noise,
    )
    return await search.cause()


def same_as(output: str) -> Callable[[str], bool]:
    """A behaviour: the output is this one, whatever its case and white space."""
    wanted = _folded(output)
    return lambda said: _folded(said) == wanted


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _seen(run: Runtime, episode: Episode) -> Context:
    """What the episode saw, and nothing else; what was erased since is gone from it."""
    context = run.store.context(episode.scope, episode.heads)
    began = run.store.session(episode.scope, episode.session) if episode.session else None
    if began and began.heads != episode.heads:
        context = splice(run.store.context(episode.scope, began.heads), context)
    return without(context, context.by_id.keys() - set(episode.shown))


class _Stop(Exception):
    """No further replay is to be made."""


@dataclass(kw_only=True)
class _Search:
    """One search: counts its replays and keeps the posterior."""

    run: Runtime
    episode: Episode
    context: Context
    ids: tuple[str, ...]
    shows: Callable[[str], bool]
    budget: Budget
    most: int
    noise: float
    done: int = 0
    failed: int = 0
    stopped: str = ""
    replayable: bool = True
    confirmed: bool = False
    each: list[int] = field(default_factory=list[int])

    async def cause(self) -> Cause:
        """Search, confirm, tell."""
        began = self.budget.usage
        if not self.ids:
            return Cause(finding="model", words="no learned entry was in the prompt: the model did it by itself")
        self.state = Ablation.of(len(self.ids), noise=self.noise)
        try:
            await self._search()
        except _Stop:
            pass
        except BudgetExceeded as error:
            self.stopped = f"the budget ran out: {error}"
        return self._told(self.budget.usage - began)

    async def _search(self) -> None:
        while True:
            found = self.state.likeliest
            if self.state.none_alone >= SURE and (found.kind == "many" or self.noise <= STILL):
                return await self._find_each()
            if found.probability < SURE:
                await self._look(self.state.next_group())
            elif not found.entries or await self._confirm(found.entries):
                return None
            elif found.kind == "either":
                return await self._find_each()

    async def _find_each(self) -> None:
        """Find all that cause it on their own: a group shows it by itself if one of them is in it (Dorfman 1943)."""
        everything = tuple(range(len(self.ids)))
        if await self._shows_without(everything):
            return await self._search()  # the model may do it by itself: that was told from noise only now
        groups = [everything]
        while groups:
            group = groups.pop()
            for half in (group[len(group) // 2 :], group[: len(group) // 2]):
                others = tuple(i for i in range(len(self.ids)) if i not in half)
                if half and await self._shows_without(others):
                    if len(half) == 1:
                        self.each.append(half[0])
                    else:
                        groups.append(half)
        if self.each:
            await self._confirm(tuple(sorted(self.each)))
        return None

    async def _shows_without(self, removed: tuple[int, ...]) -> bool | None:
        """Whether it shows without these entries, by as many fresh replays as that takes."""
        seen: list[bool] = []
        while (found := self._settled(seen)) is None:
            shown = await self._look(removed)
            seen += [] if shown is None else [shown]
        return found

    async def _confirm(self, entries: tuple[int, ...]) -> bool:
        """Whether fresh replays agree: it shows with all entries, and not without these."""
        self.confirmed = bool(await self._shows_without(())) and not await self._shows_without(entries)
        return self.confirmed

    def _settled(self, seen: Sequence[bool]) -> bool | None:
        return settled(sum(seen), len(seen), noise=self.noise)

    async def _look(self, removed: tuple[int, ...]) -> bool | None:
        """One replay without these entries: whether the behaviour shows, None if that could not be measured."""
        if self.done >= self.most:
            self.stopped = f"all {self.most} replays were used"
            raise _Stop
        if self.failed >= _FAILURES:
            self.stopped = f"{self.failed} replays could not be measured: {self.stopped}"
            raise _Stop
        self.done += 1
        try:
            run = await self.run.agent.replay(
                self._prompt({self.ids[i] for i in removed}),
                recorded=self.episode.run.tool_calls, budget=self.budget, seed=self.done,
            )  # fmt: skip
        except AuthFailed:
            raise
        except ModelError as error:
            self.failed, self.stopped = self.failed + 1, str(error)
            return None
        if run is None:
            self.failed, self.stopped = self.failed + 1, "the agent does what was not recorded"
            if not removed:
                self.replayable = False
                raise _Stop
            return None
        shown = self.shows(run.output)
        self.state = self.state.update(removed, shows=shown)
        return shown

    def _prompt(self, removed: Collection[str]) -> Prompt:
        """The episode's prompt without these entries.

        What was recalled keeps its order, most relevant last: nothing is ranked anew in a smaller crowd.
        """
        context, profile, request = without(self.context, removed), self.run.agent.profile, self.episode.request
        ranked = [Ranked(id=id, score=1.0) for id in reversed(self.ids) if id not in removed]
        room = profile.context_tokens - request.max_output_tokens
        return compile_context(context, ranked, request, profile=profile, budget=room, now=self.episode.at)

    def _told(self, usage: Usage) -> Cause:
        best, involved = self.state.likeliest, self.state.involved
        finding: Finding = "unclear" if best.probability < SURE else _FINDINGS[best.kind]
        found, probability = best.entries, best.probability
        if self.each:
            finding, found, probability = "several", tuple(self.each), self.state.none_alone
            if len(found) == 1:  # the others were cleared by noise: one is left, and fresh replays decide
                finding, probability = ("entry" if self.confirmed else "unclear"), SURE
            involved = [1.0 if i in self.each else share for i, share in enumerate(involved)]
        if not self.replayable:
            finding = "not replayable"
        entries = tuple(self.ids[i] for i in sorted(found)) if finding in ("entry", "several") else ()
        order = sorted(range(len(self.ids)), key=lambda i: (-involved[i], i))[: max(_NAMED, len(entries))]
        done = self.confirmed or finding in ("model", "gone")
        cause = Cause(
            finding=finding,
            entries=entries,
            probability=0.0 if finding in ("unclear", "not replayable") else probability,
            replays=self.done,
            confirmed=self.confirmed,
            suspects=tuple((self.ids[i], involved[i]) for i in order),
            stopped="" if done else self.stopped,
            usage=usage,
        )
        return replace(cause, words=_words(cause, none_alone=self.state.none_alone))


_FINDINGS: Final[Mapping[str, Finding]] = {
    "one": "entry",
    "either": "several",
    "many": "unclear",
    "model": "model",
    "gone": "gone",
}
_WORDS: Final[Mapping[Finding, str]] = {
    "entry": "one entry causes it",
    "model": "it shows without any learned entry, too: the model does it by itself",
    "gone": "it does not happen again, though the prompt is the same",
    "not replayable": "the agent cannot run this episode again without effects, so nothing was found out",
    "unclear": "the replays do not tell which entry causes it",
}


def _words(cause: Cause, *, none_alone: float) -> str:
    """The finding in a sentence."""
    if cause.finding == "unclear" and none_alone >= SURE:
        return "no entry causes it alone: several do, and leaving out one of them changes nothing"
    if not cause.entries:
        return _WORDS[cause.finding]
    sure = "confirmed on fresh replays" if cause.confirmed else "not confirmed on fresh replays"
    if cause.finding == "several":
        count = (
            f"each of {len(cause.entries)} entries" if cause.confirmed else "each of several entries, among them these,"
        )
        return f"{count} causes it on its own, so that leaving out one alone changes nothing ({sure})"
    return f"{_WORDS[cause.finding]} ({cause.probability:.1%} sure, {sure})"
