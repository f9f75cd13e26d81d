"""The Python API, as its users call it: on a real store, with the reader that needs no weights."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path

import pytest

import tokenspace
from tokenspace import Request, Scope
from tokenspace.config import load
from tokenspace.domain import Drop, Message, Signal
from tokenspace.errors import BadData, EditConflict, NotFound, StaleHead, UsageError

TEAMS = ["Kestrel", "Basalt"]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    agent = tokenspace.open("desk", model="nearest", principal="ana")
    yield agent
    agent.close()


def teach(agent, text: str, team: str):
    episode = agent.act(text, choices=TEAMS)
    agent.observe(episode, correction=team)
    agent.learn()
    return episode


def test_what_is_taught_is_served_and_survives_reopening(desk, tmp_path: Path) -> None:
    teach(desk, "where is my parcel", "Kestrel")
    teach(desk, "I want a refund", "Basalt")
    desk.close()
    again = tokenspace.open("desk", model="nearest", principal="ana")
    assert (tmp_path / ".tokenspace" / "store.db").is_file()
    assert again.act("my parcel, where is it", choices=TEAMS).output == "Kestrel"
    assert again.act("a refund please", choices=TEAMS).output == "Basalt"
    again.close()


def test_feedback_finds_an_episode_by_the_provider_s_response_id_too(desk) -> None:
    episode = desk.act("where is my parcel", choices=TEAMS)
    desk.store.note_answer(desk.scope, "chatcmpl-1", episode.id)
    assert desk.observe("chatcmpl-1", correction="Kestrel").episode == episode.id
    assert desk.observe(episode.id, label=True).episode == episode.id
    with pytest.raises(NotFound, match="chatcmpl-2"):
        desk.observe("chatcmpl-2", label=True)
    with pytest.raises(NotFound):  # an id that another scope noted names nothing here
        desk.at("acme", "bob").observe("chatcmpl-1", label=True)


def test_log_diff_blame_revert(desk) -> None:
    episode = teach(desk, "where is my parcel", "Kestrel")
    (revision,) = desk.log()
    assert "where is my parcel" in desk.diff()
    (blame,) = desk.blame().values()
    assert blame.revision == revision.id
    assert episode.id in blame.sources
    undone = desk.revert(revision.id[-8:])
    assert desk.context().entries == ()
    assert undone.verdict.basis == "human"
    with pytest.raises(UsageError, match="taken back"):
        desk.revert(revision.id)
    assert len(desk.context(revision.id).entries) == 1, "history can still be read"


def test_a_revert_of_what_was_changed_since_says_so(desk) -> None:
    teach(desk, "where is my parcel", "Kestrel")
    first = desk.log()[0]
    docs = desk.text()
    desk.edit({name: text.replace("Kestrel", "Basalt") for name, text in docs.items()})
    with pytest.raises(EditConflict):
        desk.revert(first.id)


def test_a_hand_edit_is_a_revision_by_a_person(desk) -> None:
    teach(desk, "where is my parcel", "Kestrel")
    assert desk.edit(desk.text()) is None, "no change, no revision"
    docs = desk.text()
    revision = desk.edit({**docs, "rules.md": "# rules\n\n- Be kind.\n"})
    assert (revision.verdict.basis, revision.author) == ("human", "ana")
    assert "Be kind." in desk.text()["rules.md"]


def test_scopes_inherit_and_do_not_leak(desk) -> None:
    teach(desk, "where is my parcel", "Kestrel")
    alice, bob = desk.at("acme", "alice"), desk.at("acme", "bob")
    teach(alice, "where is my invoice", "Basalt")
    assert [entry.text for entry in alice.context().entries] == ["Kestrel", "Basalt"]
    assert [entry.text for entry in bob.context().entries] == ["Kestrel"]
    assert [entry.text for entry in desk.context().entries] == ["Kestrel"]


def test_a_rule_for_everybody_waits_until_a_person_approves_it(desk) -> None:
    episode = desk.act("where is my parcel", choices=TEAMS)
    desk.observe(episode, text="Parcels are Kestrel's.", trigger="")
    desk.learn()
    (waiting,) = desk.waiting()
    assert waiting.verdict.tier == 4
    revision = desk.approve(waiting.id)
    assert revision.verdict.basis == "human"
    assert desk.waiting() == []
    assert [entry.text for entry in desk.context().entries] == ["Parcels are Kestrel's."]


def test_a_declined_draft_is_a_rejection_with_a_reason(desk) -> None:
    desk.observe(desk.act("hello", choices=TEAMS), text="Be loud.", trigger="")
    desk.learn()
    declined = desk.decline(desk.waiting()[0].id, reason="no")
    assert declined.verdict.reason == "declined by ana: no"
    assert desk.context().entries == ()


def test_a_branch_leaves_the_served_line_alone(desk) -> None:
    teach(desk, "where is my parcel", "Kestrel")
    desk.store.create_branch(desk.scope, "trial")
    trial = desk.on("trial")
    teach(trial, "I want a refund", "Basalt")
    assert len(trial.context().entries) == 2
    assert len(desk.context().entries) == 1


@pytest.mark.parametrize(
    "said", [{}, {"correction": "Kestrel", "label": True}, {"correction": "Nobody"}, {"score": 7.0}]
)
def test_feedback_that_makes_no_sense_is_refused(desk, said) -> None:
    episode = desk.act("hello", choices=TEAMS)
    with pytest.raises(UsageError) as caught:
        desk.observe(episode, **said)
    assert caught.value.hint
    assert desk.store.feedback(desk.scope) == []


def test_bad_requests_are_refused_with_a_hint(desk) -> None:
    for text in ("", "   ", "nul\0byte", "x" * 10_000_000):
        with pytest.raises(tokenspace.TokenspaceError) as caught:
            desk.act(text, choices=TEAMS)
        assert caught.value.hint
    assert desk.store.episodes(desk.scope) == []


def test_what_does_not_exist_is_not_found(desk) -> None:
    teach(desk, "where is my parcel", "Kestrel")
    with pytest.raises(NotFound):
        desk.show("0123")
    with pytest.raises(NotFound):
        desk.observe("0" * 32, label=True)
    with pytest.raises(NotFound):
        desk.show("")


def test_a_blocking_call_inside_an_event_loop_says_what_to_do(desk) -> None:
    async def inside() -> None:
        desk.act("hello", choices=TEAMS)

    with pytest.raises(UsageError, match="event loop"):
        asyncio.run(inside())


def test_a_request_object_passes_through(desk) -> None:
    request = Request(messages=(Message(role="user", text="hi"),), choices=("yes", "no"))
    assert desk.act(request).request == request
    assert desk.scope == Scope(agent="desk")
    assert Signal("text") is Signal.TEXT


def test_settings_come_from_arguments_then_environment_then_file(tmp_path: Path, monkeypatch) -> None:
    home = tmp_path / ".tokenspace"
    home.mkdir()
    (home / "config.toml").write_text('agent = "filed"\nmodel = "nearest"\n', "utf-8")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.setenv("TOKENSPACE_AGENT", "env")
    settings = load({"agent": None}, start=deep)
    assert (settings.agent, settings.model, settings.home) == ("env", "nearest", home)
    assert load({"agent": "said"}, start=deep).agent == "said"
    (home / "config.toml").write_text('colour = "red"\n', "utf-8")
    with pytest.raises(BadData, match="colour"):
        load(start=deep)


def test_i13_what_a_revert_puts_back_keeps_its_provenance(desk) -> None:
    episode = teach(desk, "where is my parcel", "Kestrel")
    undone = desk.revert(desk.log()[0].id)
    desk.revert(undone.id)
    (blame,) = desk.blame().values()
    assert episode.id in blame.sources


def test_i2_a_person_who_was_overtaken_is_told(desk) -> None:
    teach(desk, "where is my parcel", "Kestrel")
    stood = desk.context()
    teach(desk, "I want a refund", "Basalt")
    edit = tokenspace.Edit(ops=(Drop(id=stood.entries[0].id),))
    with pytest.raises(StaleHead):
        desk.commit(edit, upon=stood)


def test_an_agent_that_nobody_closes_leaves_nothing_open(tmp_path: Path) -> None:
    agent = tokenspace.open("desk", model="nearest", store="memory:", principal="ana")
    teach(agent, "where is my parcel", "Kestrel")
    del agent
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(one.message) for one in caught if issubclass(one.category, ResourceWarning)] == []
