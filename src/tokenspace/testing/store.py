"""The conformance suite of stores: a store is done when `check_store` passes.

Each check is a function of a fresh, empty store; its docstring is the rule that it checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Final

from tokenspace.domain import (
    Canary,
    Drop,
    Edit,
    Entry,
    Heads,
    Kind,
    Op,
    Origin,
    Outcome,
    Patch,
    Put,
    Restore,
    Run,
    Session,
    Status,
    Usage,
    Verdict,
    new_id,
)  # fmt: skip
from tokenspace.errors import BadData, EditConflict, InvalidEdit, NotFound, StaleHead, UsageError
from tokenspace.protocols import Store
from tokenspace.testing.canaries import (
    an_ended_canary_stays_as_it_is,
    canaries_are_seen_from_below,
    readings_are_kept_as_they_came,
    unknown_canaries_have_no_readings,
    unseen_is_what_nobody_was_about,
)
from tokenspace.testing.evidence import (
    a_session_keeps_its_first_heads,
    attempts_are_found_and_updated,
    evidence_is_kept_whole,
    feedback_is_found_by_its_ids,
    order_is_by_time_and_id,
    the_first_outcome_stays,
)
from tokenspace.testing.injected import (
    an_answer_keeps_its_first_episode,
    anchors_are_replayed_as_they_were,
    old_anchors_can_be_dropped,
    several_episodes_are_kept_as_one_by_one,
)
from tokenspace.testing.samples import (
    ACCEPT,
    BASE,
    NOW,
    OTHERS,
    TENANT,
    USER,
    a_case,
    a_feedback,
    an_attempt,
    an_episode,
    commit,
    refuses,
    rule,
    texts,
)


def check_store(make_store: Callable[[], Store]) -> None:
    """Run every check on a store of its own. Raises AssertionError that names the rule that was broken.

    `make_store` returns an empty store each time; the check closes it.
    """
    from tokenspace.testing.programs import check_random_programs

    for name in STORE_CHECKS:
        run_check(name, make_store)
    check_random_programs(make_store)


def run_check(name: str, make_store: Callable[[], Store]) -> None:
    """Run one check of `STORE_CHECKS`."""
    check = STORE_CHECKS[name]
    store = make_store()
    try:
        check(store)
    except AssertionError as error:
        raise AssertionError(f"{name}: {(check.__doc__ or '').strip()} {error}") from error
    finally:
        store.close()


# ── contexts and history ────────────────────────────────────────────────────────────────────


def a_new_store_is_empty(store: Store) -> None:
    """A scope that nobody has written to reads as empty, and reading leaves no trace."""
    assert store.heads(USER) == Heads()
    context = store.context(USER, Heads())
    assert context.entries == ()
    assert len(context.layers) == 3
    assert store.log(USER) == [] == store.episodes(USER) == store.feedback(USER) == store.cases(USER)
    assert store.attempts(USER) == [] == store.derived(USER, new_id())
    assert store.branches(USER) == {}
    assert store.blame(USER, Heads()) == {}
    assert store.session(USER, "s") is None
    assert store.outcome(USER, "k") is None
    assert store.canaries(USER, ended=True) == [] == store.unseen(USER, proposer="p")


def only_an_accepting_verdict_moves_a_head(store: Store) -> None:
    """I1: a head moves only in commit, and only with an accepting verdict that names its basis."""
    for decision in ("reject", "defer"):
        verdict = replace(ACCEPT, decision=decision)
        refuses(InvalidEdit, decision, lambda v=verdict: commit(store, USER, Put(entry=rule("a")), verdict=v))
    unnamed: Any = replace(ACCEPT, basis="whim")  # pyright: ignore[reportArgumentType] - what a type checker would refuse
    refuses(InvalidEdit, "an unknown basis", lambda: commit(store, USER, Put(entry=rule("a")), verdict=unnamed))
    store.save_attempt(an_attempt("k", decision="accept"))
    assert store.heads(USER) == Heads(), "the head moved without an accepted commit"
    assert store.log(USER) == []


def a_stale_expectation_changes_nothing(store: Store) -> None:
    """I2: commit is compare-and-swap: two learners never lose an edit."""
    first = commit(store, USER, Put(entry=rule("a")))
    edit = Edit(ops=(Put(entry=rule("b")),))
    for expect in (None, new_id(), "no such revision"):
        attempt = an_attempt(f"late {expect}", decision="accept")
        refuses(StaleHead, "a stale head", lambda e=expect, a=attempt: store.commit(
            USER, edit, ACCEPT, expect=e, author="late", attempt=a))  # fmt: skip
        assert store.attempts(USER, key=attempt.key) == [], "the attempt of a commit that failed was kept"
    assert store.heads(USER).user == first.id
    assert texts(store, USER) == ["a"]
    assert store.commit(USER, edit, ACCEPT, expect=first.id, author="late").parent == first.id


def an_attempt_commits_once(store: Store) -> None:
    """I3: one attempt key commits at most once, and committing it again returns the revision that it made."""
    attempt = an_attempt("k", decision="accept")
    made = commit(store, USER, Put(entry=rule("a")), attempt=attempt)
    commit(store, USER, Put(entry=rule("b")))
    again = store.commit(USER, Edit(ops=(Put(entry=rule("c")),)), ACCEPT, expect=None, author="x", attempt=attempt)
    assert again == made, "a second commit of a key did not return the first revision"
    assert texts(store, USER) == ["a", "b"]
    (kept,) = store.attempts(USER, key="k")
    assert kept == replace(attempt, revision=made.id)
    store.save_attempt(replace(attempt, verdict=replace(ACCEPT, decision="reject")))
    assert store.attempts(USER, key="k") == [kept], "an attempt that led to a revision was overwritten"
    refuses(UsageError, "an attempt of another scope", lambda: commit(
        store, USER, Put(entry=rule("d")), attempt=an_attempt("l", scope=TENANT)))  # fmt: skip
    made_up = an_attempt("m", revision=new_id())
    refuses(UsageError, "a revision that commit did not make", lambda: store.save_attempt(made_up))


def a_conflict_changes_nothing(store: Store) -> None:
    """An edit that does not apply raises EditConflict and leaves no trace."""
    before = commit(store, USER, Put(entry=rule("a")))
    for op in (Patch(id=new_id(), changes={"text": "b"}), Drop(id=new_id()), Restore(id=new_id())):
        refuses(EditConflict, repr(op), lambda op=op: commit(store, USER, Put(entry=rule("c")), op))
    assert store.log(USER) == [before]
    assert texts(store, USER) == ["a"]


def layers_override_and_hide(store: Store) -> None:
    """A lower layer overrides, hides and restores what it inherits, and touches nobody else's context."""
    shared, tenant = rule("shared"), rule("tenant")
    commit(store, BASE, Put(entry=shared))
    commit(store, TENANT, Put(entry=tenant), Patch(id=shared.id, changes={"text": "as acme says"}))
    assert texts(store, USER) == ["as acme says", "tenant"]
    commit(store, USER, Drop(id=shared.id), Put(entry=replace(tenant, text="as alice says")))
    assert texts(store, USER) == ["as alice says"]
    assert texts(store, TENANT) == texts(store, OTHERS[0]) == ["as acme says", "tenant"]
    assert texts(store, BASE) == texts(store, OTHERS[1]) == ["shared"]
    commit(store, BASE, Patch(id=shared.id, changes={"text": "shared anew"}))
    assert texts(store, USER) == ["as alice says"], "a tomb must outlast a change of what it hides"
    commit(store, USER, Restore(id=shared.id))
    commit(store, TENANT, Restore(id=shared.id))
    assert texts(store, USER) == ["as alice says", "shared anew"]
    commit(store, USER, Drop(id=tenant.id))
    commit(store, USER, Put(entry=tenant))
    commit(store, USER, Restore(id=tenant.id))
    assert texts(store, USER) == ["shared anew", "tenant"]
    assert store.context(USER, store.heads(USER)).layers[2].own == {}


