"""Domain values ↔ what the columns hold: ids, times, enumerations and compact JSON."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

try:
    import orjson
except ImportError:  # the gateway brings it; elsewhere the standard library is quick enough
    orjson = None

from tokenspace.domain import Basis, Drop, Entry, Kind, Patch, Put, Restore, Right, Status

T = TypeVar("T")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

REMEMBERED: Final = 16_384
"""So many bodies that were read are remembered, the last ones: about 30 MB where all are attempts."""
REMEMBERED_CHARS: Final = 4_096
"""A longer body is read anew each time."""

# Numbers in the database: append only, never reorder.
KINDS: Final[tuple[Kind, ...]] = (
    Kind.INSTRUCTION, Kind.RULE, Kind.FACT, Kind.EXAMPLE, Kind.TOOL_NOTE, Kind.SKILL, Kind.TOOL, Kind.RENDERER
)  # fmt: skip
STATUSES: Final[tuple[Status, ...]] = (Status.ACTIVE, Status.DRAFT, Status.QUARANTINED, Status.RETIRED)
BASES: Final[tuple[Basis, ...]] = ("tested", "human", "policy")
RIGHTS: Final[tuple[Right, ...]] = ("infer", "feedback", "read", "admin")


class Effect(IntEnum):
    """What a tomb row means: which operation wrote it, and whether it covers an inherited entry."""

    HIDDEN = 0  # a Drop of something inherited
    DROPPED = 1  # a Drop of what only this layer had
    RESTORED = 2  # a Restore: this layer says nothing about the entry any more
    ERASED = 3  # a Put whose text was erased: this layer says nothing about the entry any more


# ── ids and times ───────────────────────────────────────────────────────────────────────────

_HEX: Final = frozenset("0123456789abcdef")


def pack_id(id: str) -> bytes:
    """32 hexadecimal digits → 16 bytes; any other id (a session's name, say) → NUL, its UTF-8, never 16 bytes long."""
    if len(id) == 32 and _HEX.issuperset(id):
        return bytes.fromhex(id)
    raw = b"\0" + id.encode("utf-8", "surrogatepass")  # a query may hold anything
    return raw + b"\0" if len(raw) == 16 else raw


def unpack_id(raw: bytes) -> str:
    """The inverse of `pack_id` (ids hold no NUL: the border refuses them)."""
    return raw.hex() if len(raw) == 16 else raw.strip(b"\0").decode(errors="replace")


def pack_ids(ids: Sequence[str]) -> bytes:
    """Several ids in their order, each after a byte with its length (`border` sees to it that they fit)."""
    return b"".join(bytes((len(raw),)) + raw for raw in map(pack_id, ids))


def unpack_ids(raw: bytes) -> tuple[str, ...]:
    """The inverse of `pack_ids`."""
    if raw[::17] == b"\x10" * (len(raw) // 17) and len(raw) % 17 == 0:  # all of our own making: three times as fast
        digits = raw.hex()
        return tuple([digits[at : at + 32] for at in range(2, len(digits), 34)])
    return tuple(map(unpack_id, split_ids(raw)))


def split_ids(raw: bytes) -> list[bytes]:
    """The packed ids in what `pack_ids` made."""
    ids: list[bytes] = []
    at = 0
    while at < len(raw):
        end = at + 1 + raw[at]
        ids.append(raw[at + 1 : end])
        at = end
    return ids


def pack_time(at: datetime) -> int:
    """Milliseconds since 1970 in UTC, rounded down."""
    return (at - EPOCH) // MILLISECOND


def unpack_time(millis: int) -> datetime:
    """The inverse of `pack_time`."""
    return EPOCH + MILLISECOND * millis


# ── JSON ────────────────────────────────────────────────────────────────────────────────────

_OPS: Final[dict[str, type]] = {"put": Put, "patch": Patch, "drop": Drop, "restore": Restore}
_OP_NAMES: Final = {kind: name for name, kind in _OPS.items()}


def dumps(value: Any, *, skip: frozenset[str] = frozenset()) -> str:
    """Compact JSON of a dataclass without the fields that have their default, and without those in `skip`."""
    layout = _layout(cast("Any", type(value)))
    plain = value if layout is None else layout.plain(value, skip)
    made = None if orjson is None else _quickly(plain)
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), default=_plain) if made is None else made


def _quickly(plain: Any) -> str | None:
    """The same from a library that is ten times as fast; None where it cannot say it, or not so that it reads back."""
    assert orjson is not None
    ours = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    try:
        made = orjson.dumps(plain, default=_plain, option=ours)
    except TypeError:  # halves of surrogate pairs, long integers, keys that are no text
        return None
    return None if b"null" in made else made.decode()  # it may stand for a number that is none, such as infinity


