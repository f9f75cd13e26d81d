"""The nouns of tokenspace: frozen, slotted, keyword-only, standard library only.

Read `Scope`, `Entry`, `Edit`, `Verdict` and `Revision` first: the rest carries evidence to them.
"""

from __future__ import annotations

from tokenspace.domain.access import Access, Deed, Ended
from tokenspace.domain.entries import (
    Context,
    Drop,
    Edit,
    Entry,
    Heads,
    Kind,
    Layer,
    Op,
    Origin,
    Patch,
    Put,
    Restore,
    Status,
)
from tokenspace.domain.evidence import (
    Case,
    Episode,
    Feedback,
    GraderSpec,
    Message,
    Request,
    Role,
    Run,
    Signal,
    ToolCall,
    Usage,
)
from tokenspace.domain.identity import MAX_NAME_CHARS, MAX_TEXT_BYTES, Json, Scope, digest, new_id
from tokenspace.domain.judgement import (
    Attempt,
    Basis,
    Blame,
    Canary,
    CanaryState,
    Decision,
    Outcome,
    Reading,
    Revision,
    Session,
    Verdict,
)
from tokenspace.domain.keys import ApiKey, Right
from tokenspace.domain.prompts import Evidence, Profile, Prompt, Proposal, Ranked, Style
from tokenspace.domain.work import Job

__all__ = [
    "MAX_NAME_CHARS",
    "MAX_TEXT_BYTES",
    "Access",
    "ApiKey",
    "Attempt",
    "Basis",
    "Blame",
    "Canary",
    "CanaryState",
    "Case",
    "Context",
    "Decision",
    "Deed",
    "Drop",
    "Edit",
    "Ended",
    "Entry",
    "Episode",
    "Evidence",
    "Feedback",
    "GraderSpec",
    "Heads",
    "Job",
    "Json",
    "Kind",
    "Layer",
    "Message",
    "Op",
    "Origin",
    "Outcome",
    "Patch",
    "Profile",
    "Prompt",
    "Proposal",
    "Put",
    "Ranked",
    "Reading",
    "Request",
    "Restore",
    "Revision",
    "Right",
    "Role",
    "Run",
    "Scope",
    "Session",
    "Signal",
    "Status",
    "Style",
    "ToolCall",
    "Usage",
    "Verdict",
    "digest",
    "new_id",
]