def history_stays_readable(store: Store) -> None:
    """I4: every past context reads as it was; a revert is a new revision."""
    entry = rule("one")
    seen: list[tuple[Heads, list[str]]] = []
    steps: list[tuple[Op, ...]] = [
        (Put(entry=entry),), (Patch(id=entry.id, changes={"text": "two"}), Put(entry=rule("more"))),
        (Drop(id=entry.id),), (Put(entry=replace(entry, text="three")),), (Restore(id=entry.id),), (Put(entry=entry),),
    ]  # fmt: skip
    for scope in (BASE, TENANT, USER):
        for ops in steps:
            commit(store, scope, *ops)
            heads = store.heads(USER)
            seen.append((heads, texts(store, USER, heads)))
    for heads, before in seen:
        assert texts(store, USER, heads) == before, f"the context at {heads} changed"
    assert [made.seq for made in store.log(USER)] == [6, 5, 4, 3, 2, 1]


def revisions_read_back_in_canonical_form(store: Store) -> None:
    """A revision holds its edit as Put, Drop and Restore by id, with rationale, evidence and read in order."""
    old, new, gone = rule("old"), rule("new"), rule("gone")
    commit(store, TENANT, Put(entry=old), Put(entry=gone))
    commit(store, USER, Put(entry=replace(gone, text="mine")))
    sources = (new_id(), "named-by-hand", new_id())
    verdict = Verdict(
        decision="accept", basis="tested", reason="fixes 5 · breaks 0", gate="g@1", tier=2, fixes=5, pairs=7,
        e_benefit=float("inf"), usage=Usage(calls=3, usd=0.25), cases=(new_id(), "by name", new_id()),
        differences=(1.0, 0.0, -1 / 3), support=2, share=0.05, model="m",
    )  # fmt: skip
    made = commit(
        store, USER, Put(entry=new), Patch(id=old.id, changes={"pos": 4}), Restore(id=gone.id), why="why not",
        evidence=sources, read=sources[::-1], verdict=verdict,
    )  # fmt: skip
    ops = {old.id: Put(entry=replace(old, pos=4)), new.id: Put(entry=new), gone.id: Restore(id=gone.id)}
    canonical = tuple(ops[id] for id in sorted(ops))
    assert made.edit == Edit(ops=canonical, rationale="why not", evidence=sources, read=sources[::-1])
    assert made.verdict == verdict
    assert store.revision(USER, made.id) == made == store.log(USER, limit=1)[0]
    assert {type(one) for one in store.revision(USER, made.id).verdict.differences} == {float}
    last = commit(store, USER, Drop(id=old.id), Drop(id=new.id))
    assert last.edit.ops == tuple(Drop(id=id) for id in sorted((old.id, new.id)))
    assert store.revision(USER, last.id) == last
    assert (last.parent, last.seq, last.author, last.branch) == (made.id, 3, "tester", "")


