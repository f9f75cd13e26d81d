"""Reading a file of tasks, and the draw of one run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tokenspace.errors import BadData
from tokenspace.streams.items import NAMES, choose_labels, draw, read_items

TEACHERS = ("ana", "bilal")


def test_the_support_desk_has_eight_teams_with_forty_messages_each() -> None:
    items = read_items()
    assert len(items) >= 240
    assert len({item.text.casefold() for item in items}) == len(items)
    assert set(Counter(item.label for item in items).values()) == {40}
    labels = {item.label for item in items}
    for item in items:
        assert not any(label in item.text for label in labels), item.text
        assert [label for label in labels if label in item.feedback] == [item.label]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_draw_is_balanced_repeatable_and_its_exam_unseen(seed: int) -> None:
    items = read_items()
    one = draw(items, seed=seed, teachers=TEACHERS, careless="rob")
    assert one == draw(items, seed=seed, teachers=TEACHERS, careless="rob")
    assert (len(one.lessons), len(one.exam)) == (96, 48)
    assert set(Counter(lesson.item.label for lesson in one.lessons).values()) == {12}
    assert set(Counter(item.label for item in one.exam).values()) == {6}
    assert not {lesson.item.text for lesson in one.lessons} & {item.text for item in one.exam}


def test_one_lesson_in_ten_is_wrong_and_comes_from_the_careless_teacher() -> None:
    lessons = draw(read_items(), seed=1, teachers=TEACHERS, careless="rob").lessons
    wrong = [lesson for lesson in lessons if lesson.wrong]
    assert len(wrong) == 10
    assert {lesson.teacher for lesson in wrong} == {"rob"}
    assert all(lesson.teacher != "rob" for lesson in lessons if not lesson.wrong)
    assert all(lesson.taught in lesson.words and lesson.item.label not in lesson.words for lesson in wrong)


def test_labels_are_drawn_and_renamed_so_that_no_model_knows_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,intent\n" + "".join(f"message {n},label_{n % 5}\n" for n in range(50)), "utf-8")
    items = choose_labels(read_items(path), 3, seed=1)
    assert {item.label for item in items} == set(NAMES[:3])
    assert len(items) == 30
    assert choose_labels(read_items(path), 3, seed=2) != items


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"text,label\n\0\0,a\n", "NUL"),
        (b"\xff\xfe\x00bad", "NUL"),
        (b"text,label\n\xff\xfe,a\n", "UTF-8"),
        (b"question,answer\na,b\n", "column"),
        (b"", "column"),
        (b'text,label\n"unclosed,a\n', "CSV"),
    ],
)
def test_a_file_that_is_no_csv_of_tasks_is_refused_with_a_hint(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(BadData, match=words) as caught:
        read_items(path)
    assert caught.value.hint


def test_a_missing_file_and_too_few_rows_are_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="cannot be read"):
        read_items(tmp_path / "absent.csv")
    path = tmp_path / "few.csv"
    path.write_text("text,label\na,b\n,\nc,d\n", "utf-8")
    items = read_items(path)
    assert [item.text for item in items] == ["a", "c"]
    with pytest.raises(BadData, match="too few"):
        draw(items, seed=1, teachers=TEACHERS, careless="rob")
    with pytest.raises(BadData, match="cannot be drawn"):
        choose_labels(items, 9, seed=1)
