"""Forgetting: what is meant, what hangs on it, what is left; on every store."""

from __future__ import annotations

import asyncio

import pytest

from tokenspace.context.taint import authority
from tokenspace.domain import Drop, Episode, Feedback, Message, Origin, Put, Request, Run, Scope, Signal
from tokenspace.domain.erasure import Subject
from tokenspace.errors import NotFound, StoreUnavailable, UsageError
from tokenspace.forget import closure, find, finish, folded, forget, in_words, resume
from tokenspace.testing.histories import Happening, Stage
from tokenspace.testing.samples import BASE, OTHERS, TENANT, USER, a_canary, commit, rule, texts

BOB = OTHERS[0]
SECRET = "zebra-4711"


def said(stage: Stage, scope: Scope, number: int, text: str, *, by: str = "ann") -> str:
    """An episode with a correction; returns the id of the correction."""
    act, say = f"{number:032x}", f"{number + 1000:032x}"
    stage.play(
        [Happening("act", scope, act, text=f"question {number}"), Happening("say", scope, say, (act,), text, by)]
    )
    return say


def learned(stage: Stage, scope: Scope, *ids: str, by: str = "note@1") -> None:
    """Until the gate accepts, by more feedback of nothing in particular."""
    stage.play([Happening("learn", scope, "0" * 31 + "1", ids, by=by)])


@pytest.fixture
def stage(empty_store):
    made = Stage(empty_store())
    yield made
    made.store.close()


@pytest.fixture(autouse=True)
def a_gate_that_accepts(monkeypatch):
    from tokenspace.domain import Verdict
    from tokenspace.testing.histories import Weigh

    async def judge(self, proposal, *, budget):
        cases = tuple(one.id for one in self._run.store.cases(proposal.incumbent.scope))
        return Verdict(decision="accept", basis="tested", reason="yes", gate=self.name, cases=cases)

    monkeypatch.setattr(Weigh, "judge", judge)


def erased(stage: Stage, subject: Subject, **how: bool):
    return asyncio.run(forget(stage.parts, stage.store.admin, subject, **how))


def everything(stage: Stage) -> str:
    """All that can be read of every scope, and all that only lineages name."""
    store, found = stage.store, list[object]()
    for scope in store.admin.scopes():
        heads = store.heads(scope)
        log = store.log(scope)
        past = [store.context(scope, heads.at(scope, one.id)) for one in log]
        found += [log, past, store.attempts(scope), store.episodes(scope), store.feedback(scope), store.cases(scope)]
        found += [store.admin.lineage(scope, contains=lambda text: SECRET in text).hits]
    return repr(found)


def test_an_episode_goes_with_all_that_was_made_of_it(stage):
    first, second = said(stage, USER, 1, SECRET), said(stage, USER, 2, "kept")
    learned(stage, USER, first)
    learned(stage, USER, second)
    learned(stage, USER, second, by="merge@1")  # reads both entries
    assert SECRET in everything(stage)
    subject = find(stage.store.admin, USER, "episode", f"{1:032x}")
    done = erased(stage, subject)
    assert SECRET not in everything(stage)
    assert "kept" in texts(stage.store, USER)
    assert (done.rows["episode"], done.rows["feedback"], done.rows["replay_case"]) == (1, 1, 1)
    assert len(done.revisions) == 2  # the note, and what was merged with it
    assert len(done.again) == 1  # merging is tried again, from what remains
    assert stage.store.admin.verify() == []


def test_i4_erased_revisions_keep_their_ids_and_are_named(stage):
    first = said(stage, USER, 1, SECRET)
    learned(stage, USER, first)
    (made,) = stage.store.log(USER)
    erased(stage, find(stage.store.admin, USER, "feedback", first))
    (left,) = stage.store.log(USER)
    assert (left.id, left.seq, left.edit.rationale, left.edit.evidence) == (made.id, made.seq, "erased", ())
    assert all(isinstance(op, Drop) for op in left.edit.ops)
    assert stage.store.admin.erased() == [(str(USER), made.id)]
    assert texts(stage.store, USER) == [] == texts(stage.store, USER, stage.store.heads(USER).at(USER, made.id))
    commit(stage.store, USER, Put(entry=rule("later", id=made.edit.ops[0].entry.id)))
    assert texts(stage.store, USER) == ["later"]
    assert stage.store.admin.verify() == []


