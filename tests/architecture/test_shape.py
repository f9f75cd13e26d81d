"""The shape of the code: what style.md promises, measured."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tokenspace

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tokenspace"
MODULES = sorted(SOURCE.rglob("*.py"))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_the_whole_idea_fits_150_lines() -> None:
    assert len((SOURCE / "loop.py").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 700
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= 80, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_positional_parameters_stay_few(path: Path) -> None:
    for function in functions(path):
        names = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args) if arg.arg not in ("self", "cls")]
        assert len(names) <= 7, f"{function.name} takes {names}"


def test_the_public_names_are_few_and_all_there() -> None:
    assert len(tokenspace.__all__) <= 30
    assert sorted(tokenspace.__all__) == list(tokenspace.__all__)
    for name in tokenspace.__all__:
        assert getattr(tokenspace, name) is not None
    with pytest.raises(AttributeError):
        tokenspace.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy_and_opens_nothing() -> None:
    code = (
        "import socket, sys, threading\n"
        "socket.socket.connect = socket.socket.bind = None\n"
        "import tokenspace\n"
        "heavy = {'numpy', 'sqlalchemy', 'httpx', 'click', 'rich', 'xllamacpp', 'alembic', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_third_party_from_the_loop_down() -> None:
    below = [SOURCE / f"{name}.py" for name in ("loop", "canary", "protocols", "budget", "errors")]
    below += [path for room in ("context", "stats", "domain") for path in (SOURCE / room).glob("*.py")]
    for path in below:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top == "tokenspace" or top in sys.stdlib_module_names, f"{path.name} imports {name}"
