"""The admin API: JSON over what was learned, for dashboards and scripts; errors are problem JSON (RFC 9457).

A key is checked first, then its right, then the query and the body against the table of routes, and only then is
anything read: in a thread, never on the event loop. The OpenAPI description is that table, written out.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from tokenspace.api import Bridge, LearningAgent
from tokenspace.config import Parts
from tokenspace.domain import Access, ApiKey
from tokenspace.domain.plain import plain
from tokenspace.errors import BadData, NotFound
from tokenspace.gateway.admin_routes import ENDPOINTS, SCOPED, Ask, Endpoint, Param, scope_of
from tokenspace.gateway.errors import KeyRefused, NoSuchRoute, RightMissing, headers_of, problem, status_of
from tokenspace.gateway.keys import KeyRing, need_right, secret_of
from tokenspace.gateway.limits import ClientGone, Slots, check_depth, read_body
from tokenspace.gateway.trail import refused, shown
from tokenspace.gateway.wire import GatewaySettings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PREFIX: Final = "/admin"
BODY_BYTES: Final = 64_000
MAX_ID_CHARS: Final = 250
IN_FLIGHT: Final = 8
"""Requests of one key at once: each takes a thread."""

_LOG: Final = logging.getLogger("tokenspace.gateway")


class AdminApi:
    """What all handlers share. `agents` are made for each request: they hold no state but their scope."""

    def __init__(self, parts: Parts, ring: KeyRing, settings: GatewaySettings) -> None:
        self._parts = parts
        self._ring = ring
        self._settings = settings
        self._bridge = Bridge()
        self._slots = Slots(IN_FLIGHT)

    async def answer(self, endpoint: Endpoint, request: Request) -> Response:
        """The answer of one route. Whatever goes wrong is a problem, and a defect of ours one without words."""
        try:
            key = await self._key(request)
            with self._slots.hold(key.id):
                try:
                    need_right(key, endpoint.need)
                    return await self._told(endpoint, request, key)
                except (RightMissing, NotFound):
                    await self._note(refused(endpoint, key, id=_id(request), at=self._ring.clock()))
                    raise
        except ClientGone:
            return _json(None, status=400)
        except Exception as error:  # noqa: BLE001 - the top-level handler of this application
            if status_of(error)[0] >= 500:
                _LOG.exception("%s %s failed", endpoint.method, endpoint.path)
            return failed(error, request.url.path)

    async def _key(self, request: Request) -> ApiKey:
        secret = secret_of(request.headers)
        if not secret:
            raise KeyRefused("this needs a key", hint="send a virtual key as `Authorization: Bearer …`")
        return await self._ring.key(secret)

    async def _told(self, endpoint: Endpoint, request: Request, key: ApiKey) -> Response:
        from starlette.concurrency import run_in_threadpool

        query = {param.name: _query(param, request.query_params.get(param.name)) for param in _params(endpoint)}
        body = await _body(endpoint, request)
        named = query if endpoint.scoped else {}
        scope = scope_of(key, named, agent=self._settings.agent)
        if len(_id(request)) > MAX_ID_CHARS:
            raise BadData("the id is too long", hint=f"ids have at most {MAX_ID_CHARS} characters")
        agent = LearningAgent(self._parts, scope, principal=f"key {key.id}", bridge=self._bridge)
        ask = Ask(
            agent=agent, key=key, ring=self._ring, path=request.path_params, query=query, body=body
        )  # fmt: skip
        told = await run_in_threadpool(lambda: plain(endpoint.does(ask)))
        await self._note(shown(endpoint, key, scope, told, id=_id(request), at=self._ring.clock()))
        return _json(told, status=endpoint.status)

    async def _note(self, row: Access | None) -> None:
        """Into the access log, before anything is answered."""
        from starlette.concurrency import run_in_threadpool

        if row is not None:
            await run_in_threadpool(self._ring.admin.note_access, row)

    def close(self) -> None:
        """End the event loop of the threads."""
        self._bridge.close()


def admin_app(parts: Parts, ring: KeyRing, settings: GatewaySettings) -> Starlette:
    """The application, to be mounted at the root: its routes begin with /admin."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    api = AdminApi(parts, ring, settings)

    def bound(several: Mapping[str, Endpoint]) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            return await api.answer(several["GET" if request.method == "HEAD" else request.method], request)

        return handle

    async def description(_request: Request) -> Response:
        return _json(openapi())

    async def elsewhere(request: Request, error: Exception) -> Response:
        allowed = (cast("HTTPException", error).headers or {}).get("Allow", "")
        hint = f"this path takes {allowed}" if allowed else f"the routes are in {PREFIX}/openapi.json"
        told = failed(NoSuchRoute("there is no such route", hint=hint), request.url.path)
        if allowed:
            told.status_code = 405
            told.headers["allow"] = allowed
        return told

    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes = [Route(PREFIX + path, bound(several), methods=list(several)) for path, several in by_path.items()]
    routes.append(Route(f"{PREFIX}/openapi.json", description, methods=["GET"]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: elsewhere})
    app.state.close = api.close
    return app


