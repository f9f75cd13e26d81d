"""The checks of what the gateway keeps in a store: providers' response ids and the injection ledger (see `store`)."""

from __future__ import annotations

from datetime import UTC, datetime

from tokenspace.domain import Put, new_id
from tokenspace.errors import BadData
from tokenspace.protocols import Store
from tokenspace.testing.samples import BASE, OTHERS, TENANT, USER, an_episode, commit, refuses, rule

EARLY, LATE = datetime(1990, 1, 1, tzinfo=UTC), datetime(2190, 1, 1, tzinfo=UTC)


def an_answer_keeps_its_first_episode(store: Store) -> None:
    """A provider's response id leads to the episode that it was first noted for, in exactly that scope (I8)."""
    names = (new_id(), "chatcmpl-9x", "resp_0123456789", "msg/é", "a" * 250)
    for answer in names:
        assert store.episode_of(USER, answer) is None
        store.note_answer(USER, answer, f"of {answer[:9]}")
        store.note_answer(USER, answer, new_id())
        assert store.episode_of(USER, answer) == f"of {answer[:9]}"
    store.note_answer(OTHERS[0], names[1], "bob's")
    assert store.episode_of(OTHERS[0], names[1]) == "bob's"
    for scope in (BASE, TENANT, *OTHERS[1:]):
        assert [store.episode_of(scope, answer) for answer in names] == [None] * len(names)
    for unusable in ("", "a\0b", "\ud800", "x" * 251):
        refuses(BadData, "an answer's id", lambda t=unusable: store.note_answer(USER, t, "e"))
        refuses(BadData, "an episode's id", lambda t=unusable: store.note_answer(USER, "a", t))


def several_episodes_are_kept_as_one_by_one(store: Store) -> None:
    """`record_all` keeps episodes of any scopes with their answers' ids, all of them or none, and twice as once."""
    mine, bobs = an_episode(), an_episode(scope=OTHERS[0])
    store.record(mine)
    for _ in range(2):
        store.record_all([mine, bobs], answers={bobs.id: "resp_7"})
    assert [one.id for one in store.episodes(USER)] == [mine.id]
    assert store.episode(OTHERS[0], bobs.id) == bobs
    assert (store.episode_of(OTHERS[0], "resp_7"), store.episode_of(USER, "resp_7")) == (bobs.id, None)
    refuses(BadData, "an answer's id", lambda: store.record_all([an_episode(), bobs], answers={bobs.id: ""}))
    refuses(BadData, "an episode", lambda: store.record_all([an_episode(), an_episode(session="a\0b")], answers={}))
    store.record_all([], answers={})
    assert [one.id for one in store.episodes(USER)] == [mine.id]


def writes_may_share_a_transaction(store: Store) -> None:
    """What is written within `together` stands at its end, with what others see before and after it unchanged."""
    one, other = an_episode(), an_episode(scope=OTHERS[0])
    with store.together():
        store.record(one)
        store.save_anchor(USER, "c" * 32, "body")
        store.record_all([other], answers={other.id: "resp_8"})
    assert store.episode(USER, one.id) == one
    assert dict(store.anchors(USER, ["c" * 32])) == {"c" * 32: "body"}
    assert store.episode_of(OTHERS[0], "resp_8") == other.id
    with store.together():
        pass


def anchors_are_replayed_as_they_were(store: Store) -> None:
    """The injection ledger gives back, of the places asked for, the first body saved there, in exactly that scope."""
    chains = [new_id() for _ in range(600)]
    assert dict(store.anchors(USER, chains)) == {} == dict(store.anchors(USER, []))
    bodies = {chain: f'{{"text":"é {number}\\n"}}' for number, chain in enumerate(chains[:300])}
    for chain, body in bodies.items():
        store.save_anchor(USER, chain, body)
    store.save_anchor(USER, chains[0], "another")
    store.save_anchor(OTHERS[0], chains[0], "bob's")
    commit(store, USER, Put(entry=rule("a head that moves changes nothing")))
    assert dict(store.anchors(USER, chains)) == bodies
    assert dict(store.anchors(USER, [chains[0], chains[0], "no such place", chains[2]])) == {
        chain: bodies[chain] for chain in (chains[0], chains[2])
    }
    assert dict(store.anchors(OTHERS[0], chains)) == {chains[0]: "bob's"}
    for scope in (BASE, TENANT, *OTHERS[1:]):
        assert dict(store.anchors(scope, chains)) == {}
    for text in ("a\0b", "\ud800", "x" * 1_000_001):
        refuses(BadData, "an anchor", lambda t=text: store.save_anchor(USER, "c", t))


def old_anchors_can_be_dropped(store: Store) -> None:
    """What was injected goes when it is older than a time, in exactly that scope, and may then be saved anew."""
    assert store.drop_anchors(USER, LATE) == 0
    for scope in (USER, OTHERS[0]):
        for chain in "abc":
            store.save_anchor(scope, chain, f"body {chain}")
    assert store.drop_anchors(USER, EARLY) == 0
    assert len(store.anchors(USER, "abc")) == 3
    assert store.drop_anchors(USER, LATE) == 3
    assert dict(store.anchors(USER, "abc")) == {}
    assert len(store.anchors(OTHERS[0], "abc")) == 3
    store.save_anchor(USER, "a", "anew")
    assert dict(store.anchors(USER, "abc")) == {"a": "anew"}
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the mistake that is refused
    refuses(BadData, "a naive time", lambda: store.drop_anchors(USER, naive))