def test_i10_verdicts_that_lost_evidence_are_marked_as_withdrawn(stage):
    first, second = said(stage, USER, 1, SECRET), said(stage, USER, 2, "kept")
    learned(stage, USER, second)
    erased(stage, find(stage.store.admin, USER, "feedback", first))
    (made,) = stage.store.log(USER)
    (tried,) = stage.store.attempts(USER)
    assert made.verdict.withdrawn
    assert tried.verdict.withdrawn
    assert texts(stage.store, USER) == ["kept"]
    assert stage.store.admin.verify() == []


def test_a_user_goes_from_shared_layers_too(stage):
    mine, other = said(stage, USER, 1, SECRET), said(stage, BOB, 2, "kept", by="bob")
    learned(stage, USER, mine)
    learned(stage, BOB, other)
    commit(stage.store, TENANT, Put(entry=rule(f"shared {SECRET}")), evidence=(mine,))
    commit(stage.store, TENANT, Put(entry=rule("of nobody")))
    above = said(stage, TENANT, 3, f"at the desk {SECRET}", by="alice")
    done = erased(stage, find(stage.store.admin, USER, "user"))
    assert above
    assert SECRET not in everything(stage)
    assert USER not in stage.store.admin.scopes()
    assert texts(stage.store, BOB) == ["kept", "of nobody"]
    assert done.rows["branch"] == 1
    assert stage.store.admin.verify() == []


def test_a_text_is_found_however_it_is_written(stage):
    first = said(stage, USER, 1, "Call  ANN   Smith\nnow")
    learned(stage, USER, first)
    commit(stage.store, USER, Put(entry=rule("ann smith likes tea", id="a" * 32)))
    subject = find(stage.store.admin, TENANT, "text", "Ann Smith")
    erased(stage, subject)
    assert texts(stage.store, USER) == []
    assert "smith" not in folded(everything(stage))
    assert stage.store.admin.verify() == []


def test_an_entry_goes_with_what_was_merged_from_it(stage):
    first, second = said(stage, USER, 1, SECRET), said(stage, USER, 2, "kept")
    learned(stage, USER, first)
    learned(stage, USER, second)
    gone = next(one.id for one in stage.store.context(USER, stage.store.heads(USER)).entries if one.text == SECRET)
    learned(stage, USER, second, by="merge@1")
    erased(stage, find(stage.store.admin, USER, "entry", gone))
    assert texts(stage.store, USER) == ["kept"]
    assert SECRET in everything(stage)  # what it was learned from was not asked about
    assert stage.store.admin.verify() == []


def test_a_dry_run_changes_nothing_and_says_what_would_go(stage):
    first = said(stage, USER, 1, SECRET)
    learned(stage, USER, first)
    before = everything(stage)
    tried = erased(stage, find(stage.store.admin, USER, "feedback", first), dry_run=True)
    assert everything(stage) == before
    done = erased(stage, find(stage.store.admin, USER, "feedback", first))
    assert (tried.rows, tried.revisions) == (done.rows, done.revisions)
    assert "would go" in in_words(tried)
    assert "not reached" in in_words(done)
    assert stage.store.admin.pending_erasures() == []


def test_what_was_interrupted_is_resumed(stage, monkeypatch):
    first = said(stage, USER, 1, SECRET)
    learned(stage, USER, first)
    admin = stage.store.admin
    admin.begin_erasure(find(admin, USER, "feedback", first), exact=False, at=stage.now)
    assert SECRET in everything(stage)
    (done,) = asyncio.run(resume(stage.parts, admin))
    assert SECRET not in everything(stage)
    assert done.rows["feedback"] == 1
    assert admin.pending_erasures() == []


