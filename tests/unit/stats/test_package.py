from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

import tokenspace.stats

MODULES = [f"tokenspace.stats.{info.name}" for info in pkgutil.iter_modules(tokenspace.stats.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_all_is_complete_and_sorted():
    public = tokenspace.stats.__all__
    assert sorted(public) == sorted(set(public))
    for name in public:
        assert hasattr(tokenspace.stats, name)
    for name in MODULES:
        module = importlib.import_module(name)
        own = [n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", "") == name]
        assert set(own) <= set(public), name


@pytest.mark.parametrize("name", MODULES)
def test_stats_import_nothing_but_the_standard_library_and_errors(name):
    source = Path(importlib.import_module(name).__file__).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        found = (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        for imported in found:
            root = imported.split(".")[0]
            assert root in sys.stdlib_module_names or imported.startswith(("tokenspace.errors", "tokenspace.stats"))
