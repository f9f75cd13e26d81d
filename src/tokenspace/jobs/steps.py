"""What every implementation shares: ids of jobs, and their checkpoints in our own store.

The queue may run a job twice; the checkpoint is in the same transaction as what it guards, which no other database
could promise.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tokenspace.domain import Job, Json, digest
from tokenspace.errors import UsageError
from tokenspace.protocols import Workroom

Handler = Callable[[Job], Awaitable[float | None]]
"""Does a job: None when it is done, or the seconds after which it is to go on."""


def job_id(kind: str, key: str, *, partition: str) -> str:
    """Names a job; all ids of a partition begin alike, and nothing can be read from them."""
    return f"{prefix_of(partition)}{digest([kind, key])}"


def prefix_of(partition: str) -> str:
    """How the ids of a partition's jobs begin."""
    return f"{digest(partition)}-"


def next_turn(job: Job) -> Job:
    """The job that goes on where this one stopped."""
    first = job.id.partition("+")[0]
    return replace(job, id=f"{first}+{job.turn + 1}", turn=job.turn + 1)


class Steps:
    """The two verbs that are about the inside of a job."""

    def __init__(self, workroom: Workroom) -> None:
        self._workroom = workroom

    async def step(self, job: Job, name: str, work: Callable[[], Awaitable[Json]]) -> Json:
        """See `protocols.Jobs`."""
        known = await asyncio.to_thread(self._workroom.done, job.id, name)
        if known is not None:
            return json.loads(known)
        result = await work()
        await asyncio.to_thread(self._workroom.check_off, job.id, name, json.dumps(result))
        return result

    def commit_tx(self, job: Job, name: str, work: Callable[[], None]) -> bool:
        """See `protocols.Jobs`."""
        return self._workroom.check_off(job.id, name, work=work)


def check_cron(cron: str) -> None:
    """Raises `UsageError` for what is no cron expression."""
    try:
        from croniter import croniter  # comes with dbos
    except ImportError as error:
        raise UsageError("schedules are not installed", hint='install them: pip install "tokenspace[jobs]"') from error
    if len(cron.split()) != 5 or not croniter.is_valid(cron):  # pyright: ignore[reportUnknownMemberType]  # untyped
        raise UsageError(
            f"{cron!r} is not a cron expression", hint='use five fields, such as "0 3 * * *" for three every night'
        )
