"""Every rule of the store, on every store."""

from __future__ import annotations

import os

import pytest

from tokenspace.store import MemoryStore
from tokenspace.store.states import Cache
from tokenspace.testing import check_store
from tokenspace.testing.programs import PROGRAMS, check_random_programs
from tokenspace.testing.store import STORE_CHECKS, run_check


@pytest.mark.parametrize("name", STORE_CHECKS)
def test_store_keeps_the_rule(name, empty_store):
    run_check(name, empty_store)


def test_random_programs_agree_with_the_reference(empty_store):
    check_random_programs(empty_store, programs=int(os.environ.get("TOKENSPACE_PROGRAMS", PROGRAMS)))


def test_i4_random_programs_agree_when_every_state_is_read_from_its_rows(empty_store, monkeypatch):
    monkeypatch.setattr(Cache, "get", lambda self, key: None)
    check_random_programs(empty_store, programs=4, seed=50)


def test_the_suite_names_the_rule_that_a_broken_store_breaks():
    class Forgetful(MemoryStore):
        def derived(self, scope, source):
            return super().derived(scope, source)[:1]

    with pytest.raises(AssertionError, match=r"provenance_reads_both_ways: Every revision is found by each source"):
        check_store(Forgetful)


def test_the_random_programs_find_a_subtle_defect():
    class Forgetful(MemoryStore):
        def save_session(self, session):
            self._room(session.scope).sessions[session.id] = session  # and not the heads of the first save

    with pytest.raises(AssertionError, match=r"random program .*: session of"):
        check_random_programs(Forgetful)
