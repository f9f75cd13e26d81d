"""Every pattern finds what stands beside it, not what is near, and takes its time in proportion to the text."""

from __future__ import annotations

import pytest

from tokenspace.context import checksums as check
from tokenspace.context.evasion import decoded, forms, holds_any
from tokenspace.context.scanner import PATTERNS, PERSONAL, SECRETS, scan
from tokenspace.context.screening import screened

NAMES = [f"{pattern.kind}-{number}" for number, pattern in enumerate(PATTERNS)]
CHARS = 100_000


@pytest.mark.parametrize("pattern", PATTERNS, ids=NAMES)
def test_a_pattern_finds_its_example_and_not_its_near_miss(pattern):
    found = scan(pattern.yes, kinds={pattern.kind})
    assert [one.kind for one in found] == [pattern.kind]
    assert found[0].sort == pattern.sort
    assert pattern.kind in {one.kind for one in scan(pattern.yes)}
    assert scan(pattern.no, kinds={pattern.kind}) == []


def adversarial(pattern):
    """Texts that make careless expressions take quadratic time: nearly matches, repeated, and long runs of one kind."""
    yes = pattern.yes
    for piece in (
        yes,
        yes[:-1],
        yes[1:],
        yes[: len(yes) // 2] + " ",
        "a",
        "1",
        "A",
        "a.",
        "1 ",
        "1-",
        "a@",
        ":",
        "a:",
        "-",
        "=",
        "x" * 31 + " ",
    ):
        yield (piece * (CHARS // len(piece) + 1))[:CHARS]
    for sign in pattern.signs:
        yield (sign * (CHARS // len(sign) + 1))[:CHARS]
        yield sign + "a" * CHARS


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pattern", PATTERNS, ids=NAMES)
def test_an_expression_takes_linear_time_on_100_kb_made_to_slow_it_down(pattern):
    for text in adversarial(pattern):
        for match in pattern.compiled.finditer(text):
            pattern.likely(text, match.start(), match.end())


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "1",
        "1 ",
        "a b ",
        ". ",
        "%41",
        "&#65;",
        "ab",
        "a@b.",
        "<",
        "![](http://a?",
        "\u200b",
        "４",
        "sk-",
        "key=",
        "://",
    ],
)
def test_all_of_the_scanner_takes_linear_time_on_repetition(piece):
    text = (piece * (CHARS // len(piece) + 1))[:CHARS]
    assert isinstance(scan(text), list)
    assert isinstance(screened(text), tuple)
    assert holds_any(text, ["canary-in-the-mine"]) == ()
    assert sum(len(form.text) for form in (*forms(text), *decoded(text))) <= 8 * CHARS


def test_there_are_about_sixty_kinds_and_none_is_both_personal_and_secret():
    assert len(PATTERNS) >= 60
    assert not PERSONAL & SECRETS


@pytest.mark.parametrize(
    ("valid", "good"),
    [
        (check.card, "4111 1111 1111 1111"), (check.card, "378282246310005"), (check.card, "30569309025904"),
        (check.card, "6011111111111117"), (check.card, "3530111333300000"), (check.iban, "GB82 WEST 1234 5698 7654 32"),
        (check.iban, "DE89370400440532013000"), (check.iban, "NO9386011117947"), (check.uk_nhs, "943 476 5919"),
        (check.de_tax_id, "86095742719"), (check.fr_nir, "2 55 08 14 168 025 38"), (check.es_dni, "12345678Z"),
        (check.nl_bsn, "111222333"), (check.be_nrn, "85.07.30-033.28"), (check.pl_pesel, "44051401359"),
        (check.ca_sin, "046 454 286"), (check.au_tfn, "123 456 782"), (check.au_medicare, "2123456701"),
        (check.verhoeff, "2341 2341 2346"), (check.br_cpf, "111.444.777-35"), (check.ean13, "756.9217.0769.85"),
        (check.fi_hetu, "131052-308T"), (check.no_fnr, "15076500565"), (check.cn_resident, "11010519491231002X"),
        (check.za_id, "8001015009087"), (check.tr_tckn, "10000000146"), (check.at_svnr, "1237010180"),
    ],
)  # fmt: skip
def test_published_numbers_pass_and_most_changed_digits_fail(valid, good):
    assert valid(good)
    digits = [at for at, char in enumerate(good) if char.isdigit()]
    changed = [f"{good[:at]}{(int(good[at]) + 1) % 10}{good[at + 1 :]}" for at in digits]
    # Parts that no check digit covers (a day, a length) may change; most are covered.
    assert sum(not valid(other) for other in changed) >= 0.8 * len(changed)