def failed(error: Exception, path: str) -> Response:
    """An error as problem JSON."""
    from starlette.responses import Response

    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    body = problem(error, instance=path)
    return Response(body, status_of(error)[0], headers, media_type="application/problem+json")


def _json(value: Any, *, status: int = 200) -> Response:
    import orjson
    from starlette.responses import Response

    # What was learned is nobody's to keep on the way, secrets of new keys least of all.
    return Response(orjson.dumps(value), status, {"cache-control": "no-store"}, media_type="application/json")


def _id(request: Request) -> str:
    return str(request.path_params.get("id", ""))


# ── what comes in ───────────────────────────────────────────────────────────────────────────


def _params(endpoint: Endpoint) -> tuple[Param, ...]:
    return (*endpoint.query, *SCOPED) if endpoint.scoped else endpoint.query


def _query(param: Param, given: str | None) -> Any:
    """A query parameter as its schema has it. Raises `BadData`."""
    schema, value = param.schema, cast("Any", given)
    if given is None:
        return schema.get("default", "")
    wrong = BadData(f"{param.name} is not what it should be", hint=f"{param.says} It is described in openapi.json")
    match schema["type"]:
        case "integer":
            if not (given.isascii() and given.isdecimal() and len(given) <= 9):
                raise wrong
            value = int(given)
            fits = schema["minimum"] <= value <= schema["maximum"]
        case "boolean":
            value = given == "true"
            fits = given in ("true", "false")
        case _:
            fits = len(given) <= schema.get("maxLength", MAX_ID_CHARS) and given in schema.get("enum", [given])
    if not fits:
        raise wrong
    return value


async def _body(endpoint: Endpoint, request: Request) -> Mapping[str, Any]:
    """The JSON object of a request that takes one, checked against its schema. Raises `BadData`."""
    import orjson

    if endpoint.body is None:
        return {}
    raw = await read_body(request.receive, request.headers, limit_bytes=BODY_BYTES)
    try:
        body: Any = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise BadData("the body is no JSON", hint="send a JSON object, or nothing") from error
    if not isinstance(body, dict):
        raise BadData("the body is no JSON object", hint=f"see {PREFIX}/openapi.json")
    check_depth(cast("Any", body), 8)
    problems = [problem.message for problem in _validator(endpoint.path).iter_errors(body)]
    if problems:
        raise BadData(f"the body is not as described: {problems[0][:200]}", hint=f"see {PREFIX}/openapi.json")
    return cast("Mapping[str, Any]", body)


@cache
def _validator(path: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(next(one.body for one in ENDPOINTS if one.path == path and one.body is not None))


# ── the description ─────────────────────────────────────────────────────────────────────────


def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 description of every route."""
    from tokenspace import __version__

    paths: dict[str, dict[str, Any]] = {
        f"{PREFIX}/openapi.json": {
            "get": {"operationId": "openapi", "summary": "This description.", "security": [],
                    "responses": {"200": _answer("The description.")}}
        }
    }  # fmt: skip
    for endpoint in ENDPOINTS:
        paths.setdefault(PREFIX + endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    wrong = {"type": "object", "required": ["type", "title", "status", "detail"], "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string"}, "hint": {"type": "string"}, "instance": {"type": "string"},
    }}  # fmt: skip
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A virtual key."},
        "header": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key."},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "tokenspace admin API", "version": __version__, "description": (
            "What an agent has learned, why, and how to take it back. Every call is in the tenant of its key.")},
        "security": [{"bearer": []}, {"header": []}],
        "paths": paths,
        "components": {"securitySchemes": schemes, "schemas": {"Problem": wrong}},
    }  # fmt: skip


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    params: list[dict[str, Any]] = [
        {"name": param.name, "in": "query", "description": param.says, "schema": dict(param.schema)}
        for param in _params(endpoint)
    ]
    if "{id}" in endpoint.path:
        schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, "pattern": "^[A-Za-z0-9_.-]+$"}
        params.append({"name": "id", "in": "path", "required": True, "description": "The id.", "schema": schema})
    told: dict[str, Any] = {
        "operationId": endpoint.does.__name__,
        "summary": endpoint.says,
        "description": f"Needs a key with the right `{endpoint.need}`.",
        "parameters": params,
        "responses": {str(endpoint.status): _answer("Done."), "default": {
            "description": "Refused or failed.",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }},
    }  # fmt: skip
    if endpoint.body is not None:
        told["requestBody"] = {"content": {"application/json": {"schema": endpoint.body}}}
    return told


def _answer(says: str) -> dict[str, Any]:
    return {"description": says, "content": {"application/json": {"schema": {"type": "object"}}}}
