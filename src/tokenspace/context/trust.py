"""What a text may do by its origin, and what is no news: quarantine, the end of what nobody verified, fingerprints.

A fingerprint is the set of all spans of `SPAN` words of a text, folded. Text that was recalled into a prompt and comes
back in an answer, a note or a remark is known by it, and never counts as evidence for itself (I13). A fingerprint finds
copies; it is no boundary. The boundary is the origin, which is stamped whatever the words are (see `taint`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from tokenspace.context.evasion import folded
from tokenspace.context.render import TRUSTED
from tokenspace.domain import Edit, Entry, Kind, Op, Patch, Put, Status, Verdict

SPAN: Final = 5
"""So many words in a row are not found again by chance."""
REPEATED: Final = 0.5
"""A text repeats another if it shares at least this part of its spans."""
UNVERIFIED_DAYS: Final = 30
"""How long a text holds that no person wrote or approved and no replay tested."""

_WORD: Final = re.compile(r"[^\W_]+")
_NO_TEXT: Final = frozenset({Kind.TOOL, Kind.RENDERER})


# ── quarantine ──────────────────────────────────────────────────────────────────────────────


def quarantined(op: Op, visible: Mapping[str, Entry]) -> Op:
    """The operation such that a text below the agent's authority, as stamped in it, is kept and not shown.

    One that stands already and keeps its words keeps its status: it was let in by somebody, or by replays.
    """
    if isinstance(op, Put):
        entry, old = op.entry, visible.get(op.entry.id)
        fresh = old is None or (old.text, old.trigger, old.kind) != (entry.text, entry.trigger, entry.kind)
        shown = entry.status is Status.ACTIVE and entry.kind not in _NO_TEXT
        return Put(entry=replace(entry, status=Status.QUARANTINED)) if fresh and shown and _low(entry) else op
    if isinstance(op, Patch) and "origin" in op.changes and op.changes["origin"] < TRUSTED:
        old = visible.get(op.id)
        if old is not None and old.kind not in _NO_TEXT and op.changes.get("status", old.status) is Status.ACTIVE:
            return replace(op, changes={**op.changes, "status": Status.QUARANTINED})
    return op


def elevated(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[Entry]:
    """Entries below the agent's authority that are shown after an edit and were not, or read otherwise, before it."""
    found = [one for one in after.values() if one.status is Status.ACTIVE and _low(one) and one.kind not in _NO_TEXT]
    return [one for one in found if _shown(before.get(one.id)) != _shown(one)]


def _low(entry: Entry) -> bool:
    return entry.origin < TRUSTED


def _shown(entry: Entry | None) -> tuple[Any, ...] | None:
    if entry is None or entry.status is not Status.ACTIVE:
        return None
    return (entry.kind, entry.doc, entry.text, entry.trigger, entry.key)


# ── what nobody verified ────────────────────────────────────────────────────────────────────


def until_verified(edit: Edit, verdict: Verdict, now: datetime, *, days: int = UNVERIFIED_DAYS) -> Edit:
    """The edit with an end for what an agent or less wrote, if it is let in by policy alone.

    What replays have tested, and what a person wrote or approved, does not end for that; neither does what has an
    earlier end. `tokenspace edit` takes an end away, and a renewal by replay moves it.
    """
    if verdict.basis != "policy":
        return edit
    end = now + timedelta(days=days)
    return replace(edit, ops=tuple(_ending(op, end) for op in edit.ops))


def _ending(op: Op, end: datetime) -> Op:
    if not isinstance(op, Put) or op.entry.origin > TRUSTED or op.entry.kind in _NO_TEXT:
        return op
    until = op.entry.valid_until
    return op if until is not None and until <= end else Put(entry=replace(op.entry, valid_until=end))


# ── fingerprints ────────────────────────────────────────────────────────────────────────────


def words_of(text: str) -> list[str]:
    """The words of a text without case, disguise of characters or marks between them.

    >>> words_of("Send ｒｅｆｕｎｄｓ to  HERON-7!")
    ['send', 'refunds', 'to', 'heron', '7']
    """
    form = folded(text)
    return _WORD.findall((form.text if form else text).casefold())


def fingerprint(text: str, *, span: int = SPAN) -> frozenset[tuple[str, ...]]:
    """All spans of so many words; of a shorter text the whole of it; empty for one without words."""
    words = words_of(text)
    if len(words) <= span:
        return frozenset({tuple(words)} if words else ())
    return frozenset(tuple(words[at : at + span]) for at in range(len(words) - span + 1))


def repeats(text: str, recalled: Iterable[str]) -> bool:
    """Whether a text says again what was recalled: half of its spans or more, or all of a short one (I13).

    >>> repeats("Please note: refunds go to the Heron team.", ["Refunds go to the Heron team, always."])
    True
    >>> repeats("Heron", ["Refunds go to the Heron team."])
    True
    """
    own = fingerprint(text)
    if not own:
        return False
    sources = [words_of(one) for one in recalled]
    if len(next(iter(own))) < SPAN:
        short = f" {' '.join(next(iter(own)))} "
        return any(short in f" {' '.join(words)} " for words in sources)
    known = frozenset(tuple(words[at : at + SPAN]) for words in sources for at in range(len(words) - SPAN + 1))
    return len(own & known) >= REPEATED * len(own)


def without_recalled(texts: Iterable[str], recalled: Iterable[str]) -> list[str]:
    """Those texts that say something which was not recalled."""
    known = list(recalled)
    return [text for text in texts if not repeats(text, known)]
