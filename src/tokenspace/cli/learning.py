"""`learn` and `sleep`: feedback becomes learned context, if the gate lets it; once, or for as long as it runs."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from tokenspace.cli.forget import finish_first
from tokenspace.cli.options import budget_of, budgeted, given, open_agent, verb
from tokenspace.cli.output import (
    WORDS,
    Short,
    emit,
    note,
    one_line,
    plain,
    safe,
    told_attempt,
    told_usage,
    when,
    working,
)  # fmt: skip
from tokenspace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenspace.api import SleepReport
    from tokenspace.budget import Budget
    from tokenspace.domain import Scope
    from tokenspace.watching import Happening, Learned, Pace, Watcher

EVERY_S: Final = 2.0
SLEEP_EVERY_S: Final = 3_600.0


@verb("learn")
@budgeted
@click.option("--watch", is_flag=True, help="Go on in every tenant and user of the agent, until stopped.")
@click.option("--every-agent", is_flag=True, help="With --watch: for every agent of the store.")
@click.option(
    "--every", "every_s", type=click.FloatRange(min=0.05), default=EVERY_S, show_default=True, metavar="SECONDS",
    help="With --watch: look for feedback this often.",
)  # fmt: skip
@click.option(
    "--sleep-every", "sleep_s", type=click.FloatRange(min=0), default=SLEEP_EVERY_S, show_default=True,
    metavar="SECONDS", help="With --watch: go over all evidence this often; 0 for never.",
)  # fmt: skip
@click.option("--until-eof", is_flag=True, hidden=True, help="With --watch: end when standard input closes.")
def learn(
    *,
    watch: bool,
    every_agent: bool,
    every_s: float,
    sleep_s: float,
    until_eof: bool,
    calls: int | None,
    tokens: int | None,
    usd: float | None,
) -> None:
    """Learn from new feedback.

    Each proposed change is judged by the gate, and each verdict is printed as it falls: accepted changes are served
    from the next question on, rejected ones are kept with the reason, and those that are held back are looked at
    again whenever more is known.

    With --watch it goes on until it is stopped, beside a gateway for example, and --calls, --tokens and --usd limit
    what each tenant and user may spend in an hour. SIGTERM lets it finish what is being judged; with --json every
    event is one line.
    """
    if watch:
        from tokenspace.watching import Pace

        limits = [math.inf if limit is None else limit for limit in (calls, tokens, usd)]
        pace = Pace(every_s=every_s, sleep_every_s=sleep_s, calls=limits[0], tokens=limits[1], usd=limits[2])
        _watch(pace, every_agent=every_agent, until_eof=until_eof)
        return
    if every_agent:
        raise UsageError("--every-agent goes with --watch", hint="without it, name one agent: --agent NAME")
    agent = open_agent(acting=True)
    short = Short()
    with working("judging what the feedback proposes …") as say:
        report = agent.learn(budget=budget_of(calls, tokens, usd), on_attempt=lambda one: say(told_attempt(one, short)))
    _end(report, nothing="there is no new feedback to learn from")


@verb("sleep")
@budgeted
def sleep(calls: int | None, tokens: int | None, usd: float | None) -> None:
    """Learn over all evidence, within a budget.

    Judges again by replay what was held back, retires what later evidence contradicts, changes what has got another
    name, merges what says the same, and tests again what was to end. Safe to interrupt: finished replays are kept and
    never paid for twice. By schedule: `tokenspace worker --sleep-cron`, or `learn --watch --sleep-every`.
    """
    agent = open_agent(acting=True)
    short = Short()
    with working("going over all evidence …") as say:
        report = agent.sleep(budget=budget_of(calls, tokens, usd), on_attempt=lambda one: say(told_attempt(one, short)))
    _end(report, nothing="nothing to change: all that was learned stands")


def _end(report: SleepReport, *, nothing: str) -> None:
    counts = Counter(one.verdict.decision for one in report.attempts)

    def words() -> str:
        told = ", ".join(f"{counts[kind]} {word}" for kind, word in WORDS.items() if counts[kind])
        lines = [f"canary {one.id[-8:]}: {one.state}, {one.share:.0%} of sessions; {one_line(one.reason)}".rstrip("; ")
                 for one in report.canaries]  # fmt: skip
        if report.release:
            passed = click.style("passed", fg="green") if report.release.passed else click.style("failed", fg="red")
            lines.append(f"release check {passed}: {one_line(report.release.reason, 150)}")
        lines.append(f"{told or nothing}; {told_usage(report.usage)}")
        lines += [f"stopped early: {report.stopped}"] if report.stopped else []
        return "\n".join(lines)

    emit(
        lambda: {
            "attempts": report.attempts,
            "counts": counts,
            "canaries": report.canaries,
            "release": report.release,
            "usage": report.usage,
            "stopped": report.stopped,
        },
        words,
    )
    if counts["defer"]:
        note("see what is held back: tokenspace review")
    elif counts["accept"]:
        note("see what changed: tokenspace log")


# ── going on ────────────────────────────────────────────────────────────────────────────────


def _watch(pace: Pace, *, every_agent: bool, until_eof: bool) -> None:
    import asyncio

    from tokenspace.store.sql import SqlStore
    from tokenspace.watching import Watcher
    from tokenspace.working import hourly

    agent = open_agent(acting=True)
    if agent.branch or not isinstance(agent.store, SqlStore):
        raise UsageError("only what is served, in a database, is watched", hint="leave out --branch")
    name = None if every_agent else agent.scope.agent
    finish_first(agent)
    room, limits = agent.store.workroom, {"calls": pace.calls, "tokens": pace.tokens, "usd": pace.usd}

    def budget_of_scope(scope: Scope) -> Budget:
        return hourly(room, scope, limits)

    watcher = Watcher(
        agent.parts, agent.store.admin, agent=name, pace=pace, tell=teller(), budget_of=budget_of_scope
    )  # fmt: skip
    asyncio.run(_until_stopped(watcher, until_eof=until_eof))


async def _until_stopped(watcher: Watcher, *, until_eof: bool) -> None:
    import asyncio

    events = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        events.add_signal_handler(number, watcher.stop)

    def ended() -> None:
        events.remove_reader(sys.stdin.fileno())
        watcher.stop()

    if until_eof:  # whoever started us holds the other end, and lets go of it however it ends
        events.add_reader(sys.stdin.fileno(), ended)
    await watcher.run()


def teller() -> Callable[[Happening], None]:
    """Prints what happens: a line of words, or with `--json` one JSON document to a line."""
    short = Short()
    return lambda one: click.echo(json.dumps(_line(one), ensure_ascii=False) if given().json else _words(one, short))


def _line(one: Happening) -> dict[str, Any]:
    """An event for scripts; of what was judged, who wants to know more asks the store by its id."""
    told: dict[str, Any] = {"event": one.kind, "at": one.at.isoformat()}
    told |= {"scope": str(one.scope)} if one.scope else {}
    told |= {"message": one.words} if one.words else {}
    return told | _what(one.what)


def _what(what: Learned | None) -> dict[str, Any]:
    from tokenspace.domain import Attempt, Canary

    if isinstance(what, Attempt):
        verdict = what.verdict
        return {
            "attempt": what.id, "proposer": what.proposer, "decision": verdict.decision, "reason": verdict.reason,
            "revision": what.revision, "usage": plain(verdict.usage),
        }  # fmt: skip
    if isinstance(what, Canary):
        return {"canary": what.id, "state": what.state, "share": what.share, "reason": what.reason}
    return {} if what is None else {"release": what.passed, "reason": what.reason}


def _words(one: Happening, short: Short) -> str:
    from tokenspace.domain import Attempt

    head = f"{when(one.at)}  {one.kind:<7}  {safe(str(one.scope)) if one.scope else ''}".rstrip()
    if isinstance(one.what, Attempt):
        return f"{head}  {told_attempt(one.what, short)}"
    told = ", ".join(f"{name} {value}" for name, value in _what(one.what).items()) or one.words
    return f"{head}  {one_line(told, 160)}"
