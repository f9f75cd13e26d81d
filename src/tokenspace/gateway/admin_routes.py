"""What the admin API can be asked, in one table: each row is a route, its documentation and its right in one.

Every handler gets an `Ask`, whose agent is in the scope that the key may see, and runs in a thread. Nothing here
reaches another tenant: a tenant's key has no scope outside it, and ids are looked up in the scope alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from tokenspace.api import LearningAgent
from tokenspace.auditing import DEEDS, Question, forgotten, since_of, told_event
from tokenspace.auditing import audit as events
from tokenspace.context import to_markdown
from tokenspace.domain import ApiKey, Attempt, Right, Scope
from tokenspace.errors import NotFound, UsageError
from tokenspace.gateway.errors import RightMissing
from tokenspace.gateway.keys import RIGHTS, KeyRing, find_key, make_key, revoke_key
from tokenspace.protocols import Admin

if TYPE_CHECKING:
    from tokenspace.forget import Beside

T = TypeVar("T")

PAGE: Final = 50
MAX_PAGE: Final = 200
MAX_OFFSET: Final = 100_000
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A query parameter: what it is about, and its JSON schema."""

    name: str
    says: str
    schema: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One authenticated request. `query` holds every declared parameter, its default where it was not given."""

    agent: LearningAgent
    key: ApiKey
    ring: KeyRing
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]

    @property
    def admin(self) -> Admin:
        """What reaches across scopes; its handlers narrow it to the key's own."""
        return self.ring.admin

    @property
    def scope(self) -> Scope:
        """The scope that is asked about."""
        return self.agent.scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A route: who may use it, what it says of itself, and what it does. `scoped` ones take agent, tenant and user."""

    method: Literal["GET", "POST"]
    path: str
    need: Right
    says: str
    does: Callable[[Ask], Any]
    query: tuple[Param, ...] = ()
    body: Schema | None = None
    scoped: bool = True
    status: int = 200


# ── answers ─────────────────────────────────────────────────────────────────────────────────


def _page(ask: Ask, items: Sequence[T], told: Callable[[T], Any] = lambda item: item) -> dict[str, Any]:
    """One page of what there is; `next` is the offset of the next one, None after the last."""
    start, limit = ask.query["offset"], ask.query["limit"]
    some = items[start : start + limit]
    return {"items": [told(item) for item in some], "next": start + limit if len(items) > start + limit else None}


def _reach(ask: Ask) -> int:
    """How many of the newest are needed to fill this page, and to know whether there is another."""
    return ask.query["offset"] + ask.query["limit"] + 1


def health(ask: Ask) -> Any:
    """The version and the time; that it answers says that the store can be read."""
    from tokenspace import __version__

    return {"version": __version__, "at": ask.ring.clock(), "head": ask.agent.heads.of(ask.scope)}


def _scopes(ask: Ask, agent: str | None = None) -> list[Scope]:
    """All scopes that the key may see."""
    tenant = ask.key.tenant
    return [one for one in ask.admin.scopes(ask.key.agent or agent or None) if not tenant or one.tenant == tenant]


def agents(ask: Ask) -> Any:
    """The agents that hold anything for this key, with the number of their scopes."""
    counts: dict[str, int] = {}
    for scope in _scopes(ask):
        counts[scope.agent] = counts.get(scope.agent, 0) + 1
    return _page(ask, sorted(counts.items()), lambda one: {"agent": one[0], "scopes": one[1]})


def scopes(ask: Ask) -> Any:
    """The scopes with what is served in them."""
    found = _scopes(ask, ask.query["agent"])
    return _page(ask, found, lambda one: {"scope": one, "heads": ask.agent.store.heads(one)})


def context(ask: Ask) -> Any:
    """The entries, each with its blame and what the gate's tests have shown of it."""
    found = ask.agent.context(ask.query["revision"] or None)
    blame, lift = ask.agent.store.blame(ask.scope, found.heads), ask.agent.lift()

    def told(entry: Any) -> Any:
        shown = {
            model: {
                "fixes": one.fixes,
                "breaks": one.breaks,
                "ties": one.ties,
                "mean": one.mean,
                "probability": one.probability,
            }
            for model, one in lift.get(entry.id, {}).items()
        }
        return {"entry": entry, "blame": blame.get(entry.id), "lift": shown}

    return {"scope": ask.scope, "heads": found.heads, **_page(ask, found.entries, told)}


