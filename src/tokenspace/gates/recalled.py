"""Text that was recalled into a prompt is no news when it comes back (I13)."""

from __future__ import annotations

from tokenspace.context import new_texts
from tokenspace.context.trust import repeats
from tokenspace.domain import Entry, Evidence, Kind, Origin, Put, Signal, Status, Verdict
from tokenspace.gates.trial import Trial


class Recalled:
    """Rejects a text that only repeats what was shown in the very episode that it is said to come from.

    An answer that a person gives as right, or approves, is news of that request whatever was recalled for it, and so is
    the kind of request that a person names for a rule. Words are not: a remark, a note or a tool's result that repeats
    a learned text has it from there.
    """

    async def check(self, trial: Trial) -> Verdict | None:
        """A rejection that names the entry that came back, or None."""
        proposal = trial.proposal
        cited = [item for item in proposal.evidence.feedback if item.id in proposal.edit.evidence]
        alone = bool(cited) and all(item.source < Origin.USER for item in cited)
        if not alone and all(item.signal is not Signal.TEXT or item.trigger is not None for item in cited):
            return None
        touched = {op.entry.id if isinstance(op, Put) else op.id for op in proposal.edit.ops}
        own = touched | set(proposal.edit.read)  # a copy that names its source keeps origin and provenance of it
        known = [entry for entry in _shown(proposal.evidence, everything=alone) if entry.id not in own]
        for entry in new_texts(proposal.incumbent, proposal.edit):
            if entry.kind in (Kind.TOOL, Kind.RENDERER) or (entry.kind is Kind.EXAMPLE and not alone):
                continue
            source = next((one for one in known if repeats(entry.text, [_said(one)])), None)
            if source is not None:
                reason = f"it repeats entry {source.id}, which was recalled: that is no evidence for itself"
                return trial.verdict("reject", "policy", reason)
        return None


def _said(entry: Entry) -> str:
    return f"{entry.trigger or ''} {entry.text}" if entry.kind is Kind.EXAMPLE else entry.text


def _shown(evidence: Evidence, *, everything: bool) -> list[Entry]:
    """What the agent had before it in these episodes; `everything` that is shown at all, where an agent wrote alone."""
    ids = {id for episode in evidence.episodes.values() for id in episode.shown}
    return [one for one in evidence.context.entries if one.id in ids or (everything and one.status is Status.ACTIVE)]
