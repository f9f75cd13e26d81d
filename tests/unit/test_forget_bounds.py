"""How far forgetting reaches, whose word it takes, and what is left of it when something is in its way."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from tokenspace.closure import closure
from tokenspace.domain import Episode, Message, Put, Request, Run, Scope, ToolCall, Verdict
from tokenspace.domain.erasure import Lineage, Subject, Written
from tokenspace.errors import ModelTimeout, NotFound, StoreUnavailable, UsageError
from tokenspace.forget import find, forget, in_words, meant, resume
from tokenspace.receipts import names_id
from tokenspace.testing.histories import Happening, Note, Stage
from tokenspace.testing.samples import BASE, NOW, OTHERS, TENANT, USER, a_canary, an_attempt, commit, rule, texts

SECRET = "zebra-4711"


@pytest.fixture
def stage(empty_store):
    made = Stage(empty_store())
    yield made
    made.store.close()


@pytest.fixture
def kept(tmp_path):
    """A store with files and keys."""
    made = Stage(f"sqlite:///{tmp_path}/store.db")
    yield made
    made.store.close()


def said(stage: Stage, scope: Scope, number: int, text: str, *, by: str) -> str:
    act, say = f"{number:032x}", f"{number + 1000:032x}"
    stage.play(
        [Happening("act", scope, act, text=f"question {number}"), Happening("say", scope, say, (act,), text, by)]
    )
    return say


def erased(stage: Stage, subject: Subject, **how):
    return asyncio.run(forget(stage.parts, stage.store.admin, subject, **how))


# ── whose word ──────────────────────────────────────────────────────────────────────────────


def test_i8_a_users_name_in_the_base_or_with_another_tenant_is_somebody_else(stage):
    other = Scope(agent="desk", tenant="globex")
    for number, (scope, by) in enumerate(
        [(USER, "alice"), (TENANT, "alice"), (TENANT, "key k1/alice"), (TENANT, "bob"), (BASE, "alice"),
         (BASE, "key k1/alice"), (other, "alice")], 1
    ):  # fmt: skip
        mine = said(stage, scope, number, f"words {number}", by=by)
        commit(stage.store, scope, Put(entry=rule(f"rule {number}")), evidence=(mine,))
    erased(stage, find(stage.store.admin, USER, "user"))
    assert texts(stage.store, TENANT) == ["rule 4", "rule 5", "rule 6"]
    assert texts(stage.store, other) == ["rule 5", "rule 6", "rule 7"]
    assert stage.store.admin.verify() == []


def test_i8_who_speaks_for_a_tenant_erases_nothing_above_it_and_is_told_what_is_left(stage):
    mine = said(stage, USER, 1, SECRET, by="alice")
    above = commit(stage.store, BASE, Put(entry=rule("of several")), evidence=(mine,)).edit.ops[0].entry.id
    commit(stage.store, TENANT, Put(entry=rule("of the tenant")), evidence=(mine,))
    subject = replace(find(stage.store.admin, USER, "user"), tenant="acme")
    done = erased(stage, subject)
    assert texts(stage.store, TENANT) == ["of several"]
    assert done.beyond == (above,)
    assert done.scopes == (TENANT, USER)
    assert any("layers above this tenant's" in words for words in json.loads(done.receipt)["receipt"]["not_reached"])
    assert above in in_words(done)
    erased(stage, find(stage.store.admin, BASE, "entry", above))
    assert texts(stage.store, TENANT) == []


def test_i8_an_interrupted_erasure_of_a_tenants_reaches_no_further_when_others_finish_it(stage):
    mine, admin = said(stage, USER, 1, SECRET, by="alice"), stage.store.admin
    commit(stage.store, BASE, Put(entry=rule("of several")), evidence=(mine,))
    admin.begin_erasure(replace(find(admin, USER, "user"), tenant="acme"), exact=False, at=stage.now)
    (done,) = asyncio.run(resume(stage.parts, admin))
    assert (texts(stage.store, BASE), len(done.beyond)) == (["of several"], 1)


# ── what is in its way ──────────────────────────────────────────────────────────────────────


def test_i10_an_erasure_is_finished_where_nothing_can_be_learned_again(kept, tmp_path, monkeypatch):
    first = said(kept, USER, 1, SECRET, by="alice")
    both = (said(kept, TENANT, 2, SECRET, by="alice"), said(kept, TENANT, 3, "kept", by="bob"))
    made = an_attempt("k", scope=TENANT, proposer="note@1", evidence=both, decision="accept")
    commit(kept.store, TENANT, Put(entry=rule(SECRET)), evidence=both, attempt=made)
    assert kept.store.db.seals.has_key(USER)

    async def away(self, evidence, *, budget):
        raise ModelTimeout("the model is away")

    monkeypatch.setattr(Note, "propose", away)
    done = erased(kept, find(kept.store.admin, USER, "user"))
    assert "learned from again in the next sleep" in done.remarks[-1]
    assert (kept.store.admin.pending_erasures(), kept.store.db.seals.has_key(USER)) == ([], False)
    receipt = json.loads(done.receipt)
    assert len(receipt["receipt"]["keys_destroyed"]) == 1
    assert names_id(receipt, "feedback", first, done.salt)
    assert SECRET.encode() not in b"".join(one.read_bytes() for one in tmp_path.glob("store.db*"))
    assert [one.id for one in kept.store.feedback(TENANT)] == [both[1]]
    assert both[1] not in {id for one in kept.store.attempts(TENANT) for id in one.evidence}  # so sleep learns from it


def test_i10_the_receipt_of_what_was_interrupted_names_what_went_and_the_key(kept, monkeypatch):
    first, admin = said(kept, USER, 1, SECRET, by="alice"), kept.store.admin
    key, scrub = kept.store.db.seals.key_id(USER), type(admin).scrub

    def busy(self):
        raise StoreUnavailable("somebody reads", hint="wait")

    monkeypatch.setattr(type(admin), "scrub", busy)
    with pytest.raises(StoreUnavailable):
        erased(kept, find(admin, USER, "user"))
    monkeypatch.setattr(type(admin), "scrub", scrub)
    (done,) = asyncio.run(resume(kept.parts, admin))
    receipt = json.loads(done.receipt)
    assert receipt["receipt"]["keys_destroyed"] == [key]
    assert names_id(receipt, "feedback", first, done.salt)


@pytest.mark.parametrize("verb", ["destroy_key", "erase", "scrub"])
def test_i10_who_comes_back_before_an_erasure_is_finished_keeps_what_is_theirs(kept, monkeypatch, verb):
    """What is said after the rows went stays; and no row is left that nobody can read."""
    said(kept, USER, 1, SECRET, by="alice")
    admin = kept.store.admin

    def killed(self, *_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(admin), verb, killed)
        with pytest.raises(KeyboardInterrupt):
            erased(kept, find(admin, USER, "user"))
    said(kept, USER, 2, "I am a new customer", by="alice")
    asyncio.run(resume(kept.parts, admin))
    left = [f"{1002:032x}"] if verb == "scrub" else []
    assert [one.id for one in kept.store.feedback(USER)] == left
    assert sorted(admin.lineage(USER).feedback) == left


def test_i10_a_receipt_names_nobody_whatever_was_in_the_way(stage):
    first, admin = said(stage, USER, 1, SECRET, by="alice"), stage.store.admin
    admin.begin_erasure(find(admin, USER, "feedback", first), exact=True, at=stage.now)
    stage.store.save_canary(a_canary(stage.store, USER))

    def away(subject, what, dry_run):
        raise StoreUnavailable("/home/alice/spool is away", hint="start it")

    (done,) = asyncio.run(resume(stage.parts, admin, beside=[away]))
    assert "exact mode was refused" in done.remarks[0]
    assert "/home/alice/spool is away: start it" in done.unreached
    assert "alice" not in done.receipt
    assert "could not be reached" in done.receipt


# ── what came before and after ──────────────────────────────────────────────────────────────


class Rooms:
    """An operator's look at lineages that are given."""

    def __init__(self, *rooms: Lineage) -> None:
        self._rooms = {room.scope: room for room in rooms}

    def scopes(self, agent: str) -> list[Scope]:
        return sorted(self._rooms)

    def lineage(self, scope: Scope) -> Lineage:
        return self._rooms[scope]


