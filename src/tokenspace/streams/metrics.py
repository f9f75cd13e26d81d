"""What a run showed, in the field's own measures.

R[s][j] is the accuracy on the exam of stage j after s stages, row 0 before any. Final average, backward transfer and
forward transfer as in Lopez-Paz and Ranzato (2017), forgetting as in Chaudhry et al. (2018). Intervals are paired:
the same tasks, in the same order, in both arms (`tokenspace.stats.mean_difference`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final

from tokenspace.stats import mean_difference
from tokenspace.streams.config import StreamConfig
from tokenspace.streams.run import Cell, Results, Track

OURS: Final = "tokenspace"
NOTHING: Final = "none"
Figures = dict[str, Any]


def summary(config: StreamConfig, results: Results) -> Figures:
    """Every measure of every arm, averaged over orders and seeds, and ours against each baseline."""
    arms = {arm: {cell: track for cell, track in results.items() if cell.arm == arm} for arm in config.arms}
    figures: Figures = {arm: _of_arm(tracks, arms, config.window) for arm, tracks in arms.items()}
    found: Figures = {"name": config.name, "tasks": config.tasks, "arms": figures}
    if OURS in arms:
        found["against"] = {arm: against(results, OURS, arm) for arm in config.arms if arm != OURS}
        rivals = [arm for arm in config.arms if arm != OURS]
        if rivals:
            best = max(rivals, key=lambda arm: (figures[arm]["accuracy"], arm))
            found["best_baseline"] = best
            found["gain_over_best_baseline"] = found["against"][best]["difference"]
    return found


def against(results: Results, arm: str, other: str, *, start: int = 0) -> Figures:
    """Accuracy of one arm minus that of another, with a paired interval (95 %) over the tasks from `start` on."""
    one, two = list[float](), list[float]()
    for cell, track in results.items():
        if cell.arm == arm:
            rival = results[Cell(arm=other, order=cell.order, seed=cell.seed)]
            one += [float(right) for right in track.right[start:]]
            two += [float(right) for right in rival.right[start:]]
    low, high = mean_difference(one, two, resamples=1_000)
    return {"difference": fmean(one) - fmean(two), "low": low, "high": high}


def _of_arm(tracks: Mapping[Cell, Track], arms: Mapping[str, Mapping[Cell, Track]], window: int) -> Figures:
    all_ = list(tracks.values())
    right = [fmean(one.right) for one in all_]
    figures: Figures = {
        "accuracy": fmean(right),
        "curve": curve(all_, window),
        "context_tokens": fmean(fmean(one.tokens) for one in all_),
        "context_tokens_max": max(max(one.tokens) for one in all_),
        "tokens_curve": _windows([one.tokens for one in all_], window),
        "activation": fmean(fmean(shown > 0 for shown in one.shown) for one in all_),
        "entries": fmean(one.entries[-1] for one in all_),
        "calls": fmean(one.usage["calls"] for one in all_),
        "tokens": fmean(one.usage["input_tokens"] + one.usage["output_tokens"] for one in all_),
        "usd": fmean(one.usage["usd"] for one in all_),
        "seconds": fmean(one.seconds for one in all_),
    }
    figures |= _regrets(tracks, arms)
    exams = [transfer(one.exams) for one in all_ if len(one.exams) > 1]
    if exams:
        figures |= {name: fmean(one[name] for one in exams) for name in exams[0]}
        figures["R"] = [[fmean(cells) for cells in zip(*rows, strict=True)] for rows in
                        zip(*(one.exams for one in all_), strict=True)]  # fmt: skip
    return figures


def curve(tracks: Sequence[Track], window: int) -> list[float]:
    """Accuracy in successive windows of tasks, over all tracks; what is left at the end makes a last one."""
    return _windows([[float(one) for one in track.right] for track in tracks], window)


def _windows(rows: Sequence[Sequence[float]], window: int) -> list[float]:
    length = min(len(row) for row in rows)
    return [fmean(fmean(row[at : at + window]) for row in rows) for at in range(0, length, window)]


def _regrets(tracks: Mapping[Cell, Track], arms: Mapping[str, Mapping[Cell, Track]]) -> Figures:
    """Right answers that an arm gave less than another would have; below 0 where it gave more. And what one costs.

    The best fixed context in hindsight is the best of all arms' last contexts, without what was made from the task.
    """
    none, found = arms.get(NOTHING, {}), Figures()
    by_run = {(cell.seed, cell.order): track for cell, track in none.items()}
    if by_run:
        pairs = [(track, by_run[cell.seed, cell.order]) for cell, track in tracks.items()]
        gains = [sum(one.right) - sum(two.right) for one, two in pairs]
        found["regret_no_memory"] = -fmean(gains)
        calls = sum(one.usage["calls"] for one, _ in pairs)
        tokens = sum(one.usage["input_tokens"] + one.usage["output_tokens"] for one, _ in pairs)
        usd = sum(one.usage["usd"] for one, _ in pairs)
        improved = sum(gains)
        if improved > 0:
            found |= {"calls_per_improvement": calls / improved, "tokens_per_improvement": tokens / improved,
                      "usd_per_improvement": usd / improved}  # fmt: skip
    best: dict[tuple[int, int], float] = {}
    for cell, track in (pair for of_arm in arms.values() for pair in of_arm.items()):
        if track.hindsight is not None:
            run = (cell.seed, cell.order)
            best[run] = max(best.get(run, 0.0), track.hindsight)
    regrets = [best[cell.seed, cell.order] * len(track.right) - sum(track.right) for cell, track in tracks.items()
               if (cell.seed, cell.order) in best]  # fmt: skip
    if regrets:
        found["regret_hindsight"] = fmean(regrets)
    return found


def transfer(exams: Sequence[Sequence[float]]) -> dict[str, float]:
    """Final average, backward transfer, forgetting and forward transfer of R, whose row 0 is before any stage.

    >>> found = transfer([[0.1, 0.1], [0.9, 0.3], [0.8, 0.9]])
    >>> {name: round(value, 2) for name, value in found.items()}
    {'final_average': 0.85, 'backward_transfer': -0.1, 'forgetting': 0.1, 'forward_transfer': 0.2}
    """
    before, after = exams[0], exams[1:]
    last, stages = after[-1], len(after)
    old = range(min(stages, len(last)) - 1)
    return {
        "final_average": fmean(last),
        "backward_transfer": fmean([last[j] - after[j][j] for j in old] or [0.0]),
        "forgetting": fmean([max(row[j] for row in after[j:-1]) - last[j] for j in old] or [0.0]),
        "forward_transfer": fmean([after[j - 1][j] - before[j] for j in range(1, min(stages, len(last)))] or [0.0]),
    }


def recovery(
    tracks: Sequence[Track], at: int, *, window: int = 20, before: int = 60, within: float = 0.05
) -> int | None:
    """After how many tasks a change at task `at` is made up for; None if it never is.

    The first window after it, over all tracks, whose accuracy is within `within` of that of the tasks `before` it; the
    number of tasks until that window begins.
    """
    usual = fmean(fmean(one.right[at - before : at]) for one in tracks)
    length = min(len(one.right) for one in tracks)
    for start in range(at, length - window + 1):
        if fmean(fmean(one.right[start : start + window]) for one in tracks) >= usual - within:
            return start - at
    return None
