"""`worker` and `jobs`: learning by as many processes as you like, and what they are at."""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING, Final

import click

from tokenspace.cli.forget import finish_first
from tokenspace.cli.learning import teller
from tokenspace.cli.options import budgeted, open_agent, project, sql_store, verb, verb_group
from tokenspace.cli.output import emit, note, safe, table, when
from tokenspace.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tokenspace.domain import Job
    from tokenspace.jobs.dbos import DbosJobs
    from tokenspace.jobs.queue import DbosQueue, Listed
    from tokenspace.store.sql import SqlStore
    from tokenspace.working import Plan, Worker

HOURLY: Final = "0 * * * *"


@verb("worker")
@budgeted
@click.option("--every-agent", is_flag=True, help="For every agent of the store.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, metavar="N",
    help="Work on so many scopes at once.",
)  # fmt: skip
@click.option(
    "--every", "every_s", type=click.FloatRange(min=0.05), default=2.0, show_default=True, metavar="SECONDS",
    help="Look for feedback this often.",
)  # fmt: skip
@click.option(
    "--sleep-cron", default=HOURLY, show_default=True, metavar="CRON",
    help='Go over all evidence at these times, in UTC; "" for never.',
)  # fmt: skip
@click.option(
    "--sleep-after", type=click.IntRange(min=0), default=0, metavar="N",
    help="Go over all evidence of a scope after every N pieces of feedback.",
)  # fmt: skip
@click.option("--whole-agent", is_flag=True, help="Limits are for an agent as a whole, not for each scope.")
@click.option(
    "--takeover", "dead_s", type=click.FloatRange(min=0.2), default=20.0, show_default=True, metavar="SECONDS",
    help="Take over the jobs of a worker that was silent for so long.",
)  # fmt: skip
def worker(
    *,
    every_agent: bool,
    concurrency: int,
    every_s: float,
    sleep_cron: str,
    sleep_after: int,
    whole_agent: bool,
    dead_s: float,
    calls: int | None,
    tokens: int | None,
    usd: float | None,
) -> None:
    r"""Learn and sleep in the background; run as many as you like.

    Workers of one store share its scopes: no two work on one at once, and the jobs of one that dies are taken over
    by the others, which pay for no finished model call again. --calls, --tokens and --usd limit what all of them
    together spend in an hour in each scope. SIGTERM lets it finish what is being judged; with --json every event is
    one line.

    \b
    tokenspace worker --every-agent --concurrency 8
    tokenspace worker --sleep-cron "0 3 * * *" --usd 2 --whole-agent
    """
    from tokenspace.jobs.steps import check_cron
    from tokenspace.working import Plan

    if sleep_cron:
        check_cron(sleep_cron)
    limits = [math.inf if limit is None else limit for limit in (calls, tokens, usd)]
    plan = Plan(
        every_s=every_s, sleep_cron=sleep_cron, sleep_after=sleep_after, whole_agent=whole_agent,
        calls=limits[0], tokens=limits[1], usd=limits[2],
    )  # fmt: skip
    _run(plan, every_agent=every_agent, concurrency=concurrency, dead_s=dead_s)


def _run(plan: Plan, *, every_agent: bool, concurrency: int, dead_s: float) -> None:
    import asyncio

    from tokenspace.store.sql import SqlStore
    from tokenspace.working import Worker

    agent, url = open_agent(acting=True), project().store
    if agent.branch or not isinstance(agent.store, SqlStore):
        raise UsageError("only what is served, in a database, is worked on", hint="leave out --branch")
    name = None if every_agent else agent.scope.agent
    finish_first(agent)

    async def main(store: SqlStore) -> None:
        from tokenspace.jobs.dbos import DbosJobs

        one = Worker(agent.parts, store.admin, store.workroom, agent=name, plan=plan, tell=teller())
        _listen(one)

        def make(handlers: Mapping[str, Callable[[Job], Awaitable[float | None]]]) -> DbosJobs:
            return DbosJobs(
                url, store.workroom, handlers, concurrency=concurrency, beat_s=dead_s / 4, dead_s=dead_s, lost=one.stop
            )

        await one.run(make)

    asyncio.run(main(agent.store))


def _listen(one: Worker) -> None:
    import asyncio

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, one.stop)


# ── what they are at ────────────────────────────────────────────────────────────────────────


@verb_group("jobs")
@click.pass_context
def jobs(ctx: click.Context) -> None:
    """List the jobs of workers, and cancel one.

    Without a command of its own, lists the jobs that wait or run.
    """
    if ctx.invoked_subcommand is None:
        _show(everything=False, limit=50)


@verb("list")
@click.option("--all", "everything", is_flag=True, help="Those that are over, too.")
@click.option("-n", "limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
def list_jobs(*, everything: bool, limit: int) -> None:
    """List jobs, newest first."""
    _show(everything=everything, limit=limit)


@verb("cancel")
@click.argument("job")
def cancel(job: str) -> None:
    """Cancel a job.

    JOB is an id, or how it begins or ends. What it has finished is kept; feedback that it did not come to is found
    again within the hour.
    """
    queue = _queue()
    found = [one for one in queue.jobs(limit=10_000, running=True) if one.id.startswith(job) or one.id.endswith(job)]
    if not found:
        raise NotFound(f"no job {job!r} waits or runs", hint="tokenspace jobs list")
    if len(found) > 1:
        raise UsageError(f"{len(found)} jobs are called so", hint="say more of the id: tokenspace jobs list")
    done = queue.cancel(found[0].id)
    emit(lambda: {"id": found[0].id, "cancelled": done}, lambda: "cancelled" if done else "it was over already")


jobs.add_command(list_jobs)
jobs.add_command(cancel)


def _queue() -> DbosQueue:
    from tokenspace.jobs.queue import DbosQueue

    store: SqlStore = sql_store()
    queue = DbosQueue(project().store, store.workroom)
    click.get_current_context().call_on_close(queue.close)
    return queue


def _show(*, everything: bool, limit: int) -> None:
    found = _queue().jobs(limit=limit, running=not everything)
    emit(lambda: {"jobs": found}, lambda: table([_row(one) for one in found]) if found else "no job waits or runs")
    if found:
        note("cancel one with the end of its id: tokenspace jobs cancel ID")


def _row(one: Listed) -> list[str]:
    scope = safe("/".join(part for part in one.ids if part))
    turn = f"turn {one.turn}" if one.turn > 1 else ""
    return [when(one.at), one.state, one.kind, scope, turn, one.id[-12:]]
