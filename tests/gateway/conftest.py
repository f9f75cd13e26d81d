"""What all tests of the gateway have in common."""

from __future__ import annotations

import pytest

from tokenspace.gateway.background import LOG


@pytest.fixture(autouse=True)
def _every_test_hears_its_own_log(monkeypatch):
    """A line that one test has heard is not held back from the next."""
    monkeypatch.setattr(LOG, "filters", [])