def text(ask: Ask) -> Any:
    """The context as Markdown documents by file name."""
    found = ask.agent.context(ask.query["revision"] or None)
    blame = ask.agent.store.blame(ask.scope, found.heads) if ask.query["blame"] else None
    return {"heads": found.heads, "documents": to_markdown(found, blame=blame)}


def revisions(ask: Ask) -> Any:
    """The history, newest first."""
    return _page(ask, ask.agent.log(limit=_reach(ask)))


def revision(ask: Ask) -> Any:
    """One revision of the scope's own layer."""
    return ask.agent.show(ask.path["id"])


def diff(ask: Ask) -> Any:
    """What a revision changed."""
    return {"diff": ask.agent.diff(ask.query["since"] or None, ask.path["id"])}


def revert(ask: Ask) -> Any:
    """Take a revision back."""
    return ask.agent.revert(ask.path["id"], reason=ask.body.get("reason", ""))


def attempts(ask: Ask) -> Any:
    """Everything that was tried, newest first."""
    found = ask.agent.store.attempts(ask.scope, decision=ask.query["decision"] or None, limit=_reach(ask))
    return _page(ask, found[::-1])


def attempt(ask: Ask) -> Any:
    """One attempt."""
    return _attempt(ask)


def verdict(ask: Ask) -> Any:
    """Why the gate decided so, with every number."""
    return ask.agent.gate.explain(_attempt(ask))


def evidence(ask: Ask) -> Any:
    """The tested cases with the answers before and after."""
    return {
        "items": [
            {
                "case": one.case.id,
                "request": one.case.request.query,
                "expected": one.case.grader.expected,
                "difference": one.difference,
                "before": one.before,
                "after": one.after,
            }
            for one in ask.agent.gate.evidence(_attempt(ask))
        ]
    }


def review(ask: Ask) -> Any:
    """What waits for a person, oldest first, with the feedback that it is about."""
    said = {item.id: item for item in ask.agent.store.feedback(ask.scope)}

    def told(one: Attempt) -> Any:
        return {"attempt": one, "feedback": [said[id] for id in one.evidence if id in said]}

    return _page(ask, ask.agent.waiting(), told)


def approve(ask: Ask) -> Any:
    """Commit it."""
    return ask.agent.approve(_attempt(ask).id)


def decline(ask: Ask) -> Any:
    """Reject it."""
    return ask.agent.decline(_attempt(ask).id, reason=ask.body.get("reason", ""))


def canaries(ask: Ask) -> Any:
    """Edits under watch. Those of the shared base are shown to the operator only: other tenants are counted in them."""
    found = ask.agent.gate.canaries(ended=ask.query["ended"])
    own = [one for one in found if not ask.key.tenant or one[0].scope.tenant == ask.key.tenant]
    return _page(ask, own, lambda one: {"canary": one[0], "look": one[1]})


def gate(ask: Ask) -> Any:
    """How the gate fares, by tier."""
    return {"tiers": ask.agent.gate.report()}


def episodes(ask: Ask) -> Any:
    """What was asked and answered, newest first."""
    return _page(ask, ask.agent.store.episodes(ask.scope, limit=_reach(ask)))


def episode(ask: Ask) -> Any:
    """One episode, by our id or the provider's, with what was said about it."""
    store, id = ask.agent.store, ask.path["id"]
    found = store.episode(ask.scope, store.episode_of(ask.scope, id) or id)
    return {"episode": found, "feedback": [one for one in store.feedback(ask.scope) if one.episode == found.id]}


def _attempt(ask: Ask) -> Attempt:
    found = next((one for one in ask.agent.store.attempts(ask.scope) if one.id == ask.path["id"]), None)
    if found is None:
        raise NotFound(f"{ask.scope} has no attempt {ask.path['id'][:40]!r}", hint="list them: GET /admin/attempts")
    return found


