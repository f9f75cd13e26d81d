"""`receipts`: what was erased, in a form that others can check."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokenspace.cli.options import sql_store, verb, verb_group
from tokenspace.cli.output import Short, emit, note, safe, table, when
from tokenspace.errors import BadData, NotFound, UsageError

if TYPE_CHECKING:
    from tokenspace.store.journal import Kept
    from tokenspace.store.keyfiles import KeyFolder


@verb_group("receipts")
@click.pass_context
def receipts(ctx: click.Context) -> None:
    """List and check receipts of erasure.

    Without a command: all erasures of the store (`receipts list`). A receipt holds no text and no id of what was
    erased, only hashes under a salt that was shown once, when it was made.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_receipts)


@verb("list")
def list_receipts() -> None:
    """List all erasures, the oldest first.

    Each line: id, when it was begun, whether it is finished, whether there is a receipt.
    """
    found = _kept()
    short = Short(one.id for one in found)

    def words() -> str:
        rows = [[short(one.id), when(one.at), _state(one), "receipt" if one.receipt else "no receipt"] for one in found]
        return table(rows) if rows else "nothing was erased yet"

    emit(
        lambda: {
            "erasures": [
                {"id": one.id, "at": one.at, "finished": one.finished, "receipt": bool(one.receipt)} for one in found
            ]
        },
        words,
    )


@verb("show")
@click.argument("id")
def show(id: str) -> None:
    """Print a receipt, to hand out or to keep.

    ID is a unique part of an id as `receipts list` prints it.
    """
    found = [one for one in _kept() if id in one.id]
    if len(found) != 1:
        raise NotFound(f"{len(found)} erasures have {id!r} in their id", hint="`tokenspace receipts list` lists them")
    if not found[0].receipt:
        raise NotFound(f"the erasure {id} has no receipt", hint="one that was interrupted: tokenspace forget --resume")
    click.echo(json.dumps(json.loads(found[0].receipt), ensure_ascii=False, indent=2))


@verb("key")
def key() -> None:
    """Print the public key that receipts of this store are checked with.

    Give it out by another way than the receipts themselves.
    """
    from tokenspace.receipts import signer

    made = signer(_folder()).public_key
    emit(lambda: {"public_key": made}, lambda: made)


@verb("verify")
@click.argument("file", metavar="FILE")
@click.option("--key", "public_key", metavar="HEX", help="The public key; without it, that of this store.")
@click.option("--salt", default="", metavar="HEX", help="The salt that was shown when the receipt was made.")
@click.option("--subject", default="", metavar="JSON", help="With --salt: what it should be about, in canonical JSON.")
def verify(file: str, public_key: str | None, salt: str, subject: str) -> None:
    r"""Check that a receipt is genuine, and say what it says.

    FILE holds the receipt; - reads standard input. A receipt that was altered, or signed by somebody else, is an error.
    With --salt and --subject: whether it is about that. A subject is a list of its kind, agent, tenant, user and id or
    text.

    \b
    tokenspace receipts verify receipt.json --key 0f1e…
    tokenspace receipts verify receipt.json --salt 9a… --subject '["user","desk","acme","ann",""]'
    """
    from tokenspace.receipts import canonical, is_about, read_receipt, signer, verify_receipt

    if bool(salt) != bool(subject):
        raise UsageError("a salt opens a receipt only together with a subject", hint="give both --salt and --subject")
    receipt = read_receipt(_read(file))
    said = verify_receipt(receipt, public_key or signer(_folder()).public_key)
    try:
        about = is_about(receipt, canonical(json.loads(subject)).decode(), salt) if salt else None
    except ValueError:
        raise BadData("the salt or the subject is not what it should be", hint="`receipts verify --help`") from None
    emit(lambda: {"valid": True, "about": about, "receipt": said}, lambda: _words(said))
    if about is not None:
        note(f"it is {'' if about else 'NOT '}about this subject")
        if not about:
            click.get_current_context().exit(1)


def _words(said: Mapping[str, Any]) -> str:
    lines = [f"genuine: erased at {safe(said['at'])} by {safe(said['by'])}, {safe(said['mode'])} mode"]
    lines += [f"  {one['rows']:>8,}  {safe(one['store'])}: {safe(one['table'])}" for one in said["erased"]]
    lines += [f"key {safe(one)} was destroyed" for one in said["keys_destroyed"]]
    lines += [safe(one) for one in said["remarks"]]
    lines += ["not reached:", *(f"  {safe(one)}" for one in said["not_reached"])]
    return "\n".join(lines)


def _state(one: Kept) -> str:
    return f"finished {when(one.finished)}" if one.finished else click.style("not finished", fg="red")


def _kept() -> list[Kept]:
    from tokenspace.store.journal import erasures

    return erasures(sql_store().db)


def _folder() -> KeyFolder:
    folder = sql_store().db.seals.folder
    if folder is None:
        raise UsageError("this store has no folder of keys", hint="name one with TOKENSPACE_KEYS, or give --key")
    return folder


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}", hint="name one, or pipe the receipt in with -") from None
    except UnicodeDecodeError:
        raise BadData(f"{file} is no text", hint="name the file that holds the receipt") from None


for _command in (list_receipts, show, key, verify):
    receipts.add_command(_command)
