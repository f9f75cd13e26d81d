"""`models` and `doctor`: what there is to work with, and what is missing."""

from __future__ import annotations

from typing import Final

import click

from tokenspace.cli.options import settings, verb
from tokenspace.cli.output import emit, note, table

_MARKS: Final = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


@verb("models")
def models() -> None:
    """List the models that can be used here.

    Looks for model servers on this machine and for keys in the environment; nothing is sent anywhere else.
    """
    from tokenspace.models import available

    chosen, found = settings().model, available()

    def words() -> str:
        rows = [
            [
                "*" if info.name == chosen else " ",
                click.style(*_marked("ok" if info.ready else "warn")),
                info.name,
                info.what_to_do,
            ]
            for info in found
        ]
        others = [f"  also served: {', '.join(info.models[:8])}" for info in found if len(info.models) > 1]
        return "\n".join([table(rows), *others])

    emit(
        lambda: {
            "default": chosen,
            "models": [
                {
                    "name": one.name,
                    "ready": one.ready,
                    "what_to_do": one.what_to_do,
                    "models": one.models,
                    "default": one.name == chosen,
                }
                for one in found
            ],
        },
        words,
    )
    note(f"* is used here ({chosen}); any other: --model NAME, also http://host:port/v1#NAME or a .gguf file")


@verb("doctor")
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Check this machine and this folder.

    Each line says ok (✓), warn (!) or fail (✗) and what to do about it. Exit code 1 if anything fails.
    """
    from tokenspace.cli.checks import all_checks

    found = all_checks()
    failed = sum(one.state == "fail" for one in found)

    def words() -> str:
        rows = [
            [click.style(*_marked(one.state)), one.name, one.found + (f"\n{' ' * 20}→ {one.todo}" if one.todo else "")]
            for one in found
        ]
        return table(rows)

    emit(lambda: {"ok": not failed, "checks": found}, words)
    if failed:
        ctx.exit(1)


def _marked(state: str) -> tuple[str, str]:
    return _MARKS[state]
