"""Every rule of jobs, inline, on SQLite and on PostgreSQL."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from tokenspace.jobs import InlineJobs
from tokenspace.store import MemoryStore, open_store
from tokenspace.testing.jobs import JOB_CHECKS, check_jobs, run_job_check


def make_inline(handlers):
    return InlineJobs(MemoryStore().workroom, handlers, concurrency=2)


def make_dbos(url):
    @asynccontextmanager
    async def make(handlers):
        from tokenspace.jobs.dbos import DbosJobs

        store = open_store(url)
        try:
            async with DbosJobs(
                url, store.workroom, handlers, concurrency=2, poll_s=0.02, beat_s=0.1, dead_s=5.0
            ) as jobs:
                yield jobs
        finally:
            store.close()

    return make


@pytest.fixture(params=["inline", "sqlite", "postgresql"], scope="module")
def make(request, tmp_path_factory):
    if request.param == "inline":
        return make_inline
    if request.param == "sqlite":
        return make_dbos(f"sqlite:///{tmp_path_factory.mktemp('jobs')}/s.db")
    return make_dbos(request.getfixturevalue("postgresql_server"))


@pytest.mark.slow
@pytest.mark.parametrize("name", JOB_CHECKS)
def test_jobs_keep_the_rule(name, make):
    run_job_check(name, make)


def test_the_whole_suite_in_one_call():
    check_jobs(make_inline)


def test_the_suite_names_the_rule_that_is_broken():
    class Forgetful(InlineJobs):
        def _wait(self, job, after_s):
            self._known.clear()
            super()._wait(job, after_s)

    with pytest.raises(AssertionError, match="a_key_is_one_job: The same kind and key"):
        check_jobs(lambda handlers: Forgetful(MemoryStore().workroom, handlers, concurrency=2))
