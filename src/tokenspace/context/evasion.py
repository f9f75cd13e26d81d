"""Other ways to write the same text, read back: what is looked for in a text must be looked for in these, too.

Every form knows which part of the original each of its characters came from. One level only: base64 of base64 is not
read. Whoever wants to hide something can; this is for what is hidden by habit, by a template, or by a first try.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_SPACED: Final = re.compile(r"(?<![^\s])[A-Za-z0-9@+](?:[ ._*|,/-]{1,3}[A-Za-z0-9@.+_-](?![A-Za-z0-9])){7,}")
"""At least eight characters, one at a time, with something between them."""
_AT: Final = re.compile(
    r" ?[\[({<] ?(at|dot|punkt|point|arroba|@|\.) ?[\])}>] ?"
    r"| (at|AT) (?=[\w-]{1,64}(?: (?:dot|DOT) | ?[\[(] ?(?:dot|\.)))"
    r"| (dot|DOT) "
)
_ESCAPED: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+|&#(?:x[0-9A-Fa-f]{1,6}|[0-9]{1,7});|\\u[0-9A-Fa-f]{4}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX: Final = re.compile(
    r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}){10,}(?![0-9A-Fa-f])|\b[0-9A-Fa-f]{2}(?:[ :][0-9A-Fa-f]{2}){9,}\b"
)
_MOST_CHARS: Final = 1_000_000
"""Longer blobs are pictures and archives."""


@dataclass(frozen=True, slots=True)
class Form:
    """A text read from another; character `i` came from `[starts[i], ends[i])` of that."""

    text: str
    starts: list[int]
    ends: list[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]` stands in the original; the text has at least one character there."""
        return min(self.starts[start:end]), max(self.ends[start:end])


def forms(text: str) -> Iterator[Form]:
    """The text without disguise of its characters, where that makes a difference."""
    form = folded(text)
    if form is not None:
        yield form
    base = form or Form(text, list(range(len(text))), list(range(1, len(text) + 1)))
    for found in (_edited(base, _SPACED, _unspaced), _edited(base, _AT, _respelled)):
        if found is not None:
            yield found


def folded(text: str) -> Form | None:
    """Compatibility forms (NFKC), digits of all scripts as ours, nothing invisible; None if nothing changes."""
    if text.isascii():
        return None
    chars: list[str] = []
    starts: list[int] = []
    for at, char in enumerate(text):
        new = char if char.isascii() else plain(char)
        chars += new
        starts += [at] * len(new)
    joined = "".join(chars)
    return Form(joined, starts, [at + 1 for at in starts]) if joined != text else None


def plain(char: str) -> str:
    r"""One character without disguise; "" if it is invisible.

    >>> plain("４"), plain("٤"), plain("\u200b"), plain("é")
    ('4', '4', '', 'é')
    """
    code = ord(char)
    if unicodedata.category(char) == "Cf" or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or code == 0x34F:
        return ""
    digit = unicodedata.decimal(char, None)
    return str(digit) if digit is not None else _DASHES.get(char) or unicodedata.normalize("NFKC", char)


_DASHES: Final = dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")


def _edited(
    base: Form, pattern: re.Pattern[str], change: Callable[[re.Match[str]], list[tuple[str, int, int]]]
) -> Form | None:
    """A form with every match changed into pieces: a text with the part of the match that it came from."""
    chars: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for match in pattern.finditer(base.text):
        chars.append(base.text[at : match.start()])
        starts += base.starts[at : match.start()]
        ends += base.ends[at : match.start()]
        for piece, first, last in change(match):
            chars.append(piece)
            starts += [base.starts[first]] * len(piece)
            ends += [base.ends[last - 1]] * len(piece)
        at = match.end()
    if not at:
        return None
    return Form("".join((*chars, base.text[at:])), starts + base.starts[at:], ends + base.ends[at:])


def _unspaced(match: re.Match[str]) -> list[tuple[str, int, int]]:
    """Every second thing: what stands between the characters goes."""
    text, start = match[0], match.start()
    kept = [at for at in range(len(text)) if at == 0 or text[at].isalnum() or text[at] in "@+" or _is_own(text, at)]
    return [(text[at], start + at, start + at + 1) for at in kept]


def _is_own(text: str, at: int) -> bool:
    """A mark between two gaps is one of the characters: "a @ b . c"."""
    return text[at - 1] == " " and text[at + 1 : at + 2] in (" ", "") and text[at] != " "


def _respelled(match: re.Match[str]) -> list[tuple[str, int, int]]:
    word = (match[1] or match[2] or match[3]).lower()
    return [("@" if word in ("at", "arroba", "@") else ".", match.start(), match.end())]


