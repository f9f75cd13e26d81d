"""What personal data look like: contact, money, networks. `identities` has numbers of people, `credentials` keys.

A pattern is a regular expression that takes time linear in the text (every repeat is bounded, or starts only where
nothing of its kind stands before), what a match must also satisfy, and words that make it more likely or are needed.
Each carries one text in which it finds something and one that is near and in which it does not; a test tries both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from tokenspace.context import checksums as check

Sort = Literal["personal", "secret"]
Where = Literal["near", "number", "run"]

EDGE: Final = r"(?<![A-Za-z0-9_])"
"""Nothing that belongs to a word stands before; taken off where a text is read as JSON, with its escapes."""
END: Final = r"(?![A-Za-z0-9_])"
NUMBER: Final = r"(?<![A-Za-z0-9_])(?<!\d[.,:/-])"
"""Not in the middle of a word, a decimal, a date or another number."""
NUMBER_END: Final = r"(?![A-Za-z0-9_])(?![.,:/-]\d)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pattern:
    """One form of one kind of personal data or secret.

    `score` is how sure a match is (0 to 1) when a word of `context` stands before it, or of `label` (if empty: of
    `context`) right behind it, or when none is asked for; `alone` is how sure it is without. Group 1 of the expression,
    if it has one, is what is found. `where` it is looked for: "near" one of its `signs` (there in lower case, as they
    are then looked for; up to `reach` characters behind it, if `follow` matches there); near a "number" with at least
    `digits` digits; or in a "run" of 20 or more letters, digits and `_-+/=.` that holds one of the `signs`, if any, as
    written. `words` say what it is in a sentence.
    """

    kind: str
    words: str
    sort: Sort = "personal"
    regex: str
    score: float = 0.9
    alone: float | None = None
    context: str = ""
    label: str = ""
    valid: Callable[[str], bool] | None = None
    where: Where = "number"
    digits: int = 4
    signs: tuple[str, ...] = ()
    reach: int = 192
    follow: bytes = b""
    flags: re.RegexFlag = re.ASCII
    yes: str
    no: str

    @property
    def compiled(self) -> re.Pattern[str]:
        """The expression; made when it is first used, for a hundred of them take a while."""
        return compiled(self.regex, self.flags)

    def loose(self) -> re.Pattern[str]:
        """What finds at least as much in the JSON of a text, where an escape may stand before a match."""
        return compiled(self.regex.removeprefix(EDGE), self.flags)

    def likely(self, text: str, start: int, end: int) -> float:
        """How sure a match at that place is, by the words around it; 0 for not at all."""
        if not self.context:
            return self.score
        before, after = _around(self.context, self.label)
        near = before.search(text, max(0, start - BEFORE_CHARS), start) or after.match(text, end, end + AFTER_CHARS)
        return self.score if near else self.alone or 0.0


BEFORE_CHARS: Final = 56
AFTER_CHARS: Final = 24


@cache
def compiled(regex: str, flags: re.RegexFlag) -> re.Pattern[str]:
    """An expression, compiled once."""
    return re.compile(regex, flags)


@cache
def _around(words: str, label: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Words before a match, and words right behind it as a label: "…-Office", "… (mobile)"."""
    return (
        re.compile(rf"(?<![^\W_])(?:{words})(?![a-z])", re.IGNORECASE),
        re.compile(rf"[ \t]?[-–(,]?[ \t]?(?:{label or words})(?![a-z])", re.IGNORECASE),
    )


_PHONE: Final = (
    r"(?:tele|smart)?phone(?: number| no\.?)?|tel(?:\.|efon(?:nummer)?|éfono|efono|éphone|\. ?nr\.?)?|mobile?|móvil|fax"
    r"|cell(?:ular|ulare|phone)?|call(?:ed|ing|s)?(?! an? )|dial|ring|reach(?:ed)?|answering|text(?: me)?|sms|whatsapp"
    r"|hotline|landline|handy|numéro|número|numero|rufnummer|contact|telefone|telefoon"
)
_PHONE_LABEL: Final = r"office|fax|mobile|cell|phone|home|work|direct|landline"
_NANP: Final = r"(?:\(\d{3}\)[ -]?|\d{3}[-. ])\d{3}[-. ]\d{4}"
_EXTENSION: Final = r"(?: ?(?:x|ext\.? ?)\d{1,6})?"
_SPACED: Final = r"(?:\(\d{1,5}\)[ ]?|\d{1,5}[ .\-/]{1,2})\d{2,9}(?:[ .\-]\d{2,5}){0,4}"
_WALLET: Final = r"wallet|address|bitcoin|btc|ethereum|eth|ether|crypto|litecoin|ltc|doge|send|pay"


