"""What in a text is personal data or a secret: validated patterns, no model, no dependency.

No detector is a boundary. What keeps one user's data from another is scope and structure; this is what is looked for
before a text is kept or shared, and it finds what has a form. `scan` looks for everything, also in texts that hide it
(see `evasion`); `redacted` is for the hot path: secrets only, as they stand.

Speed comes from where a pattern is looked for: near its signs, near digits, or in long unbroken runs of characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from tokenspace.context.assignments import ASSIGNED, ENTROPY
from tokenspace.context.credentials import FORMS
from tokenspace.context.evasion import Form, decoded, forms
from tokenspace.context.identities import IDENTITIES
from tokenspace.context.patterns import PERSONAL_GENERAL, Pattern, Sort, Where, compiled

CREDENTIALS: Final = (*FORMS, *ASSIGNED)
"""Secrets that are replaced where they are recorded."""
PATTERNS: Final = (*PERSONAL_GENERAL, *IDENTITIES, *CREDENTIALS, ENTROPY)
"""All patterns; several may find the same kind."""
PERSONAL: Final = frozenset(pattern.kind for pattern in PATTERNS if pattern.sort == "personal")
SECRETS: Final = frozenset(pattern.kind for pattern in PATTERNS if pattern.sort == "secret")
_NESTED: Final = (SECRETS - {ENTROPY.kind}) | {"email"}
"""What is looked for in decoded text: little else can be told from chance there."""

_RUN_CHARS: Final = 20
_BEFORE: Final = 64
_Region = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something found at `text[start:end]`; `score` is how sure that is, 0 to 1, by judgement and not measured."""

    kind: str
    start: int
    end: int
    score: float
    sort: Sort


def scan(text: str, *, kinds: Collection[str] | None = None) -> list[Finding]:
    """What is found, in the order of the text and without overlaps: the surest, then the longest, wins.

    >>> [(one.kind, one.start, one.end) for one in scan("write to anna@example.org")]
    [('email', 9, 25)]
    """
    plan = _plan(None if kinds is None else frozenset(kinds))
    found = list(_matches(text, plan))
    for form in forms(text):
        found += _back(form, _matches(form.text, plan))
    nested = _plan(_NESTED if kinds is None else _NESTED.intersection(kinds))
    for form in decoded(text) if nested else ():
        found += _back(form, _matches(form.text, nested))
    return _apart(found)


def masked(text: str, findings: Iterable[Finding]) -> str:
    """The text with findings (of `scan`, so in order and apart) replaced by their kinds."""
    return _replaced(text, findings, str)


def words_for(kind: str) -> str:
    """What a kind is in a sentence: "an e-mail address"; the kind itself if it is none of ours."""
    return next((pattern.words for pattern in PATTERNS if pattern.kind == kind), kind)


