"""After thousands of episodes: does the prompt stay within its budget, is it compiled quickly, is accuracy kept?

    python benchmarks/bounded_context.py [--quick] [--tasks 5000] [--out FILE]

CLINC150, 45 intents in random order, one lesson in twenty wrong, mistakes are corrected and three right answers in ten
approved. Answered by the reader
`nearest`; append-everything, which also keeps what it said itself, beside it. Compile times are medians over the last
200 prompts, of `compile_context` alone and of the whole way from a request to a prompt, ranking included.
"""

from __future__ import annotations

import random
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import fmean, median
from time import perf_counter

import _report
from tokenspace.agents import ChatAgent
from tokenspace.context import compile_context, recallable
from tokenspace.loop import render
from tokenspace.models import resolve
from tokenspace.streams.arms import Arm, Kept, Learned, make_arm, request_of
from tokenspace.streams.config import StreamConfig
from tokenspace.streams.metered import Metered
from tokenspace.streams.tasks import Stream, Task, data_folder, make_stream

CONFIG = StreamConfig(source="clinc150", labels=45, noise=0.05, context_tokens=2_000, approvals=0.3, tasks=5_000)
TIMED = 200
REST_EVERY = 1_250
Figures = dict[str, float]


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--tasks", type=int, default=CONFIG.tasks)
    args = parser.parse_args()
    if not (data_folder() / "clinc150").is_dir():
        sys.exit(f"no data in {data_folder()}: set TOKENSPACE_DATA to the folder that has clinc150")
    config = replace(CONFIG, tasks=300 if args.quick else args.tasks)
    config = replace(config, labels=12) if args.quick else config
    with ProcessPoolExecutor(2) as pool:
        ours, theirs = pool.map(follow, ["tokenspace", "append"], [config, config])
    keys = list(ours)
    _report.table(f"after {config.tasks:,} episodes", [[key, ours[key], theirs[key]] for key in keys],
                  header=("figure", "tokenspace", "append everything"))  # fmt: skip
    _report.write("bounded_context", {**ours, **{f"{key}_append": theirs[key] for key in keys}}, args)


def follow(name: str, config: StreamConfig) -> Figures:
    """One arm over the whole stream."""
    stream = make_stream(config, order=0, seed=1)
    metered = Metered(ChatAgent(resolve(config.model)), limit=config.context_tokens)
    arm = make_arm(name, config, stream, metered)
    right, tokens, began, praise = list[bool](), list[int](), perf_counter(), random.Random(2)
    for place, task in enumerate(stream.tasks, start=1):
        said = arm.answer(task)
        right.append(said.output == task.label)
        tokens.append(said.prompt.tokens)
        if said.output != task.taught or praise.random() < config.approvals:
            arm.teach(task, said)
        if place % REST_EVERY == 0:
            arm.rest()
        if place % 500 == 0:
            print(f"  {name} {place:,}: {fmean(right[-500:]):.3f}, {perf_counter() - began:.0f} s", flush=True)
    part = min(1_000, len(right) // 3)
    chosen = random.Random(1).sample(stream.tasks, min(TIMED, len(stream.tasks)))
    compiled, whole = _times(arm, config, stream, chosen)
    return {
        "accuracy_first_1000": fmean(right[:part]), "accuracy_last_1000": fmean(right[-part:]),
        "context_tokens_max": max(tokens), "context_tokens_mean_last": fmean(tokens[-part:]),
        "compile_ms": compiled, "request_to_prompt_ms": whole, "entries": len(arm.context().entries),
        "seconds": perf_counter() - began,
    }  # fmt: skip


def _times(arm: Arm, config: StreamConfig, stream: Stream, tasks: list[Task]) -> tuple[float, float]:
    """Median milliseconds of compiling, and of ranking and compiling."""
    assert isinstance(arm, Learned | Kept)
    context, compiled, whole = arm.context(), list[float](), list[float]()
    run = arm.runtime
    profile = run.agent.profile
    for task in tasks:
        request = request_of(task, stream, config)
        began = perf_counter()
        if isinstance(arm, Kept):
            arm.prompt(context, task)
        else:
            render(run.recall, context, request, profile=profile, now=run.clock())
        whole.append(perf_counter() - began)
        ranked = run.recall.rank(recallable(context), context.vectors, request.query)
        if isinstance(arm, Kept):
            ranked, profile = arm.chosen(context, request)
        began = perf_counter()
        room = profile.context_tokens - request.max_output_tokens
        compile_context(context, ranked, request, profile=profile, budget=room, now=run.clock())
        compiled.append(perf_counter() - began)
    return 1e3 * median(compiled), 1e3 * median(whole)


if __name__ == "__main__":
    main()
