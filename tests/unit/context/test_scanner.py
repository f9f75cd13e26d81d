"""What is found, where, what is replaced, and what hides."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tokenspace.context.evasion import holds_any
from tokenspace.context.scanner import SECRETS, Finding, masked, may_hold_secret, redacted, scan, secret_in, words_for

ROOT = Path(__file__).parents[3]
DATA = (
    Path(os.environ.get("TOKENSPACE_DATA", ROOT.parent / "shared" / "data")) / "presidio_pii" / "generated_large.json"
)
KEY = "sk-" + "proj-" + "a1B2" * 10
CANARY = "canary-Heron-42"


def found(text, **options):
    return [(one.kind, text[one.start : one.end]) for one in scan(text, **options)]


def test_findings_stand_in_order_and_apart_with_places_in_the_text():
    text = f"anna@example.org paid DE89 3704 0044 0532 0130 00 with 4111 1111 1111 1111, key {KEY}"
    assert [kind for kind, _ in found(text)] == ["email", "iban", "card", "openai_key"]
    assert found(text)[1][1] == "DE89 3704 0044 0532 0130 00"
    assert scan(text, kinds={"card"}) == [Finding(kind="card", start=55, end=74, score=0.95, sort="personal")]
    assert scan(text, kinds=()) == []
    assert masked(text, scan(text)) == "[email] paid [iban] with [card], key [openai_key]"


@pytest.mark.parametrize(
    "text",
    [
        "", "plain words", "version 1.22.33.44 at 12:30:45 on 2024-05-01", "order 20240501-1234, 3.14159265358979",
        "commit a94a8fe5ccb19ba61c4c0873d391e987982fbbd3", "id 018f2d6e-7c1a-7b3e-9a4d-1f2e3d4c5b6a", "std::vector<int> a::b",
        "pages 100-120, 1 000 000 users", "3... 2... 1... liftoff!", "see the password policy", "a token: str = None", "x = y[1:20]",
    ],
)  # fmt: skip
def test_ordinary_texts_hold_nothing(text):
    assert scan(text) == []
    assert redacted(text) is text


@pytest.mark.parametrize(
    ("text", "kind", "where"),
    [
        ("card ４１１１１１１１１１１１１１１１ ok", "card", "４１１１１１１１１１１１１１１１"),
        ("card 4\u200b111111111111111 ok", "card", "4\u200b111111111111111"),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "card", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
        ("x an\u00adna@exa\u200bmple.org", "email", "an\u00adna@exa\u200bmple.org"),
        ("anna (at) example [dot] org", "email", "anna (at) example [dot] org"),
        ("to anna%40example.org!", "email", "anna%40example.org"),
        ("to anna&#64;example.org!", "email", "anna&#64;example.org"),
        ("٤١١١١١١١١١١١١١١١", "card", "٤١١١١١١١١١١١١١١١"),
    ],
)
def test_disguises_are_read_and_places_are_those_of_the_original(text, kind, where):
    assert found(text) == [(kind, where)]


@pytest.mark.parametrize(
    "encode",
    [lambda raw: base64.b64encode(raw).decode(), lambda raw: base64.urlsafe_b64encode(raw).decode(), bytes.hex],
)
@pytest.mark.parametrize(
    ("inside", "kind"), [(f"my key {KEY}", "openai_key"), ("mail anna@example.org, please", "email")]
)
def test_secrets_and_mails_encoded_once_are_found_as_the_whole_run(encode, inside, kind):
    code = encode(inside.encode())
    assert (kind, code) in found(f"see {code} here")


def test_only_the_secret_of_a_url_or_an_assignment_is_replaced():
    assert redacted("postgresql://app:hunter22@db/x") == "postgresql://app:[redacted: a password]@db/x"
    assert redacted('PASSWORD="corr-horse1" # x') == 'PASSWORD="[redacted: a password]" # x'
    assert redacted(f"Authorization: Bearer {'a1B2c3D4' * 4}").endswith("Bearer [redacted: an access token]")


def test_personal_data_stay_in_what_is_recorded_and_random_ids_too():
    text = "anna@example.org, key 018f2d6e7c1a7b3e9a4d1f2e3d4c5b6a"
    assert redacted(text) is text
    assert secret_in(text) == ""


def test_whatever_is_redacted_may_be_held_by_the_json_of_its_text():
    for pattern_text in (KEY, "password is hunter22!x", "API_KEY=9f8a7b6c5d4e3f2a", "postgresql://app:hunter22@db/x"):
        for text in (pattern_text, f'say "{pattern_text}"\n\t{pattern_text}'):
            assert redacted(text) != text
            assert may_hold_secret(json.dumps({"text": f"\n{text}"}, ensure_ascii=False))
    assert not may_hold_secret(json.dumps({"input_tokens": 12, "key": "value", "id": "toolu_01A09q90qw90lq917835lq9"}))


def test_every_kind_has_words():
    assert all(words_for(kind) != kind for kind in SECRETS)
    assert words_for("person") == "person"


def test_many_findings_never_overlap():
    text = "anna@example.org, 4111 1111 1111 1111; " * 1_000
    places = [(one.start, one.end) for one in scan(text)]
    assert len(places) == 2_000
    assert all(end <= start for (_, end), (start, _) in pairwise(places))


def test_the_example_of_the_page_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "scanner.md").read_text("utf-8"), re.DOTALL)
    exec(code, {})


# ── strings that must not cross ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        f"a {CANARY} b", CANARY.upper(), "c a n a r y - h e r o n 4 2", "canary\u200b-he\u00adron_42", "the CANARY, Heron: 42", CANARY[::-1],
        "pnanel-Ureba-42", CANARY.encode().hex(), "%63anary-Heron-42", base64.b64encode(f"ab {CANARY} cd".encode()).decode(),
        "zz" + base64.b64encode(f"a{CANARY}".encode()).decode() + "zz", "ｃａｎａｒｙ－Heron－42",
    ],
)  # fmt: skip
def test_a_canary_is_found_as_it_stands_in_disguise_and_encoded(text):
    assert holds_any(text, ["other-string-99", CANARY]) == (CANARY,)


def test_other_strings_and_parts_of_words_are_no_canaries():
    assert holds_any("a heron in the canary's cage, 42 times", [CANARY, ""]) == ()
    assert holds_any("the artist", ["art"]) == ()
    assert holds_any("modern ART!", ["art"]) == ("art",)
    assert holds_any("", ["x"]) == holds_any("x", []) == ()


# ── figures ─────────────────────────────────────────────────────────────────────────────────


def test_at_least_99_of_100_invented_strings_are_found():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from _personal import sentences
    finally:
        sys.path.pop(0)
    missed = Counter()
    for kind, text, value in sentences(1_000, seed=1):
        start = text.index(value)
        missed[kind] += not any(
            one.kind == kind and one.start <= start and start + len(value) <= one.end for one in scan(text)
        )
    assert missed.total() <= 10, missed


@pytest.mark.slow
@pytest.mark.skipif(
    not DATA.exists(), reason=f"needs {DATA.parent.name}: set TOKENSPACE_DATA to the folder that has it"
)
def test_structured_types_of_the_public_data_set_are_found_and_clean_texts_are_clean():
    types = {
        "CREDIT_CARD": "card",
        "PHONE_NUMBER": "phone",
        "EMAIL_ADDRESS": "email",
        "US_SSN": "us_ssn",
        "IBAN_CODE": "iban",
        "IP_ADDRESS": "ip",
    }
    spans, hits = Counter(), Counter()
    rows = json.loads(DATA.read_text("utf-8"))
    for row in rows:
        seen = scan(row["full_text"])
        for span in row["spans"]:
            if kind := types.get(span["entity_type"]):
                spans[kind] += 1
                hits[kind] += any(
                    one.kind == kind and one.start <= span["start_position"] and span["end_position"] <= one.end
                    for one in seen
                )
    assert all(hits[kind] >= 0.95 * spans[kind] for kind in types.values()), (hits, spans)
    clean = [row["full_text"] for row in rows if not row["spans"]]
    assert sum(bool(scan(text)) for text in clean) <= 0.01 * len(clean)
