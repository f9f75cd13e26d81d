"""`init` and `status`: a project, and how it stands."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tokenspace.cli.forget import operator
from tokenspace.cli.options import given, open_agent, project, settings, sqlite_path, verb
from tokenspace.cli.output import Short, emit, note, safe, table, without_password

if TYPE_CHECKING:
    from tokenspace.config import Settings

_COMMENTS: Final = {
    "agent": "The agent whose context is learned here.",
    "model": "The model that is asked: `tokenspace models` lists what is available.",
    "learner": "The model that reflects on failures and words proposals (default: none).",
    "store": "Where everything is kept; postgresql://user@host/database works as well.",
    "teachers": "Whose examples may teach everybody (default: you).",
    "principal": "Who you are (default: your login name).",
    "tenant": "Work in this tenant's context unless --tenant says otherwise.",
    "user": "Work in this user's context unless --user says otherwise.",
    "system": "The system message of every question that is a plain text.",
    "choices": "The only answers that the agent may give to such a question.",
    "share": "So many users must each have learned a lesson before it is proposed to all (default: 0, never).",
}
_EXAMPLES: Final[dict[str, Any]] = {
    "agent": "default", "model": "local", "learner": "openai/gpt-4.1", "store": "sqlite:///.tokenspace/store.db",
    "teachers": ["ana", "bilal"],
    "principal": "ana", "tenant": "acme", "user": "alice", "system": "Answer in one sentence.",
    "choices": ["refund", "repair", "other"], "share": 5,
}  # fmt: skip


def config_text(values: dict[str, Any], *, title: str = "Settings of tokenspace for this folder and all below.") -> str:
    """A config.toml that explains every setting; those without a value are commented out."""
    parts = [f"# {title}\n"]
    for key, comment in _COMMENTS.items():
        off = "" if values.get(key) else "# "
        value = json.dumps(values.get(key) or _EXAMPLES[key], ensure_ascii=False)
        parts.append(f"# {comment}\n{off}{key} = {value}\n")
    return "\n".join(parts)


@verb("init")
def init() -> None:
    """Make a store for an agent, here.

    Writes .tokenspace/config.toml, which explains every setting, and an empty store. What you say with --agent,
    --model, --store, --tenant and --user is written down. Running it again changes nothing.
    """
    from tokenspace.config import HOME

    folder = Path.cwd() / HOME
    config = folder / "config.toml"
    known = config.is_file()
    if not known:
        said = given()
        folder.mkdir(parents=True, exist_ok=True)
        values = {key: getattr(said, key) for key in ("agent", "model", "store", "tenant", "user")}
        config.write_text(config_text({"agent": Path.cwd().name, **{k: v for k, v in values.items() if v}}), "utf-8")
        (folder / ".gitignore").write_text(
            "# What was said to the agent is nobody else's business.\nstore.db*\nkeys/\n", "utf-8"
        )
    made = settings()
    fresh = _make_store(made)
    emit(
        lambda: {"home": folder, "created": not known, "agent": made.agent, "store": without_password(made.store)},
        lambda: (
            f"{folder} {'was here already' if known else 'is ready'}"
            f"{'; its store was missing and is made' if known and fresh else ''}: agent {safe(made.agent)}"
        ),
    )
    note('ask something: tokenspace ask "hello"')


def _make_store(made: Settings) -> bool:
    """Make or migrate the store; says whether it was made."""
    from tokenspace.domain import Scope
    from tokenspace.store import open_store

    Scope(agent=made.agent, tenant=made.tenant, user=made.user)  # a name that cannot be used is found now
    path = sqlite_path(made.store)
    fresh = path is not None and not path.exists()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    open_store(made.store).close()
    return fresh


@verb("status")
def status() -> None:
    """Say how things stand.

    Whose context, where it is kept, what is served, how much was learned, what waits and what was not learned from yet.
    """
    agent, found = open_agent(), project()
    now, waiting, fresh = agent.context(), agent.waiting(), agent.unlearned()
    unfinished = [
        one.id for one in operator(agent).pending_erasures()
        if agent.scope in one.subject.scope.layers or one.subject.scope in agent.scope.layers
    ]  # fmt: skip
    kinds = Counter(entry.kind.value for entry in now.entries)
    data: dict[str, Any] = {
        "agent": agent.scope.agent, "tenant": agent.scope.tenant, "user": agent.scope.user, "branch": agent.branch,
        "principal": agent.principal, "model": found.model, "store": without_password(found.store), "heads": now.heads,
        "entries": kinds, "waiting": len(waiting), "unlearned": len(fresh), "store_bytes": _bytes(found.store),
        "unfinished_erasures": unfinished,
    }  # fmt: skip

    def words() -> str:
        heads = zip(("base", "tenant", "user"), now.heads.ids[: len(now.layers)], strict=False)
        served = ", ".join(f"{name} {Short()(id)}" for name, id in heads)
        learned = ", ".join(f"{count} {kind.replace('_', ' ')}(s)" for kind, count in sorted(kinds.items()))
        branch = f" on branch {safe(agent.branch)}" if agent.branch else ""
        size = f" ({data['store_bytes'] / 1024:,.0f} KB)" if data["store_bytes"] else ""
        erasures = [["to be erased", f"{len(unfinished)} unfinished erasure(s) (tokenspace forget --resume)"]]
        return table([
            ["scope", f"{agent.scope}{branch}, as {safe(agent.principal)}"],
            ["model", safe(found.model)],
            ["store", f"{data['store']}{size}"],
            ["serving", served],
            ["learned", learned or "nothing yet"],
            ["held back", f"{len(waiting)}{' (tokenspace review)' if waiting else ''}"],
            ["not learned from", f"{len(fresh)} piece(s) of feedback{' (tokenspace learn)' if fresh else ''}"],
            *(erasures if unfinished else []),
        ])  # fmt: skip

    emit(lambda: data, words)


def _bytes(url: str) -> int:
    path = sqlite_path(url)
    return sum(os.path.getsize(f"{path}{end}") for end in ("", "-wal") if path and os.path.exists(f"{path}{end}"))  # noqa: PTH110, PTH202 - a suffix on a whole name
