"""`gateway.toml`: how a gateway runs, read once.

    port = 8811
    open_door = true

    [upstreams.openai]
    url = "https://api.openai.com/v1"
    dialects = ["chat", "responses"]
    headers = { authorization = "Bearer ${OPENAI_API_KEY}" }

What is given on the command line wins. `${NAME}` in a header is taken from the environment, so that no key stands in
the file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, cast, get_type_hints

from tokenspace.errors import BadData, UsageError
from tokenspace.gateway.wire import GatewaySettings, Upstream

FILE: Final = "gateway.toml"
ALL: Final = ("chat", "responses", "messages")
LOCAL: Final = Upstream(name="local", dialects=ALL)
"""The embedded model, which speaks everything."""

_PLAIN: Final = tuple(field.name for field in fields(GatewaySettings) if field.name != "upstreams")
_UPSTREAM: Final = ("url", "dialects", "headers")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KINDS: Final[Mapping[type, str]] = {
    str: "a text in quotes", int: "a whole number, 0 or more", float: "a number, 0 or more", bool: "true or false",
}  # fmt: skip


def load(
    path: Path | None,
    given: Mapping[str, Any],
    *,
    upstreams: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> GatewaySettings:
    """Settings from a file, if it is there, with what is `given` in its place; None in `given` means "not said".

    `upstreams` are as on the command line (see `upstream_of`) and take the place of those in the file. Raises
    `BadData` for a file that is not TOML, or that has unknown or wrong settings.
    """
    values = _read(path) if path is not None and path.is_file() else {}
    tables = values.pop("upstreams", {})
    where = str(path) if path else FILE
    values |= {name: value for name, value in given.items() if value is not None}
    _check(values, where)
    found = [upstream_of(text, alone=len(upstreams) == 1) for text in upstreams]
    if not found:
        if not isinstance(tables, dict):
            raise BadData(f"{where}: upstreams is no table", hint="write [upstreams.NAME], then url = …")
        named = cast("Mapping[str, object]", tables)
        found = [_upstream(name, table, where, environ, alone=len(named) == 1) for name, table in named.items()]
    return GatewaySettings(**values, upstreams=tuple(found) or (LOCAL,))


def upstream_of(text: str, *, alone: bool) -> Upstream:
    """NAME=URL, with the dialects that it speaks behind it if they are not the usual: NAME=URL,chat,responses.

    An empty URL is the embedded model. Where several are named, Anthropic is taken to speak Messages and others Chat
    Completions and Responses; one `alone` gets everything.

    >>> upstream_of("openai=https://api.openai.com/v1", alone=False).dialects
    ('chat', 'responses')
    """
    name, sign, rest = text.partition("=")
    url, *dialects = rest.split(",")
    unknown = sorted(set(dialects) - {*ALL})
    if not name or not sign or unknown:
        raise UsageError(
            f"{text!r} is no upstream{f': there is no dialect {unknown[0]!r}' if unknown else ''}",
            hint=f"write NAME=URL, such as openai=https://api.openai.com/v1; dialects are {', '.join(ALL)}",
        )
    return Upstream(name=name, url=url, dialects=tuple(dialects) or _usual(name, url, alone=alone))


def _usual(name: str, url: str, *, alone: bool) -> tuple[str, ...]:
    if alone or not url:
        return ALL
    return ("messages",) if "anthropic" in f"{name} {url}" else ("chat", "responses")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadData(f"{path} cannot be read: {error}", hint="mend it, or move it away") from error


def _check(values: Mapping[str, object], where: str) -> None:
    unknown = sorted(set(values) - {*_PLAIN})
    if unknown:
        raise BadData(
            f"{where} has unknown settings: {', '.join(unknown)}", hint=f"known are {', '.join(_PLAIN)} and upstreams"
        )
    hints = get_type_hints(GatewaySettings)
    for name, value in values.items():
        kind = hints[name]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        fits = fits or (kind is float and number)
        if not fits or (isinstance(value, (int, float)) and number and not 0 <= value < 1e12):
            raise BadData(f"{where}: {name} is not what it should be", hint=f"make it {_KINDS[kind]}")
    port = values.get("port", 0)
    if isinstance(port, int) and port > 65_535:
        raise BadData(f"{where}: there is no port {port}", hint="ports end at 65535")


def _upstream(name: str, table: object, where: str, environ: Mapping[str, str], *, alone: bool) -> Upstream:
    known: Mapping[str, Any] = cast("dict[str, Any]", table) if isinstance(table, dict) else {}
    unknown = sorted(set(known) - {*_UPSTREAM})
    url, headers = known.get("url", ""), known.get("headers", {})
    if not isinstance(table, dict) or unknown or not isinstance(url, str):
        said = f"unknown: {', '.join(unknown)}" if unknown else "no table with a url"
        raise BadData(f"{where}: [upstreams.{name}] has {said}", hint=f"known are {', '.join(_UPSTREAM)}")
    dialects = known.get("dialects", [*_usual(name, url, alone=alone)])
    if not isinstance(dialects, list) or not {*ALL}.issuperset(map(str, cast("list[object]", dialects))):
        raise BadData(f"{where}: the dialects of {name} are not known", hint=f"a list of {', '.join(ALL)}")
    if not isinstance(headers, dict) or not all(
        isinstance(one, str) for one in cast("dict[str, object]", headers).values()
    ):
        raise BadData(f"{where}: the headers of {name} are no texts", hint='{ authorization = "Bearer ${NAME}" }')
    filled = {key: _filled(one, where, environ) for key, one in cast("dict[str, str]", headers).items()}
    return Upstream(name=name, url=url, dialects=tuple(map(str, cast("list[object]", dialects))), headers=filled)


def _filled(text: str, where: str, environ: Mapping[str, str]) -> str:
    missing = [name for name in _VARIABLE.findall(text) if not environ.get(name)]
    if missing:
        raise BadData(f"{where} needs {missing[0]} from the environment", hint=f"export {missing[0]}=…")
    return _VARIABLE.sub(lambda found: environ[found[1]], text)