def audit(ask: Ask) -> Any:
    """Who did what, newest first. An agent's key is told nothing that is about no agent in particular."""
    query = ask.query
    question = Question(
        who=query["who"], deed=query["what"] or None, since=since_of(query["since"]), object=query["object"],
        offset=query["offset"], limit=query["limit"] + 1,
    )  # fmt: skip
    found = events(ask.agent.store, ask.admin, ask.scope, question, whole=not ask.key.agent)
    more = len(found) > query["limit"]
    return {"items": [told_event(one) for one in found[: query["limit"]]],
            "next": query["offset"] + query["limit"] if more else None}  # fmt: skip


# ── keys ────────────────────────────────────────────────────────────────────────────────────


def _keys(ask: Ask) -> list[ApiKey]:
    mine, everything = ask.key, ask.admin.keys()
    seen = (one for one in everything if not mine.tenant or one.tenant == mine.tenant)
    return [one for one in seen if not mine.agent or one.agent == mine.agent]


def _told_key(ask: Ask, key: ApiKey) -> dict[str, Any]:
    """A key without its hash."""
    names = ("id", "label", "tenant", "agent", "rights", "expires", "revoked", "at")
    return {**{name: getattr(key, name) for name in names}, "valid": key.valid(ask.ring.clock())}


def keys(ask: Ask) -> Any:
    """The keys of the tenant, or of all."""
    return _page(ask, _keys(ask), lambda one: _told_key(ask, one))


def create_key(ask: Ask) -> Any:
    """A key that may do no more than the one that makes it. The secret is in the answer, and nowhere else."""
    mine, wish = ask.key, ask.body
    rights = cast("Iterable[Right]", wish.get("rights", ("infer", "feedback")))
    tenant, agent = wish.get("tenant", mine.tenant), wish.get("agent", mine.agent)
    if (mine.tenant and tenant != mine.tenant) or (mine.agent and agent != mine.agent) or not mine.rights >= {*rights}:
        raise RightMissing("a key cannot make one that may do more than itself", hint="ask for less, or the operator")
    days, now = wish.get("days"), ask.ring.clock()
    expires = None if days is None else now + timedelta(days=days)
    ends = [one for one in (expires, mine.expires) if one is not None]  # nor may it outlive it
    key, secret = make_key(
        ask.admin, at=now, tenant=tenant, agent=agent, label=wish.get("label", ""), rights=rights,
        expires=min(ends, default=None),
    )  # fmt: skip
    return {**_told_key(ask, key), "secret": secret}


def end_key(ask: Ask) -> Any:
    """Refuse a key from now on; at once in this process, within seconds in others."""
    if ask.path["id"] not in {one.id for one in _keys(ask)}:
        raise NotFound(f"there is no key {ask.path['id'][:40]!r}", hint="list them: GET /admin/keys")
    gone = revoke_key(ask.admin, find_key(ask.admin, ask.path["id"]), at=ask.ring.clock())
    ask.ring.forget()
    return _told_key(ask, gone)


# ── forgetting ──────────────────────────────────────────────────────────────────────────────


def forget(ask: Ask) -> Any:
    """What would go or, with `dry_run` false, what went; without a kind, the ids of erasures that wait to be finished.

    A tenant's key erases nothing above or beside its tenant: `beyond` names the entries in layers above that were made
    of it, for an operator.
    """
    from tokenspace.forget import find, meant
    from tokenspace.forget import forget as erase

    wish, kind = ask.body, ask.body.get("kind")
    if kind is None:
        waiting = [one for one in ask.admin.pending_erasures() if one.subject.scope == ask.scope]
        return {"pending": [one.id for one in waiting]}
    what = meant(ask.admin, ask.scope, kind, wish.get("text" if kind == "text" else "id", ""))
    subject = replace(find(ask.admin, ask.scope, kind, what), tenant=ask.key.tenant)
    exact, dry, who = wish.get("exact", False), wish.get("dry_run", True), ask.agent.principal
    doing = erase(
        ask.agent.parts, ask.admin, subject, exact=exact, dry_run=dry, who=who, what=what, beside=_places(ask)
    )  # fmt: skip
    done = ask.agent.wait(doing)
    if not dry:
        forgotten(
            ask.admin, subject.scope, kind, id=done.id, principal=ask.agent.principal, at=done.at,
            count=sum(done.rows.values()),
        )  # fmt: skip
    names = ("id", "dry_run", "exact", "at", "scrubbed", "unreached", "beyond", "rows", "remarks", "receipt", "salt")
    return {name: getattr(done, name) for name in names}


