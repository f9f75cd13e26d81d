"""The prequential runner: every answer is scored before anything is learned from it.

One cell is one arm on one order of one seed's tasks. A cell that was finished is not run again, and of one that was
interrupted no model call is made twice; both live in the folder of the run.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from tokenspace.domain import Context, Usage, digest
from tokenspace.protocols import Agent
from tokenspace.streams.arms import Arm, Said, make_arm
from tokenspace.streams.config import StreamConfig
from tokenspace.streams.metered import Metered
from tokenspace.streams.tasks import Stream, Task, make_stream

HINDSIGHT: int = 200
"""So many tasks of a stream measure the best fixed context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Which arm, on which order of which seed's tasks."""

    arm: str
    order: int
    seed: int

    @property
    def name(self) -> str:
        """As its files are called."""
        return f"{self.arm}-{self.seed}-{self.order}"


@dataclass(kw_only=True)
class Track:
    """What a cell showed, task by task.

    `right` was scored before the update; `tokens` is the bound of each prompt, `shown` how many learned entries it
    had, `entries` how many there were. `exams[s][j]` is the accuracy on stage j's exam after s stages (row 0: before
    anything). `hindsight` is the accuracy of the last context, frozen, on the stream itself.
    """

    right: list[bool] = field(default_factory=list[bool])
    stage: list[int] = field(default_factory=list[int])
    tokens: list[int] = field(default_factory=list[int])
    shown: list[int] = field(default_factory=list[int])
    entries: list[int] = field(default_factory=list[int])
    exams: list[list[float]] = field(default_factory=list[list[float]])
    hindsight: float | None = None
    usage: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0


Results = dict[Cell, Track]
OnTask = Callable[[Cell, int, int, int], None]
"""Called with the cell, how many tasks are done of how many, and how many were right."""


def _silent(_cell: Cell, _done: int, _total: int, _right: int) -> None:
    """No progress is shown."""


def cells(config: StreamConfig) -> Iterator[Cell]:
    """Every cell of a run: seeds, then orders, then arms."""
    for seed in config.seeds:
        for order in range(config.orders):
            for arm in config.arms:
                yield Cell(arm=arm, order=order, seed=seed)


def run_cell(
    config: StreamConfig, cell: Cell, agent: Agent, *, folder: Path | None = None, on_task: OnTask = _silent
) -> Track:
    """One cell, from its file if it was finished. Raises what the model raises; what was asked by then is kept."""
    done = folder / f"{cell.name}.{identity(config)}.json" if folder else None
    if done is not None and done.exists():
        return Track(**json.loads(done.read_text("utf-8")))
    journal = done.with_suffix(".calls") if done else None
    stream = make_stream(config, order=cell.order, seed=cell.seed)
    metered = Metered(agent, limit=config.context_tokens, recalled=config.recalled, journal=journal)
    try:
        track = _Cell(
            config, cell, stream, make_arm(cell.arm, config, stream, metered), metered=metered, on_task=on_task
        ).run()
    finally:
        metered.save()
    if done is not None:
        part = done.with_suffix(".part")
        part.write_text(json.dumps(asdict(track)), "utf-8")
        part.replace(done)
        assert journal is not None
        journal.unlink(missing_ok=True)
    return track


def identity(config: StreamConfig) -> str:
    """Names all settings that change a cell: with others, cells are run anew."""
    free = {"name", "home", "arms", "seeds", "orders", "checkpoint_every", "window"}
    return digest({key: value for key, value in asdict(config).items() if key not in free})[:8]


class _Cell:
    def __init__(
        self, config: StreamConfig, cell: Cell, stream: Stream, arm: Arm, *, metered: Metered, on_task: OnTask
    ) -> None:
        self._config, self._cell, self._stream, self._arm, self._metered = config, cell, stream, arm, metered
        self._on_task, self._track = on_task, Track()
        self._due: deque[tuple[Task, Said]] = deque()
        self._praise = random.Random(digest(["praise", cell.seed, cell.order]))

    def run(self) -> Track:
        """The stream, with an exam of every stage before it and after each of its stages."""
        began, config, tasks = perf_counter(), self._config, self._stream.tasks
        self._examine()
        for place, task in enumerate(tasks, start=1):
            self._step(task)
            last = place == len(tasks) or tasks[place].stage != task.stage
            if last or (config.sleep_every and place % config.sleep_every == 0):
                self._tell(0 if place == len(tasks) else config.delay)
                self._arm.rest()
            if place % config.checkpoint_every == 0:
                self._metered.save()
            self._on_task(self._cell, place, len(tasks), sum(self._track.right))
            if last:
                self._examine()
        self._track.usage = asdict(self._arm.usage)
        if config.hindsight and not self._stream.clarifies:
            self._track.hindsight = hindsight(self._arm, tasks, self._arm.context())
        self._track.seconds = perf_counter() - began
        return self._track

    def _step(self, task: Task) -> None:
        """Answer, score, and only then be told, of this task or of one that was answered `delay` tasks ago."""
        said, track = self._arm.answer(task), self._track
        track.right.append(said.output == task.label)
        track.stage.append(task.stage)
        track.tokens.append(said.prompt.tokens)
        track.shown.append(len(said.prompt.included))
        track.entries.append(len(said.prompt.included) + len(said.prompt.dropped))
        self._due.append((task, said))
        self._tell(self._config.delay)

    def _tell(self, keep: int) -> None:
        while len(self._due) > keep:
            task, said = self._due.popleft()
            approved = said.output == task.taught
            if self._stream.clarifies and approved:
                continue  # who was understood has nothing to clarify
            if not approved or self._praise.random() < self._config.approvals:
                self._arm.teach(task, said)

    def _examine(self) -> None:
        """Nothing is recorded, learned or charged: an exam measures, it is no part of the stream."""
        if not self._config.exam:
            return
        context, before = self._arm.context(), self._metered.usage
        row = [_accuracy(self._arm, context, exam) for exam in self._stream.exams]
        self._metered.usage = before
        self._track.exams.append(row)


def _accuracy(arm: Arm, context: Context, tasks: Sequence[Task]) -> float:
    return sum(arm.ask(context, task).output == task.label for task in tasks) / max(1, len(tasks))


def hindsight(arm: Arm, tasks: Sequence[Task], context: Context) -> float:
    """The accuracy of a fixed context on a stream's own tasks, each without the entries made from it."""
    from tokenspace.context import without

    step = max(1, len(tasks) // HINDSIGHT)
    asked = tasks[::step]
    right = 0
    for task in asked:
        own = {entry.id for entry in context.entries if entry.trigger == task.text}
        right += arm.ask(without(context, own) if own else context, task).output == task.label
    return right / len(asked)


def run_stream(config: StreamConfig, agent: Agent, *, folder: Path | None = None, on_task: OnTask = _silent) -> Results:
    """Every cell of a run, one after the other."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return {cell: run_cell(config, cell, agent, folder=folder, on_task=on_task) for cell in cells(config)}


def used(track: Track) -> Usage:
    """What a cell cost."""
    return Usage(**track.usage)
