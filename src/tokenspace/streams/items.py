"""Tasks with a right answer, from a CSV file, and the draw of one run."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Final

from tokenspace.errors import BadData

TEACH: Final = 96
EXAM: Final = 48
MAX_TEXT_BYTES: Final = 2_000
NAMES: Final = (
    "Kestrel", "Basalt", "Juniper", "Marlow", "Tundra", "Quill", "Cobalt", "Otter", "Harbour", "Lichen", "Saffron",
    "Pewter", "Willow", "Magpie", "Onyx", "Cedar", "Plover", "Flint", "Indigo", "Badger", "Heather", "Topaz", "Swift",
    "Maple",
)  # fmt: skip
"""Names that say nothing about what they stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A message, the right answer to it, and what a colleague would say about it ("" if the file has no such words)."""

    text: str
    label: str
    feedback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a teacher says about an item: `taught` is the item's label, or a wrong one if the teacher is careless."""

    item: Item
    teacher: str
    taught: str
    words: str

    @property
    def wrong(self) -> bool:
        """Whether the teacher names a wrong answer."""
        return self.taught != self.item.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One run's stream to learn from and its unseen exam."""

    labels: tuple[str, ...]
    lessons: tuple[Lesson, ...]
    exam: tuple[Item, ...]


def read_items(path: Path | None = None) -> list[Item]:
    """Items of a CSV file with a header: `text`, the label as `label`, `category` or `intent`, optionally `feedback`.

    Without a path: the support desk that comes with the package. Rows without a text or a label, texts of more than
    2,000 bytes, and all but the last of the same text are passed over. Raises `BadData` for what is not such a file.
    """
    name = str(path) if path else "the support desk's file"
    try:
        raw = path.read_bytes() if path else files("tokenspace.streams").joinpath("data/support_desk.csv").read_bytes()
        if b"\0" in raw:
            raise BadData(f"{name} contains NUL bytes, so it is no text file", hint="export it again as UTF-8 CSV")
        rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig")), strict=True))
    except OSError as error:
        raise BadData(f"{name} cannot be read: {error.strerror}", hint="give the path of a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadData(f"{name} is not a CSV file in UTF-8: {error}", hint="export it again as UTF-8 CSV") from error
    columns = set(rows[0]) if rows else set[str]()
    label = next((column for column in ("label", "category", "intent") if column in columns), None)
    if "text" not in columns or label is None:
        raise BadData(
            f"{name} has no column `text`, or none of `label`, `category`, `intent`",
            hint="the first line must name the columns, such as: text,label",
        )
    items = [
        Item(
            text=(row["text"] or "").strip(),
            label=(row[label] or "").strip(),
            feedback=(row.get("feedback") or "").strip(),
        )
        for row in rows
    ]
    usable = (item for item in items if item.text and item.label and len(item.text.encode()) <= MAX_TEXT_BYTES)
    return list({item.text.casefold(): item for item in usable}.values())


def choose_labels(items: Sequence[Item], count: int, *, seed: int) -> list[Item]:
    """The items of `count` labels drawn at random, renamed so that no model can know them."""
    known = sorted({item.label for item in items})
    if not 2 <= count <= min(len(known), len(NAMES)):
        raise BadData(
            f"{count} labels cannot be drawn from {len(known)}", hint=f"choose 2 to {min(len(known), len(NAMES))}"
        )
    drawn = random.Random(seed).sample(known, count)
    names = dict(zip(drawn, NAMES, strict=False))
    return [replace(item, label=names[item.label], feedback="") for item in items if item.label in names]


def draw(
    items: Sequence[Item], *, seed: int, teachers: Sequence[str], careless: str, teach: int = TEACH, exam: int = EXAM
) -> Draw:
    """A stream and an exam, both with labels in equal shares as far as the items allow.

    One lesson in ten comes from the careless teacher, who names a wrong label, drawn uniformly.
    """
    rng = random.Random(seed)
    labels = tuple(sorted({item.label for item in items}))
    if len(labels) < 2 or len(items) < teach + exam:
        raise BadData(
            f"{len(items)} usable rows with {len(labels)} labels are too few",
            hint=f"a run needs at least {teach + exam} rows and two labels",
        )
    shuffled = _in_turns(items, rng)
    stream = shuffled[:teach]
    rng.shuffle(stream)
    mistaken = set(rng.sample(range(teach), round(teach / 10)))
    lessons = [
        _lesson(item, rng.choice([label for label in labels if label != item.label]), careless)
        if place in mistaken
        else _lesson(item, item.label, rng.choice(list(teachers)))
        for place, item in enumerate(stream)
    ]
    return Draw(labels=labels, lessons=tuple(lessons), exam=tuple(shuffled[teach : teach + exam]))


def _in_turns(items: Iterable[Item], rng: random.Random) -> list[Item]:
    """Shuffled, and label by label in turns, so that any beginning holds all labels alike."""
    pool = list(items)
    rng.shuffle(pool)
    seen: Counter[str] = Counter()
    keyed: list[tuple[int, int, Item]] = []
    for place, item in enumerate(pool):
        keyed.append((seen[item.label], place, item))
        seen[item.label] += 1
    return [item for _, _, item in sorted(keyed, key=lambda one: one[:2])]


def _lesson(item: Item, taught: str, teacher: str) -> Lesson:
    words = item.feedback.replace(item.label, taught) if item.feedback else f"This one is for {taught}."
    return Lesson(item=item, teacher=teacher, taught=taught, words=words)
