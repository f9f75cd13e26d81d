"""What goes wrong around a gate: recorded, resumable, and never accepted by accident."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from dataclasses import replace

import pytest
from tests.unit.gates.test_canary import on_trial, promote, serve
from tests.world import BASE

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.domain import Signal
from tokenspace.errors import ModelTimeout
from tokenspace.gates import GateSettings, ReplayGate, Watch
from tokenspace.graders import Function, build
from tokenspace.testing.arena import RIGHT, WRONG, Arena, obeying, rule

HELP = "It helps."
CASES = 12


def arena(script=None, **more) -> Arena:
    found = Arena(script or obeying(HELP), **more)
    found.taught(CASES)
    return found


def served(world: Arena) -> list[str]:
    return [entry.text for entry in world.run.store.context(world.scope, world.run.store.heads(world.scope)).entries]


def resumes(world: Arena, *, paid: int | None = None) -> None:
    """The same edit goes on with all in order, and pays for nothing twice."""
    before = world.calls
    judged = world.judge(ReplayGate(world.run, build), rule(HELP))
    assert judged.verdict.decision == "accept", judged.verdict.reason
    assert served(world) == [HELP]
    if paid is not None:
        assert world.calls - before <= paid


def waits(world: Arena, graders) -> None:
    judged = world.judge(ReplayGate(world.run, graders), rule(HELP))
    assert judged.verdict.decision == "defer"
    assert "could not be measured" in judged.verdict.reason
    (recorded,) = world.run.store.attempts(world.scope)
    assert (recorded.verdict, recorded.revision) == (judged.verdict, None)
    assert served(world) == []


# ── graders ─────────────────────────────────────────────────────────────────────────────────


def raises(case, output):
    raise ValueError("a broken grader")


async def hangs(case, output):
    await asyncio.sleep(60)


def hangs_in_its_thread(case, output):
    time.sleep(0.5)
    return 1.0


@pytest.mark.parametrize(
    "function",
    [raises, hangs, hangs_in_its_thread, *(lambda case, output, said=said: said for said in (
        math.nan, math.inf, 1.5, -0.5, 10**400, "good", None))],
)  # fmt: skip
def test_a_grader_that_fails_measures_nothing(function) -> None:
    world = arena()
    waits(world, lambda spec: Function(function=function, timeout_s=0.005))
    resumes(world, paid=0)


class Foreign:
    """A grader that does not keep to the protocol."""

    def __init__(self, said) -> None:
        self.said = said

    async def grade(self, case, output, *, budget) -> float | None:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said if output == RIGHT else 0.0


@pytest.mark.parametrize("said", [math.nan, math.inf, 7.0, -1.0, ZeroDivisionError()])
def test_a_foreign_graders_nonsense_measures_nothing(said) -> None:
    world = arena()
    waits(world, lambda spec: Foreign(said))
    resumes(world, paid=0)


def test_a_score_that_only_the_candidate_lacks_is_no_win() -> None:
    """Of NaN for what is right and 0 for what is wrong, nothing is left that speaks for the edit."""
    world = arena(obeying(HELP, told=RIGHT, untold=WRONG))
    waits(world, lambda spec: Foreign(math.nan))


# ── models and budgets ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_times_out_half_of_the_time_accepts_nothing_and_is_asked_again_later(seed: int) -> None:
    chance, healthy = random.Random(seed), False

    def flaky(prompt, _):
        if not healthy and chance.random() < 0.5:
            return ModelTimeout("no answer in time", hint="this is a test")
        return RIGHT if HELP in prompt.system else WRONG

    world = Arena(flaky)
    world.taught(40)
    waits(world, build)
    healthy = True
    answered = len(world.run.store._rooms[world.scope].outcomes)
    assert answered > 0
    resumes(world, paid=2 * 40 - answered)


@pytest.mark.parametrize("limits", [{"calls": 5}, {"tokens": 400}, {"usd": 1e-9}, {"calls": 0}])
def test_i12_a_budget_of_any_kind_that_is_gone_is_a_defer(limits) -> None:
    world = arena()
    world.model._profile = replace(world.model.profile, usd_per_million_input=1.0)
    budget = Budget(**limits)
    verdict = world.judge(ReplayGate(world.run, build), rule(HELP), budget=budget).verdict
    assert (verdict.decision, "budget" in verdict.reason) == ("defer", True)
    assert all(budget.left(unit) >= 0 for unit in limits)
    resumes(world)


# ── cases ───────────────────────────────────────────────────────────────────────────────────


def test_cases_may_be_deleted_during_a_test() -> None:
    world = Arena(lambda prompt, _: forgets(prompt))

    def forgets(prompt):
        if world.calls == 3:
            cases = world.run.store._rooms[world.scope].cases
            for id in list(cases)[::2]:
                del cases[id]
        return RIGHT if HELP in prompt.system else WRONG

    world.taught(3)
    judged = world.judge(ReplayGate(world.run, build), rule(HELP))
    assert (judged.verdict.decision, judged.verdict.pairs) == ("defer", 3)
    again = world.judge(ReplayGate(world.run, build), rule(HELP))
    assert (again.verdict.decision, again.verdict.pairs) == ("defer", 1), "what is gone is evidence no more"
    assert served(world) == []


def test_rows_of_cases_may_be_deleted_by_another_connection_during_a_test(tmp_path) -> None:
    import pysqlite3.dbapi2 as driver

    def forgets(prompt, _):
        if world.calls == 3:
            with driver.connect(tmp_path / "s.db", timeout=10) as other:
                other.execute("DELETE FROM replay_case")
            other.close()
        return RIGHT if HELP in prompt.system else WRONG

    world = Arena(forgets, store=f"sqlite:///{tmp_path}/s.db")
    world.taught(3)
    store = world.run.store
    judged = world.judge(ReplayGate(world.run, build), rule(HELP))
    assert (judged.verdict.decision, judged.verdict.pairs) == ("defer", 3)
    assert store.cases(world.scope) == []
    again = world.judge(ReplayGate(world.run, build), rule(HELP))
    assert (again.verdict.decision, again.verdict.pairs) == ("defer", 0)
    assert store.admin.verify() == []
    world.taught(CASES)
    resumes(world)
    store.close()


# ── rivals ──────────────────────────────────────────────────────────────────────────────────


def test_i2_two_that_judge_the_same_edit_at_once_commit_it_once(tmp_path) -> None:
    world = arena(store=f"sqlite:///{tmp_path}/s.db")
    attempt, barrier, done = world.attempt(rule(HELP)), threading.Barrier(2), []

    def judge() -> None:
        barrier.wait()
        work = loop.judge(world.run, ReplayGate(world.run, build), attempt, budget=Budget())
        done.append(asyncio.run(work))

    rivals = [threading.Thread(target=judge) for _ in range(2)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    assert [one.verdict.decision for one in done] == ["accept", "accept"]
    assert len({one.revision for one in done}) == len(world.run.store.log(world.scope)) == 1
    assert served(world) == [HELP]
    world.run.store.close()


@pytest.mark.parametrize("at", ["branches", "drop_branch", "create_branch", "commit", "save_canary"])
def test_i2_a_rival_at_any_moment_of_an_admission_leaves_one_canary(at: str) -> None:
    world, rivals = shared_arena(), []
    store = world.run.store
    original = getattr(store, at)
    attempt = world.attempt(rule(HELP))

    def judged():
        return asyncio.run(loop.judge(world.run, shared_gate(world), attempt, budget=Budget()))

    def interrupted(*given, **more):
        setattr(store, at, original)
        rival = threading.Thread(target=lambda: rivals.append(judged()))
        rival.start()
        rival.join()
        return original(*given, **more)

    setattr(store, at, interrupted)
    mine = judged()
    if at == "drop_branch":
        assert rivals == []  # there is none to drop
        return
    (canary,) = store.canaries(world.scope)
    assert [one.revision for one in rivals] == [canary.revision]
    assert mine.revision == canary.revision or (mine.verdict.decision, at) == ("defer", "create_branch")
    assert served(world) == []
    assert len(store.attempts(world.scope, decision="accept")) == 1


# ── killed ──────────────────────────────────────────────────────────────────────────────────


class Killed(BaseException):
    """The process is gone."""


def kill(store, method: str, *, after: bool) -> None:
    """The next call of a method is the last thing that this process does."""
    original = getattr(store, method)

    def dies(*given, **more):
        setattr(store, method, original)
        if after:
            original(*given, **more)
        raise Killed

    setattr(store, method, dies)


def shared_arena() -> Arena:
    from tokenspace.testing.samples import BASE as EVERYBODY

    found = Arena(obeying(HELP), scope=EVERYBODY)
    found.taught(24)
    return found


def shared_gate(world: Arena) -> ReplayGate:
    return ReplayGate(world.run, build, settings=GateSettings(operators=frozenset({"bob"})))


MOMENTS = [(method, after) for method in ("create_branch", "commit", "save_canary") for after in (False, True)]


@pytest.mark.parametrize(("method", "after"), [("save_outcome", False), ("save_outcome", True), *MOMENTS])
def test_i3_a_process_killed_while_it_admits_is_finished_by_the_next(method: str, after: bool) -> None:
    world = shared_arena()
    store, attempt = world.run.store, world.attempt(rule(HELP))
    kill(store, method, after=after)
    with pytest.raises(Killed):
        asyncio.run(loop.judge(world.run, shared_gate(world), attempt, budget=Budget()))
    assert served(world) == []
    watch = Watch(world.run, shared_gate(world))
    watch.step(world.scope)
    committed = (method, after) in {("commit", True), *((("save_canary", late)) for late in (False, True))}
    assert len(store.canaries(world.scope)) == committed
    if not committed:
        assert world.judge(shared_gate(world), rule(HELP)).verdict.decision == "accept"
    (canary,) = store.canaries(world.scope)
    assert (canary.state, canary.share) == ("trial", 0.05)
    assert store.revision(world.scope, canary.revision).edit.ops[0].entry.text == HELP
    assert (watch.step(world.scope), served(world)) == ([], [])
    assert len(store.attempts(world.scope, decision="accept")) == 1


def ready_canary():
    world, canary = on_trial(margin={2: 0.05, 3: 0.05, 4: 0.3})
    for case in world.store.cases(BASE):
        world.store.pin(BASE, case.id)
    canary = replace(canary, share=0.95, rate=0.8)
    world.store.save_canary(canary)
    serve(world, times=60, good=0.9, treated=True)
    return world, canary


@pytest.mark.parametrize("method", ["commit", "save_canary", "drop_branch"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("pinned", [True, False])
def test_i4_a_process_killed_while_it_promotes_is_finished_by_the_next(method: str, after: bool, pinned: bool) -> None:
    world, canary = ready_canary()
    kill(world.store, method, after=after)
    with pytest.raises(Killed):
        promote(world)
    if not pinned:  # nothing would promote it any more
        for case in world.store.cases(BASE):
            world.store.pin(BASE, case.id, pinned=False)
    world.watch.step(BASE)
    promote(world)
    (now,) = world.store.canaries(BASE)
    if (method, after, pinned) == ("commit", False, False):
        assert (now.state, world.texts()) == ("trial", [])
        return
    (made,) = world.store.log(BASE)
    assert (now.id, now.state, now.promoted, len(world.texts())) == (canary.id, "served", made.id, 1)
    assert (world.watch.step(BASE), promote(world)) == ([], [])


@pytest.mark.parametrize("method", ["drop_branch", "commit", "save_attempt", "save_canary"])
@pytest.mark.parametrize("after", [False, True])
def test_i4_a_process_killed_while_it_takes_back_is_finished_by_the_next(method: str, after: bool) -> None:
    world, canary = ready_canary()
    if method != "drop_branch":
        promote(world)
        assert len(world.texts()) == 1
    for number in range(60):
        episode = world.act(f"later {number}", session=f"later {number}", choices=None)
        world.say(episode, False, Signal.LABEL)
    kill(world.store, method, after=after)
    with pytest.raises(Killed):
        world.watch.step(BASE)
    world.watch.step(BASE)
    (moved,) = world.store.canaries(BASE, ended=True)
    assert (moved.id, moved.state) == (canary.id, "stopped")
    assert (world.texts(), world.store.canaries(BASE), world.watch.step(BASE)) == ([], [], [])
    taken_back = [one for one in world.store.log(BASE) if one.author == "canary@1"]
    assert len(taken_back) == (method != "drop_branch")
    again = world.watch.stop(moved, "once more")
    assert (len(world.store.log(BASE)), again.state) == (2 * (method != "drop_branch"), "stopped")
    assert world.texts() == []


@pytest.mark.parametrize("after", [False, True])
def test_i4_a_person_killed_while_promoting_is_finished_by_the_next_look(after: bool) -> None:
    from tokenspace.config import Parts
    from tokenspace.oversight import Oversight

    world, canary = on_trial()
    parts = Parts(runtime=world.run, gate=world.gate, watch=world.watch, release=world.release, graders=build,
                  proposers=world.proposers)  # fmt: skip
    kill(world.store, "save_canary", after=after)
    with pytest.raises(Killed):
        Oversight(parts, BASE, principal="ana", wait=asyncio.run).promote(canary)
    world.watch.step(BASE)
    (now,) = world.store.canaries(BASE)
    assert (now.state, now.promoted) == ("served", world.store.log(BASE)[0].id)


def test_a_canary_that_was_stopped_is_not_accepted_again_from_what_is_remembered() -> None:
    world, canary = on_trial()
    world.watch.stop(canary, "it harms")
    (rejected,) = [one for one in world.store.attempts(BASE, decision="reject") if "rolled back" in one.verdict.reason]
    again = asyncio.run(
        loop.judge(world.run, world.gate, replace(rejected, key="again", revision=None), budget=Budget())
    )
    assert again.verdict.decision != "accept", again.verdict.reason
