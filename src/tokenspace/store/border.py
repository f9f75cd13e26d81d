"""What every store refuses, and how it rounds, so that all of them hold the same.

PostgreSQL cannot keep a NUL in a text and SQLite cannot encode a lone surrogate: neither is accepted anywhere.
Times are kept to the millisecond in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from tokenspace.domain import (
    MAX_NAME_CHARS,
    MAX_TEXT_BYTES,
    Access,
    ApiKey,
    Attempt,
    Canary,
    Case,
    Edit,
    Entry,
    Episode,
    Feedback,
    Layer,
    Reading,
    Scope,
    Verdict,
)
from tokenspace.errors import BadData, InvalidEdit, NotFound, UsageError
from tokenspace.store.codec import BASES, RIGHTS, field_names, pack_time, unpack_time

T = TypeVar("T")

MAX_POS: Final = 2**31 - 1
MAX_ID_BYTES: Final = 250


def check(what: str, value: Any) -> None:
    """Raises `BadData` for a value that holds, however deep, a text that cannot be kept, or a naive time."""
    if isinstance(value, str):
        _check_text(what, value)
    elif value is None or isinstance(value, (int, float, bytes)):
        return
    elif isinstance(value, datetime):
        if value.tzinfo is None:
            raise BadData(f"a time in {what} has no time zone", hint="give an aware datetime, such as one in UTC")
    else:
        for item in _parts(value):
            check(what, item)


def is_plain(body: str) -> bool:
    """Whether the JSON of a value shows that `check` lets through every text in it: much sooner than `check` does.

    NUL is the one character that JSON always writes as an escape.
    """
    if len(body) * 4 > MAX_TEXT_BYTES or "\\u0000" in body:
        return False
    try:
        body.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_episode(episode: Episode, body: str) -> None:
    """As `check`, of an episode whose JSON without scope, id and time is `body`."""
    check("episode", [episode.id, episode.at] if is_plain(body) else episode)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, (list, tuple)):
        return cast("Iterable[Any]", value)
    names = field_names(cast("Any", type(value)))
    if names is not None:
        return [getattr(value, name) for name in names]
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value)
        return [*items.keys(), *items.values()]
    return cast("Iterable[Any]", value) if isinstance(value, Iterable) else ()


def _check_text(what: str, text: str) -> None:
    if "\0" in text:
        raise BadData(f"a text in {what} holds a NUL byte", hint="remove it: no database keeps it in a text")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise BadData(f"a text in {what} is no valid Unicode", hint="replace the lone surrogates in it") from None
    if size > MAX_TEXT_BYTES:
        raise BadData(
            f"a text in {what} has {size:,} bytes; at most {MAX_TEXT_BYTES:,} are kept",
            hint="shorten or split it, or keep it elsewhere and refer to it",
        )


def to_millisecond(at: datetime) -> datetime:
    """The time as a store gives it back."""
    return unpack_time(pack_time(at))


def timed(value: T) -> T:
    """A checked dataclass with its `at` as a store gives it back."""
    check(type(value).__name__.lower(), value)
    return replace(cast("Any", value), at=to_millisecond(cast("Any", value).at))


def check_commit(edit: Edit, verdict: Verdict, author: str) -> None:
    """Raises `InvalidEdit` without an accepting verdict that names its basis (I1), `BadData` for unusable texts."""
    if verdict.decision != "accept" or verdict.basis not in BASES:
        raise InvalidEdit(
            f"a head moves only with an accepting verdict, and this one says {verdict.decision} ({verdict.basis})",
            hint="let a gate judge the edit, or commit it with a person's verdict",
        )
    check("edit", edit)
    check("verdict", verdict)
    check("author", author)
    for id in (*edit.evidence, *edit.read, *verdict.cases):
        if len(id.encode()) > MAX_ID_BYTES:
            raise BadData(f"{id[:40]!r}… is too long for an id", hint=f"ids have at most {MAX_ID_BYTES} bytes")


def storable(before: Layer, after: Layer) -> Layer:
    """The layer after an edit with its new entries as a store gives them back (times to the millisecond)."""
    own = {id: entry if entry is before.own.get(id) else _entry(entry) for id, entry in after.own.items()}
    return Layer(own=MappingProxyType(own), hidden=after.hidden)


def _entry(entry: Entry) -> Entry:
    if not -MAX_POS <= entry.pos <= MAX_POS:
        raise BadData(f"the position of entry {entry.id} is out of range", hint=f"at most {MAX_POS:,}")
    ends = {name: to_millisecond(at) for name in ("valid_from", "valid_until") if (at := getattr(entry, name))}
    return replace(entry, **ends) if ends else entry


def check_limit(limit: int | None) -> int:
    """A limit as a number that every database takes. Raises `UsageError` for a negative one."""
    if limit is None:
        return MAX_POS
    if limit < 0:
        raise UsageError(f"a limit of {limit}", hint="give 0 or more, or None for all")
    return min(limit, MAX_POS)


def check_branch(name: str) -> None:
    """Raises `UsageError` for a name that no branch may have."""
    check("branch", name)
    if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise UsageError(f"{name[:40]!r} is not a usable branch name", hint=f"use 1 to {MAX_NAME_CHARS} characters")


def check_scope(scope: object) -> None:
    """Raises `UsageError` for anything but a scope, however much it looks like one."""
    if type(scope) is not Scope:
        raise UsageError(f"{scope!r:.60} is not a scope", hint="make one: Scope(agent=…, tenant=…, user=…)")


def check_attempt(attempt: Attempt, scope: Scope) -> None:
    """Raises `UsageError` for an attempt of another scope."""
    if attempt.scope != scope:
        raise UsageError(f"the attempt is of {attempt.scope}, not of {scope}", hint="commit it in its own scope")


def following(held: Attempt, judged: Attempt) -> Attempt:
    """An attempt that takes the place of a deferred one of its key: it keeps when that was judged."""
    return replace(judged, earlier=(*held.earlier, (held.at, held.proposed or held.id, held.evidence)))


def check_case(feedback: Feedback, case: Case | None) -> None:
    """Raises `UsageError` for a case of another scope than the feedback that it was made from."""
    if case is not None and case.scope != feedback.scope:
        raise UsageError(f"a case of {case.scope} from feedback in {feedback.scope}", hint="keep both in one scope")


def scored(reading: Reading) -> Reading:
    """A checked reading as a store gives it back. Raises `BadData` for a score outside [0, 1], or none at all."""
    if not 0 <= reading.score <= 1:
        raise BadData(f"the score of episode {reading.episode} is {reading.score}", hint="give a number from 0 to 1")
    return timed(reading)


def key(given: ApiKey) -> ApiKey:
    """A checked key as a store gives it back. Raises `BadData` for a hash that is none, or a right that is unknown."""
    if len(given.hash) != 64 or set(given.hash) - set("0123456789abcdef"):
        raise BadData("the hash of a key is no SHA-256", hint="give 64 hexadecimal digits, and never the secret itself")
    if set(given.rights) - set(RIGHTS):
        raise BadData(f"unknown rights: {sorted(set(given.rights) - set(RIGHTS))}", hint=f"known: {', '.join(RIGHTS)}")
    ends = {name: to_millisecond(end) for name in ("expires", "revoked") if (end := getattr(given, name)) is not None}
    return replace(timed(given), **ends)


def taken(given: ApiKey) -> UsageError:
    """The error for a key whose hash another key has."""
    return UsageError(f"another key than {given.id} has this hash", hint="make a new key: a secret is never shared")


def access(given: Access) -> Access:
    """A checked row of the access log as a store gives it back. Raises `BadData` for what is no id, name or count."""
    for text in (given.id, given.kind, given.object, given.principal, given.agent, given.tenant, given.user):
        if len(text.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES * 3:
            raise BadData(f"{text[:40]!r}… is too long for the access log", hint="it keeps ids and names, never texts")
    if not 0 <= given.count <= MAX_POS:
        raise BadData(f"a count of {given.count}", hint="count what was touched, from 0 up")
    return timed(given)


def check_pseudonym(scope: Scope, pseudonym: str) -> None:
    """Raises `UsageError` for a scope of no user, whose name would be that of everybody, or for an empty pseudonym."""
    check("pseudonym", pseudonym)
    if not scope.user or not pseudonym:
        raise UsageError(f"{scope} is no user's scope, or has no pseudonym", hint="name the user who was erased")


def check_answer(scope: Scope, answer: str, episode: str) -> None:
    """Raises `BadData` for ids that are empty, too long, or no text that can be kept."""
    check("answer", [answer, episode])
    for id in (answer, episode):
        if not id or len(id.encode()) > MAX_ID_BYTES:
            raise BadData(f"{id[:40]!r} is not usable as an id in {scope}", hint=f"ids have 1 to {MAX_ID_BYTES} bytes")


def no_canary(canary: Canary) -> NotFound:
    """The error for a reading of a canary that its scope does not have."""
    return NotFound(f"{canary.scope} has no canary {canary.id}", hint="save the canary before its readings")


def no_case(scope: Scope, case: str) -> NotFound:
    """The error for a case that a scope does not have."""
    return NotFound(f"{scope} has no case {case}", hint="list its cases with Store.cases")
