"""An erasure overtakes whoever is at work, in this process or another: nothing of it comes back, on every store."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.context.past import OVERTAKEN
from tokenspace.domain import Attempt, Edit, Put, Scope, Verdict
from tokenspace.errors import Forgotten, NotFound, StaleHead
from tokenspace.forget import closure, find, forget
from tokenspace.store import open_store
from tokenspace.testing.histories import Happening, Stage
from tokenspace.testing.samples import OTHERS, TENANT, USER, commit, rule, texts

SECRET, PLAIN = "zebra-4711", "plain words"
BOB = OTHERS[0]


@pytest.fixture
def two(empty_store, store_url):
    """A stage, and another on a second store of the same rows: two processes, but for a store in memory."""
    here = Stage(empty_store())
    there = here if store_url == "memory:" else Stage(open_store(store_url))
    yield here, there
    for one in {id(each.store): each.store for each in (here, there)}.values():
        one.close()


def said(stage: Stage, scope: Scope, number: int, text: str) -> tuple[str, str]:
    """An episode with a correction; their ids."""
    act, say = f"{number:032x}", f"{number + 1000:032x}"
    stage.play(
        [Happening("act", scope, act, text=f"question {text}"), Happening("say", scope, say, (act,), text, "ann")]
    )
    return act, say


def erase(stage: Stage, scope: Scope, kind, what="", *, exact=False) -> None:
    subject = find(stage.store.admin, scope, kind, what)
    asyncio.run(forget(stage.parts, stage.store.admin, subject, exact=exact))


def elsewhere(work):
    """What `work` returns in a task that has nothing to do with this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


class Overtaken:
    """A gate that lets something happen between its verdict and what is made of it, once."""

    name = "overtaken@1"

    def __init__(self, decision: str, meanwhile) -> None:
        self.decision, self.meanwhile, self.judged = decision, meanwhile, 0

    async def judge(self, proposal, *, budget):
        self.judged += 1
        if self.judged == 1:
            elsewhere(self.meanwhile)
        return Verdict(decision=self.decision, basis="tested", gate=self.name)


def learn(stage: Stage, scope: Scope, gate, *ids: str) -> Attempt:
    said = stage.store.feedback(scope, ids=ids)
    note = next(one for one in stage.parts.proposers if one.name == "note@1")
    return asyncio.run(loop.learn(stage.parts.runtime, note, gate, feedback=said, budget=Budget()))


def everything(stage: Stage, scope: Scope) -> str:
    store = stage.store
    known = [store.log(scope), store.attempts(scope), store.feedback(scope), store.episodes(scope), store.cases(scope)]
    return repr([*known, texts(store, scope)])


@pytest.mark.parametrize("decision", ["accept", "defer", "reject"])
@pytest.mark.parametrize(("scope", "kind"), [(USER, "episode"), (TENANT, "episode"), (USER, "user"), (USER, "exact")])
def test_i10_what_is_forgotten_during_a_judgement_does_not_come_back(two, scope, kind, decision):
    here, there = two
    act, say = said(here, scope, 1, SECRET)
    exact = kind == "exact"
    what = () if kind == "user" else (act,)
    gate = Overtaken(decision, lambda: erase(there, scope, "episode" if exact else kind, *what, exact=exact))
    made = learn(here, scope, gate, say)
    assert (made.verdict.decision, made.verdict.reason, made.edit) == ("abstain", OVERTAKEN, None)
    assert gate.judged == 1
    for stage in two:
        assert SECRET not in everything(stage, scope)
    assert here.store.admin.verify() == []


def test_i10_what_is_left_of_a_dropped_judgement_is_learned_again(two):
    here, there = two
    (act, gone), (_, kept) = said(here, USER, 1, SECRET), said(here, USER, 2, PLAIN)
    gate = Overtaken("accept", lambda: erase(there, USER, "episode", act))
    assert learn(here, USER, gate, gone, kept).revision is None
    assert [one.id for one in here.store.unseen(USER, proposer="note@1")] == [kept]
    assert learn(here, USER, gate, kept).revision is not None
    assert learn(here, USER, gate, kept).revision is not None  # the same one: nothing is tried twice


def test_an_erasure_elsewhere_disturbs_no_learner(two):
    here, there = two
    (act, _), (_, kept) = said(here, BOB, 1, SECRET), said(here, USER, 2, PLAIN)
    assert learn(here, USER, Overtaken("accept", lambda: erase(there, BOB, "episode", act)), kept).revision is not None


