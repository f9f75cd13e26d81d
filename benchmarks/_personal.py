"""Invented personal data and secrets with right check digits, in sentences: what a scanner must find.

Check digits are computed here, by the issuers' rules and not by the scanner's code, so that a mistake in one of the
two is seen.
"""

# ruff: noqa: E501 - tables of examples
from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable, Iterator

Draw = random.Random
BASE62 = string.ascii_letters + string.digits


def sentences(count: int, seed: int = 0) -> Iterator[tuple[str, str, str]]:
    """`count` times a kind, a text, and the string in it that must be found; all kinds equally often."""
    draw = Draw(seed)
    kinds = list(MAKERS.items())
    for number in range(count):
        kind, (frames, make) = kinds[number % len(kinds)]
        value = make(draw)
        before, after = draw.choice(frames).split("{}")
        lead = draw.choice(("", "Hello, ", "As agreed: ", "(urgent) ", "Re: your mail\n", "> "))
        tail = draw.choice(("", " Thanks!", " Please confirm.", "\nBest regards", " It was 12:30 on 2024-05-01."))
        yield kind, f"{lead}{before}{value}{after}{tail}", value


def bare(count: int, seed: int = 0) -> Iterator[tuple[str, str, str]]:
    """The same without any word that says what it is: only its form can tell."""
    for kind, text, value in sentences(count, seed):
        yield kind, text if kind == "url_password" else f"So it was {value} in the end.", value


def numbers(count: int, seed: int = 0) -> Iterator[str]:
    """Sentences with numbers that are nobody's: orders, parts, sums, of 5 to 16 random digits."""
    draw = Draw(seed)
    for _ in range(count):
        frame = draw.choice(
            ("order {} was shipped", "part no. {} is out of stock", "ticket {}: closed", "we counted {}")
        )
        yield frame.format(draw.choice("123456789") + _digits(draw, draw.randint(4, 15)))


def _digits(draw: Draw, count: int) -> str:
    return "".join(draw.choice(string.digits) for _ in range(count))


def _of(draw: Draw, chars: str, count: int) -> str:
    return "".join(draw.choice(chars) for _ in range(count))


def _sum(number: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=True))


def _until(make: Callable[[], str | None]) -> str:
    while (found := make()) is None:
        pass
    return found


