"""Output → score. One file for each way of grading; `build` makes a grader from its specification."""

from __future__ import annotations

from tokenspace.graders.contains import Contains
from tokenspace.graders.exact import Exact
from tokenspace.graders.function import Function, GraderFunction
from tokenspace.graders.json_value import JsonEqual
from tokenspace.graders.number import Number
from tokenspace.graders.pattern import Pattern
from tokenspace.graders.registry import GRADERS, build
from tokenspace.graders.rubric import Rubric
from tokenspace.graders.schema import Schema

__all__ = [
    "GRADERS",
    "Contains",
    "Exact",
    "Function",
    "GraderFunction",
    "JsonEqual",
    "Number",
    "Pattern",
    "Rubric",
    "Schema",
    "build",
]
