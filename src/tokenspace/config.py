"""Settings, read once, and `build`, the only place where the parts are put together.

A project keeps its store and its settings in a folder `.tokenspace/`, found from the current folder upwards as git
does it. What is given in a call wins over the environment (`TOKENSPACE_AGENT`, `_STORE`, `_MODEL`, `_LEARNER`,
`_TENANT`, `_USER`, `_PRINCIPAL`, `_KEYS`, `_SHARE`), and that over `.tokenspace/config.toml`.
"""

from __future__ import annotations

import getpass
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from tokenspace.errors import BadData, UsageError

if TYPE_CHECKING:
    from tokenspace.domain import GraderSpec
    from tokenspace.gates import GateSettings, ReleaseCheck, Watch
    from tokenspace.loop import Runtime
    from tokenspace.protocols import Agent, Gate, Grader, Model, Proposer, Store

HOME: Final = ".tokenspace"
_KEYS: Final = (
    "agent", "store", "model", "learner", "tenant", "user", "principal", "teachers", "operators", "system", "choices",
    "keys", "share",
)  # fmt: skip
_LISTS: Final = ("teachers", "operators", "choices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a project wants.

    `model` acts; `learner` names the model that reflects on failures and words proposals, "" for none: then only what
    needs no model is proposed. `principal` is who speaks here; `teachers` may teach examples to shared layers, and what
    `operators` say needs the support of nobody else.
    `system` and `choices` are the agent's own system message and the only answers that it may give: they go with
    every request that is a plain text. `keys` is the folder of the keys that seal what users say, "off" for none; see
    `store.open_store` for the default.

    `share` is how many distinct principals must each have learned a lesson before it is proposed to the layer that they
    share, three at least; 0, the default, shares nothing. It is off because it lets what some users said show in what
    others are answered, which is a purpose that the operator answers for, and because a layer in which it is off is the
    same, byte for byte, whatever other users do. Five is what the figures of attacks were measured with.
    """

    agent: str = "default"
    store: str = ""
    model: str = "local"
    learner: str = ""
    tenant: str = ""
    user: str = ""
    principal: str = ""
    teachers: frozenset[str] = field(default_factory=frozenset)
    operators: frozenset[str] = field(default_factory=frozenset)
    system: str = ""
    choices: tuple[str, ...] = ()
    keys: str = ""
    share: int = 0
    home: Path | None = None

    def keys_of(self, store: str) -> str | None:
        """The folder of a store's keys, None for the default beside its file; a server's are in the project's."""
        if self.keys or self.home is None or not store.startswith("postgres"):
            return self.keys or None
        return os.environ.get("TOKENSPACE_KEYS") or str(self.home / "keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that one agent learns with; `system`, `choices` and `share` as in `Settings`.

    `rules` are those of the gate, None for their defaults. `proposers_on` makes the same proposers for another runtime,
    whose store and clock they ask; None where they ask none.
    """

    runtime: Runtime
    gate: Gate
    watch: Watch
    release: ReleaseCheck
    graders: Callable[[GraderSpec], Grader]
    proposers: tuple[Proposer, ...]
    system: str = ""
    choices: tuple[str, ...] = ()
    share: int = 0
    rules: GateSettings | None = None
    proposers_on: Callable[[Runtime], tuple[Proposer, ...]] | None = None


def find_home(start: Path | None = None) -> Path | None:
    """The nearest `.tokenspace` folder at or above `start` (default: the current folder)."""
    here = (start or Path.cwd()).resolve()
    return next((folder / HOME for folder in (here, *here.parents) if (folder / HOME / "config.toml").is_file()), None)


def load(given: Mapping[str, Any] | None = None, *, start: Path | None = None) -> Settings:
    """Settings from arguments, environment and file, in this order; None in `given` means "not said".

    Raises `BadData` for a file that is not TOML or has unknown keys, `UsageError` for a number that is none.
    """
    home = find_home(start)
    values: dict[str, Any] = _read(home / "config.toml") if home else {}
    if home and str(values.get("store", "")).startswith("sqlite:///"):
        # A relative path in the file means the same from every folder below.
        values["store"] = f"sqlite:///{home.parent / values['store'].removeprefix('sqlite:///')}"
    if home and values.get("keys", "off") != "off":
        values["keys"] = str(home.parent / Path(values["keys"]).expanduser())
    values |= {
        key: os.environ[f"TOKENSPACE_{key.upper()}"] for key in _KEYS if f"TOKENSPACE_{key.upper()}" in os.environ
    }
    values |= {key: value for key, value in (given or {}).items() if value is not None}
    for key in _LISTS:
        if isinstance(values.get(key), str):
            values[key] = [name.strip() for name in values[key].split(",") if name.strip()]
    values["choices"] = tuple(values.get("choices", ()))
    values["share"] = _support(values.get("share", 0))
    values["principal"] = values.get("principal") or _login()
    # Who works alone on a machine is its operator, and may teach the shared layers.
    values["teachers"] = frozenset(values.get("teachers", [values["principal"]]))
    alone = [] if values.get("user") else [values["principal"]]
    values["operators"] = frozenset(values.get("operators", alone))
    if not values.get("store"):
        values["store"] = f"sqlite:///{(home or Path.cwd() / HOME) / 'store.db'}"
    return Settings(home=home, **values)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadData(
            f"{path} cannot be read: {error}", hint="mend it, or run `tokenspace init` in a new folder"
        ) from error
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise BadData(f"{path} has unknown settings: {', '.join(unknown)}", hint=f"known are {', '.join(_KEYS)}")
    for key, value in values.items():
        if key == "share":
            _support(value)
            continue
        texts = cast("list[Any]", value) if key in _LISTS and isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            wanted = 'a list of texts in quotes, such as ["a", "b"]' if key in _LISTS else "a text in quotes"
            raise BadData(f"{path}: {key} is not what it should be", hint=f"make it {wanted}")
    return values


def _support(said: object) -> int:
    """How many principals a shared lesson needs, from a file, a call or the environment."""
    text = said.strip() if isinstance(said, str) else "" if isinstance(said, bool) else str(said)
    support = int(text) if text.isascii() and text.isdigit() and len(text) <= len("100000") else -1
    if support:
        from tokenspace.proposers.share import LEAST_SUPPORT, SUPPORT

        if support < LEAST_SUPPORT:
            hint = f"0 shares nothing; otherwise say {LEAST_SUPPORT} principals or more, such as {SUPPORT}"
            raise UsageError(f"share is {said!r}", hint=hint)
    return support


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


def utc_now() -> datetime:
    """The clock of everything that is built here."""
    return datetime.now(UTC)


def build(
    settings: Settings,
    *,
    model: str | Model | Agent | None = None,
    store: Store | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Parts:
    """Open the store, resolve the model (which is loaded on first use) and compose loop, proposers and gate."""
    from tokenspace.gates import GateSettings, ReleaseCheck, ReplayGate, Watch
    from tokenspace.graders import build as build_grader
    from tokenspace.loop import Runtime
    from tokenspace.recall import HybridRecall, default_embedder
    from tokenspace.store import open_store

    agent, judge = _agent(settings.model if model is None else model)
    recall = HybridRecall(default_embedder())
    if store is None:
        _make_folder(settings.store)
        store = open_store(settings.store, clock=clock, keys=settings.keys_of(settings.store))
    runtime = Runtime(store=store, recall=recall, agent=agent, clock=clock)
    rules = GateSettings(teachers=settings.teachers, operators=settings.operators)

    def graders(spec: GraderSpec) -> Grader:
        return build_grader(spec, model=judge)

    learner = _model(settings.learner) if settings.learner else None

    def proposers(run: Runtime) -> tuple[Proposer, ...]:
        return proposers_for(run, rules, learner=learner)

    gate = ReplayGate(runtime, graders, settings=rules)
    return Parts(
        runtime=runtime,
        gate=gate,
        watch=Watch(runtime, gate),
        release=ReleaseCheck(runtime, graders, settings=rules),
        graders=graders,
        proposers=proposers(runtime),
        proposers_on=proposers,
        system=settings.system,
        choices=settings.choices,
        share=settings.share,
        rules=rules,
    )


def proposers_for(run: Runtime, rules: GateSettings, *, learner: Model | None) -> tuple[Proposer, ...]:
    """Every strategy in the order in which sleep asks them; those that need a model only where there is a `learner`."""
    from tokenspace import proposers as p

    asker = p.Asker(model=learner, store=run.store) if learner else None
    rename, retire = (
        of(
            run.recall, neighbours=rules.neighbours, outvoted=rules.outvoted, teachers=rules.teachers,
            trusted=rules.operators,
        )
        for of in (p.Rename, p.Retire)
    )  # fmt: skip
    plain = (p.Remember(), p.Fact(asker), p.Adopt(facts=True), p.ToolNote())
    asking = (p.AskedToolNote(asker), p.Reflect(asker), p.Contrast(asker), p.Rewrite(asker)) if asker else ()
    skill = (p.Skill(asker, recall=run.recall),) if asker else ()
    expire = p.Expire(store=run.store, clock=run.clock)
    consolidate = p.Consolidate(run.recall, store=run.store, clock=run.clock, asker=asker)
    return (*plain, *asking, *skill, rename, retire, expire, consolidate)


def _model(name: str) -> Model:
    from tokenspace.models import resolve

    return resolve(name)


def _agent(model: str | Model | Agent) -> tuple[Agent, Model | None]:
    """A way to act, and the model that may judge rubrics, if there is one."""
    from tokenspace.agents import ChatAgent
    from tokenspace.models import resolve

    if isinstance(model, str):
        model = resolve(model)
    if hasattr(model, "complete"):
        return ChatAgent(model), model  # pyright: ignore[reportArgumentType, reportReturnType]  # told apart by its verb
    if not hasattr(model, "run"):
        raise UsageError(f"{model!r} is neither a model nor an agent", hint="give a name, a Model or an Agent")
    return model, None  # pyright: ignore[reportReturnType]  # told apart by its verb


def _make_folder(url: str) -> None:
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).expanduser().parent.mkdir(parents=True, exist_ok=True)
