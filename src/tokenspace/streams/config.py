"""What `tokenspace stream RUN.toml` reads: a stream, an agent, arms, and how often they are run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, cast

from tokenspace.errors import BadData

ARMS: Final = ("tokenspace", "none", "history", "nearest", "append")
"""Ours first, then the baselines: no memory, full history truncated, verified nearest examples, all notes."""

_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "data": ("source", "labels", "stages", "tasks", "exam", "relabel", "relabel_at", "relabel_to", "rename", "noise"),
    "agent": ("model", "system", "context_tokens", "recalled", "user", "output_tokens"),
    "run": ("arms", "orders", "seeds", "delay", "learn_every", "sleep_every", "sleep_calls", "approvals",
            "checkpoint_every", "window", "hindsight"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """One run, which is every arm × order × seed.

    **The stream.** `tasks` of `source` (banking77, clinc150, memprompt or a CSV file), of `labels` that are drawn (0:
    all), in `stages` one after the other, each with an `exam` of that many unseen items. From task `relabel_at` on,
    `relabel` labels have other names: `relabel_to` "swapped" (each other's) or "new". With `rename`, labels have
    names from the beginning that say nothing about them. The share `noise` of what is
    taught is wrong.

    **The agent.** `model` as in `tokenspace models`; every arm has `context_tokens` for a prompt (0: the model's own)
    and shows at most `recalled` entries that were recalled (0: as many as the model's profile says). With a `user`, it
    is that person's own layer, and only they speak.

    **The run.** Feedback comes `delay` tasks later: a correction where the answer was wrong, an approval of the share
    `approvals` of the right ones. Ours learns after every `learn_every` pieces of feedback and sleeps after every
    `sleep_every` tasks (0: only at the end) with `sleep_calls` replays. Calls are kept on disk after every
    `checkpoint_every` tasks. `window` is the width of the curve; `hindsight` measures the best fixed context.
    """

    name: str = "stream"
    source: str = "banking77"
    labels: int = 0
    stages: int = 1
    tasks: int = 400
    exam: int = 0
    relabel: int = 0
    relabel_at: int = 0
    relabel_to: str = "swapped"
    rename: bool = False
    noise: float = 0.0
    model: str = "nearest"
    system: str = "Answer with one of the labels only."
    context_tokens: int = 2_000
    recalled: int = 0
    output_tokens: int = 24
    user: str = ""
    arms: tuple[str, ...] = ARMS
    orders: int = 1
    seeds: tuple[int, ...] = (1,)
    delay: int = 0
    learn_every: int = 1
    sleep_every: int = 100
    sleep_calls: int = 100
    approvals: float = 1.0
    checkpoint_every: int = 50
    window: int = 50
    hindsight: bool = True
    home: Path = field(default_factory=Path, compare=False)


def read_config(path: Path) -> StreamConfig:
    """The run that a TOML file describes. Raises `BadData` for what is not such a file, naming the setting."""
    try:
        body: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror}", hint="give the path of a TOML file") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadData(f"{path} is not TOML: {error}", hint="see docs/streams.md for an example") from error
    values: dict[str, Any] = {"name": body.pop("name", path.stem)}
    for section, known in _SECTIONS.items():
        given = cast("dict[str, Any]", body.pop(section, {}))
        if not isinstance(given, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # TOML may hold anything
            raise BadData(f"{path}: {section} is no section", hint=f"write [{section}] above its settings")
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise BadData(f"{path}: [{section}] has unknown settings: {', '.join(unknown)}",
                          hint=f"known are {', '.join(known)}")  # fmt: skip
        values |= given
    if body:
        raise BadData(
            f"{path} has unknown sections: {', '.join(sorted(body))}", hint=f"known are {', '.join(_SECTIONS)}"
        )
    source = Path(str(values.get("source", "banking77")))
    if source.suffix == ".csv" and not source.is_absolute():
        values["source"] = str(path.parent / source)
    return checked(StreamConfig(**_typed(values, path), home=path.parent))


def _typed(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    found = dict(values)
    defaults = {one.name: one.default for one in fields(StreamConfig)}
    for name, value in values.items():
        want = defaults[name]
        if isinstance(want, tuple):
            found[name] = tuple(cast("list[Any]", value)) if isinstance(value, list) else None
            kind = type(want[0])  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            fits = found[name] and all(type(one) is kind for one in found[name])
        elif isinstance(want, float):
            fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        else:
            fits = type(value) is type(want)
        if not fits:
            raise BadData(f"{path}: {name} = {value!r} is not what it should be", hint=f"such as: {name} = {want!r}")
    return found


def checked(config: StreamConfig) -> StreamConfig:
    """The same run, or `BadData` where numbers make no sense."""
    unknown = sorted(set(config.arms) - set(ARMS))
    wrong = {
        f"arms has {', '.join(unknown)}": bool(unknown),
        "tasks, stages, orders and window must be at least 1": min(
            config.tasks, config.stages, config.orders, config.window) < 1,
        "learn_every and checkpoint_every must be at least 1": min(config.learn_every, config.checkpoint_every) < 1,
        "noise and approvals are shares": not (0 <= config.noise <= 1 and 0 <= config.approvals <= 1),
        'relabel_to is "swapped" or "new"': config.relabel_to not in ("swapped", "new"),
        "delay, exam, recalled, relabel, sleep_every and sleep_calls are not negative": min(
            config.delay, config.exam, config.recalled, config.relabel, config.sleep_every, config.sleep_calls) < 0,
    }  # fmt: skip
    for words, broken in wrong.items():
        if broken:
            raise BadData(words, hint=f"arms are {', '.join(ARMS)}; see docs/streams.md")
    return config
