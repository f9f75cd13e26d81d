"""Evidence for an edit that affects others, kept apart by who it came from.

Whoever controls the feedback can fake wins. With plain pooling one liar is enough; here k distinct principals are.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

from tokenspace.errors import UsageError
from tokenspace.stats.betting import BINARY_BETS, GRADED_BETS, Finding, SequentialTest, e_value, log_e


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One `SequentialTest` per principal, of whom the `drop` = k − 1 most convinced are not listened to.

    **Benefit** is the product of the principals' e-values without the `drop` largest. An e-value below 1 is never
    among those left out: then somebody who has not spoken yet (e = 1) is left out instead.

    *Valid:* under "the edit helps nobody" every difference has a mean ≤ 0 whatever came before, so each principal's
    wealth is a martingale or falls, and only one factor of a product moves at a time: the product over any set of
    principals that was fixed beforehand is a non-negative supermartingale too. Let at most `drop` principals be
    liars. Whatever they send, leaving out the `drop` largest gives the *smallest* product that leaving out any `drop`
    can give, so it is ≤ the product with exactly the liars left out, which is over honest principals only. That one
    reaches 1/α with chance ≤ α (Ville), and so does ours.

    *k − 1 liars never cause acceptance:* by the same inequality an edit is accepted only if the honest evidence alone
    reaches 1/α. Liars can *prevent* acceptance, by faking losses; that costs an improvement and harms nobody.

    **Exempt** principals, the operator's, are never left out, and one of them with e > 1 counts for all k.

    **Harm, futility and the cap** look at one pooled test. There splitting would protect nobody: what is at stake is
    stopping an edit, and evidence in small portions stops it later.

    **Accepting** also asks the pooled test for 1/α. A product of separate bets is evidence against "helps nobody", and
    an edit that helps one principal as much as it hurts another passes it; pooled, it is tested on the average. With
    `drop` = 0 several principals so need both the plain product and the pooled test, and one principal alone is
    exactly `SequentialTest`. Benefit and harm can never both be found.

    `tests` are the states by principal, sorted by name. Principals must be authenticated: evidence whose origin is
    not known belongs under one common name.

    >>> panel = Panel(drop=1)
    >>> for name in ("ann", "bob"):
    ...     for _ in range(6):
    ...         panel = panel.update(name, 1.0)
    >>> panel.pooled.fixes, round(panel.e_benefit, 1), panel.support, panel.decide()
    (12, 22.9, 2, 'accept')
    """

    graded: bool = False
    delta_min: float = 0.10
    drop: int = 0
    exempt: frozenset[str] = frozenset()
    tests: tuple[tuple[str, SequentialTest], ...] = ()

    def __post_init__(self) -> None:
        if self.drop < 0:
            raise UsageError(f"{self.drop} principals cannot be left out", hint="drop is k − 1, so 0 or more")
        self._new()  # checks delta_min

    def _new(self) -> SequentialTest:
        return SequentialTest(graded=self.graded, delta_min=self.delta_min)

    def update(self, principal: str, difference: float) -> Panel:
        """The state after one more difference in [−1, 1], on a case of this principal.

        Raises `UsageError` for anything else, NaN included.
        """
        tests = dict(self.tests)
        tests[principal] = tests.get(principal, self._new()).update(difference)
        return replace(self, tests=tuple(sorted(tests.items())))

    @property
    def pooled(self) -> SequentialTest:
        """The test of all differences together, whoever they came from."""
        counts = Counter[float]()
        for _, test in self.tests:
            counts.update(dict(test.counts))
        return replace(self._new(), counts=tuple(sorted(counts.items())))

    @property
    def e_benefit(self) -> float:
        """The product of the principals' e-values, without the `drop` largest."""
        return e_value(self._log_benefit())

    @property
    def support(self) -> int:
        """How many distinct principals have an e-value above 1, so that their own cases speak for the edit.

        A fix is no support where breaks stand against it. An exempt principal counts for `drop` + 1. With no principal
        exempt, a benefit of 1/α implies `drop` + 1 of them.
        """
        convinced = [name for name, log in self._logs() if log > 0]
        return sum(self.drop + 1 if name in self.exempt else 1 for name in convinced)

    @property
    def e_harm(self) -> float:
        """Pooled evidence against "the edit does not harm"."""
        return self.pooled.e_harm

    @property
    def e_futility(self) -> float:
        """Pooled evidence against "the edit helps by at least `delta_min`"."""
        return self.pooled.e_futility

    @property
    def pairs(self) -> int:
        """How many case clusters entered, of all principals."""
        return self.pooled.pairs

    @property
    def fixes(self) -> int:
        """On how many the candidate scored higher."""
        return self.pooled.fixes

    @property
    def breaks(self) -> int:
        """On how many the candidate scored lower."""
        return self.pooled.breaks

    @property
    def ties(self) -> int:
        """On how many both scored the same."""
        return self.pooled.ties

    def decide(self, *, alpha: float = 0.05, beta: float = 0.20, cap: float = 200) -> Finding:
        """As `SequentialTest.decide`; "accept" also needs `e_benefit` ≥ 1/α and the support of `drop` + 1.

        An edit that lacks only these goes on until the cap, waiting for others who have the same experience.
        """
        pooled = self.pooled
        found = pooled.decide(alpha=alpha, beta=beta, cap=cap)
        if found != "accept" or (self._log_benefit() >= -math.log(alpha) and self.support > self.drop):
            return found
        return "futile" if pooled.pairs >= cap else "continue"

    def _logs(self) -> list[tuple[str, float]]:
        bets = GRADED_BETS if self.graded else BINARY_BETS
        return [(name, log_e(test.counts, bets)) for name, test in self.tests]

    def _log_benefit(self) -> float:
        logs = self._logs()
        droppable = sorted((log for name, log in logs if log > 0 and name not in self.exempt), reverse=True)
        kept = [log for name, log in logs if log <= 0 or name in self.exempt]
        return math.fsum(kept + droppable[self.drop :])
