"""The checks of `tokenspace doctor`: each looks at one thing and says what to do about it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tokenspace.cli.options import settings, sqlite_path
from tokenspace.cli.output import without_password
from tokenspace.errors import TokenspaceError

LOW_BYTES: Final = 1_000_000_000
NO_BYTES: Final = 50_000_000
IMPORT_S: Final = 60

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found about one thing, and what to do if that is not as it should be."""

    name: str
    state: State = "ok"
    found: str
    todo: str = ""


def all_checks() -> list[Check]:
    """Every check, in a fixed order; one that fails does not stop the others."""
    return [_run(name, check) for name, check in _CHECKS.items()]


def _run(name: str, check: Callable[[str], Check]) -> Check:
    try:
        return check(name)
    except TokenspaceError as error:
        return Check(name=name, state="fail", found=str(error), todo=error.hint)
    except OSError as error:
        return Check(name=name, state="fail", found=f"{error.filename or ''} {error.strerror}".strip())


def _python(name: str) -> Check:
    return Check(name=name, found=f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}")


def _sqlite(name: str) -> Check:
    from tokenspace.store.sqlite import MIN_VERSION

    wanted = ".".join(map(str, MIN_VERSION))
    if importlib.util.find_spec("pysqlite3") is None:
        return Check(name=name, state="fail", found="pysqlite3 is missing", todo="pip install 'pysqlite3>=0.6.1'")
    module = importlib.import_module("pysqlite3.dbapi2")
    found = f"{module.sqlite_version} (pysqlite3)"
    if module.sqlite_version_info < MIN_VERSION:
        return Check(name=name, state="fail", found=found, todo=f"install a pysqlite3 with SQLite {wanted} or later")
    return Check(name=name, found=found)


def _config(name: str) -> Check:
    found = settings()
    if found.home is None:
        return Check(name=name, state="warn", found="no .tokenspace here or above", todo="tokenspace init")
    return Check(name=name, found=f"{found.home / 'config.toml'}: agent {found.agent}, model {found.model}")


def _store(name: str) -> Check:
    from tokenspace.store import open_store
    from tokenspace.store.sql import SqlStore

    found = settings()
    path = sqlite_path(found.store)
    if path is not None and not path.exists():
        state: State = "warn" if found.home is None else "fail"
        return Check(name=name, state=state, found=f"there is none at {path}", todo="tokenspace init")
    if path is not None and not os.access(path, os.W_OK):
        return Check(name=name, state="fail", found=f"{path} is read-only", todo="make it and its folder writable")
    store = open_store(found.store)
    try:
        mode = ""
        if path is not None and isinstance(store, SqlStore):
            with store.db.administering(snapshot=True) as connection:
                mode = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())
    finally:
        store.close()
    if mode and mode != "wal":
        todo = "keep the store on a local disk: write-ahead logging does not work here"
        return Check(name=name, state="warn", found=f"{path}: journal mode {mode}", todo=todo)
    return Check(name=name, found=f"{without_password(found.store)}{', write-ahead log' if mode else ''}")


def _disk(name: str) -> Check:
    path = sqlite_path(settings().store)
    folder = next(
        one for one in ((path or Path.cwd()).absolute(), *(path or Path.cwd()).absolute().parents) if one.exists()
    )
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:,.1f} GB free"
    if free < NO_BYTES:
        return Check(name=name, state="fail", found=found, todo="free some space before anything else is written")
    return Check(name=name, state="warn" if free < LOW_BYTES else "ok", found=found,
                 todo="free some space" if free < LOW_BYTES else "")  # fmt: skip


def _model(name: str) -> Check:
    from tokenspace.models import resolve

    wanted = settings().model
    resolve(wanted)
    return Check(name=name, found=wanted)


def _embedded(name: str) -> Check:
    from tokenspace.models import LlamaModel

    problem = LlamaModel.available()
    if problem:
        todo = "pip install 'tokenspace[local]', or use another model"
        return Check(name=name, state="warn", found=problem, todo=todo)
    # In a process of its own: a library that is missing may end the process that loads it.
    command = [sys.executable, "-c", "import xllamacpp"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_S, check=False)  # noqa: S603 - fixed
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        todo = "install the OpenMP library: apt-get install libgomp1" if "libgomp" in last else "reinstall xllamacpp"
        return Check(name=name, state="fail", found=last, todo=todo)
    return Check(name=name, found="SmolLM2-135M-Instruct, and llama.cpp with its libraries (libgomp) loads")


def _embedder(name: str) -> Check:
    from tokenspace.recall import WordLlamaEmbedder

    if WordLlamaEmbedder.available():
        return Check(name=name, found="word vectors (wordllama)")
    todo = "pip install 'tokenspace[local]' finds more: similar words, not only similar letters"
    return Check(name=name, state="warn", found="feature hashing", todo=todo)


def _postgresql(name: str) -> Check:
    if importlib.util.find_spec("psycopg"):
        return Check(name=name, found="psycopg is installed")
    needed = settings().store.startswith("postgres")
    todo = "pip install 'tokenspace[postgres]'" + ("" if needed else ", if you want a store there")
    return Check(name=name, state="fail" if needed else "ok", found="psycopg is not installed", todo=todo)


def _editor(name: str) -> Check:
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    found = named or next((one for one in ("sensible-editor", "vim", "nano", "vi") if shutil.which(one)), None)
    if found is None:
        return Check(
            name=name, state="warn", found="none", todo="export EDITOR=…, or use `tokenspace edit --from FILE`"
        )
    if named and not shutil.which(named.split()[0]):
        return Check(name=name, state="warn", found=f"{named} is not here", todo="export EDITOR=… one that is")
    return Check(name=name, found=found)


_CHECKS: Final[dict[str, Callable[[str], Check]]] = {
    "Python": _python,
    "SQLite": _sqlite,
    "config": _config,
    "store": _store,
    "disk": _disk,
    "model": _model,
    "embedded model": _embedded,
    "embedder": _embedder,
    "PostgreSQL": _postgresql,
    "editor": _editor,
}
