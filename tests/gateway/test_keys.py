"""Virtual keys: who is let in, as whom, and how soon a revoked key is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tokenspace.domain import Scope, digest
from tokenspace.errors import NotFound, StoreUnavailable, UsageError
from tokenspace.gateway.errors import KeyRefused, RightMissing
from tokenspace.gateway.keys import (
    CACHED_KEYS,
    PREFIX,
    RIGHTS,
    KeyDoor,
    KeyRing,
    find_key,
    first_key,
    hash_of,
    make_key,
    revoke_key,
    secret_of,
)
from tokenspace.gateway.wire import GatewaySettings
from tokenspace.store import MemoryStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class World:
    """A store, a clock that stands until it is moved, and a door."""

    def __init__(self, **settings) -> None:
        self.store, self.now, self.ticks = MemoryStore(), NOW, 0.0
        self.ring = KeyRing(self.store.admin, clock=lambda: self.now, monotonic=lambda: self.ticks)
        self.door = KeyDoor(self.ring, GatewaySettings(**settings))

    def make(self, **given):
        return make_key(self.store.admin, **{"at": NOW, "tenant": "acme", **given})

    def caller(self, headers=None, *, secret="", agent="", user="", need="infer"):
        headers = headers or ({"authorization": f"Bearer {secret}"} if secret else {})
        return asyncio.run(self.door.caller(headers, agent=agent, user=user, need=need))


@pytest.fixture
def world():
    return World()


def test_a_secret_has_256_bits_and_only_its_hash_is_kept(world):
    key, secret = world.make()
    assert secret.startswith(PREFIX)
    assert len(secret) == len(PREFIX) + 43
    assert key.hash == hash_of(secret)
    assert secret not in repr(world.store.admin.keys())
    assert len({world.make()[1] for _ in range(100)}) == 100


def test_the_first_start_prints_one_key_once(world):
    secret = first_key(world.store.admin, at=NOW, tenant="default")
    assert world.caller(secret=secret, need="admin").scope == Scope(agent="default", tenant="default")
    assert first_key(world.store.admin, at=NOW, tenant="default") is None
    (key,) = world.store.admin.keys()
    revoke_key(world.store.admin, key, at=NOW)
    assert first_key(world.store.admin, at=NOW, tenant="default") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer {}"},
        {"authorization": "bearer  {} "},
        {"x-api-key": "{}"},
        {"x-tokenspace-key": "{}", "authorization": "Bearer sk-of-a-provider"},
        {"authorization": "Basic abc", "x-api-key": "{}"},
    ],
)
def test_a_key_is_found_wherever_clients_put_it(world, headers):
    key, secret = world.make()
    caller = world.caller({name: value.format(secret) for name, value in headers.items()})
    assert (caller.key, caller.rights, caller.scope.tenant) == (key.id, key.rights, "acme")


def test_the_key_decides_the_tenant_and_the_client_the_rest(world):
    _, secret = world.make(agent="desk")
    assert world.caller(secret=secret).scope == Scope(agent="desk", tenant="acme")
    assert world.caller(secret=secret, agent="path", user="p").scope == Scope(agent="path", tenant="acme", user="p")
    headers = {"x-api-key": secret, "x-tokenspace-agent": "head", "x-tokenspace-user": "h", "x-tokenspace-tenant": "x",
               "x-tokenspace-session": "s"}  # fmt: skip
    caller = world.caller(headers, agent="path", user="p")
    assert (caller.scope, caller.session) == (Scope(agent="head", tenant="acme", user="h"), "s")
    assert world.caller({"x-api-key": secret, "x-claude-code-session-id": "c"}).session == "c"
    _, plain = world.make()
    assert world.caller(secret=plain).scope.agent == "default"


@pytest.mark.parametrize("odd", ["a/b", "x" * 129, "a\nb", "\ud800"])
def test_odd_names_stand_for_themselves_by_their_digest(world, odd):
    _, secret = world.make()
    headers = {"x-api-key": secret, "x-tokenspace-agent": odd, "x-tokenspace-user": odd, "x-tokenspace-session": odd}
    caller = world.caller(headers)
    assert (caller.scope.agent, caller.scope.user, caller.session) == (digest(odd),) * 3


@pytest.mark.parametrize("secret", ["", "wrong", PREFIX, PREFIX + "x" * 43, "x" * 10_000, "\ud800"])
def test_without_a_good_key_nobody_enters(world, secret):
    world.make()
    for need in RIGHTS:
        with pytest.raises(KeyRefused) as caught:
            world.caller(secret=secret, need=need)
        assert caught.value.hint


def test_a_right_that_was_not_granted_is_missing(world):
    for right in RIGHTS:
        _, secret = world.make(rights=[right])
        assert world.caller(secret=secret, need=right)
        for other in set(RIGHTS) - {right}:
            with pytest.raises(RightMissing):
                world.caller(secret=secret, need=other)


def test_an_expired_key_is_refused_at_once(world):
    _, secret = world.make(expires=NOW + timedelta(hours=1))
    assert world.caller(secret=secret)
    world.now = NOW + timedelta(hours=1)
    with pytest.raises(KeyRefused):
        world.caller(secret=secret)


def test_a_revoked_key_is_refused_within_seconds(world):
    key, secret = world.make()
    assert world.caller(secret=secret)
    revoke_key(world.store.admin, key, at=NOW)
    assert world.caller(secret=secret), "the look-up is remembered"
    world.ticks = 3.0
    with pytest.raises(KeyRefused):
        world.caller(secret=secret)


def test_a_new_key_is_known_within_seconds_even_if_it_was_refused_before(world):
    key, secret = world.make()
    world.store._keys.clear()
    with pytest.raises(KeyRefused):
        world.caller(secret=secret)
    world.store.admin.save_key(key)
    world.ticks = 3.0
    assert world.caller(secret=secret)


def test_known_keys_are_let_in_while_the_database_is_gone_and_no_others(world, monkeypatch):
    _, secret = world.make(expires=NOW + timedelta(hours=1))
    assert world.caller(secret=secret)

    def gone(_hash):
        raise StoreUnavailable("unplugged", hint="plug it in")

    monkeypatch.setattr(world.store, "key_by_hash", gone)
    world.ticks = 1_000.0
    assert world.caller(secret=secret)
    with pytest.raises(StoreUnavailable):
        world.caller(secret=PREFIX + "another")
    world.now = NOW + timedelta(hours=1)
    with pytest.raises(KeyRefused):
        world.caller(secret=secret)


def test_guesses_do_not_fill_the_memory(world):
    for number in range(CACHED_KEYS + 100):
        world.ring._remember(str(number), None, 0.0)
    assert len(world.ring._known) == CACHED_KEYS


def test_many_callers_at_once_cost_one_look_up(world, monkeypatch):
    _, secret = world.make()
    assert world.caller(secret=secret)
    world.ticks, asked, real = 3.0, [], world.store.key_by_hash
    monkeypatch.setattr(world.store, "key_by_hash", lambda it: asked.append(it) or real(it))

    async def crowd():
        await asyncio.gather(*(world.ring.key(secret) for _ in range(50)))

    asyncio.run(crowd())
    assert len(asked) == 1


def test_an_open_door_lets_in_providers_keys_but_only_to_infer_and_at_home_to_give_feedback():
    world = World(open_door=True, tenant="home", agent="desk")
    caller = world.caller(secret="sk-of-a-provider", user="u")
    assert (caller.key, caller.scope) == ("", Scope(agent="desk", tenant="home", user="u"))
    assert world.caller(need="feedback").rights == {"infer", "feedback"}
    for need in ("read", "admin"):
        with pytest.raises(RightMissing):
            world.caller(secret="sk-of-a-provider", need=need)
    far = World(open_door=True, host="0.0.0.0")
    assert far.caller().rights == {"infer"}
    with pytest.raises(RightMissing):
        far.caller(need="feedback")


def test_an_open_door_still_knows_virtual_keys():
    world = World(open_door=True)
    _, secret = world.make(rights=["admin"])
    assert world.caller(secret=secret, need="admin").scope.tenant == "acme"
    for wrong in ({"x-tokenspace-key": "sk-other"}, {"x-api-key": PREFIX + "wrong"}):
        with pytest.raises(KeyRefused):
            world.caller(wrong)


def test_an_operators_key_infers_for_the_default_tenant(world):
    _, secret = world.make(tenant="", rights=RIGHTS)
    assert world.caller(secret=secret, user="u").scope == Scope(agent="default", tenant="default", user="u")


def test_keys_are_found_by_part_and_within_a_tenant(world):
    key, _ = world.make()
    other, _ = world.make(tenant="globex")
    admin = world.store.admin
    assert find_key(admin, key.id[-8:]) == key
    with pytest.raises(UsageError, match="names 2 keys"):
        find_key(admin, key.id[:4])
    for part, tenant in (("", None), ("nope", None), (other.id, "acme")):
        with pytest.raises(NotFound):
            find_key(admin, part, tenant=tenant)
    gone = revoke_key(admin, key, at=NOW)
    assert revoke_key(admin, gone, at=NOW + timedelta(days=1)) == replace(key, revoked=NOW)


@pytest.mark.parametrize("wrong", [{"tenant": "a/b"}, {"agent": "a/b"}, {"tenant": "", "agent": " "}, {"rights": ()}])
def test_a_key_that_fits_no_scope_is_not_made(world, wrong):
    with pytest.raises(UsageError):
        world.make(**wrong)
    assert world.store.admin.keys() == []


def test_nothing_shown_is_no_secret():
    assert secret_of({}) == "" == secret_of({"authorization": "Digest x"}) == secret_of({"authorization": ""})
