"""Who wrote, read, approved and erased what: from the ledger and from the access log, on every store."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenspace.auditing import (
    DEEDS,
    Event,
    Question,
    approver_of,
    audit,
    forgotten,
    merged,
    note,
    pseudonym,
    since_of,
    told_event,
)
from tokenspace.domain import Access, Put, Scope, Verdict, new_id
from tokenspace.errors import BadData, UsageError
from tokenspace.testing.samples import (
    BASE,
    NOW,
    TENANT,
    USER,
    a_feedback,
    an_attempt,
    an_episode,
    commit,
    rule,
)  # fmt: skip

SECRET = "the words that nobody may find here"


def a_read(**more) -> Access:
    given = {"at": NOW, "agent": USER.agent, "tenant": USER.tenant, "user": USER.user, "principal": "ana"}
    return Access(**{**given, "deed": "read", "kind": "episode", "object": "e" * 32, **more})


@pytest.fixture
def store(empty_store):
    made = empty_store()
    yield made
    made.close()


@pytest.fixture
def lived(store):
    """A store in which everybody did something, all of it with words that must not come out."""
    shown, said = rule(SECRET), a_feedback(principal="bo", comment=SECRET)
    store.record(replace(an_episode(), shown=(shown.id, shown.id)))
    store.add_feedback(said, None)
    approved = Verdict(decision="accept", basis="human", reason="approved by key 7")
    commit(store, USER, Put(entry=shown), evidence=(said.id,), verdict=approved)
    declined = Verdict(decision="reject", basis="human", reason=f"declined by cy: {SECRET}")
    store.save_attempt(replace(an_attempt("k"), verdict=declined))
    store.admin.note_access(a_read())
    return store, shown


def of(store, scope=BASE, **asked) -> list[Event]:
    return audit(store, store.admin, scope, Question(**asked))


# ── the log ─────────────────────────────────────────────────────────────────────────────────


def test_what_is_noted_is_given_back_newest_first(store) -> None:
    rows = [a_read(at=NOW + timedelta(seconds=number), count=number, object="") for number in range(5)]
    for row in rows:
        store.admin.note_access(row)
    assert store.admin.accesses() == rows[::-1]
    assert store.admin.accesses(limit=2) == rows[:2:-1]
    assert store.admin.accesses(since=rows[3].at) == [rows[4], rows[3]]


def test_what_is_noted_is_told_by_agent_tenant_and_user(store) -> None:
    mine, other, keys = a_read(), a_read(tenant="globex"), a_read(agent="", user="", kind="key")
    for row in (mine, other, keys):
        store.admin.note_access(row)
    assert store.admin.accesses(tenant="globex") == [other]
    assert store.admin.accesses(tenant=USER.tenant, user=USER.user) == [mine]
    assert keys in store.admin.accesses(agent=USER.agent)
    assert store.admin.accesses(agent="another") == [keys]


def test_looking_into_a_scope_does_not_begin_it(store) -> None:
    before = store.admin.scopes()
    store.admin.note_access(a_read(agent="never", tenant="seen", user="before"))
    assert store.admin.scopes() == before


@pytest.mark.parametrize(
    "wrong", [{"object": "x" * 1_000}, {"principal": "a\0b"}, {"kind": SECRET * 100}, {"count": -1}]
)
def test_a_row_that_could_hold_a_text_is_refused(store, wrong) -> None:
    with pytest.raises(BadData):
        store.admin.note_access(a_read(**wrong))
    assert store.admin.accesses() == []


def test_old_rows_are_dropped_and_no_others(store) -> None:
    for days in range(4):
        store.admin.note_access(a_read(at=NOW + timedelta(days=days)))
    assert store.admin.drop_accesses(NOW + timedelta(days=2)) == 2
    assert [row.at for row in store.admin.accesses()] == [NOW + timedelta(days=3), NOW + timedelta(days=2)]


def test_an_erased_user_is_a_pseudonym_and_that_something_was_erased_still_stands(store) -> None:
    admin = store.admin
    admin.note_access(a_read(principal=USER.user))
    admin.note_access(a_read(principal="ana", deed="erased", kind="user", object=""))
    theirs = a_read(tenant="globex", principal=USER.user)  # somebody else of the same name
    staff = a_read(user="", principal=USER.user)  # who looks elsewhere under that name answers for it
    for row in (theirs, staff):
        admin.note_access(row)
    assert admin.disown_accesses(USER, "erased-1") == 2
    assert admin.accesses(tenant=USER.tenant, user=USER.user) == []
    found = {(row.principal, row.deed, row.kind) for row in admin.accesses(user="erased-1")}
    assert found == {("erased-1", "read", "episode"), ("ana", "erased", "user")}
    assert {theirs, staff} <= set(admin.accesses())


def test_what_was_forgotten_is_told_without_the_name_of_who_it_was(store) -> None:
    admin, first, second = store.admin, new_id(), new_id()
    admin.note_access(a_read(principal="ana"))
    forgotten(admin, USER, "user", principal=USER.user, at=NOW, id=first, count=12)
    forgotten(admin, USER, "user", principal="ana", at=NOW, id=second)
    name, again = pseudonym(first), pseudonym(second)
    assert name != again
    assert USER.user not in repr(admin.accesses())
    told = {(one.who, one.user, one.kind, one.count) for one in of(store, deed="erased")}
    assert told == {(name, name, "user", 12), ("ana", again, "user", 1)}
    (read,) = of(store, deed="read")
    assert (read.who, read.user) == ("ana", name)


def test_who_had_one_episode_forgotten_keeps_the_name(store) -> None:
    row = forgotten(store.admin, USER, "episode", principal="ana", at=NOW, id="e" * 32)
    assert row.user == USER.user
    (event,) = of(store, object="e" * 32)
    assert (event.deed, event.user, event.who) == ("erased", USER.user, "ana")


def test_a_pseudonym_is_of_one_user_never_of_a_layer(store) -> None:
    for scope, name in ((TENANT, "erased-1"), (BASE, "erased-1"), (USER, "")):
        with pytest.raises(UsageError):
            store.admin.disown_accesses(scope, name)


def test_a_store_without_an_operator_notes_nothing() -> None:
    note(object(), a_read())  # type: ignore[arg-type]


# ── the stream ──────────────────────────────────────────────────────────────────────────────


def test_it_says_who_wrote_read_and_approved(lived) -> None:
    store, shown = lived
    told = {(one.who, one.deed, one.kind, one.outcome) for one in of(store)}
    assert told == {
        (USER.user, "read", "context", "done"),
        ("bo", "wrote", "feedback", "done"),
        ("tester", "wrote", "revision", "done"),
        ("key 7", "approved", "revision", "accepted"),
        ("cy", "approved", "attempt", "declined"),
        ("ana", "read", "episode", "done"),
    }
    (wrote,) = of(store, deed="wrote", object=shown.id)
    assert (wrote.principals, wrote.basis) == (("bo",), "human")
    (read,) = of(store, deed="read", object=shown.id)
    assert (read.count, read.user) == (1, USER.user)


def test_it_never_tells_a_text(lived) -> None:
    store, _ = lived
    for event in of(store):
        assert SECRET not in repr([getattr(event, one.name) for one in fields(event)])
        assert "objects" not in told_event(event)


def test_i8_a_scope_is_told_of_itself_and_what_is_below_it(lived) -> None:
    store, _ = lived
    elsewhere = Scope(agent=USER.agent, tenant="globex", user=USER.user)
    commit(store, elsewhere, Put(entry=rule("theirs")))
    store.admin.note_access(a_read(tenant="globex", principal="theirs"))
    assert {one.tenant for one in of(store, TENANT)} == {one.tenant for one in of(store, USER)} == {USER.tenant}
    assert {one.tenant for one in of(store)} == {USER.tenant, "globex"}
    assert of(store, Scope(agent="another")) == []


def test_what_is_about_no_agent_is_told_to_the_whole_tenant_only(store) -> None:
    commit(store, TENANT, Put(entry=rule("a")))
    store.admin.note_access(a_read(agent="", user="", kind="key"))
    for whole, count in ((True, 1), (False, 0)):
        found = audit(store, store.admin, TENANT, Question(deed="read"), whole=whole)
        assert len(found) == count


def test_a_filter_reads_on_until_its_page_is_full(store) -> None:
    for number in range(30):
        store.record(replace(an_episode(id=f"{number:032x}"), at=NOW + timedelta(seconds=number)))
    store.add_feedback(replace(a_feedback(), principal="bo"), None)
    assert [one.who for one in of(store, who="bo", limit=3)] == ["bo"]
    assert len(of(store, who=USER.user, limit=20)) == 20
    assert [one.id for one in of(store, object=f"{0:032x}", limit=1)] == [f"{0:032x}"]


def test_pages_follow_each_other_without_gap_or_repetition(lived) -> None:
    store, _ = lived
    whole = of(store)
    assert [of(store, offset=at, limit=1)[0] for at in range(len(whole))] == whole
    assert of(store, offset=len(whole)) == []
    assert whole == sorted(whole, key=lambda one: one.order, reverse=True)


def test_a_branch_is_told_once(store) -> None:
    commit(store, USER, Put(entry=rule("a")))
    store.create_branch(USER, "draft")
    commit(store, USER, Put(entry=rule("b")), branch="draft")
    assert len(of(store, deed="wrote")) == 2


@pytest.mark.parametrize(("reason", "who"), [("by ana", "ana"), ("promoted by key 7", "key 7"), ("so said", "tester")])
def test_what_a_person_commits_has_an_author_and_an_approver(store, reason, who) -> None:
    verdict = Verdict(decision="accept", basis="human", reason=reason)
    assert approver_of(commit(store, USER, Put(entry=rule("a")), verdict=verdict)) == who
    assert {(one.who, one.deed) for one in of(store)} == {("tester", "wrote"), (who, "approved")}
    assert len(of(store, deed="approved", limit=1)) == 1


def test_a_key_is_found_by_its_id_alone(store) -> None:
    commit(store, USER, Put(entry=rule("a")))
    store.admin.note_access(a_read(principal="key 7"))
    assert len(of(store, who="7", deed="read")) == len(of(store, who="key 7", deed="read")) == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.sampled_from(DEEDS)), max_size=30), st.data())
def test_the_merge_is_that_of_one_sorted_list(drawn, data) -> None:
    events = [
        Event(at=NOW + timedelta(seconds=second), who=who, deed=deed, kind="episode", id=f"{number}")
        for number, (second, who, deed) in enumerate(drawn)
    ]
    homes = [data.draw(st.integers(0, 2)) for _ in events]
    split = [
        sorted((one for one, home in zip(events, homes, strict=True) if home == mine), key=lambda one: one.order,
               reverse=True)
        for mine in range(3)
    ]  # fmt: skip
    question = Question(who=data.draw(st.sampled_from(["", "a"])), offset=data.draw(st.integers(0, 4)), limit=7)
    wanted = [one for one in sorted(events, key=lambda one: one.order, reverse=True) if question.who in {"", one.who}]
    assert merged(split, question) == wanted[question.offset : question.offset + 7]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T01:00+01:00", datetime(2026, 1, 2, tzinfo=UTC)),
        ("0001-01-01", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_date_is_read_in_utc(text, at) -> None:
    assert since_of(text) == at


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "0001-01-01T00:00+05:00"])
def test_what_is_no_date_is_refused_in_words(text) -> None:
    with pytest.raises(UsageError, match="no date"):
        since_of(text)
