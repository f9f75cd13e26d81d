"""From a grader's specification, which is data, to the grader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tokenspace.domain import GraderSpec
from tokenspace.errors import UsageError
from tokenspace.graders.contains import Contains
from tokenspace.graders.exact import Exact
from tokenspace.graders.function import Function, GraderFunction
from tokenspace.graders.json_value import JsonEqual
from tokenspace.graders.number import Number
from tokenspace.graders.pattern import Pattern
from tokenspace.graders.rubric import Rubric
from tokenspace.graders.schema import Schema
from tokenspace.protocols import Grader, Model

_NONE: Final[Mapping[str, GraderFunction]] = MappingProxyType({})
_FREE: Final[Mapping[str, Callable[[GraderSpec], Grader]]] = MappingProxyType({
    "contains": Contains.from_spec,
    "exact": Exact.from_spec,
    "json": JsonEqual.from_spec,
    "number": Number.from_spec,
    "pattern": Pattern.from_spec,
    "schema": Schema.from_spec,
})  # fmt: skip

GRADERS: Final = tuple(sorted({*_FREE, "function", "rubric"}))
"""The names that a `GraderSpec` may have."""


def build(spec: GraderSpec, *, model: Model | None = None, functions: Mapping[str, GraderFunction] = _NONE) -> Grader:
    """The grader of a specification. `model` judges rubrics, `functions` are yours by name.

    Raises `UsageError` for an unknown name, an unknown option, or what could never grade anything.
    """
    if spec.name == "function":
        return Function.from_spec(spec, functions)
    if spec.name == "rubric":
        return Rubric.from_spec(spec, model)
    if spec.name in _FREE:
        return _FREE[spec.name](spec)
    raise UsageError(
        f"there is no grader {spec.name!r}",
        hint=f"the graders are: {', '.join(GRADERS)}; your own go by 'function' with options={{\"function\": …}}",
    )
