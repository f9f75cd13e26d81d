"""`contrast`: the same request, answered well and badly → what makes the difference (the training-free GRPO role)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tokenspace.budget import Budget
from tokenspace.context import cluster_of
from tokenspace.domain import Edit, Evidence, Kind, Put
from tokenspace.proposers.asking import Asker, wording
from tokenspace.proposers.reflect import MAX_RULE_CHARS, MAX_TRIGGER_CHARS, closed, new_rule
from tokenspace.proposers.shown import Trace, cut, handles, shown_with, traces
from tokenspace.protocols import Reach

MAX_GROUPS: Final = 4
MAX_EACH: Final = 2
"""So many of the best and so many of the worst answers of a group are shown."""

APART: Final = 0.5
"""Outcomes are mixed where the best and the worst score are this far apart."""

_WORDS: Final = wording("contrast@1")


class Contrast:
    """Asks a model what distinguishes right from wrong answers to one request; makes one rule of it.

    Requests count as the same if they are near copies (`context.cluster_of`). Answers that may repeat what a tool
    returned are left out, since here the answers are all that there is to learn from. The rule is caused by the worse
    answers of the groups that the model names, and has the agent's authority at most, since it read its answers.
    """

    name: str = _WORDS.cited
    reach: Reach = "cluster"

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """One rule; None without a group of mixed outcomes, or if nothing distinguishes them."""
        groups = handles("g", mixed(evidence))
        if not groups:
            return None

        def told(chars: int) -> dict[str, Any]:
            return {"groups": [_told(name, group, chars) for name, group in groups.items()]}

        asked = schema(list(groups))
        shown = shown_with(
            evidence,
            told,
            lambda whole: self._asker.fits(_WORDS, whole, asked),
            causes={name: tuple(trace for trace in group if _worse(trace, group)) for name, group in groups.items()},
            among=[trace for group in groups.values() for trace in group],
            kinds={Kind.RULE},
        )
        said = await self._asker.ask(evidence.scope, _WORDS, shown.told, asked, budget=budget)
        if said["rule"] is None:
            return None
        op = Put(entry=new_rule(said["rule"]["trigger"], said["rule"]["text"]))
        return shown.edit([op], because=said["because"], rationale=said["difference"])


def schema(groups: list[str]) -> dict[str, Any]:
    """What an answer looks like, when these are the handles of the groups."""
    rule = closed(
        {
            "trigger": {"type": ["string", "null"], "maxLength": MAX_TRIGGER_CHARS},
            "text": {"type": "string", "minLength": 1, "maxLength": MAX_RULE_CHARS},
        }
    )
    return closed(
        {
            "difference": {"type": "string", "maxLength": 1_000},
            "rule": {"anyOf": [rule, {"type": "null"}]},
            "because": {"type": "array", "maxItems": len(groups), "items": {"enum": groups}},
        }
    )


def mixed(evidence: Evidence) -> list[list[Trace]]:
    """Of each request with mixed outcomes its newest best and worst answers, best first; most answered groups first."""
    asked: dict[str, list[Trace]] = {}
    for trace in traces(evidence):
        if trace.loss is not None and not trace.echoes and trace.episode.output.strip():
            asked.setdefault(cluster_of(trace.episode.request), []).append(trace)
    # A correction of an answer by itself is a confirmation that somebody mistook for a correction: no contrast.
    groups = [group for group in asked.values() if _span(group) >= APART and len({_answer(one) for one in group}) > 1]
    groups.sort(key=lambda group: -len(group))
    return [_ends(group) for group in groups[:MAX_GROUPS]]


def _ends(group: Sequence[Trace]) -> list[Trace]:
    newest = group[::-1]
    better = sorted((one for one in newest if not _worse(one, group)), key=_loss)[:MAX_EACH]
    worse = [one for one in newest if _worse(one, group)][:MAX_EACH]
    return [*better, *worse]


def _told(name: str, group: Sequence[Trace], chars: int) -> dict[str, Any]:
    answers = [{key: value for key, value in trace.told(chars).items() if key != "request"} for trace in group]
    return {"id": name, "request": cut(group[0].episode.request.query, chars), "answers": answers}


def _worse(trace: Trace, group: Sequence[Trace]) -> bool:
    return _loss(trace) - min(map(_loss, group)) >= APART


def _span(group: Sequence[Trace]) -> float:
    return max(map(_loss, group)) - min(map(_loss, group))


def _loss(trace: Trace) -> float:
    return 0.0 if trace.loss is None else trace.loss


def _answer(trace: Trace) -> str:
    return " ".join(trace.episode.output.split())
