"""`POST /v1/feedback`: what is taken, from whom, with what authority, and what is refused with words that help."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx
import pytest

from tests.gateway.test_record import Flaky, eventually, record
from tokenspace.config import utc_now
from tokenspace.domain import Canary, Origin, Run, Scope, Signal, new_id
from tokenspace.gateway.dialects import DIALECTS
from tokenspace.gateway.feedback import FeedbackDoor, Pace, routes
from tokenspace.gateway.keys import KeyDoor, KeyRing, make_key
from tokenspace.gateway.record import EpisodeRecorder
from tokenspace.gateway.said import Listener
from tokenspace.gateway.spool import Spool
from tokenspace.gateway.wire import GatewaySettings
from tokenspace.loop import Runtime
from tokenspace.store import MemoryStore
from tokenspace.testing.samples import an_episode

TENANT = Scope(agent="desk", tenant="acme")
ALICE = Scope(agent="desk", tenant="acme", user="alice")
AS_ALICE = {"x-tokenspace-user": "alice"}


class World:
    """A store with one episode of alice, a recorder that is not started, and the endpoint, asked without a socket."""

    def __init__(self, *, spool=None, pace=None, **settings):
        self.kept, self.steps = MemoryStore(), []
        self.store = Flaky(self.kept)
        watch = SimpleNamespace(step=self.steps.append)
        runtime = Runtime(store=self.store, recall=None, agent=None, clock=utc_now)
        listen = Listener(self.store, lambda: SimpleNamespace(runtime=runtime, watch=watch))
        self.recorder = EpisodeRecorder(self.store, DIALECTS, listen=listen, spool=spool)
        ring = KeyRing(self.kept.admin, clock=utc_now)
        door = KeyDoor(ring, GatewaySettings(agent="desk", **settings))
        self.door = FeedbackDoor(
            door=door, listen=listen, recorder=self.recorder, clock=utc_now, operator="ana", pace=pace
        )  # fmt: skip
        from starlette.applications import Starlette

        self.app = Starlette(routes=routes(self.door))
        self.secret = self.key()
        self.episode = an_episode(scope=ALICE, run=Run(output="Basalt"))
        self.kept.record_all([self.episode], answers={self.episode.id: "chatcmpl-1"})

    def key(self, *rights, tenant="acme"):
        at = utc_now()
        return make_key(self.kept.admin, at=at, tenant=tenant, rights=rights or ("infer", "feedback"))[1]

    def post(self, body, secret=None, **headers):
        async def main():
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                auth = {"authorization": f"Bearer {secret or self.secret}", **AS_ALICE, **headers}
                how = {"content": body} if isinstance(body, bytes) else {"json": body}
                return await client.post("/v1/feedback", headers=auth, **how)

        return asyncio.run(main())

    def say(self, value, **more):
        return self.post({"target": "chatcmpl-1", "value": value, **more})

    @property
    def last(self):
        return self.kept.feedback(ALICE)[-1]


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    ("value", "more", "signal", "kept"),
    [
        (True, {}, Signal.LABEL, True),
        (0.4, {}, Signal.SCORE, 0.4),
        (1, {}, Signal.SCORE, 1.0),
        ("Ask first.", {}, Signal.TEXT, "Ask first."),
        ("Ask first.", {"trigger": "refunds", "comment": "as agreed"}, Signal.TEXT, "Ask first."),
        ("Kestrel", {"kind": "correction"}, Signal.CORRECTION, "Kestrel"),
        ({"team": "Kestrel"}, {"kind": "correction"}, Signal.CORRECTION, '{"team": "Kestrel"}'),
        ("Kestrel", {"kind": "edit"}, Signal.EDIT, "Kestrel"),
        ("Kestrel", {"kind": "demonstration"}, Signal.DEMONSTRATION, "Kestrel"),
        ("2 failed, 3 passed", {"kind": "test_log"}, Signal.TEST_LOG, "2 failed, 3 passed"),
        ({"polite": 1, "short": False}, {}, Signal.SCORE, 0.5),
    ],
)
def test_every_form_of_feedback_is_taken_without_declaring_anything(world, value, more, signal, kept):
    answer = world.say(value, **more)
    assert answer.status_code == 201, answer.text
    assert answer.json() == {
        "id": world.last.id, "status": "kept", "episode": world.episode.id, "signal": signal.value, "source": "user"
    }  # fmt: skip
    assert (world.last.signal, world.last.value, world.last.episode) == (signal, kept, world.episode.id)
    assert (world.last.trigger, type(world.last.value)) == (more.get("trigger"), type(kept))
    if signal is Signal.SCORE and isinstance(value, dict):
        assert world.last.comment == "polite: 1\nshort: 0"


def test_our_episode_id_is_a_target_too_and_a_correction_is_a_regression_test(world):
    assert world.post({"target": world.episode.id, "value": "Kestrel", "kind": "correction"}).status_code == 201
    assert world.kept.cases(ALICE)[0].sources == (world.last.id, world.episode.id)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"no json", "no JSON"),
        ([[]], "target and a value"),
        ({"value": True}, "target and a value"),
        ({"target": "chatcmpl-1", "value": None}, "target and a value"),
        ({"target": "chatcmpl-1", "value": True, "coment": "x"}, "no field 'coment'"),
        ({"target": "chatcmpl-1", "value": [1]}, "what kind"),
        ({"target": "chatcmpl-1", "value": True, "kind": "vibe"}, "what kind"),
        ({"target": "chatcmpl-1", "value": 5}, "no number from 0 to 1"),
        ({"target": "chatcmpl-1", "value": {"polite": 5}}, "'polite' is no number"),
        ({"target": "chatcmpl-1", "value": {}}, "criteria"),
        ({"target": "chatcmpl-1", "value": 1, "kind": "boolean"}, "true or false"),
        ({"target": "chatcmpl-1", "value": True, "kind": "comment"}, "is a text"),
        ({"target": "chatcmpl-1", "value": "  "}, "is empty"),
        ({"target": "chatcmpl-1", "value": "a\0b"}, "NUL"),
        ({"target": "chatcmpl-1", "value": "use sk-proj-" + "a1" * 20}, "holds an API key"),
        ({"target": "chatcmpl-1", "value": True, "comment": 3}, "the comment is no text"),
        ({"target": "chatcmpl-1", "value": True, "source": "god"}, "source of feedback is unknown"),
        ({"target": "chatcmpl-1", "value": {"a": [[[]]] * 3}, "kind": "correction", "metadata": []}, None),
    ],
)
def test_what_cannot_be_meant_is_refused_with_words_that_help(world, body, words):
    answer = world.post(body)
    if words is None:
        assert answer.status_code == 201
        return
    if isinstance(body, list):
        told = answer.json()["results"][0]["error"]
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        told = answer.json()
    assert words in told["detail"]
    assert told["hint"]
    assert world.kept.feedback(ALICE) == []


def test_too_deep_and_too_large_bodies_are_refused(world):
    deep = b'{"target":"x","kind":"correction","value":' + b"[" * 100 + b"]" * 100 + b"}"
    assert world.post(deep).status_code == 400
    assert world.post(b'{"target":"' + b"x" * 5_000_000 + b'"}').status_code == 413


def test_i8_feedback_reaches_exactly_the_scope_of_its_key_agent_and_user(world):
    other = world.key(tenant="globex")
    for more in (
        {"secret": other},
        {"x-tokenspace-user": "bob"},
        {"x-tokenspace-user": ""},
        {"x-tokenspace-agent": "another"},
    ):
        for target in ("chatcmpl-1", world.episode.id):
            answer = world.post({"target": target, "value": True}, **more)
            assert answer.status_code == 404, more
            assert answer.json()["hint"]
    assert world.kept.feedback(ALICE) == []
    named = world.post({"target": "chatcmpl-1", "value": True, "user": "alice"}, **{"x-tokenspace-user": ""})
    assert named.status_code == 201


def test_feedback_needs_its_own_right(world):
    assert world.post({}, secret=world.key("infer", "read", "admin")).status_code == 403
    assert world.post({}, secret="tsk-nothing").status_code == 401


def test_i9_authority_is_that_of_the_key_and_never_raised_by_what_is_said(world):
    operator = world.key("infer", "feedback", "admin")
    base = an_episode(scope=TENANT)
    world.kept.record(base)
    seen = []
    for secret, source, user in (
        (world.secret, None, "alice"),
        (world.secret, "operator", "alice"),
        (world.secret, "tool", "alice"),
        (operator, None, "alice"),
        (operator, None, ""),
        (operator, "agent", ""),
        (world.secret, None, ""),
    ):
        body = {"target": base.id if not user else world.episode.id, "value": True}
        body |= {"source": source} if source else {}
        answer = world.post(body, secret=secret, **{"x-tokenspace-user": user})
        assert answer.status_code == 201, answer.text
        [kept] = world.kept.feedback(ALICE if user else TENANT, ids=[answer.json()["id"]])
        seen.append((kept.source, kept.principal.split(" ")[0], kept.principal.partition("/")[2]))
    assert seen == [
        (Origin.USER, "key", "alice"),
        (Origin.USER, "key", "alice"),
        (Origin.TOOL, "key", "alice"),
        (Origin.USER, "key", "alice"),
        (Origin.OPERATOR, "ana", ""),
        (Origin.AGENT, "ana", ""),
        (Origin.USER, "key", ""),
    ]


def test_an_open_door_on_loopback_takes_feedback_as_a_guest():
    world = World(open_door=True, tenant="acme")
    answer = world.post({"target": "chatcmpl-1", "value": True}, secret="sk-of-a-provider")
    assert answer.status_code == 201
    assert world.last.principal == "open/alice"
    assert World(open_door=True, tenant="acme", host="0.0.0.0").post({}, secret="sk-x").status_code == 403


def test_an_id_makes_it_safe_to_send_again_and_stands_for_one_thing(world):
    first, again = world.say(True, id="f1"), world.say(True, id="f1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json()["status"], again.json()["id"]) == ("known", first.json()["id"])
    changed = world.say(False, id="f1")
    assert (changed.status_code, "used for other" in changed.json()["detail"]) == (409, True)
    other = world.post({"target": "chatcmpl-1", "value": True, "id": "f1"}, secret=world.key())
    assert other.status_code == 201
    assert len(world.kept.feedback(ALICE)) == 2


def test_several_pieces_are_taken_at_once_and_each_is_told_what_became_of_it(world):
    pieces = [{"target": "chatcmpl-1", "value": True}, {"target": "chatcmpl-9", "value": True}, {"value": 1}]
    answer = world.post(pieces)
    assert answer.status_code == 200
    assert [one["status"] for one in answer.json()["results"]] == ["kept", "refused", "refused"]
    assert answer.json()["results"][1]["error"]["status"] == 404
    assert world.post([pieces[0]] * 101).status_code == 400


def test_a_key_that_says_too_much_is_slowed_down_and_others_are_not():
    world = World(pace=Pace(per_s=0.1, burst=2, clock=lambda: 0.0))
    assert [world.say(True).status_code for _ in range(3)] == [201, 201, 429]
    assert int(world.say(True).headers["retry-after"]) == 10
    assert world.post({"target": "chatcmpl-1", "value": True}, secret=world.key()).status_code == 201


def test_pace_comes_back_with_time():
    now = [0.0]
    pace = Pace(per_s=1, burst=3, clock=lambda: now[0])
    pace.spend("k", 3)
    with pytest.raises(Exception, match="more than may be said"):
        pace.spend("k", 2)
    now[0] = 2.0
    pace.spend("k", 2)


def test_feedback_on_an_answer_that_is_not_written_yet_waits_for_it(world):
    one = record(scope=ALICE)
    world.recorder.put(one)
    world.recorder.start()
    answer = world.post({"target": one.episode, "value": "Merlin", "kind": "correction"})
    assert (answer.status_code, answer.json()["episode"]) == (201, one.episode)
    assert world.recorder.close()


def test_what_is_nowhere_is_not_found_even_while_others_wait(world):
    world.recorder.put(record(scope=ALICE))
    world.recorder.start()
    assert world.post({"target": "chatcmpl-9", "value": True}).status_code == 404
    assert world.recorder.close()


def test_without_a_database_feedback_is_promised_spooled_and_kept_later(tmp_path):
    world = World(spool=Spool(tmp_path / "spool"))
    world.recorder.start()
    world.post({"target": "chatcmpl-1", "value": True})  # the door knows the key from now on
    world.store.gone = True
    answer = world.say("Kestrel", kind="correction")
    assert (answer.status_code, answer.json()["status"], answer.json()["episode"]) == (202, "held", None)
    world.store.gone = False
    eventually(lambda: len(world.kept.feedback(ALICE)) == 2)
    assert world.last.id == answer.json()["id"]
    assert world.recorder.close()


def test_with_no_room_left_the_caller_is_told_to_come_again():
    world = World()
    world.recorder.close()
    world.store.gone = True
    answer = world.say(True)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")


def test_harm_does_not_wait_a_live_canary_is_looked_at(world):
    world.say(False)
    assert world.steps == []
    world.kept.save_canary(
        Canary(scope=TENANT, branch="canary-x", revision=new_id(), share=0.5, rate=0.5, at=utc_now())
    )
    world.say(False)
    assert world.steps == [ALICE]
