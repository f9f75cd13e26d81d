"""Words for the terminal and JSON for scripts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import click

from tokenspace.cli.options import given
from tokenspace.domain import Attempt, Drop, Edit, Op, Patch, Put, Restore, Usage, Verdict
from tokenspace.domain.plain import plain

WORDS: Final = {"accept": "accepted", "reject": "rejected", "defer": "held back", "abstain": "nothing proposed"}
COLOURS: Final = {"accept": "green", "reject": "red", "defer": "yellow", "abstain": "white"}
_DIGITS: Final = (8, 12)
# Whatever a model or a stranger wrote must not steer the terminal.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


# ── JSON ────────────────────────────────────────────────────────────────────────────────────


def emit(data: Callable[[], Any], text: Callable[[], str]) -> None:
    """The result: one JSON document with `--json`, else words."""
    if given().json:
        click.echo(json.dumps(plain(data()), ensure_ascii=False, indent=2))
    elif words := text():
        click.echo(words)


# ── words ───────────────────────────────────────────────────────────────────────────────────


def note(text: str) -> None:
    """A remark beside the result: on standard error, and not with `--quiet` or `--json`."""
    if text and not given().quiet and not given().json:
        click.echo(click.style(text, dim=True), err=True)


def safe(text: str) -> str:
    """A text without characters that could steer a terminal or hide other text."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str, width: int = 72) -> str:
    """A text on one line of at most `width` characters."""
    line = " ".join(safe(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def quoted(text: str, width: int = 60) -> str:
    """A text on one line in quotation marks."""
    return f"“{one_line(text, width)}”"


class Short:
    """Ids by their last digits, as many as tell them apart among those that are known."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._known = set(ids)

    def __call__(self, id: str | None) -> str:
        """The short form of one id; "–" for none."""
        if id is None:
            return "–"
        others = self._known - {id}
        for digits in _DIGITS:
            if not any(other.endswith(id[-digits:]) for other in others):
                return id[-digits:]
        return id


def when(at: datetime) -> str:
    """A time as people here read it."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M")


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Rows in aligned columns; the last column may be of any length. Styled cells keep their colour."""
    widths = [max(len(click.unstyle(cell)) for cell in column) for column in list(zip(*rows, strict=True))[:-1]]
    lines = (
        "  ".join([cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=False)]
                  + [row[-1]])
        for row in rows
    )  # fmt: skip
    return "\n".join(indent + line.rstrip() for line in lines)


def told_op(op: Op) -> str:
    """An operation in one line: what came, went or changed."""
    match op:
        case Put(entry=entry):
            said = f"{quoted(entry.trigger, 44)} → {quoted(entry.text, 40)}" if entry.trigger else quoted(entry.text)
            return f"+ {entry.kind.value.replace('_', ' ')} {said}"
        case Patch(id=id, changes=changes):
            words = ", ".join(f"{name}: {one_line(str(value), 40)}" for name, value in sorted(changes.items()))
            return f"~ {id[-8:]} {words}"
        case Drop(id=id):
            return f"- {id[-8:]}"
        case Restore(id=id):
            return f"↺ {id[-8:]}"


def told_edit(edit: Edit | None) -> str:
    """An edit in one line."""
    ops = list(edit.ops) if edit else []
    more = f" and {len(ops) - 1} more" if len(ops) > 1 else ""
    return told_op(ops[0]) + more if ops else "nothing to propose"


def decision(verdict: Verdict) -> str:
    """The decision as a coloured word."""
    return click.style(WORDS[verdict.decision], fg=COLOURS[verdict.decision])


def told_attempt(attempt: Attempt, short: Short) -> str:
    """An attempt in two lines: what was tried, and what the gate said."""
    proposer = attempt.proposer.split("@")[0]
    return (
        f"{decision(attempt.verdict)}  {short(attempt.revision or attempt.id)}  {proposer}  {told_edit(attempt.edit)}\n"
        f"    {one_line(attempt.verdict.reason, 150)}"
    )


def told_verdict(verdict: Verdict) -> str:
    """A verdict with its numbers, in lines."""
    basis = {"tested": "tested by replay", "human": "a person's word", "policy": "policy, unverified by replay"}
    reason = safe(verdict.reason).removeprefix("held back").lstrip(":; ") or "no reason given"
    lines = [f"{decision(verdict)} ({basis[verdict.basis]}): {reason}"]
    if verdict.pairs:
        lines.append(
            f"{verdict.pairs} case(s) replayed: {verdict.fixes} fixed, {verdict.breaks} broken; "
            f"e-values: benefit {verdict.e_benefit:.3g}, harm {verdict.e_harm:.3g}, futility {verdict.e_futility:.3g}"
        )
    if verdict.gate:
        lines.append(f"gate {verdict.gate}, tier {verdict.tier}; {told_usage(verdict.usage)}")
    return "\n".join(lines)


def told_usage(usage: Usage) -> str:
    """What something cost."""
    tokens = usage.input_tokens + usage.output_tokens
    usd = f", ${usage.usd:.4f}" if usage.usd else ""
    return f"{usage.calls} model call(s), {tokens:,} tokens{usd}"


@contextmanager
def working(title: str) -> Generator[Callable[[str], None]]:
    """While something long is done: a spinner on a terminal. Yields a function that prints a line above it."""
    said = given()
    if said.json or said.quiet or not sys.stdout.isatty():
        yield (lambda _: None) if said.json else click.echo
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    with console.status(title):
        yield lambda text: console.print(Text.from_ansi(text), soft_wrap=True)


def without_password(url: str) -> str:
    """A store's URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:…@", url)
