"""Consolidation loses nothing: a source leaves only if its replacement stands, cites it, and breaks no case.

An edit consolidates where what it writes takes the place of what it drops: a kept entry, otherwise as it was, that says
in `supersedes` which one it replaces, or one new entry for two and more. Nobody's word is taken: the gate looks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tokenspace.context import in_force, outlasts
from tokenspace.context.render import TRUSTED
from tokenspace.domain import Case, Drop, Entry, Proposal, Put, Status, Verdict
from tokenspace.gates.trial import Trial

FEWEST: Final = 2
"""One new text replaces at least so many: with one it would be a rewriting, which has to show a benefit."""

_PASSED: Final = 0.5


def replaced(proposal: Proposal) -> dict[str, Entry]:
    """What a consolidation drops, by id, with the entry that takes its place; empty for any other edit."""
    edit, after = proposal.edit, proposal.candidate.by_id
    dropped = [op.id for op in edit.ops if isinstance(op, Drop) and op.id in proposal.incumbent.by_id]
    ids = [op.entry.id if isinstance(op, Put) else op.id for op in edit.ops if not isinstance(op, Drop)]
    written = [after[id] for id in ids if id in after]
    if not dropped or len(written) != len(ids):
        return {}
    pairs = {one.supersedes: one for one in written if one.supersedes in dropped and _unchanged(one, proposal)}
    if len(pairs) == len(dropped) and len(written) <= len(pairs):
        return {str(id): one for id, one in pairs.items()}
    new = [one for one in written if one.id not in proposal.incumbent.by_id]
    if len(new) == len(written) == 1 and len(dropped) >= FEWEST:
        return dict.fromkeys(dropped, new[0])
    return {}


def _unchanged(kept: Entry, proposal: Proposal) -> bool:
    """Whether it was there and only says now what it replaces: another text would be a rewriting, of two at once."""
    old = proposal.incumbent.by_id.get(kept.id)
    if old is None or old.supersedes in proposal.candidate.by_id:  # what it hid until now would come back
        return False
    return replace(kept, supersedes=old.supersedes, origin=old.origin) == old


class NothingLost:
    """Rejects a consolidation that does not cite its sources, or with which a case fails that passed before.

    Where texts are not the same, word for word, it waits for a case that could notice a loss.

    It looks at the cases that the sources were made from, in whole prompts as they are served, and then at the other
    affected ones up to the cap of the tier; both arms are replayed (I7). It never accepts.
    """

    async def check(self, trial: Trial) -> Verdict | None:
        """A rejection, a defer where it could not be measured, or None."""
        pairs = replaced(trial.proposal)
        for id, replacement in pairs.items():
            objection = self._uncited(id, trial) or _weaker(replacement, trial.proposal.incumbent.by_id[id], trial)
            if objection:
                return trial.verdict("reject", "policy", objection)
        for case in self._cases(trial) if pairs else ():
            lost = await self._loses(trial, case)
            if lost is None:
                return trial.verdict("defer", "policy", f"case {case.id} could not be measured", cases=(case.id,))
            if lost:
                reason = f"it loses something: case {case.id} passed before and fails with it"
                return trial.verdict(
                    "reject", "tested", reason, cases=(case.id,), breaks=1, pairs=1, differences=(-1.0,)
                )
        reworded = [id for id, new in pairs.items() if not _verbatim(trial.proposal.incumbent.by_id[id], new)]
        if reworded and not trial.affected:
            return trial.verdict("defer", "policy", "no case could show whether it loses something: none is affected")
        return None

    def _uncited(self, id: str, trial: Trial) -> str:
        """Why the edit does not account for a source; empty if it does."""
        edit = trial.proposal.edit
        if id not in edit.read:
            return f"it drops {id} without citing it"
        missing = trial.replayer.sources(trial.proposal.incumbent).get(id, frozenset()) - {*edit.evidence, *edit.read}
        return f"it drops what {id} was made from: {', '.join(sorted(missing))}" if missing else ""

    def _cases(self, trial: Trial) -> list[Case]:
        sources = trial.replayer.sources(trial.proposal.incumbent)
        made_from = frozenset[str]().union(*(sources.get(id, frozenset()) for id in replaced(trial.proposal)))
        own = [case for case in trial.replayer.cases if made_from.intersection(case.sources)]
        known = {case.id for case in own}
        others = [case for case, _, _ in trial.affected if case.id not in known]
        return [*own, *others[: trial.settings.cap.get(trial.tier, trial.settings.guard_cases)]]

    async def _loses(self, trial: Trial, case: Case) -> bool | None:
        """Whether a case that passes now fails with the edit, twice where runs differ; None if it is not known."""
        replayer, proposal = trial.replayer, trial.proposal
        old, new = (replayer.trigger_prompt(one, case) for one in (proposal.incumbent, proposal.candidate))
        if old.compiled_hash == new.compiled_hash:
            return False
        for run in range(1 if replayer.deterministic else 2):
            before = await replayer.score(case, old, budget=trial.budget, run_index=run)
            if before is None or before < _PASSED or case.id in replayer.not_replayable:
                return False  # it did not pass, or nobody can say so
            after = await replayer.score(case, new, budget=trial.budget, run_index=run)
            if after is None:
                return None
            if after >= _PASSED:
                return False
        return True


def _weaker(replacement: Entry, source: Entry, trial: Trial) -> str:
    """Why an entry cannot stand for another."""
    if replacement.origin < min(source.origin, TRUSTED):
        return f"{source.id} would be replaced by a text of lower origin ({replacement.origin.name.lower()})"
    if replacement.status is not Status.ACTIVE or not in_force(replacement, trial.replayer.now()):
        return f"{source.id} would be replaced by an entry that is not shown"
    if (replacement.kind, replacement.key) != (source.kind, source.key):
        return f"{source.id} would be replaced by an entry of another kind or key"
    if not outlasts(replacement, source):
        sooner = " sooner" if source.valid_until else ""
        return f"{source.id} would be replaced by an entry that ends{sooner}"
    return ""


def _verbatim(source: Entry, replacement: Entry) -> bool:
    """Whether both say the same of the same requests, but for white space."""
    said = [
        (one.doc, " ".join(one.text.split()), " ".join((one.trigger or "").split())) for one in (source, replacement)
    ]
    return said[0] == said[1]
