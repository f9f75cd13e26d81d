"""`keys`: who may use the gateway."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from tokenspace.cli.options import given, project, sql_store, verb, verb_group
from tokenspace.cli.output import Short, emit, note, one_line, table, when
from tokenspace.cli.seen import did
from tokenspace.config import utc_now

if TYPE_CHECKING:
    from tokenspace.domain import ApiKey, Right

_RIGHTS: Final = ("infer", "feedback", "read", "admin")
_TENANT: Final = "default"


@verb_group("keys")
@click.pass_context
def keys(ctx: click.Context) -> None:
    """Make, list and revoke the gateway's keys.

    Without a command: all keys (`keys list`). A secret is shown once, when its key is made, and kept nowhere.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_keys)


@verb("create")
@click.option("--label", default="", metavar="WORDS", help="What it is for.")
@click.option(
    "--right",
    "rights",
    multiple=True,
    type=click.Choice(_RIGHTS),
    default=("infer", "feedback"),
    show_default="infer and feedback",
    help="What it may do; may be given several times.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), metavar="N", help="It expires after N days.")
@click.option("--operator", is_flag=True, help="For the shared base and, in the admin API, for every tenant.")
def create(label: str, rights: tuple[Right, ...], days: float | None, operator: bool) -> None:
    r"""Make a key and show its secret once.

    Whoever has it acts for --tenant ("default" if none is named), and is taken for --agent where a request names no
    other. With --json the secret is in the field "secret".

    \b
    tokenspace keys create --label "desk, production" --tenant acme
    tokenspace keys create --operator --right read --right admin --days 30
    """
    from tokenspace.errors import UsageError
    from tokenspace.gateway.keys import make_key

    tenant, now = project().tenant, utc_now()
    if operator and tenant:
        raise UsageError("an operator's key is of no tenant", hint="leave out --tenant or --operator")
    ends = None if days is None else now + timedelta(days=min(days, 36_500))
    admin = sql_store().admin
    key, secret = make_key(
        admin,
        at=now,
        tenant="" if operator else tenant or _TENANT,
        agent=given().agent or "",
        label=label,
        rights=rights,
        expires=ends,
    )
    did(admin, "wrote", "key", tenant=key.tenant, agent=key.agent, id=key.id)
    emit(lambda: {**_plain(key), "secret": secret}, lambda: secret)
    note(f"key {key.id[-8:]} may {', '.join(_of(key))} for {_whose(key)}")
    note("this is the only time that it is shown")


@verb("list")
def list_keys() -> None:
    """List all keys, the oldest first.

    Each line: id, when it was made, whether it is valid, whose it is, what it may do, what it is for.
    """
    admin = sql_store().admin
    found = admin.keys()
    did(admin, "read", "key", count=len(found))
    short = Short(one.id for one in found)

    def words() -> str:
        rows = [
            [
                click.style(short(one.id), fg="yellow"),
                when(one.at),
                _state(one),
                _whose(one),
                ", ".join(_of(one)),
                one_line(one.label),
            ]
            for one in found
        ]
        return table(rows) if rows else "no key yet: tokenspace keys create"

    emit(lambda: {"keys": [_plain(one) for one in found]}, words)


@verb("revoke")
@click.argument("id")
def revoke(id: str) -> None:
    """Refuse a key from now on, for ever.

    ID is a unique part of an id as `keys list` prints it. A running gateway refuses it within seconds.
    """
    from tokenspace.gateway.keys import find_key, revoke_key

    admin = sql_store().admin
    gone = revoke_key(admin, find_key(admin, id), at=utc_now())
    did(admin, "wrote", "key", tenant=gone.tenant, agent=gone.agent, id=gone.id)
    emit(lambda: _plain(gone), lambda: f"revoked: {gone.id[-8:]} {one_line(gone.label)}")


def _plain(key: ApiKey) -> dict[str, object]:
    """A key as scripts see it: without its hash."""
    return {
        "id": key.id, "label": key.label, "tenant": key.tenant, "agent": key.agent, "rights": _of(key),
        "expires": key.expires, "revoked": key.revoked, "valid": key.valid(utc_now()), "at": key.at,
    }  # fmt: skip


def _of(key: ApiKey) -> list[str]:
    return [right for right in _RIGHTS if right in key.rights]


def _whose(key: ApiKey) -> str:
    whose = f"tenant {one_line(key.tenant, 24)}" if key.tenant else "the operator"
    return f"{whose}, agent {one_line(key.agent, 24)}" if key.agent else whose


def _state(key: ApiKey) -> str:
    if key.valid(utc_now()):
        return f"until {when(key.expires)}" if key.expires else click.style("valid", fg="green")
    return click.style("revoked" if key.revoked else "expired", fg="red")


for _command in (create, list_keys, revoke):
    keys.add_command(_command)