def _luhn_digit(body: str) -> str:
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body))]
    return str(-sum(number // 10 + number % 10 for number in doubled) % 10)


def _grouped(number: str, sizes: tuple[int, ...], mark: str) -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return mark.join(parts)


def card(draw: Draw) -> str:
    first, length = draw.choice(
        (("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("3530", 16))
    )
    body = first + _digits(draw, length - 1 - len(first))
    number = body + _luhn_digit(body)
    return _grouped(number, (4, 4, 4, 4) if length == 16 else (4, 6, 5), draw.choice(("", " ", "-")))


def iban(draw: Draw) -> str:
    code, shape = draw.choice((("DE", "9" * 18), ("GB", "AAAA" + "9" * 14), ("FR", "9" * 23), ("NL", "AAAA" + "9" * 10), ("ES", "9" * 20), ("CH", "9" * 17), ("NO", "9" * 11)))  # fmt: skip
    body = "".join(draw.choice(string.digits if mark == "9" else string.ascii_uppercase) for mark in shape)
    number = "".join(str(string.digits.find(char) if char.isdigit() else ord(char) - 55) for char in body + code) + "00"
    text = f"{code}{98 - int(number) % 97:02}{body}"
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4)) if draw.random() < 0.5 else text


def email(draw: Draw) -> str:
    name = draw.choice(("anna.muster", "o'neill", "j_smith", "kim+list", "a", "info", "élise.durand", "x-y.z"))
    return f"{name}{_digits(draw, draw.randint(0, 3)) if name[-1].isalnum() else ''}@{draw.choice(('mail.example.org', 'example.com', 'sub-domain.example.co.uk', 'bücher.example'))}"


def phone(draw: Draw) -> str:
    d = lambda count: _digits(draw, count)  # noqa: E731
    return draw.choice(
        (
            f"+49 {draw.randint(30, 899)} {d(7)}", f"+44 20 7{d(3)} {d(4)}", f"+1-{draw.randint(201, 989)}-{draw.randint(200, 989)}-{d(4)}",
            f"+33 6 {d(2)} {d(2)} {d(2)} {d(2)}", f"({draw.randint(201, 989)}) {draw.randint(200, 989)}-{d(4)}", f"+4179{d(7)}", f"+91 9{d(4)} {d(5)}",
            f"+81 (3) {d(4)}-{d(4)}", f"0{draw.randint(30, 899)}/{draw.randint(2, 9)}{d(6)}",
        )
    )  # fmt: skip


def ip(draw: Draw) -> str:
    if draw.random() < 0.5:
        return ".".join([str(draw.randint(11, 223)), *(str(draw.randint(0, 255)) for _ in range(3))]).replace(
            "127.", "128."
        )
    groups = [f"{draw.randint(1, 65535):x}" for _ in range(8)]
    return ":".join(["2001", *groups[1:]]) if draw.random() < 0.5 else "2001:db8::" + ":".join(groups[:3])


def ssn(draw: Draw) -> str:
    area = draw.choice([area for area in range(1, 900) if area != 666])
    return f"{area:03}-{draw.randint(1, 99):02}-{draw.randint(1, 9999):04}"


def nino(draw: Draw) -> str:
    return f"{draw.choice(('AB', 'CE', 'JK', 'LM', 'PR', 'SW'))} {_digits(draw, 2)} {_digits(draw, 2)} {_digits(draw, 2)} {draw.choice('ABCD')}"


def nhs(draw: Draw) -> str:
    def make() -> str | None:
        body = _digits(draw, 9)
        check = -_sum(body, tuple(range(10, 1, -1))) % 11
        return None if check == 10 else _grouped(body + str(check), (3, 3, 4), " ")

    return _until(make)


def nir(draw: Draw) -> str:
    body = f"{draw.choice('12')}{_digits(draw, 2)}{draw.randint(1, 12):02}{draw.randint(1, 95):02}{_digits(draw, 6)}"
    return _grouped(f"{body}{97 - int(body) % 97:02}", (1, 2, 2, 2, 3, 3, 2), draw.choice(("", " ")))


def dni(draw: Draw) -> str:
    number = draw.randint(10_000_000, 99_999_999)
    return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def bsn(draw: Draw) -> str:
    def make() -> str | None:
        body = str(draw.randint(1, 9)) + _digits(draw, 7)
        check = _sum(body, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
        return None if check == 10 else f"{body}{check}"

    return _until(make)


def pesel(draw: Draw) -> str:
    body = f"{draw.randint(40, 99)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}{_digits(draw, 4)}"
    return f"{body}{-_sum(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10}"


def cpf(draw: Draw) -> str:
    body = _digits(draw, 9)
    for start in (10, 11):
        rest = _sum(body, tuple(range(start, 1, -1))) * 10 % 11
        body += str(rest % 10)
    return f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"


def ahv(draw: Draw) -> str:
    body = "756" + _digits(draw, 9)
    return _grouped(f"{body}{-_sum(body, (1, 3) * 6) % 10}", (3, 4, 4, 2), ".")


def sin(draw: Draw) -> str:
    body = draw.choice("1234567") + _digits(draw, 7)
    return _grouped(body + _luhn_digit(body), (3, 3, 3), draw.choice((" ", "-")))


def tax_id(draw: Draw) -> str:
    def make() -> str | None:
        nine = draw.sample(string.digits, 9)
        ten = [*nine, draw.choice(nine)]
        draw.shuffle(ten)
        if ten[0] == "0":
            return None
        product = 10
        for digit in ten:
            total = (int(digit) + product) % 10 or 10
            product = total * 2 % 11
        check = 11 - product
        return "".join(ten) + str(check % 10)

    return _until(make)


def aadhaar(draw: Draw) -> str:
    """Verhoeff's published tables, written out."""
    multiply = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043", "8765932104", "9876543210")  # fmt: skip
    permute = (
        "0123456789",
        "1576283094",
        "5803796142",
        "8916043527",
        "9453126870",
        "4286573901",
        "2793806415",
        "7046913258",
    )
    body = draw.choice("23456789") + _digits(draw, 10)
    check = 0
    for place, digit in enumerate(reversed(body), 1):
        check = int(multiply[check][int(permute[place % 8][int(digit)])])
    return _grouped(body + "0432156789"[check], (4, 4, 4), " ")


def mac(draw: Draw) -> str:
    return ":".join(f"{draw.randint(0, 255):02x}" for _ in range(6))


def jwt(draw: Draw) -> str:
    part = lambda: base64.urlsafe_b64encode(f'{{"a":"{_of(draw, BASE62, 12)}"}}'.encode()).decode().rstrip("=")  # noqa: E731
    return f"{part()}.{part()}.{_of(draw, BASE62, 43)}"


def key(prefix: str, count: int, chars: str = BASE62) -> Callable[[Draw], str]:
    return lambda draw: prefix + _of(draw, chars, count)


def url_password(draw: Draw) -> str:
    return _of(draw, BASE62, 12)


MAKERS: dict[str, tuple[tuple[str, ...], Callable[[Draw], str]]] = {
    "card": (("please charge {} today", "card: {}", "my number is {}."), card),
    "iban": (("please pay to {} today", "IBAN: {}", "the account is {}."), iban),
    "email": (("write to {} please", "<{}>", "my address is {}."), email),
    "phone": (("call me: {}", "my phone is {} these days", "Tel. {}"), phone),
    "ip": (("blocked at {} today", "from {}, port 80", "address={}"), ip),
    "us_ssn": (("my SSN is {}.", "social: {} ok", "{} is on the form"), ssn),
    "uk_nino": (("NI number {}.", "it says {} on the slip"), nino),
    "uk_nhs": (("my NHS number is {}.", "NHS no. {}"), nhs),
    "fr_nir": (("mon numéro est {}.", "NIR: {}"), nir),
    "es_dni": (("mi DNI es {}.", "documento {} adjunto"), dni),
    "nl_bsn": (("mijn BSN is {}.", "burgerservicenummer: {}"), bsn),
    "pl_pesel": (("PESEL {}.", "mój numer PESEL to {}"), pesel),
    "br_cpf": (("meu CPF é {}.", "documento {}"), cpf),
    "ch_ahv": (("AHV-Nr. {}.", "meine Nummer: {}"), ahv),
    "ca_sin": (("my SIN is {}.", "social insurance number: {}"), sin),
    "de_tax_id": (("meine Steuer-ID: {}.", "Identifikationsnummer {}"), tax_id),
    "in_aadhaar": (("my Aadhaar is {}.", "aadhaar no: {}"), aadhaar),
    "mac": (("plug in {} please", "MAC={}"), mac),
    "jwt": (("token {} expired", "Authorization: Bearer {}"), jwt),
    "aws_key": (("use {} for the bucket", "AWS_ACCESS_KEY_ID={}"), key("AKIA", 16, string.ascii_uppercase + string.digits)),
    "github_token": (("clone with {} please", "GITHUB_TOKEN={}"), key("ghp_", 36)),
    "openai_key": (("my key is {}, keep it", 'OPENAI_API_KEY="{}"'), key("sk-proj-", 48)),
    "anthropic_key": (("my key is {}, keep it", "x-api-key: {}"), key("sk-ant-api03-", 64)),
    "slack_token": (("bot {} posts", "SLACK={}"), key("xoxb-", 40)),
    "url_password": (("postgresql://app:{}@db.example.org/x", "https://user:{}@host.example/path"), url_password),
}  # fmt: skip
"""By kind: sentences to put a value in, and how to make one."""
