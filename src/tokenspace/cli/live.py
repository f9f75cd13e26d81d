"""The demo while it runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import Counter, deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import click

from tokenspace.cli.options import given
from tokenspace.cli.output import COLOURS, one_line, safe
from tokenspace.streams.desk import Answered, Event, Examined, Judged
from tokenspace.streams.report import ARMS, told

if TYPE_CHECKING:
    from tokenspace.streams.items import Draw

WINDOW: Final = 24
EVERY: Final = 8
VERDICTS: Final = 7
BLOCKS: Final = " ▁▂▃▄▅▆▇█"


class Watch:
    """Follows a run and shows nothing; the others show what it knows."""

    def __init__(self, draw: Draw) -> None:
        self.lessons, self.questions = len(draw.lessons), 3 * len(draw.exam)
        self.answered, self.examined = 0, 0
        self.last: Answered | None = None
        self.frozen, self.learned = deque[bool](maxlen=WINDOW), deque[bool](maxlen=WINDOW)
        self.shares: list[float] = []
        self.verdicts = deque[Judged](maxlen=VERDICTS)
        self.counts = Counter[str]()
        self.exam: dict[str, Examined] = {}

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop showing."""

    def on_event(self, event: Event) -> None:
        """Take note of what happened."""
        match event:
            case Answered():
                self.last, self.answered = event, self.answered + 1
                self.frozen.append(event.frozen)
                self.learned.append(event.learned)
                self.shares.append(share(self.learned))
            case Judged():
                self.verdicts.append(event)
                self.counts[event.attempt.verdict.decision] += 1
            case Examined():
                self.exam[event.arm] = event
                self.examined += 1

    def progress(self) -> str:
        """How far the run is, in words."""
        entries = self.last.entries if self.last else 0
        words = f"{self.answered} of {self.lessons} messages answered and corrected, {entries} entries learned"
        return f"{words}, {self.examined} of {self.questions} exam questions answered" if self.examined else words

    def phase(self) -> str:
        """What is being done, in words."""
        if self.examined:
            return "exam: three contexts, unseen messages"
        return "learning" if self.answered < self.lessons else "asleep: judging again by replay"


class Lines(Watch):
    """Plain lines: every eighth message, what was held back or rejected, the exam."""

    def on_event(self, event: Event) -> None:
        """Print what matters."""
        super().on_event(event)
        if isinstance(event, Judged):
            if event.attempt.verdict.decision != "accept" or event.place >= self.lessons:
                click.echo(f"    {one_line(told(event), 140)}")
        elif isinstance(event, Answered):
            if self.answered % EVERY == 0:
                click.echo(
                    f"{self.answered:3}/{self.lessons}  right of the last {len(self.learned)}: "
                    f"frozen {share(self.frozen):4.0%}, learning {share(self.learned):4.0%}; "
                    f"{event.entries} entries, {event.prompt_tokens} prompt tokens"
                )
            if self.answered == self.lessons:
                click.echo(f"{self.phase()} …")
        elif event.done == event.total:
            click.echo(f"exam, {ARMS[event.arm]}: {event.right} of {event.total} right")


class Picture(Watch):
    """A live picture of the run."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description:<40}"), BarColumn(bar_width=36), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
        )  # fmt: skip
        self._task = self._bar.add_task(self.phase(), total=self.lessons + self.questions)
        self._live = Live(
            console=Console(highlight=False), refresh_per_second=8, transient=True, get_renderable=self._draw
        )

    def __enter__(self) -> Self:
        """Begin to show."""
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the picture; the end report takes its place."""
        self._live.stop()

    def on_event(self, event: Event) -> None:
        """The picture is drawn again by its own clock."""
        super().on_event(event)
        self._bar.update(self._task, completed=self.answered + self.examined, description=self.phase())

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        facts = Table.grid(padding=(0, 3))
        last = self.last
        facts.add_row(
            "right of the last 24", f"[bold]learning {share(self.learned):4.0%}[/]", f"frozen {share(self.frozen):4.0%}"
        )
        facts.add_row(
            "learned", f"{last.entries if last else 0} entries", f"{last.prompt_tokens if last else 0} prompt tokens"
        )
        facts.add_row(
            "verdicts",
            f"{self.counts['accept']} accepted, {self.counts['defer']} held back",
            f"{self.counts['reject']} rejected",
        )
        for arm, event in tuple(self.exam.items()):
            facts.add_row("exam", ARMS[arm], f"{event.right} of {event.done} right")
        curve = Text("".join(BLOCKS[round(one * (len(BLOCKS) - 1))] for one in self.shares[-96:]), style="cyan")
        verdicts = [
            Text(
                one_line(safe(told(one)), 118),
                style=COLOURS[one.attempt.verdict.decision],
                overflow="ellipsis",
                no_wrap=True,
            )
            for one in tuple(self.verdicts)  # a copy: it is drawn by another thread
        ]
        return Group(self._bar, Text(), facts, Text(), curve, Text(), *verdicts)


def view_of(draw: Draw) -> Watch:
    """The picture on a terminal, lines elsewhere, nothing with `--json` or `--quiet`."""
    if given().json or given().quiet:
        return Watch(draw)
    return Picture(draw) if sys.stdout.isatty() else Lines(draw)


def share(right: deque[bool]) -> float:
    """The share of right answers; 0 for none."""
    return sum(right) / len(right) if right else 0.0
