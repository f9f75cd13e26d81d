"""Schemathesis over the admin API's own description: no server error, no ignored key, whatever is sent."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from tests.gateway.test_admin import World
from tokenspace.gateway.admin import PREFIX, openapi
from tokenspace.recall import HashEmbedder

CHECKS = [
    not_a_server_error, ignored_auth, content_type_conformance, response_schema_conformance, status_code_conformance,
]  # fmt: skip
EXAMPLES = 12
pytestmark = pytest.mark.slow
ROUTES = [(method, path) for path, methods in openapi()["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def world():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tokenspace.recall.default_embedder", HashEmbedder)
        made = World()
        yield made
        made.app.state.close()
        made.bridge.close()


@pytest.fixture(scope="module")
def schema(world):
    return schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", world.app)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part)
def test_i8_no_server_error_and_no_ignored_key(world, schema, method, path, mode):
    operation = schema[path][method.upper()]
    if mode is GenerationMode.NEGATIVE and not (operation.query or operation.path_parameters or operation.body):
        pytest.skip("nothing about it can be wrong")
    secret = world.secrets["acme"]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def run(case):
        case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {secret}"})

    run()


def test_the_fuzzer_sees_a_door_that_stands_open(world, schema, monkeypatch):
    async def anybody(*_args):
        return world.ring.admin.keys()[0]

    monkeypatch.setattr("tokenspace.gateway.admin.AdminApi._key", anybody)
    case = schema[f"{PREFIX}/episodes"]["GET"].Case()
    with pytest.raises(FailureGroup, match="without authentication"):
        case.call_and_validate(checks=CHECKS, headers={"Authorization": "Bearer x"})
