"""Watching an edit that is already served: an alarm when outcomes get worse, whenever one looks.

Three bets as in `tokenspace.stats.betting`, on scores in [0, 1] that arrive one by one:

==================  ==============================================  ===========================================
monitor             bet against                                     what its alarm is worth
==================  ==============================================  ===========================================
`StartMonitor`      "the success rate is at least `rate`"           wrong with chance ≤ 1/threshold, ever (Ville)
`Cusum`             the same, from any moment on                    wrong once in ≥ threshold readings on average
`HoldbackTest`      "the treated are not worse than the held back"  wrong with chance ≤ 1/threshold, ever (Ville)
==================  ==============================================  ===========================================

The first two need a rate that was known before, and blame the edit when the world gets harder; the third needs no
rate and is not deceived by the world, but learns nothing once nobody is held back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Final, Self

from tokenspace.errors import UsageError
from tokenspace.stats.betting import GRADED_BETS, e_value, log_mean

MONITOR_BETS: Final = (0.1, 0.2, 0.4, 0.6)
"""λ·(1 − rate). A fall from p to q is found soonest at 1 − q/p: here 7, 14, 28 and 42 points of a rate of .7."""


def _checked(score: float) -> float:
    if not 0 <= score <= 1:
        raise UsageError(
            f"a score of {score} cannot enter a monitor",
            hint="scores lie between 0 and 1; leave out an outcome that could not be measured",
        )
    return score


def _grown(logs: tuple[float, ...], gain: float) -> tuple[float, ...]:
    return tuple([log + math.log1p(bet * gain) for log, bet in zip(logs, GRADED_BETS, strict=True)])


def _check_threshold(threshold: float) -> None:
    if not 1 < threshold < math.inf:
        raise UsageError(
            f"a threshold of {threshold} is no level of evidence",
            hint="it is 1/α, such as 100 for one false alarm in a hundred",
        )


@dataclass(frozen=True, slots=True)
class _Monitor:
    """Wealth for each λ, and when the mean over λ first reached the threshold.

    `logs` are natural logarithms of the wealth, one for each of `MONITOR_BETS`. `alarmed_at` is the number of the
    reading, from 1, at which the alarm came; it stays, because a level holds for the first crossing.
    """

    _fresh: ClassVar[float]  # logarithm of the wealth below which a bettor begins afresh

    rate: float
    threshold: float
    _: KW_ONLY
    logs: tuple[float, ...] = (0.0,) * len(MONITOR_BETS)
    readings: int = 0
    alarmed_at: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise UsageError(
                f"a rate of {self.rate} is not between 0 and 1",
                hint="give a lower bound of the success rate that was known before, such as 0.7",
            )
        _check_threshold(self.threshold)

    def update(self, score: float) -> Self:
        """The state after one more score in [0, 1]; raises `UsageError` for anything else, NaN included."""
        return self.fold((score,))

    def fold(self, scores: Iterable[float]) -> Self:
        """The state after these scores, in their order: the same as `update` one by one, and quicker."""
        logs, readings, alarmed_at = list(self.logs), self.readings, self.alarmed_at
        fresh, line = self._fresh, math.log(self.threshold)
        known: dict[float, tuple[float, ...]] = {}  # most scores are 0 or 1
        for score in scores:
            gains = known.get(score) or known.setdefault(score, self._gains(score))
            # max() would take half as long again
            logs = [(log if log > fresh else fresh) + gain for log, gain in zip(logs, gains, strict=True)]  # noqa: FURB136
            readings += 1
            # a mean is never above the largest, which is quicker to find
            if alarmed_at is None and max(logs) >= line and log_mean(logs) >= line:
                alarmed_at = readings
        return replace(self, logs=tuple(logs), readings=readings, alarmed_at=alarmed_at)

    def _gains(self, score: float) -> tuple[float, ...]:
        loss = self.rate - _checked(score)
        return tuple(math.log1p(bet / (1 - self.rate) * loss) for bet in MONITOR_BETS)

    @property
    def e(self) -> float:
        """Evidence now, the mean over λ; it may have been higher before."""
        return e_value(log_mean(self.logs))

    @property
    def alarm(self) -> bool:
        """Whether the evidence has ever reached the threshold."""
        return self.alarmed_at is not None


@dataclass(frozen=True, slots=True)
class StartMonitor(_Monitor):
    """E-process against "the success rate is at least `rate`": is it worse from the start?

    With X = rate − score, the mean of Π(1 + λX) over λ = `MONITOR_BETS`/(1 − rate). λ < 1/(1 − rate) keeps every
    factor positive. As long as every score has a mean ≥ rate, whatever came before, each product is a non-negative
    supermartingale that begins at 1, and so the chance that it ever alarms is ≤ 1/threshold. `rate` is a lower bound
    in (0, 1) of the rate that was known.

    >>> monitor = StartMonitor.of([1, 0, 0, 1, 0, 0, 0, 0, 0, 0], rate=0.7)
    >>> monitor.readings, monitor.alarm, monitor.update(0).alarmed_at
    (10, False, 11)
    """

    _fresh = -math.inf

    threshold: float = 100.0

    @classmethod
    def of(cls, scores: Iterable[float], *, rate: float, threshold: float = 100.0) -> StartMonitor:
        """The state after these scores."""
        return cls(rate, threshold).fold(scores)


@dataclass(frozen=True, slots=True)
class Cusum(_Monitor):
    """e-CUSUM against "the success rate is at least `rate`": did it get worse at some time?

    As `StartMonitor`, but the bettor of each λ begins afresh whenever less than 1 is left: M ← max(M, 1)·(1 + λX),
    then the mean over λ; good readings so cannot buy time for bad ones. M is at most the sum of the e-processes that
    begin at each reading, whose expected value is the number of readings: the mean time to a false alarm is
    ≥ threshold (Shin, Ramdas and Rinaldo 2024), and the chance of one within n readings ≤ n/threshold, in truth far
    less.

    >>> good = [1, 1, 0, 1, 1, 0, 1, 1, 1, 0] * 50
    >>> Cusum.of(good, rate=0.7).alarm, Cusum.of(good + [0] * 20, rate=0.7).alarmed_at
    (False, 512)
    """

    _fresh = 0.0

    threshold: float = 10_000.0

    @classmethod
    def of(cls, scores: Iterable[float], *, rate: float, threshold: float = 10_000.0) -> Cusum:
        """The state after these scores."""
        return cls(rate, threshold).fold(scores)


@dataclass(frozen=True, slots=True)
class HoldbackTest:
    """Anytime test of "the treated are not worse than those held back at the same time", and of the reverse.

    Readings come in any order and in unequal shares. They are cut into blocks: a block ends as soon as it has a
    reading of both arms, so it is some readings of one arm and then one of the other, and every reading is used. Its
    D is mean(treated) − mean(held back), in [−1, 1]; harm is the mean over λ in `GRADED_BETS` of Π(1 − λD), benefit
    that of Π(1 + λD).

    Why it is valid: where a block ends depends on the arms alone. If chance assigns the arms, and treated scores
    have a mean no lower than held-back ones within a block, then D has a mean ≥ 0 given all earlier blocks, and harm
    is a non-negative supermartingale. From block to block both rates may move as they like, as days and users do.
    Two things would break it: arms that depend on how the episode ends, for instance bad ends reported sooner in one
    arm; and a rate that moves much within one block, which has about 1/(smaller share) readings.

    `treated` and `held_back` are (readings, sum of scores) of the block that is open.

    >>> test = HoldbackTest.of([(1, False), (0, True)] * 9)
    >>> test.pairs, test.alarm, round(test.e_harm), test.e_benefit < 1
    (9, False, 84, True)
    >>> test.update(1, treated=False).update(0, treated=True).alarmed_at
    20
    """

    _: KW_ONLY
    threshold: float = 100.0
    logs_harm: tuple[float, ...] = (0.0,) * len(GRADED_BETS)
    logs_benefit: tuple[float, ...] = (0.0,) * len(GRADED_BETS)
    treated: tuple[int, float] = (0, 0.0)
    held_back: tuple[int, float] = (0, 0.0)
    pairs: int = 0
    readings: int = 0
    alarmed_at: int | None = None

    def __post_init__(self) -> None:
        _check_threshold(self.threshold)

    @classmethod
    def of(cls, readings: Iterable[tuple[float, bool]], *, threshold: float = 100.0) -> HoldbackTest:
        """The state after these (score, whether treated), in the order of their arrival."""
        return cls(threshold=threshold).fold(readings)

    def update(self, score: float, *, treated: bool) -> HoldbackTest:
        """The state after one more score in [0, 1] of one arm; raises `UsageError` for anything else."""
        return self.fold(((score, treated),))

    def fold(self, readings: Iterable[tuple[float, bool]]) -> HoldbackTest:
        """The state after these (score, whether treated): the same as `update` one by one, and quicker."""
        harm, benefit, line = self.logs_harm, self.logs_benefit, math.log(self.threshold)
        arms = [self.held_back, self.treated]
        count, pairs, alarmed_at = self.readings, self.pairs, self.alarmed_at
        for score, treated in readings:
            count += 1
            n, total = arms[treated]
            arms[treated] = (n + 1, total + _checked(score))
            (n_old, old), (n_new, new) = arms
            if not (n_old and n_new):
                continue
            difference = max(-1.0, min(1.0, new / n_new - old / n_old))  # rounding could miss [−1, 1] by a last bit
            harm, benefit = _grown(harm, -difference), _grown(benefit, difference)
            arms, pairs = [(0, 0.0), (0, 0.0)], pairs + 1
            if alarmed_at is None and max(harm) >= line and log_mean(harm) >= line:
                alarmed_at = count
        return HoldbackTest(
            threshold=self.threshold, logs_harm=harm, logs_benefit=benefit, held_back=arms[0], treated=arms[1],
            pairs=pairs, readings=count, alarmed_at=alarmed_at,
        )  # fmt: skip

    @property
    def e_harm(self) -> float:
        """Evidence now against "the treated are not worse"."""
        return e_value(log_mean(self.logs_harm))

    @property
    def e_benefit(self) -> float:
        """Evidence now against "the treated are not better"."""
        return e_value(log_mean(self.logs_benefit))

    @property
    def alarm(self) -> bool:
        """Whether the evidence for harm has ever reached the threshold."""
        return self.alarmed_at is not None
