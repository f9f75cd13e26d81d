"""Check digits and ranges: what tells a real number from digits that merely look like one.

Every function takes a match as it stands in the text, separators and all, and says whether it can be one. Rules are
those of the issuers: ISO 13616 (IBAN), ISO/IEC 7812 (cards), ISO 7064, Verhoeff (1969), BIP 173 and 350 (bech32), and
the tax, pension and population offices of each country.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

_LENGTHS: Final = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 "
    "EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 "
    "JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 "
    "NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 "
    "TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
IBAN_CHARS: Final = {one[:2]: int(one[2:]) for one in _LENGTHS.split()}
"""How long an IBAN of a country is."""


def digits(value: str) -> str:
    """Only its digits."""
    return "".join(char for char in value if "0" <= char <= "9")


def solid(value: str) -> str:
    """Only its letters and digits, in capitals."""
    return "".join(char for char in value if char.isalnum()).upper()


def weighted(number: str, weights: Sequence[int]) -> int:
    """The sum of digits times weights, as far as the shorter goes."""
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False))


def is_day(year: int, month: int, day: int) -> bool:
    """Whether the calendar has that day."""
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _short_day(number: str) -> bool:
    """YYMMDD; the century is not said, and 2000 has a 29th of February."""
    return is_day(2000 + int(number[:2]), int(number[2:4]), int(number[4:6]))


def _day_first(number: str) -> bool:
    """DDMMYY."""
    return _short_day(number[4:6] + number[2:4] + number[:2])


# ── money ───────────────────────────────────────────────────────────────────────────────────


def luhn(value: str) -> bool:
    """The Luhn check.

    >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
    (True, False)
    """
    total = 0
    for place, char in enumerate(reversed(digits(value))):
        number = int(char) * (1 + place % 2)
        total += number - 9 * (number > 9)
    return total % 10 == 0


_NETWORKS: Final[tuple[tuple[int, int, range], ...]] = (
    (400000, 499999, range(13, 20, 3)), (510000, 559999, range(16, 17)), (222100, 272099, range(16, 17)),
    (340000, 349999, range(15, 16)), (370000, 379999, range(15, 16)), (601100, 601199, range(16, 20)),
    (644000, 659999, range(16, 20)), (352800, 358999, range(16, 20)), (300000, 305999, range(14, 20)),
    (360000, 369999, range(14, 20)), (380000, 399999, range(14, 20)), (620000, 629999, range(16, 20)),
    (220000, 220499, range(16, 20)), (500000, 509999, range(12, 20)), (560000, 589999, range(12, 20)),
    (630000, 639999, range(12, 20)), (670000, 679999, range(12, 20)),
)  # fmt: skip
"""Visa, Mastercard, American Express, Discover, JCB, Diners, UnionPay, Mir and Maestro: first six digits, lengths."""


def card(value: str) -> bool:
    """A number of a card network, of a length that it gives out, that passes Luhn, and not all the same digit."""
    number = digits(value)
    first = int(number[:6])
    known = any(low <= first <= high and len(number) in lengths for low, high, lengths in _NETWORKS)
    return known and len(set(number)) > 1 and luhn(number)


def iban(value: str) -> bool:
    """Modulo 97 over the letters as numbers, and the length of its country."""
    text = solid(value)
    if IBAN_CHARS.get(text[:2]) != len(text) or not text.isascii():
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


# ── networks and wallets ────────────────────────────────────────────────────────────────────


def ipv4(value: str) -> bool:
    """An address that may be somebody's: not a mask, loopback, multicast or the like."""
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return not (
        address.is_loopback or address.is_multicast or address.is_unspecified or value.startswith(("0.", "255."))
    )


def ipv6(value: str) -> bool:
    """An address that may be somebody's; shorter ones must say at least three groups, since `a::b` is much else."""
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified) and len(re.findall(r"[0-9A-Fa-f]+", value)) >= 3


def mac(value: str) -> bool:
    """Not all the same pair: those are masks and examples."""
    text = solid(value)
    return len({text[at : at + 2] for at in range(0, len(text), 2)}) > 1


_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58check(value: str) -> bool:
    """The last four bytes are the first of a double SHA-256 of what is before."""
    number = 0
    for char in value:
        number = number * 58 + _BASE58.index(char)
    if number.bit_length() > 200:
        return False
    raw = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def bech32(value: str) -> bool:
    """The BCH code of BIP 173, or with the constant of BIP 350."""
    head, _, data = value.lower().rpartition("1")
    if not head or any(char not in _BECH32 for char in data):
        return False
    values = [ord(char) >> 5 for char in head] + [0] + [ord(char) & 31 for char in head]
    check = 1
    for number in values + [_BECH32.index(char) for char in data]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ number
        for bit, word in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= word if top >> bit & 1 else 0
    return check in (1, 0x2BC830A3)


