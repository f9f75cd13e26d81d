"""The A/A canary: gate an edit that does nothing. What it finds is the noise that every other verdict stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tokenspace.budget import Budget
from tokenspace.domain import Attempt, Edit, GraderSpec, Scope, Usage, Verdict, digest
from tokenspace.errors import BudgetExceeded
from tokenspace.gates.cases import one_of_each
from tokenspace.gates.replay import Replayer
from tokenspace.loop import Runtime
from tokenspace.protocols import Grader
from tokenspace.stats import Interval, SequentialTest, wilson

AUTHOR = "noise@1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How often two runs of the same prompt were scored differently, with a 95 % interval of that share.

    `accepted` says whether a gate at α = .05 would have taken this nothing for an improvement.
    """

    pairs: int
    higher: int
    lower: int
    share: Interval
    accepted: bool
    usage: Usage


async def noise_floor(
    run: Runtime, graders: Callable[[GraderSpec], Grader], scope: Scope, *, pairs: int = 50, budget: Budget
) -> Noise:
    """Run up to `pairs` cases twice on the context that stands, remembering nothing; recorded as an attempt.

    Costs two calls a pair. Ends early, with what it has, when the budget does.
    """
    replayer, spent = Replayer(run, graders, scope), budget.usage
    heads = run.store.heads(scope)
    context = run.store.context(scope, heads)
    prompts, test = replayer.arms(context, context, Edit(ops=())), SequentialTest()
    try:
        for case in sorted(one_of_each(replayer.cases), key=lambda case: digest([AUTHOR, case.id]))[:pairs]:
            arms = prompts(case)
            if arms is None:
                continue
            first = await replayer.fresh(case, arms[0], budget=budget, run_index=1)
            again = await replayer.fresh(case, arms[1], budget=budget, run_index=2)
            if first is not None and again is not None:
                test = test.update(again - first)
    except BudgetExceeded:
        pass  # what was measured is worth having
    unequal, usage = test.fixes + test.breaks, budget.usage - spent
    noise = Noise(
        pairs=test.pairs, higher=test.fixes, lower=test.breaks, share=wilson(unequal, test.pairs),
        accepted=test.decide(cap=float("inf")) == "accept", usage=usage,
    )  # fmt: skip
    words = f"noise floor: {unequal} of {test.pairs} pairs of equal prompts were scored differently"
    verdict = Verdict(
        decision="abstain", reason=words, fixes=test.fixes, breaks=test.breaks, pairs=test.pairs,
        e_benefit=test.e_benefit, e_harm=test.e_harm, usage=usage, model=run.agent.profile.model,
    )  # fmt: skip
    now = run.clock()
    key = digest([AUTHOR, heads, now])
    run.store.save_attempt(Attempt(scope=scope, key=key, proposer=AUTHOR, heads=heads, verdict=verdict, at=now))
    return noise
