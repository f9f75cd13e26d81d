"""Authors and gates by small numbers: they repeat in every revision, and make up a tenth of it when spelled out."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert  # SQLite's dialect renders its ON CONFLICT too

from tokenspace.store.database import Cursor
from tokenspace.store.schema import name

TEXT: Final = select(name.c.text).where(name.c.id == bindparam("number"))
NUMBER: Final = select(name.c.id).where(name.c.text == bindparam("word"))
ADD: Final = insert(name).values(text=bindparam("word")).on_conflict_do_nothing()


class Names:
    """A numbered list of texts. Texts are remembered by their numbers, which never come again (see `erase`).

    Numbers are not: an erasure may have dropped them. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def text(self, cursor: Cursor, number: int) -> str:
        """The text of a number."""
        known = self._texts.get(number)
        if known is None:
            row = cursor.row(TEXT, number=number)
            assert row is not None, "a foreign key holds"
            known = self._texts[number] = row[0]
        return known

    def number(self, cursor: Cursor, text: str) -> int:
        """The number of a text, a new one if it has none; within a write."""
        row = cursor.row(NUMBER, word=text)
        if row is None:
            cursor.run(ADD, word=text)
            row = cursor.row(NUMBER, word=text)
        assert row is not None, "the text was added just now, or by somebody who committed"
        return row[0]
