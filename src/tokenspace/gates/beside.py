"""The evidence for an edit, side by side: what the agent answered without it, and what with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tokenspace.budget import Budget
from tokenspace.context import apply, new_texts
from tokenspace.domain import Attempt, Case, Context, GraderSpec, Heads, Prompt
from tokenspace.errors import BudgetError, EditConflict, NotFound
from tokenspace.gates.replay import Replayer
from tokenspace.loop import Runtime
from tokenspace.protocols import Grader


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the agent answered and how it was scored; None where that is not remembered."""

    output: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One tested case under both contexts. `difference` is the recorded one, None for verdicts that kept none."""

    case: Case
    difference: float | None
    before: Answer
    after: Answer


async def beside(run: Runtime, graders: Callable[[GraderSpec], Grader], attempt: Attempt) -> list[Beside]:
    """The cases of an attempt's verdict, in the order of its test, with what is remembered of their replays.

    No model is asked. The prompts are those of the context that stands now or, where it moved on, of the one that the
    attempt was made for; answers are missing where neither was tested. A case that was forgotten since is left out.
    """
    verdict, replayer = attempt.verdict, Replayer(run, graders, attempt.scope)
    known = {case.id: case for case in replayer.cases}
    differences = dict(zip(verdict.cases, verdict.differences, strict=False))
    arms = list(_arms(run, replayer, attempt))
    found: list[Beside] = []
    for case in (known[id] for id in verdict.cases if id in known):
        answers = (Answer(), Answer())
        for prompts in arms:
            pair = _prompts(prompts, case)
            answers = (await _answer(replayer, case, pair, 0), await _answer(replayer, case, pair, 1))
            if answers[0].output is not None and answers[1].output is not None:
                break
        found.append(Beside(case=case, difference=differences.get(case.id), before=answers[0], after=answers[1]))
    return found


def _arms(
    run: Runtime, replayer: Replayer, attempt: Attempt
) -> Iterator[Callable[[Case], tuple[Prompt, Prompt] | None]]:
    """The prompts of both arms: from the context as it is, then as it was; what was committed stands in it by now."""
    store, scope, edit = run.store, attempt.scope, attempt.edit
    if edit is None:
        return
    now: Heads = store.heads(scope, branch=attempt.branch)
    for heads in dict.fromkeys((attempt.heads,) if attempt.revision else (now, attempt.heads)):
        try:
            context: Context = store.context(scope, heads)
            candidate = apply(context, edit, vectors=run.recall.index(new_texts(context, edit)))
        except (EditConflict, NotFound):
            continue
        yield replayer.arms(context, candidate, edit)


def _prompts(arms: Callable[[Case], tuple[Prompt, Prompt] | None], case: Case) -> tuple[Prompt, Prompt] | None:
    try:
        return arms(case)
    except BudgetError:
        return None


async def _answer(replayer: Replayer, case: Case, prompts: tuple[Prompt, Prompt] | None, arm: int) -> Answer:
    done = prompts and replayer.remembered(case, prompts[arm])
    if not prompts or not done:
        return Answer()
    try:
        score = await replayer.score(case, prompts[arm], budget=Budget(calls=0))
    except BudgetError:
        score = None  # a model was the judge, and what it said is not remembered
    return Answer(output=done.output, score=score)
