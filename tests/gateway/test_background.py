"""Writes that wait for company: in order, one transaction for many, and nobody waits longer than needed."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tokenspace.errors import StoreUnavailable
from tokenspace.gateway import background
from tokenspace.gateway.background import Later

NEVER_S = 600.0


class Book:
    """What was asked to be written, what was, and in how many transactions; `fails` is raised by every write."""

    def __init__(self, monkeypatch, *, most=1_000):
        monkeypatch.setattr(background, "LINGER_S", NEVER_S)
        self.written, self.together, self.lost, self.asked, self.fails = [], 0, 0, 0, None
        self.later = Later(most=most, name="test", lost=self._lose, together=self._together)

    @contextmanager
    def _together(self):
        self.together += 1
        before = list(self.written)
        try:
            yield
        except Exception:
            self.written[:] = before
            raise

    def _lose(self):
        self.lost += 1

    def put(self, *numbers):
        for number in numbers:
            self.later.put(lambda number=number: self._write(number))

    def _write(self, number):
        self.asked += 1
        if self.fails:
            raise self.fails
        self.written.append(number)


@pytest.fixture
def book(monkeypatch):
    made = Book(monkeypatch)
    yield made
    made.later.close(within_s=10)


def test_what_comes_together_is_one_transaction_and_a_flush_does_not_wait_for_company(book):
    book.put(1, 2, 3)
    book.later.flush()
    assert (book.written, book.together, book.lost) == ([1, 2, 3], 1, 0)
    book.put(4)
    book.later.flush()
    assert (book.written, book.together) == ([1, 2, 3, 4], 2)


def test_closing_does_not_wait_for_company_either_and_writes_what_waits(book):
    book.put(*range(600))
    book.later.close(within_s=10)
    assert (book.written, book.lost) == (list(range(600)), 0)
    book.put(600)  # whoever still comes begins another thread
    book.later.flush()
    assert book.written[-1] == 600


def test_one_that_cannot_be_written_takes_no_other_along(book):
    def bad():
        raise ValueError("no")

    book.put(1)
    book.later.put(bad)
    book.put(2)
    book.later.flush()
    assert (book.written, book.lost) == ([1, 2], 1)


def test_without_a_database_all_of_them_are_lost_at_once_and_counted(book):
    book.fails = StoreUnavailable("away", hint="wait")
    book.put(1, 2, 3)
    book.later.flush()
    assert (book.written, book.together, book.lost) == ([], 1, 3)
    assert book.asked == 2  # together, and once more alone: the others would wait as long for nothing
    book.fails = None
    book.put(4)
    book.later.flush()
    assert book.written == [4]


def test_a_database_that_was_away_for_a_moment_loses_nothing(book):
    def back_again():
        if not book.asked:
            book.asked = 1
            raise StoreUnavailable("away", hint="wait")

    book.later.put(back_again)
    book.put(1, 2)
    book.later.flush()
    assert (book.written, book.lost) == ([1, 2], 0)


def test_beyond_its_size_nothing_is_kept_and_that_is_counted(monkeypatch):
    book = Book(monkeypatch, most=2)
    book.put(1, 2, 3)
    book.later.close(within_s=10)
    assert (book.written, book.lost) == ([1, 2], 1)