def _places(ask: Ask) -> list[Beside]:
    """Where else something of a subject may be: the spools of this gateway, and the queue of workers."""
    from tokenspace.gateway.spool import open_here
    from tokenspace.gateway.spooled import spool_eraser
    from tokenspace.store.sql import SqlStore
    from tokenspace.working import queue_eraser

    store = ask.agent.store
    return [*map(spool_eraser, open_here()), *([queue_eraser(store)] if isinstance(store, SqlStore) else [])]


# ── the table ───────────────────────────────────────────────────────────────────────────────

_TEXT: Final[Schema] = {"type": "string", "maxLength": 1_000}
_NAME: Final[Schema] = {"type": "string", "maxLength": 128}
_PAGED: Final = (
    Param(name="limit", says="At most so many.",
          schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE}),
    Param(name="offset", says="Leave out so many first.",
          schema={"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}),
)  # fmt: skip
SCOPED: Final = (
    Param(name="agent", says="The agent; by default that of the key.", schema={**_NAME, "default": ""}),
    Param(
        name="tenant", says="The tenant; a tenant's key can name no other.", schema={**_NAME, "default": ""}
    ),
    Param(name="user", says="One user of the tenant.", schema={**_NAME, "default": ""}),
)  # fmt: skip
_REVISION: Final = Param(name="revision", says="As of this revision.", schema={**_NAME, "default": ""})
_REASON: Final[Schema] = {
    "type": "object", "properties": {"reason": {**_TEXT, "description": "Why; it is kept."}},
    "additionalProperties": False,
}  # fmt: skip
_FORGET: Final[Schema] = {
    "type": "object",
    "properties": {
        "kind": {
            "enum": ["user", "episode", "feedback", "entry", "text"],
            "description": "What is meant; without it, only what waits to be finished is listed.",
        },
        "id": {**_NAME, "description": "The id of the episode, feedback or entry."},
        "text": {**_TEXT, "description": "Every record that contains it is meant."},
        "exact": {"type": "boolean", "description": "Leave what would have been without it."},
        "dry_run": {"type": "boolean", "default": True, "description": "Only say what would go; true if not said."},
    },
    "additionalProperties": False,
}
_NEW_KEY: Final[Schema] = {
    "type": "object",
    "properties": {
        "label": {**_TEXT, "description": "What it is for."},
        "tenant": {**_NAME, "description": 'Whose it is; "" makes an operator\'s key.'},
        "agent": {**_NAME, "description": "The agent that is meant where a request names none."},
        "rights": {"type": "array", "items": {"enum": list(RIGHTS)}, "minItems": 1, "uniqueItems": True},
        "days": {"type": "number", "exclusiveMinimum": 0, "maximum": 36_500, "description": "It expires after them."},
    },
    "additionalProperties": False,
}


def _flag(name: str, says: str) -> Param:
    return Param(name=name, says=says, schema={"type": "boolean", "default": False})


def _choice(name: str, says: str, *values: str) -> Param:
    return Param(name=name, says=says, schema={"type": "string", "enum": ["", *values], "default": ""})


def _get(
    path: str, says: str, does: Callable[[Ask], Any], *query: Param, need: Right = "read", scoped: bool = True
) -> Endpoint:
    return Endpoint(method="GET", path=path, need=need, says=says, does=does, query=query, scoped=scoped)


def _post(
    path: str, says: str, does: Callable[[Ask], Any], body: Schema | None = None, *, scoped: bool = True,
    status: int = 200,
) -> Endpoint:  # fmt: skip
    return Endpoint(
        method="POST", path=path, need="admin", says=says, does=does, body=body, scoped=scoped, status=status
    )


ENDPOINTS: Final = (
    _get("/health", "Whether the store can be read, and what is served.", health),
    _get("/agents", "The agents that hold anything.", agents, *_PAGED, scoped=False),
    _get("/scopes", "The scopes that hold anything, with what is served in them.", scopes, *_PAGED, SCOPED[0],
         scoped=False),
    _get("/context", "The learned entries, with blame and lift.", context, *_PAGED, _REVISION),
    _get("/context/text", "The learned context as Markdown documents.", text, _REVISION,
         _flag("blame", "Say with each entry where it comes from.")),
    _get("/revisions", "The history of the scope's own layer, newest first.", revisions, *_PAGED),
    _get("/revisions/{id}", "One revision with its edit and its verdict.", revision),
    _get("/revisions/{id}/diff", "What a revision changed, as text.", diff,
         Param(name="since", says="Compare with this older revision.", schema={**_NAME, "default": ""})),
    _post("/revisions/{id}/revert", "Take back what a revision changed, as a new revision.", revert, _REASON),
    _get("/attempts", "Everything that was tried, newest first.", attempts, *_PAGED,
         _choice("decision", "Only those.", "accept", "reject", "defer", "abstain")),
    _get("/attempts/{id}", "One attempt with its verdict.", attempt),
    _get("/attempts/{id}/verdict", "A verdict explained, so that it can be checked by hand.", verdict),
    _get("/attempts/{id}/evidence", "The tested cases, with the answers before and after.", evidence),
    _get("/review", "What waits for a person, with the feedback that it is about.", review, *_PAGED),
    _post("/review/{id}/approve", "Commit a waiting attempt on a person's authority.", approve),
    _post("/review/{id}/decline", "Reject a waiting attempt on a person's authority.", decline, _REASON),
    _get("/canaries", "Accepted edits under watch.", canaries, *_PAGED, _flag("ended", "Those that have ended, too.")),
    _get("/gate", "How the gate fares, by tier.", gate),
    _get("/episodes", "What was asked and answered, newest first.", episodes, *_PAGED),
    _get("/episodes/{id}", "One episode, by our id or the provider's, with its feedback.", episode),
    _get("/audit", "Who wrote, read, approved and erased what, here and below, newest first.", audit, *_PAGED,
         Param(name="who", says="Only what this principal did.",
               schema={"type": "string", "maxLength": 250, "default": ""}),
         _choice("what", "Only such deeds.", *DEEDS),
         Param(name="since", says="Nothing before this day or moment, as in ISO 8601; UTC.",
               schema={**_NAME, "default": ""}),
         Param(name="object", says="Only what touched this id.", schema={**_NAME, "default": ""}), need="admin"),
    _post("/forget", "Erase a user, a record or a text with all that was made of it; a dry run by default.",
          forget, _FORGET),
    _get("/keys", "The keys, without their secrets.", keys, *_PAGED, need="admin", scoped=False),
    _post("/keys", "Make a key; its secret is shown in this answer only.", create_key, _NEW_KEY, scoped=False,
          status=201),
    _post("/keys/{id}/revoke", "Refuse a key from now on, for ever.", end_key, scoped=False),
)  # fmt: skip
"""Every route of the admin API, below /admin."""


def scope_of(key: ApiKey, query: Mapping[str, Any], *, agent: str) -> Scope:
    """The scope that is asked about. Raises `NotFound` for what the key cannot see, `UsageError` for an odd name."""
    named, tenant = query.get("agent") or key.agent or agent, query.get("tenant") or key.tenant
    if (key.agent and named != key.agent) or (key.tenant and tenant != key.tenant):
        raise NotFound("this key sees no such scope", hint="GET /admin/scopes lists what it sees")
    if query.get("user") and not tenant:
        raise UsageError("a user needs a tenant", hint="name the tenant too")
    return Scope(agent=named, tenant=tenant, user=query.get("user", ""))