def written(id: str, seq: int, *puts: str, sources=(), at: int = 0, branch: str = "") -> Written:
    return Written(
        id=id, branch=branch, seq=seq, at=NOW + timedelta(seconds=at), sources=frozenset(sources), cases=frozenset(),
        puts=frozenset(puts),
    )  # fmt: skip


def blanked(*rooms: Lineage, scope: Scope = TENANT) -> set[str]:
    subject = Subject(kind="feedback", scope=scope, roots={scope: {"feedback": frozenset({"f"})}})
    cuts, _ = closure(Rooms(*rooms), subject)  # pyright: ignore[reportArgumentType]
    return {id for cut in cuts for id in cut.blank}


def test_i10_a_clock_that_went_back_hides_nothing_that_was_derived():
    line = (
        written("r1", 1, "x", at=0), written("r2", 2, "x", sources=["f"], at=10), written("r3", 3, "x", at=7),
        written("r4", 4, "y", sources=["x"], at=1), written("r5", 5, "z", at=20),
    )  # fmt: skip
    below = Lineage(scope=USER, written=(written("u1", 1, "w", sources=["x"], at=-5),))
    assert blanked(Lineage(scope=TENANT, written=line), below) == {"r2", "r3", "r4", "u1"}


def test_i10_a_branch_loses_what_it_has_from_the_line_and_the_line_nothing_that_was_before_it():
    line = (written("r1", 1, "x"), written("r2", 2, "y"), written("r3", 3, "y", sources=["x"], at=-9))
    branch = (written("b1", 2, "x", sources=["f"], branch="b"), written("b2", 3, "x", branch="b", at=-9))
    assert blanked(Lineage(scope=TENANT, written=(*line, *branch))) == {"b1", "b2", "r3"}


