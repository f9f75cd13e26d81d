"""gate, why, review with evidence, and lift in blame: on a desk whose model obeys one rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import Run, json_of

from tokenspace.domain import Profile, Prompt
from tokenspace.models import NearestModel, ScriptedModel

RULE = "Kestrel handles parcels."
CHOICES = ("--choice", "Kestrel", "--choice", "Basalt")
PROFILE = Profile(model="scripted", context_tokens=100_000, core_tokens=10_000, deterministic=True)
PARCELS = ("lost", "late", "wet", "torn", "open", "stolen", "heavy", "returned")


def _answer(prompt: Prompt, seed: int) -> str:
    return "Kestrel" if RULE in prompt.system else "Basalt"


@pytest.fixture
def desk(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, with a model that answers Basalt until the rule is in its prompt."""
    monkeypatch.setattr("tokenspace.models.resolve", lambda name: ScriptedModel(_answer, profile=PROFILE))
    return project


def taught(run: Run, *scope: str, by: str) -> None:
    """Corrections of eight kinds of request, and then the rule in words."""
    for word in PARCELS:
        run("ask", f"{word} {word} {word}", *CHOICES, *scope)
        run("feedback", "last", "--correct", "Kestrel", "--by", by, *scope)
    run("learn", *scope)
    run("ask", "where is it", *CHOICES, *scope)
    run("feedback", "last", "--text", RULE, "--when", "", "--by", by, *scope)
    run("learn", *scope)


ALICE = ("--tenant", "acme", "--user", "alice")
ACME = ("--tenant", "acme")


@pytest.fixture
def alice(run: Run, desk: Path) -> tuple[str, ...]:
    """A user whose own rule was tested."""
    taught(run, *ALICE, by="alice")
    return ALICE


@pytest.fixture
def acme(run: Run, desk: Path) -> tuple[str, ...]:
    """A tenant whose rule has the evidence of one principal only, and waits."""
    config = desk / ".tokenspace" / "config.toml"
    config.write_text(config.read_text() + '\nteachers = ["ana", "bob"]\n')
    taught(run, *ACME, by="bob")
    return ACME


def test_explain_puts_the_numbers_into_the_formula(run: Run, alice: tuple[str, ...]) -> None:
    told = " ".join(run("gate", "explain", "last", *alice).stdout.split())
    for part in (
        "accepted by replay",
        "T2: a rule of user alice alone",
        "α = 0.2: an edit that does not help passes with a chance of at most 20%",
        "1/α = 5",
        "4 case(s) replayed with and without the edit on scripted: 4 fixed, 0 broken, 0 the same",
        "E = mean over θ of (2θ)^4·(2(1−θ))^0 = (1.2^4 + 1.4^4 + 1.6^4 + 1.8^4 + 1.94^4)/5",
        "≥ 5",
        "F = mean over λ",
        "model call(s)",
    ):
        assert part in told, part
    explanation = json_of("gate", "explain", "last", *alice)["explanation"]
    path = [step["e_benefit"] for step in explanation["path"]]
    assert (explanation["tier"], explanation["alpha"], explanation["needed"]) == (2, 0.2, 5.0)
    assert path == sorted(path)
    assert path[-1] == pytest.approx(sum(x**4 for x in (1.2, 1.4, 1.6, 1.8, 1.94)) / 5)


def test_explain_takes_the_id_of_a_revision_and_says_what_is_missing(run: Run, alice: tuple[str, ...]) -> None:
    revision = json_of("log", *alice)["revisions"][0]["id"]
    assert json_of("gate", "explain", revision[-8:], *alice)["attempt"]["revision"] == revision
    episode = json_of("log", "--episodes", *alice)["episodes"][0]["id"]
    assert "tokenspace why" in run("gate", "explain", episode, *alice, code=3).stderr
    run("gate", "explain", "nothing", *alice, code=3)


def test_explain_without_any_attempt_is_not_found(run: Run, project: Path) -> None:
    run("gate", "explain", "last", *ALICE, code=3)


def test_explain_names_the_principals_who_are_needed(run: Run, acme: tuple[str, ...]) -> None:
    told = " ".join(run("gate", "explain", "last", *acme).stdout.split())
    assert "held back" in told
    assert "T3: a rule in the layer of tenant acme, which all its users read" in told
    assert "principals 2 are needed, 1 support it. By principal E is bob" in told