def _back(form: Form, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings in a form of a text, at their places in the text."""
    for one in findings:
        start, end = form.span(one.start, one.end)
        yield Finding(kind=one.kind, start=start, end=end, score=one.score, sort=one.sort)


def _apart(findings: list[Finding]) -> list[Finding]:
    kept: list[Finding] = []
    taken = bytearray(max((one.end for one in findings), default=0))
    for one in sorted(findings, key=lambda one: (-one.score, one.start - one.end, one.start)):
        if not any(taken[one.start : one.end]):
            kept.append(one)
            taken[one.start : one.end] = b"\1" * (one.end - one.start)
    return sorted(kept, key=lambda one: one.start)


# ── where to look ───────────────────────────────────────────────────────────────────────────


class _Place(NamedTuple):
    """Where patterns are looked for: those that share it share the search for it; the rest is for "near" only."""

    where: Where
    signs: tuple[bytes, ...]
    reach: int
    follow: bytes


_Plan = Mapping[_Place, tuple[Pattern, ...]]


@cache
def _plan(kinds: frozenset[str] | None) -> _Plan:
    return _planned(one for one in PATTERNS if kinds is None or one.kind in kinds)


def _planned(patterns: Iterable[Pattern]) -> _Plan:
    groups = dict[_Place, list[Pattern]]()
    for one in patterns:
        signs = tuple(sign.encode() for sign in one.signs) if one.where == "near" else ()
        groups.setdefault(_Place(one.where, signs, one.reach, one.follow), []).append(one)
    return {key: tuple(group) for key, group in groups.items()}


def _matches(text: str, plan: _Plan) -> Iterator[Finding]:
    raw = _bytes(text)
    lower = raw.lower()
    for place, patterns in plan.items():
        for region, digits in _regions(text, raw, lower, place):
            for pattern in patterns:
                if digits >= pattern.digits if place.where == "number" else _holds(text, region, pattern):
                    yield from _in_region(text, pattern, *region)


def _regions(text: str, raw: bytes, lower: bytes, place: _Place) -> Iterable[tuple[_Region, int]]:
    """Where to look, with how many digits are there if that matters."""
    if place.where == "number":
        return _numbers(text)
    found = _near(lower, place) if place.where == "near" else _runs(raw)
    return ((region, 0) for region in found)


def _in_region(text: str, pattern: Pattern, start: int, end: int) -> Iterator[Finding]:
    for match in pattern.compiled.finditer(text, start, end):
        first, last = match.span(1 if match.re.groups else 0)
        if pattern.valid is not None and not pattern.valid(text[first:last]):
            continue
        if score := pattern.likely(text, first, last):
            yield Finding(kind=pattern.kind, start=first, end=last, score=score, sort=pattern.sort)


def _bytes(text: str) -> bytes:
    """One byte for each character, "?" where it is not ASCII: bytes are searched at the speed of memory."""
    return text.encode("ascii", "replace")


def _holds(text: str, region: _Region, pattern: Pattern) -> bool:
    """Whether a region holds a sign as written; where signs are looked up in lower case that is settled."""
    signs = pattern.signs if pattern.where == "run" else ()
    return not signs or any(text.find(sign, *region) >= 0 for sign in signs)


def _near(lower: bytes, place: _Place) -> list[_Region]:
    found: list[_Region] = []
    follows = _compiled_bytes(place.follow).match
    for sign in place.signs:
        at = lower.find(sign)
        while at >= 0:
            behind = at + len(sign)
            if not place.follow or follows(lower, behind):
                found.append((max(0, at - _BEFORE), behind + place.reach))
            at = lower.find(sign, behind)
    return _joined(found)


@cache
def _compiled_bytes(regex: bytes) -> re.Pattern[bytes]:
    return re.compile(regex)


def _joined(regions: list[_Region]) -> list[_Region]:
    """Regions in order, those that touch made one."""
    joined: list[_Region] = []
    for start, end in sorted(regions):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


_CLASS: Final = bytes(
    120 if chr(code).isascii() and (chr(code).isalnum() or chr(code) in "_-+/=.") else 32 for code in range(256)
)
_LONG: Final = b"x" * _RUN_CHARS


def _runs(raw: bytes) -> list[_Region]:
    """Unbroken runs of at least 20 letters, digits or `_-+/=.`, with what stands around them.

    An expression would take ten times as long to find them.
    """
    mask = raw.translate(_CLASS)
    found: list[_Region] = []
    at = mask.find(_LONG)
    while at >= 0:
        end = mask.find(b" ", at + _RUN_CHARS)
        end = len(mask) if end < 0 else end
        found.append((max(0, at - 1), end + 1))
        at = mask.find(_LONG, end)
    return _joined(found)


_DIGITS: Final = r"[0-9](?:[^0-9\n]{0,4}[0-9]){3,}"


def _numbers(text: str) -> list[tuple[_Region, int]]:
    """Where at least four digits stand close together, with what stands around them; and how many digits."""
    pattern = compiled(_DIGITS, PATTERNS[0].flags)
    near = [(max(0, one.start() - 24), one.end() + 24) for one in pattern.finditer(text)]
    return [((start, end), sum("0" <= char <= "9" for char in text[start:end])) for start, end in _joined(near)]


# ── the hot path: secrets as they stand ─────────────────────────────────────────────────────

_RUN_SIGNS: Final = tuple({sign for one in CREDENTIALS if one.where == "run" for sign in one.signs})
_LONG_CHARS: Final = 256
_MANY: Final = 20_000
_CLEAN: Final[dict[int, None]] = {}
"""Hashes of long texts without secrets: a conversation comes again, whole, with every call. Python salts them."""


_NAMES: Final = ("://", ":aa", "sig=", "accountkey=", "sharedaccesskey=", "token", "secret", "credential", "key")
_BARE: Final = ("private key-----", "private key block-----", "passw", "pwd", "passph", "bearer ", "basic ", "q~")
"""What a text must hold, in lower case, for a pattern that is not looked for in runs; the first with `:` or `=`."""


def _suspects(text: str) -> _Plan:
    """The patterns for secrets that may find something in a text; most texts have none, and are done here."""
    lower = text.lower()
    signs: tuple[str, ...] = ()
    # Written out: this is most of what is done to a text, and a loop would take twice as long.
    if (
        "passw" in lower
        or "pwd" in lower
        or "private key" in lower
        or "bearer " in lower
        or "basic " in lower
        or "passph" in lower
        or "q~" in lower
    ):
        signs = tuple(sign for sign in _BARE if sign in lower)
    if ":" in text or "=" in text:
        signs += tuple(sign for sign in _NAMES if sign in lower)
    if len(text) < _RUN_CHARS or _LONG not in (raw := _bytes(text)).translate(_CLASS):
        return _by_sign(signs) if signs else {}
    runs = " ".join(text[start:end] for start, end in _runs(raw))
    return _by_sign((*signs, *(sign for sign in _RUN_SIGNS if sign in runs)))


@cache
def _by_sign(signs: tuple[str, ...]) -> _Plan:
    return _planned(one for one in CREDENTIALS if not set(signs).isdisjoint(one.signs))


def secret_in(text: str) -> str:
    """What kind of secret a text holds as it stands, in words; "" if none is seen."""
    found = next(_matches(text, _suspects(text)), None)
    return words_for(found.kind) if found else ""


def may_hold_secret(json: str) -> bool:
    """Whether `redacted` might find anything in one of the texts in some JSON; one look for all of them."""
    plan = _suspects(json)
    raw = _bytes(json) if plan else b""
    lower = raw.lower()
    for place, patterns in plan.items():
        regions = [region for region, _ in _regions(json, raw, lower, place)]
        if any(one.loose().search(json, start, end) for one in patterns for start, end in regions):
            return True
    return False


def redacted(text: str) -> str:
    """The text with every secret that is seen replaced by what it was; the same text if there is none.

    >>> redacted("my key is sk-proj-abcdefghijklmnopqrstuvwx1, keep it")
    'my key is [redacted: an API key], keep it'
    """
    known = hash(text) if len(text) >= _LONG_CHARS else None
    if known in _CLEAN:
        return text
    plan = _suspects(text)
    found = _apart(list(_matches(text, plan))) if plan else []
    if found:
        return _replaced(text, found, lambda kind: f"redacted: {words_for(kind)}")
    if known is not None:
        if len(_CLEAN) >= _MANY:
            _CLEAN.clear()
        _CLEAN[known] = None
    return text


def _replaced(text: str, findings: Iterable[Finding], name: Callable[[str], str]) -> str:
    parts: list[str] = []
    at = 0
    for one in findings:
        parts += (text[at : one.start], f"[{name(one.kind)}]")
        at = one.end
    return "".join((*parts, text[at:]))
