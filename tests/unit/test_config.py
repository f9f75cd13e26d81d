"""Settings: what is read from where, and what is refused."""

from __future__ import annotations

import pytest

from tokenspace import config
from tokenspace.cli.project import config_text
from tokenspace.errors import UsageError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("TOKENSPACE_SHARE", raising=False)
    folder = tmp_path / config.HOME
    folder.mkdir()
    return folder


def test_sharing_is_off_unless_it_is_asked_for(home):
    (home / "config.toml").write_text(config_text({"agent": "desk"}))
    assert config.load(start=home.parent).share == 0


@pytest.mark.parametrize("line", ["share = 5", 'share = "5"'])
def test_a_number_is_read_from_the_file(home, line):
    (home / "config.toml").write_text(line)
    assert config.load(start=home.parent).share == 5


def test_the_environment_wins_over_the_file_and_a_call_over_both(home, monkeypatch):
    (home / "config.toml").write_text("share = 5")
    monkeypatch.setenv("TOKENSPACE_SHARE", " 7 ")
    assert config.load(start=home.parent).share == 7
    assert config.load({"share": 0}, start=home.parent).share == 0


@pytest.mark.parametrize("value", ["true", "2", "-5", '"many"', "5.5", '"٥"', "[5]", '"9999999"'])
def test_what_is_no_crowd_is_refused(home, value):
    (home / "config.toml").write_text(f"share = {value}")
    with pytest.raises(UsageError, match="share is"):
        config.load(start=home.parent)


def test_the_parts_know_what_the_settings_want():
    parts = config.build(config.Settings(model="nearest", store="memory:", share=5))
    assert parts.share == 5
    assert parts.rules is not None
    parts.runtime.store.close()