def loads(kind: type[T], text: str, **given: Any) -> T:
    """The inverse of `dumps`; `given` supplies the fields that were skipped."""
    return kind(**{**told(kind, text), **given})


def told(kind: type, text: str) -> Mapping[str, Any]:
    """The fields that a text holds, by name: for those who need only some of them. Not to be changed."""
    return _remembered(kind, text) if len(text) <= REMEMBERED_CHARS else _read(kind, text)


def _read(kind: type, text: str) -> Mapping[str, Any]:
    return _fields(kind)(json.loads(text))


_remembered = lru_cache(maxsize=REMEMBERED)(_read)
"""What a scope has tried and was told is read again for every verdict, and never changes."""


def forget() -> None:
    """Remember nothing that was read before: some of it was erased."""
    _remembered.cache_clear()


def _plain(value: Any) -> Any:
    """One level of a value in what JSON has: a writer asks again for what is in it."""
    layout = _layout(cast("Any", type(value)))
    if layout is not None:
        return layout.plain(value, frozenset())
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): item for key, item in cast("Mapping[Any, Any]", value).items()}
    return list(value)


@cache
def field_names(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass, None for anything else."""
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) else None


@cache
def _layout(kind: type) -> _Layout | None:
    return _Layout(kind) if is_dataclass(kind) else None


class _Layout:
    """How a dataclass is written: the names of its fields, their defaults, and those that are tuples of floats."""

    def __init__(self, kind: type) -> None:
        told = fields(kind)
        names = [f.name for f in told]
        self._get: Callable[[Any], tuple[Any, ...]] = attrgetter(*names, names[0])  # never one name alone: no tuple
        self._defaults = [(f.name, _default(f)) for f in told]
        self._numbers = frozenset(name for name, hint in get_type_hints(kind).items() if hint == tuple[float, ...])
        self._tag = _OP_NAMES.get(kind)

    def plain(self, value: Any, skip: frozenset[str]) -> dict[str, Any]:
        """The fields that are not as they would be anyway."""
        body: dict[str, Any] = {}
        for (name, default), item in zip(self._defaults, self._get(value), strict=False):
            # 1 == True == 1.0: only a value of the default's own type may be left out.
            if item is default or (type(item) is type(default) and item == default) or name in skip:
                continue
            body[name] = _shortest(item) if name in self._numbers else item
        return {self._tag: body} if self._tag else body


def _default(f: Any) -> Any:
    """A field's default, `MISSING` where it has none that stays the same."""
    return f.default_factory() if isinstance(f.default_factory, type) else f.default


def _shortest(numbers: Sequence[float]) -> list[float]:
    """Whole numbers without their ".0": of scores, most are. Reading makes all of them floats again."""
    return [int(number) if float(number).is_integer() else number for number in numbers]


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """A function from parsed JSON to a value of the annotated type."""
    if get_origin(hint) is tuple:
        return _tuple_reader(get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return _union_reader(get_args(hint))
    if hint is datetime:
        return datetime.fromisoformat
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass_reader(hint)
    return _as_is  # str, int, float, bool, Literal, Mapping and Any are what JSON gives


def _tuple_reader(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    items = [float if arg is float else _reader(arg) for arg in args if arg is not Ellipsis]
    if args[-1] is Ellipsis:
        return lambda value: tuple(map(items[0], value))
    return lambda value: tuple(read(item) for read, item in zip(items, value, strict=True))


def _union_reader(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    if set(args) == set(_OPS.values()):
        return _op
    real = [arg for arg in args if arg is not type(None)]
    read = _reader(real[0]) if len(real) == 1 else _as_is
    return lambda value: None if value is None else read(value)


def _as_is(value: Any) -> Any:
    return value


def _dataclass_reader(kind: type) -> Callable[[Any], Any]:
    read = _fields(kind)
    return lambda value: kind(**read(value))


@cache
def _fields(kind: type) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function from a parsed JSON object to the fields of a dataclass; names that it does not have are left out."""
    hints = get_type_hints(kind)
    readers = {f.name: _reader(hints[f.name]) for f in fields(kind) if f.init}

    def read(value: dict[str, Any]) -> dict[str, Any]:
        return {name: reader(item) for name, item in value.items() if (reader := readers.get(name)) is not None}

    return read


def _op(value: dict[str, Any]) -> Any:
    ((tag, body),) = value.items()
    if tag == "patch":
        hints = get_type_hints(Entry)
        changes = {name: _reader(hints.get(name, Any))(item) for name, item in body["changes"].items()}
        return Patch(id=body["id"], changes=changes)
    return _reader(_OPS[tag])(body)