def test_i10_a_deferred_attempt_that_is_forgotten_is_not_judged_again(two):
    here, there = two
    act, say = said(here, USER, 1, SECRET)
    learn(here, USER, Overtaken("defer", lambda: None), say)
    (held,) = here.store.attempts(USER, decision="defer")
    erase(there, USER, "episode", act)
    gate = Overtaken("accept", lambda: None)
    made = asyncio.run(loop.judge(here.parts.runtime, gate, held, budget=Budget()))
    assert (made.verdict.decision, made.edit, gate.judged) == ("abstain", None, 0)
    assert SECRET not in everything(here, USER)


def test_i10_no_write_of_a_steady_task_outlives_an_erasure_and_a_line_that_began_anew_is_another(two):
    here, there = two
    act, _ = said(here, USER, 1, SECRET)
    with here.store.steady(USER):
        elsewhere(lambda: erase(there, USER, "user"))
        elsewhere(lambda: said(there, USER, 2, PLAIN))
        for write in (
            lambda: commit(here.store, USER, Put(entry=rule(SECRET))),
            lambda: here.store.create_branch(USER, "draft"),
            lambda: here.store.note_answer(USER, "answer", act),
        ):
            with pytest.raises(Forgotten):
                write()
        with pytest.raises(Forgotten), here.store.steady(USER):  # an inner block does not make it good
            commit(here.store, USER, Put(entry=rule(SECRET)))
    commit(here.store, USER, Put(entry=rule(PLAIN)))
    assert texts(here.store, USER) == [PLAIN]


def test_i10_what_is_made_of_it_between_looking_and_erasing_is_looked_for_again(two, monkeypatch):
    import tokenspace.forget as module

    here, there = two
    act, say = said(here, USER, 1, SECRET)
    looks = []

    def look(admin, subject):
        found = closure(admin, subject)
        looks.append(found)
        if len(looks) == 1:
            assert elsewhere(lambda: learn(here, USER, Overtaken("accept", lambda: None), say)).revision is not None
        return found

    monkeypatch.setattr(module, "closure", look)
    erase(there, USER, "episode", act)
    assert len(looks) == 2
    assert SECRET not in everything(there, USER)


def test_i10_erasing_by_what_was_seen_before_is_refused_and_changes_nothing(two):
    here, _ = two
    act, say = said(here, USER, 1, SECRET)
    admin = here.store.admin
    cuts, rooms = closure(admin, find(admin, USER, "episode", act))
    learn(here, USER, Overtaken("accept", lambda: None), say)
    with pytest.raises(StaleHead):
        admin.erase(cuts, seen=rooms)
    assert here.store.episode(USER, act)
    cuts, rooms = closure(admin, find(admin, USER, "episode", act))
    said(here, USER, 2, PLAIN)  # what has nothing to do with it changes nothing
    admin.erase(cuts, seen=rooms)
    assert SECRET not in everything(here, USER)


def test_i10_what_another_process_remembers_of_an_erased_user_is_gone_at_the_next_look(two):
    here, there = two
    commit(here.store, USER, Put(entry=rule(SECRET)))
    heads = here.store.heads(USER)
    assert SECRET in texts(here.store, USER, heads)
    erase(there, USER, "user")
    with pytest.raises(NotFound):
        here.store.context(USER, heads)
    said(here, USER, 2, PLAIN)
    with pytest.raises(NotFound):
        here.store.blame(USER, heads)
    assert SECRET not in everything(here, USER)


def test_i10_held_heads_read_what_is_left_of_an_erased_revision(two):
    here, there = two
    act, say = said(here, USER, 1, SECRET)
    commit(here.store, USER, Put(entry=rule(PLAIN)))
    learn(here, USER, Overtaken("accept", lambda: None), say)
    heads = here.store.heads(USER)
    assert SECRET in repr(here.store.context(USER, heads))
    erase(there, USER, "episode", act)
    assert texts(here.store, USER, heads) == [PLAIN]


def test_names_of_erased_authors_never_come_to_mean_others(two):
    here, there = two
    base = Scope(agent=USER.agent)
    human = Verdict(decision="accept", basis="human")

    def write(stage, scope, author, text):
        heads = stage.store.heads(scope)
        edit = Edit(ops=(Put(entry=rule(text)),), rationale="because")
        return stage.store.commit(scope, edit, human, expect=heads.of(scope), author=author)

    write(here, BOB, "bob", "one")
    write(here, USER, "ann", SECRET)  # the last name
    erase(there, USER, "user")
    write(there, base, "mallory", "two")
    write(here, USER, "ann", "three")  # a process that remembers both names
    erase(there, USER, "user")
    write(there, TENANT, "carol", "four")
    write(here, BOB, "ann", "five")
    for stage in two:
        told = {one.author for scope in (base, TENANT, BOB) for one in stage.store.log(scope)}
        assert told == {"mallory", "carol", "bob", "ann"}
        assert stage.store.admin.verify() == []
