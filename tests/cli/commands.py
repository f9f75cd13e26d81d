"""Running commands in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from tokenspace.cli.app import app

Run = Callable[..., Result]

QUESTION = "my parcel never came"


def invoke(*args: str | Path, code: int = 0, input: str | bytes | None = None) -> Result:
    """Run a command line in this process and check its exit code; no traceback may ever be seen."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=input)
    assert result.exit_code == code, f"{result.exit_code}: {result.output}"
    assert "Traceback" not in result.output
    return result


def json_of(*args: str | Path, **more: Any) -> Any:
    """What a command prints with --json."""
    return json.loads(invoke(*args, "--json", **more).stdout)
