"""`audit`: who wrote, read, approved and erased what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from tokenspace.cli.options import open_agent, sql_store, verb
from tokenspace.cli.output import Short, emit, note, one_line, table, when
from tokenspace.cli.seen import did, seen
from tokenspace.errors import NotFound, UsageError

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.auditing import Event
    from tokenspace.domain import Deed

_DEEDS: Final = ("read", "wrote", "approved", "erased")
_COLOURS: Final = {"read": "white", "wrote": "green", "approved": "yellow", "erased": "red"}
_HEX: Final = frozenset("0123456789abcdef")


@verb("audit")
@click.option("--who", default="", metavar="NAME", help="Only what this principal did; of a key, its id.")
@click.option("--what", "deed", type=click.Choice(_DEEDS), help="Only such deeds.")
@click.option("--since", default="", metavar="DATE", help="Nothing before this day or moment (ISO 8601, UTC).")
@click.option("--object", "part", default="", metavar="ID", help="Only what touched this entry, episode or revision.")
@click.option("-n", "--limit", type=click.IntRange(min=1, max=100_000), default=50, show_default=True, metavar="N",
              help="At most the newest N.")  # fmt: skip
@click.option("--offset", type=click.IntRange(min=0), default=0, metavar="N", help="Leave out the newest N.")
@click.option("--drop-before", metavar="DATE", help="Drop what the access log has from before, and leave a note of it.")
def audit(
    *, who: str, deed: Deed | None, since: str, part: str, limit: int, offset: int, drop_before: str | None
) -> None:  # fmt: skip
    r"""Say who wrote, read, approved and erased what.

    Of the scope that the options select and of all below it, the newest first. Each line: time, who, what they did, to
    what, in which scope. It joins the ledger (revisions, verdicts, feedback, episodes) with the access log (what was
    shown to a person, over MCP or by the admin API; keys; refusals). Ids, names and numbers, never texts.

    \b
    tokenspace audit --what read --since 2026-01-01
    tokenspace audit --object 1f09c2aa
    """
    from tokenspace.auditing import Question, since_of, told_event
    from tokenspace.auditing import audit as events

    if drop_before is not None:
        _drop(drop_before)
        return
    agent, admin = open_agent(), sql_store().admin
    question = Question(
        who=who, deed=deed, since=since_of(since), object=_whole(agent, part), offset=offset, limit=limit + 1
    )  # fmt: skip
    found = events(agent.store, admin, agent.scope, question)
    more, found = len(found) > limit, found[:limit]
    seen(agent, "event", count=len(found))
    emit(lambda: {"events": [told_event(one) for one in found], "more": more}, lambda: _words(found))
    if more:
        note(f"there is more: --offset {offset + limit}")


def _words(found: list[Event]) -> str:
    short = Short(one.id for one in found)
    rows = [
        [when(one.at), one_line(one.who, 20), click.style(one.deed, fg=_COLOURS[one.deed]), _what(one, short),
         one_line("/".join(part for part in (one.agent, one.tenant, one.user) if part), 60) or "the store"]
        for one in found
    ]  # fmt: skip
    return table(rows) or "nothing is known of that"


def _what(one: Event, short: Short) -> str:
    """What was touched: its kind with its id or their number, and what else there is to say of it."""
    which = f" {short(one.id)}" if one.id else f" × {one.count}"
    told = [one.basis] if one.basis else []
    told += [f"from {', '.join(one_line(name, 16) for name in one.principals[:3])}"] if one.principals else []
    told += [f"{one.count} entries shown"] if one.kind == "context" and one.id else []
    told += [one.outcome] if one.outcome != "done" else []
    more = f" ({'; '.join(told)})" if told else ""
    return f"{one.kind}{which}{more}"


def _whole(agent: LearningAgent, part: str) -> str:
    """The whole id that a unique end or beginning names: of something in this scope, or of an entry served in it."""
    if not part or (len(part) == 32 and _HEX.issuperset(part)):
        return part
    ids = {one.id for one in (*agent.log(), *agent.store.episodes(agent.scope), *agent.store.attempts(agent.scope))}
    ids |= {one.id for one in (*agent.store.feedback(agent.scope), *agent.context().entries)}
    named = [id for id in ids if id == part] or [id for id in ids if id.startswith(part) or id.endswith(part)]
    if not named:
        raise NotFound(f"{agent.scope} has nothing with the id {part[:40]!r}", hint="give the whole id of what is gone")
    if len(named) > 1:
        raise UsageError(f"{part!r} names {len(named)} things", hint="give more digits")
    return named[0]


def _drop(before: str) -> None:
    from tokenspace.auditing import since_of

    admin = sql_store().admin
    dropped = admin.drop_accesses(since_of(before))
    did(admin, "erased", "access", count=dropped)
    emit(lambda: {"dropped": dropped}, lambda: f"dropped {dropped} row(s) of the access log from before {before}")
