"""The output is JSON of a JSON Schema.

Schemas may come from whoever gives feedback. So a reference is resolved within the schema only, never from the
network, and a schema that holds regular expressions is checked in a child process that can be killed (see `pattern`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from tokenspace.budget import Budget
from tokenspace.domain import Case, GraderSpec
from tokenspace.errors import UsageError
from tokenspace.graders.options import DEFAULT_TIMEOUT_S, NOT_JSON, in_child, parse_json, read_options

_CHILD: Final = """
import json, sys
given = json.load(sys.stdin)
sys.path[:] = given["path"]
from tokenspace.graders.schema import fits
print(json.dumps(fits(*given["argument"])))
"""
_START_S: Final = 5.0  # what a child may need to import the validator on a busy machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """1 if the output is JSON that the schema allows, else 0; None if that cannot be found out.

    With `fenced`, a Markdown code fence around the JSON is forgiven.
    """

    schema: Mapping[str, Any]
    fenced: bool = False
    timeout_s: float = DEFAULT_TIMEOUT_S

    @classmethod
    def from_spec(cls, spec: GraderSpec) -> Self:
        """Expected: a JSON Schema (draft 2020-12 unless its $schema says otherwise). Options: fenced, timeout_s."""
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for

        options = read_options(spec, {"fenced": False, "timeout_s": DEFAULT_TIMEOUT_S})
        if not isinstance(spec.expected, dict):
            raise UsageError("'schema' expects a JSON Schema", hint='give an object such as {"type": "object"}')
        try:
            validator_for(spec.expected).check_schema(spec.expected)
        except (SchemaError, RecursionError) as error:
            reason = error.message if isinstance(error, SchemaError) else "it is nested too deeply"
            raise UsageError(f"this is not a JSON Schema: {reason}", hint="check it against its draft") from error
        return cls(schema=spec.expected, **options)

    async def grade(self, case: Case, output: str, *, budget: Budget) -> float | None:
        """Free. None if a reference leads outside, the schema never ends, or a pattern in it takes too long."""
        value = parse_json(output, fenced=self.fenced)
        if value is NOT_JSON:
            return 0.0
        if _has_pattern(self.schema):
            argument: list[Any] = [self.schema, value]
            found = await in_child(_CHILD, argument, timeout_s=self.timeout_s + _START_S)
        else:
            found = fits(self.schema, value)
        return float(found) if isinstance(found, bool) else None


def fits(schema: Mapping[str, Any], value: Any) -> bool | None:
    """Whether a schema allows a JSON value; None if that cannot be found out without the network or an end."""
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable

    # a registry of our own: the default one would fetch what it does not know
    validator = validator_for(schema)(schema, registry=REGISTRY)
    try:
        return validator.is_valid(value)
    except (Unresolvable, RecursionError, ValueError, OverflowError):
        return None


def _has_pattern(schema: object) -> bool:
    """Whether a regular expression may be hidden anywhere in a schema (a property of that name counts too)."""
    if isinstance(schema, Mapping):
        items = cast("Mapping[str, Any]", schema)
        return "pattern" in items or "patternProperties" in items or any(map(_has_pattern, items.values()))
    return isinstance(schema, list) and any(map(_has_pattern, cast("list[Any]", schema)))
