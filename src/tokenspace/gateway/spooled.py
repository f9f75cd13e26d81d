"""Forgetting what waits in a spool: which of its lines are about somebody or something.

A line is an episode with its scope, or feedback with its own. A damaged one is nobody's and goes with every purge: it
could not be written to the database either, and may hold anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenspace.domain import Scope
from tokenspace.domain.erasure import Subject
from tokenspace.errors import UsageError
from tokenspace.forget import Beside, folded
from tokenspace.gateway.spool import purge
from tokenspace.store.texts import strings


def spool_eraser(path: Path) -> Beside:
    """Erases a subject from a spool file, as `forget.forget` wants it."""

    def erase(subject: Subject, what: str, dry_run: bool) -> Mapping[str, int]:
        return {"spool": purge(path, lines_about(subject, what), dry_run=dry_run)}

    return erase


def lines_about(subject: Subject, what: str = "") -> Callable[[bytes], bool]:
    """Whether a line has to go with a subject; `what` is the text that was asked for.

    A user takes their scope and what they said in their tenant's layer, an episode what was said about it.
    """
    ids = frozenset(id for kinds in subject.roots.values() for some in kinds.values() for id in some)
    text = folded(what) if subject.kind == "text" else ""

    def about(line: bytes) -> bool:
        try:
            scope, who, named, body = _read(line)
        except (ValueError, KeyError, TypeError, AttributeError, UsageError):
            return True
        if subject.kind == "user":
            return scope == subject.scope or subject.said(scope, who)
        if subject.kind == "text" and subject.scope not in scope.layers:
            return False
        return not ids.isdisjoint(named) or bool(text and any(text in folded(said) for said in strings(body)))

    return about


def _read(line: bytes) -> tuple[Scope, str, set[str], Any]:
    """Whose a line is, who said it, the ids that it names, and all of it."""
    ((kind, body),) = json.loads(line).items()
    record = body["episode" if kind == "kept" else "feedback"]
    named = {record["id"]} if kind == "kept" else {record["id"], record["episode"], body["target"]}
    return Scope(**record["scope"]), record.get("principal", ""), named, body
