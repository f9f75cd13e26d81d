"""The checks of a store's evidence: episodes, feedback, cases, attempts, outcomes and sessions (see `store`)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tokenspace.domain import (
    Drop,
    Edit,
    GraderSpec,
    Heads,
    Kind,
    Message,
    Origin,
    Outcome,
    Patch,
    Put,
    Request,
    Restore,
    Run,
    Session,
    Signal,
    ToolCall,
    Usage,
    Verdict,
    new_id,
)
from tokenspace.errors import UsageError
from tokenspace.protocols import Store
from tokenspace.testing.samples import (
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
)


def evidence_is_kept_whole(store: Store) -> None:
    """Episodes, feedback and cases read back as they were, and the same id again changes nothing."""
    call = ToolCall(id="1", name="look", arguments='{"a": 1}', result="é")
    request = Request(
        messages=(Message(role="user", text="hi"), Message(role="assistant", text="", tool_calls=(call,))),
        tools=({"name": "look", "parameters": {"type": "object", "n": [1, 2.5, None, True]}},), choices=("a", "b"),
        schema={"type": "string"}, max_output_tokens=7,
    )  # fmt: skip
    run = Run(
        output="out",
        messages=request.messages,
        tool_calls=(call,),
        usage=Usage(calls=1, usd=0.1),
        latency_s=0.5,
        model="m",
    )
    episode = an_episode(request=request, run=run, heads=Heads(base=new_id()), shown=(new_id(), "x"), session="s")
    store.record(episode)
    store.record(replace(episode, run=Run(output="rewritten")))
    assert store.episodes(USER) == [episode]
    values: list[tuple[Signal, str | float | bool]] = [
        (Signal.CORRECTION, "1"), (Signal.LABEL, True), (Signal.LABEL, False), (Signal.SCORE, 1.0), (Signal.SCORE, 0.0),
    ]  # fmt: skip
    for signal, value in values:
        grader = GraderSpec(name="number", expected={"a": [1, "x"]}, options={"tolerance": 0.5})
        feedback = a_feedback(
            signal=signal, value=value, comment="c", trigger="t", source=Origin.OPERATOR, expects=grader
        )
        case = a_case(
            grader=grader,
            sources=(feedback.id,),
            principal="ann",
            pinned=True,
            split="sealed",
            request=request,
            recorded=(call,),
        )
        store.add_feedback(feedback, case)
        store.add_feedback(replace(feedback, value="rewritten"), a_case())
        (kept,) = store.feedback(USER, ids=[feedback.id, feedback.id, new_id()])
        assert (kept, type(kept.value)) == (feedback, type(value))
        assert store.cases(USER)[-1] == case
    assert len(store.cases(USER)) == len(store.feedback(USER)) == len(values)
    assert store.feedback(USER, ids=[]) == []
    refuses(UsageError, "a case of another scope", lambda: store.add_feedback(a_feedback(), a_case(scope=TENANT)))


def feedback_is_found_by_its_ids(store: Store) -> None:
    """Few or many, in any order and named twice; what the scope does not have is not found."""
    episode = an_episode()
    store.record(episode)
    told = [a_feedback(episode=episode.id, at=NOW + timedelta(seconds=number)) for number in range(60)]
    for one in told:
        store.add_feedback(one, None)
    for count in (0, 1, 20, 45):
        wanted = [one.id for one in told[:count]]
        assert store.feedback(USER, ids=[*wanted[::-1], *wanted[:1], new_id()]) == told[:count]
    assert store.feedback(OTHERS[0], ids=[one.id for one in told]) == []


def order_is_by_time_and_id(store: Store) -> None:
    """Lists are ordered by time, then by id, whatever order they were written in; limits take the newest."""
    times = [NOW + timedelta(seconds=n) for n in (3, 1, 2, 2)]
    episodes = [
        an_episode(at=at, id=id) for at, id in zip(times, ("f" * 32, "b" * 32, "d" * 32, "c" * 32), strict=True)
    ]
    for episode in episodes:
        store.record(episode)
        store.add_feedback(a_feedback(id=episode.id, at=episode.at), a_case(id=episode.id, at=episode.at))
        store.save_attempt(an_attempt(episode.id, id=episode.id, at=episode.at))
    oldest = ["b" * 32, "c" * 32, "d" * 32, "f" * 32]
    assert [each.id for each in store.feedback(USER)] == oldest == [each.id for each in store.cases(USER)]
    assert [each.id for each in store.episodes(USER)] == oldest[::-1]
    assert [each.id for each in store.attempts(USER)] == oldest
    for limit in (0, 1, 3, 9):
        assert [each.id for each in store.episodes(USER, limit=limit)] == oldest[::-1][:limit]
        assert [each.id for each in store.attempts(USER, limit=limit)] == oldest[max(0, 4 - limit) :]
    for number in range(3):
        commit(store, USER, Put(entry=rule(f"{number}")))
    assert [len(store.log(USER, limit=limit)) for limit in (0, 1, 3, 9)] == [0, 1, 3, 3]
    refuses(UsageError, "a negative limit", lambda: store.log(USER, limit=-1))


def attempts_are_found_and_updated(store: Store) -> None:
    """I3: every attempt is kept under its key, may be judged again, and is found by what it tried and how it went."""
    patch = Patch(id="x", changes={"kind": Kind.FACT, "pos": 1})
    ops = (Put(entry=rule("a", valid_until=NOW)), patch, Drop(id="y"), Restore(id="z"))
    edit = Edit(ops=ops, rationale="r", evidence=("f",), read=("g",))
    verdict = Verdict(
        decision="defer",
        basis="tested",
        reason="thin",
        e_benefit=2.5,
        differences=(0.0, 1.0, 0.25),
        support=1,
        model="m",
    )
    held = an_attempt("k", edit=edit, verdict=verdict, evidence=("f",), heads=Heads(base=new_id()), edit_key="same")
    store.save_attempt(held)
    assert store.attempts(USER) == [held]
    (kept,) = store.attempts(USER, decision="defer")
    read = kept.edit.ops[1] if kept.edit else None
    assert isinstance(read, Patch)
    assert isinstance(read.changes["kind"], Kind)
    judged = replace(held, verdict=replace(verdict, decision="reject"), at=NOW + timedelta(hours=1))
    store.save_attempt(judged)
    judged = replace(judged, earlier=((held.at, held.id, held.evidence),))
    store.save_attempt(an_attempt("l", edit_key="", decision="defer"))
    assert store.attempts(USER, key="k") == [judged] == store.attempts(USER, decision="reject")
    assert store.attempts(USER, edit_key="same") == [judged]
    assert store.attempts(USER, edit_key="same", decision="defer") == []
    assert [each.key for each in store.attempts(USER, edit_key="")] == ["l"]


def the_first_outcome_stays(store: Store) -> None:
    """A replay is paid for once: the first outcome of a key stays, and each scope has its own."""
    first = Outcome(key=new_id(), case=new_id(), run=Run(output="a", usage=Usage(calls=1)))
    store.save_outcome(USER, first)
    store.save_outcome(USER, replace(first, run=Run(output="b")))
    store.save_outcome(OTHERS[0], replace(first, run=Run(output="c")))
    assert store.outcome(USER, first.key) == first
    assert store.outcome(OTHERS[0], first.key) == replace(first, run=Run(output="c"))


def a_session_keeps_its_first_heads(store: Store) -> None:
    """I14: saving a conversation again changes when it was seen, and not the heads that it began with."""
    began = Session(id="a conversation, 16", scope=USER, heads=Heads(base=new_id(), user=new_id()), last_seen=NOW)
    for id in ("a conversation, 16", "15 characters..", "16 characters...", new_id()):
        store.save_session(replace(began, id=id))
        later = NOW + timedelta(minutes=5)
        store.save_session(Session(id=id, scope=USER, heads=Heads(), last_seen=later))
        assert store.session(USER, id) == replace(began, id=id, last_seen=later)
