"""A verdict in words and numbers that a person can check by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tokenspace.domain import Attempt, Case, Context, Edit, Feedback, Kind, Op, Patch, Put, Verdict
from tokenspace.gates.settings import GateSettings
from tokenspace.gates.tier import tier
from tokenspace.stats import BINARY_BETS, GRADED_BETS, Panel, SequentialTest

Counts = Sequence[tuple[float, int]]

_BASES: Final = {"tested": "by replay", "human": "on a person's word", "policy": "by policy, unverified by replay"}
_DECIDED: Final = {"accept": "accepted", "reject": "rejected", "defer": "held back", "abstain": "nothing was proposed"}


class Line(NamedTuple):
    """One step of an explanation: what it is about, and what is said about it."""

    about: str
    words: str


class Step(NamedTuple):
    """One pair of the test: its case, what the edit changed in the score, and the e-value of benefit after it."""

    case: str
    principal: str
    difference: float
    e_benefit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a verdict fell as it did. `needed` is 1/α, None at tiers without a test; `path` follows the evidence."""

    tier: int
    alpha: float | None
    needed: float | None
    lines: tuple[Line, ...]
    path: tuple[Step, ...] = ()


def explain(
    attempt: Attempt,
    *,
    context: Context,
    feedback: Sequence[Feedback],
    cases: Mapping[str, Case],
    settings: GateSettings,
) -> Explanation:
    """Explain an attempt's verdict. `context` is the one that it was about, `cases` those of its scope by id.

    All numbers are derived again from the recorded differences with these settings, so that they can be compared
    with the recorded ones; where the settings have changed since, the two differ, and both are shown.
    """
    verdict = attempt.verdict
    alpha = settings.alpha.get(verdict.tier)
    panel, path = _retold(verdict, cases, settings)
    lines = [
        Line("verdict", f"{_DECIDED[verdict.decision]} {_BASES[verdict.basis]}: {verdict.reason or 'no reason given'}"),
        Line("tier", f"T{verdict.tier}: {_why_tier(attempt.edit, context, feedback, settings)}"),
        _level(alpha),
    ]
    if verdict.pairs:
        lines += _evidence(verdict, panel, alpha, settings)
    lines += _after(verdict, settings)
    needed = None if alpha is None else 1 / alpha
    return Explanation(tier=verdict.tier, alpha=alpha, needed=needed, lines=tuple(lines), path=path)


# ── why this tier ───────────────────────────────────────────────────────────────────────────


def _why_tier(edit: Edit | None, context: Context, feedback: Sequence[Feedback], settings: GateSettings) -> str:
    """The strictest operation, and why it is judged as it is."""
    if edit is None or not edit.ops:
        return "nothing was proposed"

    def strictness(op: Op) -> int:
        return tier(Edit(ops=(op,), evidence=edit.evidence), context, feedback, settings)

    strictest = max(edit.ops, key=strictness)
    kind = _kind(strictest, context).value.replace("_", " ")
    scope = context.scope
    told = sorted({item.principal for item in feedback if item.id in edit.evidence})
    match strictness(strictest):
        case 4:
            why = "in the shared base, which everybody reads"
        case 3 if not scope.user:
            why = f"in the layer of tenant {scope.tenant}, which all its users read"
        case 3:
            why = "steers everything that the agent does, even for one user"
        case 2:
            why = f"of user {scope.user} alone, which is an instruction to the agent"
        case 1 if told and settings.teachers.issuperset(told) and _kind(strictest, context) is Kind.EXAMPLE:
            why = f"from {', '.join(told)}, who may teach here"
        case 1:
            why = f"of user {scope.user} alone, which code can settle"
        case _:
            why = f"of user {scope.user} alone, which can change nobody else's answers"
    more = f"; the strictest of {len(edit.ops)} operations" if len(edit.ops) > 1 else ""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} {why}{more}"


def _kind(op: Op, context: Context) -> Kind:
    if isinstance(op, Put):
        return op.entry.kind
    if isinstance(op, Patch) and "kind" in op.changes:
        return Kind(op.changes["kind"])
    return context.by_id[op.id].kind if op.id in context.by_id else Kind.INSTRUCTION


def _level(alpha: float | None) -> Line:
    if alpha is None:
        return Line("level", "this tier is settled by policy and by the guard: it has no test of benefit to pass")
    return Line(
        "level",
        f"α = {alpha:g}: an edit that does not help passes with a chance of at most {alpha:.0%}, however often one "
        f"looks; so the evidence must reach 1/α = {1 / alpha:g}",
    )


# ── the test ────────────────────────────────────────────────────────────────────────────────


def _retold(verdict: Verdict, cases: Mapping[str, Case], settings: GateSettings) -> tuple[Panel, tuple[Step, ...]]:
    """The test as it went, from the recorded differences; from the counts alone where there are none."""
    empty = Panel(
        delta_min=settings.delta_min, drop=settings.principals.get(verdict.tier, 1) - 1, exempt=settings.operators
    )
    if len(verdict.differences) != len(verdict.cases):
        ties = max(0, verdict.pairs - verdict.fixes - verdict.breaks)
        test = SequentialTest.of_counts(verdict.fixes, verdict.breaks, ties=ties, delta_min=settings.delta_min)
        return Panel(delta_min=settings.delta_min, tests=(("", test),)), ()
    pairs = [
        (case, cases[case].principal if case in cases else "", difference)
        for case, difference in zip(verdict.cases, verdict.differences, strict=True)
    ]
    graded = Panel(graded=True, delta_min=empty.delta_min, drop=empty.drop, exempt=empty.exempt)
    told = [_steps(panel, pairs) for panel in (empty, graded)]

    def miss(panel: Panel) -> float:
        """How far its evidence is from the recorded one: which bets were made is not on record."""
        return abs(math.log(panel.e_benefit) - math.log(verdict.e_benefit)) if verdict.e_benefit > 0 else 0.0

    if any(difference not in (-1.0, 0.0, 1.0) for _, _, difference in pairs):
        return told[1]
    return min(told, key=lambda one: miss(one[0]))