def every_field_is_kept(store: Store) -> None:
    """An entry reads back with every field as it was put, times in UTC to the millisecond."""
    since = datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=UTC)
    until = datetime(2031, 5, 6, 7, 8, 9, 123_456, tzinfo=timezone(timedelta(hours=2)))
    for number, kind in enumerate(Kind):
        entry = Entry(
            kind=kind, doc=f"skills/a {number}", text="line\r\nline\ttab ", trigger="" if number else "when",
            origin=Origin(number % len(Origin)), status=list(Status)[number % 4], pos=number - 2, valid_until=until,
            supersedes=(new_id(), "by-name", None)[number % 3], key=("", "opening hours")[number % 2],
            valid_from=(since, None)[number // 2 % 2],
        )  # fmt: skip
        commit(store, USER, Put(entry=entry))
        kept = store.context(USER, store.heads(USER)).by_id[entry.id]
        whole = since.replace(microsecond=0) if entry.valid_from else None
        assert kept == replace(entry, valid_until=until.astimezone(UTC).replace(microsecond=123_000), valid_from=whole)


def unicode_and_large_texts_are_kept(store: Store) -> None:
    """Any text that is valid Unicode without NUL is kept as it is, up to a million bytes."""
    for text in (
        "",
        "naïve — 東京 🦅 \u202e\ufeff \x01\x7f",
        "é" * 500_000,
        "e\u0301 is not \u00e9",
        "\\u0000 'quoted\" %s",
    ):
        entry = rule(text)
        commit(store, USER, Put(entry=entry), why=text)
        assert store.context(USER, store.heads(USER)).by_id[entry.id] == entry
        assert store.log(USER, limit=1)[0].edit.rationale == text
        episode = an_episode(run=Run(output=text))
        store.record(episode)
        assert store.episode(USER, episode.id) == episode


def unusable_texts_are_refused(store: Store) -> None:
    """NUL bytes, lone surrogates, oversized texts and naive times are refused everywhere with BadData."""
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the mistake that is refused
    for text in ("a\0b", "\ud800", "x" * 1_000_001):
        for ops in ((Put(entry=rule(text)),), (Put(entry=rule("a", trigger=text)),), (Put(entry=rule("a", id=text)),)):
            refuses(BadData, "an entry", lambda ops=ops: commit(store, USER, *ops))
        refuses(BadData, "a rationale", lambda t=text: commit(store, USER, Put(entry=rule("a")), why=t))
        refuses(BadData, "a reason", lambda t=text: commit(
            store, USER, Put(entry=rule("a")), verdict=replace(ACCEPT, reason=t)))  # fmt: skip
        refuses(BadData, "an episode", lambda t=text: store.record(an_episode(run=Run(output=t))))
        refuses(BadData, "feedback", lambda t=text: store.add_feedback(a_feedback(comment=t), None))
        refuses(BadData, "an attempt", lambda t=text: store.save_attempt(an_attempt(t)))
        refuses(BadData, "an outcome", lambda t=text: store.save_outcome(
            USER, Outcome(key="k", case="c", run=Run(output=t))))  # fmt: skip
        refuses(BadData, "a session", lambda t=text: store.save_session(
            Session(id=t, scope=USER, heads=Heads(), last_seen=NOW)))  # fmt: skip
        refuses(BadData, "a canary", lambda t=text: store.save_canary(
            Canary(scope=USER, branch=t, revision=new_id(), share=1, rate=0.5, at=NOW)))  # fmt: skip
    refuses(BadData, "a naive time", lambda: store.record(an_episode(at=naive)))
    refuses(BadData, "a naive end", lambda: commit(store, USER, Put(entry=rule("a", valid_until=naive))))
    refuses(BadData, "a position", lambda: commit(store, USER, Put(entry=rule("a", pos=2**40))))
    assert store.log(USER) == [] == store.episodes(USER) == store.canaries(USER)


def vectors_follow_their_text(store: Store) -> None:
    """A vector stays with an entry while its text and trigger do, across layers and revisions."""
    entry, other = rule("a"), rule("b")
    commit(store, BASE, Put(entry=entry), Put(entry=other), vectors={entry.id: b"\x01\x02", new_id(): b"\x09"})
    first = store.heads(USER)
    assert dict(store.context(USER, first).vectors) == {entry.id: b"\x01\x02"}
    commit(store, USER, Patch(id=entry.id, changes={"pos": 3}))
    assert dict(store.context(USER, store.heads(USER)).vectors) == {entry.id: b"\x01\x02"}
    commit(store, USER, Patch(id=entry.id, changes={"text": "other words"}))
    assert dict(store.context(USER, store.heads(USER)).vectors) == {}
    commit(store, USER, Patch(id=entry.id, changes={"text": "a"}), vectors={entry.id: b"\x03"})
    assert dict(store.context(USER, store.heads(USER)).vectors) == {entry.id: b"\x03"}
    commit(store, USER, Drop(id=entry.id))
    assert dict(store.context(USER, store.heads(USER)).vectors) == {}
    assert dict(store.context(BASE, store.heads(BASE)).vectors) == {entry.id: b"\x01\x02"}
    assert dict(store.context(USER, first).vectors) == {entry.id: b"\x01\x02"}


def blame_names_the_last_writer(store: Store) -> None:
    """Each visible entry is blamed on the revision that last wrote it, with its evidence; nothing else is."""
    shared, own = rule("shared"), rule("own")
    base = commit(store, BASE, Put(entry=shared), Put(entry=own), evidence=("ep-1", new_id()))
    tested = replace(ACCEPT, basis="tested")
    made = commit(store, USER, Patch(id=own.id, changes={"pos": 1}), evidence=(new_id(),), read=("r",), verdict=tested)
    commit(store, USER, Put(entry=rule("more")))
    blame = store.blame(USER, store.heads(USER))
    assert set(blame) == set(store.context(USER, store.heads(USER)).by_id)
    for id, revision in ((shared.id, base), (own.id, made)):
        found = blame[id]
        assert (found.entry, found.scope, found.revision) == (id, revision.scope, revision.id)
        assert (found.author, found.at, found.decision_basis) == (revision.author, revision.at, revision.verdict.basis)
        assert found.sources == revision.edit.evidence
    commit(store, USER, Drop(id=shared.id))
    assert shared.id not in store.blame(USER, store.heads(USER))


def provenance_reads_both_ways(store: Store) -> None:
    """Every revision is found by each source that it cites or read, in its own layer only, newest first."""
    cited, read, both = new_id(), "case by name", new_id()
    first = commit(store, USER, Put(entry=rule("a")), evidence=(cited, both, cited), read=(read,))
    second = commit(store, USER, Put(entry=rule("b")), evidence=(both,), read=(both,))
    store.create_branch(USER, "draft")
    third = commit(store, USER, Put(entry=rule("c")), branch="draft", read=(cited,))
    assert store.derived(USER, cited) == [third, first]
    assert store.derived(USER, read) == [first]
    assert store.derived(USER, both) == [second, first]
    for scope in (BASE, TENANT, *OTHERS):
        assert store.derived(scope, both) == []


def branches_fork_and_stay_apart(store: Store) -> None:
    """A branch begins at the served head, changes apart from it, and may be dropped; history stays."""
    kept, gone, hidden = rule("kept"), rule("gone"), rule("hidden")
    commit(store, TENANT, Put(entry=hidden))
    commit(store, USER, Put(entry=kept), Put(entry=gone), Drop(id=hidden.id))
    fork = store.create_branch(USER, "draft")
    assert fork == store.heads(USER).user == store.heads(USER, branch="draft").user == store.branches(USER)["draft"]
    assert store.log(USER, branch="draft") == store.log(USER)
    first = commit(store, USER, Drop(id=gone.id), Restore(id=hidden.id), branch="draft")
    assert (first.parent, first.branch, first.seq) == (fork, "draft", 2)
    commit(store, USER, Patch(id=kept.id, changes={"text": "kept on the draft"}), branch="draft")
    commit(store, USER, Patch(id=kept.id, changes={"text": "kept here"}))
    assert texts(store, USER, branch="draft") == ["hidden", "kept on the draft"]
    assert texts(store, USER) == ["gone", "kept here"]
    assert [made.seq for made in store.log(USER, branch="draft")] == [3, 2, 1]
    assert store.log(USER, branch="draft", limit=2)[1] == first == store.revision(USER, first.id)
    assert store.blame(USER, store.heads(USER, branch="draft"))[hidden.id].scope == TENANT
    old = store.heads(USER, branch="draft")
    refuses(UsageError, "a second branch of a name", lambda: store.create_branch(USER, "draft"))
    store.drop_branch(USER, "draft")
    assert store.branches(USER) == {}
    assert texts(store, USER, old) == ["hidden", "kept on the draft"]
    refuses(NotFound, "a dropped branch", lambda: store.heads(USER, branch="draft"))
    refuses(NotFound, "a dropped branch", lambda: commit(store, USER, Put(entry=kept), branch="draft"))
    refuses(NotFound, "dropping twice", lambda: store.drop_branch(USER, "draft"))
    store.create_branch(USER, "draft")
    assert texts(store, USER, branch="draft") == ["gone", "kept here"]


def an_empty_layer_can_be_branched(store: Store) -> None:
    """A draft may come before the first revision of its layer."""
    assert store.create_branch(USER, "draft") is None
    assert store.branches(USER) == {"draft": None}
    made = commit(store, USER, Put(entry=rule("a")), branch="draft")
    assert (made.parent, made.seq) == (None, 1)
    assert store.heads(USER) == Heads()
    assert texts(store, USER, branch="draft") == ["a"]
    for name in ("", " ", "x" * 200):
        refuses(UsageError, "an unusable name", lambda name=name: store.create_branch(USER, name))
    refuses(NotFound, "an unknown branch", lambda: store.log(USER, branch="nope"))


def scopes_are_isolated(store: Store) -> None:
    """I8: nothing of one scope is seen from another; what exists elsewhere is NotFound like what never did."""
    made = commit(store, USER, Put(entry=rule("secret")), attempt=an_attempt("k", decision="accept"), evidence=("f",))
    store.create_branch(USER, "draft")
    episode, feedback = an_episode(), a_feedback()
    store.record(episode)
    store.add_feedback(feedback, a_case())
    store.save_outcome(USER, Outcome(key="o", case="c", run=Run(output="x")))
    store.save_session(Session(id="s", scope=USER, heads=store.heads(USER), last_seen=NOW))
    for scope in (BASE, TENANT, *OTHERS):
        assert texts(store, scope) == []
        assert store.log(scope) == [] == store.episodes(scope) == store.feedback(scope, ids=[feedback.id])
        assert store.feedback(scope) == [] == store.cases(scope) == store.attempts(scope, key="k")
        assert store.outcome(scope, "o") is None
        assert store.session(scope, "s") is None
        assert store.branches(scope) == {} == store.blame(scope, store.heads(scope))
        assert store.derived(scope, "f") == []
        refuses(NotFound, "a foreign revision", lambda s=scope: store.revision(s, made.id))
        refuses(NotFound, "a foreign episode", lambda s=scope: store.episode(s, episode.id))
        for heads in (Heads(user=made.id), Heads(tenant=made.id), Heads(base=made.id)):
            refuses(NotFound, "foreign heads", lambda s=scope, h=heads: store.context(s, h))
            refuses(NotFound, "foreign heads", lambda s=scope, h=heads: store.blame(s, h))
    refuses(NotFound, "an unknown revision", lambda: store.revision(USER, new_id()))
    base = commit(store, BASE, Put(entry=rule("shared")))
    assert store.revision(USER, base.id) == base


STORE_CHECKS: Final[Mapping[str, Callable[[Store], None]]] = MappingProxyType({
    check.__name__: check
    for check in (
        a_new_store_is_empty, only_an_accepting_verdict_moves_a_head, a_stale_expectation_changes_nothing,
        an_attempt_commits_once, a_conflict_changes_nothing, layers_override_and_hide, history_stays_readable,
        revisions_read_back_in_canonical_form, every_field_is_kept, unicode_and_large_texts_are_kept,
        unusable_texts_are_refused, vectors_follow_their_text, blame_names_the_last_writer,
        provenance_reads_both_ways, branches_fork_and_stay_apart, an_empty_layer_can_be_branched, scopes_are_isolated,
        evidence_is_kept_whole, feedback_is_found_by_its_ids, order_is_by_time_and_id, attempts_are_found_and_updated,
        the_first_outcome_stays,
        a_session_keeps_its_first_heads, canaries_are_seen_from_below, an_ended_canary_stays_as_it_is,
        readings_are_kept_as_they_came, unknown_canaries_have_no_readings, unseen_is_what_nobody_was_about,
        an_answer_keeps_its_first_episode, anchors_are_replayed_as_they_were, old_anchors_can_be_dropped,
        several_episodes_are_kept_as_one_by_one,
    )
})  # fmt: skip
