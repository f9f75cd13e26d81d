"""Canaries: how an accepted edit reaches its first sessions, and how these are told apart from the others.

A canary is a branch of its layer, served to a share of the sessions. Which ones is a hash of the session and the
canary, so it is random, stable and stored nowhere; the other sessions are the hold-back, on the same days and with
the same users. How a canary fares is read by `tokenspace.gates.Watch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tokenspace.context.trust import until_verified
from tokenspace.domain import (
    Attempt,
    Canary,
    Context,
    Edit,
    Episode,
    Feedback,
    Heads,
    Patch,
    Put,
    Reading,
    Revision,
    Scope,
    Signal,
    digest,
)
from tokenspace.errors import NotFound, StaleHead, UsageError
from tokenspace.protocols import Store
from tokenspace.stats import wilson

PREFIX: Final = "canary-"
LEAST_RATE: Final = 0.05
"""A success rate that nothing is known of is taken to be at least this, so that only the hold-back can alarm."""


def assigned(store: Store, scope: Scope, *, branch: str, unit: str) -> Heads:
    """What a session is served: the heads of the scope, or for its share of the sessions those of a canary.

    `unit` names the session, or the request where there is none. A caller who reads a branch gets that branch.
    """
    heads = store.heads(scope, branch=branch)
    if branch:
        return heads
    for canary in store.canaries(scope):
        if canary.state == "trial" and chance(canary.id, unit) < canary.share:
            heads = heads.at(canary.scope, canary.revision)
    return heads


def chance(*names: str) -> float:
    """A number in [0, 1) that depends on the names alone: the same session always draws the same."""
    return int(digest(list(names))[:13], 16) / 16**13


def admit(store: Store, attempt: Attempt, expect: str | None, *, branch: str, vectors: Mapping[str, bytes]) -> Revision:
    """Commit an accepted attempt: on the line that is written, or on a canary's own if the verdict gives it a share.

    Raises `StaleHead` and `Forgotten` as `Store.commit` does; then there is no canary either.
    """
    assert attempt.edit is not None
    edit = until_verified(attempt.edit, attempt.verdict, attempt.at)
    attempt = replace(attempt, edit=edit)
    line = branch
    if attempt.verdict.share < 1 and not branch:
        line = f"{PREFIX}{attempt.key[:12]}"
        _fork(store, attempt.scope, line)
    try:
        made = store.commit(
            attempt.scope, edit, attempt.verdict, expect=expect, author=attempt.proposer, branch=line,
            vectors=vectors, attempt=attempt,
        )  # fmt: skip
    except (NotFound, StaleHead) as error:
        if line == branch:
            raise
        with suppress(NotFound):  # a rival who judges the same attempt may have dropped the line: then look again
            store.drop_branch(attempt.scope, line)
        raise StaleHead(f"the canary of this edit in {attempt.scope} did not begin", hint="judge it anew") from error
    if line != branch:
        begin(store, made)
    return made


def _fork(store: Store, scope: Scope, line: str) -> None:
    """A new line, in the place of one left behind by somebody who was stopped before the commit.

    Raises `StaleHead` where a rival who judges the same attempt forks it or drops it at this very moment.
    """
    try:
        if line in store.branches(scope):
            store.drop_branch(scope, line)
        store.create_branch(scope, line)
    except (NotFound, UsageError) as error:
        raise StaleHead(f"somebody else is admitting the same edit to {scope}", hint="look what came of it") from error


def begin(store: Store, made: Revision) -> Canary:
    """Start to serve a revision that was committed to a canary's line. Beginning it again changes nothing."""
    canary = Canary(
        id=digest(["canary", made.id]), scope=made.scope, branch=made.branch, revision=made.id,
        share=made.verdict.share, rate=known_rate(store, made.scope), at=made.at,
    )  # fmt: skip
    if all(one.id != canary.id for one in store.canaries(made.scope, ended=True)):
        store.save_canary(canary)
    return canary


def known_rate(store: Store, scope: Scope) -> float:
    """A lower bound (95 %, Wilson) of the rate at which episodes of this layer ended well, in (0, 1).

    From the hold-backs of earlier canaries and the layer's own feedback: a layer may not look into those below it.
    """
    scores = [score for item in store.feedback(scope) if (score := score_of(item, None)) is not None]
    for canary in store.canaries(scope, ended=True):
        if canary.scope == scope:
            scores += [one.score for one in store.readings(canary) if not one.treated]
    low = wilson(round(sum(scores)), len(scores)).low
    return min(max(low, LEAST_RATE), 1 - LEAST_RATE)


def score_of(feedback: Feedback, episode: Episode | None) -> float | None:
    """How well the episode ended by this feedback, in [0, 1]; None if it does not say.

    A correction or an edit says that it ended badly, unless it repeats the output.
    """
    match feedback.signal:
        case Signal.LABEL | Signal.SCORE:
            return float(feedback.value)
        case Signal.CORRECTION | Signal.EDIT:
            return float(episode is not None and str(feedback.value).strip() == episode.output.strip())
        case _:
            return None


def note(store: Store, feedback: Feedback, episode: Episode) -> None:
    """Tell every live canary above this scope how an episode ended: one number, and no word of what was said."""
    score = score_of(feedback, episode)
    if score is None:
        return
    canaries = store.canaries(feedback.scope)
    began = store.session(feedback.scope, episode.session) if canaries and episode.session else None
    for canary in canaries:
        line = _line(store, canary, episode.heads)
        if episode.at < canary.at or line not in ("", canary.branch):
            continue  # from before, or from a branch that somebody tries things on
        if began and _line(store, canary, began.heads) != line:
            continue  # its share grew while the session ran: its prefix is not what its tail is
        treated = line == canary.branch
        if canary.promoted is not None:
            treated = treated or episode.at >= store.revision(canary.scope, canary.promoted).at
        store.add_reading(canary, Reading(episode=episode.id, treated=treated, score=score, at=feedback.at))


def _line(store: Store, canary: Canary, heads: Heads) -> str:
    """The line of the canary's layer that these heads are on: "" is the served one."""
    head = heads.of(canary.scope)
    return store.revision(canary.scope, head).branch if head else ""


def harmed(store: Store, context: Context) -> bool:
    """Whether a context still shows what a canary was stopped for: then a running session must not keep it (I14)."""
    stopped = (one for one in store.canaries(context.scope, ended=True) if one.state == "stopped")
    return any(_shows(context, store.revision(one.scope, one.revision).edit) for one in stopped)


def _shows(context: Context, edit: Edit) -> bool:
    written = {op.entry.id: op.entry.text for op in edit.ops if isinstance(op, Put)}
    written |= {op.id: str(op.changes["text"]) for op in edit.ops if isinstance(op, Patch) and "text" in op.changes}
    return any(id in context.by_id and context.by_id[id].text == text for id, text in written.items())