def decoded(text: str) -> Iterator[Form]:
    """What is encoded in the text, decoded once: percent and character escapes, base64, hexadecimal."""
    if "%" in text or "&#" in text or "\\u" in text:
        whole = Form(text, list(range(len(text))), list(range(1, len(text) + 1)))
        form = _edited(whole, _ESCAPED, _unescaped)
        if form is not None:
            yield form
    for pattern, read in ((_BASE64, _from_base64), (_HEX, _from_hex)):
        for match in pattern.finditer(text):
            found = read(match[0]) if len(match[0]) <= _MOST_CHARS else ""
            if found:
                yield Form(found, [match.start()] * len(found), [match.end()] * len(found))


def _unescaped(match: re.Match[str]) -> list[tuple[str, int, int]]:
    text = match[0]
    if text[0] == "%":
        raw = bytes.fromhex(text.replace("%", ""))
        if raw.isascii():
            return [(chr(byte), match.start() + 3 * at, match.start() + 3 * at + 3) for at, byte in enumerate(raw)]
        return [(raw.decode("utf-8", "replace"), match.start(), match.end())]
    digits = text.strip("&#;\\u")
    code = int(digits.lstrip("xX"), 10 if text[0] == "&" and digits[0] not in "xX" else 16)
    usable = code < 0x110000 and not 0xD800 <= code < 0xE000
    return [(chr(code) if usable else "\N{REPLACEMENT CHARACTER}", match.start(), match.end())]


def _from_base64(text: str) -> str:
    bare = text.rstrip("=").translate(_STANDARD)
    for cut in (bare, bare[: len(bare) // 4 * 4]):
        try:
            return _readable(base64.b64decode(cut + "=" * (-len(cut) % 4)))
        except binascii.Error:
            continue
    return ""


_STANDARD: Final = str.maketrans("-_", "+/")


def _from_hex(text: str) -> str:
    return _readable(bytes.fromhex(text.replace(":", " ")))


def _readable(raw: bytes) -> str:
    """The text that bytes are, "" if they are none: random bytes are hardly ever all printable."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return ""
    good = sum(char.isprintable() or char in "\n\r\t" or unicodedata.category(char) == "Cf" for char in text)
    return text if text and good == len(text) else ""


# ── strings that must not be there ──────────────────────────────────────────────────────────


def holds_any(text: str, strings: Iterable[str]) -> tuple[str, ...]:
    """Those of some strings that a text holds: as they stand, in disguise, or encoded once.

    In disguise: other case, compatibility forms, invisible characters, any spaces or marks between the characters,
    backwards, ROT13. Encoded: base64 (also as part of a longer one), hexadecimal, percent and character escapes.
    Strings with fewer than six letters and digits are looked for as words only, in any case and form.

    >>> holds_any("the code is b l u e - H E R O N 7", ["blueheron7", "redheron7"])
    ('blueheron7',)
    """
    wanted = [string for string in strings if string]
    if not wanted:
        return ()
    views = [text, *(form.text for form in decoded(text))]
    words = [f" {' '.join(_WORD.findall(_bare(view)))} " for view in views]
    tight = [view.replace(" ", "") for view in words]
    raw = _NOT_BASE64.sub("", text)
    return tuple(string for string in wanted if _holds(string, text, words, tight, raw))


_WORD: Final = re.compile(r"[^\W_]+")
_NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/_-]")
_SHORT_CHARS: Final = 6


def _bare(text: str) -> str:
    form = folded(text)
    return (form.text if form else text).casefold()


def _holds(string: str, text: str, words: list[str], tight: list[str], raw: str) -> bool:
    bare = _WORD.findall(_bare(string))
    core = "".join(bare)
    if bare and len(core) < _SHORT_CHARS:
        return any(f" {' '.join(bare)} " in view for view in words)
    if string in text or not core:
        return string in text
    looks = (core, core[::-1], codecs.encode(core, "rot13"))
    if any(look in view for look in looks for view in tight):
        return True
    codes = {code for way in (string, string.lower(), string.upper()) for code in _base64_codes(way)}
    return any(code in raw or code.translate(_URL) in raw for code in codes)


_URL: Final = str.maketrans("+/", "-_")


def _base64_codes(string: str) -> Iterator[str]:
    """What base64 of any longer text with this string in it must hold, for each of the three places it can begin at."""
    raw = string.encode("utf-8", "replace")
    for before in range(3):
        code = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        first = (before * 8 + 5) // 6
        last = (before + len(raw)) * 8 // 6
        if last - first >= _SHORT_CHARS:
            yield code[first:last]
