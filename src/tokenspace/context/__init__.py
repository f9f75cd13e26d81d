"""Pure functions on contexts: edits applied and taken back, prompts compiled, Markdown in and out, cases made."""

from __future__ import annotations

from tokenspace.context.cases import case_from, cluster_of
from tokenspace.context.check import is_safe_doc, validate
from tokenspace.context.clusters import Cluster, failure_clusters, loss_of
from tokenspace.context.compile import compile_context, core_blocks, recallable, splice, worth_recalling
from tokenspace.context.conflicts import Conflict, contradictions, duplicates, overlap
from tokenspace.context.diff import diff_text
from tokenspace.context.facts import early, expired, in_force, outlasts, outlived, settled
from tokenspace.context.markdown import from_single_text, single_text, to_markdown
from tokenspace.context.neighbours import Contradiction, Voting, contradiction, sayers, sayers_in, taught, voters
from tokenspace.context.ops import (
    apply,
    apply_layer,
    difference,
    edit_key,
    inherited,
    invert,
    merge,
    new_texts,
    revert_ops,
    stamp,
    without,
)
from tokenspace.context.past import Past, continued, steadily
from tokenspace.context.reading import from_markdown
from tokenspace.context.standing import discredited
from tokenspace.context.tally import Tally, tally

__all__ = [
    "Cluster",
    "Conflict",
    "Contradiction",
    "Past",
    "Tally",
    "Voting",
    "apply",
    "apply_layer",
    "case_from",
    "cluster_of",
    "compile_context",
    "continued",
    "contradiction",
    "contradictions",
    "core_blocks",
    "diff_text",
    "difference",
    "discredited",
    "duplicates",
    "early",
    "edit_key",
    "expired",
    "failure_clusters",
    "from_markdown",
    "from_single_text",
    "in_force",
    "inherited",
    "invert",
    "is_safe_doc",
    "loss_of",
    "merge",
    "new_texts",
    "outlasts",
    "outlived",
    "overlap",
    "recallable",
    "revert_ops",
    "sayers",
    "sayers_in",
    "settled",
    "single_text",
    "splice",
    "stamp",
    "steadily",
    "tally",
    "taught",
    "to_markdown",
    "validate",
    "voters",
    "without",
    "worth_recalling",
]