def _is_phone(least: int, most: int) -> Callable[[str], bool]:
    """Enough digits, not all the same, and not a date; an extension does not count."""
    no = re.compile(r"(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](?:19|20)\d\d")

    def valid(value: str) -> bool:
        number = check.digits(re.split(r" ?(?:x|ext)", value)[0])
        return least <= len(number) <= most and len(set(number)) > 1 and not no.fullmatch(value)

    return valid


CONTACT: Final = (
    Pattern(
        kind="email",
        words="an e-mail address",
        where="near",
        signs=("@",),
        score=0.95,
        flags=re.NOFLAG,
        regex=r"(?<![\w.+%'-])[\w](?:[\w.+%'-]{0,62}[\w+-])?@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}[^\W\d_]{2,24}(?![\w-])",
        yes="write to anna.muster+shop@mail.example.co.uk today",
        no="meet @home or anna@localhost, price 3@5.00",
    ),
    Pattern(
        kind="phone",
        words="a phone number",
        digits=7,
        score=0.9,
        valid=_is_phone(8, 15),
        regex=r"(?<![\w+])(\+[1-9]\d{0,2}(?:[ .\-/]{0,2}\(?\d{1,5}\)?){1,6}" + _EXTENSION + ")" + END,
        yes="it is +49 (30) 1234-5678",
        no="the sum is +12 345",
    ),
    Pattern(
        kind="phone",
        words="a phone number",
        digits=9,
        score=0.85,
        valid=_is_phone(11, 17),
        regex=NUMBER + r"(00[1-9]\d{0,2}(?:[ .\-/]\(?\d{1,5}\)?){2,6}" + _EXTENSION + ")" + END,
        yes="it is 001-748-088-2851x818",
        no="part 00123456789012345",
    ),
    Pattern(
        kind="phone",
        words="a phone number",
        digits=10,
        score=0.85,
        alone=0.7,
        context=_PHONE,
        label=_PHONE_LABEL,
        valid=lambda value: _is_phone(10, 10)(value) and not {"0", "1"} & {(n := check.digits(value))[0], n[3]},
        regex=NUMBER + "(" + _NANP + _EXTENSION + ")" + END,
        yes="it is (978) 645-9740",
        no="part 078-145-9740 and 978-645-97401",
    ),
    Pattern(
        kind="phone",
        words="a phone number",
        digits=10,
        score=0.7,
        regex=NUMBER + r"(0[1-9](?:[ .]\d\d){4})" + NUMBER_END,
        yes="c'est le 06 12 34 56 78",
        no="1 06 12 34 56 781",
    ),
    Pattern(
        kind="phone",
        words="a phone number",
        digits=10,
        score=0.7,
        regex=NUMBER
        + r"(07\d{3}[ ]?\d{3}[ ]?\d{3}|020 [3789]\d{3} \d{4}|01\d{2} \d{3} \d{4}|01\d{3} \d{6})"
        + NUMBER_END,
        yes="it is 07700 900123",
        no="item 017009001234",
    ),
    Pattern(
        kind="phone",
        words="a phone number",
        digits=6,
        score=0.85,
        context=_PHONE,
        label=_PHONE_LABEL,
        valid=_is_phone(6, 13),
        regex=NUMBER + r"(?<![+.])(" + _SPACED + _EXTENSION + r"|\d{7,12})" + END,
        yes="call 061 51 81",
        no="the order 061 51 81",
    ),
    Pattern(
        kind="birth_date",
        words="a date of birth",
        digits=4,
        score=0.8,
        where="number",
        context=r"born|birth(?:day|date)?|dob|d\.o\.b\.|geboren|geburtsdatum|geb\.|née?|nacid[oa]|nacimiento",
        regex=NUMBER + r"(\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d\d|(?:19|20)\d\d-\d\d-\d\d"
        r"|\d{1,2}\.? [A-Z][a-zéûäç]{2,8} (?:19|20)\d\d|[A-Z][a-z]{2,8} \d{1,2}(?:st|nd|rd|th)?,? (?:19|20)\d\d)" + END,
        flags=re.NOFLAG,
        yes="she was born on 14 March 1979",
        no="the talk is on 14 March 2031",
    ),
)

_GROUPS: Final = {
    length: "|".join(sorted(code for code, chars in check.IBAN_CHARS.items() if chars == length))
    for length in sorted(set(check.IBAN_CHARS.values()))
}
_IBAN: Final = "|".join(
    rf"(?:{codes})[ -]?\d\d(?:[ -]?[A-Za-z0-9]){{{length - 4}}}" for length, codes in _GROUPS.items()
)

