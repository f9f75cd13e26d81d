"""`gateway.toml` and what the command line says in its place."""

from __future__ import annotations

import pytest

from tokenspace.errors import BadData, UsageError
from tokenspace.gateway.build import check_exposure
from tokenspace.gateway.settings import ALL, LOCAL, load, upstream_of
from tokenspace.gateway.wire import GatewaySettings


def write(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return path


def test_without_anything_said_it_is_the_embedded_model_on_this_machine(tmp_path):
    assert load(tmp_path / "none.toml", {}) == GatewaySettings(upstreams=(LOCAL,))
    assert load(None, {"port": None}).host == "127.0.0.1"


def test_the_file_is_read_the_command_line_wins_and_keys_come_from_the_environment(tmp_path):
    path = write(
        tmp_path,
        """
        port = 9000
        open_door = true
        read_s = 60
        [upstreams.openai]
        url = "https://api.example.com/v1"
        dialects = ["chat", "responses"]
        headers = { authorization = "Bearer ${A_KEY}" }
        [upstreams.local]
    """,
    )
    found = load(path, {"port": 0, "host": None}, environ={"A_KEY": "k1"})
    assert (found.port, found.open_door, found.read_s, found.host) == (0, True, 60, "127.0.0.1")
    assert [(one.name, one.url, one.dialects) for one in found.upstreams] == [
        ("openai", "https://api.example.com/v1", ("chat", "responses")), ("local", "", ALL)
    ]  # fmt: skip
    assert found.upstreams[0].headers == {"authorization": "Bearer k1"}
    assert [one.name for one in load(path, {}, upstreams=["b=http://b/v1"]).upstreams] == ["b"]
    with pytest.raises(BadData, match="needs A_KEY"):
        load(path, {}, environ={})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port =", "cannot be read"),
        ("prot = 1", "unknown settings: prot"),
        ('port = "1"', "port is not"),
        ("port = true", "port is not"),
        ("port = 70000", "no port 70000"),
        ("open_door = 1", "open_door is not"),
        ("drain_s = -1", "drain_s is not"),
        ("read_s = nan", "read_s is not"),
        ("upstreams = 3", "no table"),
        ("[upstreams]\na = 3", "no table with a url"),
        ("[upstreams.a]\nuri = 'x'", "unknown: uri"),
        ("[upstreams.a]\ndialects = ['klingon']", "dialects of a"),
        ("[upstreams.a]\nheaders = { a = 1 }", "headers of a"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_what_to_write(tmp_path, text, words):
    with pytest.raises(BadData, match=words) as raised:
        load(write(tmp_path, text), {})
    assert raised.value.hint


def test_an_upstream_on_the_command_line_says_what_it_speaks_or_is_guessed():
    assert upstream_of("a=http://a/v1,messages,chat", alone=False).dialects == ("messages", "chat")
    assert upstream_of("a=http://a/v1", alone=True).dialects == ALL
    assert upstream_of("anthropic=https://api.anthropic.com/v1", alone=False).dialects == ("messages",)
    assert upstream_of("local=", alone=False).dialects == ALL
    for text in ("http://a/v1", "=x", "a=http://a/v1,latin"):
        with pytest.raises(UsageError):
            upstream_of(text, alone=True)


def test_only_an_open_door_on_an_open_address_needs_a_second_word():
    check_exposure(GatewaySettings(host="0.0.0.0"), exposed=False)
    check_exposure(GatewaySettings(open_door=True), exposed=False)
    check_exposure(GatewaySettings(open_door=True, host="0.0.0.0"), exposed=True)
    with pytest.raises(UsageError, match="lets in everybody"):
        check_exposure(GatewaySettings(open_door=True, host="10.0.0.1"), exposed=False)
