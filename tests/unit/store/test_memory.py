"""The shelf of the store in memory: what it says is oldest is so after every change."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime, timedelta

from tokenspace.domain import Attempt, Heads, Scope, new_id
from tokenspace.store.memory import Shelf

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def attempt(second: int) -> Attempt:
    at = BEGAN + timedelta(seconds=second)
    return Attempt(scope=Scope(agent="a"), key=new_id(), proposer="p@1", heads=Heads(), at=at)


def test_a_shelf_is_in_the_order_of_time_after_every_change():
    chance, shelf = random.Random(1), Shelf[Attempt]()
    for _ in range(200):
        match chance.randrange(5):
            case 0:
                made = attempt(chance.randrange(10))
                shelf[made.key] = made
            case 1:
                made = attempt(chance.randrange(10))
                assert shelf.setdefault(made.key, made) is made
            case 2 if shelf:
                shelf.pop(chance.choice(sorted(shelf)))
            case 3 if shelf:
                key = chance.choice(sorted(shelf))
                shelf[key] = attempt(chance.randrange(10))
            case _:
                shelf = copy.copy(shelf) if chance.random() < 0.5 else shelf.copy()
                made = attempt(chance.randrange(10))
                shelf.update({made.key: made})
        assert shelf.oldest == sorted(shelf.values(), key=lambda one: (one.at, one.id))
        assert shelf.oldest is shelf.oldest
    shelf.clear()
    assert shelf.oldest == []


def test_what_is_taken_from_a_copy_stays_on_the_shelf():
    shelf, made = Shelf[Attempt](), attempt(1)
    shelf[made.key] = made
    other = shelf.copy()
    del other[made.key]
    assert shelf.oldest == [made]
    assert other.oldest == []
