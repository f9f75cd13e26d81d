"""What workers share: checkpoints in one transaction with their work, heartbeats, accounts that are never overdrawn."""

from __future__ import annotations

import math
import subprocess
import sys
import threading

import pytest

from tokenspace.budget import Reservation, SharedBudget
from tokenspace.domain import Put, Scope, Usage, new_id
from tokenspace.errors import BudgetExceeded, StaleHead
from tokenspace.store import open_store
from tokenspace.testing.samples import BASE, commit, rule, texts
from tokenspace.working import SLOTS, HourlyAccount, hourly

HOUR = {"calls": 10.0}


@pytest.fixture
def store(empty_store):
    store = empty_store()
    yield store
    store.close()


def test_a_step_is_checked_off_once(store):
    room, job, made = store.workroom, new_id(), []
    assert room.done(job, "one") is None
    assert room.check_off(job, "one", "[1]", work=lambda: made.append(1))
    assert not room.check_off(job, "one", "[2]", work=lambda: made.append(2))
    assert (room.done(job, "one"), made) == ("[1]", [1])
    room.check_off(job + "+2", "one")
    room.check_off(new_id(), "one")
    assert room.drop_steps(job) == 2
    assert room.done(job, "one") is None


@pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)
def test_i3_a_checkpoint_and_what_it_guards_stand_or_fall_together(store):
    room, job = store.workroom, new_id()

    def work():
        commit(store, BASE, Put(entry=rule("a")))
        raise StaleHead("too late")

    with pytest.raises(StaleHead):
        room.check_off(job, "one", work=work)
    assert (texts(store, BASE), room.done(job, "one")) == ([], None)
    assert room.check_off(job, "one", work=lambda: commit(store, BASE, Put(entry=rule("b"))) and None)
    assert (texts(store, BASE), room.done(job, "one")) == (["b"], "")


def test_a_worker_counts_until_it_is_taken_for_dead(store):
    room, one = store.workroom, new_id()
    room.enter(one)
    assert room.beat(one)
    assert room.beats() == {one: 1}
    room.enter(one)
    assert room.beats() == {one: 1}, "entering again begins nothing anew"
    room.leave(one)
    assert not room.beat(one)
    assert room.beats() == {}


def test_an_account_is_charged_up_to_its_limit_and_by_unit(store):
    room = store.workroom
    limits = {"calls": 3.0, "tokens": 100.0, "usd": math.inf}
    room.take("a", Reservation(calls=2, tokens=60, usd=5.0), slot=7, since=0, limits=limits)
    for asked, unit in ((Reservation(calls=2), "calls"), (Reservation(calls=1, tokens=41), "tokens")):
        with pytest.raises(BudgetExceeded) as caught:
            room.take("a", asked, slot=7, since=0, limits=limits)
        assert caught.value.unit == unit
    assert room.charged("a", since=0) == Reservation(calls=2, tokens=60, usd=5.0), "a refused charge was kept"
    room.take("b", Reservation(calls=3), slot=7, since=0, limits=limits)
    room.give("a", Reservation(calls=1, tokens=60, usd=1.0), slot=7)
    assert room.charged("a", since=0) == Reservation(calls=1, usd=4.0)


def test_what_is_older_than_an_hour_is_forgotten(store):
    now = [0.0]
    account = HourlyAccount(store.workroom, "a", HOUR, clock=lambda: now[0])
    account.take(account.slot(), Reservation(calls=10))
    for minutes in (1, 30, 59):
        now[0] = minutes * 60.0
        with pytest.raises(BudgetExceeded):
            account.take(account.slot(), Reservation(calls=1))
    now[0] = 66 * 60.0
    account.take(account.slot(), Reservation(calls=10))


def test_i12_a_shared_budget_draws_ahead_and_gives_back(store):
    account = HourlyAccount(store.workroom, "a", {"calls": 100.0}, clock=lambda: 0.0)
    one, other = SharedBudget(account), SharedBudget(account)
    reserved = one.reserve(Reservation(tokens=10))
    assert account_calls(store) == 17, "for this call and 16 more"
    one.settle(reserved, Usage(calls=1, input_tokens=3))
    other.reserve(Reservation())
    one.close()
    assert account_calls(store) == 18, "what was drawn ahead comes back, what another drew does not"
    assert store.workroom.charged("a", since=-1).tokens == 3


