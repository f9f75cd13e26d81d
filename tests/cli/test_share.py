"""Lessons across users, from the command line: off, until the operator says so."""

from __future__ import annotations

from tests.cli.commands import invoke, json_of

import tokenspace

NAMES = ("alice", "bert", "cleo", "dora", "emil")


def test_sleep_of_a_shared_layer_proposes_what_users_agree_on_if_the_settings_say_so(project, monkeypatch):
    desk = tokenspace.open("desk", model="nearest")
    for name in NAMES:
        one = desk.at("acme", name)
        episode = one.act(f"where is the parcel of {name}x now", choices=["Kestrel", "Basalt"])
        one.observe(episode, correction="Kestrel")
        one.learn()
    desk.close()
    assert json_of("sleep", "--tenant", "acme")["attempts"] == []
    monkeypatch.setenv("TOKENSPACE_SHARE", "5")
    (made,) = json_of("sleep", "--tenant", "acme")["attempts"]
    assert (made["proposer"], made["verdict"]["support"]) == ("share@1", 5)
    assert "Kestrel" in invoke("review", "--tenant", "acme").stdout
    assert json_of("sleep", "--tenant", "acme")["attempts"] == []
    invoke("review", "--approve", made["id"], "--tenant", "acme")
    assert "now parcel" in invoke("context", "--tenant", "acme").stdout
    told = invoke("forget", "--tenant", "acme", "--user", "cleo", "--whole-user", "--yes").stdout
    assert "revisions lose their texts" in told
    assert "now parcel" not in invoke("context", "--tenant", "acme").stdout
    assert json_of("status", "--tenant", "acme")["waiting"] == 0


def test_a_crowd_of_two_is_refused(project, monkeypatch):
    monkeypatch.setenv("TOKENSPACE_SHARE", "2")
    assert "3 principals or more" in invoke("sleep", code=2).stderr
