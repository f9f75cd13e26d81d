"""How soon a canary notices that an edit hurts, and how often it cries wolf.

    python benchmarks/canary.py [--quick] [--out FILE]

Modelled outcomes: 0 or 1, independent, with a success rate of .7 that is known. `start_median_40` is the median
number of the edit's own outcomes until `StartMonitor` alarms, if the edit costs 40 points from its first outcome;
`later_median_40` until `Cusum` does, counted from the loss, which begins after 500 good outcomes. `false_alarm_…`
are shares of runs with an alarm within 3,000 outcomes at the rate of .7.

`holdback_median_40` are outcomes of both arms together until `HoldbackTest` alarms, with half of the sessions
treated; `…_share_5` and `…_share_95` with 5 and 95 % of them treated. It is slower, for it knows no rate; the rows
`world_…` show why it is there: the rate falls by 20 points for both arms, and the edit does nothing.

`why_found` is the share of searches in which `tokenspace.gates.why` names the one planted line of 64 that causes a
behaviour, and confirms it on fresh replays, within 35 replays in all (`_why.py`; one replay in ten misleads);
`why_wrong` the share in which it confirms another line.

`rollback_ms` and `rollback_max_ms` are the milliseconds from a look that finds an alarm until the heads without the
edit are read back, in a layer of 1,000 entries on SQLite, trials and promotions alike (`_rollback.py`).
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator

import _report
from _rollback import rollback_figures
from _why import why_figures
from tokenspace.stats import Cusum, HoldbackTest, StartMonitor

RATE = 0.7
DROPS = (0.4, 0.2, 0.1)
SHARES = (0.5, 0.05, 0.95)
GOOD = 500
HORIZON = 3_000

Seeds = Iterable[int]


def main() -> None:
    args = _report.options(__doc__).parse_args()
    runs = 200 if args.quick else 2_000
    figures = drops(runs) | false_alarms(runs) | holdback(range(runs // 10)) | world(range(runs // 2)) | speed()
    figures |= why_figures(runs // 4) | rollback_figures(40 if args.quick else 80)
    _report.table("canary", figures.items(), header=("figure", "value"))
    _report.write("canary", figures, args)


# ── against a known rate ────────────────────────────────────────────────────────────────────


def outcomes(seed: str, n: int, rate: float) -> list[float]:
    """Scores of 0 and 1; another seed is another run."""
    chance = random.Random(seed)
    return [float(chance.random() < rate) for _ in range(n)]


def median(found: Iterable[int | None]) -> float:
    """Median of when the alarm came; a run without any counts as infinitely long."""
    return statistics.median(math.inf if at is None else at for at in found)


def drops(runs: int) -> dict[str, float]:
    """Median outcomes until the alarm, for a loss from the start and for a later one."""
    figures: dict[str, float] = {}
    for drop in DROPS:
        bad = [outcomes(f"bad {drop} {seed}", HORIZON, RATE - drop) for seed in range(runs)]
        figures[f"start_median_{100 * drop:.0f}"] = median(
            StartMonitor.of(scores, rate=RATE).alarmed_at for scores in bad
        )
    for drop in DROPS:
        figures[f"later_median_{100 * drop:.0f}"] = median(_later(drop, seed) for seed in range(runs))
    return figures


def _later(drop: float, seed: int) -> int | None:
    """Outcomes from the loss to the alarm; a run that alarmed before is one of the false alarms, and drawn anew."""
    for attempt in range(100):
        good = Cusum.of(outcomes(f"good {drop} {seed} {attempt}", GOOD, RATE), rate=RATE)
        if not good.alarm:
            at = good.fold(outcomes(f"later {drop} {seed}", HORIZON, RATE - drop)).alarmed_at
            return None if at is None else at - GOOD
    raise AssertionError("nearly every good run alarms")


def false_alarms(runs: int) -> dict[str, float]:
    """Shares of runs with an alarm although the rate is what it was."""
    good = [outcomes(f"null {seed}", HORIZON, RATE) for seed in range(runs)]
    return {
        "false_alarm_start": statistics.fmean(StartMonitor.of(scores, rate=RATE).alarm for scores in good),
        "false_alarm_later": statistics.fmean(Cusum.of(scores, rate=RATE).alarm for scores in good),
    }


# ── against those held back ─────────────────────────────────────────────────────────────────


def arms(seed: str, share: float, *, treated: float, held_back: float) -> Iterator[tuple[float, bool]]:
    """Scores of both arms as they come, without end."""
    chance = random.Random(seed)
    while True:
        arm = chance.random() < share
        yield float(chance.random() < (treated if arm else held_back)), arm


def first_alarm(readings: Iterator[tuple[float, bool]], within: int, step: int = 50) -> int | None:
    """The outcome at which the hold-back test alarms, if it is one of the first `within`."""
    test = HoldbackTest()
    while not test.alarm and test.readings < within:
        test = test.fold(next(readings) for _ in range(step))
    return test.alarmed_at


def holdback(seeds: Seeds) -> dict[str, float]:
    """Median outcomes of both arms until the alarm, and false alarms, for several shares of treated sessions."""
    figures: dict[str, float] = {}
    for share in SHARES:
        name = "" if share == SHARES[0] else f"_share_{100 * share:.0f}"
        for drop in DROPS:
            figures[f"holdback_median_{100 * drop:.0f}{name}"] = median(
                first_alarm(arms(f"{seed}", share, treated=RATE - drop, held_back=RATE), 40_000) for seed in seeds
            )
        figures[f"holdback_false_alarm{name}"] = _share(
            lambda seed, share=share: first_alarm(arms(f"null {seed}", share, treated=RATE, held_back=RATE), HORIZON),
            range(len(list(seeds)) * 5),
        )
    return figures


def world(seeds: Seeds) -> dict[str, float]:
    """Shares of alarms within 1,000 outcomes of both arms, if the rate falls to .5 for everybody."""

    def start(seed: int) -> int | None:
        readings = arms(f"world {seed}", 0.5, treated=RATE - 0.2, held_back=RATE - 0.2)
        scores = (score for score, arm in (next(readings) for _ in range(1_000)) if arm)
        return StartMonitor.of(scores, rate=RATE).alarmed_at

    def beside(seed: int) -> int | None:
        return first_alarm(arms(f"world {seed}", 0.5, treated=RATE - 0.2, held_back=RATE - 0.2), 1_000)

    return {"world_alarm_start": _share(start, seeds), "world_alarm_holdback": _share(beside, seeds)}


def _share(alarm: Callable[[int], int | None], seeds: Seeds) -> float:
    return statistics.fmean(alarm(seed) is not None for seed in seeds)


def speed() -> dict[str, float]:
    """Milliseconds to fold 3,000 readings, best of five."""
    scores = outcomes("speed", HORIZON, RATE)
    both = [(score, number % 2 == 0) for number, score in enumerate(scores)]
    folds: dict[str, Callable[[], object]] = {
        "fold_start_ms": lambda: StartMonitor.of(scores, rate=RATE),
        "fold_later_ms": lambda: Cusum.of(scores, rate=RATE),
        "fold_holdback_ms": lambda: HoldbackTest.of(both),
    }
    return {name: min(_ms(fold) for _ in range(5)) for name, fold in folds.items()}


def _ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1_000


if __name__ == "__main__":
    main()