def account_calls(store):
    return store.workroom.charged("a", since=0).calls


def test_i12_near_the_limit_it_draws_for_one_call_and_is_never_passed(store):
    account = HourlyAccount(store.workroom, "a", HOUR, clock=lambda: 0.0)
    budgets = [SharedBudget(account) for _ in range(3)]
    made = 0
    while made < 50:
        try:
            for budget in budgets:
                budget.reserve(Reservation())
                made += 1
        except BudgetExceeded:
            break
    assert made == account_calls(store) == 10


def test_i12_a_crash_keeps_what_was_drawn_and_an_overrun_is_charged(store):
    account = HourlyAccount(store.workroom, "a", {"tokens": 1_000.0}, clock=lambda: 0.0)
    SharedBudget(account).reserve(Reservation(tokens=10))  # and it dies
    assert store.workroom.charged("a", since=0).tokens == 170
    budget = SharedBudget(account)
    budget.settle(budget.reserve(Reservation(tokens=10)), Usage(calls=1, input_tokens=700))
    budget.close()
    assert store.workroom.charged("a", since=0).tokens == 870
    with pytest.raises(BudgetExceeded):
        SharedBudget(account).reserve(Reservation(tokens=131))


def test_a_refused_reservation_is_not_kept_in_the_budget_either(store):
    budget = SharedBudget(HourlyAccount(store.workroom, "a", HOUR, clock=lambda: 0.0), calls=20)
    with pytest.raises(BudgetExceeded):
        budget.reserve(Reservation(calls=11))
    assert budget.left("calls") == 20


def test_a_refund_of_a_slot_that_is_over_frees_nothing_in_the_next(store):
    now = [0.0]
    account = HourlyAccount(store.workroom, "a", {"tokens": 1_000.0}, clock=lambda: now[0])
    budget = SharedBudget(account)
    early = budget.reserve(Reservation(tokens=50))
    now[0] = 3_600 / SLOTS
    late = budget.reserve(Reservation(tokens=50))
    budget.settle(early, Usage(calls=1))
    budget.settle(late, Usage(calls=1, input_tokens=20))
    budget.close()
    assert store.workroom.charged("a", since=0).tokens == 70
    assert store.workroom.charged("a", since=1).tokens == 20


def test_without_limits_nothing_is_shared(store):
    assert not isinstance(hourly(store.workroom, Scope(agent="a"), {"calls": math.inf}), SharedBudget)
    assert isinstance(hourly(store.workroom, Scope(agent="a"), HOUR), SharedBudget)


_SPENDER = """
import sys
from tokenspace.budget import Reservation, SharedBudget
from tokenspace.domain import Usage
from tokenspace.errors import BudgetExceeded
from tokenspace.store import open_store
from tokenspace.working import HourlyAccount
store = open_store(sys.argv[1])
made = 0
try:
    while True:
        budget = SharedBudget(HourlyAccount(store.workroom, "shared", {"calls": 200.0}))
        for _ in range(7):
            budget.settle(budget.reserve(Reservation(tokens=5)), Usage(calls=1, input_tokens=2))
            made += 1
        budget.close()
except BudgetExceeded:
    budget.close()
    print(made)
store.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_i12_processes_that_share_a_limit_never_pass_it_by_one_call(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    open_store(url).close()
    spenders = [
        subprocess.Popen([sys.executable, "-c", _SPENDER, url], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    made = [int(one.communicate(timeout=100)[0]) for one in spenders]
    assert 200 - 4 * 7 <= sum(made) <= 200
    assert sum(one.returncode for one in spenders) == 0


def test_threads_that_share_a_budget_never_pass_it(store):
    budget, made = SharedBudget(HourlyAccount(store.workroom, "a", {"calls": 40.0}, clock=lambda: 0.0)), []

    def spend():
        while True:
            try:
                budget.reserve(Reservation())
            except BudgetExceeded:
                return
            made.append(1)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 40


def test_a_new_store_is_of_the_schema_with_a_workroom(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    assert store.workroom.beats() == {}
    store.close()
