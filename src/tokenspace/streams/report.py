"""What a run of the demo showed: as data (`report.json`), as text for the terminal, as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tokenspace.domain import Attempt, Blame, Context, Drop, Put
from tokenspace.streams.desk import CARELESS, Judged, Result
from tokenspace.streams.items import Lesson

THIRDS: Final = 3
HELD_SHOWN: Final = 3
BAR_CHARS: Final = 24
ARMS: Final = {"frozen": "frozen context", "appended": "everything appended", "learned": "tokenspace"}

Report = dict[str, Any]


# ── data ────────────────────────────────────────────────────────────────────────────────────


def report(result: Result, *, seed: int, model: str) -> Report:
    """Everything worth keeping of a run as JSON: accuracies from 0 to 1, times in seconds, memory in megabytes."""
    corrections = [_correction(result, place, lesson) for place, lesson in enumerate(result.draw.lessons)]
    wrong = [one for one in corrections if one["taught"] != one["right"]]
    return {
        "seed": seed,
        "model": model,
        "labels": list(result.draw.labels),
        "messages": len(result.draw.lessons),
        "exam": len(result.draw.exam),
        "frozen_exam": result.exam["frozen"],
        "appended_exam": result.exam["appended"],
        "learned_exam": result.exam["learned"],
        "thirds": _thirds([one.learned for one in result.curve]),
        "thirds_frozen": _thirds([one.frozen for one in result.curve]),
        "wrong_corrections": len(wrong),
        "wrong_served": sum(one["fate"] == "served" for one in wrong),
        "right_kept_out": result.right_kept_out,
        "entries": len(result.context.entries) if result.context else 0,
        "teachers": _teachers(corrections),
        "rule": _rule(result),
        "calls": result.usage.calls,
        "tokens": result.usage.input_tokens + result.usage.output_tokens,
        "usd": result.usage.usd,
        "seconds": result.seconds,
        "resident_mb": result.resident_mb,
        "corrections": corrections,
    }


def _thirds(right: Sequence[bool]) -> list[float]:
    cuts = [round(len(right) * part / THIRDS) for part in range(THIRDS + 1)]
    return [sum(right[a:b]) / max(1, b - a) for a, b in pairwise(cuts)]


def _correction(result: Result, place: int, lesson: Lesson) -> Report:
    fate, reason = _fate(result, place)
    return {
        "text": lesson.item.text,
        "taught": lesson.taught,
        "right": lesson.item.label,
        "teacher": lesson.teacher,
        "fate": fate,
        "reason": reason,
    }


def _fate(result: Result, place: int) -> tuple[str, str]:
    """What became of a lesson ("served", "retired", "kept out" or "not proposed"), and what the gate said to that."""
    said = result.taught[place].id
    about = [one.attempt for one in result.verdicts if one.attempt.edit and said in one.attempt.edit.evidence]
    if not about:
        return "not proposed", ""
    if said in result.served:
        put = [one for one in about if one.verdict.decision == "accept" and not _drops(one)]
        return "served", (put or about)[-1].verdict.reason
    dropped = [one for one in about if one.verdict.decision == "accept" and _drops(one)]
    if dropped:
        why = dropped[-1].edit.rationale if dropped[-1].edit else ""
        return "retired", "; ".join(part for part in (why, dropped[-1].verdict.reason) if part)
    return "kept out", next((one for one in reversed(about) if not _drops(one)), about[-1]).verdict.reason


def _drops(attempt: Attempt) -> bool:
    return any(isinstance(op, Drop) for op in (attempt.edit.ops if attempt.edit else ()))


def _teachers(corrections: Sequence[Report]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for one in sorted(corrections, key=lambda one: (one["teacher"] == CARELESS, one["teacher"])):
        told = counts.setdefault(one["teacher"], {"lessons": 0, "served": 0})
        told["lessons"] += 1
        told["served"] += one["fate"] == "served"
    return counts


def _rule(result: Result) -> Report | None:
    """The harmful rule and its verdict; None if no verdict fell."""
    for judged in reversed(result.verdicts):
        for op in judged.attempt.edit.ops if judged.attempt.edit else ():
            if isinstance(op, Put) and judged.attempt.proposer.startswith("adopt@"):
                verdict = judged.attempt.verdict
                return {
                    "when": op.entry.trigger,
                    "then": op.entry.text,
                    "by": CARELESS,
                    "decision": verdict.decision,
                    "reason": verdict.reason,
                    "fixes": verdict.fixes,
                    "breaks": verdict.breaks,
                    "pairs": verdict.pairs,
                }
    return None


# ── words ───────────────────────────────────────────────────────────────────────────────────


def told(judged: Judged) -> str:
    """A verdict in words: who taught what, and what the gate said."""
    attempt, lesson = judged.attempt, judged.lesson
    puts = [op.entry for op in (attempt.edit.ops if attempt.edit else ()) if isinstance(op, Put)]
    said = {"accept": "served", "reject": "rejected", "defer": "held back"}[attempt.verdict.decision]
    reason = attempt.verdict.reason.removeprefix("held back: ")
    if attempt.proposer.startswith("adopt@") and puts:
        return f"{CARELESS}'s rule {_quoted(puts[0].trigger or '')} → {puts[0].text}: {said} ({reason})"
    if _drops(attempt):
        what = f"{_quoted(lesson.item.text, 36)} → {lesson.taught}" if lesson else "an example"
        done = "retired" if attempt.verdict.decision == "accept" else "stays"
        return f"{lesson.teacher + ': ' if lesson else ''}{what}: {done} ({reason})"
    if lesson is None:
        return f"{said} ({reason})"
    return f"{lesson.teacher}: {_quoted(lesson.item.text, 36)} → {lesson.taught}: {said} ({reason})"


def end_text(data: Report) -> str:
    """The end report, for a terminal of 100 columns."""
    wrong = [one for one in data["corrections"] if one["taught"] != one["right"]]
    sections = [_accuracy(data), _exam(data), _learned(data), _wrong(wrong), _told_rule(data["rule"]), _caution(data)]
    usd = f", ${data['usd']:.2f}" if data["usd"] else ""
    spent = (
        f"Spent: {data['calls']} model calls, {data['tokens']:,} tokens{usd}, {data['seconds']:.0f} seconds, "
        f"{data['resident_mb']:.0f} MB resident; {data['model']}, seed {data['seed']}"
    )
    return "\n\n".join("\n".join(lines) for lines in (*sections, [spent]) if lines)


def _accuracy(data: Report) -> list[str]:
    labels, messages = len(data["labels"]), data["messages"]
    return [
        f"Right answers while {messages} messages came in ({labels} teams: guessing gives {1 / labels:.0%})",
        "                          first third  second third  last third",
        *(
            f"  {words:<20}" + "".join(f"{share:>14.0%}" for share in data[key])
            for words, key in (("frozen context", "thirds_frozen"), ("learning context", "thirds"))
        ),
    ]


def _exam(data: Report) -> list[str]:
    return [
        f"Unseen exam of {data['exam']} messages, same model, same weights",
        *(
            f"  {words:<20} {data[f'{arm}_exam']:>5.0%}  {'█' * round(data[f'{arm}_exam'] * BAR_CHARS)}"
            for arm, words in ARMS.items()
        ),
    ]


def _learned(data: Report) -> list[str]:
    taught = [
        f"{name} {count['served']} of {count['lessons']}{' (careless)' if name == CARELESS else ''}"
        for name, count in data["teachers"].items()
    ]
    return [f"Learned: {data['entries']} entries; served, by teacher: {', '.join(taught)}"]


def _wrong(wrong: Sequence[Report]) -> list[str]:
    fates = [one["fate"] for one in wrong]
    counts = ", ".join(f"{fates.count(fate)} {fate}" for fate in ("kept out", "retired", "served") if fate in fates)
    lines = [f"The {len(wrong)} wrong corrections: {counts or 'none'}"]
    for one in wrong:
        lines.append(f"  {one['fate']:<9} {_quoted(one['text'], 44)} → {one['taught']}, not {one['right']}")
        lines += [f"            {_short(_because(one['reason']), 84)}"] if one["reason"] else []
    return lines


def _told_rule(rule: Mapping[str, Any] | None) -> list[str]:
    if rule is None:
        return []
    decision = {"accept": "accepted", "reject": "rejected live", "defer": "held back"}[rule["decision"]]
    return [
        f"The plausible, harmful rule: {decision}",
        f"  When {_quoted(rule['when'])}, answer {rule['then']}",
        f"  {rule['reason']}",
    ]


def _caution(data: Report) -> list[str]:
    held = [one for one in data["corrections"] if one["taught"] == one["right"] and one["fate"] != "served"]
    more = f" (the first {HELD_SHOWN}; all in report.json)" if len(held) > HELD_SHOWN else ""
    lines = [f"The price of caution: {len(held)} right lesson(s) not served{more}"]
    return lines + [
        f"  {_quoted(one['text'], 44)} → {one['taught']}: {_short(_because(one['reason']), 42)}"
        for one in held[:HELD_SHOWN]
    ]


def _because(reason: str) -> str:
    return reason.removeprefix("held back: ").removeprefix("held back; ")


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _quoted(text: str, width: int = 60) -> str:
    return f"“{_short(text, width)}”"


# ── files ───────────────────────────────────────────────────────────────────────────────────


def write_report(data: Report, folder: Path, text: str | None = None) -> list[Path]:
    """`report.json` and `report.txt`, which is the end report or another text."""
    machine, people = folder / "report.json", folder / "report.txt"
    machine.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", "utf-8")
    people.write_text((end_text(data) if text is None else text) + "\n", "utf-8")
    return [machine, people]


def write_context(context: Context, blame: Mapping[str, Blame], folder: Path) -> list[Path]:
    """The learned context as Markdown, one file for each document, below `folder`."""
    from tokenspace.context import to_markdown

    written: list[Path] = []
    for name, text in to_markdown(context, blame=blame).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        written.append(path)
    return written
