"""Which entry causes a behaviour? Bayesian group ablation: leave out a group, look, update, halve again.

Five kinds of cause are weighed against each other, each exactly:

===========  =========================================================  ============================
cause        the behaviour vanishes                                     prior
===========  =========================================================  ============================
one entry    when that entry is left out                                7/10, over the entries
either       only when both of two entries are left out                 1/20, over the pairs
many         only when all are left out: every entry does it            1/20
the model    never: it needs no entry                                   1/10
gone         always: it does not happen again, whatever is left in      1/10
===========  =========================================================  ============================

A replay is noisy: the behaviour `persists` though its cause was left out, or `vanishes` though it was not, with
known probabilities. So every replay multiplies the weight of each cause by the likelihood of what was seen (Bayes),
and the next group is the one whose outcome tells most. Where two entries are needed *together*, leaving out either
ends the behaviour, and either is a right answer. "Many" stands for all cases of three or more that each do it: it fits
them better than the kinds above. At 10 % noise on both sides one replay carries ½ bit at most
(1 − H(.1)): one entry of 64 takes at least 12 replays, one of 1,000 at least 19.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations
from typing import Final, Literal, NamedTuple

from tokenspace.errors import UsageError

SURE: Final = 0.95
"""A cause of this posterior probability is worth confirming."""

_DOUBT: Final = 0.05
_ONE, _EITHER, _MANY, _MODEL, _GONE = 0.7, 0.05, 0.05, 0.1, 0.1
_MANY_ENTRIES = 3


class Suspect(NamedTuple):
    """A cause with its posterior probability; `entries` are its indices, empty unless it is "one" or "either"."""

    kind: Literal["one", "either", "many", "model", "gone"]
    entries: tuple[int, ...]
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """The posterior over what causes a behaviour, after some replays; `update` returns the next state.

    `one[i]` is the probability that entry i causes it alone, `either[i][k]` that entries i and i + 1 + k each do,
    `many`, `model` and `gone` as in the module's table; they sum to 1. Begin with `Ablation.of(entries)`.

    >>> state = Ablation.of(8, noise=0.001)
    >>> while state.likeliest.probability < SURE:
    ...     group = state.next_group()
    ...     state = state.update(group, shows=5 not in group)
    >>> state.likeliest.kind, state.likeliest.entries
    ('one', (5,))
    """

    persists: float
    vanishes: float
    one: tuple[float, ...]
    either: tuple[tuple[float, ...], ...]
    many: float
    model: float
    gone: float

    @classmethod
    def of(cls, entries: int, *, noise: float = 0.1) -> Ablation:
        """Before any replay. `noise`, in (0, ½), is how often a replay shows the contrary of what its cause says."""
        if entries < 1 or not 0 < noise < 0.5:
            raise UsageError(
                f"nothing can be found among {entries} entries at a noise of {noise}",
                hint="give at least one entry, and a noise above 0 and below one half",
            )
        pairs = entries * (entries - 1) // 2
        many = _MANY if entries >= _MANY_ENTRIES else 0.0
        one = 1 - _MODEL - _GONE - many - (_EITHER if pairs else 0.0)
        return cls(
            persists=noise,
            vanishes=noise,
            one=(one / entries,) * entries,
            either=tuple((_EITHER / pairs,) * (entries - 1 - i) for i in range(entries)) if pairs else ((),),
            many=many,
            model=_MODEL,
            gone=_GONE,
        )

    def update(self, removed: Collection[int], *, shows: bool) -> Ablation:
        """The state after one more replay without the entries `removed`, in which the behaviour shows or does not."""
        ended = self.persists if shows else 1 - self.persists
        stays = 1 - self.vanishes if shows else self.vanishes
        out = [i in removed for i in range(len(self.one))]
        one = [weight * (ended if out[i] else stays) for i, weight in enumerate(self.one)]
        either = [
            [weight * (ended if out[i] and gone else stays) for weight, gone in zip(row, out[i + 1 :], strict=True)]
            for i, row in enumerate(self.either)
        ]
        many = self.many * (ended if all(out) else stays)
        model, gone = self.model * stays, self.gone * ended
        total = math.fsum((*one, *(math.fsum(row) for row in either), many, model, gone))
        return replace(
            self,
            one=tuple(weight / total for weight in one),
            either=tuple(tuple(weight / total for weight in row) for row in either),
            many=many / total,
            model=model / total,
            gone=gone / total,
        )

    @property
    def likeliest(self) -> Suspect:
        """The most probable cause."""
        best = max(range(len(self.one)), key=self.one.__getitem__)
        found = [
            Suspect("one", (best,), self.one[best]),
            Suspect("many", (), self.many),
            Suspect("model", (), self.model),
            Suspect("gone", (), self.gone),
        ]
        weights = [weight for row in self.either for weight in row]
        if weights:
            place = max(range(len(weights)), key=weights.__getitem__)
            pair = list(combinations(range(len(self.one)), 2))[place]
            found.append(Suspect("either", pair, weights[place]))
        return max(found, key=lambda suspect: suspect.probability)

    @property
    def none_alone(self) -> float:
        """The probability that no single entry causes it, but each of two or more."""
        return self.many + math.fsum(weight for row in self.either for weight in row)

    @property
    def involved(self) -> list[float]:
        """For each entry the probability that it is the cause, or one of the two."""
        share = list(self.one)
        for i, row in enumerate(self.either):
            share[i] += math.fsum(row)
            for j, weight in enumerate(row, i + 1):
                share[j] += weight
        return share

    def next_group(self) -> tuple[int, ...]:
        """The entries to leave out next; the same state always gives the same group.

        Nothing while it is open whether the behaviour happens again, everything while it is open whether it needs
        any entry; then the likeliest entries, as many as make the outcome most informative, which is about half
        of the probability.
        """
        if self.gone > _DOUBT:
            return ()
        if self.model > _DOUBT:
            return tuple(range(len(self.one)))
        share = self.involved
        order = sorted(range(len(share)), key=lambda i: (-share[i], i))
        mass = self._mass(order)
        most = max(range(len(order)), key=lambda size: self._information(mass[size]))
        return tuple(sorted(order[: most + 1]))

    def _mass(self, order: Sequence[int]) -> list[float]:
        """The probability that the behaviour's cause is gone with the first 1, 2, … entries of `order`."""
        gained: list[float] = []
        for place, i in enumerate(order):
            pairs = (self.either[min(i, j)][abs(i - j) - 1] for j in order[:place])
            gained.append(self.one[i] + math.fsum(pairs))
        mass = [self.gone + mass for mass in accumulate(gained)]
        return [*mass[:-1], mass[-1] + self.many]

    def _information(self, mass: float) -> float:
        """Expected information of a replay, in bits, if its group holds the cause with probability `mass`."""
        shows = mass * self.persists + (1 - mass) * (1 - self.vanishes)
        return _entropy(shows) - mass * _entropy(self.persists) - (1 - mass) * _entropy(self.vanishes)


def settled(shown: int, runs: int, *, noise: float = 0.1, error: float = 0.05) -> bool | None:
    """Whether a behaviour that showed in `shown` of `runs` fresh replays is there (True), is not, or is open (None).

    Wald's sequential probability ratio test (1945) of 1 − `noise` against `noise`, either error at most `error`: at
    a noise of .1 it ends when one outcome leads by two.

    >>> settled(1, 1), settled(2, 2), settled(1, 3), settled(1, 4), settled(0, 1, noise=0.001)
    (None, True, None, False, False)
    """
    lead = (2 * shown - runs) * math.log((1 - noise) / noise)
    if abs(lead) < math.log((1 - error) / error):
        return None
    return lead > 0


def _entropy(share: float) -> float:
    return -sum(p * math.log2(p) for p in (share, 1 - share) if p > 0)