def test_status_counts_each_edit_once_by_tier(run: Run, alice: tuple[str, ...]) -> None:
    told = json_of("gate", "status", *alice)
    rows = {row["tier"]: row for row in told["tiers"]}
    assert (rows[2]["tried"], rows[2]["accepted"], rows[2]["tested"], rows[2]["passed"]) == (1, 1, 1, 1)
    assert rows[2]["false_discovery"] == pytest.approx(0.2)
    assert rows[None]["tried"] == rows[0]["tried"] + 1 == len(PARCELS) + 1
    assert rows[2]["calls_per_edit"] > 0
    assert "20% of 1" in run("gate", "status", *alice).stdout
    assert run("gate", *alice).stdout == run("gate", "status", *alice).stdout


def test_status_of_a_gate_that_was_never_asked(run: Run, project: Path) -> None:
    assert "nothing was tried yet" in run("gate", "status", *ALICE).stdout


def test_review_shows_the_evidence_side_by_side(run: Run, acme: tuple[str, ...]) -> None:
    waiting = [one for one in json_of("review", *acme)["waiting"] if one["proposer"] == "adopt@1"]
    id = waiting[0]["id"]
    evidence = json_of("review", id, *acme)["evidence"]
    assert len(evidence) >= 6
    for one in evidence:
        assert one["expected"] == "Kestrel"
        assert (one["before"]["output"], one["before"]["score"]) == ("Basalt", 0.0)
        assert (one["after"]["output"], one["after"]["score"]) == ("Kestrel", 1.0)
        assert one["difference"] == 1.0
    told = run("review", id[-8:], *acme)
    assert "1. fixed: “" in told.stdout
    assert "--approve" in told.stderr
    assert "committed as" in run("review", "--approve", id, *acme).stdout