def _steps(panel: Panel, pairs: Sequence[tuple[str, str, float]]) -> tuple[Panel, tuple[Step, ...]]:
    path: list[Step] = []
    for case, principal, difference in pairs:
        panel = panel.update(principal, difference)
        path.append(Step(case, principal, difference, panel.e_benefit))
    return panel, tuple(path)


def _evidence(verdict: Verdict, panel: Panel, alpha: float | None, settings: GateSettings) -> list[Line]:
    test, where = panel.pooled, f" on {verdict.model}" if verdict.model else ""
    ties = max(0, verdict.pairs - verdict.fixes - verdict.breaks)
    lines = [
        Line("pairs", f"{verdict.pairs} case(s) replayed with and without the edit{where}: {verdict.fixes} fixed, "
                      f"{verdict.breaks} broken, {ties} the same"),
    ]  # fmt: skip
    if not verdict.cases or alpha is None:
        return lines
    lines.append(Line("benefit", f"E = {_formula(test)}{_compared(test.e_benefit, 1 / alpha)}"))
    if panel.drop:
        lines.append(_principals(panel, verdict, alpha))
    if not math.isclose(panel.e_benefit, verdict.e_benefit, rel_tol=1e-6):
        lines.append(Line("on record", f"E = {verdict.e_benefit:.4g}, as the gate had it under its settings then"))
    harm = _compared(test.e_harm, 1 / alpha)
    lines.append(Line("harm", f"the same bet on the contrary, −D: {test.e_harm:.4g}{harm}"))
    beta, delta = settings.beta, settings.delta_min
    futile = _compared(test.e_futility, 1 / beta)
    lines.append(
        Line("futility", f"F = mean over λ of Π(1 + λ(δ − D)/(1 − δ)) with δ = {delta:g} is {test.e_futility:.4g}"
                         f"{futile} = 1/β, where it would be given up")
    )  # fmt: skip
    return lines


def _formula(test: SequentialTest) -> str:
    """The bet with its numbers put in: the mean of one product for each λ."""
    if test.graded:
        head, bets = "mean over λ of Π(1 + λD)", GRADED_BETS
        products = [math.exp(math.fsum(n * math.log1p(bet * d) for d, n in test.counts)) for bet in bets]
        terms = [f"λ={bet:g}" for bet in bets]
        shown = " + ".join(f"{product:.4g} at {term}" for product, term in zip(products, terms, strict=True))
        return f"{head} = ({shown})/{len(bets)} = {test.e_benefit:.4g}"
    fixes, breaks, bets = test.fixes, test.breaks, BINARY_BETS
    head = f"mean over θ of (2θ)^{fixes}·(2(1−θ))^{breaks}"
    terms = [_power(1 + bet, fixes, 1 - bet, breaks) for bet in bets]
    products = [(1 + bet) ** fixes * (1 - bet) ** breaks for bet in bets]
    shown = " + ".join(f"{product:.4g}" for product in products)
    return f"{head} = ({' + '.join(terms)})/{len(bets)} = ({shown})/{len(bets)} = {test.e_benefit:.4g}"


def _power(up: float, fixes: int, down: float, breaks: int) -> str:
    parts = [f"{up:.3g}^{fixes}"] if fixes else []
    parts += [f"{down:.3g}^{breaks}"] if breaks else []
    return "·".join(parts) or "1"


def _principals(panel: Panel, verdict: Verdict, alpha: float) -> Line:
    """Who the evidence comes from, and who is left out."""
    each = [(name or "unnamed", test.e_benefit) for name, test in panel.tests]
    told = ", ".join(f"{name} {e:.4g}" for name, e in sorted(each, key=lambda one: -one[1]))
    exempt = ", ".join(sorted(name for name, _ in panel.tests if name in panel.exempt))
    counted = f" ({exempt} counts for all of them)" if exempt else ""
    return Line(
        "principals",
        f"{panel.drop + 1} are needed{counted}, {verdict.support} support it. By principal E is {told}; the product "
        f"without the {panel.drop} most convinced is {panel.e_benefit:.4g}{_compared(panel.e_benefit, 1 / alpha)}",
    )


def _compared(value: float, limit: float) -> str:
    return f" ≥ {limit:g}" if value >= limit else f" < {limit:g}"


# ── the rest ────────────────────────────────────────────────────────────────────────────────


def _after(verdict: Verdict, settings: GateSettings) -> list[Line]:
    lines: list[Line] = []
    if verdict.decision == "accept" and verdict.share < 1:
        lines.append(Line("canary", f"served to {verdict.share:.0%} of the sessions first, and watched there"))
    if verdict.decision == "defer" and verdict.tier in settings.alpha and not verdict.pairs:
        lines.append(Line("missing", "no pair was tested: verified cases of the same kind would decide it"))
    usage = verdict.usage
    tokens = usage.input_tokens + usage.output_tokens
    each = f", {usage.calls / verdict.pairs:.1f} a pair" if verdict.pairs else ""
    usd = f", ${usage.usd:.4f}" if usage.usd else ""
    lines.append(Line("cost", f"{usage.calls} model call(s){each}, {tokens:,} tokens{usd}"))
    if verdict.gate:
        lines.append(Line("gate", verdict.gate))
    return lines
