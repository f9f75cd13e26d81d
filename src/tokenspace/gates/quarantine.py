"""What is below the agent's authority is kept and not shown, until enough people and replays stand for it.

Nothing raises an origin. What is elevated is let out of quarantine: it is shown as data, in a fence, and never where
instructions, tools or skills stand (see `context.render`).
"""

from __future__ import annotations

from dataclasses import replace

from tokenspace.context import new_texts
from tokenspace.context.render import TRUSTED
from tokenspace.context.trust import elevated
from tokenspace.domain import Entry, Origin, Status, Verdict
from tokenspace.gates.trial import Trial


class Quarantine:
    """Settles edits of texts in quarantine; asks of those that leave it how many people stand for them."""

    async def check(self, trial: Trial) -> Verdict | None:
        """Accept what only goes into a user's own quarantine, defer or reject; None where there is nothing to settle.

        A person ends a quarantine with `tokenspace review` or `tokenspace edit`, which do not come here.
        """
        before, after = trial.proposal.incumbent.by_id, trial.proposal.candidate.by_id
        for entry in after.values():
            old = before.get(entry.id)
            if old is not None and _hides(old, entry):
                words = f"a text of lower origin ({entry.origin.name.lower()}) may not take the place of {entry.id}"
                return trial.verdict("reject", "policy", words)
        if found := _lacking(trial):
            return trial.verdict("defer", "policy", found)
        written = new_texts(trial.proposal.incumbent, trial.proposal.edit)
        low = written and all(one.status is Status.QUARANTINED and one.origin < TRUSTED for one in written)
        if not low or len(written) < len(trial.proposal.edit.ops):
            return None
        level = min(one.origin for one in written).name.lower()
        if not trial.proposal.incumbent.scope.user:
            return trial.verdict("defer", "policy", f"in quarantine, since it comes from {level}: a person decides")
        return trial.verdict("accept", "policy", f"kept in quarantine and not shown, since it comes from {level}")


class Elevation:
    """A quarantine ends by replays only, however many people ask for it: no policy and no instruction does that."""

    async def confirm(self, trial: Trial, verdict: Verdict) -> Verdict:
        """The verdict as it is, or a defer where something is elevated that was not tested."""
        if verdict.basis == "tested" or not _elevated(trial):
            return verdict
        reason = f"{verdict.reason}; it stays in quarantine until replays stand for it, or a person"
        return replace(verdict, decision="defer", basis="policy", reason=reason)


def _elevated(trial: Trial) -> list[Entry]:
    return elevated(trial.proposal.incumbent.by_id, trial.proposal.candidate.by_id)


def _lacking(trial: Trial) -> str:
    """Why too few people stand for what would leave quarantine; empty where nothing would, or enough do."""
    if not _elevated(trial):
        return ""
    cited = [item for item in trial.proposal.evidence.feedback if item.id in trial.proposal.edit.evidence]
    people = {item.principal for item in cited if item.source >= Origin.USER}
    needed = trial.settings.elevating
    if len(people) >= needed or people & trial.settings.operators:
        return ""
    return f"it stays in quarantine: {len(people)} of {needed} distinct principals stand for it; or a person decides"


def _hides(old: Entry, entry: Entry) -> bool:
    """Whether what is trusted and shown would be gone behind a text of less authority."""
    low = entry.origin < TRUSTED <= old.origin
    return low and old.status is Status.ACTIVE and (old.text, old.trigger) != (entry.text, entry.trigger)