# ── people, by country ──────────────────────────────────────────────────────────────────────


def us_ssn(value: str) -> bool:
    """Areas 000, 666 and 900 to 999, group 00 and serial 0000 are not given out."""
    number = digits(value)
    return number[:3] not in ("000", "666") and number[0] != "9" and number[3:5] != "00" and number[5:] != "0000"


def us_itin(value: str) -> bool:
    """Begins with 9; the group is 50 to 65, 70 to 88, 90 to 92 or 94 to 99."""
    group = int(digits(value)[3:5])
    return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or group >= 94


def uk_nhs(value: str) -> bool:
    """Weights 10 to 2, modulo 11."""
    number = digits(value)
    return 11 - weighted(number, range(10, 1, -1)) % 11 in (int(number[9]), 11 if number[9] == "0" else -1)


def de_tax_id(value: str) -> bool:
    """ISO 7064 MOD 11,10; among the first ten digits exactly one comes twice or thrice."""
    number = digits(value)
    counts = sorted(Counter(number[:10]).values())
    if number[0] == "0" or counts[-1] not in (2, 3) or counts[-2] != 1:
        return False
    product = 10
    for char in number[:10]:
        product = ((int(char) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(number[10])


def fr_nir(value: str) -> bool:
    """The key is 97 less the rest by 97; Corsica's 2A and 2B count as 19 and 18."""
    text = solid(value)
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(text[13:])


_ODD: Final = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def it_fiscal_code(value: str) -> bool:
    """Odd places by a table, even ones as they are, modulo 26 as a letter."""
    text = value.upper()
    places = [int(char) if char.isdigit() else ord(char) - 65 for char in text[:15]]
    total = sum(_ODD[number] if place % 2 == 0 else number for place, number in enumerate(places))
    return chr(65 + total % 26) == text[15]


def es_dni(value: str) -> bool:
    """The letter is the number modulo 23; X, Y and Z of a foreigner's count as 0, 1 and 2."""
    text = solid(value)
    number = text[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def nl_bsn(value: str) -> bool:
    """Weights 9 to 2 and -1, modulo 11."""
    number = digits(value)
    return weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and len(set(number)) > 1


def be_nrn(value: str) -> bool:
    """97 less the rest by 97, with a 2 before it for those born since 2000."""
    number = digits(value)
    return any(97 - int(century + number[:9]) % 97 == int(number[9:]) for century in ("", "2"))


def pl_pesel(value: str) -> bool:
    """A day whose month says the century, and weights 1, 3, 7, 9."""
    number = digits(value)
    month = int(number[2:4]) % 20
    day = is_day(2000 + int(number[:2]), month, int(number[4:6])) if 1 <= month <= 12 else False
    return day and (weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) + int(number[10])) % 10 == 0


def pt_nif(value: str) -> bool:
    """Weights 9 to 2, modulo 11."""
    number = digits(value)
    rest = weighted(number, range(9, 1, -1)) % 11
    return number[0] not in "04" and int(number[8]) == (0 if rest < 2 else 11 - rest)


def se_personnummer(value: str) -> bool:
    """A day (60 is added to it for coordination numbers) and Luhn over the ten last digits."""
    number = digits(value)[-10:]
    day = int(number[4:6])
    return _short_day(f"{number[:4]}{day - 60 if day > 60 else day:02}") and luhn(number)


def fi_hetu(value: str) -> bool:
    """A day, and the number modulo 31 as a character."""
    number = value[:6] + value[7:10]
    return _day_first(number) and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(number) % 31] == value[10].upper()


def dk_cpr(value: str) -> bool:
    """A day; its check digit is no longer given out."""
    return _day_first(digits(value))


def no_fnr(value: str) -> bool:
    """A day (40 is added to it for foreigners) and two check digits modulo 11."""
    number = digits(value)
    day = int(number[:2])
    first = weighted(number, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11
    second = weighted(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11
    return _day_first(f"{day - 40 if day > 40 else day:02}{number[2:6]}") and first == second == 0


def ean13(value: str) -> bool:
    """Weights 1 and 3 in turn, modulo 10: Swiss AHV numbers."""
    return weighted(digits(value), (1, 3) * 6 + (1,)) % 10 == 0


def at_svnr(value: str) -> bool:
    """The fourth digit checks the others, modulo 11; the last six are a day, or nearly one."""
    number = digits(value)
    return weighted(number, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11 == int(number[3]) and int(number[4:6]) <= 31


def cz_rodne(value: str) -> bool:
    """A day (50 is added to a woman's month); with ten digits divisible by 11."""
    number = digits(value)
    month = int(number[2:4]) % 50
    return _short_day(f"{number[:2]}{month % 20 or month:02}{number[4:6]}") and (
        len(number) == 9 or int(number) % 11 == 0
    )


def ie_pps(value: str) -> bool:
    """Weights 8 to 2, and 9 for a second letter, modulo 23 as a letter."""
    text = solid(value)
    total = weighted(text[:7], range(8, 1, -1)) + (9 * (ord(text[8]) - 64) if text[8:] and text[8] != "W" else 0)
    return "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] == text[7]


def ca_sin(value: str) -> bool:
    """Luhn; none begins with 8."""
    return digits(value)[0] != "8" and luhn(value)


def au_tfn(value: str) -> bool:
    """Weights 1, 4, 3, 7, 5, 8, 6, 9, 10, modulo 11."""
    return weighted(digits(value), (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def au_medicare(value: str) -> bool:
    """Weights 1, 3, 7, 9 over eight digits, modulo 10, is the ninth."""
    number = digits(value)
    return weighted(number, (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(number[8])


_MULTIPLY: Final = tuple(
    tuple((a + b) % 5 if a < 5 and b < 5 else (a + b) % 5 + 5 if a < 5 else (a - b) % 5 + 5 if b < 5 else (a - b) % 5
          for b in range(10)) for a in range(10)
)  # fmt: skip
"""The dihedral group of order ten."""
_PERMUTE: Final = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def verhoeff(value: str) -> bool:
    """Verhoeff's check, of Indian Aadhaar numbers.

    >>> verhoeff("2363"), verhoeff("2336")
    (True, False)
    """
    check = 0
    for place, char in enumerate(reversed(digits(value))):
        number = int(char)
        for _ in range(place % 8):
            number = _PERMUTE[number]
        check = _MULTIPLY[check][number]
    return check == 0


def _modulo_11(number: str, weights: Sequence[int]) -> int:
    rest = weighted(number, weights) % 11
    return 0 if rest < 2 else 11 - rest


def br_cpf(value: str) -> bool:
    """Two check digits modulo 11."""
    number = digits(value)
    first, second = _modulo_11(number, range(10, 1, -1)), _modulo_11(number, range(11, 1, -1))
    return len(set(number)) > 1 and number[9:] == f"{first}{second}"


def br_cnpj(value: str) -> bool:
    """Two check digits modulo 11."""
    number = digits(value)
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    first, second = _modulo_11(number, weights[1:]), _modulo_11(number, weights)
    return len(set(number)) > 1 and number[12:] == f"{first}{second}"


def mx_curp(value: str) -> bool:
    """Places in an alphabet with Ñ, weights 18 to 2, modulo 10."""
    order = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    text = value.upper()
    total = sum(order.index(char) * (18 - place) for place, char in enumerate(text[:17]))
    return (10 - total % 10) % 10 == int(text[17])


def cn_resident(value: str) -> bool:
    """ISO 7064 MOD 11-2 over 17 digits, and a day."""
    number = digits(value[:17])
    rest = weighted(number, [2 ** (17 - place) % 11 for place in range(17)]) % 11
    return (
        is_day(int(number[6:10]), int(number[10:12]), int(number[12:14])) and "10X98765432"[rest] == value[17].upper()
    )


def kr_rrn(value: str) -> bool:
    """A day; since 2020 there is no check digit."""
    return _short_day(digits(value))


def sg_nric(value: str) -> bool:
    """Weights 2, 7, 6, 5, 4, 3, 2, modulo 11 as a letter by series."""
    text = value.upper()
    total = weighted(text[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(text[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "KLJNPQRTUWX"}.get(text[0], "XWUTRQPNMLK")
    return letters[10 - total % 11 if text[0] == "M" else total % 11] == text[8]


def za_id(value: str) -> bool:
    """A day and Luhn."""
    return _short_day(digits(value)) and luhn(value)


def tr_tckn(value: str) -> bool:
    """Two check digits modulo 10."""
    number = [int(char) for char in digits(value)]
    tenth = (7 * sum(number[0:9:2]) - sum(number[1:8:2])) % 10
    return number[9] == tenth and sum(number[:10]) % 10 == number[10]


def vin(value: str) -> bool:
    """The ninth character checks the seventeen (ISO 3779 as used in North America)."""
    codes = dict(
        zip(
            "ABCDEFGHJKLMNPRSTUVWXYZ",
            (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9),
            strict=True,
        )
    )
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    total = sum(
        codes.get(char, int(char) if char.isdigit() else 0) * weight
        for char, weight in zip(value.upper(), weights, strict=True)
    )
    return "0123456789X"[total % 11] == value[8].upper()


def any_of(*checks: Callable[[str], bool]) -> Callable[[str], bool]:
    """Whether one of several checks holds."""
    return lambda value: any(check(value) for check in checks)
