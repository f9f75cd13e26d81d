"""Secrets that have no form of their own: passwords and random strings, seen by the names that they are given to."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from typing import Final

from tokenspace.context.patterns import EDGE, END, Pattern

ACCESS: Final = "an access token"


def entropy(text: str) -> float:
    """Bits per character, by the text's own frequencies (Shannon 1948)."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values()) if text else 0.0


_PLACEHOLDER: Final = re.compile(
    r"(?i)your|(?:my|the|some|an?)[_-]|x{3,}|\*{3,}|\.{3}|change[_-]?me|example|placeholder|redacted|dummy|none|null|true|false"
    r"|undefined|string|process\.env|os\.environ|getenv|secrets?\.|config\.|settings\.|self\.|https?:|(?-i:[A-Z][A-Z0-9_]*$)"
)


def _password(value: str) -> bool:
    """Not a placeholder, a name or a plain word: it holds a digit or a mark that words do not have."""
    plain = _PLACEHOLDER.match(value) if value.upper() != value or value.isupper() else None
    return not plain and bool(re.search(r"[0-9!@#%^&*+?~]", value)) and len(set(value)) > 3


def _quoted(value: str) -> bool:
    """Not a placeholder, and not the name of a kind of value."""
    kinds = {"string", "password", "passwd", "secret", "hidden", "required", "optional", "integer", "boolean"}
    return value.lower() not in kinds and not _PLACEHOLDER.match(value) and len(set(value)) > 3


def _token(value: str) -> bool:
    """Letters and digits in an order that no name has: at least three bits a character."""
    letters, digits = any(char.isalpha() for char in value), sum(char.isdigit() for char in value)
    return not _PLACEHOLDER.match(value) and letters and digits >= 2 and entropy(value) >= 3


def is_random(value: str) -> bool:
    """As unlikely as a key: three kinds of characters and four bits each, or 32 hex digits with three."""
    if re.fullmatch(r"[0-9a-f]{32,128}|[0-9A-F]{32,128}", value):
        return entropy(value) >= 3
    kinds = sum(any(test(char) for char in value) for test in (str.isdigit, str.islower, str.isupper))
    return kinds == 3 and entropy(value) >= 4


def _basic(value: str) -> bool:
    """Base64 of a name, a colon and a password."""
    try:
        return ":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return False


_VALUE: Final = r"[^\s\"'`\\<>,;{}()\[\]$]"
_IS: Final = r"(?:\\?[\"'])?(?: {0,3}(?:=>|:=|==?|:) {0,3}| is:? )"
_NAMES: Final = (
    r"(?:api|access|auth|secret|private|client|signing|encryption|refresh|session|bearer|deploy|bot|webhook|service|master)"
    r"[_ -]?(?:key|token|secret)(?:[_ -]?(?:id|key))?|(?:token|secret|credentials?)"
)
_PASSWORD: Final = r"(?i:pass(?:word|wd|phrase|wort)|pwd)"  # noqa: S105 (what it is called)
_PASSWORD_SIGNS: Final = ("passw", "pwd", "passph")
_TOKEN_SIGNS: Final = ("token", "secret", "credential", "key")

_FOLLOW: Final = rb"[a-z_ -]{0,14}(?:\\?[\"'])?(?: {0,3}[:=]=?>? {0,3}| is:? )(?:\\?[\"'])?[^\s\"'`\\<>,;{}()\[\]$]{5}"
"""A name's end, a sign of assignment, and enough of a value: looked at before anything that takes longer."""

ASSIGNED: Final = (
    Pattern(
        kind="url_password",
        words="a password",
        sort="secret",
        where="near",
        signs=("://",),
        follow=rb"[^\s/:@]{0,64}:[^\s/@]{3,128}@",
        score=0.97,
        regex=r"://[^\s/:@\"'<>\\]{0,64}:([^\s/@\"'<>\\]{3,128})@[A-Za-z0-9\[]",
        valid=lambda value: value[0] not in "${<*",
        yes="postgresql://app:" + "hunter22@db.example/x",
        no="postgresql://app@db.example/x and http://host:8080/@x",
    ),
    Pattern(
        kind="password",
        words="a password",
        sort="secret",
        where="near",
        signs=_PASSWORD_SIGNS,
        follow=_FOLLOW,
        score=0.8,
        valid=_quoted,
        regex=_PASSWORD + _IS + rf"\\?[\"']({_VALUE}{{6,128}})\\?[\"']",
        yes='DB_PASSWORD = "' + 'correcthorse"',
        no='"password": "string", password="your-password"',
    ),
    Pattern(
        kind="password",
        words="a password",
        sort="secret",
        where="near",
        signs=_PASSWORD_SIGNS,
        follow=_FOLLOW,
        score=0.75,
        valid=_password,
        regex=_PASSWORD + _IS + rf"({_VALUE}{{5,128}}[^\s\"'`\\<>,;{{}}()\[\]$.!?:])",
        yes="the password is " + "hunter22!x",
        no="the password is wrong; password=os.environ2; PASSWORD=DB_PASSWORD_2",
    ),
    Pattern(
        kind="token",
        words="a secret",
        sort="secret",
        where="near",
        signs=_TOKEN_SIGNS,
        follow=_FOLLOW,
        score=0.75,
        valid=_token,
        regex=rf"(?i:{_NAMES})" + _IS + r"(?:\\?[\"'])?((?!sk-|eyJ)[A-Za-z0-9_+/=.~-]{12,256})",
        yes="API_KEY=" + "9f8a7b6c5d4e3f2a",
        no="token: tokenizer_v2, api_key=settings.api_key_2, secret is out",
    ),
    Pattern(
        kind="bearer",
        words=ACCESS,
        sort="secret",
        where="near",
        signs=("bearer ",),
        follow=rb"[^\s]{16}",
        score=0.85,
        valid=_token,
        regex=r"[Bb]earer ([A-Za-z0-9_+/=.~-]{16,512})",
        yes="Authorization: Bearer " + "a1B2c3D4" * 4,
        no="the bearer of good news, Bearer authentication_scheme",
    ),
    Pattern(
        kind="basic",
        words="a password",
        sort="secret",
        where="near",
        signs=("basic ",),
        follow=rb"[a-z0-9+/]{8}",
        score=0.85,
        valid=_basic,
        regex=r"[Bb]asic ([A-Za-z0-9+/]{8,256}={0,2})",
        yes="Authorization: Basic dXNlcjpw" + "YXNzd29yZA==",
        no="Basic knowledge of databases",
    ),
)

ENTROPY: Final = Pattern(
    kind="random",
    words="a random string",
    sort="secret",
    where="run",
    score=0.55,
    valid=is_random,
    context=r"\S*(?:key|secret|token|password|credential|auth)\S*",
    regex=EDGE + r"([A-Za-z0-9+/_-]{20,128}={0,2})" + END,
    yes="here is the key " + "q8Zr2Lw9Xk4Tn7Vb1Ms6Pd3H",
    no="the key idea: internationalisation-and-localisation",
)
"""Found by `scan` alone: ids look like keys, so nothing is replaced because of it."""
