"""`forget`: a user, an episode, feedback, an entry or a text goes, with all that was made of it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokenspace.cli.options import given, open_agent, open_with_model, project, settings, sqlite_path, verb
from tokenspace.cli.output import emit, note
from tokenspace.cli.seen import seen
from tokenspace.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenspace.api import LearningAgent
    from tokenspace.domain.erasure import Erasure, Subject
    from tokenspace.forget import Beside
    from tokenspace.protocols import Admin

_ONE = "name one of --whole-user, --episode, --feedback, --entry, --text or --resume"


@verb("forget")
@click.option("--whole-user", is_flag=True, help="The user that --tenant and --user name, with everything.")
@click.option("--episode", metavar="ID", help="An episode, with what was said about it.")
@click.option("--feedback", metavar="ID", help='Feedback, with its case: an id of `show EPISODE`, or "last".')
@click.option("--entry", metavar="ID", help="All versions of an entry, with what was made of it.")
@click.option("--text", metavar="TEXT", help="Every record of the scope, and of those below it, that contains it.")
@click.option("--resume", is_flag=True, help="Finish what was begun and interrupted.")
@click.option("--exact", is_flag=True, help="Leave what would have been without it, judging again what it touched.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only show what would go.")
def forget(whole_user: bool, resume: bool, exact: bool, yes: bool, **asked: str | None) -> None:
    r"""Erase something and what was made of it.

    Without --yes it is a dry run: it shows what would go and what cannot be reached, and changes nothing. It cannot be
    undone, and no revision can bring it back. What was begun before and interrupted is finished first.

    \b
    tokenspace forget --tenant acme --user ann --whole-user
    tokenspace forget --episode 0199f0 --exact --yes
    tokenspace forget --text "Ann Smith, 12 High Street" --yes
    """
    from tokenspace.domain.plain import plain
    from tokenspace.forget import forget as erase
    from tokenspace.forget import in_words, meant
    from tokenspace.forget import resume as finish

    wanted = [kind for kind, what in asked.items() if what is not None] + ["user"] * whole_user
    if len(wanted) + resume != 1:
        raise UsageError("it is not clear what to forget", hint=_ONE)
    if given().branch:
        raise UsageError("what is forgotten is forgotten on all branches", hint="leave out --branch")
    agent = open_with_model() if yes or exact else open_agent()
    admin = operator(agent)
    if resume:
        done = agent.wait(finish(agent.parts, admin, who=settings().principal, beside=places(agent)))
        for one in done:
            _note(agent, admin, one)
        emit(
            lambda: {"erasures": [plain(one) for one in done]},
            lambda: "\n".join(map(in_words, done)) or "nothing waits",
        )
        return
    kind: Any = wanted[0]
    what = asked.get(kind) or ""
    if kind == "episode":
        what = agent.episode(what).id
    if kind == "feedback" and what == "last":
        what = next((one.id for one in reversed(agent.store.feedback(agent.scope))), what)
    if yes:
        finish_first(agent)
    what, elsewhere = meant(admin, agent.scope, kind, what), places(agent)
    subject = _find(agent, kind, what, elsewhere)
    who = settings().principal
    doing = erase(
        agent.parts, admin, subject, exact=exact, dry_run=not yes, who=who, what=what, beside=elsewhere
    )  # fmt: skip
    done = agent.wait(doing)
    _note(agent, admin, done)
    emit(lambda: plain(done), lambda: in_words(done))
    if done.dry_run:
        note("nothing was changed; --yes does it, and nothing brings it back")


def _find(agent: LearningAgent, kind: Any, what: str, elsewhere: Sequence[Beside]) -> Subject:
    """What is meant; a text, or a user, may be in a place beside the store alone."""
    from tokenspace.domain.erasure import Subject
    from tokenspace.forget import find

    try:
        return find(operator(agent), agent.scope, kind, what)
    except NotFound:
        alone = Subject(kind=kind, scope=agent.scope)
        if kind not in ("text", "user") or not any(sum(look(alone, what, True).values()) for look in elsewhere):
            raise
        return alone


def operator(agent: LearningAgent) -> Admin:
    """What the operator of the agent's store may do; every store has it beside its protocol."""
    found: Admin = getattr(agent.store, "admin")  # noqa: B009 - see above
    return found


def places(agent: LearningAgent) -> list[Beside]:
    """Where else something of a subject may be: the queue of workers, and the spool of this project's gateway."""
    from tokenspace.config import HOME
    from tokenspace.store.sql import SqlStore
    from tokenspace.working import queue_eraser

    found, path = project(), sqlite_path(project().store)
    home = found.home or (path.parent if path else Path.cwd() / HOME)
    places = [queue_eraser(agent.store)] if isinstance(agent.store, SqlStore) else []
    if find_spec("aiohttp") is not None:
        from tokenspace.gateway.settings import FILE, load
        from tokenspace.gateway.spooled import spool_eraser

        named = load(home / FILE, {}).spool
        places.append(spool_eraser(Path(named) if named else home / "spool.jsonl"))
    return places


def finish_first(agent: LearningAgent) -> None:
    """Finish erasures that somebody began and was killed over; what cannot be finished now is said, and waits."""
    from tokenspace.forget import finish

    admin = operator(agent)
    if not admin.pending_erasures():
        return
    note("finishing an erasure that was interrupted …")
    done, failed = agent.wait(finish(agent.parts, admin, who=settings().principal, beside=places(agent)))
    for one in done:
        _note(agent, admin, one)
        note(f"the erasure {one.id[-8:]} was finished: tokenspace receipts show {one.id[-8:]}")
    for error in failed:
        click.echo(f"an erasure is not finished: {error}; try again with tokenspace forget --resume", err=True)


def _note(agent: LearningAgent, admin: Admin, done: Erasure) -> None:
    """For the audit: that something was erased, or looked at, and by whom; never what."""
    from tokenspace.auditing import forgotten

    count = sum(done.rows.values())
    if done.dry_run:
        seen(agent, "erasure", count=count)
        return
    subject = done.subject
    who = settings().principal  # not the user that the options name
    forgotten(admin, subject.scope, subject.kind, id=done.id, principal=who, at=done.at, count=count)