MONEY: Final = (
    Pattern(
        kind="iban",
        words="a bank account (IBAN)",
        digits=6,
        score=0.98,
        valid=check.iban,
        flags=re.ASCII | re.IGNORECASE,
        regex=EDGE + rf"(?=[A-Z]{{2}}[ -]?\d\d)((?:{_IBAN}))" + END,
        yes="pay to DE89 3704 0044 0532 0130 00 now",
        no="pay to DE88 3704 0044 0532 0130 00 now",
    ),
    Pattern(
        kind="card",
        words="a payment card",
        digits=12,
        score=0.95,
        valid=check.card,
        regex=NUMBER
        + r"(\d{4}([ .-]?)\d{4}\2\d{4}\2\d{1,4}(?:\2\d{1,3})?|3\d{3}([ .-]?)\d{6}\3\d{4,5}|\d{12,19})"
        + NUMBER_END,
        yes="my card 4111 1111 1111 1111 expires 12/31",
        no="my card 4111 1111 1111 1112, order 9234567890123456",
    ),
    Pattern(
        kind="wallet",
        words="a wallet",
        digits=2,
        where="run",
        score=0.95,
        valid=check.base58check,
        regex=EDGE + r"([13DLMT][1-9A-HJ-NP-Za-km-z]{25,33})" + END,
        yes="send to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        no="send to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
    ),
    Pattern(
        kind="wallet",
        words="a wallet",
        digits=1,
        where="run",
        score=0.95,
        valid=check.bech32,
        signs=("1",),
        regex=EDGE + r"((?:bc|tb|ltc|BC|TB|LTC)1[02-9ac-hj-np-zAC-HJ-NP-Z]{11,87})" + END,
        yes="send to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        no="send to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp",
    ),
    Pattern(
        kind="wallet",
        words="a wallet",
        where="run",
        score=0.9,
        alone=0.6,
        context=_WALLET,
        signs=("0x",),
        valid=lambda value: len(set(value[2:].lower())) > 6,
        regex=EDGE + r"(0x[0-9a-fA-F]{40})" + END,
        yes="pay 0x" + "52908400098527886E0F7030069857D2E4169EE7",
        no="pay 0x" + "00" * 20,
    ),
)

NETWORK: Final = (
    Pattern(
        kind="ip",
        words="an IP address",
        digits=4,
        score=0.85,
        where="number",
        valid=lambda value: check.ipv4(value) and any(len(part) > 1 for part in value.split(".")),
        regex=r"(?<![A-Za-z0-9_.-])(?<!ersion )(?<!ersion: )(?<!elease )(?<!build )(?<!ection )"
        r"((?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3})(?![A-Za-z0-9_-])(?!\.\d)",
        yes="blocked at 86.231.85.193 today",
        no="version 86.231.85.193, v1.22.3.4, 1.2.3.4, 256.10.10.10, 12.10.1.20.3",
    ),
    Pattern(
        kind="ip",
        words="an IP address",
        where="near",
        signs=(":",),
        score=0.9,
        valid=check.ipv6,
        regex=r"(?<![A-Za-z0-9_.:])((?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}"
        r"|(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}|(?:[0-9A-Fa-f]{1,4}:){1,7}:)(?![A-Za-z0-9_:])",
        yes="from 2001:db8:85a3::8a2e:370:7334 it came",
        no="at 12:30:45 std::vector a::b ::1 1:2:3",
    ),
    Pattern(
        kind="mac",
        words="a MAC address",
        where="near",
        signs=(":", "-"),
        score=0.85,
        valid=check.mac,
        regex=r"(?<![A-Za-z0-9_:-])([0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\2){4}[0-9A-Fa-f]{2})(?![A-Za-z0-9_:-])",
        yes="plug in 00:1b:44:11:3a:b7 please",
        no="mask ff:ff:ff:ff:ff:ff and 00:1b:44:11:3a",
    ),
    Pattern(
        kind="imei",
        words="a device number (IMEI)",
        digits=15,
        score=0.9,
        context=r"imei|device|handset|phone|serial",
        valid=check.luhn,
        regex=NUMBER + r"(\d{2}[ -]?\d{6}[ -]?\d{6}[ -]?\d)" + NUMBER_END,
        yes="IMEI 49-015420-323751-8",
        no="IMEI 49-015420-323751-7",
    ),
    Pattern(
        kind="vin",
        words="a vehicle number",
        digits=4,
        score=0.9,
        valid=check.vin,
        alone=0.55,
        context=r"vin|vehicle|chassis|car",
        regex=EDGE
        + r"(?=[A-Z0-9]{0,16}[A-Z])([A-HJ-NPR-Z0-9]{8}[0-9X][A-HJ-NPR-Z0-9]{2}[A-HJ-NPR-Z0-9]{2}\d{4})"
        + END,
        yes="VIN 1M8GDM9AXKP042788",
        no="VIN 1M8GDM9A1KP042788",
    ),
)

PERSONAL_GENERAL: Final = (*CONTACT, *MONEY, *NETWORK)