def test_readings_of_a_canary_close_up(stage):
    first = said(stage, USER, 1, SECRET)
    said(stage, USER, 2, "kept")
    canary = a_canary(stage.store, TENANT)
    from tokenspace.domain import Reading

    stage.store.save_canary(canary)
    for number in (1, 2):
        stage.store.add_reading(canary, Reading(episode=f"{number:032x}", treated=True, score=1.0, at=stage.now))
    erased(stage, find(stage.store.admin, USER, "episode", f"{1:032x}"))
    assert first
    assert [one.episode for one in stage.store.readings(canary)] == [f"{2:032x}"]
    assert stage.store.admin.verify() == []


def test_exact_mode_refuses_what_it_cannot_tell(stage):
    first = said(stage, TENANT, 1, SECRET)
    stage.store.save_canary(a_canary(stage.store, TENANT))
    with pytest.raises(UsageError, match="canaries or branches"):
        erased(stage, find(stage.store.admin, TENANT, "feedback", first), exact=True)
    entry = commit(stage.store, BASE, Put(entry=rule("by hand"))).edit.ops[0].entry.id
    with pytest.raises(UsageError, match="did not happen itself"):
        erased(stage, find(stage.store.admin, BASE, "entry", entry), exact=True)


def test_nothing_of_another_scope_is_found_or_touched(stage):
    mine = said(stage, USER, 1, SECRET)
    said(stage, BOB, 2, SECRET, by="bob")
    with pytest.raises(NotFound):
        find(stage.store.admin, BOB, "feedback", mine)
    cuts, _ = closure(stage.store.admin, find(stage.store.admin, USER, "text", SECRET))
    assert [cut.scope for cut in cuts] == [USER]
    with pytest.raises(UsageError, match="too short"):
        find(stage.store.admin, USER, "text", "a b")
    with pytest.raises(UsageError, match="is no user"):
        find(stage.store.admin, TENANT, "user")


def test_i8_another_process_forgets_what_it_remembered(tmp_path):
    from tokenspace.store import open_store

    url = f"sqlite:///{tmp_path}/store.db"
    stage, other = Stage(open_store(url)), open_store(url)
    learned(stage, USER, said(stage, USER, 1, SECRET))
    assert texts(other, USER) == [SECRET]
    erased(stage, find(stage.store.admin, USER, "user"))
    said(stage, BOB, 2, "kept", by="bob")
    learned(stage, BOB, f"{1002:032x}")
    assert (texts(other, BOB), texts(other, USER)) == (["kept"], [])
    stage.store.close()
    other.close()


# ── what was interrupted, refused, or is elsewhere ──────────────────────────────────────────


def test_what_was_refused_is_not_left_for_others_to_finish(stage):
    first = said(stage, TENANT, 1, SECRET)
    stage.store.save_canary(a_canary(stage.store, TENANT))
    with pytest.raises(UsageError) as refused:
        erased(stage, find(stage.store.admin, TENANT, "feedback", first), exact=True)
    assert "leave out --exact" in refused.value.hint
    assert stage.store.admin.pending_erasures() == []


def test_exact_mode_that_is_refused_when_it_is_resumed_still_erases(stage):
    first = said(stage, TENANT, 1, SECRET)
    admin = stage.store.admin
    admin.begin_erasure(find(admin, TENANT, "feedback", first), exact=True, at=stage.now)
    stage.store.save_canary(a_canary(stage.store, TENANT))
    (done,) = asyncio.run(resume(stage.parts, admin))
    assert SECRET not in everything(stage)
    assert not done.exact
    assert "exact mode was refused" in done.remarks[0]
    assert admin.pending_erasures() == []


def test_what_was_begun_just_now_is_waited_for_and_then_finished(stage):
    first = said(stage, USER, 1, SECRET)
    admin, slept = stage.store.admin, []
    admin.begin_erasure(find(admin, USER, "feedback", first), exact=False, at=stage.now)

    async def nap(seconds):
        slept.append(seconds)

    stage.now = _now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tokenspace.forget.asyncio.sleep", nap)
        done, failed = asyncio.run(finish(stage.parts, admin, grace_s=1.0))
    assert slept
    assert sum(slept) <= 1.25
    assert ([one.rows["feedback"] for one in done], failed) == ([1], [])