def test_review_asks_no_model_for_the_evidence(
    run: Run, acme: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    id = next(one["id"] for one in json_of("review", *acme)["waiting"] if one["proposer"] == "adopt@1")
    silent = ScriptedModel([], profile=PROFILE)
    monkeypatch.setattr("tokenspace.models.resolve", lambda name: silent)
    assert json_of("review", id, *acme)["evidence"][0]["after"]["output"] == "Kestrel"
    assert silent.prompts == ()


def test_review_without_the_model_of_the_test_says_so(
    run: Run, acme: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    id = next(one["id"] for one in json_of("review", *acme)["waiting"] if one["proposer"] == "adopt@1")
    monkeypatch.setattr("tokenspace.models.resolve", lambda name: NearestModel())
    told = json_of("review", id, *acme)["evidence"]
    assert told[0]["before"] == {"output": None, "score": None}
    assert told[0]["difference"] == 1.0
    assert "not remembered" in run("review", id, *acme).stdout


def test_review_of_an_episode_or_of_two_things_is_refused(run: Run, acme: tuple[str, ...]) -> None:
    episode = json_of("log", "--episodes", *acme)["episodes"][0]["id"]
    run("review", episode, *acme, code=3)
    run("review", "a", "--approve", "b", *acme, code=2)
    run("review", "--reject", "nothing", *acme, code=3)


def test_why_names_the_line_and_what_to_do_next(run: Run, alice: tuple[str, ...]) -> None:
    asked = json_of("ask", "where is my parcel", *CHOICES, *alice)
    assert asked["output"] == "Kestrel"
    told = run("why", "last", *alice)
    revision = json_of("log", *alice)["revisions"][0]["id"]
    assert "one entry causes it" in told.stdout
    assert RULE in told.stdout
    assert f"take it back: tokenspace revert {revision[-8:]}" in told.stderr
    found = json_of("why", "last", *alice)
    assert (found["cause"]["finding"], found["cause"]["confirmed"]) == ("entry", True)
    assert found["entries"][0]["blame"]["revision"] == revision
    run("revert", revision, *alice)
    assert "not served any more" in run("why", "last", *alice).stdout


def test_why_in_a_layer_above_says_where_to_take_it_back(run: Run, acme: tuple[str, ...]) -> None:
    id = next(one["id"] for one in json_of("review", *acme)["waiting"] if one["proposer"] == "adopt@1")
    run("review", "--approve", id, *acme)
    run("ask", "where is my parcel", *CHOICES, *ALICE)
    assert "take it back for all of tenant acme: tokenspace revert" in run("why", "last", *ALICE).stderr


def test_why_within_limits_says_what_is_known(run: Run, alice: tuple[str, ...]) -> None:
    run("ask", "where is my parcel", *CHOICES, *alice)
    told = run("why", "last", "--replays", "2", *alice)
    assert "all 2 replays were used" in told.stdout
    assert "--replays" in told.stderr
    assert "budget ran out" in json_of("why", "last", "--calls", "2", *alice)["cause"]["stopped"]


def test_why_about_a_part_of_the_answer(run: Run, alice: tuple[str, ...]) -> None:
    run("ask", "where is my parcel", *CHOICES, *alice)
    assert json_of("why", "last", "--contains", "KEST", *alice)["cause"]["finding"] == "entry"
    told = run("why", "last", "--contains", "refund", *alice)
    assert "does not happen again" in told.stdout
    assert "--contains" in told.stderr
    run("why", "nothing", *alice, code=3)


def test_blame_shows_lift_per_model_or_unverified(run: Run, alice: tuple[str, ...]) -> None:
    told = {one["entry"]["text"]: one["lift"] for one in json_of("blame", *alice)["entries"]}
    assert told[RULE]["scripted"]["pairs"] == 4
    assert told[RULE]["scripted"]["mean"] == pytest.approx(4 / 7)
    assert told[RULE]["scripted"]["low"] < told[RULE]["scripted"]["mean"] < told[RULE]["scripted"]["high"]
    assert told["Kestrel"] == {}
    text = run("blame", *alice).stdout
    assert "lift +.57 (" in text
    assert "in 4 pairs on scripted" in text
    assert "unverified" in text


def test_noise_release_cases_and_canaries(run: Run, acme: tuple[str, ...]) -> None:
    assert json_of("gate", "noise", "--pairs", "3", *acme)["pairs"] == 3
    assert "differ" in run("gate", "noise", *acme).stdout
    assert "8 revision(s): as good as the last release" in run("gate", "release", *acme).stdout
    assert json_of("gate", "release", *acme)["reason"] == "nothing was committed since"
    cases = json_of("gate", "cases", *acme)["cases"]
    assert len(cases) == len(PARCELS)
    assert "pinned:" in run("gate", "cases", "--pin", cases[0]["id"], *acme).stdout
    assert "pinned" in run("gate", "cases", *acme).stdout
    run("gate", "cases", "--pin", "nothing", *acme, code=3)
    assert run("gate", "canaries", *acme).stdout == "nothing is on trial\n"
    run("gate", "canaries", "--stop", "nothing", *acme, code=3)
    run("gate", "canaries", "--stop", "a", "--promote", "b", *acme, code=2)


def test_a_canary_can_be_seen_stopped_and_promoted(run: Run, desk: Path) -> None:
    taught(run, *ACME, by="ana")  # the operator's evidence counts for all
    told = json_of("gate", "canaries", *ACME)["canaries"]
    assert [one["canary"]["state"] for one in told] == ["trial"]
    assert RULE in run("gate", "canaries", *ACME).stdout
    assert "on trial" in run("gate", *ACME).stdout
    assert "served to 5% of the sessions first" in run("gate", "explain", "last", *ACME).stdout
    assert "stopped" in run("gate", "canaries", "--stop", told[0]["canary"]["id"], "--reason", "no", *ACME).stdout
    assert json_of("gate", "canaries", *ACME)["canaries"] == []
    assert "no" in run("gate", "canaries", "--all", *ACME).stdout


@pytest.mark.parametrize("name", ["status", "explain", "canaries", "release", "noise", "cases"])
def test_every_command_of_the_gate_takes_the_options_of_all_commands(run: Run, name: str) -> None:
    told = run("gate", name, "--help").stdout
    assert all(option in told for option in ("--agent", "--tenant", "--json", "--quiet", "--version"))


def test_an_unknown_command_of_the_gate_is_a_usage_error(run: Run, project: Path) -> None:
    assert "hint: `tokenspace gate --help`" in run("gate", "nonsense", code=2).stderr
