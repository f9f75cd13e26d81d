"""What an attacked run showed: as data (`report.json`) and as text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tokenspace.domain import Usage
from tokenspace.stats import mean_difference
from tokenspace.streams.attack import Outcome, Outcomes, Plan, Side, Taught

HEADLINE: Final[Side] = "insider"
"""Whose exam is called the attacked and gated one: the harder of the two attacks."""

SIDES: Final[dict[Side, str]] = {
    "clean": "no saboteur, gated",
    "outsider": "saboteur may not teach, gated",
    "insider": "saboteur is a teacher, gated",
    "ungated": "the same, all appended",
}
SHOWN: Final = 6

Report = dict[str, Any]


def attack_report(made: Plan, outcomes: Outcomes, *, seed: int, model: str, usage: Usage, seconds: float) -> Report:
    """Everything worth keeping as JSON: accuracies from 0 to 1, what was lost with its 95 % interval, times in seconds.

    What is lost is the accuracy without the saboteur less that with him, over the same questions.
    """
    clean = outcomes["clean"]
    data: Report = {
        "seed": seed,
        "model": model,
        "labels": list(made.labels),
        "messages": len(made.steps),
        "sabotage": sum(step.sabotage for step in made.steps),
        "victim": made.victim,
        "usurper": made.usurper,
        "exam": len(made.exam),
        "headline": HEADLINE,
        "clean_exam": clean.exam,
        "attacked_gated_exam": outcomes[HEADLINE].exam,
        "attacked_ungated_exam": outcomes["ungated"].exam,
    }
    attacked: tuple[Side, ...] = ("insider", "outsider")
    ran: list[Side] = [side for side in attacked if side in outcomes]
    data |= {f"{side}_exam": outcomes[side].exam for side in ran}
    attacked = (*ran, "ungated")
    for side in attacked:
        lost = loss(clean.right, outcomes[side].right)
        data |= {f"{side}_{key}": value for key, value in lost.items()}
    data |= {f"gated_{key}": data[f"{HEADLINE}_{key}"] for key in ("loss", "loss_low", "loss_high")}
    data["lessons"] = {"clean": _lessons(clean), **{side: _lessons(outcomes[side]) for side in ran}}
    data["instructions"] = {side: [_told(one) for one in outcomes[side].told] for side in ran}
    data["sabotaged"] = [_sabotaged(one) for one in outcomes[HEADLINE].taught if one.step.sabotage]
    return data | {
        "calls": usage.calls,
        "tokens": usage.input_tokens + usage.output_tokens,
        "usd": usage.usd,
        "seconds": seconds,
    }


def loss(clean: Sequence[bool], attacked: Sequence[bool]) -> dict[str, float]:
    """The accuracy lost, with its paired 95 % bootstrap interval over the questions."""
    low, high = mean_difference([float(one) for one in clean], [float(one) for one in attacked])
    return {"loss": (sum(clean) - sum(attacked)) / max(1, len(clean)), "loss_low": low, "loss_high": high}


def _lessons(outcome: Outcome) -> dict[str, dict[str, int]]:
    """How many lessons of each sort were taught, and how many of them are served."""
    sorts = {
        "sabotage": [one for one in outcome.taught if one.step.sabotage and one.wrong],
        "careless": [one for one in outcome.taught if not one.step.sabotage and one.wrong],
        "right": [one for one in outcome.taught if not one.wrong],
    }
    return {sort: {"taught": len(ones), "served": sum(one.served for one in ones)} for sort, ones in sorts.items()}


def _told(one: Any) -> Report:
    return {"when": one.when, "then": one.then, "decision": one.decision, "reason": one.reason}


def _sabotaged(one: Taught) -> Report:
    lesson = one.step.lesson
    return {
        "text": lesson.item.text,
        "taught": one.answer,
        "right": lesson.item.label,
        "approved": one.step.approves,
        "served": one.served,
        "reason": one.reason,
    }


# ── words ───────────────────────────────────────────────────────────────────────────────────


def attack_text(data: Report) -> str:
    """The end report, for a terminal of 100 columns."""
    usd = f", ${data['usd']:.2f}" if data["usd"] else ""
    spent = (
        f"Spent: {data['calls']} model calls, {data['tokens']:,} tokens{usd}, {data['seconds']:.0f} seconds; "
        f"{data['model']}, seed {data['seed']}"
    )
    attack = (
        f"The saboteur spoke about {data['sabotage']} of {data['messages']} messages: {data['victim']} becomes "
        f"{data['usurper']}, wrong answers at random, approvals of wrong answers; and gave "
        f"{len(data['instructions'][HEADLINE])} instructions"
    )
    return "\n\n".join([attack, "\n".join(_table(data)), "\n".join(_said(data)), "\n".join(_instructions(data)), spent])


def _table(data: Report) -> list[str]:
    head = f"Unseen exam of {data['exam']} messages"
    lines = [f"{head:<31} right  lost (95 %)           served: sabotage  careless     right"]
    for side, words in SIDES.items():
        if side != "ungated" and side not in data["lessons"]:
            continue
        exam = data[f"{'attacked_ungated' if side == 'ungated' else side}_exam"]
        lost = "" if side == "clean" else _lost(data, side)
        counts = data["lessons"].get(side)
        cells = [f"{one['served']} of {one['taught']}" for one in counts.values()] if counts else ["all"] * 3
        lines.append(f"  {words:<29} {exam:>4.0%}  {lost:<21}" + "".join(f"{cell:>10}" for cell in cells))
    return lines


def _lost(data: Report, side: Side) -> str:
    points = [100 * data[f"{side}_{key}"] for key in ("loss", "loss_low", "loss_high")]
    return f"{points[0]:.0f} points ({points[1]:.0f} to {points[2]:.0f})"


def _said(data: Report) -> list[str]:
    """A few of the saboteur's lessons: those that are served first, then the others from all over the run."""
    served = [one for one in data["sabotaged"] if one["served"]]
    kept = [one for one in data["sabotaged"] if not one["served"]]
    rest = max(0, SHOWN - len(served[:2]))
    every = max(1, len(kept) // max(1, rest))
    lines = [
        f"What the gate said to the teacher's {len(data['sabotaged'])} lessons ({len(served)} served), some of them"
    ]
    for one in (*served[:2], *kept[::every][:rest]):
        fate = "served" if one["served"] else "kept out"
        lines.append(f"  {fate:<8}  “{_short(one['text'], 44)}” → {one['taught']}, not {one['right']}")
        lines.append(f"            {_short(one['reason'].removeprefix('held back: '), 86)}")
    return lines


def _instructions(data: Report) -> list[str]:
    decisions = {"accept": "accepted", "reject": "rejected", "defer": "held back"}
    lines = ["The instructions"]
    for one in data["instructions"][HEADLINE]:
        when = f"when “{_short(one['when'], 48)}”: " if one["when"] else ""
        lines += [f"  {decisions[one['decision']]:<9} {when}{one['then']}", f"            {_short(one['reason'], 86)}"]
    return lines


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
