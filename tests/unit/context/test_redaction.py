"""Secrets in what is recorded are seen, and replaced whole."""

from __future__ import annotations

import json

import pytest

from tokenspace.context.scanner import CREDENTIALS, may_hold_secret, redacted, secret_in

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc+/=\nxyz==\n-----END RSA PRIVATE KEY-----"
EXAMPLES = {
    "a private key": [PEM, PEM.replace("\n", "\\n"), "-----BEGIN PRIVATE KEY-----\nMIIEabc\nxyz=="],
    "a cloud access key": ["AKIA" + "A1" * 8, "ASIA" + "B2" * 8],
    "an API key": ["sk-proj-" + "a1" * 20, "sk-ant-" + "b2" * 20, "rk_live_" + "c3" * 12, "tsk-" + "d4" * 20],
    "an access token": ["ghp_" + "a1" * 18, "glpat-" + "b2" * 10, "xoxb-" + "c3" * 10, "github_pat_" + "d4" * 20],
    "a signed web token": ["eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + "." + "c" * 20],
}


@pytest.mark.parametrize(("name", "secret"), [(name, one) for name, several in EXAMPLES.items() for one in several])
def test_every_kind_of_secret_is_seen_and_replaced_whole(name, secret):
    for text in (secret, f"use {secret}, please", f"{'long ' * 200}{secret}"):
        assert secret_in(text) == name
        assert redacted(text) == text.replace(secret, f"[redacted: {name}]")
        assert secret_in(redacted(text)) == ""
        assert all(may_hold_secret(json.dumps([before + text], ensure_ascii=False)) for before in ("", "\n", "\t"))


@pytest.mark.parametrize(
    "text", ["", "ask the task-force about desk_top and sk-1", "ghost in ASIA", "eyJ.eyJ", "x" * 9_999]
)
def test_what_is_no_secret_stays_the_very_same_text(text):
    assert redacted(text) is text
    assert redacted(text) is text
    assert secret_in(text) == ""
    assert not may_hold_secret(json.dumps(text))


def test_two_secrets_are_replaced_apart():
    keys = ["sk-proj-" + "a1" * 20, "sk-proj-" + "b2" * 20]
    assert redacted(" and ".join(keys)) == "[redacted: an API key] and [redacted: an API key]"


@pytest.mark.parametrize("pattern", CREDENTIALS, ids=lambda pattern: pattern.kind)
def test_the_quick_look_misses_no_pattern(pattern):
    assert secret_in(pattern.yes)
    assert redacted(pattern.yes) != pattern.yes
    assert may_hold_secret(json.dumps({"text": f"\n{pattern.yes}"}, ensure_ascii=False))
