"""Streams of tasks: what is asked, in which order, what is taught about it, and the exams between the stages.

Data that is not in the package is read from the folder that `TOKENSPACE_DATA` names (default: `../shared/data`).
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tokenspace.domain import digest
from tokenspace.errors import BadData
from tokenspace.streams.config import StreamConfig
from tokenspace.streams.items import NAMES, Item, choose_labels, read_items

SOURCES: Final = ("banking77", "clinc150", "memprompt")
TEACHERS: Final = ("ana", "bilal", "chen", "dora")
CARELESS: Final = "rob"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One question of a stream. `label` is the right answer, `taught` what is said to be right, by `teacher`.

    `kind` groups questions that need the same lesson; `stage` is the part of the stream that it belongs to.
    """

    id: str
    text: str
    label: str
    taught: str
    teacher: str
    stage: int
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Tasks in order, the exam of each stage, and the answers to choose from (empty: any text)."""

    tasks: tuple[Task, ...]
    exams: tuple[tuple[Task, ...], ...]
    choices: tuple[str, ...]
    clarifies: bool = False
    """Feedback is a clarification in words, and not the right answer."""


def data_folder() -> Path:
    """Where public data lies, whether it is there or not."""
    return Path(os.environ.get("TOKENSPACE_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))


def make_stream(config: StreamConfig, *, order: int, seed: int) -> Stream:
    """The stream of one cell: the seed draws labels, items, teachers and mistakes, the order is that of what is drawn.

    Raises `BadData` where the data is absent or too small.
    """
    if config.source == "memprompt":
        return _memprompt(config, order=order, seed=seed)
    items, domain_of = _pool(config, seed)
    stages = _stages(sorted({item.label for item in items}), domain_of, config, order=order, seed=seed)
    labels = tuple(sorted(label for stage in stages for label in stage))
    items = [item for item in items if item.label in labels]
    rng = random.Random(digest(["draw", seed]))
    by_stage: list[list[Item]] = [[] for _ in stages]
    where = {label: at for at, stage in enumerate(stages) for label in stage}
    for item in sorted(items, key=lambda one: (one.label, one.text)):
        by_stage[where[item.label]].append(item)
    share = -(-config.tasks // len(stages))
    tasks, exams = list[Item](), list[list[Item]]()
    shuffle = random.Random(digest(["order", seed, order]))
    for pool in by_stage:
        rng.shuffle(pool)
        if len(pool) < config.exam + share:
            raise BadData(
                f"{len(pool)} items for one stage are fewer than {share} tasks and {config.exam} of its exam",
                hint="ask for fewer tasks, fewer stages or a smaller exam",
            )
        exams.append(pool[: config.exam])
        drawn = pool[config.exam : config.exam + share]
        shuffle.shuffle(drawn)
        tasks += drawn
    told = [_task(item, where[item.label], place) for place, item in enumerate(tasks[: config.tasks])]
    told, renamed = _relabelled(told, labels, config, seed)
    choices = tuple(sorted({*labels, *renamed}))
    asked = tuple(tuple(_task(item, at, -1) for item in exam) for at, exam in enumerate(exams))
    return Stream(tasks=tuple(_taught(told, choices, config, seed)), exams=asked, choices=choices)


# ── labels and stages ───────────────────────────────────────────────────────────────────────


def _pool(config: StreamConfig, seed: int) -> tuple[list[Item], Mapping[str, str]]:
    """Items of the labels that were drawn, and the domain of each label, where the data has domains."""
    items, domain_of = _read(config.source)
    known = sorted({item.label for item in items})
    if config.labels and config.labels < len(known):
        drawn = set(random.Random(digest(["labels", seed])).sample(known, config.labels))
        items = [item for item in items if item.label in drawn]
    elif config.labels > len(known):
        raise BadData(f"{config.labels} labels cannot be drawn from {len(known)}", hint="ask for fewer")
    if config.rename:
        count = len({item.label for item in items})
        items = choose_labels(items, count, seed=seed)
    return items, domain_of


def _read(source: str) -> tuple[list[Item], Mapping[str, str]]:
    if source == "banking77":
        return read_items(_found(data_folder() / "banking77" / "train.csv")), {}
    if source == "clinc150":
        folder = data_folder() / "clinc150"
        body: Mapping[str, Any] = json.loads(_found(folder / "train_val.json").read_text("utf-8"))
        domains: Mapping[str, Sequence[str]] = json.loads(_found(folder / "domains.json").read_text("utf-8"))
        rows: Iterable[tuple[str, str]] = [*body["train"], *body["val"]]
        unique = {text.casefold(): Item(text=text, label=label) for text, label in rows}
        return list(unique.values()), {_name(label): name for name, labels in domains.items() for label in labels}
    return read_items(Path(source)), {}


def _name(label: str) -> str:
    return label.strip().replace(" ", "_")


def _found(path: Path) -> Path:
    if not path.is_file():
        raise BadData(
            f"there is no {path}", hint="set TOKENSPACE_DATA to the folder that holds banking77, clinc150 and memprompt"
        )
    return path


def _stages(
    labels: Sequence[str], domain_of: Mapping[str, str], config: StreamConfig, *, order: int, seed: int
) -> list[list[str]]:
    """The labels of each stage: the data's own domains if there are as many as asked for, else drawn in equal parts."""
    if config.stages <= 1:
        return [list(labels)]
    rng = random.Random(digest(["stages", seed]))
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(domain_of.get(_name(label), ""), []).append(label)
    parts = [groups[name] for name in sorted(groups)]
    if len(parts) < config.stages:
        shuffled = rng.sample(list(labels), len(labels))
        parts = [shuffled[at :: config.stages] for at in range(config.stages)]
    drawn = rng.sample(parts, config.stages)
    random.Random(digest(["stage order", seed, order])).shuffle(drawn)
    return drawn


