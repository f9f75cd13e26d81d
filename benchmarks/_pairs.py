"""A CSV of paired outcomes through the gate's own test: `gate_recorded.py --pairs FILE`."""

from __future__ import annotations

import csv
import json
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tokenspace.errors import BadData
from tokenspace.stats import GRADED_BETS, MAX_MISSING_SHARE, Finding, Pair, PairedOutcomes, SequentialTest

COLUMNS: Final = ("item", "before", "after")
MISSING: Final = frozenset({"", "nan", "none", "null", "na"})
DECISIONS: Final = {"accept": "accept", "harm": "reject", "futile": "reject", "continue": "defer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How strict. Without `beta` there is no futility, with an infinite `cap` no end before the items do."""

    alpha: float = 0.05
    beta: float | None = None
    cap: float = math.inf
    delta_min: float = 0.10
    graded: bool = False

    @property
    def ties_count(self) -> bool:
        """Whether a pair without a difference can change a verdict."""
        return self.beta is not None or self.cap < math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One order of the items: what was found, after how many items, and E⁺ at each of those where it moved."""

    finding: Finding
    items: int
    test: SequentialTest
    path: tuple[tuple[int, float], ...] = ()


@lru_cache(maxsize=200_000)
def _next(test: SequentialTest, difference: float, level: Level) -> tuple[SequentialTest, Finding]:
    later = test.update(difference)
    return later, later.decide(alpha=level.alpha, beta=level.beta, cap=level.cap)


def walk(differences: Sequence[float], level: Level, *, path: bool = False) -> Walk:
    """Ask the test after every item, in this order, until it has found something or the items are used up."""
    test, moved = SequentialTest(graded=level.graded, delta_min=level.delta_min), list[tuple[int, float]]()
    for items, difference in enumerate(differences, 1):
        if not difference and not level.ties_count:
            continue
        test, finding = _next(test, difference, level)
        if path and difference:
            moved.append((items, test.e_benefit))
        if finding != "continue":
            return Walk(finding=finding, items=items, test=test, path=tuple(moved))
    return Walk(finding="continue", items=len(differences), test=test, path=tuple(moved))


def _quick_walk(differences: Sequence[float], level: Level) -> Walk:
    """`walk` for graded scores without futility, where hardly two states are alike: asks only where it must.

    A mean over λ reaches 1/α only if the largest does, so as long as no single bet has, there is nothing to find.
    """
    line, done = -math.log(level.alpha) - 1e-9, SequentialTest(graded=True, delta_min=level.delta_min)
    up, down, asked = [0.0] * len(GRADED_BETS), [0.0] * len(GRADED_BETS), 0
    for items, difference in enumerate(differences, 1):
        up = [log + math.log1p(bet * difference) for log, bet in zip(up, GRADED_BETS, strict=True)]
        down = [log + math.log1p(-bet * difference) for log, bet in zip(down, GRADED_BETS, strict=True)]
        if max(*up, *down) < line and items < min(level.cap, len(differences)):
            continue
        for seen in differences[asked:items]:
            done = done.update(seen)
        asked, finding = items, done.decide(alpha=level.alpha, beta=None, cap=level.cap)
        if finding != "continue":
            return Walk(finding=finding, items=items, test=done)
    return Walk(finding="continue", items=len(differences), test=done)


def in_random_orders(
    differences: Sequence[float], level: Level, *, orders: int, seed: object = 0
) -> tuple[float, float | None]:
    """Share of so many random orders that accept, and the median number of items of those; None if there are none."""
    draw, items, mixed = random.Random(str(seed)), list[int](), list(differences)
    for _ in range(orders):
        draw.shuffle(mixed)
        done = walk(mixed, level) if level.beta is not None or not level.graded else _quick_walk(mixed, level)
        if done.finding == "accept":
            items.append(done.items)
    return len(items) / orders, statistics.median(items) if items else None


# ── The file ─────────────────────────────────────────────────────────────────────────────────


def read(path: Path) -> tuple[PairedOutcomes, bool]:
    """The pairs of a CSV with the columns item, before and after, and whether its scores are graded.

    An item that comes several times enters once, with the mean of its runs; empty or NaN is a measurement that
    failed. Scores are graded if any of them is neither 0 nor 1, or any item has several runs: that is settled here
    for the whole file, before the first pair, and does not depend on which of the two arms a score belongs to.

    Raises `BadData` with the line for anything else.
    """
    runs: dict[str, tuple[list[float | None], list[float | None]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for item, before, after in _rows(path, csv.reader(file)):
                old, new = runs.setdefault(item, ([], []))
                old.append(before)
                new.append(after)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadData(f"{path} cannot be read: {error}", hint="give a CSV file in UTF-8") from error
    if not runs:
        raise BadData(f"{path}:2: there are no pairs", hint="write one item a line")
    scores = {score for arms in runs.values() for arm in arms for score in arm if score is not None}
    graded = not scores <= {0.0, 1.0} or any(len(old) > 1 for old, _ in runs.values())
    pairs = [Pair(case=item, cluster=item, incumbent=old, candidate=new) for item, (old, new) in runs.items()]
    return PairedOutcomes(pairs=pairs), graded


def _rows(path: Path, lines: Any) -> Iterator[tuple[str, float | None, float | None]]:
    header = [cell.strip().lower() for cell in next(lines, [])]
    if sorted(header) != sorted(COLUMNS):
        raise BadData(f"{path}:1: the columns are {header}", hint="the header is item,before,after")
    for cells in lines:
        place = f"{path}:{lines.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(COLUMNS):
            raise BadData(f"{place}: {len(cells)} value(s), not 3", hint="each line has an item and two scores")
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        if not row["item"]:
            raise BadData(f"{place}: the item has no name", hint="name what was run under both contexts")
        yield row["item"], _score(row["before"], f"{place}: before"), _score(row["after"], f"{place}: after")


def _score(text: str, place: str) -> float | None:
    if text.lower() in MISSING:
        return None
    try:
        score = float(text)
    except ValueError:
        score = math.inf
    if not 0 <= score <= 1:
        raise BadData(f"{place} is {text!r}, not a score", hint="scores lie between 0 and 1; leave out what is missing")
    return score


# ── What is printed ──────────────────────────────────────────────────────────────────────────


def report(outcomes: PairedOutcomes, level: Level, *, orders: int | None, as_json: bool) -> str:
    """The verdict on a file in its own order, or, with `orders`, how random orders of it end."""
    differences = tuple(outcomes.differences.values())
    if orders:
        accepted, items = in_random_orders(differences, level, orders=orders)
        if outcomes.must_defer:
            accepted, items = 0.0, None
        median = int(items) if items is not None and items == int(items) else items
        if as_json:
            return json.dumps({"accepted": accepted, "items_median": median})
        return f"accepted in {accepted:.1%} of {orders} random orders; items in the middle one of those: {median}"
    done = walk(differences, level, path=True)
    decision = "defer" if outcomes.must_defer else DECISIONS[done.finding]
    if as_json:
        body = {"verdict": decision, "finding": done.finding, "items": done.items, "e_value": done.test.e_benefit}
        body |= {"path": [list(step) for step in done.path], "missing": outcomes.missing_share}
        return json.dumps(body)
    test, grid = done.test, "λ grid, graded scores" if level.graded else "θ grid, scores of 0 and 1"
    lines = [
        f"verdict: {decision}, {_why(outcomes, done, level)}",
        f"items used: {done.items} of {len(outcomes.pairs)}; {test.fixes} fixed, {test.breaks} broken",
        f"e-value: {test.e_benefit:.3g} for benefit ({1 / level.alpha:.3g} accept), {test.e_harm:.3g} for harm; {grid}",
        "e-value path (item: value): " + (", ".join(f"{item}: {e:.3g}" for item, e in done.path) or "it never moved"),
    ]
    return "\n".join(lines)


def _why(outcomes: PairedOutcomes, done: Walk, level: Level) -> str:
    if outcomes.must_defer:
        return f"{outcomes.missing_share:.0%} of the items lack a measurement, more than {MAX_MISSING_SHARE:.0%}"
    return {
        "accept": f"it helps: at level {level.alpha:g}, however often one looks",
        "harm": "it harms",
        "futile": f"no benefit of {level.delta_min:g} was shown in {done.items} items",
        "continue": "unverified: the items do not show a benefit, and rule none out",
    }[done.finding]