def test_who_finishes_goes_on_where_one_cannot_be(stage, monkeypatch):
    first, second = said(stage, USER, 1, SECRET), said(stage, USER, 2, SECRET)
    admin = stage.store.admin
    for one in (first, second):
        admin.begin_erasure(find(admin, USER, "feedback", one), exact=False, at=stage.now)
    scrub, calls = type(admin).scrub, []

    def busy(self):
        calls.append(self)
        if len(calls) == 1:
            raise StoreUnavailable("somebody reads", hint="wait")
        return scrub(self)

    monkeypatch.setattr(type(admin), "scrub", busy)
    done, failed = asyncio.run(finish(stage.parts, admin, grace_s=0.0))
    assert (len(done), [str(one) for one in failed]) == (1, ["somebody reads"])
    assert SECRET not in everything(stage)
    assert len(admin.pending_erasures()) == 1
    assert len(asyncio.run(finish(stage.parts, admin, grace_s=0.0))[0]) == 1


def test_i10_two_who_finish_the_same_erase_it_once(stage):
    if not hasattr(stage.store, "db"):
        pytest.skip("a store in memory is of one process")
    first = said(stage, USER, 1, SECRET)
    learned(stage, USER, first)
    admin = stage.store.admin
    subject = find(admin, USER, "feedback", first)
    id = admin.begin_erasure(subject, exact=False, at=stage.now)
    cuts, _ = closure(admin, subject)
    rows = admin.erase(cuts, journal=id)
    assert rows["feedback"] == 1
    assert admin.erase(cuts, journal=id) == rows
    admin.end_erasure(id, at=stage.now, receipt="first")
    admin.end_erasure(id, at=stage.now, receipt="second")
    assert admin.erase(cuts, journal=id) == {}
    from tokenspace.store.journal import erasures

    assert [one.receipt for one in erasures(stage.store.db)] == ["first"]


def test_places_beside_the_store_come_first_and_those_out_of_reach_are_named(stage):
    first, seen = said(stage, USER, 1, SECRET), []

    def spool(subject, what, dry_run):
        seen.append((subject.kind, what, dry_run, SECRET in everything(stage)))
        return {"spool": 3}

    def queue(subject, what, dry_run):
        raise StoreUnavailable("the queue is away", hint="start it")

    subject = find(stage.store.admin, USER, "feedback", first)
    for dry_run in (True, False):
        done = erased(stage, subject, what=first, beside=[spool, queue], dry_run=dry_run)
        assert done.rows["spool"] == 3
        assert "the queue is away: start it" in done.unreached
    assert seen == [("feedback", first, True, True), ("feedback", first, False, True)]
    assert "records in a spool file" in in_words(done)


@pytest.mark.parametrize("exact", [False, True])
def test_i9_what_an_answer_had_before_it_stays_on_record_when_that_is_forgotten(stage, exact):
    """Its words stay, so their authority does: to forget a low source must not launder what it led to."""
    low = said(stage, TENANT, 1, SECRET, by="mallory")
    made = commit(stage.store, TENANT, Put(entry=rule(SECRET)), evidence=(low,))
    shown = made.edit.ops[0].entry.id
    answer = Episode(
        id=f"{7:032x}", scope=BOB, heads=stage.store.heads(BOB), run=Run(output="as it says"), shown=(shown,),
        request=Request(messages=(Message(role="user", text="and now?"),)), taint=Origin.TOOL, at=stage.now,
    )  # fmt: skip
    stage.store.record(answer)
    done = erased(stage, find(stage.store.admin, TENANT, "feedback", low), exact=exact)
    assert any("episodes of others" in words for words in done.remarks) or exact
    kept = stage.store.episode(BOB, answer.id)
    assert (kept.taint, kept.shown, kept.run.output) == (Origin.TOOL, (shown,), "as it says")
    yes = Feedback(scope=BOB, episode=kept.id, principal="bob", signal=Signal.LABEL, value=True, at=stage.now,
                   source=Origin.USER)  # fmt: skip
    assert authority(yes, kept) is Origin.TOOL
    assert SECRET not in everything(stage)


def _now():
    from tokenspace.config import utc_now

    return utc_now()