# ── what is taught ──────────────────────────────────────────────────────────────────────────


def _task(item: Item, stage: int, place: int) -> Task:
    id = digest(["task", place, item.text])
    return Task(id=id, text=item.text, label=item.label, taught=item.label, teacher="", stage=stage, kind=item.label)


def _relabelled(
    tasks: list[Task], labels: Sequence[str], config: StreamConfig, seed: int
) -> tuple[list[Task], list[str]]:
    """From `relabel_at` on, some labels have other names: each other's, or new ones."""
    if not config.relabel:
        return tasks, []
    chosen = random.Random(digest(["relabel", seed])).sample(list(labels), min(config.relabel, len(labels)))
    new = [f"{name} desk" for name in NAMES[: len(chosen)]]
    names = chosen[1:] + chosen[:1] if config.relabel_to == "swapped" else new
    changed = dict(zip(chosen, names, strict=True))
    after = [
        replace(task, label=changed.get(task.label, task.label), taught=changed.get(task.label, task.label))
        if place >= config.relabel_at
        else task
        for place, task in enumerate(tasks)
    ]
    return after, [] if config.relabel_to == "swapped" else new


def _taught(tasks: Sequence[Task], choices: Sequence[str], config: StreamConfig, seed: int) -> list[Task]:
    """The same tasks with a teacher each; the share `noise` has a careless one, who names a wrong answer."""
    rng = random.Random(digest(["teachers", seed]))
    careless = set(rng.sample(range(len(tasks)), round(config.noise * len(tasks))))
    return [
        replace(task, teacher=CARELESS, taught=rng.choice([one for one in choices if one != task.label]))
        if place in careless
        else replace(task, teacher=rng.choice(TEACHERS))
        for place, task in enumerate(tasks)
    ]


# ── clarifications ──────────────────────────────────────────────────────────────────────────


def _memprompt(config: StreamConfig, *, order: int, seed: int) -> Stream:
    """Tasks that are misunderstood until their kind was clarified: the right answer is the clarification itself."""
    rows = clarified()
    random.Random(digest(["memprompt", seed])).shuffle(rows)
    rows = rows[: config.tasks]
    random.Random(digest(["order", seed, order])).shuffle(rows)
    made = [replace(one, id=digest(["task", place, one.text])) for place, one in enumerate(rows)]
    return Stream(tasks=tuple(made), exams=((),), choices=(), clarifies=True)


def clarified() -> list[Task]:
    """Every task of MemPrompt with the clarification of its wording; `kind` is "intent/wording"."""
    folder = data_folder() / "memprompt"
    body: list[dict[str, Any]] = json.loads(_found(folder / "feedback_templates.json").read_text("utf-8"))
    templates = {(one["family"], one["template_id"]): one for one in body}
    made = list[Task]()
    for family, name in (("linguistic", "linguistic__tasks_1000"), ("synthetic_gpt3", "synthetic_gpt3__tasks_300")):
        for line in _found(folder / f"tasks__{name}.jsonl").read_text("utf-8").splitlines():
            row: dict[str, Any] = json.loads(line)
            template = templates[family, row["template_id"]]
            text, told = (str(template[name]).format_map(row["meta"]).strip() for name in ("question", "clarification"))
            told = told.removeprefix("clarification: ")  # the word of the data set, not of the person
            kind = f"{row['type']}/{row['template_id']}"
            made.append(
                Task(
                    id=digest(["task", len(made), text]),
                    text=text,
                    label=told,
                    taught=told,
                    teacher="",
                    stage=0,
                    kind=kind,
                )
            )
    return made
