"""What looks like a secret: nothing that is learned may hold one, and nothing that is recorded keeps one.

No detector is a boundary: these are the forms that providers give their keys on purpose, so that they are found.
"""

from __future__ import annotations

import re
from typing import Final

SECRETS: Final = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a cloud access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "an API key": re.compile(r"\b(?:t?sk|pk|rk)[-_](?:live|test|ant|proj|or)?[-_]?[A-Za-z0-9_-]{20,}"),
    "an access token": re.compile(r"\b(?:ghp|gho|ghs|github_pat|glpat|xox[abprs])[-_][A-Za-z0-9_-]{16,}"),
    "a signed web token": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
}
"""Patterns by what they find, in words."""

_SIGNS: Final = {
    "a private key": ("PRIVATE KEY-----",),
    "a cloud access key": ("AKIA", "ASIA"),
    "an API key": ("sk-", "sk_", "pk-", "pk_", "rk-", "rk_"),
    "an access token": ("ghp", "gho", "ghs", "github_pat", "glpat", "xox"),
    "a signed web token": (".eyJ",),
}
"""What a text must hold for a pattern to find anything in it: looking for that is thirty times as quick."""

_WHOLE: Final = {
    **SECRETS,
    # The key itself stands behind the line that gives it away.
    "a private key": re.compile(
        SECRETS["a private key"].pattern + r"(?:[\s\S]{0,16384}?-----END [A-Z ]*PRIVATE KEY-----|[A-Za-z0-9+/=\s\\]*)"
    ),
}


_LONG_CHARS: Final = 256
_MANY: Final = 20_000
_CLEAN: Final[dict[int, None]] = {}
"""Hashes of long texts without secrets: a conversation comes again, whole, with every call. Python salts them."""


def secret_in(text: str) -> str:
    """What kind of secret a text holds, in words; "" if none is seen."""
    return next((name for name, pattern in SECRETS.items() if _may_hold(name, text) and pattern.search(text)), "")


def redacted(text: str) -> str:
    """The text with every secret that is seen replaced by what it was; the same text if there is none.

    >>> redacted("my key is sk-proj-abcdefghijklmnopqrstuvwx, keep it")
    'my key is [redacted: an API key], keep it'
    """
    known = hash(text) if len(text) >= _LONG_CHARS else None
    if known in _CLEAN:
        return text
    before = text
    for name, pattern in _WHOLE.items():
        if _may_hold(name, text):
            text = pattern.sub(f"[redacted: {name}]", text)
    if known is not None and text == before:
        if len(_CLEAN) >= _MANY:
            _CLEAN.clear()
        _CLEAN[known] = None
    return text


def _may_hold(name: str, text: str) -> bool:
    return any(sign in text for sign in _SIGNS[name])
