"""Which models can be used here, and a name to a model.

Probing asks only this machine, for a third of a second, and never sends a key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tokenspace.errors import UsageError
from tokenspace.models.anthropic import AnthropicModel
from tokenspace.models.llama import LlamaModel
from tokenspace.models.nearest import NearestModel
from tokenspace.models.openai import OPENAI, OpenAIModel
from tokenspace.models.profiles import profile_of
from tokenspace.protocols import Model

PROBE_S: Final = 0.3
KEY_FOR_URLS: Final = "TOKENSPACE_MODEL_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A way to get a model. `name` is what `resolve` takes, where it is ready; `what_to_do` is the next step."""

    name: str
    ready: bool
    what_to_do: str
    models: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    """A model server on this machine, at its usual port."""

    prefix: str
    title: str
    base_url: str
    start: str
    example: str
    context_tokens: int = 3_584  # what such servers open by default, less room for an answer; Ollama cuts silently


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hosted:
    """A provider that needs a key."""

    prefix: str
    title: str
    base_url: str
    variable: str
    example: str


LOCAL: Final = (
    _Local(
        prefix="ollama",
        title="Ollama",
        base_url="http://127.0.0.1:11434/v1",
        start="start Ollama (`ollama serve`) and get a model: `ollama pull llama3.2`",
        example="llama3.2",
    ),
    _Local(
        prefix="lmstudio",
        title="LM Studio",
        base_url="http://127.0.0.1:1234/v1",
        start="start LM Studio, load a model and switch its server on",
        example="your-model",
    ),
    _Local(
        prefix="llamacpp",
        title="a llama.cpp server",
        base_url="http://127.0.0.1:8080/v1",
        start="start one: `llama-server -m model.gguf --port 8080`",
        example="default",
    ),
)
HOSTED: Final = (
    _Hosted(prefix="openai", title="OpenAI", base_url=OPENAI, variable="OPENAI_API_KEY", example="gpt-4.1-mini"),
    _Hosted(
        prefix="anthropic", title="Anthropic", base_url="", variable="ANTHROPIC_API_KEY", example="claude-sonnet-4-5"
    ),
    _Hosted(
        prefix="openrouter",
        title="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        variable="OPENROUTER_API_KEY",
        example="meta-llama/llama-3.3-70b-instruct",
    ),
)


def available(environ: Mapping[str, str] = os.environ) -> list[ModelInfo]:
    """Everything that `resolve` knows, in a fixed order, ready or not."""
    with ThreadPoolExecutor(max_workers=len(LOCAL)) as pool:
        served = list(pool.map(_served, LOCAL))
    return [_embedded(), *served, *(_hosted(provider, environ) for provider in HOSTED), _nearest()]


def resolve(name: str, *, environ: Mapping[str, str] = os.environ) -> Model:
    """A model by its name; nothing is loaded or called yet.

    "local" or the path of a .gguf file; "nearest"; "ollama/NAME", "lmstudio/NAME", "llamacpp/NAME" on this machine;
    "openai/NAME", "anthropic/NAME", "openrouter/NAME" with the provider's key in the environment;
    "http://host:port/v1#NAME" for any other server, with a key, if it needs one, in TOKENSPACE_MODEL_KEY.
    Raises UsageError for anything else, with what is ready in its hint.
    """
    prefix, _, model = name.partition("/")
    if name.startswith(("http://", "https://")):
        base_url, _, model = name.partition("#")
        if not model:
            raise UsageError(f"{name!r} does not say which model", hint=f"write it like {base_url}#MODEL")
        return OpenAIModel(model, base_url=base_url, api_key=environ.get(KEY_FOR_URLS, ""))
    if name.endswith(".gguf"):
        return _from_file(Path(name))
    for server in LOCAL:
        if prefix == server.prefix and model:
            profile = replace(profile_of(model), context_tokens=server.context_tokens)
            return OpenAIModel(model, base_url=server.base_url, profile=profile)
    for provider in HOSTED:
        if prefix == provider.prefix and model:
            return _with_key(provider, model, environ)
    plain: dict[str, Callable[[], Model]] = {"local": LlamaModel, "nearest": NearestModel}
    if name not in plain:
        ready = [info.name for info in available(environ) if info.ready]
        raise UsageError(f"there is no model {name[:80]!r}", hint="ready here: " + ", ".join(ready))
    return plain[name]()


def _from_file(path: Path) -> Model:
    if not path.is_file():
        raise UsageError(
            f"there is no file {path}", hint="give the path of a GGUF file, or `local` for the embedded one"
        )
    return LlamaModel(path)


def _with_key(provider: _Hosted, model: str, environ: Mapping[str, str]) -> Model:
    key = environ.get(provider.variable, "").strip()
    if not key:
        raise UsageError(
            f"{provider.title} needs a key",
            hint=f"export {provider.variable}=…, or use --model local, which needs none",
        )
    if provider.prefix == "anthropic":
        return AnthropicModel(model, api_key=key)
    return OpenAIModel(model, base_url=provider.base_url, api_key=key)


def _embedded() -> ModelInfo:
    problem = LlamaModel.available()
    todo = "use it: --model local" if problem is None else f"{problem}: pip install 'tokenspace[local]'"
    return ModelInfo(name="local", ready=problem is None, what_to_do=todo)


def _nearest() -> ModelInfo:
    todo = "use it: --model nearest (no language model: copies the nearest example, for trying things out)"
    return ModelInfo(name="nearest", ready=True, what_to_do=todo)


def _hosted(provider: _Hosted, environ: Mapping[str, str]) -> ModelInfo:
    ready = bool(environ.get(provider.variable, "").strip())
    name = f"{provider.prefix}/{provider.example}"
    todo = f"use it: --model {name}" if ready else f"export {provider.variable}=… to use {provider.title}"
    return ModelInfo(name=name, ready=ready, what_to_do=todo)


def _served(server: _Local) -> ModelInfo:
    models = _listed(server.base_url)
    name = f"{server.prefix}/{models[0] if models else server.example}"
    if models is None:
        todo = server.start
    else:
        todo = f"use it: --model {name}" if models else f"{server.title} runs without a model: load one"
    return ModelInfo(name=name, ready=bool(models), what_to_do=todo, models=models or ())


def _listed(base_url: str) -> tuple[str, ...] | None:
    """The models that a server on this machine offers, by the list that all of them have; None if none answers."""
    import httpx

    try:
        with httpx.Client(timeout=PROBE_S, trust_env=False, follow_redirects=False) as client:
            answer = client.get(f"{base_url}/models")
        told: Any = answer.json()
        return tuple(sorted(str(model["id"]) for model in told["data"])) if answer.is_success else None
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