def test_i8_a_user_who_wrote_over_an_inherited_entry_takes_nothing_of_the_tenants_along():
    tenant = Lineage(scope=TENANT, written=(written("r1", 1, "x"), written("r2", 2, "y", sources=["x"], at=9)))
    own = Lineage(scope=USER, written=(written("u1", 1, "x", sources=["f"]), written("u2", 2, "z", sources=["x"])))
    assert blanked(tenant, own, scope=USER) == {"u1", "u2"}


# ── what quotes it ──────────────────────────────────────────────────────────────────────────


def test_i10_a_verdict_that_lost_its_evidence_loses_the_reason_that_may_quote_it(stage):
    first = said(stage, TENANT, 1, "cards", by="bob")
    (case,) = stage.store.cases(TENANT)
    verdicts = {
        "a": Verdict(decision="reject", reason=f"it breaks {SECRET}", cases=(case.id,)),
        "b": Verdict(decision="reject", basis="human", reason=f"declined by bob: {SECRET}", cases=(case.id,)),
        "c": Verdict(decision="reject", basis="tested", reason=f"rolled back: {SECRET}", cases=(case.id,)),
    }
    for key, verdict in verdicts.items():
        stage.store.save_attempt(replace(an_attempt(key, scope=TENANT), verdict=verdict))
    for verdict in (Verdict(decision="accept", basis="tested", reason=SECRET, cases=(case.id,)),
                    Verdict(decision="accept", basis="human", reason="approved by bob", cases=(case.id,))):  # fmt: skip
        commit(stage.store, TENANT, Put(entry=rule(verdict.basis)), verdict=verdict)
    erased(stage, find(stage.store.admin, TENANT, "feedback", first))
    tried = {one.key: one.verdict for one in stage.store.attempts(TENANT)}
    assert {key: one.reason for key, one in tried.items()} == {"a": "", "b": "declined by bob", "c": "rolled back"}
    log = stage.store.log(TENANT)
    assert {one.verdict.basis: one.verdict.reason for one in log} == {"tested": "", "human": "approved by bob"}
    assert all(one.withdrawn for one in (*tried.values(), *(made.verdict for made in log)))
    assert stage.store.admin.verify() == []


# ── what is meant ───────────────────────────────────────────────────────────────────────────


def test_a_text_is_found_in_json_in_the_reason_of_a_canary_and_in_the_name_of_a_branch(stage):
    name, quote = "Zoë Müller", 'said "hi there" 😀'
    call = ToolCall(
        id="c", name="crm", arguments=json.dumps({"name": name}), result=json.dumps({"x": json.dumps(quote)})
    )
    asked = Request(messages=(Message(role="user", text="who?"),))
    heads = stage.store.heads(TENANT)
    run = Run(output="ok", tool_calls=(call,))
    stage.store.record(Episode(id=f"{1:032x}", scope=TENANT, heads=heads, request=asked, run=run, at=stage.now))
    for text in (name, quote):
        assert find(stage.store.admin, TENANT, "text", text).roots == {TENANT: {"episode": frozenset({f"{1:032x}"})}}
    canary = replace(a_canary(stage.store, TENANT), state="stopped", reason=f"she, {SECRET}, complained")
    stage.store.save_canary(canary)
    stage.store.create_branch(TENANT, f"for {SECRET}")
    done = erased(stage, find(stage.store.admin, TENANT, "text", SECRET))
    assert [one.reason for one in stage.store.canaries(TENANT, ended=True)] == ["erased"]
    assert done.rows["canary"] == 1
    assert "1 branches hold it in their name" in done.remarks[0]
    assert SECRET not in done.receipt
    assert stage.store.admin.verify() == []


def test_a_part_of_an_id_will_do_where_it_is_the_only_one(stage):
    first, admin = said(stage, USER, 1, SECRET, by="alice"), stage.store.admin
    made = commit(stage.store, USER, Put(entry=rule("one", id="0123456789abcdef" * 2))).edit.ops[0].entry.id
    assert meant(admin, USER, "entry", f"#{made[-8:]}") == meant(admin, USER, "entry", made[:8]) == made
    assert meant(admin, USER, "feedback", first[-4:]) == first
    said(stage, USER, 2, "more", by="alice")
    with pytest.raises(UsageError, match="begins or ends 2 ids"):
        meant(admin, USER, "feedback", "00000")
    with pytest.raises(NotFound):
        meant(admin, OTHERS[0], "entry", made)
